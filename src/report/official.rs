//! The official figures of a training run: AU, samples per second, MB/s, as MLPerf Storage and DLIO
//! compute them (`statscounter.py` of DLIO; formulas restated beside each function).
//!
//! A rank turns its step lists into one [`EpochValue`] and forgets the lists; the world is two sums
//! over ranks ([`EpochSums`]), so nothing here grows with the number of ranks. The order in which
//! ranks are added may change the last digit.

use super::dlio::BlockLog;
use serde::{Deserialize, Serialize};

/// Whose formula for samples per second. AU is the same in all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
pub enum Variant {
    /// MLPerf Storage v3: the steps of the metric window over the time of the window.
    #[default]
    V3,
    /// MLPerf Storage v2: all steps but two over the time of the window.
    V2,
    /// Published v1.0 runs, DLIO 2.0.0 and every evaluation: all steps over the whole block.
    V1,
}

/// What the formulas need beside the step lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// Whose formula.
    pub variant: Variant,
    /// Steps left out at the start of each block (`output.metric.exclude_start_steps`).
    pub exclude_start_steps: u64,
    /// Steps left out at the end (`output.metric.exclude_end_steps`).
    pub exclude_end_steps: u64,
    /// Steps that the plan expects of an epoch.
    pub expected_steps: u64,
}

/// Figures of one rank in one block, one evaluation or one epoch.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct EpochValue {
    /// Accelerator utilization, 0 to 100.
    pub au_percent: f64,
    /// Samples per second of this rank.
    pub samples_per_s: f64,
    /// Steps that were done.
    pub steps: u64,
}

/// Figures of one epoch summed over ranks; every field is merged by a sum.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct EpochSums {
    /// Sum of AU in percent.
    pub au_percent: f64,
    /// Sum of samples per second.
    pub samples_per_s: f64,
    /// Number of ranks.
    pub ranks: f64,
}

/// Figures of a run, by epoch and over epochs.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RunFigures {
    /// Mean over ranks.
    pub au_percent_per_epoch: Vec<f64>,
    /// Sum over ranks.
    pub samples_per_s_per_epoch: Vec<f64>,
    /// Mean and population standard deviation over epochs.
    pub au_percent: Spread,
    /// The same of samples per second.
    pub samples_per_s: Spread,
}

/// Mean and population standard deviation.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Spread {
    /// Arithmetic mean, 0 of nothing.
    pub mean: f64,
    /// Square root of the mean squared deviation (ddof 0).
    pub stdev: f64,
}

/// AU and throughput of one rank in one block.
///
/// With s0 = excluded start steps and s1 = expected steps - 1 - excluded end steps, the window W is
/// the list positions s0..=s1 and T = block - sum(proc\[..s0\]) - sum(proc\[s1+1..\]), where proc =
/// load + compute. AU = 100 sum(compute\[W\]) / T. Throughput is samples\[W\] / T (v3), the samples
/// of all steps but the first and the last / T (v2), or all samples / block (v1). An empty window
/// or T <= 0 gives 0.
///
/// Source: DLIO `statscounter.py`, `end_block`. It counts steps times the batch size, so |W| batch,
/// (N - 2) batch and N batch: the same as long as every batch is full. A last batch that is not
/// (`io.drop_last: False`) counts here with the samples that it has.
pub fn block_value(block: &BlockLog, rules: &Rules) -> EpochValue {
    let steps = block.compute_s.len().min(block.load_s.len());
    let start = clip(rules.exclude_start_steps, steps);
    let end = clip(rules.expected_steps.saturating_sub(rules.exclude_end_steps), steps);
    let excluded_s: f64 = (0..steps.min(start))
        .chain(end.max(start)..steps)
        .map(|step| block.load_s[step] + block.compute_s[step])
        .sum();
    let window_s = block.duration_s - excluded_s;
    let window = block.compute_s.get(start..end).unwrap_or_default();
    let per_s = |steps: std::ops::Range<usize>, time_s: f64| {
        if time_s > 0.0 { samples_of(block, steps) as f64 / time_s } else { 0.0 }
    };
    let in_window = !window.is_empty() && window_s > 0.0;
    let samples_per_s = match rules.variant {
        Variant::V1 => per_s(0..steps, block.duration_s),
        _ if !in_window => 0.0,
        Variant::V2 => per_s(1..steps.saturating_sub(1), window_s),
        Variant::V3 => per_s(start..end, window_s),
    };
    let au_percent = if in_window { 100.0 * window.iter().sum::<f64>() / window_s } else { 0.0 };
    EpochValue { au_percent, samples_per_s, steps: steps as u64 }
}

