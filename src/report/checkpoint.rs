//! Figures of writing and reading checkpoints: the honest ones, and those of the reference tool.
//!
//! An operation is one checkpoint written or read by all ranks. All ranks begin it at one barrier,
//! and each measures its own time by its monotonic clock.

use super::official::Spread;
use crate::metrics::Summary;
use serde::{Deserialize, Serialize};

const GIB: f64 = (1u64 << 30) as f64;

/// One checkpoint that was written or read, over all ranks.
#[derive(Debug, Clone, Serialize, Deserialize, Default, PartialEq)]
pub struct CheckpointOperation {
    /// Number of the checkpoint, from 1.
    pub checkpoint: u64,
    /// Bytes that all ranks wrote to or read from storage.
    pub bytes: u64,
    /// Bytes that ranks received from others by MPI, reading with `restore: broadcast`.
    #[serde(default)]
    pub received_bytes: u64,
    /// Time of the slowest rank.
    pub strict_s: f64,
    /// Time of rank 0, with the barrier at its end where `checkpoint.rank_sync` asks for one.
    pub rank0_s: f64,
    /// Mean over ranks.
    pub mean_s: f64,
    /// The slowest rank.
    pub slowest_rank: u64,
    /// Time from the end of the slowest rank until the checkpoint was committed; reading: 0.
    pub commit_s: f64,
    /// Time in syncs of the I/O thread that spent most there.
    pub sync_s: f64,
    /// Share of sampled pages of the files that were in the page cache before they were read.
    pub resident_before: Option<f64>,
    /// Reading: wall clock from the commit of the checkpoint to the begin of its restore, whichever
    /// job wrote it. Below 0 where the clocks of two hosts differ; None: writing, or not known.
    #[serde(default)]
    pub gap_s: Option<f64>,
    /// With `checkpoint.async`: the time for which training stood still on the rank where that
    /// lasted longest; wait for the checkpoint before and snapshot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stall_s: Option<f64>,
    /// The part of `stall_s` that filled the snapshot, on the slowest rank.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshot_s: Option<f64>,
    /// From the end of the snapshot to that of the last file, on the slowest rank.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flush_s: Option<f64>,
}

/// What checkpoints in the background cost, and what they did to the training beside them.
#[derive(Debug, Clone, Serialize, Deserialize, Default, PartialEq)]
pub struct BackgroundMetrics {
    /// Bytes of the largest snapshot of a rank.
    pub snapshot_bytes_per_rank: u64,
    /// Sum over operations of `stall_s`.
    pub stall_s: f64,
    /// Sum over operations of `snapshot_s`.
    pub snapshot_s: f64,
    /// Sum over operations of `flush_s`.
    pub flush_s: f64,
    /// Time for which steps waited for commits and the removal of old checkpoints, on the rank
    /// where that lasted longest; part of the time of the steps below.
    pub settle_s: f64,
    /// Time from the end of the last step until the last checkpoint was committed, on the slowest
    /// rank.
    pub drain_s: f64,
    /// Steps that began while a checkpoint was on its way.
    pub during_flush: StepsBeside,
    /// All others.
    pub outside_flush: StepsBeside,
}

/// Training steps of all ranks, those left out that `output.metric.exclude_start_steps` leaves out
/// of an epoch.
#[derive(Debug, Clone, Serialize, Deserialize, Default, PartialEq)]
pub struct StepsBeside {
    /// Steps of a rank.
    pub steps: u64,
    /// Wait for the batch.
    pub load_wait_ns: Summary,
    /// Compute time over the time of the steps, percent; None: there were none.
    pub au_percent: Option<f64>,
}

impl StepsBeside {
    /// Of the waits of `ranks` ranks, and the sums of their compute times and of the times from the
    /// begin of a step to the end of its barrier.
    pub fn new(load_wait_ns: Summary, ranks: u64, compute_ns: u64, step_ns: u64) -> StepsBeside {
        let au = 100.0 * compute_ns as f64 / step_ns as f64;
        StepsBeside {
            steps: load_wait_ns.count / ranks.max(1),
            // Waits for commits count as time of steps, and there may be such without a step.
            au_percent: (load_wait_ns.count > 0 && step_ns > 0).then_some(au),
            load_wait_ns,
        }
    }
}

