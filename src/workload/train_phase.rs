//! The training phase: epochs with their evaluations, and the reduction to results.

use super::checkpoint::{After, Saves};
use super::compute::{Draws, Pacer, now_ns, unix_ns};
use super::dataset::Standing;
use super::devices;
use super::foreign_files::first_row_group;
use super::loop_metrics;
use super::page_cache::{CacheBefore, before_block};
use super::phase::{Direction, PhaseClock, RankColumns, RankOutcome, Reduced};
use super::reader::{Control, ReadJob, ThreadReport, window_batches, with_readers};
use super::session::Session;
use super::store_facts::merge_facts;
use super::ticker::{Unit, with_ticker};
use super::training::{EpochFigures, EpochTable, StepLoop, StepTimes, figures, task_of};
use crate::config::{Distribution, FormatKind, IoMode, ReadType};
use crate::metrics::{Histogram, LiveCounters, LiveTotals, Recorder, Series};
use crate::plan::{EpochOrder, FileSet, nominal_sample_bytes};
use crate::report::dlio::{BlockLog, CheckpointLog, EpochLog, RankLog};
use crate::report::official::EpochValue;
use crate::report::progress::Progress;
use crate::report::result::EpochBlock;
use crate::storage::StoreFacts;
use std::ops::Range;
use std::sync::atomic::AtomicU64;

/// What the training phase yields.
pub struct Trained {
    /// Training, on rank 0.
    pub training: Option<Reduced>,
    /// Evaluation, on rank 0, if there was one.
    pub evaluation: Option<Reduced>,
    /// Checkpoints, on rank 0, if any were to be written.
    pub saved: Option<Reduced>,
    /// Official figures of training.
    pub train_figures: EpochTable,
    /// Official figures of evaluation.
    pub eval_figures: EpochTable,
    /// Counters over time on this rank.
    pub series: Series,
    /// True: interrupted, the figures cover a part.
    pub partial: bool,
}

/// What a loop measured so far: training or evaluation.
struct Tally<'a> {
    kind: &'static str,
    batch: u64,
    compute: Draws,
    times: StepTimes,
    window_ns: u64,
    samples: u64,
    table: EpochTable,
    recorder: Recorder,
    decode: Histogram,
    facts: Option<StoreFacts>,
    blocks: Vec<EpochBlock>,
    clock: PhaseClock<'a>,
}

