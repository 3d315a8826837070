//! One I/O thread: claims units, opens files, cuts extents into requests, reaps, checks, counts.

use super::compute::{Draw, rest_unless};
use super::open_files::{FileSlot, OpenFiles};
use super::reader::{Claim, Control, EpochTask, ReadJob, ThreadReport};
use crate::config::VerifyMode;
use crate::format::content::check_range;
use crate::metrics::{LiveCounters, Recorder};
use crate::plan::SampleId;
use crate::storage::{Completion, IoBuffer, Op, Storage, connect};
use std::sync::atomic::Ordering;

/// Consecutive samples of one file that are read as one extent.
#[derive(Clone, Copy, Default)]
struct Run {
    batch: u64,
    samples: u64,
    file: FileSlot,
    position: u64,
    end: u64,
    in_flight: u32,
}

/// The part of a batch that this thread is cutting into runs.
#[derive(Clone, Copy)]
struct Unit {
    batch: u64,
    slot: u64,
    end: u64,
}

enum Next {
    Request { run: usize, offset: u64, len: usize },
    WindowFull { batch: u64 },
    Finished,
}

struct Worker<'a> {
    job: &'a ReadJob<'a>,
    control: &'a Control,
    live: &'a LiveCounters,
    store: Box<dyn Storage>,
    recorder: Recorder,
    files: OpenFiles<'a>,
    runs: Vec<Run>,
    free_runs: Vec<usize>,
    current: Option<usize>,
    unit: Option<Unit>,
    completions: Vec<Completion>,
    in_flight: usize,
    preprocess: Draw,
}

/// The life of an I/O thread. A failure is left in `control`; the result is then `Err(())`.
pub fn run(
    index: usize,
    job: &ReadJob<'_>,
    control: &Control,
    live: &LiveCounters,
) -> Result<ThreadReport, ()> {
    super::compute::sharpen_timer();
    let mut worker = match Worker::new(index, job, control, live) {
        Ok(worker) => worker,
        Err(message) => {
            control.fail(message);
            return Err(());
        }
    };
    control.thread_ready(index);
    let mut seen = 0;
    while let Some(task) = control.next_task(&mut seen) {
        if let Err(message) = worker.epoch(index, &task) {
            control.fail(message);
            return Err(());
        }
        control.thread_idle();
    }
    worker.files.close_all(worker.store.as_mut()).map_err(|message| control.fail(message))?;
    Ok(ThreadReport { facts: worker.store.facts(), recorder: worker.recorder })
}

impl<'a> Worker<'a> {
    fn new(
        index: usize,
        job: &'a ReadJob<'a>,
        control: &'a Control,
        live: &'a LiveCounters,
    ) -> Result<Self, String> {
        let store = connect(&job.store).map_err(|error| error.to_string())?;
        let depth = job.store.buffers;
        Ok(Worker {
            job,
            control,
            live,
            store,
            recorder: Recorder::new(),
            files: OpenFiles::new(job, depth),
            // Each request in flight belongs to one run, and one more run may be being cut.
            runs: vec![Run::default(); depth + 1],
            free_runs: (0..=depth).collect(),
            current: None,
            unit: None,
            completions: Vec::with_capacity(depth),
            in_flight: 0,
            preprocess: Draw::new(&job.preprocess, job.rank << 16 | index as u64)?,
        })
    }

    fn epoch(&mut self, index: usize, task: &EpochTask) -> Result<(), String> {
        let batch = self.job.store.io.submit_batch.max(1);
        let mut submitted = 0u64;
        loop {
            let mut next = Next::Finished;
            while let Some(buffer) = self.store.take_buffer() {
                next = self.next_request(task)?;
                match next {
                    Next::Request { run, offset, len } => {
                        self.submit(run, offset, len, buffer)?;
                        submitted += 1;
                        // Where the target completes at once, the same warm buffer goes out again.
                        if submitted.is_multiple_of(batch) {
                            self.reap(0)?;
                        }
                    }
                    _ => {
                        self.store.give_buffer(buffer);
                        break;
                    }
                }
            }
            if self.in_flight > 0 {
                self.reap(1)?;
                continue;
            }
            match next {
                Next::Finished => break,
                Next::WindowFull { batch } => self.control.sleep_for_window(index, batch),
                Next::Request { .. } => {}
            }
        }
        // A stop leaves a run half cut.
        if let Some(run) = self.current.take() {
            self.files.release(self.runs[run].file, self.store.as_mut())?;
            self.free_runs.push(run);
        }
        self.unit = None;
        Ok(())
    }

    /// The next request of the run being cut, else of the next run, else of the next unit.
    fn next_request(&mut self, task: &EpochTask) -> Result<Next, String> {
        loop {
            if let Some(index) = self.current {
                if self.control.stop.load(Ordering::Relaxed) {
                    return Ok(Next::Finished);
                }
                let block = self.job.block_bytes;
                let run = &mut self.runs[index];
                let offset = run.position;
                let len = (block - offset % block).min(run.end - offset);
                run.position += len;
                run.in_flight += 1;
                if run.position == run.end {
                    self.current = None;
                }
                return Ok(Next::Request { run: index, offset, len: len as usize });
            }
            if let Some(unit) = self.unit {
                self.begin_run(task, unit)?;
                continue;
            }
            let units = task.units_per_batch();
            match self.control.claim(task.steps * units, units) {
                Claim::Finished => return Ok(Next::Finished),
                Claim::WindowFull { batch } => return Ok(Next::WindowFull { batch }),
                Claim::Unit { batch, part } => {
                    let len = task.order.batch_len(self.job.rank, batch);
                    let slot = part * task.unit;
                    let end = (slot + task.unit).min(len);
                    self.unit = (slot < end).then_some(Unit { batch, slot, end });
                }
            }
        }
    }

