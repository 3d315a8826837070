//! The schema of `result.json`: the one source of all reports.
//!
//! Everything here is merged over ranks already. Bytes and nanoseconds are integers, units stand in
//! the names, and every rate is over the `window_s` of its phase. The meaning and the merge rule of
//! each key stand in `metrics::catalog`.

use super::cache::CacheState;
use super::checkpoint::CheckpointMetrics;
use super::official::RunFigures;
use crate::config::CacheMode;
use crate::host::HostFacts;
use crate::metrics::{ByteCounts, OpCounts, Summary};
use crate::storage::StoreFacts;
use crate::storage::proof::AlignmentProbe;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Version of the schema.
pub const SCHEMA: u32 = 1;

/// A whole run.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct RunResult {
    pub schema: u32,
    pub tool: Tool,
    pub run: Run,
    /// Effective configuration.
    pub config: serde_json::Value,
    /// Keys that had no effect.
    pub config_notes: Vec<String>,
    pub environment: Vec<HostFacts>,
    pub calibration: Option<Calibration>,
    pub phases: Vec<Phase>,
    pub verdict: Verdict,
}

/// The binary.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Tool {
    pub version: String,
    pub commit: String,
    pub features: Vec<String>,
}

/// The launch.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Run {
    pub id: String,
    pub command: String,
    /// ISO 8601 with microseconds, UTC.
    pub started: String,
    pub ended: String,
    pub ranks: u64,
    pub hosts: u64,
    pub ranks_per_host: u64,
    /// Emulated by the ranks, all together.
    pub accelerators: u64,
    /// Seed of `random` shuffles.
    pub seed: u64,
    /// Hash of the plan that was executed.
    pub plan_hash: String,
    /// True: the run was interrupted and the figures cover a part of it.
    pub partial: bool,
}

/// The ceiling of the client: the same loop against the null store.
#[derive(Debug, Clone, Serialize, Deserialize, Default)]
#[allow(missing_docs)]
pub struct Calibration {
    pub null_store_requests_per_s_per_rank: f64,
    pub null_store_gib_per_s_per_rank: f64,
    pub generator_gib_per_s_per_thread: f64,
    pub verifier_gib_per_s_per_thread: f64,
    /// Error of the compute sleep on this host.
    pub sleep_error_ns: Summary,
    /// Of writing checkpoints, content included; where they are not written in the background.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint_save: Option<Ceiling>,
    /// Of reading them, without comparison.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint_restore: Option<Ceiling>,
}

/// What a rank reaches on the null store.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, Default, PartialEq)]
#[allow(missing_docs)]
pub struct Ceiling {
    pub requests_per_s_per_rank: f64,
    pub gib_per_s_per_rank: f64,
}

/// One phase.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Phase {
    /// `datagen`, `training`, `evaluation`, ...
    pub kind: String,
    pub name: String,
    pub window_s: f64,
    pub bytes: ByteCounts,
    pub ops: OpCounts,
    pub rate: Rate,
    pub client: Client,
    pub storage: StoreFacts,
    /// Proof of directness, see `DirectProof`.
    pub proof: Option<DirectProof>,
    /// Keys `read`, `write`, `sync`, `open`.
    pub latency_ns: BTreeMap<String, Summary>,
    pub ranks: Ranks,
    pub verify: VerifyOutcome,
    /// What belongs to the workload.
    pub metrics: serde_json::Value,
}

/// Rates over the window, of all ranks together.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, Default)]
pub struct Rate {
    /// Requested bytes.
    pub gib_per_s: f64,
    /// Nominal bytes.
    pub nominal_gib_per_s: f64,
    /// Data operations.
    pub ops_per_s: f64,
}

/// What the client itself used.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, Default)]
pub struct Client {
    /// User and system seconds of all ranks.
    pub cpu_s: f64,
    /// The same for each GiB requested.
    pub cpu_s_per_gib: f64,
    /// CPU time over that of all CPUs that a host's ranks may run on, 0 to 1; of the busiest host.
    pub cpu_share_max: f64,
    /// Largest resident set of a rank since it started; pages of hugetlb are not in it.
    pub peak_rss_bytes: u64,
    /// Bytes mapped for I/O buffers by the threads of this phase; of the rank with most.
    pub buffer_bytes: u64,
}

