//! One run from the agreed plan to the written results.

use super::checkpoint::{SaveWork, Saves};
use super::dataset::{self, Standing};
use super::devices::DeviceRecorder;
use super::phase::Reduced;
use super::results::{Collected, write_results};
use super::run_folder::{MLPERF, RunFolder};
use super::session::Session;
use super::small::connect_small_by;
use super::train_phase::{self, Trained};
use super::{calibrate, checkpoint, datagen, listing, object, readback};
use crate::config::units::format_bytes_iec;
use crate::config::{Loaded, VerifyMode, is_object_root};
use crate::host::HostFacts;
use crate::metrics::Series;
use crate::plan::{Plan, Schedule, WorldShape};
use crate::report::dlio::{RankLog, data_gib_per_host};
use crate::report::result::{Calibration, RunResult, Status};
use crate::report::run_log::RunLog;
use crate::world::{Doing, Milestone, World, look, set_milestone};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// What the command line adds to the workload file.
#[derive(Debug, Clone)]
pub struct Request {
    /// Only generate, whatever `workflow` says.
    pub datagen_only: bool,
    /// A rankio dataset of another configuration may be removed.
    pub overwrite: bool,
    /// Command for the first rank of each host between writing and reading checkpoints.
    pub between: Option<String>,
    /// No progress lines.
    pub quiet: bool,
    /// Folder of results; None: `output.folder`, else `results`.
    pub results_root: Option<PathBuf>,
    /// Name of the run; None: date and time.
    pub run_id: Option<String>,
    /// The command as typed.
    pub command: String,
    /// One line instead of the whole summary is printed, by the caller: this is one run of several.
    pub brief: bool,
    /// The world that plans are made for.
    pub shape: WorldShape,
    /// Ranks of the host that has most of them.
    pub ranks_on_fullest_host: u64,
}

/// How a run ended, the same on every rank.
#[derive(Debug, Clone)]
pub struct Finished {
    /// Verdict.
    pub status: Status,
    /// It was interrupted.
    pub partial: bool,
    /// Of one run, on rank 0 only.
    pub written: Option<Box<Written>>,
}

/// What a run wrote.
#[derive(Debug, Clone)]
pub struct Written {
    /// `result.json`.
    pub result: RunResult,
    /// The folder that it lies in.
    pub folder: PathBuf,
    /// Wall clock at the begin and the end of the run, nanoseconds since 1970.
    pub unix_ns: [u64; 2],
}