    /// Takes the next run off the unit and opens its file.
    fn begin_run(&mut self, task: &EpochTask, unit: Unit) -> Result<(), String> {
        let rank = self.job.rank;
        let first: SampleId = task.order.sample(rank, unit.batch, unit.slot);
        let length = task.order.run_length(rank, unit.batch, unit.slot).min(unit.end - unit.slot);
        let slot = unit.slot + length;
        self.unit = (slot < unit.end).then_some(Unit { slot, ..unit });
        let file = self.files.open(first.file, self.store.as_mut(), &mut self.recorder)?;
        let begin = self.files.extent(file, first.sample)?;
        let end = self.files.extent(file, first.sample + length - 1)?;
        let run = Run {
            batch: unit.batch,
            samples: length,
            file,
            position: begin.start,
            end: end.end,
            in_flight: 0,
        };
        if run.position >= run.end {
            return self.finish_run(run);
        }
        let index = self.free_runs.pop().expect("there are more runs than buffers");
        self.runs[index] = run;
        self.current = Some(index);
        Ok(())
    }

    fn submit(
        &mut self,
        run: usize,
        offset: u64,
        len: usize,
        buffer: IoBuffer,
    ) -> Result<(), String> {
        let handle = self.files.handle(self.runs[run].file);
        // The tag carries what the completion has to know: run, and block-relative place of the
        // request.
        let tag = (run as u64) << 48 | offset;
        debug_assert!(offset < 1 << 48, "offsets fit into 48 bits");
        self.in_flight += 1;
        let op = Op::Read { offset, len, buffer };
        self.store.submit(handle, op, tag).map_err(|error| error.to_string())
    }

    fn reap(&mut self, min: usize) -> Result<(), String> {
        let mut completions = std::mem::take(&mut self.completions);
        self.store.reap(min, None, &mut completions).map_err(|error| error.to_string())?;
        for completion in completions.drain(..) {
            self.complete(completion)?;
        }
        self.completions = completions;
        Ok(())
    }

    fn complete(&mut self, completion: Completion) -> Result<(), String> {
        self.in_flight -= 1;
        let index = (completion.tag >> 48) as usize;
        let offset = completion.tag & ((1 << 48) - 1);
        let run = self.runs[index];
        if let Some(error) = completion.error {
            return Err(error.to_string());
        }
        let block = self.job.block_bytes;
        let wanted = (block - offset % block).min(run.end - offset) as usize;
        if completion.bytes < wanted {
            return Err(format!(
                "read {}: {} of {wanted} bytes at offset {offset}: the file is truncated; \
                 run rankio datagen again",
                self.files.path(run.file),
                completion.bytes,
            ));
        }
        self.recorder.on_read(completion.latency_ns, wanted as u64, completion.transferred as u64);
        self.live.on_read(wanted as u64);
        let buffer = completion.buffer.expect("a read brings its buffer back");
        if self.checked(run.file, offset) {
            let start = completion.data_start;
            let found = &buffer.as_slice()[start..start + wanted];
            self.check(run.file, offset, found)?;
        }
        self.store.give_buffer(buffer);
        let run = &mut self.runs[index];
        run.in_flight -= 1;
        if run.in_flight == 0 && run.position == run.end {
            let run = *run;
            self.free_runs.push(index);
            self.finish_run(run)?;
        }
        Ok(())
    }

    fn finish_run(&mut self, run: Run) -> Result<(), String> {
        if !self.preprocess.is_zero() {
            let total = (0..run.samples).map(|_| self.preprocess.next_ns()).sum();
            rest_unless(total, || self.control.stop.load(Ordering::Relaxed));
        }
        self.files.release(run.file, self.store.as_mut())?;
        self.live.on_samples(run.samples);
        self.control.arrived(run.batch, run.samples);
        Ok(())
    }

    /// Whether this request is one of those that are checked; the same on every run, whoever reads
    /// it.
    fn checked(&self, file: FileSlot, offset: u64) -> bool {
        match self.job.verify {
            VerifyMode::None => false,
            VerifyMode::Full => true,
            VerifyMode::Sample => {
                let place = self.files.index(file).wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ offset;
                let hash = place.wrapping_mul(0xD6E8_FEB8_6659_FD93) >> 11;
                (hash as f64) < self.job.verify_fraction * (1u64 << 53) as f64
            }
        }
    }

    fn check(&mut self, file: FileSlot, offset: u64, found: &[u8]) -> Result<(), String> {
        let generator = self.job.generator.expect("verification has a generator");
        let (layout, content) = self.files.expected(file, generator);
        match check_range(layout, content, offset, found) {
            Ok(bytes) => {
                self.recorder.on_verified(bytes, false);
                Ok(())
            }
            Err(mismatch) => Err(format!(
                "verify {}: {mismatch}; the file was damaged after it was generated",
                self.files.path(file)
            )),
        }
    }
}