/// `metrics` of a phase of kind `checkpoint_save` or `checkpoint_restore`.
#[derive(Debug, Clone, Serialize, Deserialize, Default, PartialEq)]
pub struct CheckpointMetrics {
    /// Checkpoints written or read.
    pub checkpoints: u64,
    /// Files of one.
    pub files: u64,
    /// Bytes of one, on storage.
    pub bytes: u64,
    /// Bytes of one that ranks received from others by MPI.
    #[serde(default)]
    pub received_bytes: u64,
    /// All bytes over the sum of the times of the slowest ranks.
    pub strict_gib_per_s: f64,
    /// The same with what was received by MPI beside what was read.
    #[serde(default)]
    pub delivered_gib_per_s: f64,
    /// All bytes over the same time and that of the commits.
    pub committed_gib_per_s: f64,
    /// Mean over operations of bytes over rank 0's time, as the reference computes it.
    pub official_gib_per_s_mean: f64,
    /// Population standard deviation of the same.
    pub official_gib_per_s_stdev: f64,
    /// Mean of rank 0's times.
    pub official_duration_s_mean: f64,
    /// Population standard deviation of the same.
    pub official_duration_s_stdev: f64,
    /// Time of all commits.
    pub commit_s: f64,
    /// Sum over operations of `sync_s`.
    pub sync_s: f64,
    /// `full`, or `stamped` where most of each block was in the buffers before (writing) or is the
    /// same in all files (reading).
    #[serde(default)]
    pub content: String,
    /// Seconds of all I/O threads that made (writing) or checked (reading) content.
    pub content_s: f64,
    /// Share of the I/O threads' time that made (writing) or checked (reading) content.
    pub content_share: f64,
    /// Share that waited for reads and writes.
    pub transfer_share: f64,
    /// Share in syncs.
    pub sync_share: f64,
    /// Share in creating, opening and closing files.
    pub metadata_share: f64,
    /// Reading, with `--between`: from its begin to its end on the last host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub between_s: Option<f64>,
    /// With `checkpoint.async` only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub background: Option<BackgroundMetrics>,
    /// Time of an operation on a rank.
    pub rank_ns: Summary,
    /// Each checkpoint by itself.
    pub operations: Vec<CheckpointOperation>,
}

/// Times of the I/O threads of all ranks, in nanoseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ThreadTimes {
    /// Making or checking content.
    pub content_ns: u64,
    /// Syncs.
    pub sync_ns: u64,
    /// Creating, opening and closing.
    pub metadata_ns: u64,
    /// All of it.
    pub total_ns: u64,
}

/// DLIO's figures of one direction.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct OfficialCheckpoints {
    /// GiB/s, which DLIO calls GB: size of a checkpoint over rank 0's time, mean over operations.
    pub gib_per_s: Spread,
    /// Seconds of rank 0.
    pub duration_s: Spread,
}

impl OfficialCheckpoints {
    /// Source: DLIO `statscounter.py`, `end_save_ckpt`, `end_load_ckpt`: the rates of rank 0, then
    /// their mean, not all bytes over all time.
    pub fn of(operations: &[CheckpointOperation]) -> OfficialCheckpoints {
        let durations: Vec<f64> = operations.iter().map(|one| one.rank0_s).collect();
        let rates: Vec<f64> =
            operations.iter().map(|one| per(one.bytes as f64 / GIB, one.rank0_s)).collect();
        OfficialCheckpoints { gib_per_s: Spread::of(&rates), duration_s: Spread::of(&durations) }
    }
}

impl ThreadTimes {
    /// Adds other threads.
    pub fn add(&mut self, other: &ThreadTimes) {
        self.content_ns += other.content_ns;
        self.sync_ns += other.sync_ns;
        self.metadata_ns += other.metadata_ns;
        self.total_ns += other.total_ns;
    }

