//! Reads a dataset back front to back and compares every byte, checksums included.

use super::compute::now_ns;
use super::crew::{Crew, with_crew};
use super::devices;
use super::phase::{Direction, PhaseClock, RankColumns, RankOutcome, Reduced};
use super::session::Session;
use super::ticker::{Unit, with_ticker};
use crate::data::Generator;
use crate::format::content::Checker;
use crate::metrics::{LiveCounters, LiveTotals, Recorder, Series};
use crate::plan::{FileSet, nominal_sample_bytes};
use crate::report::progress::Progress;
use crate::storage::{IoBuffer, Op, OpenMode, Storage, StoreFacts, StoreSpec, connect};
use crate::world::interrupted;
use serde_json::json;
use std::sync::atomic::{AtomicU64, Ordering};

struct CheckJob<'a> {
    splits: Vec<&'a FileSet>,
    generator: &'a Generator,
    store: StoreSpec,
    block_bytes: u64,
    rank: u64,
    ranks: u64,
    cursor: AtomicU64,
    crew: &'a Crew,
}

struct Arrived {
    buffer: IoBuffer,
    start: usize,
    bytes: usize,
}

/// What happened.
pub struct Checked {
    /// Result on rank 0.
    pub reduced: Option<Reduced>,
    /// Bytes over time on this rank.
    pub series: Series,
    /// Interrupted: some files were not looked at.
    pub partial: bool,
}

/// Checks every file of the dataset, spread over ranks and threads. Collective; the first damage
/// found is an error that names file and offset.
pub fn run(session: &Session<'_>) -> Result<Checked, String> {
    let threads = session.config.reader.read_threads.max(1) as usize;
    let live: Vec<LiveCounters> = (0..threads).map(|_| LiveCounters::new()).collect();
    let crew = Crew::new(threads);
    let job = CheckJob {
        splits: std::iter::once(&session.plan.generated)
            .chain(session.plan.valid.as_ref())
            .collect(),
        generator: &session.generator,
        store: session.read_store(),
        block_bytes: session.config.io.block_size,
        rank: session.world.rank(),
        ranks: session.world.size(),
        cursor: AtomicU64::new(0),
        crew: &crew,
    };
    let files: u64 = job.splits.iter().map(|files| files.files()).sum();
    let mine = files.div_ceil(job.ranks);
    let progress = session.world.is_root().then(|| {
        (Progress::new(&session.progress_label("verify"), mine, session.quiet), Unit::Samples)
    });
    let steps = AtomicU64::new(0);
    let open = || connect(&job.store).map_err(|error| error.to_string());
    let work = |store, index: usize| check_files(&job, store, &live[index]);
    let fail = |message: &str| {
        session.world.fail(message);
    };
    let measured = |go: &dyn Fn()| {
        let mut clock = PhaseClock::start(session, Direction::Read);
        let (((), window_ns), series) = devices::recording(session, "verify", || {
            with_ticker(&live, &steps, progress, || clock.timed(go))
        });
        (clock, window_ns, series)
    };
    let ((clock, window_ns, series), reports) =
        with_crew(&crew, "verify", open, work, &fail, measured)?;
    let mut sums = [u64::from(interrupted()), LiveTotals::sum(&live).samples];
    session.world.sum(&mut sums);
    let [interruptions, files_checked] = sums;
    let mut recorder = Recorder::new();
    let mut samples = 0;
    for report in &reports {
        recorder.add(&report.recorder);
        samples += report.samples;
    }
    let nominal = samples as f64 * nominal_sample_bytes(&session.config.dataset);
    recorder.on_nominal(nominal as u64);
    let outcome = RankOutcome {
        kind: "verify",
        window_ns,
        busy_ns: window_ns,
        recorder: &recorder,
        facts: reports.into_iter().map(|report| report.facts).collect(),
        samples,
        columns: RankColumns::default(),
        histograms: Vec::new(),
        verify_mode: "full".into(),
    };
    let reduced = clock.finish(session, &outcome).map(|mut reduced| {
        reduced.phase.metrics = json!({ "files_checked": files_checked });
        reduced
    });
    Ok(Checked { reduced, series, partial: interruptions > 0 })
}