/// Phases that ran, in order; filled on rank 0.
#[derive(Default)]
pub(super) struct Phases {
    pub reduced: Vec<Reduced>,
    pub series: Vec<(&'static str, Series)>,
    pub calibration: Option<Calibration>,
    pub trained: Option<Trained>,
    /// Reading checkpoints after the training.
    pub restored: Option<Reduced>,
    pub partial: bool,
    /// The dataset was not made by rankio.
    pub foreign: bool,
    /// This rank's step log could not be written.
    pub log_failure: Option<String>,
}

impl Phases {
    /// Closes the step log. A failure ends the run only after the results are written, so that a
    /// full folder does not take what was measured with it.
    fn take_log_end(&mut self, log: RankLog) {
        let failure = log.finish().err();
        self.log_failure =
            failure.map(|error| format!("cannot write the mlperf step log: {error}"));
    }
}

/// Runs everything. Collective. An error is this rank's own: the caller ends the job with it.
pub fn execute(
    world: &World,
    loaded: &Loaded,
    plan: &Plan,
    request: &Request,
) -> Result<Finished, String> {
    // Not in the middle of what is measured, if that can be helped.
    crate::storage::renew_keys_early();
    let started_unix_ns = super::compute::unix_ns();
    unanimous(world, same_plan(world, loaded, plan, request));
    let claimed = RunFolder::claim(world, &loaded.config, request, started_unix_ns)?;
    let private = claimed.check_shared(world).err();
    claimed.make_log_folder()?;
    let (run_id, folder) = (claimed.name.clone(), claimed.path.clone());
    let mut session = Session::new(world, &loaded.config, plan, claimed.seed, request.quiet);
    session.log = run_log(world, loaded, &folder)?;
    session.devices = DeviceRecorder::of(&session)?;
    if let Some(private) = private {
        session.note(&format!(
            "note: {private}; step logs of ranks of other hosts stay there; for a complete \
             {MLPERF}/ give a --results-dir that all hosts share"
        ));
    }
    let collected =
        Collected { run_id: &run_id, folder: &folder, loaded, request, started_unix_ns };
    let outcome = phases(&session, &collected);
    if let Err(message) = &outcome {
        session.log_line(&format!("error: {message}"));
    }
    outcome
}

/// The file that messages are copied to, on rank 0.
fn run_log(world: &World, loaded: &Loaded, folder: &Path) -> Result<Option<RunLog>, String> {
    match &loaded.config.output.log_file {
        Some(name) if world.is_root() => RunLog::create(&folder.join(name)).map(Some),
        _ => Ok(None),
    }
}

/// What the workflow asks for, one after the other.
fn phases(session: &Session<'_>, collected: &Collected<'_>) -> Result<Finished, String> {
    let Collected { run_id, folder, loaded, request, .. } = *collected;
    let hosts = gather_hosts(session);
    session.note(&format!("run {run_id}: {}", headline(session)));
    if let Some(note) = affinity_note(session) {
        session.note(&note);
    }
    for note in &loaded.notes {
        session.note(&format!("note: {note}"));
    }
    let mut phases = Phases::default();
    if loaded.config.workflow.generate_data || request.datagen_only {
        generate(session, request, run_id, &mut phases)?;
    }
    let trains = loaded.config.workflow.train && !request.datagen_only;
    if trains && !phases.partial {
        train(session, folder, (run_id, request), &mut phases)?;
    }
    let checkpoints_only = !loaded.config.workflow.train && !request.datagen_only;
    if let (true, false, Some(plan)) = (checkpoints_only, phases.partial, &session.plan.checkpoint)
    {
        let mut log = rank_log(session, folder)?;
        let claim = (run_id, request.overwrite);
        let between = request.between.as_deref();
        let done = checkpoint::run(session, plan, &mut log, claim, between)?;
        checkpoint::add_to(&mut phases, done);
        phases.take_log_end(log);
    }
    if loaded.config.workflow.object {
        set_milestone(Milestone::Part("the object benchmark"));
        object::run(session, request.overwrite, run_id, &mut phases)?;
    }
    let foreign = phases.foreign;
    let log_failure = phases.log_failure.take();
    set_milestone(Milestone::Part("the results"));
    let finished = write_results(session, collected, &hosts, phases)?;
    if let Some(message) = log_failure {
        return Err(message);
    }
    let has_dataset = loaded.config.workflow.uses_dataset();
    let keep = loaded.config.dataset.keep_files
        || !has_dataset
        || request.datagen_only
        || finished.partial;
    if !keep {
        remove_dataset(session, foreign)?;
    }
    super::housekeeping::forget();
    Ok(finished)
}

fn headline(session: &Session<'_>) -> String {
    let (world, config) = (session.world, session.config);
    let workflow = &config.workflow;
    let moves_data = workflow.train || workflow.generate_data || workflow.object;
    let at = match moves_data {
        true => format!("data {}", session.root),
        false => format!("checkpoints {}", config.checkpoint.checkpoint_folder),
    };
    format!("{} on {} rank(s), {} host(s), {at}", config.model.name, world.size(), world.hosts(),)
}

/// Ends the job if a rank has a failure; the lowest of them speaks for all. Collective.
pub(super) fn unanimous<T>(world: &World, outcome: Result<T, String>) -> T {
    match world.agree(outcome) {
        Ok(value) => value,
        Err((message, true)) => world.fail(&message),
        Err((_, false)) => wait_for_the_end(world),
    }
}

/// Another rank says why, and ends this one too.
fn wait_for_the_end(world: &World) -> ! {
    loop {
        world.barrier();
    }
}

/// Ends the job, on all ranks, for the reason that rank 0 knows.
pub(super) fn end_by_root(world: &World, message: &str) -> ! {
    match world.is_root() {
        true => world.fail(message),
        false => wait_for_the_end(world),
    }
}

/// All ranks must have made the plan of rank 0, from the same settings. Collective.
fn same_plan(world: &World, loaded: &Loaded, plan: &Plan, request: &Request) -> Result<(), String> {
    let own = format!("{} {} {}", plan.hash(), request.datagen_only, loaded.effective_yaml);
    let first = world.broadcast(own.clone().into_bytes());
    if own.as_bytes() == first {
        return Ok(());
    }
    let first = String::from_utf8_lossy(&first);
    let first = first.split(' ').next().unwrap_or_default();
    Err(format!(
        "this rank's settings (plan {}) are not those of rank 0 (plan {first}): the ranks \
         read different workload \
         files or run different versions",
        plan.hash()
    ))
}

/// The binding trap: mpirun ties a rank, and so all its threads, to one core unless told otherwise.
fn affinity_note(session: &Session<'_>) -> Option<String> {
    let mut fewest = [crate::host::cpus_allowed()];
    session.world.min(&mut fewest);
    let threads = session.config.reader.read_threads + 1;
    (fewest[0] < threads.min(crate::host::cpus_online())).then(|| {
        format!(
            "note: a rank may use {} CPU(s) for {threads} threads; start with mpirun \
             --bind-to none (srun: --cpus-per-task)",
            fewest[0]
        )
    })
}

/// One record for each host, on rank 0.
fn gather_hosts(session: &Session<'_>) -> Vec<HostFacts> {
    let world = session.world;
    let mut bytes = Vec::new();
    if world.rank_on_host() == 0 {
        let mut facts = crate::host::gather(session.measured_path.as_deref(), &world.library());
        facts.ranks = world.ranks_on_host();
        bytes = serde_json::to_vec(&facts).expect("facts are plain data");
    }
    let gathered = world.gather(&bytes).unwrap_or_default();
    let parse = |bytes: &Vec<u8>| serde_json::from_slice(bytes).ok();
    gathered.iter().filter(|bytes| !bytes.is_empty()).filter_map(parse).collect()
}

fn generate(
    session: &Session<'_>,
    request: &Request,
    run_id: &str,
    phases: &mut Phases,
) -> Result<(), String> {
    set_milestone(Milestone::Part("the start of datagen"));
    let generated = datagen::run(session, request.overwrite, run_id)?;
    phases.partial |= generated.partial;
    phases.reduced.extend(generated.reduced);
    phases.series.push(("datagen", generated.series));
    if !phases.partial {
        phases.partial = settle(session);
    }
    let verify = session.config.verify.mode;
    if verify == VerifyMode::Sample && request.datagen_only {
        session.note("note: datagen reads back with --verify full only; nothing was checked");
    }
    if verify == VerifyMode::Full && request.datagen_only && !phases.partial {
        set_milestone(Milestone::Part("the read-back"));
        let checked = readback::run(session)?;
        phases.partial |= checked.partial;
        phases.reduced.extend(checked.reduced);
        phases.series.push(("verify", checked.series));
    }
    Ok(())
}

/// `storage.post_generation_settle_seconds` on an object store; true if it was interrupted.
/// Collective.
fn settle(session: &Session<'_>) -> bool {
    let seconds = session.config.storage.post_generation_settle_seconds;
    if seconds <= 0.0 || !is_object_root(&session.root) {
        return false;
    }
    session.note(&format!("waiting {seconds} s for the store to settle"));
    let end = Instant::now() + Duration::from_secs_f64(seconds);
    let left = || end.saturating_duration_since(Instant::now());
    while !left().is_zero() && !crate::world::interrupted() {
        look(Doing::Work);
        std::thread::sleep(left().min(Duration::from_millis(50)));
    }
    let mut flag = [u64::from(crate::world::interrupted())];
    session.world.max(&mut flag);
    flag[0] != 0
}

/// The step log of this rank.
fn rank_log(session: &Session<'_>, folder: &Path) -> Result<RankLog, String> {
    let (world, config) = (session.world, &session.config.dataset);
    let mut host = crate::host::gather(session.measured_path.as_deref(), &world.library());
    host.ranks = world.ranks_on_host();
    let data_gib = data_gib_per_host(
        world.ranks_on_host() * session.plan.accelerators_per_rank(),
        session.plan.accelerators(),
        config.num_files_train,
        config.num_samples_per_file,
        crate::plan::nominal_sample_bytes(config),
    );
    RankLog::create(&folder.join("mlperf"), world.rank(), &host, data_gib)
        .map_err(|error| error.to_string())
}

/// Trains the run named `run_id`, and restores what it wrote where that is asked for.
fn train(
    session: &Session<'_>,
    folder: &Path,
    (run_id, request): (&str, &Request),
    phases: &mut Phases,
) -> Result<(), String> {
    let plan = session.plan.checkpoint.as_ref();
    let restores = plan.filter(|_| session.config.checkpoint.num_checkpoints_read > 0);
    let steps = session.plan.train_order(1, session.run_seed).steps();
    if restores.is_some() {
        unanimous(session.world, checkpoint::check_reads(session.config, steps));
    }
    let schedule = plan.map(|_| Schedule::of(&session.config.checkpoint));
    if let Some(why) =
        schedule.and_then(|schedule| schedule.never_due(session.config.train.epochs, steps))
    {
        session.note(&format!("note: {why}"));
    }
    set_milestone(Milestone::Part("the check of the dataset"));
    let standing = check_dataset(session, phases)?;
    set_milestone(Milestone::Part("the calibration"));
    phases.calibration = Some(calibrate::run(session)?);
    let ceiling = checkpoint::save_ceiling(session, plan)?;
    checkpoint::add_ceilings(phases, (ceiling, None));
    // Not before it is known that there is something to train on.
    let mut log = rank_log(session, folder)?;
    let claim = (run_id, request.overwrite);
    let work = plan.map(|plan| SaveWork::new(session, plan));
    let saves = match &work {
        Some(work) => Some(Saves::new(work.saver(session, claim)?, &session.config.checkpoint)),
        None => None,
    };
    let trained = train_phase::run(session, &standing, &mut log, saves)?;
    phases.partial |= trained.partial;
    phases.trained = Some(trained);
    if let (Some(plan), false) = (restores, phases.partial) {
        let between = request.between.as_deref();
        let done = checkpoint::restore_after_training(session, plan, &mut log, between)?;
        phases.partial |= done.partial;
        checkpoint::add_ceilings(phases, done.ceilings);
        phases.restored = done.restored;
        phases.series.extend(done.series);
    }
    phases.take_log_end(log);
    Ok(())
}

/// What the dataset is and whether it can be trained on. Collective.
fn check_dataset(session: &Session<'_>, phases: &mut Phases) -> Result<Standing, String> {
    let standing = agree_on_dataset(session)?;
    if standing == Standing::Foreign {
        phases.foreign = true;
        if session.config.verify.mode.checks_content() {
            unanimous::<()>(
                session.world,
                Err(format!(
                    "verify: {} was not made by rankio, so its content is unknown; use \
                     --verify none",
                    session.root
                )),
            );
        }
        session.note(
            "note: the dataset was not made by rankio: sizes are looked up, \
        content cannot be checked",
        );
    }
    if !session.is_null()
        && let Some(note) = unanimous(session.world, listing::check(session))
    {
        session.note(&note);
    }
    Ok(standing)
}

/// Rank 0 looks at the dataset and tells the others.
fn agree_on_dataset(session: &Session<'_>) -> Result<Standing, String> {
    if session.is_null() {
        return Ok(Standing::Own);
    }
    let mut code = vec![0];
    if session.world.is_root() {
        let mut store = connect_small_by(&session.root, session.object())?;
        let standing =
            dataset::standing(store.as_mut(), &session.root, session.config, session.plan);
        match standing {
            Ok(standing) => code = vec![u8::from(standing == Standing::Own)],
            Err(message) => session.world.fail(&message),
        }
    }
    let own = session.world.broadcast(code) == [1];
    Ok(if own { Standing::Own } else { Standing::Foreign })
}

/// `dataset.keep_files: False`; an interrupted run keeps them, so that it can be started again.
fn remove_dataset(session: &Session<'_>, foreign: bool) -> Result<(), String> {
    if foreign {
        session
            .note("note: rankio did not make the dataset, so dataset.keep_files False leaves it");
        return Ok(());
    }
    if session.is_null() || !session.world.is_root() {
        return Ok(());
    }
    let cleaned = super::clean::run(&session.root, session.object(), false)?;
    session.note(&format!("removed {} files (dataset.keep_files is False)", cleaned.files));
    Ok(())
}

/// The end of a series whose `dataset.keep_files` is False. Collective.
pub(super) fn remove_after(world: &World, loaded: &Loaded, plan: &Plan) -> Result<(), String> {
    let session = Session::new(world, &loaded.config, plan, 0, false);
    let foreign = agree_on_dataset(&session)? == Standing::Foreign;
    remove_dataset(&session, foreign)
}

/// Why the buffers of this many ranks do not fit into a host; None if they do, or where its memory
/// is not known.
pub fn memory_shortage(plan: &Plan, ranks_on_host: u64) -> Option<String> {
    let need = plan.memory().bytes_per_rank().saturating_mul(ranks_on_host);
    let have = plan.world.memory_per_host_bytes;
    (have > 0 && need > have).then(|| {
        format!(
            "the buffers of {ranks_on_host} rank(s) on a host need {}, and it has {}; lower \
             io.block_size, io.queue_depth or reader.read_threads",
            format_bytes_iec(need),
            format_bytes_iec(have)
        )
    })
}
