//! Flat log-linear histogram of durations: hdrhistogram's layout for 1 ns to 1 h at 3 significant
//! digits, as one array of words.
//!
//! The `hdrhistogram` crate hides its counts, so merging its histograms across ranks costs a
//! serialization each. Here the whole state is 33,792 counts and a sum in one array (264 KiB): a
//! single integer MPI_SUM over [`Histogram::words`] merges a world. The smallest and largest value
//! are not stored, they follow from the lowest and highest bucket in use, because a sum could not
//! merge them. Recording is two shifts and three additions.

use serde::{Deserialize, Serialize};

/// Values below this have a bucket each; above, buckets double in width with every power of two.
const UNIT_BUCKETS: usize = 2048;
/// Buckets for each further power of two.
const HALF: usize = UNIT_BUCKETS / 2;
/// Buckets that cover 1 h: 2048 << 31 is above 3.6e12.
const COUNTS: usize = 33 * HALF;
/// Longest duration that is told apart.
pub const HIGHEST_NS: u64 = 3_600_000_000_000;

/// The sum of values is kept as two digits of base 2^40: the low one stays below 2^40 on each rank,
/// so 2^24 ranks can be added word by word without a carry being lost.
const SUM_LOW: usize = COUNTS;
const SUM_HIGH: usize = COUNTS + 1;
const SUM_DIGIT_BITS: u32 = 40;
const SUM_DIGIT_MASK: u64 = (1 << SUM_DIGIT_BITS) - 1;

/// Quantiles of a [`Summary`] with the sample count from which each may be named: at least one
/// sample must lie beyond it.
const P50: (f64, u64) = (0.5, 2);
const P95: (f64, u64) = (0.95, 20);
const P99: (f64, u64) = (0.99, 100);
const P999: (f64, u64) = (0.999, 1_000);
const P9999: (f64, u64) = (0.9999, 10_000);

/// Counts of durations in nanoseconds. Merging is addition of the words (MPI_SUM).
#[derive(Clone, PartialEq, Eq)]
pub struct Histogram {
    words: Box<[u64]>,
}

/// Percentiles of a histogram in nanoseconds; withheld (None) where the sample count is too small
/// to name one. `min` and `max` are the edges of their bucket (0.1 % wide), `mean` is exact.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
#[allow(missing_docs)]
pub struct Summary {
    pub count: u64,
    pub min: Option<u64>,
    pub mean: Option<u64>,
    pub p50: Option<u64>,
    pub p95: Option<u64>,
    pub p99: Option<u64>,
    pub p999: Option<u64>,
    pub p9999: Option<u64>,
    pub max: Option<u64>,
}

/// Bucket of a duration of at most [`HIGHEST_NS`].
#[inline]
fn index_of(ns: u64) -> usize {
    let doubling =
        UNIT_BUCKETS.leading_zeros() + 1 - (ns | (UNIT_BUCKETS as u64 - 1)).leading_zeros();
    doubling as usize * HALF + (ns >> doubling) as usize
}

/// Smallest duration of a bucket, and the bucket's width.
fn bucket_of(index: usize) -> (u64, u64) {
    let doubling = (index / HALF).saturating_sub(1);
    let step = index - doubling * HALF;
    ((step as u64) << doubling, 1 << doubling)
}

fn highest_of(index: usize) -> u64 {
    let (lowest, width) = bucket_of(index);
    lowest + width - 1
}

impl Histogram {
    /// Length of [`Histogram::words`].
    pub const WORDS: usize = COUNTS + 2;

    /// An empty histogram; the only allocation.
    pub fn new() -> Self {
        Histogram { words: vec![0; Self::WORDS].into_boxed_slice() }
    }

    /// Counts one duration; longer than 1 h counts as 1 h.
    #[inline]
    pub fn record(&mut self, ns: u64) {
        let ns = ns.min(HIGHEST_NS);
        self.words[index_of(ns)] += 1;
        self.add_to_sum(ns, 0);
    }

    /// Adds `low + high * 2^40` to the sum of values, keeping the low digit short.
    #[inline]
    fn add_to_sum(&mut self, low: u64, high: u64) {
        let low = self.words[SUM_LOW] + low;
        self.words[SUM_LOW] = low & SUM_DIGIT_MASK;
        self.words[SUM_HIGH] += high + (low >> SUM_DIGIT_BITS);
    }

    /// The words to be summed across ranks: 33,792 counts, then the sum of values as two digits of
    /// base 2^40. Equal length everywhere.
    pub fn words(&self) -> &[u64] {
        &self.words
    }

    /// Same, writable: target of a reduction.
    pub fn words_mut(&mut self) -> &mut [u64] {
        &mut self.words
    }

