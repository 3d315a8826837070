//! Checkpoints: each rank writes its files of a sharded model, rank 0 commits them by one rename or
//! one manifest, and later they are read back.

mod background;
mod by_manifest;
mod by_rename;
mod ceiling;
pub mod clean;
mod folder;
mod in_training;
mod manifest;
mod names;
mod pick;
mod read_shards;
mod relay;
mod restore;
mod save;
mod steps;
mod tally;
mod write_shards;
mod writers;

pub use folder::MARKER;
pub use in_training::{After, Saves, check_reads};
use pick::Which;
use restore::Restorer;
use save::{Saver, write_threads};
use steps::{Steps, steps_of};

use super::devices;
use super::phase::Reduced;
use super::place::Place;
use super::run::{Phases, unanimous};
use super::session::{Session, checkpoint_content_settings, checkpoint_root_of, local_path};
use super::ticker::{Unit, with_ticker};
use crate::config::{Config, ObjectOptions};
use crate::data::{Content, Generator};
use crate::format::Layout;
use crate::metrics::{LiveCounters, Series};
use crate::plan::{self, CheckpointPlan, ShardFile};
use crate::report::dlio::{CheckpointLog, RankLog};
use crate::report::progress::Progress;
use crate::report::result::{Calibration, Ceiling};
use crate::world::{Doing, Milestone, interrupted, look, set_milestone};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

/// Ids of datasets' files and of checkpoints' never meet: one seed fills both.
const OBJECT_DOMAIN: u64 = 0x636B_7074_0000_0000;
/// How often a pause between two checkpoints looks whether the run was interrupted.
/// The end of a command is seen at most so much later.
const COMMAND_LOOK_EVERY: Duration = Duration::from_millis(10);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Where checkpoints go, and whose they are.
pub struct Target {
    /// URI of the root.
    pub root: String,
    /// The same as a path, where it is one.
    pub path: Option<PathBuf>,
    /// How an object store is reached.
    pub object: ObjectOptions,
    /// How checkpoints come and go there.
    pub steps: &'static dyn Steps,
    /// Everything that decides names, sizes and content.
    pub settings: Value,
    /// Its hash.
    pub configuration: String,
}

impl Target {
    /// Of `config`, whose checkpoints follow `plan`.
    pub fn new(config: &Config, plan: &CheckpointPlan) -> Target {
        let root = checkpoint_root_of(config);
        let mut model = json!(config.model);
        if let Some(model) = model.as_object_mut() {
            // A label.
            model.remove("name");
        }
        let content = checkpoint_content_settings(config);
        let mut settings = json!({
            "ranks": plan.grid().ranks,
            "framework": config.framework,
            "model": model,
            "checkpoint": {
                "mode": config.checkpoint.mode,
                "layout": config.checkpoint.layout,
            },
            "content": {
                "version": plan::CONTENT_VERSION,
                "seed": content.seed,
                "pcg": content.pcg,
                "compress_ratio": content.compress_ratio,
                "dedup_ratio": content.dedup_ratio,
            },
        });
        if content.stamped {
            settings["content"]["version"] = json!(format!("stamped {}", plan::CONTENT_VERSION));
        }
        let configuration = plan::digest(&settings);
        let (path, steps) = (local_path(&root), steps_of(&root));
        let object = config.storage.storage_options.clone();
        Target { path, steps, object, root, settings, configuration }
    }
}

/// The place of a phase that writes or reads checkpoints.
fn marker_place(target: &Target) -> Place<'_> {
    Place { folder: target.path.as_deref(), marker: MARKER, files: None }
}

/// A file of a checkpoint, and what lies over its content.
pub struct Shard {
    /// The file.
    pub file: ShardFile,
    /// Its header, if its layout has one.
    pub layout: Box<dyn Layout>,
}

/// The files of `rank`, in the reference's order.
fn shards_of(plan: &CheckpointPlan, rank: u64) -> Vec<Shard> {
    let files = plan.files_of(rank).into_iter().zip(plan.layouts_of(rank));
    files.map(|(file, layout)| Shard { file, layout }).collect()
}

/// The bytes of a file of a checkpoint with this version.
fn content_of<'a>(generator: &'a Generator, file: &ShardFile, version: u32) -> Content<'a> {
    generator.object(file.object_id ^ OBJECT_DOMAIN, version, file.bytes)
}

/// What writing checkpoints needs for as long as it lasts.
pub struct SaveWork<'a> {
    plan: &'a CheckpointPlan,
    target: Target,
    live: Vec<LiveCounters>,
}