/// Claimed bytes against what the kernel counted.
#[derive(Debug, Clone, Serialize, Deserialize, Default)]
pub struct DirectProof {
    /// `read` or `write`: which bytes are counted here.
    #[serde(default)]
    pub direction: String,
    /// Bytes that this phase says it transferred in that direction.
    pub claimed_bytes: u64,
    /// `/proc/self/io` of all ranks: bytes fetched from or sent to the storage layer. None where
    /// the probe found that direct transfers on this file system are not counted there.
    pub process_io_bytes: Option<u64>,
    /// Counters of the block devices behind the data folder, all hosts.
    pub device_bytes: Option<u64>,
    /// Share of sampled pages that were resident in the page cache before the phase, 0 to 1.
    pub resident_before: Option<f64>,
    /// The same after it.
    pub resident_after: Option<f64>,
    /// What the alignment probe found.
    pub alignment_probe: Option<AlignmentProbe>,
    /// Why there is no probe.
    pub not_probed: Option<String>,
    /// Why the bytes of the block devices come from memory, if they do.
    pub memory_device: Option<String>,
}

/// Stragglers.
#[derive(Debug, Clone, Serialize, Deserialize, Default)]
#[allow(missing_docs)]
pub struct Ranks {
    pub slowest: SlowestRank,
    /// Slowest over fastest.
    pub imbalance: f64,
}

/// The rank that took longest.
#[derive(Debug, Clone, Serialize, Deserialize, Default)]
#[allow(missing_docs)]
pub struct SlowestRank {
    pub rank: u64,
    pub host: String,
    pub ratio_to_median: f64,
}

impl Ranks {
    /// Names the slowest of all ranks; `seconds` holds the time of each rank, `host` tells where a
    /// rank runs. All zero for an empty world.
    pub fn of(seconds: &[f64], host: impl FnOnce(usize) -> String) -> Self {
        let by_time = |a: &&f64, b: &&f64| a.total_cmp(b);
        let Some((rank, &slowest)) =
            seconds.iter().enumerate().max_by(|(_, a), (_, b)| a.total_cmp(b))
        else {
            return Ranks::default();
        };
        let fastest = seconds.iter().min_by(by_time).copied().unwrap_or_default();
        let mut sorted = seconds.to_vec();
        let middle = sorted.len() / 2;
        let (below, &mut upper, _) = sorted.select_nth_unstable_by(middle, f64::total_cmp);
        let median = if seconds.len() % 2 == 1 {
            upper
        } else {
            (below.iter().max_by(by_time).copied().unwrap_or(upper) + upper) / 2.0
        };
        let ratio = |over: f64| if over > 0.0 { slowest / over } else { 0.0 };
        let slowest =
            SlowestRank { rank: rank as u64, host: host(rank), ratio_to_median: ratio(median) };
        Ranks { slowest, imbalance: ratio(fastest) }
    }
}

/// What verification checked; a byte that is wrong ends the run, so a result has none.
#[derive(Debug, Clone, Serialize, Deserialize, Default)]
#[allow(missing_docs)]
pub struct VerifyOutcome {
    pub mode: String,
    /// `inside`: checks are made within the measured window.
    pub window: String,
    pub bytes_checked: u64,
}

/// Status of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Status {
    /// Every rule held.
    Valid,
    /// A rule failed; the reasons say which.
    Invalid,
    /// Bytes claimed exceed what the device delivered, or residency was seen.
    Cached,
    /// The null store on this host could not have gone faster.
    ClientBound,
}

/// Verdict.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Verdict {
    /// The gravest of the findings.
    pub status: Status,
    /// One sentence for each finding, the gravest first; a valid run has none. (Results of builds
    /// without `held` have there what held.)
    pub reasons: Vec<String>,
    /// One sentence for each rule that held, and for each that could not be applied.
    #[serde(default)]
    pub held: Vec<String>,
}

