//! The frame of every phase: counters before and after, and one reduction of all ranks to a result
//! on rank 0.

use super::compute::now_ns;
use super::place::Place;
pub use super::place::Residency;
use super::session::Session;
use super::store_facts::{merge_facts, merge_into};
use crate::metrics::{ByteCounts, Histogram, Recorder};
use crate::plan::FileSet;
use crate::report::result::{Client, DirectProof, Phase, Ranks, Rate, VerifyOutcome};
use crate::storage::StoreFacts;
use crate::storage::proof;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

const GIB: f64 = (1u64 << 30) as f64;

/// Which way the bytes of a phase go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the store.
    Read,
    /// To the store.
    Write,
}

/// Counters of a phase. It may be paused between blocks, so that what happens there is not counted.
pub struct PhaseClock<'a> {
    direction: Direction,
    place: Place<'a>,
    running: Option<Snapshot>,
    /// CPU time of this process when it began to count; None: it does not.
    cpu_since_s: Option<f64>,
    cpu_s: f64,
    process_bytes: Option<u64>,
    device_bytes: Option<u64>,
    resident_before: Residency,
    resident_after: Residency,
}

struct Snapshot {
    process_bytes: Option<u64>,
    device_bytes: Option<u64>,
}

/// What a rank brings to the reduction.
pub struct RankOutcome<'a> {
    /// `datagen`, `training`, ...
    pub kind: &'static str,
    /// Length of this rank's window.
    pub window_ns: u64,
    /// Time by which the slowest rank is found.
    pub busy_ns: u64,
    /// Counters of all its threads.
    pub recorder: &'a Recorder,
    /// Stores of its threads.
    pub facts: Vec<StoreFacts>,
    /// Samples it handled.
    pub samples: u64,
    /// Extra columns of `ranks.csv`.
    pub columns: RankColumns,
    /// Histograms of this workload, to be summed: name and counts.
    pub histograms: Vec<(&'static str, &'a Histogram)>,
    /// Was content checked, and how.
    pub verify_mode: String,
}

/// Columns of a rank that only some phases have.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct RankColumns {
    pub au_percent: Option<f64>,
    pub load_mean_ns: Option<u64>,
    pub compute_mean_ns: Option<u64>,
    pub barrier_mean_ns: Option<u64>,
    /// Measured over configured compute time.
    pub compute_over_configured: Option<f64>,
    /// Barrier time that no rank's load and configured compute explain.
    pub barrier_lost_ns: Option<u64>,
    /// The step loop waited so long for a CPU; None: the kernel does not count that.
    pub cpu_wait_ns: Option<u64>,
}

/// A row that every rank sends to rank 0.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct RankRow {
    pub rank: u64,
    pub host: String,
    /// Hosts may bear one name; this number tells them apart.
    pub host_index: u64,
    pub phase: String,
    pub window_ns: u64,
    pub busy_ns: u64,
    pub bytes: ByteCounts,
    pub operations: u64,
    pub samples: u64,
    pub cpu_s: f64,
    /// CPUs that this rank may run on, as the kernel lists them.
    pub cpus: String,
    pub peak_rss_bytes: u64,
    pub buffer_bytes: u64,
    pub columns: RankColumns,
    /// From the first rank of a host.
    pub memory_device: Option<String>,
}

/// A phase after reduction; only rank 0 has one.
pub struct Reduced {
    /// For the result; `metrics` is still empty.
    pub phase: Phase,
    /// For `ranks.csv`.
    pub rows: Vec<RankRow>,
    /// All ranks' counters.
    pub recorder: Recorder,
    /// All ranks' histograms, in the order given.
    pub histograms: Vec<(String, Histogram)>,
}

