//! Reads checkpoints back: every rank its files, compared with what was written where asked.

use super::folder::{Folder, Purpose, Whole, keeps_nothing};
use super::pick::Which;
use super::read_shards::{self, ReadReport, ReadShards, Source};
use super::relay::{Lender, Received, Seat, desk};
use super::tally::{Interval, Share, Tally, look_at, measure};
use super::writers::check_ring;
use super::{Target, marker_place, shards_of};
use crate::config::{CheckpointOrder, Restore};
use crate::metrics::LiveCounters;
use crate::plan::{CheckpointPlan, RestoreMap, RestorePiece, checkpoint_threads};
use crate::report::checkpoint::ThreadTimes;
use crate::report::dlio::CheckpointLog;
use crate::report::result::Ceiling;
use crate::storage::connect;
use crate::workload::crew::{Crew, with_crew};
use crate::workload::partials;
use crate::workload::phase::{Direction, PhaseClock, Reduced};
use crate::workload::run::unanimous;
use crate::workload::session::Session;
use crate::world::{Circle, Milestone, interrupted, set_milestone};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, PoisonError};

/// Reads the checkpoints of a run, one after the other.
pub struct Restorer<'a> {
    session: &'a Session<'a>,
    target: &'a Target,
    sources: Vec<Source>,
    relay: Option<Relay>,
    clock: PhaseClock<'a>,
    tally: Tally,
    live: &'a [LiveCounters],
}

/// What this rank has to do with others of its place, with `restore: broadcast`.
struct Relay {
    circle: Circle,
    /// None: this rank reads and sends.
    seat: Option<Seat>,
}

/// I/O threads of this rank for reading; several may share a file.
pub fn read_threads(session: &Session<'_>) -> usize {
    checkpoint_threads(session.config) as usize
}

/// The whole checkpoints at `target` that are wanted, oldest first, as rank 0 finds them. On the
/// null store, which keeps nothing, all that are wanted. Collective; an error is this rank's own.
pub fn available(
    session: &Session<'_>,
    plan: &CheckpointPlan,
    target: &Target,
    which: Which,
) -> Result<Vec<Whole>, String> {
    let mut bytes = Vec::new();
    if session.world.is_root() {
        let found = look(session, plan, target, which)?;
        bytes = serde_json::to_vec(&found).expect("names and numbers are plain data");
    }
    let bytes = session.world.broadcast(bytes);
    serde_json::from_slice(&bytes).map_err(|error| format!("rank 0 sent no list: {error}"))
}

/// What rank 0 finds.
fn look(
    session: &Session<'_>,
    plan: &CheckpointPlan,
    target: &Target,
    which: Which,
) -> Result<Vec<Whole>, String> {
    let wanted = which.wanted;
    if keeps_nothing(&target.root) {
        let nth = |checkpoint| {
            let (name, folder) = (plan.name_of(checkpoint), plan.name_of(checkpoint));
            Whole { name, folder, checkpoint, version: 1, ..Whole::default() }
        };
        return Ok((1..=wanted).map(nth).collect());
    }
    let token = partials::token(session.run_seed);
    let purpose = Purpose {
        settings: &target.settings,
        configuration: &target.configuration,
        object: &target.object,
        token: &token,
        run_id: "",
        overwrite: false,
        durable: false,
    };
    let mut folder = Folder::look(&target.root, &purpose)?;
    folder.notes.iter().for_each(|note| session.note(note));
    let mut whole = folder.whole()?;
    if (whole.len() as u64) < wanted {
        return Err(format!(
            "{}: holds {} whole checkpoint(s), and checkpoint.num_checkpoints_read is {wanted}; \
             lower it or write more",
            target.root,
            whole.len()
        ));
    }
    which.pick(&mut whole);
    let ring = session.config.checkpoint.restore == Restore::Ring;
    for found in &mut whole {
        check_manifest(&mut folder, plan, target, &found.name)?;
        if !ring {
            found.hosts.clear();
        } else if found.hosts.is_empty() {
            session.note(&format!(
                "note: the manifest of {}/{} names no hosts, so it is not known whether \
                 checkpoint.restore: ring reads what other hosts wrote",
                target.root, found.name
            ));
        }
    }
    Ok(whole)
}

/// Refuses a checkpoint whose manifest is not that of this configuration, or not that of its list.
fn check_manifest(
    folder: &mut Folder,
    plan: &CheckpointPlan,
    target: &Target,
    name: &str,
) -> Result<(), String> {
    let planned = (plan.total_files(), plan.total_bytes(), plan.grid().ranks);
    let manifest = folder.manifest(name)?.filter(|manifest| {
        let written = (manifest.files, manifest.bytes, manifest.ranks);
        written == planned && manifest.configuration == target.configuration
    });
    let manifest = manifest.ok_or_else(|| {
        format!(
            "{}/{name}: its manifest is not that of this configuration; remove this checkpoint",
            target.root
        )
    })?;
    folder.check_list(&manifest)
}

