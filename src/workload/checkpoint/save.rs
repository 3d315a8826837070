//! Writes checkpoints: every rank its files, then rank 0 the commit.

use super::background::{Background, FlushJob};
use super::folder::{Folder, Purpose};
use super::manifest::Manifest;
use super::tally::{BesideTally, FlushTimes, Interval, Share, Tally, measure};
use super::write_shards::{self, WriteReport, WriteShards};
use super::writers::{HostRanks, placement};
use super::{Shard, Target, marker_place, shards_of};
use crate::config::{CheckpointOrder, Durability};
use crate::metrics::{LiveCounters, Recorder};
use crate::plan::{CheckpointPlan, checkpoint_threads};
use crate::report::checkpoint::ThreadTimes;
use crate::report::dlio::CheckpointLog;
use crate::storage::SyncKind;
use crate::workload::compute::{now_ns, unix_ns};
use crate::workload::crew::{Crew, with_crew};
use crate::workload::partials;
use crate::workload::phase::{Direction, PhaseClock, Reduced};
use crate::workload::run::end_by_root;
use crate::workload::session::{Session, local_path};
use crate::workload::shared_folder;
use crate::workload::small::connect_small_by;
use crate::world::{Milestone, interrupted, set_milestone};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize};

/// Writes the checkpoints of a run, one after the other.
pub struct Saver<'a> {
    session: &'a Session<'a>,
    plan: &'a CheckpointPlan,
    target: &'a Target,
    /// On rank 0.
    folder: Option<Folder>,
    files: Vec<Shard>,
    next_version: u32,
    run_id: String,
    /// Where the ranks stand, on rank 0.
    hosts: Vec<HostRanks>,
    clock: PhaseClock<'a>,
    tally: Tally,
    /// With `checkpoint.async`.
    background: Option<Background>,
    pending: Option<Pending>,
    live: &'a [LiveCounters],
}

/// A checkpoint that is being written in the background.
struct Pending {
    name: String,
    checkpoint: u64,
    version: u32,
    /// Monotonic and wall clock at the begin of the snapshot.
    start_ns: u64,
    start_unix_ns: u64,
    times: FlushTimes,
    /// Making the folder.
    folder_ns: u64,
    /// CPU time of this process at the end of the snapshot.
    cpu_s: f64,
}

/// What a checkpoint is called, by whom, and what was spent on it so far.
struct Named<'n> {
    name: &'n str,
    checkpoint: u64,
    version: u32,
    commit_ns: u64,
}

/// I/O threads of this rank for writing: one for each file in flight.
pub fn write_threads(session: &Session<'_>, plan: &CheckpointPlan) -> usize {
    let files = plan.files_of(session.world.rank()).len();
    (checkpoint_threads(session.config) as usize).min(files.max(1))
}

/// What `checkpoint.durability` asks of a file.
fn sync_of(durability: Durability) -> Option<SyncKind> {
    match durability {
        Durability::None => None,
        Durability::Fdatasync => Some(SyncKind::Data),
        Durability::Fsync => Some(SyncKind::Full),
        Durability::Dsync => Some(SyncKind::EachWrite),
    }
}

