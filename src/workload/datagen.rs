//! Generates a dataset: parallel over ranks and threads, resumable, and never over somebody else's
//! files.

use super::claim::{Claim, LOCK};
use super::clean;
use super::crew::{Crew, with_crew};
use super::dataset::{MARKER, Marker, Progress as State};
use super::devices;
use super::partials;
use super::phase::{Direction, PhaseClock, RankColumns, RankOutcome, Reduced};
use super::run::end_by_root;
use super::session::Session;
use super::shared_folder;
use super::small::{any_object, connect_small_by};
use super::ticker::{Unit, with_ticker};
use super::write_thread::{self, WriteJob, WriteReport};
use crate::metrics::{LiveCounters, Recorder, Series};
use crate::plan::{FileSet, Split, nominal_sample_bytes};
use crate::report::progress::Progress;
use crate::report::result::DatagenMetrics;
use crate::storage::Storage;
use crate::world::{Milestone, interrupted, set_milestone};
use std::cell::Cell;
use std::path::Path;
use std::sync::atomic::AtomicU64;

const GIB: f64 = (1u64 << 30) as f64;

/// What happened.
pub struct Generated {
    /// Result on rank 0.
    pub reduced: Option<Reduced>,
    /// Bytes over time on this rank.
    pub series: Series,
    /// Interrupted: the dataset is incomplete, another datagen goes on where this one stopped.
    pub partial: bool,
}

/// Generates whatever is missing; `run_id` is told to others who want the folder meanwhile.
/// Collective; an error is this rank's own.
pub fn run(session: &Session<'_>, overwrite: bool, run_id: &str) -> Result<Generated, String> {
    let world = session.world;
    let claim: Cell<Option<Claim>> = Cell::new(None);
    let mut resume = false;
    let prepares = world.is_root() && !session.is_null();
    if prepares {
        claim.set(claim_root(session, overwrite, run_id)?);
    }
    check_shared(session, &claim);
    if prepares {
        resume = prepare(session, overwrite)?;
    }
    let resume = world.broadcast(vec![u8::from(resume)]) == [1];
    let threads = session.write_threads();
    let live: Vec<LiveCounters> = (0..threads).map(|_| LiveCounters::new()).collect();
    let crew = Crew::new(threads);
    let job = job(session, &crew, resume);
    let progress = progress(session);
    let steps = AtomicU64::new(0);
    let fail = |message: &str| {
        drop(claim.take());
        world.fail(message);
    };
    let open = || write_thread::open(&job);
    let work = |store, index: usize| write_thread::run(&job, store, &live[index]);
    let measured = |go: &dyn Fn()| {
        let mut clock = PhaseClock::start(session, Direction::Write);
        set_milestone(Milestone::Part("the end of datagen"));
        let (((), window_ns), series) = devices::recording(session, "datagen", || {
            with_ticker(&live, &steps, progress, || clock.timed(go))
        });
        (clock, window_ns, series)
    };
    let ((clock, window_ns, series), reports) =
        with_crew(&crew, "write", open, work, &fail, measured)?;
    let partial = agree_on_interruption(session);
    if world.is_root() && !partial {
        finish(session)?;
    }
    drop(claim.take());
    world.barrier();
    let reduced = reduce(session, clock, reports, window_ns);
    Ok(Generated { reduced, series, partial })
}

/// Ends the job where each host has a root of its own: it would hold a part of the files.
/// Collective.
fn check_shared(session: &Session<'_>, claim: &Cell<Option<Claim>>) {
    let token = partials::token(session.run_seed);
    if let Err(message) = shared_folder::check(session.world, session.data_path.as_deref(), &token)
    {
        drop(claim.take());
        let remedy = "give a --data-dir that all hosts share; for a copy on each host, run \
                      datagen on each host by itself";
        end_by_root(session.world, &format!("{message}; {remedy}"));
    }
}

