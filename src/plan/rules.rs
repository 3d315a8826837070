//! The smallest training set that MLPerf Storage accepts, with the reason for each bound.
//!
//! Sizing rule of the benchmark's `datasize` command, with `ceil` in both lines as its later
//! revisions have it: at least five times the memory of all client hosts, so that no page cache
//! holds the set, and at least 500 steps for each accelerator in an epoch. Sizes are nominal
//! (configured), as the rule's are.

use super::show::{binary, grouped};
use super::{Crowd, WorldShape};

/// Memory of all hosts that the dataset must exceed this many times.
const MEMORY_FACTOR: u128 = 5;
/// Steps of an epoch that each accelerator must have.
const LEAST_STEPS: u128 = 500;

/// What the rule asks of a dataset.
#[derive(Debug, Clone, PartialEq)]
pub struct MinimumDataset {
    /// Files by the memory bound; None: the memory of a host is not known.
    pub by_bytes: Option<u64>,
    /// Files by the steps bound; None: the workload does not train, so it has no batch size.
    pub by_steps: Option<u64>,
    /// Files that satisfy the bounds that are known.
    pub files: u64,
    /// Both bounds are known, or only the steps bound does not apply, and the dataset satisfies
    /// them.
    pub meets: bool,
    /// A sentence for each bound, and one for the outcome.
    pub reasons: Vec<String>,
}

/// The figures that the rule looks at.
#[derive(Debug, Clone, Copy)]
pub struct RuleInput {
    /// Files of the training set.
    pub files: u64,
    /// Samples in each.
    pub samples_per_file: u64,
    /// Configured bytes of a sample.
    pub sample_bytes: f64,
    /// Samples of a step and accelerator; None: the workload does not train.
    pub batch: Option<u64>,
}

impl MinimumDataset {
    /// Applies the rule to a dataset and a world.
    pub(super) fn new(input: RuleInput, world: WorldShape, crowd: Crowd) -> MinimumDataset {
        let mut reasons = Vec::new();
        let by_bytes = files_by_bytes(input, world, &mut reasons);
        let by_steps = files_by_steps(input, crowd, &mut reasons);
        let files = by_bytes.unwrap_or(0).max(by_steps.unwrap_or(0));
        let meets = input.files >= files && by_bytes.is_some();
        let have = grouped(input.files);
        reasons.push(if input.files < files {
            format!(
                "the {have} training files are fewer than {}: no valid MLPerf result; set \
                 dataset.num_files_train={files}",
                grouped(files)
            )
        } else if meets {
            format!("the {have} training files are enough")
        } else {
            format!("the {have} training files are enough as far as could be checked")
        });
        MinimumDataset { by_bytes, by_steps, files, meets, reasons }
    }
}

fn files_by_bytes(input: RuleInput, world: WorldShape, reasons: &mut Vec<String>) -> Option<u64> {
    if world.memory_per_host_bytes == 0 {
        reasons.push("memory: not checked, since the memory of a host is not known".into());
        return None;
    }
    let memory = u128::from(world.memory_per_host_bytes) * u128::from(world.hosts);
    let file_bytes = input.sample_bytes * input.samples_per_file as f64;
    let files = ((MEMORY_FACTOR * memory) as f64 / file_bytes).ceil() as u64;
    reasons.push(format!(
        "memory: {MEMORY_FACTOR} x {} of {} / {} per file = at least {}",
        binary(world.memory_per_host_bytes as f64),
        counted(world.hosts, "host"),
        binary(file_bytes),
        counted(files, "file"),
    ));
    Some(files)
}

fn files_by_steps(input: RuleInput, crowd: Crowd, reasons: &mut Vec<String>) -> Option<u64> {
    let Some(batch) = input.batch else {
        reasons.push(
            "steps: not checked, since this workload does not train; plan it with the file that \
             does"
                .into(),
        );
        return None;
    };
    let samples = LEAST_STEPS * u128::from(crowd.accelerators) * u128::from(batch);
    let files = samples.div_ceil(u128::from(input.samples_per_file));
    let files = u64::try_from(files).unwrap_or(u64::MAX);
    reasons.push(format!(
        "steps: {LEAST_STEPS} steps x {} x batch {} / {} per file = at least {}",
        counted(crowd.accelerators, crowd.noun),
        grouped(batch),
        counted(input.samples_per_file, "sample"),
        counted(files, "file"),
    ));
    Some(files)
}

fn counted(count: u64, noun: &str) -> String {
    format!("{} {noun}{}", grouped(count), if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    fn minimum(files: u64, samples_per_file: u64, sample_bytes: f64, batch: u64) -> MinimumDataset {
        let input = RuleInput { files, samples_per_file, sample_bytes, batch: Some(batch) };
        let world = WorldShape { ranks: 1, hosts: 1, memory_per_host_bytes: 256 * GIB };
        MinimumDataset::new(input, world, crowd(1))
    }

    fn crowd(accelerators: u64) -> Crowd {
        Crowd { accelerators, noun: "rank" }
    }

    #[test]
    fn steps_bound_agrees_with_published_figures() {
        assert_eq!(minimum(1, 1, 146_600_628.0, 7).by_steps, Some(3500));
        assert_eq!(minimum(1, 1251, 114_660.07, 400).by_steps, Some(160));
        assert_eq!(minimum(1, 1, 2_828_486.0, 1).by_steps, Some(500));
        assert_eq!(minimum(1, 1, 322_957.0, 24).by_steps, Some(12_000));
    }

    #[test]
    fn memory_bound_is_rounded_up() {
        // 5 x 256 GiB / 146600628 B = 9375.08
        let unet3d = minimum(9375, 1, 146_600_628.0, 7);
        assert_eq!(unet3d.by_bytes, Some(9376));
        assert!(!unet3d.meets);
        assert!(minimum(9376, 1, 146_600_628.0, 7).meets);
        assert_eq!(
            unet3d.reasons,
            [
                "memory: 5 x 256.0 GiB of 1 host / 139.8 MiB per file = at least 9,376 files",
                "steps: 500 steps x 1 rank x batch 7 / 1 sample per file = at least 3,500 files",
                "the 9,375 training files are fewer than 9,376: no valid MLPerf result; set \
                 dataset.num_files_train=9376",
            ]
        );
    }

    #[test]
    fn unknown_memory_is_no_pass() {
        let input =
            RuleInput { files: 1_000_000, samples_per_file: 1, sample_bytes: 1e6, batch: Some(1) };
        let world = WorldShape { ranks: 8, hosts: 1, memory_per_host_bytes: 0 };
        let rule = MinimumDataset::new(input, world, crowd(world.ranks));
        assert_eq!((rule.by_bytes, rule.by_steps, rule.files), (None, Some(4000), 4000));
        assert!(!rule.meets);
        assert!(rule.reasons[2].ends_with("as far as could be checked"));
    }

    #[test]
    fn generation_alone_has_no_steps_bound() {
        let input =
            RuleInput { files: 10_000, samples_per_file: 1, sample_bytes: 1e9, batch: None };
        let world = WorldShape { ranks: 8, hosts: 2, memory_per_host_bytes: 256 * GIB };
        let rule = MinimumDataset::new(input, world, crowd(world.ranks));
        assert_eq!(rule.by_steps, None);
        assert_eq!(rule.files, 2749);
        assert!(rule.meets);
    }
}