impl<'a> PhaseClock<'a> {
    /// A clock that stands still, for a phase that reads or writes `files` of the dataset.
    /// Collective.
    pub fn new(
        session: &'a Session<'_>,
        direction: Direction,
        files: &'a FileSet,
    ) -> PhaseClock<'a> {
        Self::over(session, direction, Place::dataset(session, files))
    }

    /// A clock that stands still, for a phase at `place`. Collective.
    pub fn over(session: &Session<'_>, direction: Direction, place: Place<'a>) -> PhaseClock<'a> {
        let resident_before = match (direction, place.files) {
            (Direction::Read, Some(files)) => Residency::sample(session, files, 0).reduced(session),
            _ => Residency::default(),
        };
        PhaseClock {
            direction,
            place,
            running: None,
            cpu_since_s: None,
            cpu_s: 0.0,
            process_bytes: Some(0),
            device_bytes: Some(0),
            resident_before,
            resident_after: Residency::default(),
        }
    }

    /// Adds a look at what is about to be read, reduced over ranks.
    pub fn saw_before(&mut self, seen: Residency) {
        self.resident_before.add(seen);
    }

    /// Adds a look at what was read, reduced over ranks.
    pub fn saw_after(&mut self, seen: Residency) {
        self.resident_after.add(seen);
    }

    /// A clock that runs, for a phase that begins with the training files. Collective.
    pub fn start(session: &'a Session<'_>, direction: Direction) -> PhaseClock<'a> {
        let mut clock = Self::new(session, direction, &session.plan.train);
        clock.resume(session);
        clock
    }

    /// Starts counting: no rank begins before all have looked. Collective.
    pub fn resume(&mut self, session: &Session<'_>) {
        session.world.barrier();
        self.running = Some(Snapshot {
            process_bytes: process_bytes(self.direction),
            device_bytes: device_bytes(session, &self.place, self.direction),
        });
        session.world.barrier();
        self.start_cpu();
    }

    /// Runs `work`, which is the window of this phase, and gives its time: CPU time is counted for
    /// it alone, not for the barriers and the threads around it.
    pub fn timed<R>(&mut self, work: impl FnOnce() -> R) -> (R, u64) {
        self.start_cpu();
        let timed = timed(work);
        self.stop_cpu();
        timed
    }

    fn start_cpu(&mut self) {
        self.cpu_since_s = Some(crate::host::cpu_seconds());
    }

    /// Counts no more CPU time until the clock is resumed: the window has ended.
    pub fn stop_cpu(&mut self) {
        if let Some(since_s) = self.cpu_since_s.take() {
            self.cpu_s += crate::host::cpu_seconds() - since_s;
        }
    }

    /// CPU time of the window, from one who counted it by itself.
    pub fn cpu_was(&mut self, cpu_s: f64) {
        (self.cpu_since_s, self.cpu_s) = (None, cpu_s);
    }

    /// CPU time that passed while this clock ran but belongs to another phase.
    pub fn leave_out_cpu(&mut self, cpu_s: f64) {
        self.cpu_s -= cpu_s;
    }

    /// Stops counting: no rank looks before all have ended. Collective.
    pub fn pause(&mut self, session: &Session<'_>) {
        self.stop_cpu();
        let Some(start) = self.running.take() else { return };
        let process = since(process_bytes(self.direction), start.process_bytes);
        self.process_bytes = plus(self.process_bytes, process);
        session.world.barrier();
        let device = device_bytes(session, &self.place, self.direction);
        let device = since(device, start.device_bytes);
        self.device_bytes = plus(self.device_bytes, device);
    }

    /// Reduces all ranks' outcomes. Collective.
    pub fn finish(mut self, session: &Session<'_>, outcome: &RankOutcome<'_>) -> Option<Reduced> {
        self.pause(session);
        let world = session.world;
        if let (Direction::Read, Some(files)) = (self.direction, self.place.files) {
            self.saw_after(Residency::sample(session, files, 1).reduced(session));
        }
        let (recorder, histograms, facts) = summed(session, outcome);
        // What goes over sockets is not counted there.
        let process = self.process_bytes.filter(|_| self.place.folder.is_some());
        let process = sum_known(session, process, true);
        let device = sum_known(session, self.device_bytes, world.rank_on_host() == 0);
        let row = row(session, outcome, &facts, (self.cpu_s, self.place.folder));
        let (rows, storage) = gather_rows(session, row, facts)?;
        let (alignment_probe, not_probed) = match self.place.probe(session, self.direction) {
            Ok(probe) => (Some(probe), None),
            Err(why) => (None, Some(why)),
        };
        let direction = match self.direction {
            Direction::Read => "read",
            Direction::Write => "write",
        };
        let proof = DirectProof {
            direction: direction.into(),
            claimed_bytes: recorder.bytes.transferred,
            process_io_bytes: process.filter(|_| is_counted(&alignment_probe, self.direction)),
            device_bytes: device,
            resident_before: self.resident_before.mean(),
            resident_after: self.resident_after.mean(),
            alignment_probe,
            not_probed,
            memory_device: memory_device(&rows),
        };
        let phase = phase_of(outcome, &recorder, &rows, (storage, Some(proof)));
        Some(Reduced { phase, rows, recorder, histograms })
    }
}

