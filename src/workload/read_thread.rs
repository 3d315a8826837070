//! One I/O thread: claims units, opens files, cuts extents into requests, reaps, checks, counts.

use super::compute::{Draw, rest_unless};
use super::decoding::Decoding;
use super::open_files::{FileSlot, OpenFiles};
use super::reader::{Claim, Control, EpochTask, ReadJob, ThreadReport};
use crate::config::{VerifyMode, is_object_root};
use crate::format::content::check_range;
use crate::metrics::{LiveCounters, Recorder};
use crate::plan::SampleId;
use crate::storage::{Completion, IoBuffer, Op, Storage, connect};
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::atomic::Ordering;

/// Consecutive samples of one file, read from a few extents.
#[derive(Default)]
struct Run {
    /// Place of the first sample among those of its accelerator.
    first: u64,
    /// The first sample in its file.
    sample: u64,
    samples: u64,
    file: FileSlot,
    /// Extents; `ranges[next]` is being cut, from `position` on.
    ranges: Vec<Range<u64>>,
    next: usize,
    position: u64,
    in_flight: u32,
}

impl Run {
    /// An empty run with room for the extents of a few dozen columns.
    fn with_room() -> Run {
        Run { ranges: Vec::with_capacity(64), ..Run::default() }
    }

    fn is_cut(&self) -> bool {
        self.next == self.ranges.len()
    }

    /// Cuts off the next request: offset and length. Requests end at multiples of the block size.
    fn cut(&mut self, block_bytes: u64) -> (u64, usize) {
        let end = self.ranges[self.next].end;
        let offset = self.position;
        let len = (block_bytes - offset % block_bytes).min(end - offset);
        self.position += len;
        self.in_flight += 1;
        if self.position == end {
            self.next += 1;
            self.position = self.ranges.get(self.next).map_or(0, |range| range.start);
        }
        (offset, len as usize)
    }
}

/// One request in flight; its place in the table is the store's tag.
#[derive(Clone, Copy, Default)]
struct Request {
    run: usize,
    offset: u64,
    len: usize,
}

/// The part of an accelerator's samples that this thread is cutting into runs.
#[derive(Clone, Copy)]
struct Unit {
    accelerator: u64,
    position: u64,
    end: u64,
    /// Sizes of the files of the samples before this one were asked for.
    asked: u64,
}

enum Next {
    Request(Request),
    WindowFull {
        batch: u64,
    },
    /// The run before must be decoded first.
    Busy,
    Finished,
}

struct Worker<'a> {
    job: &'a ReadJob<'a>,
    control: &'a Control,
    live: &'a LiveCounters,
    store: Box<dyn Storage>,
    recorder: Recorder,
    files: OpenFiles<'a>,
    batch: u64,
    runs: Vec<Run>,
    free_runs: Vec<usize>,
    requests: Vec<Request>,
    free_requests: Vec<usize>,
    current: Option<usize>,
    unit: Option<Unit>,
    /// Units that were claimed so that the sizes of their files can be asked for before these are
    /// opened; only where opening would wait for such an answer.
    ahead: VecDeque<Unit>,
    /// Most files whose sizes are asked for ahead; 0: none are.
    ahead_max: usize,
    asked: usize,
    completions: Vec<Completion>,
    in_flight: usize,
    preprocess: Draw,
    decoding: Option<Decoding>,
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
    let decode = worker.decoding.map(|decoding| decoding.times);
    Ok(ThreadReport { facts: worker.store.facts(), recorder: worker.recorder, decode })
}

impl<'a> Worker<'a> {
    fn new(
        index: usize,
        job: &'a ReadJob<'a>,
        control: &'a Control,
        live: &'a LiveCounters,
    ) -> Result<Self, String> {
        let mut store = connect(&job.store).map_err(|error| error.to_string())?;
        // Of other datasets nobody knows the sizes.
        let trusts = job.own && job.verify != VerifyMode::Size;
        store.trust_sizes(trusts);
        let depth = job.store.buffers;
        let asks = !trusts && is_object_root(&job.store.root);
        Ok(Worker {
            job,
            control,
            live,
            store,
            recorder: Recorder::new(),
            files: OpenFiles::new(job, depth),
            // Each request in flight belongs to one run, and one more run may be being cut.
            runs: std::iter::repeat_with(Run::with_room).take(depth + 1).collect(),
            free_runs: (0..=depth).collect(),
            batch: 1,
            requests: vec![Request::default(); depth],
            free_requests: (0..depth).collect(),
            current: None,
            unit: None,
            ahead: VecDeque::with_capacity(depth),
            ahead_max: if asks { depth } else { 0 },
            asked: 0,
            completions: Vec::with_capacity(depth),
            in_flight: 0,
            decoding: job.decode.then(Decoding::default),
            preprocess: Draw::new(&job.preprocess, job.rank << 16 | index as u64)?,
        })
    }