/// What this rank reads, and what the ranks of its place share. Collective.
fn sources(
    session: &Session<'_>,
    plan: &CheckpointPlan,
) -> Result<(Vec<Source>, Vec<RestorePiece>), String> {
    let (world, config) = (session.world, session.config);
    // A number for each rank: 400 KB at 100,000 of them.
    let hosts = world.gather(&(world.host_index() as u32).to_le_bytes()).unwrap_or_default();
    let hosts = world.broadcast(hosts.concat());
    let hosts: Vec<u32> =
        hosts.as_chunks::<4>().0.iter().map(|word| u32::from_le_bytes(*word)).collect();
    let map = RestoreMap::new(plan, config, &hosts).map_err(|error| error.to_string())?;
    let pieces = map.pieces_of(world.rank()).into_iter();
    let shared = map.shared_by(world.rank());
    let numbers: HashMap<u64, u32> =
        shared.iter().map(|piece| piece.file.object_id).zip(0..).collect();
    let mut sources: Vec<Source> = pieces
        .map(|piece| Source {
            shared: numbers.get(&piece.file.object_id).copied(),
            ..source_of(plan, piece)
        })
        .collect();
    if config.checkpoint.order == CheckpointOrder::Parallel {
        // Others wait for what is shared.
        let length = |one: &Source| one.piece.range.end - one.piece.range.start;
        sources.sort_by_key(|one| (one.shared.is_none(), std::cmp::Reverse(length(one))));
    }
    Ok((sources, shared))
}

/// Joins the ranks of this rank's place, where they share something. Collective.
fn relay_of(
    session: &Session<'_>,
    plan: &CheckpointPlan,
    shared: Vec<RestorePiece>,
) -> Option<Relay> {
    if session.config.checkpoint.restore != Restore::Broadcast {
        return None;
    }
    let place = plan.grid().place(session.world.rank());
    let circle = session.world.circle(place.model);
    if shared.is_empty() {
        return None;
    }
    let seat = (place.data > 0).then(|| {
        let incoming = shared.into_iter().map(|piece| source_of(plan, piece)).collect();
        Seat::new(place.model, incoming, session.config.io.block_size)
    });
    Some(Relay { circle, seat })
}

/// A piece with what lies over its file.
fn source_of(plan: &CheckpointPlan, piece: RestorePiece) -> Source {
    let shards = shards_of(plan, piece.writer).into_iter();
    let shard = shards.into_iter().find(|shard| shard.file.name == piece.file.name);
    let layout = shard.expect("a piece is of a file of its writer").layout;
    Source { piece, layout, shared: None }
}

/// Seconds from one time of the wall clock to another, both in nanoseconds; below 0 where the
/// second is the earlier one.
fn gap_s(from_ns: u64, to_ns: u64) -> f64 {
    (i128::from(to_ns) - i128::from(from_ns)) as f64 / 1e9
}