/// Reduces what all ranks did outside of every clock; `cpu_s` is what this rank used for it. There
/// is no proof of it. Collective.
pub fn reduce_without_clock(
    session: &Session<'_>,
    outcome: &RankOutcome<'_>,
    cpu_s: f64,
) -> Option<Reduced> {
    let (recorder, histograms, facts) = summed(session, outcome);
    let row = row(session, outcome, &facts, (cpu_s, None));
    let (rows, storage) = gather_rows(session, row, facts)?;
    let phase = phase_of(outcome, &recorder, &rows, (storage, None));
    Some(Reduced { phase, rows, recorder, histograms })
}

/// Counters and histograms of all ranks, and the facts of this one.
fn summed(
    session: &Session<'_>,
    outcome: &RankOutcome<'_>,
) -> (Recorder, Vec<(String, Histogram)>, StoreFacts) {
    let facts = merge_facts(outcome.facts.iter());
    let mut own = outcome.recorder.clone();
    own.ops.retries += facts.retried_operations;
    let recorder = sum_recorder(session, &own);
    let summed = |(name, histogram): &(&'static str, &Histogram)| {
        (name.to_string(), sum_histogram(session, histogram))
    };
    (recorder, outcome.histograms.iter().map(summed).collect(), facts)
}

/// The rows of all ranks and the facts of all their stores, on rank 0.
fn gather_rows(
    session: &Session<'_>,
    row: RankRow,
    facts: StoreFacts,
) -> Option<(Vec<RankRow>, StoreFacts)> {
    let bytes = serde_json::to_vec(&(row, facts)).expect("a row is plain data");
    // What each rank says of its stores is the larger part of it: rank 0 keeps only the sum.
    let (mut rows, mut storage) = (Vec::new(), None);
    session.world.gather_each(&bytes, &mut |_, bytes| {
        let (row, facts): (RankRow, StoreFacts) =
            serde_json::from_slice(bytes).expect("all ranks run the same program");
        rows.push(row);
        merge_into(&mut storage, &facts);
    });
    session.world.is_root().then(|| (rows, storage.unwrap_or_default()))
}

fn process_bytes(direction: Direction) -> Option<u64> {
    let io = proof::process_io()?;
    Some(if direction == Direction::Read { io.read_bytes } else { io.write_bytes })
}

/// Counters of the device behind a place; the first rank of each host speaks for it.
fn device_bytes(session: &Session<'_>, place: &Place<'_>, direction: Direction) -> Option<u64> {
    if session.world.rank_on_host() != 0 {
        return None;
    }
    let counters = proof::device_counters(place.folder?)?;
    Some(if direction == Direction::Read { counters.read_bytes } else { counters.write_bytes })
}

fn since(now: Option<u64>, before: Option<u64>) -> Option<u64> {
    Some(now?.saturating_sub(before?))
}

fn plus(total: Option<u64>, more: Option<u64>) -> Option<u64> {
    Some(total? + more?)
}

/// False where the kernel was seen not to count such transfers for the process.
fn is_counted(probe: &Option<proof::AlignmentProbe>, direction: Direction) -> bool {
    let counts = probe.as_ref().and_then(|probe| match direction {
        Direction::Read => probe.counts_reads,
        Direction::Write => probe.counts_writes,
    });
    counts != Some(false)
}