impl<'a> Tally<'a> {
    fn train(session: &'a Session<'_>) -> Result<Tally<'a>, String> {
        let config = session.config;
        let compute = draws(session, &config.train.computation_time, 0)
            .map_err(|what| format!("train.computation_time: {what}"))?;
        let clock = PhaseClock::new(session, Direction::Read, &session.plan.train);
        Ok(Self::new("training", config.reader.batch_size, compute, clock))
    }

    fn eval(session: &'a Session<'_>, files: &'a FileSet) -> Result<Tally<'a>, String> {
        let config = session.config;
        let compute = draws(session, &config.evaluation.eval_time, 1)
            .map_err(|what| format!("evaluation.eval_time: {what}"))?;
        let clock = PhaseClock::new(session, Direction::Read, files);
        Ok(Self::new("evaluation", config.reader.batch_size_eval, compute, clock))
    }

    fn new(kind: &'static str, batch: u64, compute: Draws, clock: PhaseClock<'a>) -> Tally<'a> {
        Tally {
            kind,
            batch,
            compute,
            times: StepTimes::default(),
            window_ns: 0,
            samples: 0,
            table: EpochTable::default(),
            recorder: Recorder::new(),
            decode: Histogram::default(),
            facts: None,
            blocks: Vec::new(),
            clock,
        }
    }

    /// Takes what the threads of the training or of one evaluation counted; nothing of it is kept
    /// by thread, so a run of many evaluations needs no more memory than one.
    fn take(&mut self, reports: &[ThreadReport]) {
        for report in reports {
            self.recorder.add(&report.recorder);
            report.decode.iter().for_each(|times| self.decode.add(times));
        }
        let own = merge_facts(reports.iter().map(|report| &report.facts));
        // The buffers of an earlier evaluation are gone.
        let earlier = self.facts.take();
        let earlier_bytes = earlier.as_ref().map_or(0, |facts| facts.buffer_bytes);
        let buffer_bytes = own.buffer_bytes.max(earlier_bytes);
        let merged = merge_facts(earlier.iter().chain([&own]));
        self.facts = Some(StoreFacts { buffer_bytes, ..merged });
    }

    fn reduce(mut self, session: &Session<'_>) -> (Option<Reduced>, EpochTable) {
        let nominal = self.samples as f64 * nominal_sample_bytes(&session.config.dataset);
        self.recorder.on_nominal(nominal as u64);
        let times = &self.times;
        let mean = |histogram: &Histogram| histogram.summary().mean;
        let au = 100.0 * times.computed_ns as f64 / self.window_ns.max(1) as f64;
        let mut histograms = vec![
            ("load_wait_ns", &times.load),
            ("compute_ns", &times.compute),
            ("barrier_ns", &times.barrier),
            ("compute_error_ns", &times.error),
        ];
        if session.config.io.decode {
            histograms.push(("decode_ns", &self.decode));
        }
        let outcome = RankOutcome {
            kind: self.kind,
            window_ns: self.window_ns,
            // A rank that waits in the barrier is not slow; one that waits for its data is.
            busy_ns: (times.load.sum_ns() + times.compute.sum_ns()) as u64,
            recorder: &self.recorder,
            facts: self.facts.into_iter().collect(),
            samples: self.samples,
            columns: RankColumns {
                au_percent: Some(au),
                load_mean_ns: mean(&times.load),
                compute_mean_ns: mean(&times.compute),
                barrier_mean_ns: mean(&times.barrier),
                compute_over_configured: (times.configured_ns > 0)
                    .then(|| times.computed_ns as f64 / times.configured_ns as f64),
                barrier_lost_ns: (self.kind == "training").then_some(times.barrier_lost_ns),
                cpu_wait_ns: times.cpu_wait_ns,
            },
            histograms,
            verify_mode: format!("{:?}", session.config.verify.mode).to_lowercase(),
        };
        let mut sums = [times.configured_ns, times.computed_ns, self.samples];
        session.world.sum(&mut sums);
        let [configured, measured, samples] = sums;
        let (table, blocks) = (&self.table, self.blocks);
        self.clock.cpu_was(times.cpu_s);
        let reduced = self.clock.finish(session, &outcome).map(|mut reduced| {
            let compute_ns = [configured, measured];
            let metrics =
                loop_metrics::metrics(session, table, &reduced, compute_ns, samples, blocks);
            reduced.phase.metrics = serde_json::to_value(metrics).expect("metrics are plain data");
            reduced
        });
        (reduced, self.table)
    }
}

/// Accelerators draw different compute times, the same ones in every run and on whatever rank.
fn draws(session: &Session<'_>, time: &Distribution, stream: u64) -> Result<Draws, String> {
    let each = session.plan.accelerators_per_rank();
    let first = session.world.rank() * each;
    let seed = |accelerator: u64| {
        session.config.train.seed ^ accelerator.rotate_left(32) ^ stream.rotate_left(60)
    };
    Draws::new(time, (first..first + each).map(seed))
}

