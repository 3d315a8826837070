//! The ceiling of the client on this machine for checkpoints: the same threads, blocks and queues
//! against the null store. All ranks measure at the same time, since they share CPUs in the run
//! too.

use super::read_shards::{self, ReadShards, Source};
use super::restore::read_threads;
use super::save::write_threads;
use super::write_shards::{self, WriteShards};
use super::{Shard, shards_of};
use crate::config::VerifyMode;
use crate::format::safetensors::plain;
use crate::metrics::{LiveCounters, Recorder};
use crate::plan::{CheckpointPlan, RestorePiece, ShardFile};
use crate::report::result::Ceiling;
use crate::storage::{StoreSpec, connect};
use crate::workload::compute::now_ns;
use crate::workload::crew::{Crew, with_crew};
use crate::workload::session::{Session, checkpoint_root_of};
use crate::world::interrupted;
use std::sync::atomic::{AtomicU64, AtomicUsize};

const GIB: f64 = (1u64 << 30) as f64;
/// Time after which no further round begins.
const LIMIT_NS: u64 = 100_000_000;
/// Bytes of a rank in a round of writing, at the speed of the generator.
const ROUND_WRITE_BYTES: u64 = 256 << 20;
/// Bytes of a rank in a round of reading, at that of the queues.
const ROUND_READ_BYTES: u64 = 4 << 30;

/// What a round took, and what was done in it.
type Round = (u64, Recorder);

/// Of writing checkpoints of `plan`, content included. Collective; an error is this rank's own.
pub fn of_saving(session: &Session<'_>, plan: &CheckpointPlan) -> Result<Ceiling, String> {
    let mut files = shards_of(plan, session.world.rank());
    let share = ROUND_WRITE_BYTES / files.len().max(1) as u64;
    for Shard { file, layout } in &mut files {
        file.bytes = file.bytes.min(share.max(1));
        *layout = plain(file.bytes);
    }
    let threads = write_threads(session, plan);
    // The parts of an object may be larger than blocks.
    let root = checkpoint_root_of(session.config);
    rounds(session, &mut || {
        let crew = Crew::new(threads);
        let job = WriteShards {
            files: &files,
            folder: "",
            generator: session.checkpoint_generator(),
            version: 1,
            store: null(session.write_store_at(&root)),
            block_bytes: session.config.write_io(&root).block_size,
            sync: None,
            cursor: AtomicUsize::new(0),
            crew: &crew,
        };
        let open = || write_shards::open(&job);
        let work = |store, _| {
            let live = LiveCounters::new();
            write_shards::run(&job, store, &live).map(|report| report.recorder)
        };
        round(&crew, open, work)
    })
}

/// Of reading `sources`, without comparison. Collective; an error is this rank's own.
pub fn of_restoring(session: &Session<'_>, sources: &[Source]) -> Result<Ceiling, String> {
    let share = ROUND_READ_BYTES / sources.len().max(1) as u64;
    let clipped = |source: &Source| {
        let RestorePiece { file, writer, range } = &source.piece;
        let file = ShardFile { name: file.name.clone(), ..*file };
        let range = range.start..range.end.min(range.start + share.max(1));
        let layout = plain(file.bytes);
        Source { piece: RestorePiece { file, writer: *writer, range }, layout, shared: None }
    };
    let sources: Vec<Source> = sources.iter().map(clipped).collect();
    let threads = read_threads(session);
    let root = checkpoint_root_of(session.config);
    rounds(session, &mut || {
        let crew = Crew::new(threads);
        let job = ReadShards {
            sources: &sources,
            folder: "",
            generator: session.checkpoint_generator(),
            version: 1,
            verify: VerifyMode::None,
            verify_fraction: 0.0,
            store: null(session.read_store_at(&root)),
            block_bytes: session.config.io.block_size,
            cursor: AtomicU64::new(0),
            crew: &crew,
        };
        let open = || connect(&job.store).map_err(|error| error.to_string());
        let work = |store, _| {
            let live = LiveCounters::new();
            read_shards::run(&job, (store, None), &live).map(|report| report.recorder)
        };
        round(&crew, open, work)
    })
}

/// The same with nothing behind it and nothing in front of it.
fn null(mut store: StoreSpec) -> StoreSpec {
    store.root = "null://".into();
    store.io.delay = None;
    store.io.fault.clear();
    store
}

fn round<S>(
    crew: &Crew,
    open: impl Fn() -> Result<S, String> + Sync,
    work: impl Fn(S, usize) -> Result<Recorder, String> + Sync,
) -> Result<Round, String> {
    let timed = |go: &dyn Fn()| {
        let start = now_ns();
        go();
        now_ns() - start
    };
    let (ns, recorders) = with_crew(crew, "ceiling", open, work, &|_| (), timed)?;
    let mut all = Recorder::new();
    recorders.iter().for_each(|recorder| all.add(recorder));
    Ok((ns, all))
}

/// Rounds until the limit; the mean over ranks of the median round of each. A round of a small
/// checkpoint takes less than a millisecond: a thread that is woken late makes it many times as
/// long, and the last ones may have the CPUs to themselves. Neither moves the median. Collective;
/// an error is this rank's own.
fn rounds(
    session: &Session<'_>,
    round: &mut dyn FnMut() -> Result<Round, String>,
) -> Result<Ceiling, String> {
    session.world.barrier();
    let begun = now_ns();
    let mut rates = Vec::new();
    loop {
        let rate = rates_of(&round()?);
        rates.push(rate);
        if rate == [0.0; 2] || interrupted() || now_ns() - begun > LIMIT_NS {
            break;
        }
    }
    let mut sums = median(rates);
    session.world.sum_f64(&mut sums);
    let [requests_per_s_per_rank, gib_per_s_per_rank] =
        sums.map(|sum| sum / session.world.size() as f64);
    Ok(Ceiling { requests_per_s_per_rank, gib_per_s_per_rank })
}

/// Requests and GiB per second of a round.
fn rates_of((ns, recorder): &Round) -> [f64; 2] {
    let seconds = (*ns).max(1) as f64 / 1e9;
    let requests = recorder.ops.read + recorder.ops.write;
    [requests as f64 / seconds, recorder.bytes.requested as f64 / GIB / seconds]
}

/// The rates of the round in the middle, by bytes; of two the faster.
fn median(mut rates: Vec<[f64; 2]>) -> [f64; 2] {
    let middle = rates.len() / 2;
    *rates.select_nth_unstable_by(middle, |a, b| a[1].total_cmp(&b[1])).1
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bug: the ceiling of a small checkpoint was 52 requests/s in one run and 2,904 in another.
    #[test]
    fn a_round_that_was_held_up_does_not_lower_the_ceiling() {
        let mut recorder = Recorder::new();
        recorder.ops.write = 4;
        recorder.bytes.requested = 1 << 30;
        let rounds = [1_000_000_000, 250_000_000, 20_000_000_000];
        let rates = rounds.map(|ns| rates_of(&(ns, recorder.clone())));
        assert_eq!(median(rates.to_vec()), [4.0, 1.0]);
        assert_eq!(median(rates[..2].to_vec()), [16.0, 4.0]);
    }
}