impl<'a> SaveWork<'a> {
    /// Of checkpoints of `plan`.
    pub fn new(session: &Session<'_>, plan: &'a CheckpointPlan) -> SaveWork<'a> {
        let target = Target::new(session.config, plan);
        note_buffers(session);
        let live = (0..write_threads(session, plan)).map(|_| LiveCounters::new()).collect();
        SaveWork { plan, target, live }
    }

    /// Claims the folder for the run named in `claim`; its second part allows to remove checkpoints
    /// of another configuration. Collective; an error is this rank's own.
    pub fn saver<'b>(
        &'b self,
        session: &'b Session<'b>,
        claim: (&str, bool),
    ) -> Result<Saver<'b>, String> {
        Saver::new(session, self.plan, &self.target, &self.live, claim)
    }
}

/// Tells of buffers that are larger than others' are.
fn note_buffers(session: &Session<'_>) {
    if let Some(text) = plan::large_checkpoint_buffers(session.config) {
        session.note(&format!("note: {text}"));
    }
}

/// What the phases of checkpoints yield.
pub struct Checkpointed {
    /// Writing, on rank 0.
    pub saved: Option<Reduced>,
    /// Reading, on rank 0.
    pub restored: Option<Reduced>,
    /// Bytes over time on this rank.
    pub series: Vec<(&'static str, Series)>,
    /// Interrupted: not all was done.
    pub partial: bool,
    /// Time of the command between writing and reading, as this rank waited for it.
    between_s: Option<f64>,
    /// What the client reaches on the null store, writing and reading, where that was measured.
    pub ceilings: (Option<Ceiling>, Option<Ceiling>),
}

impl Checkpointed {
    fn nothing() -> Checkpointed {
        let (saved, restored, series, partial) = (None, None, Vec::new(), false);
        Checkpointed { saved, restored, series, partial, between_s: None, ceilings: (None, None) }
    }
}

/// What a run without training does: writes `num_checkpoints_write` checkpoints, runs the command
/// `between` on each host and reads `num_checkpoints_read` back: its own, oldest first, or the
/// newest where it wrote none. `claim` as of [`SaveWork::saver`]. Collective; an error is this
/// rank's own.
pub fn run(
    session: &Session<'_>,
    plan: &CheckpointPlan,
    log: &mut RankLog,
    claim: (&str, bool),
    between: Option<&str>,
) -> Result<Checkpointed, String> {
    let target = Target::new(session.config, plan);
    let start_unix_ns = super::compute::unix_ns();
    let mut logs = Vec::new();
    let mut done = Checkpointed::nothing();
    let checkpoint = &session.config.checkpoint;
    match checkpoint.num_checkpoints_write {
        0 => note_buffers(session),
        _ => save_all(session, plan, claim, &mut logs, &mut done)?,
    }
    if let (Some(command), false) = (between, done.partial) {
        done.between_s = Some(run_between(session, command)?);
    }
    if checkpoint.num_checkpoints_read > 0 && !done.partial {
        let which = Which {
            wanted: checkpoint.num_checkpoints_read,
            written: checkpoint.num_checkpoints_write,
        };
        restore_all(session, plan, (&target, which), &mut logs, &mut done)?;
    }
    let end_unix_ns = super::compute::unix_ns();
    log.checkpoints(1, (start_unix_ns, end_unix_ns), &logs);
    Ok(done)
}

/// What a run does after its training: runs the command `between` and reads the newest
/// `num_checkpoints_read` checkpoints back. Collective; an error is this rank's own.
pub fn restore_after_training(
    session: &Session<'_>,
    plan: &CheckpointPlan,
    log: &mut RankLog,
    between: Option<&str>,
) -> Result<Checkpointed, String> {
    let between_s = between.map(|command| run_between(session, command)).transpose()?;
    let target = Target::new(session.config, plan);
    let which = Which { wanted: session.config.checkpoint.num_checkpoints_read, written: 0 };
    let start_unix_ns = super::compute::unix_ns();
    let mut logs = Vec::new();
    let mut done = Checkpointed { between_s, ..Checkpointed::nothing() };
    restore_all(session, plan, (&target, which), &mut logs, &mut done)?;
    let times = (start_unix_ns, super::compute::unix_ns());
    let epoch = session.config.train.epochs + 1;
    log.checkpoints(epoch, times, &logs);
    Ok(done)
}

/// Runs `command` once on each host, with the output of this program; all wait for all. Its time in
/// seconds, to the end on the last host. Collective.
fn run_between(session: &Session<'_>, command: &str) -> Result<f64, String> {
    set_milestone(Milestone::Part("the start of the command of --between"));
    session.world.barrier();
    set_milestone(Milestone::Part("the end of the command of --between"));
    let start = Instant::now();
    if session.world.rank_on_host() == 0 {
        session.note(&format!("running on each host: {command}"));
        let status = run_command(command);
        let failed = match status {
            Ok(status) if status.success() => None,
            Ok(status) => Some(status.to_string()),
            Err(error) => Some(error.to_string()),
        };
        if let Some(what) = failed {
            return Err(format!("--between `{command}`: {what}"));
        }
    }
    session.world.barrier();
    Ok(start.elapsed().as_secs_f64())
}

/// Runs a command of the user, who decides how long it takes.
fn run_command(command: &str) -> std::io::Result<std::process::ExitStatus> {
    let mut child = std::process::Command::new("sh").args(["-c", command]).spawn()?;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        look(Doing::Command);
        std::thread::sleep(COMMAND_LOOK_EVERY);
    }
}