/// `metrics` of a phase of kind `training` or `evaluation`.
#[derive(Debug, Clone, Serialize, Deserialize, Default, PartialEq)]
pub struct TrainingMetrics {
    /// Epochs of the phase (evaluations of a phase `evaluation`).
    pub epochs: u64,
    /// Steps that every rank did in the phase.
    pub steps: u64,
    /// Samples of all ranks.
    pub samples: u64,
    /// Official AU of each epoch: mean over ranks.
    pub au_percent_per_epoch: Vec<f64>,
    /// Mean over epochs.
    pub au_percent_mean: f64,
    /// Population standard deviation over epochs.
    pub au_percent_stdev: f64,
    /// `metric.au` in percent.
    pub au_required_percent: f64,
    /// `au_percent_mean` reaches `au_required_percent`.
    pub au_pass: bool,
    /// Official samples per second of each epoch: sum over ranks.
    pub samples_per_s_per_epoch: Vec<f64>,
    /// Mean over epochs.
    pub samples_per_s_mean: f64,
    /// Population standard deviation over epochs.
    pub samples_per_s_stdev: f64,
    /// The same mean by the formula of MLPerf Storage v2 (steps - 2).
    pub samples_per_s_mean_v2: f64,
    /// Official throughput as MiB of configured bytes per second (DLIO's `MB_per_second`).
    pub nominal_mib_per_s_mean: f64,
    /// Population standard deviation over epochs.
    pub nominal_mib_per_s_stdev: f64,
    /// AU with nothing left out, all compute over the whole epoch: mean over ranks and epochs.
    pub au_whole_percent: f64,
    /// Samples per second with nothing left out: sum over ranks, mean over epochs.
    pub samples_per_s_whole: f64,
    /// Steps of a block that the official window leaves out at its start.
    pub excluded_start_steps: u64,
    /// The same at its end.
    pub excluded_end_steps: u64,
    /// Wait for the batch of a step.
    pub load_wait_ns: Summary,
    /// Measured compute sleep of a step.
    pub compute_ns: Summary,
    /// Wait in the barrier of a step.
    pub barrier_ns: Summary,
    /// How far the compute sleep of a step missed the configured time.
    pub compute_error_ns: Summary,
    /// Time to decode what was read for one run of samples, mostly a row group, on an I/O thread;
    /// missing without `io.decode`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decode_ns: Option<Summary>,
    /// Measured over configured compute time, all ranks together.
    pub compute_measured_over_configured: f64,
    /// The same of the rank with the largest ratio; null where nothing is computed.
    #[serde(default)]
    pub compute_over_configured_max: Option<RankValue>,
    /// `au_percent_mean` with the configured compute time in the numerator.
    pub au_percent_by_configured_compute: f64,
    /// Share of the window in step barriers that no rank's load and configured compute explain:
    /// mean over ranks; null where steps have no barrier.
    #[serde(default)]
    pub barrier_lost_percent: Option<f64>,
    /// Share of the window in which the step loop of a rank waited for a CPU: the rank with most;
    /// null where the kernel does not count that.
    #[serde(default)]
    pub cpu_wait_percent_max: Option<RankValue>,
    /// Batches that a rank may hold in flight or ready.
    pub prefetch_window_batches: u64,
    /// `io.cache`.
    pub cache: CacheMode,
    /// Epochs that did not begin with their data in the page cache: seen so, or with O_DIRECT in
    /// force where it cannot be seen.
    pub uncached_epochs: u64,
    /// `au_percent_mean` over those alone; null if there is none.
    pub au_percent_mean_uncached: Option<f64>,
    /// `samples_per_s_mean` over those alone; null if there is none.
    pub samples_per_s_mean_uncached: Option<f64>,
    /// Each epoch by itself.
    pub blocks: Vec<EpochBlock>,
}

/// A value of the one rank that stands out by it.
#[derive(Debug, Clone, Serialize, Deserialize, Default, PartialEq)]
#[allow(missing_docs)]
pub struct RankValue {
    pub rank: u64,
    pub host: String,
    pub value: f64,
}

/// One epoch (or one evaluation) of all ranks.
#[derive(Debug, Clone, Serialize, Deserialize, Default, PartialEq)]
pub struct EpochBlock {
    /// Number of the epoch, from 1.
    pub epoch: u64,
    /// Blocks that checkpoints cut it into.
    pub blocks: u64,
    /// Longest block of a rank; of several blocks the sum.
    pub window_s: f64,
    /// Bytes asked for by all ranks.
    pub requested_bytes: u64,
    /// Their rate over the window.
    pub gib_per_s: f64,
    /// Share of sampled pages that were in the page cache when it began; null where that cannot be
    /// seen.
    pub resident_before: Option<f64>,
    /// The same in a word.
    pub cache_before: CacheState,
    /// Seconds, outside the window, that dropping the page cache took on the slowest rank; null:
    /// nothing was dropped.
    pub cache_drop_s: Option<f64>,
}