impl<'a> Restorer<'a> {
    /// `live` has a counter for each thread of [`read_threads`]. Collective.
    pub fn new(
        session: &'a Session<'a>,
        plan: &'a CheckpointPlan,
        target: &'a Target,
        live: &'a [LiveCounters],
    ) -> Result<Restorer<'a>, String> {
        let (sources, shared) = unanimous(session.world, sources(session, plan));
        let relay = relay_of(session, plan, shared);
        let clock = PhaseClock::over(session, Direction::Read, marker_place(target));
        let verify = format!("{:?}", session.config.verify.mode).to_lowercase();
        let tally = Tally::new("checkpoint_restore", verify);
        Ok(Restorer { session, target, sources, relay, clock, tally, live })
    }

    /// Notes how long the command took that ran between writing and reading.
    pub fn after_command(&mut self, between_s: Option<f64>) {
        self.tally.between_s = between_s;
    }

    /// Files that this rank reads of each checkpoint.
    pub fn files(&self) -> u64 {
        self.sources.len() as u64
    }

    /// Refuses a ring that would read what this rank's host wrote into one of the checkpoints
    /// `found`. An error is this rank's own.
    pub fn check_hosts(&self, found: &[Whole]) -> Result<(), String> {
        let host = self.session.world.host();
        let Some(source) = self.sources.first() else { return Ok(()) };
        let mut checked = found.iter();
        checked.try_for_each(|one| check_ring(&self.target.root, one, source.piece.writer, host))
    }

    /// What this reading reaches on the null store. Collective; an error is this rank's own.
    pub fn ceiling(&self) -> Result<Ceiling, String> {
        super::ceiling::of_restoring(self.session, &self.sources)
    }

    /// Reads one checkpoint; None: interrupted. Collective; an error is this rank's own.
    pub fn restore(&mut self, found: &Whole) -> Result<Option<CheckpointLog>, String> {
        let session = self.session;
        set_milestone(Milestone::Checkpoint("the restore", found.checkpoint));
        let name = &found.folder;
        let before = look_at(session, self.paths(name));
        self.clock.saw_before(before);
        let (interval, reports, received) = self.read(name, found.version)?;
        let share = self.share_of(reports, received);
        let log = self.tally.add(session, found.checkpoint, &interval, share, before.mean());
        if let Some(last) = self.tally.operations.last_mut() {
            let begin = interval.unix_ns.0;
            last.gap_s = found.committed_unix_ns.map(|committed| gap_s(committed, begin));
        }
        let mut stopped = [u64::from(interrupted())];
        session.world.max(&mut stopped);
        if stopped[0] > 0 {
            self.tally.operations.pop();
            return Ok(None);
        }
        let expected = self.relay.as_ref().and_then(|relay| relay.seat.as_ref());
        let expected = expected.map_or(0, Seat::expected_bytes);
        if received.bytes != expected {
            return Err(format!(
                "restore: {name}: {} bytes were received by MPI, {expected} were to come; please \
                 report this",
                received.bytes
            ));
        }
        let after = look_at(session, self.paths(name));
        self.clock.saw_after(after);
        Ok(Some(log))
    }

    /// Paths of this rank's files; none without a file system behind them.
    fn paths(&self, name: &str) -> impl Iterator<Item = std::path::PathBuf> {
        let folder = self.target.path.as_ref().map(|path| path.join(name));
        let files = folder.map(|folder| {
            self.sources.iter().map(move |source| folder.join(&source.piece.file.name))
        });
        files.into_iter().flatten()
    }

    /// Every rank reads its files. Collective.
    fn read(
        &mut self,
        name: &str,
        version: u32,
    ) -> Result<(Interval, Vec<ReadReport>, Received), String> {
        let session = self.session;
        let crew = Crew::new(self.live.len());
        let job = ReadShards {
            sources: &self.sources,
            folder: name,
            generator: session.checkpoint_generator(),
            version,
            verify: session.config.verify.mode,
            verify_fraction: session.config.verify.sample_fraction,
            store: session.read_store_at(&self.target.root),
            block_bytes: session.config.io.block_size,
            cursor: AtomicU64::new(0),
            crew: &crew,
        };
        let (live, clock) = (self.live, &mut self.clock);
        let mut relay = self.relay.as_mut();
        let (desk, lenders) = match &relay {
            Some(Relay { seat: None, .. }) => {
                let (desk, lenders) = desk(live.len(), job.store.buffers);
                (Some(desk), lenders)
            }
            _ => (None, Vec::new()),
        };
        // Each thread takes its own once, before it reads.
        let lenders: Mutex<Vec<Lender>> = Mutex::new(lenders);
        let open = || connect(&job.store).map_err(|error| error.to_string());
        let work = |store, index: usize| {
            let lender = lenders.lock().unwrap_or_else(PoisonError::into_inner).pop();
            read_shards::run(&job, (store, lender), &live[index])
        };
        let fail = |message: &str| {
            session.world.fail(&format!("restore: {message}"));
        };
        let look = || {
            if let Some(message) = crew.stopped().then(|| crew.failure()).flatten() {
                fail(&message);
            }
        };
        let received = Cell::new(Received::default());
        let desk = Cell::new(desk);
        let relaying =
            || match (&mut relay, desk.take()) {
                (Some(Relay { circle, seat: Some(seat) }), _) => {
                    let outcome = seat.receive(&job, circle, &look);
                    received.set(outcome.unwrap_or_else(|message| {
                        session.world.fail(&format!("restore: {message}"))
                    }));
                }
                (Some(Relay { circle, seat: None }), Some(desk)) => desk.send(circle, &look),
                _ => {}
            };
        let relaying = RefCell::new(relaying);
        let measured = |go: &dyn Fn()| {
            let all = || {
                crew.begin();
                relaying.borrow_mut()();
                go();
            };
            measure(session, clock, &all)
        };
        let (interval, reports) = with_crew(&crew, "restore", open, work, &fail, measured)?;
        Ok((interval, reports, received.get()))
    }

    fn share_of(&self, reports: Vec<ReadReport>, received: Received) -> Share {
        let mut share =
            Share { files: self.files(), received_bytes: received.bytes, ..Share::default() };
        share.recorder.on_verified(received.checked_bytes);
        // The main thread compares what it receives; its other time is no I/O thread's.
        share.times.content_ns += received.verify_ns;
        share.times.total_ns += received.verify_ns;
        for report in reports {
            share.recorder.add(&report.recorder);
            share.times.add(&ThreadTimes {
                content_ns: report.verify_ns,
                sync_ns: 0,
                metadata_ns: report.metadata_ns,
                total_ns: report.total_ns,
            });
            share.bytes += report.bytes;
            share.facts.push(report.facts);
        }
        share
    }

    /// The phase. Collective; on rank 0 it has a value.
    pub fn finish(self) -> Option<Reduced> {
        let mut sums: [u64; 2] = [
            self.sources.len() as u64,
            self.sources.iter().map(|one| one.piece.range.end - one.piece.range.start).sum(),
        ];
        self.session.world.sum(&mut sums);
        self.tally.reduce(self.session, self.clock, (sums[0], sums[1]))
    }
}
