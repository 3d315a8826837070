//! What a rank measures over the checkpoints of a phase, and their reduction to results.

use crate::metrics::{Histogram, Recorder};
use crate::report::checkpoint::{CheckpointMetrics, CheckpointOperation, ThreadTimes};
use crate::report::dlio::CheckpointLog;
use crate::storage::StoreFacts;
use crate::workload::compute::{now_ns, unix_ns};
use crate::workload::phase::{
    PhaseClock, RankColumns, RankOutcome, Reduced, Residency, merge_facts,
};
use crate::workload::session::Session;

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
    let own_ns = now_ns() - start;
    if session.config.checkpoint.rank_sync {
        session.world.barrier();
    }
    let official_ns = now_ns() - start;
    let unix_ns = (start_unix_ns, unix_ns());
    clock.pause(session);
    Interval { unix_ns, own_ns, official_ns }
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
        let outcome = RankOutcome {
            kind: self.kind,
            window_ns: self.window_ns,
            busy_ns: self.window_ns,
            recorder: &self.recorder,
            facts: self.facts.into_iter().collect(),
            samples: self.files,
            columns: RankColumns::default(),
            histograms: vec![("rank_ns", &self.intervals)],
            verify_mode: self.verify_mode,
        };
        let mut reduced = clock.finish(session, &outcome)?;
        let rank_ns = reduced.histograms.first().map(|(_, h)| h.summary()).unwrap_or_default();
        let metrics = CheckpointMetrics::new(size, self.operations, &times, rank_ns);
        reduced.phase.metrics = serde_json::to_value(metrics).expect("metrics are plain data");
        Some(reduced)
    }
}

/// Looks at the files at `paths`, over all ranks. Collective.
pub fn look_at(
    session: &Session<'_>,
    paths: impl Iterator<Item = std::path::PathBuf>,
) -> Residency {
    Residency::of_files(paths).reduced(session)
}