fn save_all(
    session: &Session<'_>,
    plan: &CheckpointPlan,
    claim: (&str, bool),
    logs: &mut Vec<(String, CheckpointLog)>,
    done: &mut Checkpointed,
) -> Result<(), String> {
    let writes = session.config.checkpoint.num_checkpoints_write;
    done.ceilings.0 = Some(ceiling::of_saving(session, plan)?);
    let work = SaveWork::new(session, plan);
    let mut saver = work.saver(session, claim)?;
    let files = plan.files_of(session.world.rank()).len() as u64 * writes;
    let line = progress(session, "checkpoint_save", files);
    let (outcome, series) = devices::recording(session, "checkpoint_save", || {
        with_ticker(&work.live, &AtomicU64::new(0), line, || {
            for checkpoint in 1..=writes {
                pause(session);
                let name = plan.name_of(checkpoint);
                let Some(log) = saver.save(&name, checkpoint)? else { return Ok(true) };
                logs.push((format!("save_ckpt{checkpoint}"), log));
            }
            Ok::<bool, String>(false)
        })
    });
    done.partial = outcome?;
    done.saved = saver.finish();
    done.series.push(("checkpoint_save", series));
    Ok(())
}

fn restore_all(
    session: &Session<'_>,
    plan: &CheckpointPlan,
    (target, which): (&Target, Which),
    logs: &mut Vec<(String, CheckpointLog)>,
    done: &mut Checkpointed,
) -> Result<(), String> {
    let reads = session.config.checkpoint.num_checkpoints_read;
    let found = restore::available(session, plan, target, which)?;
    let threads = restore::read_threads(session);
    let live: Vec<LiveCounters> = (0..threads).map(|_| LiveCounters::new()).collect();
    let mut restorer = Restorer::new(session, plan, target, &live)?;
    unanimous(session.world, restorer.check_hosts(&found));
    restorer.after_command(done.between_s);
    done.ceilings.1 = Some(restorer.ceiling()?);
    let line = progress(session, "checkpoint_restore", restorer.files() * reads);
    let (outcome, series) = devices::recording(session, "checkpoint_restore", || {
        with_ticker(&live, &AtomicU64::new(0), line, || {
            for (number, whole) in found.iter().enumerate() {
                pause(session);
                let Some(log) = restorer.restore(whole)? else { return Ok(true) };
                logs.push((format!("load_ckpt{}", number + 1), log));
            }
            Ok::<bool, String>(false)
        })
    });
    done.partial = outcome?;
    done.restored = restorer.finish();
    done.series.push(("checkpoint_restore", series));
    Ok(())
}

fn progress(session: &Session<'_>, phase: &str, files: u64) -> Option<(Progress, Unit)> {
    let root = session.world.is_root();
    root.then(|| {
        (Progress::new(&session.progress_label(phase), files, session.quiet), Unit::Samples)
    })
}

/// `checkpoint.time_between_checkpoints`: stands for the computation between two checkpoints, and
/// is part of no time.
fn pause(session: &Session<'_>) {
    let end = Instant::now() + Duration::from_secs_f64(session.config.checkpoint.pause_s());
    while !interrupted() {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        look(Doing::Computation);
        std::thread::sleep(left.min(LOOK_EVERY));
    }
}

/// What writing checkpoints of `plan` reaches on the null store while a training stands still;
/// None: they are written in the background. Collective; an error is this rank's own.
pub(super) fn save_ceiling(
    session: &Session<'_>,
    plan: Option<&CheckpointPlan>,
) -> Result<Option<Ceiling>, String> {
    let plan = plan.filter(|_| !session.config.checkpoint.is_async);
    plan.map(|plan| ceiling::of_saving(session, plan)).transpose()
}

/// Adds what was done to the phases of the run.
pub(super) fn add_to(phases: &mut Phases, done: Checkpointed) {
    add_ceilings(phases, done.ceilings);
    phases.partial |= done.partial;
    phases.reduced.extend(done.saved);
    phases.reduced.extend(done.restored);
    phases.series.extend(done.series);
}

/// Adds ceilings to what was measured of the client so far.
pub(super) fn add_ceilings(
    phases: &mut Phases,
    (save, restore): (Option<Ceiling>, Option<Ceiling>),
) {
    if save.is_some() || restore.is_some() {
        let known = phases.calibration.get_or_insert_with(Calibration::default);
        known.checkpoint_save = save.or(known.checkpoint_save);
        known.checkpoint_restore = restore.or(known.checkpoint_restore);
    }
}