/// Samples of `steps`; none of an empty or reversed range.
fn samples_of(block: &BlockLog, steps: std::ops::Range<usize>) -> u64 {
    block.samples.get(steps).unwrap_or_default().iter().sum()
}

/// AU and throughput with nothing left out: all compute over the whole block, all samples over it.
/// What a job would see; stands beside the official figures.
pub fn whole_value(block: &BlockLog) -> EpochValue {
    let steps = block.compute_s.len() as u64;
    if block.duration_s <= 0.0 {
        return EpochValue { steps, ..Default::default() };
    }
    EpochValue {
        au_percent: 100.0 * block.compute_s.iter().sum::<f64>() / block.duration_s,
        samples_per_s: samples_of(block, 0..steps as usize) as f64 / block.duration_s,
        steps,
    }
}

/// A rank's epoch from its blocks: values weighted by the steps of each block.
pub fn epoch_value(blocks: &[EpochValue]) -> EpochValue {
    let steps: u64 = blocks.iter().map(|block| block.steps).sum();
    if steps == 0 {
        return EpochValue::default();
    }
    let weighted = |value: fn(&EpochValue) -> f64| {
        blocks.iter().map(|block| value(block) * block.steps as f64).sum::<f64>() / steps as f64
    };
    EpochValue {
        au_percent: weighted(|block| block.au_percent),
        samples_per_s: weighted(|block| block.samples_per_s),
        steps,
    }
}

impl EpochSums {
    /// The contribution of one rank.
    pub fn of(value: &EpochValue) -> Self {
        EpochSums { au_percent: value.au_percent, samples_per_s: value.samples_per_s, ranks: 1.0 }
    }

    /// Adds other ranks.
    pub fn add(&mut self, other: &EpochSums) {
        self.au_percent += other.au_percent;
        self.samples_per_s += other.samples_per_s;
        self.ranks += other.ranks;
    }

    /// The sums as an array, for a reduction.
    pub fn to_array(&self) -> [f64; 3] {
        [self.au_percent, self.samples_per_s, self.ranks]
    }

    /// The reverse of [`EpochSums::to_array`].
    pub fn from_array(sums: [f64; 3]) -> Self {
        let [au_percent, samples_per_s, ranks] = sums;
        EpochSums { au_percent, samples_per_s, ranks }
    }
}

impl RunFigures {
    /// A run from the reduced sums of its epochs: AU is the mean over ranks, throughput the sum
    /// over ranks; then mean and population standard deviation over all epochs, the first
    /// included.
    pub fn new(epochs: &[EpochSums]) -> Self {
        let mean_au = |sums: &EpochSums| {
            if sums.ranks > 0.0 { sums.au_percent / sums.ranks } else { 0.0 }
        };
        let au_percent_per_epoch: Vec<f64> = epochs.iter().map(mean_au).collect();
        let samples_per_s_per_epoch: Vec<f64> = epochs.iter().map(|e| e.samples_per_s).collect();
        RunFigures {
            au_percent: Spread::of(&au_percent_per_epoch),
            samples_per_s: Spread::of(&samples_per_s_per_epoch),
            au_percent_per_epoch,
            samples_per_s_per_epoch,
        }
    }

