//! What happened in each second of a phase, in bounded memory.
//!
//! Bins lie on each rank's own time since the start of the phase (clocks of two hosts are never
//! subtracted; ranks start a phase at a barrier). There are at most 4096 bins: when a phase
//! outlives them, neighbours are merged and the width doubles, so widths are 1 s times a power of
//! two and the words of all ranks can be summed once they agree on the widest. 160 KiB per series;
//! recording allocates nothing.

use super::LiveTotals;

/// Bins of a series.
pub const BINS: usize = 4096;
/// Counters in each bin.
pub const COLUMNS: usize = 5;
/// Width of a bin at the start.
pub const FIRST_WIDTH_NS: u64 = 1_000_000_000;

/// The counters of one bin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BinCounts {
    /// Requested bytes of finished reads.
    pub read_bytes: u64,
    /// Requested bytes of finished writes.
    pub write_bytes: u64,
    /// Finished reads and writes.
    pub operations: u64,
    /// Finished samples.
    pub samples: u64,
    /// Finished steps.
    pub steps: u64,
}

impl BinCounts {
    /// Live counters of I/O threads together with the steps of the main thread.
    pub fn new(live: &LiveTotals, steps: u64) -> Self {
        BinCounts {
            read_bytes: live.read_bytes,
            write_bytes: live.write_bytes,
            operations: live.operations,
            samples: live.samples,
            steps,
        }
    }

    fn to_words(self) -> [u64; COLUMNS] {
        [self.read_bytes, self.write_bytes, self.operations, self.samples, self.steps]
    }

    fn from_words(words: &[u64]) -> Self {
        BinCounts {
            read_bytes: words[0],
            write_bytes: words[1],
            operations: words[2],
            samples: words[3],
            steps: words[4],
        }
    }
}

/// One bin with its place in time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SeriesRow {
    /// Start of the bin since the start of the phase.
    pub start_s: f64,
    /// Length of the bin; the last one may end before it.
    pub width_s: f64,
    /// What happened in it.
    pub counts: BinCounts,
}

/// Counters over the time of one phase.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Series {
    width_ns: u64,
    words: Box<[u64]>,
}

impl Series {
    /// Length of [`Series::words`].
    pub const WORDS: usize = BINS * COLUMNS;

    /// An empty series with bins of one second; the only allocation.
    pub fn new() -> Self {
        Series { width_ns: FIRST_WIDTH_NS, words: vec![0; Self::WORDS].into_boxed_slice() }
    }

    /// Width of a bin in nanoseconds: 1 s times a power of two.
    pub fn width_ns(&self) -> u64 {
        self.width_ns
    }

    /// Counts something that happened `at_ns` after the start of the phase.
    pub fn record(&mut self, at_ns: u64, counts: &BinCounts) {
        let bin = self.bin_of(at_ns);
        self.add_to_bin(bin, &counts.to_words());
    }

    /// Counts something that happened evenly between two times since the start of the phase. No
    /// count is lost: the shares add up exactly.
    pub fn spread(&mut self, from_ns: u64, to_ns: u64, counts: &BinCounts) {
        self.spread_words(from_ns, to_ns, &counts.to_words());
    }

    /// The same of other counters than [`BinCounts`], one for each column.
    pub fn spread_words(&mut self, from_ns: u64, to_ns: u64, total: &[u64; COLUMNS]) {
        if to_ns <= from_ns {
            let bin = self.bin_of(to_ns);
            return self.add_to_bin(bin, total);
        }
        let last = self.bin_of(to_ns - 1);
        let first = self.bin_of(from_ns);
        let length_ns = u128::from(to_ns - from_ns);
        let mut given = [0u64; COLUMNS];
        for bin in first..=last {
            let end_ns = (bin as u64 + 1).saturating_mul(self.width_ns).min(to_ns);
            let done_ns = u128::from(end_ns - from_ns);
            let share = std::array::from_fn(|column| {
                // At most `total`, which is a u64.
                let due = (u128::from(total[column]) * done_ns / length_ns) as u64;
                due - given[column]
            });
            self.add_to_bin(bin, &share);
            given.iter_mut().zip(share).for_each(|(sum, part)| *sum += part);
        }
    }

    /// Merges bins until they are `width_ns` wide (the widest of all ranks).
    ///
    /// # Panics
    /// If `width_ns` is not this width times a power of two: every series starts with the same
    /// width and only doubles it.
    pub fn coarsen_to(&mut self, width_ns: u64) {
        let times = width_ns / self.width_ns;
        assert!(
            times.is_power_of_two() && times * self.width_ns == width_ns,
            "a series of {} ns bins cannot become one of {width_ns} ns bins",
            self.width_ns
        );
        while self.width_ns < width_ns {
            self.double_width();
        }
    }

    /// The words to be summed across ranks once all have the same width; bin by bin, columns in
    /// the order of [`BinCounts`].
    pub fn words(&self) -> &[u64] {
        &self.words
    }

    /// Same, writable: target of a reduction.
    pub fn words_mut(&mut self) -> &mut [u64] {
        &mut self.words
    }

    /// Forgets everything, keeps the memory; bins are one second wide again.
    pub fn clear(&mut self) {
        self.width_ns = FIRST_WIDTH_NS;
        self.words.fill(0);
    }

    /// Bins up to the last one in use.
    pub fn used_bins(&self) -> usize {
        self.words.iter().rposition(|&word| word > 0).map_or(0, |at| at / COLUMNS + 1)
    }

