//! The read pipeline of one rank: I/O threads that keep their queues full, and a window of batches
//! ahead of the step loop.
//!
//! The threads claim units (stretches of samples of one of the rank's accelerators, nearly always
//! there is one) from an atomic cursor, so that a slow
//! file holds up one thread and not its batch mates. Where a format has groups (row groups,
//! undivided files) a unit is a group, which may serve several batches and is read once for all of
//! them. Batches complete by an atomic count of missing samples; the step loop waits for that count
//! only. No locks and no allocation inside an epoch: mutexes are touched when an epoch begins and
//! when something failed. Sample bytes are dropped as soon as they are read (and checked), so
//! memory is threads x queue depth x block size; only where rows are decoded a thread keeps one
//! run's.

use crate::config::{Distribution, FormatKind, Parquet, VerifyMode};
use crate::data::Generator;
use crate::metrics::{Histogram, LiveCounters, Recorder};
use crate::plan::{EpochOrder, FileSet};
use crate::storage::{StoreFacts, StoreSpec};
use crate::world::{IoWait, LastWords};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, OnceLock};
use std::thread::Thread;
use std::time::Duration;

/// Everything a phase of reading needs that does not change between epochs.
pub struct ReadJob<'a> {
    /// Files to read.
    pub files: &'a FileSet,
    /// Their format.
    pub kind: FormatKind,
    /// Which columns are read where the format has columns.
    pub parquet: &'a Parquet,
    /// True: rankio made the dataset, so sizes and content are known; false: files are asked where
    /// their samples lie.
    pub own: bool,
    /// True: a file is read whole, once for all its samples.
    pub whole: bool,
    /// Decode what was read.
    pub decode: bool,
    /// Makes the expected content when something is checked.
    pub generator: Option<&'a Generator>,
    /// What is checked.
    pub verify: VerifyMode,
    /// Share of requests that `sample` checks, 0 to 1.
    pub verify_fraction: f64,
    /// This rank.
    pub rank: u64,
    /// Accelerators that it stands for.
    pub accelerators: u64,
    /// How to reach the store; one instance for each thread.
    pub store: StoreSpec,
    /// Largest request in bytes.
    pub block_bytes: u64,
    /// Threads.
    pub threads: usize,
    /// Batches that may be read or wait to be used at one time.
    pub window: u64,
    /// Samples that are read together, see [`crate::format::Format::group_samples`].
    pub group: u64,
    /// Sleep for each sample.
    pub preprocess: Distribution,
    /// Ends the job when a thread failed; None: the error is returned after all threads ended.
    pub last_words: Option<LastWords>,
}

/// One epoch of reading.
#[derive(Clone, Copy)]
pub struct EpochTask {
    /// Who reads what.
    pub order: EpochOrder,
    /// The first accelerator that this rank stands for.
    pub first: u64,
    /// How many it stands for.
    pub accelerators: u64,
    /// Steps to read (may be less than the order has).
    pub steps: u64,
    /// Samples of a full batch.
    pub batch: u64,
    /// Samples of a unit.
    pub unit: u64,
}

impl EpochTask {
    /// Samples of `accelerator` in the epoch.
    pub fn samples(&self, accelerator: u64) -> u64 {
        self.order.positions(accelerator).min(self.steps * self.batch)
    }

    /// Samples of the batches of all this rank's accelerators in `step`.
    pub fn step_samples(&self, step: u64) -> u64 {
        let own = self.first..self.first + self.accelerators;
        own.map(|accelerator| self.order.batch_len(accelerator, step)).sum()
    }

    /// Length of the unit that starts at `position` of `accelerator`: to the end of the group, or a
    /// part of one batch. At least 1.
    #[inline]
    pub fn unit_at(&self, accelerator: u64, position: u64, group: u64) -> u64 {
        let left = self.samples(accelerator) - position;
        if group > 1 {
            let in_group = self.order.at(accelerator, position).sample % group;
            return self.order.run_at(accelerator, position).min(group - in_group).min(left);
        }
        let slot = position % self.batch;
        (self.unit - slot % self.unit).min(self.batch - slot).min(left)
    }
}

/// Batches beyond the window that a unit which starts inside it can reach into.
pub fn reach_batches(group: u64, batch: u64) -> u64 {
    (group + batch - 2) / batch
}