impl<'a> Saver<'a> {
    /// Claims the folder. Collective; an error is this rank's own. `live` has a counter for each
    /// thread of [`write_threads`].
    pub fn new(
        session: &'a Session<'a>,
        plan: &'a CheckpointPlan,
        target: &'a Target,
        live: &'a [LiveCounters],
        (run_id, overwrite): (&str, bool),
    ) -> Result<Saver<'a>, String> {
        let (folder, version) = claimed_folder(session, target, (run_id, overwrite))?;
        let told = session.world.broadcast(version.to_le_bytes().to_vec());
        let next_version = u32::from_le_bytes(told.try_into().expect("four bytes were sent"));
        let mut files = shards_of(plan, session.world.rank());
        if session.config.checkpoint.order == CheckpointOrder::Parallel {
            // The longest file is begun first, so that it does not end last and alone.
            files.sort_by_key(|shard| std::cmp::Reverse(shard.file.bytes));
        }
        let clock = PhaseClock::over(session, Direction::Write, marker_place(target));
        let mut tally = Tally::new("checkpoint_save", "none".into());
        let run_id = run_id.to_string();
        let mut background = None;
        if session.config.checkpoint.is_async {
            let job = FlushJob {
                store: session.write_store_at(&target.root),
                block_bytes: session.config.write_io(&target.root).block_size,
                sync: sync_of(session.config.checkpoint.durability),
            };
            let made = Background::new(&files, &job, live.len())
                .map_err(|message| checkpoint_words(&message))?;
            tally.beside = Some(Box::new(BesideTally::new(made.bytes())));
            background = Some(made);
        }
        Ok(Saver {
            session,
            plan,
            target,
            folder,
            files,
            next_version,
            run_id,
            hosts: placement(session),
            clock,
            tally,
            background,
            pending: None,
            live,
        })
    }

    /// Writes the checkpoint `name`, number `checkpoint` of this run; None: interrupted, and
    /// nothing is left of it. Collective; an error is this rank's own.
    pub fn save(&mut self, name: &str, checkpoint: u64) -> Result<Option<CheckpointLog>, String> {
        set_milestone(Milestone::Checkpoint("the start", checkpoint));
        let version = self.next_version;
        let mut commit_ns = 0;
        if let Some(folder) = &mut self.folder {
            let start = now_ns();
            folder.begin(name)?;
            commit_ns = now_ns() - start;
        }
        let (interval, reports) = self.write(name, version)?;
        let named = Named { name, checkpoint, version, commit_ns };
        self.conclude(&named, &interval, reports, None)
    }

    /// Commits what all ranks have written, where it is all; None: interrupted before, and nothing
    /// is left of it. Collective; an error is this rank's own.
    fn conclude(
        &mut self,
        &Named { name, checkpoint, version, mut commit_ns }: &Named<'_>,
        interval: &Interval,
        reports: Vec<WriteReport>,
        flush: Option<FlushTimes>,
    ) -> Result<Option<CheckpointLog>, String> {
        let session = self.session;
        set_milestone(Milestone::Checkpoint("the end", checkpoint));
        let share = share_of(reports);
        let mut done = [share.files, share.bytes, u64::from(interrupted())];
        session.world.sum(&mut done);
        let log = self.tally.add(session, checkpoint, interval, share, None);
        if let Some(times) = flush {
            self.tally.flushed(session, times);
        }
        let planned = [self.plan.total_files(), self.plan.total_bytes()];
        if done[2] > 0 && done[..2] != planned {
            self.tally.operations.pop();
            if let Some(folder) = &mut self.folder {
                folder.abandon(name)?;
            }
            return Ok(None);
        }
        if done[..2] != planned {
            return Err(format!(
                "checkpoint {name}: {} files and {} bytes were written, planned are {} and {}; \
                 please report",
                done[0], done[1], planned[0], planned[1]
            ));
        }
        set_milestone(Milestone::Checkpoint("the commit", checkpoint));
        let start = now_ns();
        self.sync_folders(name)?;
        let replaced = self.commit(name, (checkpoint, version))?;
        session.world.barrier();
        commit_ns += now_ns() - start;
        self.tally.committed(session, commit_ns);
        self.next_version += 1;
        // What goes is no part of the checkpoint's time.
        if let (Some(folder), Some(replaced)) = (&mut self.folder, replaced) {
            folder.remove_contents(&replaced)?;
        }
        self.prune()?;
        Ok(Some(log))
    }

    /// Folder below the root into which this run writes the files of `name`.
    fn written_into(&self, name: &str) -> String {
        self.target.steps.written_into(name, &partials::token(self.session.run_seed))
    }

    /// Every rank writes its files. Collective.
    fn write(&mut self, name: &str, version: u32) -> Result<(Interval, Vec<WriteReport>), String> {
        let session = self.session;
        let crew = Crew::new(self.live.len());
        let folder = self.written_into(name);
        let job = WriteShards {
            files: &self.files,
            folder: &folder,
            generator: session.checkpoint_generator(),
            version,
            store: session.write_store_at(&self.target.root),
            block_bytes: session.config.write_io(&self.target.root).block_size,
            sync: sync_of(session.config.checkpoint.durability),
            cursor: AtomicUsize::new(0),
            crew: &crew,
        };
        let (live, claim, clock) = (self.live, &self.folder, &mut self.clock);
        let open = || write_shards::open(&job);
        let work = |store, index: usize| write_shards::run(&job, store, &live[index]);
        let fail = |message: &str| {
            if let Some(folder) = claim {
                folder.release();
            }
            session.world.fail(&named(name, message));
        };
        with_crew(&crew, "save", open, work, &fail, |go| measure(session, clock, go))
    }

    /// True where checkpoints are written in the background.
    pub fn is_background(&self) -> bool {
        self.background.is_some()
    }

    /// Takes the snapshot of checkpoint `name`, number `checkpoint` of this run, when the one
    /// before is committed, and begins to write it; false: interrupted. Collective; an error is
    /// this rank's own.
    pub fn begin(&mut self, name: &str, checkpoint: u64) -> Result<bool, String> {
        let (session, stalled) = (self.session, now_ns());
        set_milestone(Milestone::Checkpoint("the snapshot", checkpoint));
        if !self.settle()? {
            return Ok(false);
        }
        let (version, begun) = (self.next_version, now_ns());
        if let Some(folder) = &mut self.folder {
            folder.begin(name)?;
        }
        let folder_ns = now_ns() - begun;
        // No rank writes before the folder is there.
        self.clock.resume(session);
        let (start_ns, start_unix_ns) = (now_ns(), unix_ns());
        let written = self.written_into(name);
        let background = self.background.as_mut().expect("the caller asked is_background");
        background.snapshot(&self.files, session.checkpoint_generator(), version);
        let snapshot_ns = now_ns() - start_ns;
        background.flush(written);
        let times = FlushTimes { stall_ns: now_ns() - stalled, snapshot_ns, flush_ns: 0 };
        let (name, cpu_s) = (name.to_string(), crate::host::cpu_seconds());
        self.pending = Some(Pending {
            name,
            checkpoint,
            version,
            start_ns,
            start_unix_ns,
            times,
            folder_ns,
            cpu_s,
        });
        Ok(true)
    }

    /// True while this rank still writes a checkpoint in the background.
    ///
    /// # Errors
    /// What one of its threads failed with.
    pub fn is_flushing(&mut self) -> Result<bool, String> {
        let (Some(background), Some(pending)) = (&mut self.background, &self.pending) else {
            return Ok(false);
        };
        background.under_way().map_err(|message| named(&pending.name, &message))
    }

    /// A step of the training; whether a checkpoint was on its way is known here.
    pub fn on_step(&mut self, times: [u64; 3]) {
        let during_flush = self.pending.is_some();
        if let Some(beside) = &mut self.tally.beside {
            beside.on_step(during_flush, times);
        }
    }

    /// Set once a thread that writes in the background failed.
    pub fn alarm(&self) -> Option<&Arc<AtomicBool>> {
        self.background.as_ref().map(Background::alarm)
    }

    /// True from the snapshot of a checkpoint to its commit, on all ranks alike.
    pub fn is_pending(&self) -> bool {
        self.pending.is_some()
    }

    /// Waits until the pending checkpoint is written on all ranks, and commits it; false:
    /// interrupted before, and nothing is left of it. Collective; an error is this rank's own.
    pub fn settle(&mut self) -> Result<bool, String> {
        let (Some(background), Some(pending)) = (&mut self.background, self.pending.take()) else {
            return Ok(true);
        };
        let Pending { name, start_ns, start_unix_ns, mut times, .. } = pending;
        let reports = background.wait().map_err(|message| named(&name, &message))?;
        let end_ns = reports.iter().map(|report| report.end_ns).max().unwrap_or(start_ns);
        let own_ns = end_ns - start_ns;
        times.flush_ns = own_ns.saturating_sub(times.snapshot_ns);
        let flush_cpu_s: f64 = reports.iter().map(|report| report.cpu_s).sum();
        // Since the snapshot the training has used this process too.
        let since_cpu_s = crate::host::cpu_seconds() - pending.cpu_s;
        self.clock.leave_out_cpu((since_cpu_s - flush_cpu_s).max(0.0));
        self.clock.pause(self.session);
        let unix_ns = (start_unix_ns, start_unix_ns + own_ns);
        let interval = Interval { unix_ns, own_ns, official_ns: own_ns };
        let Pending { checkpoint, version, folder_ns: commit_ns, .. } = pending;
        let named = Named { name: &name, checkpoint, version, commit_ns };
        let reports = reports.into_iter().map(|report| report.wrote).collect();
        Ok(self.conclude(&named, &interval, reports, Some(times))?.is_some())
    }

    /// Between two steps: the same, and all wait for rank 0's work. Collective.
    pub fn settle_in_step(&mut self) -> Result<(), String> {
        let start = now_ns();
        self.settle()?;
        self.session.world.barrier();
        if let Some(beside) = &mut self.tally.beside {
            beside.on_settled(now_ns() - start);
        }
        Ok(())
    }

    /// After the last step: the same, and its time is told apart. Collective.
    pub fn drain(&mut self) -> Result<bool, String> {
        let start = now_ns();
        let whole = self.settle()?;
        if let Some(beside) = &mut self.tally.beside {
            beside.drain_ns = now_ns() - start;
        }
        Ok(whole)
    }

    /// With `fsync` one rank of each host syncs the folder in which its host made files; rank 0
    /// does so in the commit. Collective.
    fn sync_folders(&self, name: &str) -> Result<(), String> {
        let (session, world) = (self.session, self.session.world);
        let full = session.config.checkpoint.durability == Durability::Fsync;
        if !full || world.hosts() == 1 {
            return Ok(());
        }
        if world.rank_on_host() == 0 && !world.is_root() {
            let mut store = connect_small_by(&self.target.root, &self.target.object)?;
            let synced = store.sync_folder(&self.written_into(name));
            synced.map_err(|error| error.to_string())?;
        }
        world.barrier();
        Ok(())
    }

    /// Rank 0 commits what all have written; the folder that had the name before is returned.
    fn commit(&mut self, name: &str, numbers: (u64, u32)) -> Result<Option<String>, String> {
        let Some(folder) = &mut self.folder else { return Ok(None) };
        let configuration = &self.target.configuration;
        let manifest = Manifest {
            hosts: self.hosts.clone(),
            ..Manifest::new(self.plan, name, numbers, configuration, &self.run_id)
        };
        folder.commit(self.plan, manifest)
    }

    /// Removes the oldest checkpoints beyond `checkpoint.keep_last`.
    fn prune(&mut self) -> Result<(), String> {
        let keep = self.session.config.checkpoint.keep_last as usize;
        let Some(folder) = self.folder.as_mut().filter(|_| keep > 0) else { return Ok(()) };
        let mut whole = folder.whole()?;
        whole.sort_by_key(|found| std::cmp::Reverse(found.version));
        for old in whole.iter().skip(keep) {
            folder.remove(&old.name)?;
        }
        Ok(())
    }

    /// The phase. Collective; on rank 0 it has a value.
    pub fn finish(self) -> Option<Reduced> {
        if let Some(folder) = &self.folder {
            folder.release();
        }
        let size = (self.plan.total_files(), self.plan.total_bytes());
        self.tally.reduce(self.session, self.clock, size)
    }
}