    /// Adds another histogram.
    pub fn add(&mut self, other: &Histogram) {
        for (mine, theirs) in self.words[..COUNTS].iter_mut().zip(&other.words[..COUNTS]) {
            *mine += theirs;
        }
        self.add_to_sum(other.words[SUM_LOW], other.words[SUM_HIGH]);
    }

    /// Forgets everything, keeps the memory.
    pub fn clear(&mut self) {
        self.words.fill(0);
    }

    /// Durations recorded. Reads all counts.
    pub fn count(&self) -> u64 {
        self.words[..COUNTS].iter().sum()
    }

    /// Sum of the recorded durations in nanoseconds.
    pub fn sum_ns(&self) -> u128 {
        u128::from(self.words[SUM_LOW]) + (u128::from(self.words[SUM_HIGH]) << SUM_DIGIT_BITS)
    }

    /// The largest duration of the bucket that holds the quantile (0 to 1), as `hdrhistogram`
    /// answers it; None while empty.
    pub fn value_at_quantile(&self, quantile: f64) -> Option<u64> {
        let count = self.count();
        (count > 0).then(|| self.value_at_rank(rank_of(quantile, count)))
    }

    /// Largest duration of the bucket that holds the `rank`-th value (from 1, at most the count).
    fn value_at_rank(&self, rank: u64) -> u64 {
        let mut seen = 0;
        let index = self.words[..COUNTS].iter().position(|&count| {
            seen += count;
            seen >= rank
        });
        highest_of(index.expect("the rank is at most the count, so some bucket reaches it"))
    }

    /// Percentiles.
    pub fn summary(&self) -> Summary {
        let counts = &self.words[..COUNTS];
        let count = self.count();
        let used = counts.iter().position(|&c| c > 0).zip(counts.iter().rposition(|&c| c > 0));
        let Some((lowest, highest)) = used else { return Summary::default() };
        let quantile = |(quantile, enough): (f64, u64)| {
            (count >= enough).then(|| self.value_at_rank(rank_of(quantile, count)))
        };
        let rounded = (self.sum_ns() + u128::from(count) / 2) / u128::from(count);
        Summary {
            count,
            min: Some(bucket_of(lowest).0),
            mean: Some(u64::try_from(rounded).unwrap_or(u64::MAX)),
            p50: quantile(P50),
            p95: quantile(P95),
            p99: quantile(P99),
            p999: quantile(P999),
            p9999: quantile(P9999),
            max: Some(highest_of(highest)),
        }
    }

    /// As a histogram of the `hdrhistogram` crate (for the log file and for tests).
    pub fn to_hdr(&self) -> hdrhistogram::Histogram<u64> {
        let mut hdr = hdrhistogram::Histogram::new_with_bounds(1, HIGHEST_NS, 3)
            .expect("bounds of 1 ns to 1 h with 3 digits are valid");
        let used = self.words[..COUNTS].iter().enumerate().filter(|&(_, &count)| count > 0);
        for (index, &count) in used {
            hdr.saturating_record_n(bucket_of(index).0, count);
        }
        hdr
    }
}

/// Which value in ascending order (from 1) is the quantile among `count` values.
fn rank_of(quantile: f64, count: u64) -> u64 {
    ((quantile.min(1.0) * count as f64).ceil() as u64).clamp(1, count)
}

impl Default for Histogram {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Histogram {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Histogram").field(&self.summary()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The crate's histogram with the values recorded directly.
    fn direct(values: &[u64]) -> hdrhistogram::Histogram<u64> {
        let mut hdr = hdrhistogram::Histogram::new_with_bounds(1, HIGHEST_NS, 3).unwrap();
        for &value in values {
            hdr.record(value.min(HIGHEST_NS)).unwrap();
        }
        hdr
    }

    fn ours(values: &[u64]) -> Histogram {
        let mut histogram = Histogram::new();
        values.iter().for_each(|&value| histogram.record(value));
        histogram
    }

    /// Durations spread over all magnitudes, beyond 1 h included.
    fn durations() -> impl Strategy<Value = Vec<u64>> {
        let one = (0u32..44, any::<u64>()).prop_map(|(bits, raw)| raw & ((1 << bits) - 1));
        proptest::collection::vec(one, 1..400)
    }

    #[test]
    fn the_layout_is_that_of_the_crate() {
        let hdr = hdrhistogram::Histogram::<u64>::new_with_bounds(1, HIGHEST_NS, 3).unwrap();
        assert_eq!(hdr.distinct_values(), COUNTS);
        for index in 0..COUNTS {
            let (lowest, width) = bucket_of(index);
            assert_eq!(index_of(lowest), index);
            assert_eq!(index_of(lowest + width - 1), index);
            assert_eq!(hdr.lowest_equivalent(lowest), lowest);
            assert_eq!(hdr.highest_equivalent(lowest), highest_of(index));
        }
    }