/// Units are near one block, so that small samples which lie together are read together and large
/// ones one by one.
pub fn unit_samples(block_bytes: u64, sample_bytes: u64, batch: u64) -> u64 {
    (block_bytes / sample_bytes.max(1)).clamp(1, batch.max(1))
}

/// Batches in the window: as many as the reference's loader keeps outstanding, `threads x
/// ceil(prefetch / threads)`, where a prefetch of 0 means 2 for each thread.
pub fn window_batches(threads: u64, prefetch: u64) -> u64 {
    let factor = if prefetch == 0 { 2 } else { prefetch.div_ceil(threads) };
    threads * factor
}

#[repr(align(128))]
pub(super) struct Padded<T>(pub T);

/// What the step loop and the I/O threads share.
pub struct Control {
    /// One for each accelerator of the rank.
    pub(super) cursors: Box<[Padded<AtomicU64>]>,
    pub(super) consumed: Padded<AtomicU64>,
    pub(super) missing: Box<[Padded<AtomicU64>]>,
    /// Batch that the step loop sleeps for, plus one.
    awaited: Padded<AtomicU64>,
    pub(super) stop: AtomicBool,
    failed: AtomicBool,
    failure: Mutex<Option<String>>,
    stage: Mutex<Stage>,
    stage_changed: Condvar,
    asleep: Box<[Padded<AtomicBool>]>,
    threads: Box<[OnceLock<Thread>]>,
    main: Thread,
    window: u64,
    slots: u64,
}

fn zeros(count: u64) -> Box<[Padded<AtomicU64>]> {
    (0..count).map(|_| Padded(AtomicU64::new(0))).collect()
}

struct Stage {
    number: u64,
    task: Option<EpochTask>,
    ready: usize,
    busy: usize,
    leave: bool,
}

/// What a thread brings home.
pub struct ThreadReport {
    /// Everything it counted.
    pub recorder: Recorder,
    /// Times of decoding, where it was asked for.
    pub decode: Option<Histogram>,
    /// What its store really used.
    pub facts: StoreFacts,
}

impl Control {
    /// Shared state for the I/O threads of `job` and batches of `batch`; the caller is the step
    /// loop.
    pub fn new(job: &ReadJob<'_>, batch: u64) -> Control {
        let (threads, window) = (job.threads, job.window);
        let slots = window + reach_batches(job.group, batch);
        Control {
            cursors: zeros(job.accelerators),
            consumed: Padded(AtomicU64::new(0)),
            missing: zeros(slots),
            awaited: Padded(AtomicU64::new(0)),
            stop: AtomicBool::new(false),
            failed: AtomicBool::new(false),
            failure: Mutex::new(None),
            stage: Mutex::new(Stage { number: 0, task: None, ready: 0, busy: 0, leave: false }),
            stage_changed: Condvar::new(),
            asleep: (0..threads).map(|_| Padded(AtomicBool::new(false))).collect(),
            threads: (0..threads).map(|_| OnceLock::new()).collect(),
            main: std::thread::current(),
            window,
            slots,
        }
    }

    /// Waits until every thread has its store open.
    pub fn wait_ready(&self) -> Result<(), String> {
        let (threads, mut io) = (self.asleep.len(), IoWait::default());
        let mut stage = self.lock_stage();
        while stage.ready < threads {
            self.check()?;
            stage = self.pause(stage);
            io.look(stage.ready as u64)?;
        }
        self.check()
    }

    /// Starts an epoch: from here on the threads read. The caller's clock for the epoch starts
    /// before this call.
    pub fn begin(&self, task: EpochTask) {
        for cursor in &self.cursors {
            cursor.0.store(0, Ordering::SeqCst);
        }
        self.consumed.0.store(0, Ordering::SeqCst);
        for batch in 0..self.slots.min(task.steps) {
            self.slot(batch).store(task.step_samples(batch), Ordering::SeqCst);
        }
        let mut stage = self.lock_stage();
        stage.number += 1;
        stage.task = Some(task);
        stage.busy = self.asleep.len();
        drop(stage);
        self.stage_changed.notify_all();
    }