    fn epoch(&mut self, index: usize, task: &EpochTask) -> Result<(), String> {
        let submit_batch = self.job.store.io.submit_batch.max(1);
        let mut submitted = 0u64;
        self.batch = task.batch;
        loop {
            let mut next = Next::Finished;
            while let Some(buffer) = self.store.take_buffer() {
                next = self.next_request(task)?;
                match next {
                    Next::Request(request) => {
                        self.submit(request, buffer)?;
                        submitted += 1;
                        // Where the target completes at once, the same warm buffer goes out again.
                        if submitted.is_multiple_of(submit_batch) {
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
                Next::Request(_) | Next::Busy => {}
            }
        }
        // A stop leaves a run half cut.
        if let Some(run) = self.current.take() {
            self.files.release(self.runs[run].file, self.store.as_mut())?;
            self.free_runs.push(run);
        }
        self.unit = None;
        self.ahead.clear();
        self.asked = 0;
        if self.job.store.io.cache.empties() {
            // What is open keeps its pages: a mapping holds them, and `evict` acts on closing.
            self.files.close_all(self.store.as_mut())?;
        }
        Ok(())
    }

    /// The next request of the run being cut, else of the next run, else of the next unit.
    fn next_request(&mut self, task: &EpochTask) -> Result<Next, String> {
        loop {
            if let Some(index) = self.current {
                if self.control.stop.load(Ordering::Relaxed) {
                    return Ok(Next::Finished);
                }
                let run = &mut self.runs[index];
                let (offset, len) = run.cut(self.job.block_bytes);
                if run.is_cut() {
                    self.current = None;
                }
                return Ok(Next::Request(Request { run: index, offset, len }));
            }
            if self.decoding.is_some() && self.free_runs.len() < self.runs.len() {
                return Ok(Next::Busy);
            }
            if let Some(unit) = self.unit {
                self.begin_run(task, unit)?;
                continue;
            }
            if let Some(unit) = self.ahead.pop_front() {
                self.unit = Some(unit);
                continue;
            }
            match self.control.claim(task, self.job.group) {
                Claim::Finished => return Ok(Next::Finished),
                Claim::WindowFull { batch } => return Ok(Next::WindowFull { batch }),
                Claim::Unit { accelerator, position, end } => {
                    self.unit = Some(Unit { accelerator, position, end, asked: position });
                }
            }
        }
    }

    /// Asks for the sizes of the files that are opened next.
    fn ask_ahead(&mut self, task: &EpochTask) {
        while self.ahead.len() < self.ahead_max
            && let Claim::Unit { accelerator, position, end } =
                self.control.claim(task, self.job.group)
        {
            self.ahead.push_back(Unit { accelerator, position, end, asked: position });
        }
        for unit in self.unit.iter_mut().chain(&mut self.ahead) {
            while unit.asked < unit.end && self.asked < self.ahead_max {
                let first = task.order.at(unit.accelerator, unit.asked);
                let run = task.order.run_at(unit.accelerator, unit.asked);
                unit.asked = unit.end.min(unit.asked + run);
                self.asked += 1;
                self.files.ask_ahead(first.file, self.store.as_mut());
            }
        }
    }

    /// Takes the next run off the unit and opens its file.
    fn begin_run(&mut self, task: &EpochTask, unit: Unit) -> Result<(), String> {
        if self.ahead_max > 0 {
            self.asked -= usize::from(unit.asked > unit.position);
        }
        let accelerator = unit.accelerator;
        let first: SampleId = task.order.at(accelerator, unit.position);
        let samples = task.order.run_at(accelerator, unit.position).min(unit.end - unit.position);
        let position = unit.position + samples;
        let asked = unit.asked.max(position);
        self.unit = (position < unit.end).then_some(Unit { position, asked, ..unit });
        if self.ahead_max > 0 {
            self.ask_ahead(task);
        }
        if self.in_flight > 0 && !self.files.is_open(first.file) {
            // Opening blocks: what is queued must not wait for it, nor its latency.
            self.reap(0)?;
        }
        let file = self.files.open(first.file, self.store.as_mut(), &mut self.recorder)?;
        let index = self.free_runs.pop().expect("there are more runs than buffers");
        let run = &mut self.runs[index];
        run.ranges.clear();
        self.files.extents(file, first.sample, samples, &mut run.ranges)?;
        (run.first, run.samples, run.file) = (unit.position, samples, file);
        run.sample = first.sample;
        if let Some(decoding) = &mut self.decoding {
            decoding.begin(&run.ranges);
        }
        (run.next, run.in_flight) = (0, 0);
        run.position = run.ranges.first().map_or(0, |range| range.start);
        if run.is_cut() {
            return self.finish_run(index);
        }
        self.current = Some(index);
        Ok(())
    }

    fn submit(&mut self, request: Request, buffer: IoBuffer) -> Result<(), String> {
        let handle = self.files.handle(self.runs[request.run].file);
        let tag = self.free_requests.pop().expect("there are as many requests as buffers");
        self.requests[tag] = request;
        self.in_flight += 1;
        let op = Op::Read { offset: request.offset, len: request.len, buffer };
        self.store.submit(handle, op, tag as u64).map_err(|error| error.to_string())
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
        let tag = completion.tag as usize;
        self.free_requests.push(tag);
        let Request { run: index, offset, len: wanted } = self.requests[tag];
        let file = self.runs[index].file;
        if let Some(error) = completion.error {
            return Err(error.to_string());
        }
        if completion.bytes < wanted {
            return Err(format!(
                "read {}: {} of {wanted} bytes at offset {offset} came: the file is truncated, or \
                 the store ends reads early; run rankio datagen again",
                self.files.path(file),
                completion.bytes,
            ));
        }
        self.recorder.on_read(completion.latency_ns, wanted as u64, completion.transferred as u64);
        self.live.on_read(wanted as u64);
        let buffer = completion.buffer.expect("a read brings its buffer back");
        let found = &buffer.as_slice()[completion.data_start..][..wanted];
        if self.checked(file, offset) {
            self.check(file, offset, found)?;
        }
        if let Some(decoding) = &mut self.decoding {
            decoding.keep(&self.runs[index].ranges, offset, found);
        }
        self.store.give_buffer(buffer);
        let run = &mut self.runs[index];
        run.in_flight -= 1;
        if run.in_flight == 0 && run.is_cut() {
            self.finish_run(index)?;
        }
        Ok(())
    }

    /// All bytes of a run are there: its samples count for their batches.
    fn finish_run(&mut self, index: usize) -> Result<(), String> {
        self.decode_run(index)?;
        self.free_runs.push(index);
        let Run { first, samples, file, .. } = self.runs[index];
        if !self.preprocess.is_zero() {
            let total = (0..samples).map(|_| self.preprocess.next_ns()).sum();
            rest_unless(total, || self.control.stop.load(Ordering::Relaxed));
        }
        self.files.release(file, self.store.as_mut())?;
        self.live.on_samples(samples);
        let end = first + samples;
        let mut position = first;
        while position < end {
            let batch = position / self.batch;
            let part = end.min((batch + 1) * self.batch) - position;
            self.control.arrived(batch, part);
            position += part;
        }
        Ok(())
    }

    /// Decodes the bytes of a run, if that was asked for.
    fn decode_run(&mut self, index: usize) -> Result<(), String> {
        let Some(decoding) = &mut self.decoding else { return Ok(()) };
        let run = &self.runs[index];
        let file = self.files.asked(run.file).expect("files that are decoded were asked");
        decoding.finish(file, run.sample, run.samples, &run.ranges).map(|_| ()).map_err(|what| {
            format!("decode {}: {what}; check that the file is whole", self.files.path(run.file))
        })
    }

    /// Whether this request is one of those that are checked; the same on every run, whoever reads
    /// it.
    fn checked(&self, file: FileSlot, offset: u64) -> bool {
        match self.job.verify {
            VerifyMode::None | VerifyMode::Size => false,
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
                self.recorder.on_verified(bytes);
                Ok(())
            }
            Err(mismatch) => Err(format!(
                "verify {}: {mismatch}; the file was damaged after it was generated",
                self.files.path(file)
            )),
        }
    }
}