/// Rank 0 looks at the folder and claims it.
///
/// Below the root of an object store there is no lock, because nothing there goes away with the
/// process that holds it. There is little to protect either: objects appear whole, no name depends
/// on the run, and two generations of one configuration write the same bytes.
fn claim_root(
    session: &Session<'_>,
    overwrite: bool,
    run_id: &str,
) -> Result<Option<Claim>, String> {
    let mut store = connect_small_by(&session.root, session.object())?;
    let path = session.data_path.as_deref();
    if let Some(path) = path {
        crate::host::check_data_path(path)?;
    }
    // A folder that is refused is not even claimed. While somebody holds it, it may look like
    // anything.
    if path.is_some_and(|path| !Claim::is_there(path)) {
        existing(session, store.as_mut(), path, overwrite)?;
    }
    path.map(|path| Claim::take(path, "datagen", run_id)).transpose()
}

/// Rank 0 makes the claimed folder ready. True: files may already be there.
fn prepare(session: &Session<'_>, overwrite: bool) -> Result<bool, String> {
    let mut store = connect_small_by(&session.root, session.object())?;
    let path = session.data_path.as_deref();
    if let Some(path) = path {
        shared_folder::remove_leftovers(path)?;
    }
    let wanted = Marker::new(session.config, session.plan, State::Generating);
    let resume = match existing(session, store.as_mut(), path, overwrite)? {
        Some(marker) if marker.dataset_hash == wanted.dataset_hash => {
            if let (State::Generating, Some(path)) = (marker.state, path) {
                remove_leftovers(session, store.as_mut(), path)?;
            }
            true
        }
        Some(marker) => {
            clean::remove(store.as_mut(), path, &marker)?;
            false
        }
        None => false,
    };
    wanted.write(store.as_mut())?;
    if let Some(path) = path {
        make_empty_folders(path)?;
    }
    Ok(resume)
}

/// The marker that lies in the folder; what may not be touched is an error.
fn existing(
    session: &Session<'_>,
    store: &mut dyn Storage,
    path: Option<&Path>,
    overwrite: bool,
) -> Result<Option<Marker>, String> {
    let root = &session.root;
    let Some(marker) = Marker::read(store, root)? else {
        return match path {
            Some(path) => refuse_foreign(path),
            None => refuse_foreign_objects(store, root),
        }
        .map(|()| None);
    };
    let wanted = Marker::new(session.config, session.plan, State::Generating);
    if marker.dataset_hash != wanted.dataset_hash && !overwrite {
        return Err(format!(
            "{root}: holds another dataset of rankio ({}); give another --data-dir, or \
             --overwrite to remove it",
            marker.difference(&wanted)
        ));
    }
    Ok(Some(marker))
}

