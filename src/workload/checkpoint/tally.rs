//! What a rank measures over the checkpoints of a phase, and their reduction to results.

use crate::metrics::{Histogram, Recorder};
use crate::report::checkpoint::{
    BackgroundMetrics, CheckpointMetrics, CheckpointOperation, StepsBeside, ThreadTimes,
};
use crate::report::dlio::CheckpointLog;
use crate::storage::StoreFacts;
use crate::workload::compute::{now_ns, unix_ns};
use crate::workload::phase::{PhaseClock, RankColumns, RankOutcome, Reduced, Residency};
use crate::workload::session::Session;
use crate::workload::store_facts::merge_facts;

const GIB: f64 = (1u64 << 30) as f64;

/// One operation on this rank.
#[derive(Debug, Clone, Copy, Default)]
pub struct Interval {
    /// Wall clock at its start and its end.
    pub unix_ns: (u64, u64),
    /// Until this rank's own files were done.
    pub own_ns: u64,
    /// The same with the barrier of `checkpoint.rank_sync`.
    pub official_ns: u64,
}

/// Runs `go` between the barrier that starts an operation and its end. Collective.
pub fn measure(session: &Session<'_>, clock: &mut PhaseClock<'_>, go: &dyn Fn()) -> Interval {
    clock.resume(session);
    let (start_unix_ns, start) = (unix_ns(), now_ns());
    go();
    clock.stop_cpu();
    let barrier = || session.world.barrier();
    let synced: Option<&dyn Fn()> = session.config.checkpoint.rank_sync.then_some(&barrier);
    let [own_ns, official_ns] = ends(&now_ns, synced).map(|end| end - start);
    let unix_ns = (start_unix_ns, unix_ns());
    clock.pause(session);
    Interval { unix_ns, own_ns, official_ns }
}

/// When this rank's own files were done, and the same behind the `barrier`, if there is one.
/// Without it both are one reading: rank 0's time may not exceed that of the slowest rank.
fn ends(now: &dyn Fn() -> u64, barrier: Option<&dyn Fn()>) -> [u64; 2] {
    let own = now();
    let Some(barrier) = barrier else { return [own, own] };
    barrier();
    [own, now()]
}

/// What an operation of this rank brings beside its times.
#[derive(Default)]
pub struct Share {
    /// Everything its threads counted.
    pub recorder: Recorder,
    /// Their stores.
    pub facts: Vec<StoreFacts>,
    /// Their times.
    pub times: ThreadTimes,
    /// Time in syncs of the thread that spent most there.
    pub sync_ns: u64,
    /// Files that were done.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Bytes that came from other ranks by MPI.
    pub received_bytes: u64,
}

/// All operations of a phase on one rank.
pub struct Tally {
    kind: &'static str,
    verify_mode: String,
    recorder: Recorder,
    facts: Option<StoreFacts>,
    times: ThreadTimes,
    intervals: Histogram,
    window_ns: u64,
    files: u64,
    /// What belongs to checkpoints in the background only.
    pub beside: Option<Box<BesideTally>>,
    /// Time of the command between writing and reading.
    pub between_s: Option<f64>,
    /// Operations so far, over all ranks.
    pub operations: Vec<CheckpointOperation>,
}

impl Tally {
    /// For a phase of `kind`.
    pub fn new(kind: &'static str, verify_mode: String) -> Tally {
        Tally {
            kind,
            verify_mode,
            recorder: Recorder::new(),
            facts: None,
            times: ThreadTimes::default(),
            intervals: Histogram::new(),
            window_ns: 0,
            files: 0,
            beside: None,
            between_s: None,
            operations: Vec::new(),
        }
    }