impl EpochBlock {
    /// Adds the next block of the same epoch.
    pub fn join(&mut self, next: &EpochBlock) {
        self.blocks += next.blocks;
        self.window_s += next.window_s;
        self.requested_bytes += next.requested_bytes;
        let gib = self.requested_bytes as f64 / (1u64 << 30) as f64;
        self.gib_per_s = if self.window_s > 0.0 { gib / self.window_s } else { 0.0 };
    }
}

/// `metrics` of a phase of kind `datagen`.
#[derive(Debug, Clone, Serialize, Deserialize, Default, PartialEq)]
pub struct DatagenMetrics {
    /// Files made by this run.
    pub files_written: u64,
    /// Files that were there already and were kept.
    pub files_kept: u64,
    /// Bytes of the files made, headers and trailers included.
    pub file_bytes: u64,
    /// Seconds of the I/O threads of all ranks in the generator.
    pub generator_s: f64,
    /// Rate of the generator in one thread while it ran.
    pub generator_gib_per_s_per_thread: f64,
    /// Share of the I/O threads' time that it took; near 1: the generator was the limit.
    pub generator_share: f64,
}

/// One run by each formula of `official`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct FiguresByFormula {
    /// By `block_value` with `Variant::V3` (an evaluation: `Variant::V1`).
    pub official: RunFigures,
    /// By `block_value` with `Variant::V2`.
    pub v2: RunFigures,
    /// By `whole_value`.
    pub whole: RunFigures,
}

impl TrainingMetrics {
    /// Fills all figures of AU and throughput; `required_au` is the fraction `metric.au`.
    pub fn set_figures(
        &mut self,
        by_formula: &FiguresByFormula,
        required_au: f64,
        nominal_sample_bytes: f64,
    ) {
        let FiguresByFormula { official: figures, v2, whole } = by_formula;
        let mib = figures.mib_per_s(nominal_sample_bytes);
        self.au_percent_per_epoch.clone_from(&figures.au_percent_per_epoch);
        self.au_percent_mean = figures.au_percent.mean;
        self.au_percent_stdev = figures.au_percent.stdev;
        self.au_required_percent = 100.0 * required_au;
        self.au_pass = figures.au_pass(required_au);
        self.samples_per_s_per_epoch.clone_from(&figures.samples_per_s_per_epoch);
        self.samples_per_s_mean = figures.samples_per_s.mean;
        self.samples_per_s_stdev = figures.samples_per_s.stdev;
        self.samples_per_s_mean_v2 = v2.samples_per_s.mean;
        self.nominal_mib_per_s_mean = mib.mean;
        self.nominal_mib_per_s_stdev = mib.stdev;
        self.au_whole_percent = whole.au_percent.mean;
        self.samples_per_s_whole = whole.samples_per_s.mean;
    }
}

impl Phase {
    /// The metrics of a training or an evaluation; None for other kinds.
    pub fn training(&self) -> Option<TrainingMetrics> {
        let has_training = matches!(self.kind.as_str(), "training" | "evaluation");
        has_training.then(|| serde_json::from_value(self.metrics.clone()).ok()).flatten()
    }

    /// The metrics of writing or reading checkpoints; None for other kinds.
    pub fn checkpoint(&self) -> Option<CheckpointMetrics> {
        let is_one = matches!(self.kind.as_str(), "checkpoint_save" | "checkpoint_restore");
        is_one.then(|| serde_json::from_value(self.metrics.clone()).ok()).flatten()
    }

    /// No storage was behind this phase.
    pub fn is_null_store(&self) -> bool {
        self.storage.engine.split(['(', ')']).any(|part| part == "null")
    }
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Status::Valid => "VALID",
            Status::Invalid => "INVALID",
            Status::Cached => "CACHED",
            Status::ClientBound => "CLIENT_BOUND",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::catalog::{CATALOG, find};
    use crate::report::official::EpochSums;
    use crate::report::sample;
    use std::collections::BTreeSet;

    #[test]
    fn the_slowest_rank_is_named_with_its_host() {
        let ranks = Ranks::of(&[1.0, 4.0, 2.0, 1.0], |rank| format!("node{rank}"));
        assert_eq!((ranks.slowest.rank, ranks.slowest.host.as_str()), (1, "node1"));
        assert_eq!(ranks.slowest.ratio_to_median, 4.0 / 1.5);
        assert_eq!(ranks.imbalance, 4.0);
        let odd = Ranks::of(&[3.0, 1.0, 2.0], |_| "n".into());
        assert_eq!((odd.slowest.rank, odd.slowest.ratio_to_median), (0, 1.5));
        assert_eq!(Ranks::of(&[2.0], |_| "n".into()).imbalance, 1.0);
        assert_eq!(Ranks::of(&[0.0, 0.0], |_| "n".into()).imbalance, 0.0);
        assert_eq!(Ranks::of(&[], |_| unreachable!("no rank")).imbalance, 0.0);
    }