    /// Waits until all samples of `batch` are there; false if the run was interrupted before.
    pub fn wait_batch(&self, batch: u64) -> Result<bool, String> {
        let slot = self.slot(batch);
        for _ in 0..100 {
            if slot.load(Ordering::Acquire) == 0 {
                return self.check().map(|()| true);
            }
            std::hint::spin_loop();
        }
        self.awaited.0.store(batch + 1, Ordering::SeqCst);
        let mut io = IoWait::default();
        while slot.load(Ordering::SeqCst) != 0 {
            self.check()?;
            if crate::world::interrupted() {
                break;
            }
            std::thread::park_timeout(Duration::from_millis(50));
            if slot.load(Ordering::SeqCst) != 0 {
                io.look(self.progress())?;
            }
        }
        self.awaited.0.store(0, Ordering::SeqCst);
        self.check().map(|()| slot.load(Ordering::SeqCst) == 0)
    }

    /// `batch` was taken by the step loop: its place in the window is free for a later one.
    pub fn consume(&self, batch: u64, task: &EpochTask) {
        let next = batch + self.slots;
        if next < task.steps {
            self.slot(next).store(task.step_samples(next), Ordering::SeqCst);
        }
        self.consumed.0.store(batch + 1, Ordering::SeqCst);
        self.wake_sleepers();
    }

    /// Waits until all threads are idle; with `stop` they finish what is in flight and no more.
    pub fn end(&self, stop: bool) -> Result<(), String> {
        if stop {
            self.stop.store(true, Ordering::SeqCst);
            self.wake_sleepers();
        }
        let (mut stage, mut io) = (self.lock_stage(), IoWait::default());
        while stage.busy > 0 {
            self.check()?;
            stage = self.pause(stage);
            io.look(self.progress())?;
        }
        self.stop.store(false, Ordering::SeqCst);
        self.check()
    }

    /// Sends the threads home.
    pub fn leave(&self) {
        self.lock_stage().leave = true;
        self.stop.store(true, Ordering::SeqCst);
        self.stage_changed.notify_all();
        self.wake_sleepers();
    }

    /// True once a thread failed.
    pub fn failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    /// The first failure of a thread, if there was one.
    pub fn check(&self) -> Result<(), String> {
        if !self.failed() {
            return Ok(());
        }
        let failure = self.failure.lock().expect("no thread panics while it holds this lock");
        Err(failure.clone().unwrap_or_default())
    }

    /// A number that changes when samples are claimed or arrive, for a wait that lasts.
    fn progress(&self) -> u64 {
        let sum = |counts: &[Padded<AtomicU64>]| {
            counts.iter().fold(0u64, |sum, count| sum.wrapping_add(count.0.load(Ordering::Relaxed)))
        };
        // In a steady state as many are claimed as arrive.
        sum(&self.cursors).wrapping_mul(3).wrapping_add(sum(&self.missing))
    }

    fn slot(&self, batch: u64) -> &AtomicU64 {
        &self.missing[(batch % self.slots) as usize].0
    }