    /// Adds an operation. Collective.
    pub fn add(
        &mut self,
        session: &Session<'_>,
        checkpoint: u64,
        interval: &Interval,
        share: Share,
        resident_before: Option<f64>,
    ) -> CheckpointLog {
        let world = session.world;
        let mut longest = [interval.own_ns, share.sync_ns];
        world.max(&mut longest);
        let mut slowest = [if interval.own_ns == longest[0] { world.rank() } else { u64::MAX }];
        world.min(&mut slowest);
        let mut sums = [interval.own_ns, share.bytes, share.received_bytes];
        world.sum(&mut sums);
        let mut rank0 = [if world.is_root() { interval.official_ns } else { 0 }];
        world.max(&mut rank0);
        let seconds = |ns: u64| ns as f64 / 1e9;
        self.operations.push(CheckpointOperation {
            checkpoint,
            bytes: sums[1],
            received_bytes: sums[2],
            strict_s: seconds(longest[0]),
            rank0_s: seconds(rank0[0]),
            mean_s: seconds(sums[0]) / world.size() as f64,
            slowest_rank: slowest[0],
            commit_s: 0.0,
            sync_s: seconds(longest[1]),
            resident_before,
            ..CheckpointOperation::default()
        });
        self.recorder.add(&share.recorder);
        self.times.add(&share.times);
        self.intervals.record(interval.own_ns);
        self.window_ns += interval.own_ns;
        self.files += share.files;
        // The buffers of an earlier operation are gone.
        let own = merge_facts(share.facts.iter());
        let earlier = self.facts.take();
        let earlier_bytes = earlier.as_ref().map_or(0, |facts| facts.buffer_bytes);
        let buffer_bytes = own.buffer_bytes.max(earlier_bytes);
        let merged = merge_facts(earlier.iter().chain([&own]));
        self.facts = Some(StoreFacts { buffer_bytes, ..merged });
        let duration_s = seconds(interval.official_ns);
        CheckpointLog {
            start_unix_ns: interval.unix_ns.0,
            end_unix_ns: interval.unix_ns.1,
            duration_s,
            gib_per_s: if duration_s > 0.0 { sums[1] as f64 / GIB / duration_s } else { 0.0 },
        }
    }

    /// The time until the last operation was committed; the longest of all ranks counts.
    /// Collective.
    pub fn committed(&mut self, session: &Session<'_>, commit_ns: u64) {
        let mut longest = [commit_ns];
        session.world.max(&mut longest);
        if let Some(last) = self.operations.last_mut() {
            last.commit_s = longest[0] as f64 / 1e9;
        }
    }

    /// What the last operation in the background cost; the longest of all ranks counts. Collective.
    pub fn flushed(&mut self, session: &Session<'_>, times: FlushTimes) {
        let mut longest = [times.stall_ns, times.snapshot_ns, times.flush_ns];
        session.world.max(&mut longest);
        let [stall, snapshot, flush] = longest.map(|ns| Some(ns as f64 / 1e9));
        if let Some(last) = self.operations.last_mut() {
            (last.stall_s, last.snapshot_s, last.flush_s) = (stall, snapshot, flush);
        }
    }

    /// The phase of `size` = (files, bytes) of a checkpoint. Collective; on rank 0 it has a value.
    pub fn reduce(
        mut self,
        session: &Session<'_>,
        clock: PhaseClock<'_>,
        size: (u64, u64),
    ) -> Option<Reduced> {
        // A checkpoint has no configured size beside its real one.
        self.recorder.on_nominal(self.recorder.bytes.requested);
        let mut words = self.times.to_words();
        session.world.sum(&mut words);
        let times = ThreadTimes::from_words(words);
        let beside = self.beside.take();
        let mut histograms = vec![("rank_ns", &self.intervals)];
        let mut sums = None;
        if let Some(beside) = &beside {
            let [during, outside] = &beside.load;
            histograms.push(("load_wait_during_flush_ns", during));
            histograms.push(("load_wait_outside_flush_ns", outside));
            sums = Some(beside.reduced(session));
        }
        let outcome = RankOutcome {
            kind: self.kind,
            window_ns: self.window_ns,
            busy_ns: self.window_ns,
            recorder: &self.recorder,
            facts: self.facts.into_iter().collect(),
            samples: self.files,
            columns: RankColumns::default(),
            histograms,
            verify_mode: self.verify_mode,
        };
        let mut reduced = clock.finish(session, &outcome)?;
        let summary = |index: usize| {
            reduced.histograms.get(index).map(|(_, h)| h.summary()).unwrap_or_default()
        };
        let stamped = session.checkpoint_generator().settings().stamped;
        let metrics = CheckpointMetrics::new(size, self.operations, &times, summary(0));
        let mut metrics = metrics.stamped(stamped);
        metrics.between_s = self.between_s;
        if let Some(sums) = sums {
            let BesideSums { snapshot_bytes, settle_s, drain_s, compute_ns, step_ns } = sums;
            let ranks = session.world.size();
            let steps = |index: usize| {
                StepsBeside::new(summary(1 + index), ranks, compute_ns[index], step_ns[index])
            };
            metrics = metrics.with_background(BackgroundMetrics {
                snapshot_bytes_per_rank: snapshot_bytes,
                settle_s,
                drain_s,
                during_flush: steps(0),
                outside_flush: steps(1),
                ..BackgroundMetrics::default()
            });
        }
        reduced.phase.metrics = serde_json::to_value(metrics).expect("metrics are plain data");
        Some(reduced)
    }
}