/// Rank 0 claims the root and makes it ready, once it is known that all hosts see it; the version
/// of the next checkpoint is returned beside it. Collective.
fn claimed_folder(
    session: &Session<'_>,
    target: &Target,
    (run_id, overwrite): (&str, bool),
) -> Result<(Option<Folder>, u32), String> {
    let (world, token) = (session.world, partials::token(session.run_seed));
    let purpose = Purpose {
        settings: &target.settings,
        configuration: &target.configuration,
        object: &target.object,
        token: &token,
        run_id,
        overwrite,
        durable: session.config.checkpoint.durability != Durability::None,
    };
    let mut folder = None;
    if world.is_root() {
        let claimed = Folder::claim(&target.root, &purpose);
        folder = Some(claimed.map_err(|message| checkpoint_words(&message))?);
    }
    let place = local_path(&target.root);
    if let Err(message) = shared_folder::check(world, place.as_deref(), &token) {
        drop(folder);
        let remedy = "give a --checkpoint-dir that all hosts share";
        end_by_root(world, &format!("{message}; {remedy}"));
    }
    let Some(claimed) = &mut folder else { return Ok((None, 1)) };
    claimed.prepare(&purpose)?;
    let whole = claimed.whole()?;
    let newest = whole.iter().map(|found| found.version).max();
    if newest.is_some() {
        let text = format!("note: {} holds {} checkpoint(s)", target.root, whole.len());
        claimed.notes.push(text);
    }
    claimed.notes.drain(..).for_each(|note| session.note(&note));
    Ok((folder, newest.unwrap_or(0) + 1))
}

/// An error of a thread that writes the checkpoint `name`.
fn named(name: &str, message: &str) -> String {
    format!("checkpoint {name}: {}", checkpoint_words(message))
}

/// Remedies of a store name the option of datasets.
fn checkpoint_words(message: &str) -> String {
    message.replace("--data-dir", "--checkpoint-dir")
}

fn share_of(reports: Vec<WriteReport>) -> Share {
    let mut share = Share { recorder: Recorder::new(), ..Share::default() };
    for report in reports {
        share.recorder.add(&report.recorder);
        share.times.add(&ThreadTimes {
            content_ns: report.fill_ns,
            sync_ns: report.sync_ns,
            metadata_ns: report.metadata_ns,
            total_ns: report.total_ns,
        });
        share.sync_ns = share.sync_ns.max(report.sync_ns);
        share.files += report.files;
        share.bytes += report.bytes;
        share.facts.push(report.facts);
    }
    share
}