    /// Whether mean AU reaches the fraction `metric.au`.
    pub fn au_pass(&self, required: f64) -> bool {
        self.au_percent.mean >= 100.0 * required
    }

    /// Samples per second as MiB per second of configured bytes, which DLIO calls MB:
    /// samples/s x record length / 2^20. Not the bytes that were read.
    pub fn mib_per_s(&self, record_length_bytes: f64) -> Spread {
        let factor = record_length_bytes / f64::from(1 << 20);
        let Spread { mean, stdev } = self.samples_per_s;
        Spread { mean: mean * factor, stdev: stdev * factor }
    }
}

impl Spread {
    /// Mean and population standard deviation of `values`.
    pub fn of(values: &[f64]) -> Self {
        if values.is_empty() {
            return Spread::default();
        }
        let count = values.len() as f64;
        let mean = values.iter().sum::<f64>() / count;
        let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / count;
        Spread { mean, stdev: variance.sqrt() }
    }
}

fn clip(steps: u64, len: usize) -> usize {
    usize::try_from(steps).unwrap_or(usize::MAX).min(len)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(variant: Variant) -> Rules {
        Rules { variant, exclude_start_steps: 1, exclude_end_steps: 0, expected_steps: 4 }
    }

    /// Four steps, the first slow to load; 0.4 s of barrier in the block.
    fn block() -> BlockLog {
        BlockLog {
            duration_s: 8.4,
            load_s: vec![3.0, 0.5, 0.25, 0.25],
            compute_s: vec![1.0; 4],
            samples: vec![10; 4],
            ..Default::default()
        }
    }

    #[test]
    fn the_window_leaves_out_the_first_step() {
        let value = block_value(&block(), &rules(Variant::V3));
        assert!((value.au_percent - 100.0 * 3.0 / 4.4).abs() < 1e-9);
        assert!((value.samples_per_s - 30.0 / 4.4).abs() < 1e-9);
        assert_eq!(value.steps, 4);
    }

    #[test]
    fn the_older_variants_differ_in_throughput_only() {
        let (v2, v1) = (block_value(&block(), &rules(Variant::V2)), rules(Variant::V1));
        assert!((v2.samples_per_s - 20.0 / 4.4).abs() < 1e-9);
        let v1 = block_value(&block(), &v1);
        assert!((v1.samples_per_s - 40.0 / 8.4).abs() < 1e-9);
        assert_eq!(v1.au_percent, v2.au_percent);
    }

    #[test]
    fn steps_excluded_at_the_end_leave_the_time_too() {
        let rules = Rules { exclude_end_steps: 1, ..rules(Variant::V3) };
        let value = block_value(&block(), &rules);
        let window_s = 8.4 - 4.0 - 1.25;
        assert!((value.au_percent - 100.0 * 2.0 / window_s).abs() < 1e-9);
        assert!((value.samples_per_s - 20.0 / window_s).abs() < 1e-9);
    }

    #[test]
    fn steps_beyond_the_expected_ones_are_excluded() {
        let rules = Rules { expected_steps: 3, ..rules(Variant::V3) };
        let value = block_value(&block(), &rules);
        assert!((value.samples_per_s - 20.0 / (8.4 - 4.0 - 1.25)).abs() < 1e-9);
    }

    #[test]
    fn a_later_block_is_shorter_than_the_expected_steps() {
        let rules = Rules { expected_steps: 100, ..rules(Variant::V3) };
        assert_eq!(block_value(&block(), &rules), block_value(&block(), &self::rules(Variant::V3)));
    }

    #[test]
    fn an_empty_window_or_no_time_gives_zero() {
        for variant in [Variant::V3, Variant::V2] {
            let all = Rules { exclude_start_steps: 9, ..rules(variant) };
            assert_eq!(block_value(&block(), &all).au_percent, 0.0);
            assert_eq!(block_value(&block(), &all).samples_per_s, 0.0);
            let short = BlockLog { duration_s: 3.0, ..block() };
            let value = block_value(&short, &rules(variant));
            assert_eq!((value.au_percent, value.samples_per_s), (0.0, 0.0));
        }
        let empty = BlockLog { duration_s: 1.0, ..Default::default() };
        assert_eq!(block_value(&empty, &rules(Variant::V3)), EpochValue::default());
        assert_eq!(block_value(&empty, &rules(Variant::V1)), EpochValue::default());
    }

    #[test]
    fn overlapping_exclusions_leave_no_window() {
        let rules = Rules { exclude_start_steps: 3, exclude_end_steps: 3, ..rules(Variant::V3) };
        let value = block_value(&block(), &rules);
        assert_eq!((value.au_percent, value.samples_per_s), (0.0, 0.0));
    }

    #[test]
    fn the_whole_block_counts_everything() {
        let value = whole_value(&block());
        assert!((value.au_percent - 100.0 * 4.0 / 8.4).abs() < 1e-9);
        assert!((value.samples_per_s - 40.0 / 8.4).abs() < 1e-9);
        assert_eq!(whole_value(&BlockLog::default()), EpochValue::default());
    }

    /// Nine samples in batches of eight, `io.drop_last: False`.
    #[test]
    fn a_short_last_batch_counts_with_the_samples_it_has() {
        let block = BlockLog {
            duration_s: 0.040,
            load_s: vec![0.020, 0.0],
            compute_s: vec![0.010; 2],
            samples: vec![8, 1],
            ..Default::default()
        };
        let value = |variant| block_value(&block, &Rules { expected_steps: 2, ..rules(variant) });
        assert!((value(Variant::V3).samples_per_s - 1.0 / 0.010).abs() < 1e-9);
        assert!((value(Variant::V1).samples_per_s - 9.0 / 0.040).abs() < 1e-9);
        assert_eq!(value(Variant::V2).samples_per_s, 0.0);
        assert!((whole_value(&block).samples_per_s - 225.0).abs() < 1e-9);
        let full = Rules { variant: Variant::V2, ..rules(Variant::V3) };
        let short = BlockLog { samples: vec![10, 10, 10, 3], ..self::block() };
        assert_eq!(block_value(&short, &full), block_value(&self::block(), &full));
    }

    #[test]
    fn blocks_weigh_by_their_steps() {
        let blocks = [
            EpochValue { au_percent: 90.0, samples_per_s: 10.0, steps: 3 },
            EpochValue { au_percent: 50.0, samples_per_s: 30.0, steps: 1 },
        ];
        let epoch = epoch_value(&blocks);
        assert_eq!(epoch, EpochValue { au_percent: 80.0, samples_per_s: 15.0, steps: 4 });
        assert_eq!(epoch_value(&[]), EpochValue::default());
    }

    #[test]
    fn a_run_is_the_mean_of_au_and_the_sum_of_throughput() {
        let value = |au_percent, samples_per_s| EpochValue { au_percent, samples_per_s, steps: 1 };
        let mut first = EpochSums::of(&value(80.0, 5.0));
        first.add(&EpochSums::of(&value(90.0, 6.0)));
        let second = EpochSums::from_array([190.0, 13.0, 2.0]);
        assert_eq!(EpochSums::from_array(second.to_array()), second);
        let run = RunFigures::new(&[first, second]);
        assert_eq!(run.au_percent_per_epoch, [85.0, 95.0]);
        assert_eq!(run.samples_per_s_per_epoch, [11.0, 13.0]);
        assert_eq!(run.au_percent, Spread { mean: 90.0, stdev: 5.0 });
        assert_eq!(run.samples_per_s, Spread { mean: 12.0, stdev: 1.0 });
        assert!(run.au_pass(0.90));
        assert!(!run.au_pass(0.91));
        assert_eq!(run.mib_per_s(524_288.0), Spread { mean: 6.0, stdev: 0.5 });
        assert_eq!(RunFigures::new(&[]), RunFigures::default());
    }
}