    /// As words, to be summed over ranks.
    pub fn to_words(self) -> [u64; 4] {
        [self.content_ns, self.sync_ns, self.metadata_ns, self.total_ns]
    }

    /// The reverse of [`ThreadTimes::to_words`].
    pub fn from_words(words: [u64; 4]) -> ThreadTimes {
        let [content_ns, sync_ns, metadata_ns, total_ns] = words;
        ThreadTimes { content_ns, sync_ns, metadata_ns, total_ns }
    }
}

impl CheckpointMetrics {
    /// The same with what belongs to checkpoints in the background; sums over operations are made
    /// here.
    pub fn with_background(mut self, background: BackgroundMetrics) -> CheckpointMetrics {
        let sum = |part: fn(&CheckpointOperation) -> Option<f64>| {
            added(self.operations.iter().filter_map(part))
        };
        self.background = Some(BackgroundMetrics {
            stall_s: sum(|one| one.stall_s),
            snapshot_s: sum(|one| one.snapshot_s),
            flush_s: sum(|one| one.flush_s),
            ..background
        });
        self
    }

    /// The same of stamped content, where it is.
    pub fn stamped(mut self, stamped: bool) -> CheckpointMetrics {
        if stamped {
            self.content = "stamped".into();
        }
        self
    }

    /// Figures of `operations` on checkpoints of `files` files and `bytes` bytes.
    pub fn new(
        (files, bytes): (u64, u64),
        operations: Vec<CheckpointOperation>,
        times: &ThreadTimes,
        rank_ns: Summary,
    ) -> CheckpointMetrics {
        let official = OfficialCheckpoints::of(&operations);
        let sum = |part: fn(&CheckpointOperation) -> f64| added(operations.iter().map(part));
        let (strict_s, commit_s) = (sum(|one| one.strict_s), sum(|one| one.commit_s));
        let gib = sum(|one| one.bytes as f64) / GIB;
        let received_gib = sum(|one| one.received_bytes as f64) / GIB;
        let ThreadTimes { content_ns, sync_ns, metadata_ns, total_ns } = *times;
        let share = |ns: u64| per(ns as f64, total_ns as f64);
        let others = content_ns + sync_ns + metadata_ns;
        CheckpointMetrics {
            checkpoints: operations.len() as u64,
            files,
            bytes,
            received_bytes: operations.first().map_or(0, |one| one.received_bytes),
            strict_gib_per_s: per(gib, strict_s),
            delivered_gib_per_s: per(gib + received_gib, strict_s),
            committed_gib_per_s: per(gib, strict_s + commit_s),
            official_gib_per_s_mean: official.gib_per_s.mean,
            official_gib_per_s_stdev: official.gib_per_s.stdev,
            official_duration_s_mean: official.duration_s.mean,
            official_duration_s_stdev: official.duration_s.stdev,
            commit_s,
            sync_s: sum(|one| one.sync_s),
            content: "full".into(),
            content_s: content_ns as f64 / 1e9,
            content_share: share(content_ns),
            transfer_share: share(total_ns.saturating_sub(others)),
            sync_share: share(sync_ns),
            metadata_share: share(metadata_ns),
            between_s: None,
            background: None,
            rank_ns,
            operations,
        }
    }
}

/// Their sum; 0 of nothing, of which `Iterator::sum` makes -0.
fn added(values: impl Iterator<Item = f64>) -> f64 {
    values.fold(0.0, |sum, value| sum + value)
}