    #[test]
    fn figures_come_from_their_formulas() {
        let run = |au: f64, rate: f64| RunFigures::new(&[EpochSums::from_array([au, rate, 1.0])]);
        let figures = FiguresByFormula {
            official: run(90.0, 1024.0),
            v2: run(90.0, 1000.0),
            whole: run(80.0, 900.0),
        };
        let mut metrics = TrainingMetrics::default();
        metrics.set_figures(&figures, 0.9, 1024.0);
        assert_eq!((metrics.au_percent_mean, metrics.au_pass), (90.0, true));
        assert_eq!((metrics.au_whole_percent, metrics.samples_per_s_whole), (80.0, 900.0));
        assert_eq!(metrics.samples_per_s_mean_v2, 1000.0);
        assert_eq!(metrics.nominal_mib_per_s_mean, 1.0);
        assert_eq!(metrics.samples_per_s_per_epoch, [1024.0]);
    }

    #[test]
    fn the_null_store_is_known_behind_wrappers() {
        let mut phase = sample::phase("training");
        for (engine, null) in
            [("null", true), ("delay(null)", true), ("uring", false), ("delay(uring)", false)]
        {
            phase.storage.engine = engine.into();
            assert_eq!(phase.is_null_store(), null, "{engine}");
        }
    }

    /// Key paths of all leaves: `[]` for list elements, null and empty lists included.
    fn leaves(value: &serde_json::Value, path: &str, into: &mut BTreeSet<String>) {
        match value {
            serde_json::Value::Object(map) => map.iter().for_each(|(key, value)| {
                let dot = if path.is_empty() { "" } else { "." };
                leaves(value, &format!("{path}{dot}{key}"), into);
            }),
            serde_json::Value::Array(list) => {
                assert!(!list.is_empty(), "{path} holds nothing in the sample");
                list.iter().for_each(|value| leaves(value, &format!("{path}[]"), into));
            }
            _ => {
                into.insert(path.to_owned());
            }
        }
    }

    #[test]
    fn every_key_is_in_the_catalogue_and_every_entry_in_a_result() {
        let mut found = BTreeSet::new();
        let mut full = sample::result();
        full.verdict.reasons.push("a finding.".into());
        leaves(&serde_json::to_value(full).unwrap(), "", &mut found);
        let unknown: Vec<_> = found.iter().filter(|path| find(path).is_none()).collect();
        assert!(unknown.is_empty(), "not in metrics::catalog: {unknown:?}");
        let used: BTreeSet<_> =
            found.iter().filter_map(|path| find(path)).map(|metric| metric.path).collect();
        let all: BTreeSet<_> =
            CATALOG.iter().flat_map(|section| section.metrics).map(|m| m.path).collect();
        let stale: Vec<_> = all.difference(&used).collect();
        assert!(stale.is_empty(), "in metrics::catalog, but in no result: {stale:?}");
    }

    #[test]
    fn a_result_without_what_held_is_still_read() {
        let mut old = serde_json::to_value(sample::result()).unwrap();
        old["verdict"] = serde_json::json!({"status": "VALID", "reasons": ["AU reaches."]});
        let metrics = old["phases"][1]["metrics"].as_object_mut().unwrap();
        for key in ["compute_over_configured_max", "barrier_lost_percent", "cpu_wait_percent_max"] {
            assert!(metrics.remove(key).is_some(), "{key}");
        }
        let old: RunResult = serde_json::from_value(old).unwrap();
        assert_eq!((old.verdict.reasons.len(), old.verdict.held.len()), (1, 0));
        assert_eq!(old.phases[1].training().unwrap().barrier_lost_percent, None);
    }

    #[test]
    fn status_is_printed_as_it_is_stored() {
        for status in [Status::Valid, Status::Invalid, Status::Cached, Status::ClientBound] {
            assert_eq!(serde_json::to_value(status).unwrap(), status.to_string());
        }
    }
}