/// Samples that are read together. The Python tool reads a file once for each of its samples. A
/// foreign parquet file is asked, the first one by rank 0 for all; collective.
fn group_samples(session: &Session<'_>, files: &FileSet, own: bool) -> u64 {
    let dataset = &session.config.dataset;
    let whole = session.config.reader.read_type == ReadType::Memory;
    if session.config.io.mode == IoMode::Reference && !whole {
        return 1;
    }
    if whole || own || dataset.format != FormatKind::Parquet {
        return files.format().group_samples(&files.shape(0)).max(1);
    }
    let mut rows = Vec::new();
    if session.world.is_root() {
        let mut name = String::new();
        files.name(0, &mut name);
        match first_row_group(&session.root, session.object(), &name, &dataset.parquet) {
            Ok(found) => rows = found.to_le_bytes().to_vec(),
            Err(message) => session.world.fail(&message),
        }
    }
    let rows = session.world.broadcast(rows);
    u64::from_le_bytes(rows.try_into().expect("eight bytes were sent"))
}

/// Everything the I/O threads of a loop need. Collective.
pub(super) fn read_job<'a>(session: &'a Session<'a>, files: &'a FileSet, own: bool) -> ReadJob<'a> {
    let config = session.config;
    let verify = config.verify.mode;
    let threads = config.reader.read_threads.max(1);
    ReadJob {
        files,
        kind: config.dataset.format,
        parquet: &config.dataset.parquet,
        // Of compressed files only the settings are known; the null store has no files to ask.
        own: own && (files.is_exact() || session.is_null()),
        whole: config.reader.read_type == ReadType::Memory,
        decode: config.io.decode,
        generator: verify.checks_content().then_some(&session.generator),
        verify,
        verify_fraction: config.verify.sample_fraction,
        rank: session.world.rank(),
        accelerators: session.plan.accelerators_per_rank(),
        store: session.read_store(),
        block_bytes: config.io.block_size,
        threads: threads as usize,
        window: window_batches(threads, config.reader.prefetch_size),
        group: group_samples(session, files, own),
        preprocess: config.reader.preprocess_time,
        last_words: Some(session.world.last_words()),
    }
}

pub(super) fn live_counters(threads: usize) -> Vec<LiveCounters> {
    (0..threads).map(|_| LiveCounters::new()).collect()
}

/// Runs all epochs with their evaluations. Collective; an error is this rank's own.
pub fn run(
    session: &Session<'_>,
    standing: &Standing,
    log: &mut RankLog,
    mut saves: Option<Saves<'_>>,
) -> Result<Trained, String> {
    let own = *standing == Standing::Own;
    let job = read_job(session, &session.plan.train, own);
    let live = live_counters(job.threads);
    let control = Control::new(&job, session.config.reader.batch_size);
    let steps_done = AtomicU64::new(0);
    let mut epochs = Epochs {
        session,
        own,
        train: Tally::train(session)?,
        eval: None,
        steps_done: &steps_done,
        pacer: Pacer::new(),
        log,
        saves: saves.as_mut(),
    };
    let (outcome, series) = devices::recording(session, "training", || {
        with_ticker(&live, &steps_done, progress(session), || {
            with_readers(&job, &control, &live, || epochs.all(&job, &control, &live))
        })
    });
    let (partial, reports) = outcome?;
    let Epochs { mut train, eval, .. } = epochs;
    train.take(&reports);
    let (training, train_figures) = train.reduce(session);
    let (evaluation, eval_figures) = match eval {
        Some(tally) => tally.reduce(session),
        None => (None, EpochTable::default()),
    };
    let (saved, cut) = match saves {
        Some(saves) => saves.finish()?,
        None => (None, false),
    };
    let partial = partial || cut;
    Ok(Trained { training, evaluation, saved, train_figures, eval_figures, series, partial })
}

fn progress(session: &Session<'_>) -> Option<(Progress, Unit)> {
    let steps = session.plan.train_order(1, session.run_seed).steps();
    let total = steps * session.config.train.epochs;
    let root = session.world.is_root();
    root.then(|| {
        (Progress::new(&session.progress_label("training"), total, session.quiet), Unit::Steps)
    })
}