/// The first host whose devices are memory.
fn memory_device(rows: &[RankRow]) -> Option<String> {
    let row = rows.iter().find(|row| row.memory_device.is_some())?;
    Some(format!("{}: {}", row.host, row.memory_device.as_ref()?))
}

/// Sum over the ranks that should know; None if one of them does not.
fn sum_known(session: &Session<'_>, value: Option<u64>, should_know: bool) -> Option<u64> {
    let unknown = u64::from(should_know && value.is_none());
    let mut words = [value.unwrap_or(0), unknown];
    session.world.sum(&mut words);
    (words[1] == 0).then_some(words[0])
}

/// Adds the counters of all ranks.
pub fn sum_recorder(session: &Session<'_>, recorder: &Recorder) -> Recorder {
    let mut words = recorder.words();
    session.world.sum(&mut words);
    Recorder::from_words(&words).expect("the words came from a recorder")
}

/// Adds a histogram of all ranks.
pub fn sum_histogram(session: &Session<'_>, histogram: &Histogram) -> Histogram {
    let mut total = histogram.clone();
    session.world.sum(total.words_mut());
    total
}

fn row(
    session: &Session<'_>,
    outcome: &RankOutcome<'_>,
    facts: &StoreFacts,
    (cpu_s, folder): (f64, Option<&Path>),
) -> RankRow {
    RankRow {
        rank: session.world.rank(),
        host: session.world.host().to_string(),
        host_index: session.world.host_index(),
        phase: outcome.kind.to_string(),
        window_ns: outcome.window_ns,
        busy_ns: outcome.busy_ns,
        bytes: outcome.recorder.bytes,
        operations: outcome.recorder.ops.data(),
        samples: outcome.samples,
        cpu_s,
        cpus: crate::host::cpu_list(),
        peak_rss_bytes: crate::host::peak_rss_bytes(),
        buffer_bytes: facts.buffer_bytes,
        columns: outcome.columns,
        memory_device: match (session.world.rank_on_host(), folder) {
            (0, Some(path)) => proof::memory_device(path),
            _ => None,
        },
    }
}

fn phase_of(
    outcome: &RankOutcome<'_>,
    recorder: &Recorder,
    rows: &[RankRow],
    (storage, proof): (StoreFacts, Option<DirectProof>),
) -> Phase {
    let window_s = rows.iter().map(|row| row.window_ns).max().unwrap_or(0) as f64 / 1e9;
    let per_s = |value: f64| if window_s > 0.0 { value / window_s } else { 0.0 };
    let cpu_s: f64 = rows.iter().map(|row| row.cpu_s).sum();
    let gib = recorder.bytes.requested as f64 / GIB;
    let operations = (recorder.ops.read + recorder.ops.write) as f64;
    let named = [
        ("read", &recorder.read),
        ("write", &recorder.write),
        ("sync", &recorder.sync),
        ("open", &recorder.open),
    ];
    let latency_ns: BTreeMap<String, _> = named
        .into_iter()
        .filter(|(_, histogram)| histogram.count() > 0)
        .map(|(name, histogram)| (name.to_string(), histogram.summary()))
        .collect();
    Phase {
        kind: outcome.kind.into(),
        name: outcome.kind.into(),
        window_s,
        bytes: recorder.bytes,
        ops: recorder.ops,
        rate: Rate {
            gib_per_s: per_s(gib),
            nominal_gib_per_s: per_s(recorder.bytes.nominal as f64 / GIB),
            ops_per_s: per_s(operations),
        },
        client: Client {
            cpu_s,
            cpu_s_per_gib: if gib > 0.0 { cpu_s / gib } else { 0.0 },
            cpu_share_max: cpu_share_max(rows, window_s),
            peak_rss_bytes: rows.iter().map(|row| row.peak_rss_bytes).max().unwrap_or(0),
            buffer_bytes: rows.iter().map(|row| row.buffer_bytes).max().unwrap_or(0),
        },
        storage,
        proof,
        latency_ns,
        ranks: stragglers(rows),
        verify: VerifyOutcome {
            mode: outcome.verify_mode.clone(),
            window: "inside".into(),
            bytes_checked: recorder.verify_bytes,
        },
        metrics: serde_json::Value::Null,
    }
}