    #[test]
    fn an_empty_histogram_names_nothing() {
        assert_eq!(Histogram::new().summary(), Summary::default());
        assert_eq!(Histogram::new().value_at_quantile(0.5), None);
    }

    #[test]
    fn percentiles_are_withheld_below_their_sample_count() {
        let named = |count: usize| {
            let summary = ours(&vec![1000; count]).summary();
            [summary.p50, summary.p95, summary.p99, summary.p999, summary.p9999]
                .map(|value| value.is_some())
        };
        assert_eq!(named(1), [false; 5]);
        assert_eq!(named(2), [true, false, false, false, false]);
        assert_eq!(named(19), [true, false, false, false, false]);
        assert_eq!(named(20), [true, true, false, false, false]);
        assert_eq!(named(99), [true, true, false, false, false]);
        assert_eq!(named(100), [true, true, true, false, false]);
        assert_eq!(named(999), [true, true, true, false, false]);
        assert_eq!(named(1_000), [true, true, true, true, false]);
        assert_eq!(named(9_999), [true, true, true, true, false]);
        assert_eq!(named(10_000), [true; 5]);
    }

    #[test]
    fn longer_than_an_hour_counts_as_an_hour() {
        let mut histogram = Histogram::new();
        histogram.record(u64::MAX);
        assert_eq!(histogram.sum_ns(), u128::from(HIGHEST_NS));
        assert_eq!(histogram.summary().max, Some(direct(&[HIGHEST_NS]).max()));
    }

    #[test]
    fn the_sum_survives_many_long_values() {
        let mut total = Histogram::new();
        let mut one = Histogram::new();
        (0..1000).for_each(|_| one.record(HIGHEST_NS));
        (0..10_000).for_each(|_| total.add(&one));
        assert_eq!(total.sum_ns(), 10_000_000 * u128::from(HIGHEST_NS));
        assert!(total.sum_ns() > u128::from(u64::MAX));
        assert_eq!(total.summary().mean, Some(HIGHEST_NS));
    }

    #[test]
    fn clearing_forgets_everything() {
        let mut histogram = ours(&[1, 2, 3]);
        histogram.clear();
        assert_eq!(histogram, Histogram::new());
    }

    proptest! {
        #[test]
        fn quantiles_equal_those_of_the_crate(
            values in durations(),
            quantiles in proptest::collection::vec(0.0001f64..=1.0, 8),
        ) {
            let (mine, theirs) = (ours(&values), direct(&values));
            let fixed = [0.5, 0.9, 0.95, 0.99, 0.999, 0.9999, 1.0];
            for quantile in fixed.into_iter().chain(quantiles) {
                prop_assert_eq!(
                    mine.value_at_quantile(quantile),
                    Some(theirs.value_at_quantile(quantile))
                );
            }
            let summary = mine.summary();
            prop_assert_eq!(summary.count, theirs.len());
            prop_assert_eq!(summary.min, Some(theirs.min()));
            prop_assert_eq!(summary.max, Some(theirs.max()));
        }

        #[test]
        fn conversion_to_the_crate_loses_no_count(values in durations()) {
            prop_assert_eq!(ours(&values).to_hdr(), direct(&values));
        }

        #[test]
        fn the_mean_is_exact(values in durations()) {
            let sum: u128 = values.iter().map(|&v| u128::from(v.min(HIGHEST_NS))).sum();
            let histogram = ours(&values);
            prop_assert_eq!(histogram.sum_ns(), sum);
            let mean = histogram.summary().mean.unwrap() as f64;
            prop_assert!((mean - sum as f64 / values.len() as f64).abs() <= 0.5 + mean * 1e-12);
        }

        #[test]
        fn merging_words_equals_recording_everything(
            parts in proptest::collection::vec(durations(), 1..6),
        ) {
            let mut by_words = Histogram::new();
            let mut by_add = Histogram::new();
            for part in &parts {
                let histogram = ours(part);
                for (total, word) in by_words.words_mut().iter_mut().zip(histogram.words()) {
                    *total += word;
                }
                by_add.add(&histogram);
            }
            let all = ours(&parts.concat());
            prop_assert_eq!(by_words.summary(), all.summary());
            prop_assert_eq!(by_words.sum_ns(), all.sum_ns());
            prop_assert_eq!(by_add, all);
        }
    }
}