/// The run through the epochs.
struct Epochs<'a, 's> {
    session: &'a Session<'a>,
    own: bool,
    train: Tally<'a>,
    eval: Option<Tally<'a>>,
    steps_done: &'a AtomicU64,
    pacer: Pacer,
    log: &'a mut RankLog,
    saves: Option<&'a mut Saves<'s>>,
}

impl Epochs<'_, '_> {
    /// True: interrupted.
    fn all(
        &mut self,
        job: &ReadJob<'_>,
        control: &Control,
        live: &[LiveCounters],
    ) -> Result<bool, String> {
        let config = self.session.config;
        let mut next_eval = config.evaluation.eval_after_epoch;
        // Reused by every epoch: the lists grow once.
        let mut blocks = Blocks::default();
        let mut evaluated = (BlockLog::default(), EpochValue::default());
        for epoch in 1..=config.train.epochs {
            let order = self.session.plan.train_order(epoch, self.session.run_seed);
            let cache = before_block(self.session, job.files, epoch == 1, epoch)?;
            let start_unix_ns = unix_ns();
            let seen = LiveTotals::sum(live);
            let run = Block { session: self.session, job, control, live, epoch, cache, seen };
            let begin = now_ns();
            let mut stopped = self.train(run, &order, &mut blocks)?;
            let train_duration_s = (now_ns() - begin) as f64 / 1e9;
            let evaluates = !stopped && config.workflow.evaluation && epoch >= next_eval;
            if evaluates {
                next_eval += config.evaluation.epochs_between_evals;
                let (eval_stopped, figures) = self.evaluate(epoch, &mut evaluated.0)?;
                evaluated.1 = figures.v1;
                stopped = eval_stopped;
            }
            let log = EpochLog {
                epoch,
                start_unix_ns,
                end_unix_ns: unix_ns(),
                train_duration_s,
                blocks: blocks.done(),
                checkpoints: &blocks.checkpoints,
                eval: evaluates.then_some(&evaluated),
                meminfo: &crate::host::meminfo(),
            };
            self.log.epoch(&log).map_err(|error| error.to_string())?;
            if stopped {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The blocks of an epoch, with a checkpoint behind each that one is due after. True:
    /// interrupted.
    fn train(
        &mut self,
        mut run: Block<'_>,
        order: &EpochOrder,
        blocks: &mut Blocks,
    ) -> Result<bool, String> {
        let steps = order.steps();
        blocks.clear();
        let mut from = 0;
        while from < steps {
            let end = self.saves.as_ref().map_or(steps, |saves| saves.block_end(from, steps));
            let (train, pacer) = (&mut self.train, &mut self.pacer);
            let (mut stopped, figures) = run.run(
                (train, pacer),
                self.steps_done,
                (order, from..end),
                Some(self.saves.as_deref_mut()),
                blocks.next(),
            )?;
            blocks.end(figures);
            if let (Some(saves), false) = (&mut self.saves, stopped) {
                let after = saves.after(run.epoch, end, steps)?;
                stopped = matches!(after, After::Interrupted);
                blocks.checkpoints.push(match after {
                    After::Written(log) => Some(log),
                    _ => None,
                });
            }
            if stopped {
                if end < steps {
                    run.control.end(true)?;
                    self.train.clock.pause(self.session);
                }
                self.train.table.add(self.session, &blocks.figures(), true);
                return Ok(true);
            }
            from = end;
        }
        self.train.table.add(self.session, &blocks.figures(), true);
        Ok(false)
    }

    /// One evaluation with its own threads, which start before its clock does.
    fn evaluate(
        &mut self,
        epoch: u64,
        block: &mut BlockLog,
    ) -> Result<(bool, EpochFigures), String> {
        let session = self.session;
        let (Some(files), Some(order)) = (&session.plan.valid, session.plan.eval_order()) else {
            return Err("workflow.evaluation is on, but dataset.num_files_eval is 0".into());
        };
        if self.eval.is_none() {
            self.eval = Some(Tally::eval(session, files)?);
        }
        let tally = self.eval.as_mut().expect("it was just made");
        let job = read_job(session, files, self.own);
        let cache = before_block(session, files, tally.blocks.is_empty(), epoch)?;
        let live = live_counters(job.threads);
        let control = Control::new(&job, tally.batch);
        let seen = LiveTotals::default();
        let (job, control, live) = (&job, &control, &live[..]);
        let mut run = Block { session, job, control, live, epoch, cache, seen };
        let uncounted = AtomicU64::new(0);
        let pacer = &mut self.pacer;
        let ((stopped, figures), reports) = with_readers(job, control, live, || {
            let all = (&order, 0..order.steps());
            run.run((tally, pacer), &uncounted, all, None, block)
        })?;
        tally.take(&reports);
        tally.table.add(session, &figures, false);
        Ok((stopped, figures))
    }
}

/// The blocks of one epoch on this rank; the memory serves every epoch.
#[derive(Default)]
struct Blocks {
    all: Vec<(BlockLog, EpochValue)>,
    figures: Vec<EpochFigures>,
    /// The checkpoint behind each block.
    checkpoints: Vec<Option<CheckpointLog>>,
}

impl Blocks {
    fn clear(&mut self) {
        self.figures.clear();
        self.checkpoints.clear();
    }

    /// The list that the next block fills.
    fn next(&mut self) -> &mut BlockLog {
        let index = self.figures.len();
        if index == self.all.len() {
            self.all.push(Default::default());
        }
        &mut self.all[index].0
    }

    fn end(&mut self, figures: EpochFigures) {
        self.all[self.figures.len()].1 = figures.official;
        self.figures.push(figures);
    }

    fn done(&self) -> &[(BlockLog, EpochValue)] {
        &self.all[..self.figures.len()]
    }

    fn figures(&self) -> EpochFigures {
        EpochFigures::of_blocks(&self.figures)
    }
}

/// One block: an epoch of training, a part of one, or one evaluation.
struct Block<'a> {
    session: &'a Session<'a>,
    job: &'a ReadJob<'a>,
    control: &'a Control,
    live: &'a [LiveCounters],
    epoch: u64,
    cache: CacheBefore,
    /// Counters at the end of the block before: what was read ahead since then counts for this
    /// one.
    seen: LiveTotals,
}

impl Block<'_> {
    fn run(
        &mut self,
        (tally, pacer): (&mut Tally<'_>, &mut Pacer),
        steps_done: &AtomicU64,
        (order, part): (&EpochOrder, Range<u64>),
        training: Option<Option<&mut Saves<'_>>>,
        log: &mut BlockLog,
    ) -> Result<(bool, EpochFigures), String> {
        let session = self.session;
        let task = task_of(session, self.job, *order, tally.batch);
        let control = self.control;
        let step_barrier = training.is_some();
        let (epoch, saves) = (self.epoch, training.flatten());
        let mut steps = StepLoop { session, control, epoch, step_barrier, steps_done, saves };
        let (is_first, is_last) = (part.start == 0, part.end == task.steps);
        if is_first {
            tally.clock.resume(session);
        }
        let part = (&task, part);
        let stopped = steps.block(part, &mut tally.compute, pacer, &mut tally.times, log)?;
        if stopped || is_last {
            tally.clock.pause(session);
        }
        let now = LiveTotals::sum(self.live);
        let moved = now.since(&self.seen);
        self.seen = now;
        tally.window_ns += (log.duration_s * 1e9) as u64;
        tally.samples += moved.samples;
        let figures = figures(session, log, task.steps);
        let bytes = moved.read_bytes;
        let block = loop_metrics::epoch_block(session, self.epoch, log, bytes, self.cache);
        match tally.blocks.last_mut() {
            Some(epoch) if !is_first => epoch.join(&block),
            _ => tally.blocks.push(block),
        }
        Ok((stopped, figures))
    }
}