/// CPU time of a host's ranks over the time that the CPUs they may run on had; of the busiest host.
fn cpu_share_max(rows: &[RankRow], window_s: f64) -> f64 {
    let mut hosts: BTreeMap<u64, (f64, BTreeSet<u64>)> = BTreeMap::new();
    for row in rows {
        let (cpu_s, cpus) = hosts.entry(row.host_index).or_default();
        *cpu_s += row.cpu_s;
        // Ranks may share their CPUs or have each their own.
        cpus.extend(crate::host::cpus_of(&row.cpus));
    }
    let share = |(cpu_s, cpus): &(f64, BTreeSet<u64>)| {
        let available_s = window_s * cpus.len() as f64;
        if available_s > 0.0 { cpu_s / available_s } else { 0.0 }
    };
    hosts.values().map(share).fold(0.0, f64::max)
}

/// Names the rank that was busy longest.
fn stragglers(rows: &[RankRow]) -> Ranks {
    let seconds: Vec<f64> = rows.iter().map(|row| row.busy_ns as f64 / 1e9).collect();
    Ranks::of(&seconds, |rank| rows[rank].host.clone())
}

/// Times a piece of work.
pub fn timed<R>(work: impl FnOnce() -> R) -> (R, u64) {
    let start = now_ns();
    let value = work();
    (value, now_ns() - start)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(host_index: u64, cpus: &str, cpu_s: f64) -> RankRow {
        RankRow {
            rank: 0,
            host: "node".into(),
            host_index,
            phase: "training".into(),
            window_ns: 10_000_000_000,
            busy_ns: 0,
            bytes: ByteCounts::default(),
            operations: 0,
            samples: 0,
            cpu_s,
            cpus: cpus.into(),
            peak_rss_bytes: 0,
            buffer_bytes: 0,
            memory_device: None,
            columns: RankColumns::default(),
        }
    }

    #[test]
    fn the_busiest_host_gives_the_share_of_cpu_time() {
        let share = |rows: &[RankRow]| cpu_share_max(rows, 10.0);
        // Two ranks bound to a CPU each, and two that share both.
        assert_eq!(share(&[row(0, "0", 9.0), row(0, "1", 5.0)]), 0.7);
        assert_eq!(share(&[row(0, "0-1", 9.0), row(0, "0-1", 5.0)]), 0.7);
        let rows = [row(0, "0-3", 10.0), row(1, "0,2", 19.0), row(1, "2", 0.0)];
        assert_eq!(share(&rows), 0.95);
        assert_eq!(share(&[row(0, "", 5.0)]), 0.0);
        assert_eq!(cpu_share_max(&rows, 0.0), 0.0);
    }

    /// Bug: the CPUs of two hosts of one name were counted as those of one, their time as both.
    #[test]
    fn two_hosts_of_one_name_do_not_double_the_cpu_share() {
        let rows = [row(0, "0-1", 8.0), row(1, "0-1", 8.0)];
        assert_eq!(rows[0].host, rows[1].host);
        assert_eq!(cpu_share_max(&rows, 10.0), 0.4);
    }

    /// Bug: a datagen of some milliseconds was said to use 212 % of its CPUs, since the clock of
    /// its CPU time ran on through the barriers behind its window.
    #[test]
    fn cpu_time_outside_the_window_is_not_counted() {
        let burn = |seconds: f64| {
            let start = crate::host::cpu_seconds();
            while crate::host::cpu_seconds() < start + seconds {
                std::hint::spin_loop();
            }
        };
        let mut clock = PhaseClock {
            direction: Direction::Write,
            place: Place { folder: None, marker: "", files: None },
            running: None,
            cpu_since_s: None,
            cpu_s: 0.0,
            process_bytes: None,
            device_bytes: None,
            resident_before: Residency::default(),
            resident_after: Residency::default(),
        };
        clock.start_cpu();
        burn(0.05);
        clock.timed(|| ());
        burn(0.05);
        clock.stop_cpu();
        assert!(clock.cpu_s < 0.05, "{}", clock.cpu_s);
    }
}