    /// The bins of a phase of `window_ns`, idle ones included, at least up to the last one in use.
    pub fn rows(&self, window_ns: u64) -> impl Iterator<Item = SeriesRow> + '_ {
        let used = self.used_bins();
        let in_window = window_ns.div_ceil(self.width_ns).min(BINS as u64) as usize;
        let width_s = self.width_ns as f64 / 1e9;
        let bins = self.words.chunks_exact(COLUMNS).take(used.max(in_window)).enumerate();
        bins.map(move |(bin, words)| SeriesRow {
            start_s: bin as f64 * width_s,
            width_s,
            counts: BinCounts::from_words(words),
        })
    }

    /// The bin of a time, after widening the bins as far as needed.
    fn bin_of(&mut self, at_ns: u64) -> usize {
        while at_ns / self.width_ns >= BINS as u64 {
            self.double_width();
        }
        (at_ns / self.width_ns) as usize
    }

    fn add_to_bin(&mut self, bin: usize, words: &[u64; COLUMNS]) {
        let place = &mut self.words[bin * COLUMNS..][..COLUMNS];
        place.iter_mut().zip(words).for_each(|(sum, word)| *sum += word);
    }

    fn double_width(&mut self) {
        for bin in 0..BINS / 2 {
            for column in 0..COLUMNS {
                let left = self.words[2 * bin * COLUMNS + column];
                let right = self.words[(2 * bin + 1) * COLUMNS + column];
                self.words[bin * COLUMNS + column] = left + right;
            }
        }
        self.words[BINS / 2 * COLUMNS..].fill(0);
        self.width_ns *= 2;
    }
}

impl Default for Series {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: u64 = FIRST_WIDTH_NS;

    fn counts(seed: u64) -> BinCounts {
        BinCounts {
            read_bytes: seed,
            write_bytes: seed / 2,
            operations: seed % 97,
            samples: seed % 31,
            steps: 1,
        }
    }

    fn totals(series: &Series) -> Vec<u64> {
        (0..COLUMNS).map(|c| series.words().iter().skip(c).step_by(COLUMNS).sum()).collect()
    }

    #[test]
    fn a_full_series_doubles_its_width() {
        let mut series = Series::new();
        for second in 0..BINS as u64 {
            series.record(second * SECOND, &BinCounts { steps: 1, ..Default::default() });
        }
        assert_eq!(series.width_ns(), SECOND);
        series.record(BINS as u64 * SECOND, &BinCounts { steps: 1, ..Default::default() });
        assert_eq!(series.width_ns(), 2 * SECOND);
        let rows: Vec<_> = series.rows(0).collect();
        assert_eq!(rows.len(), BINS / 2 + 1);
        assert!(rows[..BINS / 2].iter().all(|row| row.counts.steps == 2));
        assert_eq!(rows[BINS / 2].counts.steps, 1);
        assert_eq!(rows[1].start_s, 2.0);
    }

    #[test]
    fn even_spreading_follows_the_time_in_each_bin() {
        let mut series = Series::new();
        let all = BinCounts { read_bytes: 400, ..Default::default() };
        series.spread(SECOND / 2, 5 * SECOND / 2, &all);
        let bytes: Vec<_> = series.rows(0).map(|row| row.counts.read_bytes).collect();
        assert_eq!(bytes, [100, 200, 100]);
    }

    #[test]
    fn idle_seconds_of_the_window_are_rows_too() {
        let mut series = Series::new();
        series.record(0, &counts(5));
        assert_eq!(series.rows(0).count(), 1);
        assert_eq!(series.rows(7 * SECOND / 2).count(), 4);
        assert_eq!(series.rows(u64::MAX).count(), BINS);
    }

    #[test]
    #[should_panic(expected = "cannot become")]
    fn narrowing_is_refused() {
        let mut series = Series::new();
        series.coarsen_to(2 * SECOND);
        series.coarsen_to(SECOND);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn nothing_is_lost_however_late_it_happens(
            events in proptest::collection::vec(
                (0u64..1 << 50, 0u64..1 << 45, 0u64..1 << 40), 1..40),
        ) {
            let mut series = Series::new();
            let mut expected = vec![0u64; COLUMNS];
            for &(from, length, seed) in &events {
                series.spread(from, from + length, &counts(seed));
                let words = counts(seed).to_words();
                expected.iter_mut().zip(words).for_each(|(sum, word)| *sum += word);
            }
            prop_assert_eq!(totals(&series), expected);
        }

        #[test]
        fn ranks_merge_at_the_widest_bins(
            ranks in proptest::collection::vec(
                proptest::collection::vec((0u64..20_000 * SECOND, 0u64..1 << 40), 1..30), 1..4),
        ) {
            let mut all = Series::new();
            let mut parts = Vec::new();
            for events in &ranks {
                let mut series = Series::new();
                for &(at, seed) in events {
                    series.record(at, &counts(seed));
                    all.record(at, &counts(seed));
                }
                parts.push(series);
            }
            let width = parts.iter().map(Series::width_ns).max().unwrap();
            let mut world = Series::new();
            world.coarsen_to(width);
            for part in &mut parts {
                part.coarsen_to(width);
                for (sum, word) in world.words_mut().iter_mut().zip(part.words()) {
                    *sum += word;
                }
            }
            prop_assert_eq!(world, all);
        }
    }
}