/// Removes what an interrupted generation was writing.
fn remove_leftovers(
    session: &Session<'_>,
    store: &mut dyn Storage,
    path: &Path,
) -> Result<(), String> {
    for name in partials::leftovers(path, &splits(session))? {
        store.remove(&name).map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// The reference lists both splits' folders, so an evaluation folder must be there even without
/// files.
fn make_empty_folders(root: &Path) -> Result<(), String> {
    for split in [Split::Train, Split::Valid] {
        let folder = root.join(split.folder());
        std::fs::create_dir_all(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    }
    Ok(())
}

/// A folder with files but without our marker is somebody else's.
fn refuse_foreign(path: &Path) -> Result<(), String> {
    let entries = match std::fs::read_dir(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(format!("{}: {error}", path.display())),
        Ok(entries) => entries,
    };
    // What a run leaves that was killed before its first file.
    let own = [LOCK.to_string(), format!("{MARKER}.partial")];
    for entry in entries {
        let entry = entry.map_err(|error| format!("{}: {error}", path.display()))?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let is_own = own.iter().any(|own| name == own.as_str()) || shared_folder::is_ours(&name);
        if name != "lost+found" && !is_own {
            return Err(format!(
                "{}: holds {name}, which rankio did not make; give an empty or new folder \
                 as --data-dir",
                path.display()
            ));
        }
    }
    Ok(())
}

/// The same of objects.
fn refuse_foreign_objects(store: &mut dyn Storage, root: &str) -> Result<(), String> {
    let foreign = any_object(store, "", &|_| true)?;
    match foreign {
        None => Ok(()),
        Some(name) => Err(format!(
            "{root}: holds {name}, which rankio did not make; give an empty or new prefix as \
             --data-dir"
        )),
    }
}

fn finish(session: &Session<'_>) -> Result<(), String> {
    if session.is_null() {
        return Ok(());
    }
    let mut store = connect_small_by(&session.root, session.object())?;
    Marker::new(session.config, session.plan, State::Complete).write(store.as_mut())
}

fn splits<'a>(session: &'a Session<'_>) -> Vec<&'a FileSet> {
    std::iter::once(&session.plan.generated).chain(session.plan.valid.as_ref()).collect()
}

fn job<'a>(session: &'a Session<'a>, crew: &'a Crew, resume: bool) -> WriteJob<'a> {
    WriteJob {
        splits: splits(session),
        generator: &session.generator,
        store: session.write_store(),
        block_bytes: session.config.write_io(&session.root).block_size,
        rank: session.world.rank(),
        ranks: session.world.size(),
        resume,
        cursor: AtomicU64::new(0),
        token: partials::token(session.run_seed),
        crew,
    }
}

fn progress(session: &Session<'_>) -> Option<(Progress, Unit)> {
    let files: u64 = splits(session).iter().map(|files| files.files()).sum();
    let own_files = files.div_ceil(session.world.size());
    let samples = own_files * session.plan.train.samples_per_file();
    let root = session.world.is_root();
    root.then(|| {
        (Progress::new(&session.progress_label("datagen"), samples, session.quiet), Unit::Samples)
    })
}

fn agree_on_interruption(session: &Session<'_>) -> bool {
    let mut flag = [u64::from(interrupted())];
    session.world.max(&mut flag);
    flag[0] != 0
}

fn reduce(
    session: &Session<'_>,
    clock: PhaseClock,
    reports: Vec<WriteReport>,
    window_ns: u64,
) -> Option<Reduced> {
    let mut recorder = Recorder::new();
    let mut totals = [0u64; 3];
    for report in &reports {
        recorder.add(&report.recorder);
        totals[0] += report.files;
        totals[1] += report.skipped;
        totals[2] += report.fill_ns;
    }
    let samples: u64 = reports.iter().map(|report| report.samples).sum();
    let nominal = samples as f64 * nominal_sample_bytes(&session.config.dataset);
    recorder.on_nominal(nominal as u64);
    session.world.sum(&mut totals);
    let outcome = RankOutcome {
        kind: "datagen",
        window_ns,
        busy_ns: window_ns,
        recorder: &recorder,
        facts: reports.into_iter().map(|report| report.facts).collect(),
        samples,
        columns: RankColumns::default(),
        histograms: Vec::new(),
        verify_mode: "none".into(),
    };
    let mut reduced = clock.finish(session, &outcome)?;
    let generator_s = totals[2] as f64 / 1e9;
    let file_bytes = reduced.recorder.bytes.requested;
    let thread_s =
        reduced.phase.window_s * session.write_threads() as f64 * session.world.size() as f64;
    let per = |value: f64, seconds: f64| if seconds > 0.0 { value / seconds } else { 0.0 };
    let metrics = DatagenMetrics {
        files_written: totals[0],
        files_kept: totals[1],
        file_bytes,
        generator_s,
        generator_gib_per_s_per_thread: per(file_bytes as f64 / GIB, generator_s),
        generator_share: per(generator_s, thread_s),
    };
    reduced.phase.metrics = serde_json::to_value(metrics).expect("metrics are plain data");
    Some(reduced)
}