/// What a thread brings home.
struct CheckReport {
    recorder: Recorder,
    facts: StoreFacts,
    /// Samples of the files it checked.
    samples: u64,
}

fn check_files(
    job: &CheckJob<'_>,
    mut store: Box<dyn Storage>,
    live: &LiveCounters,
) -> Result<CheckReport, String> {
    let mut recorder = Recorder::new();
    let mut samples = 0;
    loop {
        let number = job.cursor.fetch_add(1, Ordering::Relaxed);
        let mut place = number.saturating_mul(job.ranks).saturating_add(job.rank);
        let Some(files) = job.splits.iter().find(|files| {
            let inside = place < files.files();
            if !inside {
                place -= files.files();
            }
            inside
        }) else {
            break;
        };
        if job.crew.stopped() || interrupted() {
            break;
        }
        check_file(job, files, place, store.as_mut(), &mut recorder, live)?;
        samples += files.shape(place).samples;
        live.on_samples(1);
    }
    let facts = store.facts();
    Ok(CheckReport { recorder, facts, samples })
}

/// Reads a file with the whole queue, and checks its blocks in order as they become the next one.
fn check_file(
    job: &CheckJob<'_>,
    files: &FileSet,
    index: u64,
    store: &mut dyn Storage,
    recorder: &mut Recorder,
    live: &LiveCounters,
) -> Result<(), String> {
    let mut name = String::new();
    files.name(index, &mut name);
    let path = format!("{}/{name}", job.store.root.trim_end_matches('/'));
    let planned = files.file_bytes(index);
    let start = now_ns();
    let opened = store
        .open(&name, OpenMode::Read { expected_bytes: planned })
        .map_err(|error| error.to_string())?;
    if opened.was_asked {
        recorder.on_open(now_ns() - start);
    }
    if opened.size_bytes != planned {
        return Err(format!(
            "verify {path}: {} bytes, the plan says {planned}: truncated or damaged; remove \
             it and run rankio datagen again",
            opened.size_bytes
        ));
    }
    let layout = files.format().layout(&files.shape(index));
    let content = job.generator.object(files.object_id(index), 0, planned);
    let mut checker = Checker::new(layout.as_ref(), content);
    let damaged =
        |what| format!("verify {path}: {what}; the file was damaged after it was generated");
    let blocks = planned.div_ceil(job.block_bytes);
    let depth = job.store.buffers as u64;
    let mut waiting: Vec<Option<Arrived>> = (0..depth).map(|_| None).collect();
    let mut completions = Vec::with_capacity(depth as usize);
    let (mut next, mut checked) = (0, 0);
    while checked < blocks {
        while next < blocks
            && next < checked + depth
            && let Some(buffer) = store.take_buffer()
        {
            let offset = next * job.block_bytes;
            let len = (planned - offset).min(job.block_bytes) as usize;
            let op = Op::Read { offset, len, buffer };
            store.submit(opened.handle, op, next).map_err(|error| error.to_string())?;
            next += 1;
        }
        store.reap(1, None, &mut completions).map_err(|error| error.to_string())?;
        for done in completions.drain(..) {
            if let Some(error) = done.error {
                return Err(error.to_string());
            }
            recorder.on_read(done.latency_ns, done.bytes as u64, done.transferred as u64);
            live.on_read(done.bytes as u64);
            let buffer = done.buffer.expect("a read brings its buffer back");
            let place = (done.tag % depth) as usize;
            waiting[place] = Some(Arrived { buffer, start: done.data_start, bytes: done.bytes });
        }
        while let Some(block) = waiting[(checked % depth) as usize].take() {
            let found = &block.buffer.as_slice()[block.start..block.start + block.bytes];
            checker.check_next(found).map_err(|mismatch| damaged(mismatch.to_string()))?;
            recorder.on_verified(block.bytes as u64);
            store.give_buffer(block.buffer);
            checked += 1;
        }
    }
    checker.finish().map_err(|mismatch| damaged(mismatch.to_string()))?;
    store.close(opened.handle).map_err(|error| error.to_string())
}