/// Times of a checkpoint in the background on this rank.
#[derive(Debug, Clone, Copy, Default)]
pub struct FlushTimes {
    /// Training stood still.
    pub stall_ns: u64,
    /// The part of it that filled the snapshot.
    pub snapshot_ns: u64,
    /// From its end to that of the last file.
    pub flush_ns: u64,
}

/// Steps of this rank beside checkpoints: index 0 while one was on its way, 1 otherwise.
#[derive(Default)]
pub struct BesideTally {
    load: [Histogram; 2],
    compute_ns: [u64; 2],
    step_ns: [u64; 2],
    snapshot_bytes: u64,
    settle_ns: u64,
    /// From the last step to the last commit.
    pub drain_ns: u64,
}

/// The same of all ranks.
struct BesideSums {
    snapshot_bytes: u64,
    settle_s: f64,
    drain_s: f64,
    compute_ns: [u64; 2],
    step_ns: [u64; 2],
}

impl BesideTally {
    /// Of a rank whose snapshot has so many bytes.
    pub fn new(snapshot_bytes: u64) -> BesideTally {
        BesideTally { snapshot_bytes, ..BesideTally::default() }
    }

    /// A step that waited, computed and met the others for so long.
    #[inline]
    pub fn on_step(&mut self, during_flush: bool, [load, compute, barrier]: [u64; 3]) {
        let index = usize::from(!during_flush);
        self.load[index].record(load);
        self.compute_ns[index] += compute;
        self.step_ns[index] += load + compute + barrier;
    }

    /// The step before waited so long for a commit.
    pub fn on_settled(&mut self, ns: u64) {
        self.settle_ns += ns;
        self.step_ns[0] += ns;
    }

    fn reduced(&self, session: &Session<'_>) -> BesideSums {
        let mut largest = [self.snapshot_bytes, self.settle_ns, self.drain_ns];
        session.world.max(&mut largest);
        let ([c0, c1], [s0, s1]) = (self.compute_ns, self.step_ns);
        let mut sums = [c0, c1, s0, s1];
        session.world.sum(&mut sums);
        let [c0, c1, s0, s1] = sums;
        BesideSums {
            snapshot_bytes: largest[0],
            settle_s: largest[1] as f64 / 1e9,
            drain_s: largest[2] as f64 / 1e9,
            compute_ns: [c0, c1],
            step_ns: [s0, s1],
        }
    }
}

/// Looks at the files at `paths`, over all ranks. Collective.
pub fn look_at(
    session: &Session<'_>,
    paths: impl Iterator<Item = std::path::PathBuf>,
) -> Residency {
    Residency::of_files(paths).reduced(session)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    /// Bug: where rank 0 was the slowest, `rank0_s` was longer than `strict_s` by a microsecond.
    #[test]
    fn without_a_barrier_rank_0_is_never_slower_than_the_slowest_rank() {
        let clock = Cell::new(0);
        let now = || {
            clock.set(clock.get() + 1);
            clock.get()
        };
        assert_eq!(ends(&now, None), [1, 1]);
        let barrier = || clock.set(clock.get() + 10);
        assert_eq!(ends(&now, Some(&barrier)), [2, 13]);
    }
}
