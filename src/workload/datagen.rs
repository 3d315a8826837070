//! Generates a dataset: parallel over ranks and threads, resumable, and never over somebody else's
//! files.

use super::clean;
use super::dataset::{MARKER, Marker, Progress as State};
use super::phase::{Direction, PhaseClock, RankColumns, RankOutcome, Reduced, timed};
use super::session::Session;
use super::small::connect_small;
use super::ticker::{Unit, with_ticker};
use super::write_thread::{self, WriteJob, WriteReport};
use crate::metrics::{LiveCounters, Recorder, Series};
use crate::plan::{FileSet, Split};
use crate::report::progress::Progress;
use crate::report::result::DatagenMetrics;
use crate::world::interrupted;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64};

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

/// Generates whatever is missing. Collective; an error is this rank's own.
pub fn run(session: &Session<'_>, overwrite: bool) -> Result<Generated, String> {
    let outcome = if session.world.is_root() { prepare(session, overwrite) } else { Ok(false) };
    let resume = match outcome {
        Ok(resume) => resume,
        Err(message) => session.world.fail(&message),
    };
    let resume = session.world.broadcast(vec![u8::from(resume)]) == [1];
    let clock = PhaseClock::start(session, Direction::Write);
    let threads = session.write_threads();
    let live: Vec<LiveCounters> = (0..threads).map(|_| LiveCounters::new()).collect();
    let job = job(session, resume);
    let progress = progress(session);
    let steps = AtomicU64::new(0);
    let ((reports, window_ns), series) =
        with_ticker(&live, &steps, progress, || timed(|| write(&job, &live)));
    let reports = reports?;
    let partial = agree_on_interruption(session);
    if session.world.is_root() && !partial {
        finish(session)?;
    }
    session.world.barrier();
    let reduced = reduce(session, clock, reports, window_ns);
    Ok(Generated { reduced, series, partial })
}

/// Rank 0 looks at the folder and claims it. True: files may already be there.
fn prepare(session: &Session<'_>, overwrite: bool) -> Result<bool, String> {
    if session.is_null() {
        return Ok(false);
    }
    if let Some(path) = &session.data_path {
        crate::host::check_data_path(path)?;
    }
    let root = &session.root;
    let wanted = Marker::new(session.config, session.plan, State::Generating);
    let mut store = connect_small(root)?;
    let resume = match Marker::read(store.as_mut(), root)? {
        Some(marker) if marker.dataset_hash == wanted.dataset_hash => true,
        Some(marker) if !overwrite => {
            return Err(format!(
                "{root}: holds another dataset of rankio ({}); give another --data-dir, or \
                 --overwrite to remove it",
                marker.difference(&wanted)
            ));
        }
        Some(marker) => {
            clean::remove(store.as_mut(), session.data_path.as_deref(), &marker)?;
            false
        }
        None => {
            refuse_foreign(session)?;
            false
        }
    };
    wanted.write(store.as_mut())?;
    if let Some(path) = &session.data_path {
        make_empty_folders(path)?;
    }
    Ok(resume)
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
fn refuse_foreign(session: &Session<'_>) -> Result<(), String> {
    let Some(path) = &session.data_path else { return Ok(()) };
    let entries = match std::fs::read_dir(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(format!("{}: {error}", path.display())),
        Ok(entries) => entries,
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name != "lost+found" && name != format!("{MARKER}.partial") {
            return Err(format!(
                "{}: holds {name}, which rankio did not make; give an empty or new folder \
                 as --data-dir",
                path.display()
            ));
        }
    }
    Ok(())
}

fn finish(session: &Session<'_>) -> Result<(), String> {
    if session.is_null() {
        return Ok(());
    }
    let mut store = connect_small(&session.root)?;
    Marker::new(session.config, session.plan, State::Complete).write(store.as_mut())
}

fn job<'a>(session: &'a Session<'a>, resume: bool) -> WriteJob<'a> {
    let splits: Vec<&FileSet> =
        std::iter::once(&session.plan.train).chain(session.plan.valid.as_ref()).collect();
    WriteJob {
        splits,
        generator: &session.generator,
        store: session.write_store(),
        block_bytes: session.config.io.block_size,
        rank: session.world.rank(),
        ranks: session.world.size(),
        resume,
        cursor: AtomicU64::new(0),
        stop: AtomicBool::new(false),
    }
}

fn progress(session: &Session<'_>) -> Option<(Progress, Unit)> {
    let splits = std::iter::once(&session.plan.train).chain(session.plan.valid.as_ref());
    let files: u64 = splits.map(|files| files.files()).sum();
    let own_files = files.div_ceil(session.world.size());
    let samples = own_files * session.plan.train.samples_per_file();
    let root = session.world.is_root();
    root.then(|| (Progress::new("datagen", samples, session.quiet), Unit::Samples))
}

fn write(job: &WriteJob<'_>, live: &[LiveCounters]) -> Result<Vec<WriteReport>, String> {
    std::thread::scope(|scope| {
        let handles: Vec<_> = live
            .iter()
            .enumerate()
            .map(|(index, counters)| {
                std::thread::Builder::new()
                    .name(format!("write-{index}"))
                    .spawn_scoped(scope, move || write_thread::run(job, counters))
                    .map_err(|error| format!("cannot start I/O thread {index}: {error}"))
            })
            .collect();
        let mut reports = Vec::with_capacity(handles.len());
        let mut failure = None;
        for handle in handles {
            match handle.and_then(|handle| {
                handle.join().unwrap_or_else(|_| Err("an I/O thread panicked".into()))
            }) {
                Ok(report) => reports.push(report),
                Err(message) => failure = failure.or(Some(message)),
            }
        }
        failure.map_or(Ok(reports), Err)
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
    let requested = recorder.bytes.requested;
    recorder.on_nominal(requested);
    session.world.sum(&mut totals);
    let outcome = RankOutcome {
        kind: "datagen",
        window_ns,
        busy_ns: window_ns,
        recorder: &recorder,
        facts: reports.into_iter().map(|report| report.facts).collect(),
        samples: totals[0] * session.plan.train.samples_per_file(),
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