    fn lock_stage(&self) -> std::sync::MutexGuard<'_, Stage> {
        self.stage.lock().expect("no thread panics while it holds this lock")
    }

    fn pause<'g>(
        &self,
        stage: std::sync::MutexGuard<'g, Stage>,
    ) -> std::sync::MutexGuard<'g, Stage> {
        let waited = self.stage_changed.wait_timeout(stage, Duration::from_millis(20));
        waited.expect("no thread panics while it holds this lock").0
    }

    fn wake_sleepers(&self) {
        if !self.asleep.iter().any(|flag| flag.0.load(Ordering::SeqCst)) {
            return;
        }
        for (flag, thread) in self.asleep.iter().zip(&self.threads) {
            if flag.0.load(Ordering::SeqCst)
                && let Some(thread) = thread.get()
            {
                thread.unpark();
            }
        }
    }

    // What the I/O threads call.

    /// A thread has its store open and can be woken.
    pub(super) fn thread_ready(&self, index: usize) {
        self.threads[index].get_or_init(std::thread::current);
        self.lock_stage().ready += 1;
        self.stage_changed.notify_all();
    }

    /// Waits for an epoch after number `seen`; None: go home.
    pub(super) fn next_task(&self, seen: &mut u64) -> Option<EpochTask> {
        let mut stage = self.lock_stage();
        loop {
            if stage.leave {
                return None;
            }
            if stage.number > *seen {
                *seen = stage.number;
                return stage.task;
            }
            stage = self.pause(stage);
        }
    }

    /// A thread has nothing more to do in this epoch.
    pub(super) fn thread_idle(&self) {
        self.lock_stage().busy -= 1;
        self.stage_changed.notify_all();
    }

    /// The first failure counts; the step loop is woken at once.
    pub(super) fn fail(&self, message: String) {
        let mut failure = self.failure.lock().expect("no thread panics while it holds this lock");
        failure.get_or_insert(message);
        self.failed.store(true, Ordering::Release);
        self.stop.store(true, Ordering::SeqCst);
        self.main.unpark();
    }

    /// `samples` of `batch` arrived.
    #[inline]
    pub(super) fn arrived(&self, batch: u64, samples: u64) {
        let before = self.slot(batch).fetch_sub(samples, Ordering::SeqCst);
        debug_assert!(before >= samples, "more samples arrived than the batch has");
        if before == samples && self.awaited.0.load(Ordering::SeqCst) == batch + 1 {
            self.main.unpark();
        }
    }

    /// The window is full: sleep until the step loop takes a batch.
    pub(super) fn sleep_for_window(&self, index: usize, next_batch: u64) {
        self.asleep[index].0.store(true, Ordering::SeqCst);
        if next_batch >= self.consumed.0.load(Ordering::SeqCst) + self.window
            && !self.stop.load(Ordering::SeqCst)
        {
            std::thread::park_timeout(Duration::from_millis(50));
        }
        self.asleep[index].0.store(false, Ordering::SeqCst);
    }

    /// Claims the next unit of the accelerator that is furthest behind, or says why there is none:
    /// the accelerators go in lock-step, so none of them may run ahead of the others.
    #[inline]
    pub(super) fn claim(&self, task: &EpochTask, group: u64) -> Claim {
        loop {
            let mut behind: Option<(u64, u64)> = None;
            for (accelerator, cursor) in (task.first..).zip(&self.cursors) {
                let position = cursor.0.load(Ordering::Relaxed);
                if position < task.samples(accelerator)
                    && behind.is_none_or(|(_, least)| position < least)
                {
                    behind = Some((accelerator, position));
                }
            }
            let Some((accelerator, position)) = behind else { return Claim::Finished };
            if self.stop.load(Ordering::Relaxed) {
                return Claim::Finished;
            }
            let batch = position / task.batch;
            if batch >= self.consumed.0.load(Ordering::Acquire) + self.window {
                return Claim::WindowFull { batch };
            }
            let end = position + task.unit_at(accelerator, position, group);
            let cursor = &self.cursors[(accelerator - task.first) as usize].0;
            let order = (Ordering::AcqRel, Ordering::Relaxed);
            if cursor.compare_exchange_weak(position, end, order.0, order.1).is_ok() {
                return Claim::Unit { accelerator, position, end };
            }
        }
    }
}

/// Outcome of [`Control::claim`].
pub(super) enum Claim {
    Unit { accelerator: u64, position: u64, end: u64 },
    WindowFull { batch: u64 },
    Finished,
}

/// Runs `threads` I/O threads while `body` (the step loop) runs; returns what both bring home.
pub fn with_readers<R>(
    job: &ReadJob<'_>,
    control: &Control,
    live: &[LiveCounters],
    body: impl FnOnce() -> Result<R, String>,
) -> Result<(R, Vec<ThreadReport>), String> {
    std::thread::scope(|scope| {
        let mut handles = Vec::with_capacity(job.threads);
        for (index, counters) in live.iter().enumerate().take(job.threads) {
            let name = format!("read-{index}");
            let handle = std::thread::Builder::new()
                .name(name)
                .spawn_scoped(scope, move || super::read_thread::run(index, job, control, counters))
                .map_err(|error| {
                    control.leave();
                    format!("cannot start I/O thread {index}: {error}; lower reader.read_threads")
                })?;
            handles.push(handle);
        }
        let outcome = control.wait_ready().and_then(|()| body());
        if let (Err(message), Some(last_words)) = (&outcome, &job.last_words) {
            // Not after joining: another thread may wait for a store that never answers.
            last_words.fail(message);
        }
        control.leave();
        let mut reports = Vec::with_capacity(handles.len());
        for handle in handles {
            match handle.join() {
                Ok(Ok(report)) => reports.push(report),
                Ok(Err(())) => {}
                Err(_) => return Err("an I/O thread panicked".into()),
            }
        }
        control.check()?;
        outcome.map(|value| (value, reports))
    })
}

#[cfg(test)]
#[path = "reader_tests.rs"]
mod tests;