fn per(value: f64, over: f64) -> f64 {
    if over > 0.0 { value / over } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operation(strict_s: f64, rank0_s: f64) -> CheckpointOperation {
        CheckpointOperation { bytes: 4 << 30, strict_s, rank0_s, ..Default::default() }
    }

    #[test]
    fn the_official_rate_is_a_mean_of_rates_and_the_strict_one_is_not() {
        let operations = vec![operation(4.0, 1.0), operation(4.0, 4.0)];
        let times = ThreadTimes { content_ns: 10, sync_ns: 20, metadata_ns: 30, total_ns: 100 };
        let metrics = CheckpointMetrics::new((2, 4 << 30), operations, &times, Summary::default());
        assert_eq!(metrics.official_gib_per_s_mean, 2.5);
        assert_eq!(metrics.official_gib_per_s_stdev, 1.5);
        assert_eq!(metrics.official_duration_s_mean, 2.5);
        assert_eq!(metrics.strict_gib_per_s, 1.0);
        assert_eq!((metrics.transfer_share, metrics.sync_share), (0.4, 0.2));
        assert_eq!(ThreadTimes::from_words(times.to_words()), times);
    }

    #[test]
    fn a_commit_counts_in_its_own_rate_only() {
        let slow = CheckpointOperation { commit_s: 4.0, ..operation(4.0, 1.0) };
        let none = ThreadTimes::default();
        let metrics = CheckpointMetrics::new((1, 1), vec![slow], &none, Summary::default());
        assert_eq!((metrics.strict_gib_per_s, metrics.committed_gib_per_s), (1.0, 0.5));
    }

    #[test]
    fn stalls_are_summed_and_steps_without_time_have_no_utilisation() {
        let operations = [1.0, 2.0].map(|stall_s| CheckpointOperation {
            stall_s: Some(stall_s),
            flush_s: Some(4.0),
            ..operation(5.0, 5.0)
        });
        let none = ThreadTimes::default();
        let metrics = CheckpointMetrics::new((1, 1), operations.into(), &none, Summary::default());
        assert_eq!(metrics.background, None);
        let during = StepsBeside::new(Summary { count: 6, ..Summary::default() }, 2, 30, 40);
        let outside = StepsBeside::new(Summary::default(), 2, 0, 0);
        assert_eq!((during.steps, during.au_percent), (3, Some(75.0)));
        assert_eq!((outside.steps, outside.au_percent), (0, None));
        let background = BackgroundMetrics {
            during_flush: during,
            outside_flush: outside,
            ..Default::default()
        };
        let background = metrics.with_background(background).background.unwrap();
        assert_eq!((background.stall_s, background.flush_s), (3.0, 8.0));
    }

    #[test]
    fn what_mpi_brought_counts_in_its_own_rate_only() {
        let one = CheckpointOperation { received_bytes: 12 << 30, ..operation(4.0, 1.0) };
        let none = ThreadTimes::default();
        let metrics = CheckpointMetrics::new((1, 4 << 30), vec![one], &none, Summary::default());
        assert_eq!((metrics.strict_gib_per_s, metrics.delivered_gib_per_s), (1.0, 4.0));
        assert_eq!((metrics.bytes, metrics.received_bytes), (4 << 30, 12 << 30));
        assert_eq!(metrics.official_gib_per_s_mean, 4.0);
    }

    /// Bug: a commit that a step waited for made the AU of no steps 0.
    #[test]
    fn no_step_has_no_au_though_a_commit_was_waited_for() {
        assert_eq!(StepsBeside::new(Summary::default(), 2, 0, 40).au_percent, None);
    }

    /// Bug: where no checkpoint was due, times were -0.0 and the summary said "-0.00 s".
    #[test]
    fn times_of_no_checkpoint_are_not_negative() {
        let none = ThreadTimes::default();
        let metrics = CheckpointMetrics::new((1, 1), Vec::new(), &none, Summary::default());
        let metrics = metrics.with_background(BackgroundMetrics::default());
        let text = serde_json::to_string(&metrics).unwrap();
        assert!(text.contains("\"stall_s\":0.0") && !text.contains("-0.0"), "{text}");
    }

    #[test]
    fn nothing_done_gives_zeros() {
        let none = ThreadTimes::default();
        let metrics = CheckpointMetrics::new((1, 1), Vec::new(), &none, Summary::default());
        assert_eq!((metrics.strict_gib_per_s, metrics.official_gib_per_s_mean), (0.0, 0.0));
    }
}
