//! The I/O thread of the object micro-benchmark: begins operations when one has ended (closed
//! loop) or when their time has come (open loop), and carries each through its requests.
//!
//! One request of an operation is in flight at a time. The time of an operation is the sum of what
//! the store took for them, of opening and closing, and of what it waited for before it began;
//! making and checking content is left out.

use super::super::compute::now_ns;
use super::super::crew::Crew;
use super::marker::PARTIAL;
use super::pool::Pool;
use crate::config::{ObjectWork, VerifyMode};
use crate::data::{Content, Generator};
use crate::metrics::{Histogram, LiveCounters, Recorder, Timeline};
use crate::plan::{Arrivals, Mix, ObjectOp, SizeLaw, folder_name, object_content_id, object_name};
use crate::storage::{Completion, Handle, NamedOp, Op, OpenMode, Storage, StoreFacts, StoreSpec};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Longest wait without a look at whether to stop.
const LOOK_EVERY_NS: u64 = 20_000_000;
/// Waits of stores are as coarse as this, ns; the rest of the time until an intended start is
/// waited for in short sleeps.
const COARSE_NS: u64 = 2_000_000;
const SHORT_SLEEP_NS: u64 = 50_000;

/// What the thread is told.
pub(super) struct Work<'a> {
    pub config: &'a ObjectWork,
    pub law: SizeLaw,
    pub generator: &'a Generator,
    pub store: StoreSpec,
    pub block_bytes: u64,
    pub rank: u64,
    pub ranks: u64,
    pub verify: VerifyMode,
    pub verify_fraction: f64,
    /// No storage is behind it.
    pub is_null: bool,
    /// Puts every object once and does nothing else.
    pub prefill: bool,
    pub crew: &'a Crew,
    /// The rate is stable: begin nothing more.
    pub stable: &'a AtomicBool,
    /// Set when all operations have ended.
    pub done: &'a AtomicBool,
}

/// What it brings home.
pub(super) struct Report {
    pub recorder: Recorder,
    pub facts: StoreFacts,
    pub pool: Pool,
    /// By [`ObjectOp`].
    pub latency: [Histogram; 6],
    /// By [`ObjectOp`].
    pub bytes: [u64; 6],
    pub first_byte: Histogram,
    pub start_delay: Histogram,
    pub timeline: Timeline,
    /// From the start until the last operation had ended.
    pub window_ns: u64,
    pub content_ns: u64,
    pub made_puts: u64,
    pub not_started: u64,
    /// Bytes that the store moved for reads, and for writes.
    pub transferred: [u64; 2],
    /// As many as asked for were begun.
    pub all_begun: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Write,
    Sync,
    Read,
    Named,
}

/// An operation in flight; its place is the store's tag.
#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    op: Option<ObjectOp>,
    stage: Stage,
    object: u32,
    version: u32,
    /// Size of the object.
    size_bytes: u64,
    handle: Option<Handle>,
    /// Where the request begins, its length, where the last one ends.
    at: u64,
    len: u64,
    first: u64,
    end: u64,
    spent_ns: u64,
    first_byte_ns: u64,
    /// Bytes that the store moved.
    transferred: u64,
}

struct Worker<'a> {
    work: &'a Work<'a>,
    live: &'a LiveCounters,
    store: Box<dyn Storage>,
    is_atomic: bool,
    mix: Mix,
    slots: Vec<Slot>,
    free: Vec<usize>,
    completions: Vec<Completion>,
    name: String,
    partial: String,
    start_ns: u64,
    begun: u64,
    report: Report,
}

/// Opens the store of the thread, before the clock starts.
pub(super) fn open(work: &Work<'_>) -> Result<Box<dyn Storage>, String> {
    let mut store = crate::storage::connect(&work.store).map_err(|error| error.to_string())?;
    store.trust_sizes(work.verify != VerifyMode::Size);
    Ok(store)
}

/// Does all operations.
pub(super) fn run(
    work: &Work<'_>,
    store: Box<dyn Storage>,
    pool: Pool,
    live: &LiveCounters,
) -> Result<Report, String> {
    super::super::compute::sharpen_timer();
    let count = work.config.in_flight as usize;
    let mut worker = Worker {
        work,
        live,
        is_atomic: store.puts_are_atomic(),
        store,
        mix: Mix::new(&work.config.mix, work.config.seed, work.rank),
        slots: vec![Slot::default(); count],
        free: (0..count).rev().collect(),
        completions: Vec::with_capacity(2 * count),
        name: String::with_capacity(64),
        partial: String::with_capacity(64),
        start_ns: now_ns(),
        begun: 0,
        report: empty_report(pool),
    };
    worker.all()?;
    work.done.store(true, Ordering::SeqCst);
    worker.report.facts = worker.store.facts();
    Ok(worker.report)
}

fn empty_report(pool: Pool) -> Report {
    Report {
        recorder: Recorder::new(),
        facts: StoreFacts::default(),
        pool,
        latency: std::array::from_fn(|_| Histogram::new()),
        bytes: [0; 6],
        first_byte: Histogram::new(),
        start_delay: Histogram::new(),
        timeline: Timeline::new(),
        window_ns: 0,
        content_ns: 0,
        made_puts: 0,
        not_started: 0,
        transferred: [0; 2],
        all_begun: false,
    }
}

impl Worker<'_> {
    fn all(&mut self) -> Result<(), String> {
        let work = self.work;
        let paced = !work.prefill;
        let mut arrivals = Arrivals::new(work.config, work.rank, work.ranks).filter(|_| paced);
        let end_ns = match work.config.duration_s {
            seconds if paced && seconds > 0.0 => self.start_ns + (seconds * 1e9) as u64,
            _ => u64::MAX,
        };
        loop {
            let stopping = self.begin_what_is_due(&mut arrivals, end_ns)?;
            if self.free.len() == self.slots.len() && stopping {
                break;
            }
            let due = arrivals.as_ref().map(|arrivals| self.start_ns + arrivals.next_ns());
            let due = due.filter(|_| !stopping && !self.free.is_empty());
            self.wait(due.unwrap_or(u64::MAX))?;
        }
        // Those whose time came within the phase and for which there was no room.
        while let Some(arrivals) = arrivals.as_mut().filter(|next| {
            end_ns < u64::MAX && !self.ended_early() && self.start_ns + next.next_ns() < end_ns
        }) {
            self.report.not_started += 1;
            arrivals.advance();
        }
        Ok(())
    }

    fn ended_early(&self) -> bool {
        self.report.all_begun
            || self.work.stable.load(Ordering::Relaxed)
            || self.work.crew.stopped()
            || crate::world::interrupted()
    }

    /// Begins operations while there is room; true once none is to begin any more.
    fn begin_what_is_due(
        &mut self,
        arrivals: &mut Option<Arrivals>,
        end_ns: u64,
    ) -> Result<bool, String> {
        let asked = self.work.config.operations;
        loop {
            let now = now_ns();
            self.report.all_begun = match self.work.prefill {
                true => self.report.pool.is_full(),
                false => asked > 0 && self.begun == asked,
            };
            if now >= end_ns || self.ended_early() {
                return Ok(true);
            }
            if self.free.is_empty() {
                return Ok(false);
            }
            let mut delay_ns = 0;
            if let Some(arrivals) = arrivals {
                let intended_ns = self.start_ns + arrivals.next_ns();
                if intended_ns > now {
                    return Ok(false);
                }
                arrivals.advance();
                delay_ns = now - intended_ns;
                self.report.start_delay.record(delay_ns);
            }
            let op = if self.work.prefill { ObjectOp::Put } else { self.mix.next_op() };
            self.begun += 1;
            self.begin(op, delay_ns)?;
        }
    }

    /// Waits for completions, or until `due_ns`, and goes on with what came.
    fn wait(&mut self, due_ns: u64) -> Result<(), String> {
        let left_ns = due_ns.saturating_sub(now_ns());
        let busy = self.free.len() < self.slots.len();
        let is_near = left_ns < COARSE_NS;
        let pause_ns = if is_near { 0 } else { (left_ns - COARSE_NS / 2).min(LOOK_EVERY_NS) };
        let least = usize::from(busy && !is_near);
        let pause = Duration::from_nanos(pause_ns);
        let mut completions = std::mem::take(&mut self.completions);
        let reaped = self.store.reap(least, Some(pause), &mut completions);
        let mut outcome = reaped.map_err(|error| error.to_string());
        for completion in completions.drain(..) {
            let went_on = self.went_on(completion);
            if outcome.is_ok() {
                outcome = went_on.map(|()| 0);
            }
        }
        self.completions = completions;
        outcome?;
        // Nothing is in flight to wait for, or what is due comes too soon for such a wait.
        let rest_ns = if busy && !is_near { 0 } else { due_ns.saturating_sub(now_ns()) };
        if rest_ns > 0 && !self.free.is_empty() {
            let nap_ns = if is_near { SHORT_SLEEP_NS } else { pause_ns };
            std::thread::sleep(Duration::from_nanos(rest_ns.min(nap_ns)));
        }
        Ok(())
    }

    /// Begins an operation `delay_ns` after its time; one that finds no object becomes a put.
    fn begin(&mut self, op: ObjectOp, delay_ns: u64) -> Result<(), String> {
        let pool = &mut self.report.pool;
        let found = match op {
            ObjectOp::Put | ObjectOp::List => None,
            _ => pool.take_live(&mut self.mix),
        };
        let (op, object) = match (op, found) {
            (ObjectOp::List, _) => (op, 0),
            (_, Some(object)) => (op, object),
            (_, None) => {
                self.report.made_puts += u64::from(op != ObjectOp::Put);
                (ObjectOp::Put, pool.take_for_put(&mut self.mix))
            }
        };
        let version = pool.version(object) + u32::from(op == ObjectOp::Put);
        let work = self.work;
        let index = u64::from(object);
        let size_bytes = work.law.bytes(work.config.seed, work.rank, index, version);
        let place = self.free.pop().expect("the caller has looked");
        let (first, end) = match op {
            ObjectOp::Range => {
                let len = work.config.range_size.min(size_bytes);
                let first = self.mix.below(size_bytes - len + 1);
                (first, first + len)
            }
            _ => (0, size_bytes),
        };
        self.slots[place] = Slot {
            op: Some(op),
            object,
            version,
            size_bytes,
            at: first,
            first,
            end,
            spent_ns: delay_ns,
            ..Slot::default()
        };
        match op {
            ObjectOp::Put => self.begin_put(place),
            ObjectOp::Get | ObjectOp::Range => self.begin_read(place),
            ObjectOp::Head => self.named(place, NamedOp::Head),
            ObjectOp::List => self.named(place, NamedOp::List),
            ObjectOp::Delete => self.named(place, NamedOp::Delete),
        }
    }

    fn set_name(&mut self, place: usize) {
        let slot = &self.slots[place];
        match slot.op {
            Some(ObjectOp::List) => folder_name(self.work.rank, &mut self.name),
            _ => object_name(self.work.rank, u64::from(slot.object), &mut self.name),
        }
        self.partial.clear();
        self.partial.push_str(&self.name);
        self.partial.push_str(PARTIAL);
    }

    fn named(&mut self, place: usize, op: NamedOp) -> Result<(), String> {
        self.set_name(place);
        self.slots[place].stage = Stage::Named;
        let sent = self.store.submit_named(op, &self.name, place as u64);
        sent.map_err(|error| error.to_string())
    }

    fn begin_put(&mut self, place: usize) -> Result<(), String> {
        self.set_name(place);
        let final_bytes = self.slots[place].size_bytes;
        let begin = now_ns();
        let opened = match self.is_atomic {
            true => self.store.open(&self.name, OpenMode::Replace { final_bytes }),
            false => self.store.open(&self.partial, OpenMode::Create { final_bytes }),
        };
        self.opened(place, opened, begin)?;
        self.write_next(place)
    }

    fn begin_read(&mut self, place: usize) -> Result<(), String> {
        self.set_name(place);
        let expected_bytes = self.slots[place].size_bytes;
        let begin = now_ns();
        let opened = self.store.open(&self.name, OpenMode::Read { expected_bytes });
        let found = opened.as_ref().map_or(expected_bytes, |opened| opened.size_bytes);
        self.opened(place, opened, begin)?;
        if found != expected_bytes {
            return Err(self.wrong_size(found, expected_bytes));
        }
        self.slots[place].stage = Stage::Read;
        self.read_next(place)
    }

    fn opened(
        &mut self,
        place: usize,
        opened: Result<crate::storage::Opened, crate::storage::StorageError>,
        begin_ns: u64,
    ) -> Result<(), String> {
        let opened = opened.map_err(|error| error.to_string())?;
        let took_ns = now_ns() - begin_ns;
        if opened.was_asked {
            self.report.recorder.on_open(took_ns);
        }
        let slot = &mut self.slots[place];
        (slot.handle, slot.spent_ns) = (Some(opened.handle), slot.spent_ns + took_ns);
        Ok(())
    }

    /// The next request of an operation: its length.
    fn cut(&mut self, place: usize) -> (Handle, u64, usize) {
        let slot = &mut self.slots[place];
        slot.len = (slot.end - slot.at).min(self.work.block_bytes);
        (slot.handle.expect("it was opened"), slot.at, slot.len as usize)
    }

    fn write_next(&mut self, place: usize) -> Result<(), String> {
        let (handle, offset, len) = self.cut(place);
        let mut buffer = self.store.take_buffer().expect("there is one for each operation");
        let begin = now_ns();
        self.content(place).fill(offset, &mut buffer.as_mut_slice()[..len]);
        self.report.content_ns += now_ns() - begin;
        let op = Op::Write { offset, len, buffer };
        self.store.submit(handle, op, place as u64).map_err(|error| error.to_string())
    }

    fn read_next(&mut self, place: usize) -> Result<(), String> {
        let (handle, offset, len) = self.cut(place);
        let buffer = self.store.take_buffer().expect("there is one for each operation");
        let op = Op::Read { offset, len, buffer };
        self.store.submit(handle, op, place as u64).map_err(|error| error.to_string())
    }

    fn content(&self, place: usize) -> Content<'_> {
        let slot = &self.slots[place];
        let id = object_content_id(self.work.rank, u64::from(slot.object));
        self.work.generator.object(id, slot.version, slot.size_bytes)
    }

    /// Takes an operation from one request to the next, or to its end.
    fn went_on(&mut self, mut completion: Completion) -> Result<(), String> {
        let place = completion.tag as usize;
        let buffer = completion.buffer.take();
        let checked = match (&completion.error, &buffer) {
            (Some(error), _) => Err(error.to_string()),
            (None, Some(buffer)) if self.slots[place].stage == Stage::Read => {
                let from = completion.data_start;
                self.check(place, &buffer.as_slice()[from..from + completion.bytes])
            }
            _ => Ok(()),
        };
        if let Some(buffer) = buffer {
            self.store.give_buffer(buffer);
        }
        checked?;
        let slot = &mut self.slots[place];
        if slot.stage == Stage::Read && slot.at == slot.first && completion.first_byte_ns > 0 {
            slot.first_byte_ns = slot.spent_ns + completion.first_byte_ns;
        }
        slot.spent_ns += completion.latency_ns;
        let is_write = slot.stage != Stage::Read;
        slot.transferred += completion.transferred as u64;
        self.report.transferred[usize::from(is_write)] += completion.transferred as u64;
        match slot.stage {
            Stage::Write | Stage::Read => {
                slot.at += slot.len;
                match (slot.at < slot.end, slot.stage) {
                    (true, Stage::Read) => self.read_next(place),
                    (true, _) => self.write_next(place),
                    (false, Stage::Read) => self.end(place),
                    (false, _) => {
                        slot.stage = Stage::Sync;
                        let handle = slot.handle.expect("it was opened");
                        let sent = self.store.submit(handle, Op::Sync, place as u64);
                        sent.map_err(|error| error.to_string())
                    }
                }
            }
            Stage::Sync => self.end(place),
            Stage::Named => {
                let (size_bytes, found) = (slot.size_bytes, completion.bytes as u64);
                if slot.op == Some(ObjectOp::Head) && found != size_bytes && !self.work.is_null {
                    self.set_name(place);
                    return Err(self.wrong_size(found, size_bytes));
                }
                self.end(place)
            }
        }
    }

    /// Compares what was read with what must be there.
    fn check(&mut self, place: usize, found: &[u8]) -> Result<(), String> {
        let slot = self.slots[place];
        if (found.len() as u64) < slot.len {
            self.set_name(place);
            let got = slot.at + found.len() as u64;
            return Err(self.wrong_size(got, slot.size_bytes));
        }
        let is_checked = match self.work.verify {
            VerifyMode::None | VerifyMode::Size => false,
            VerifyMode::Full => true,
            VerifyMode::Sample => {
                let draw = (u64::from(slot.object) << 32 | u64::from(slot.version)) ^ slot.at;
                let hash = draw.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 11;
                (hash as f64) < self.work.verify_fraction * (1u64 << 53) as f64
            }
        };
        if !is_checked {
            return Ok(());
        }
        let begin = now_ns();
        let verified = self.content(place).verify(slot.at, found);
        self.report.content_ns += now_ns() - begin;
        self.report.recorder.on_verified(found.len() as u64);
        verified.map_err(|mismatch| {
            self.set_name(place);
            let root = self.work.store.root.trim_end_matches('/');
            format!("verify {root}/{}: {mismatch}; it was damaged after it was put", self.name)
        })
    }

    fn wrong_size(&self, found: u64, wanted: u64) -> String {
        let root = self.work.store.root.trim_end_matches('/');
        format!(
            "{root}/{}: has {found} bytes where {wanted} were put; something else changed it",
            self.name
        )
    }

    /// Closes, counts and gives everything back.
    fn end(&mut self, place: usize) -> Result<(), String> {
        let begin = now_ns();
        let op = self.slots[place].op.expect("it was begun");
        if let Some(handle) = self.slots[place].handle.take() {
            self.store.close(handle).map_err(|error| error.to_string())?;
            if op == ObjectOp::Put && !self.is_atomic {
                self.set_name(place);
                let moved = self.store.rename(&self.partial, &self.name);
                moved.map_err(|error| error.to_string())?;
            }
        }
        let now = now_ns();
        let slot = self.slots[place];
        // The null store reads no clock, and so nothing is counted that it did not take.
        let latency_ns = slot.spent_ns + if self.work.is_null { 0 } else { now - begin };
        let bytes = match op {
            ObjectOp::Put | ObjectOp::Get | ObjectOp::Range => slot.end - slot.first,
            _ => 0,
        };
        let report = &mut self.report;
        report.latency[op as usize].record(latency_ns);
        report.bytes[op as usize] += bytes;
        report.window_ns = now - self.start_ns;
        report.timeline.record(report.window_ns, bytes);
        match op {
            ObjectOp::Put => report.recorder.on_write(latency_ns, bytes, slot.transferred),
            ObjectOp::Get | ObjectOp::Range => {
                report.recorder.on_read(latency_ns, bytes, slot.transferred);
                if slot.first_byte_ns > 0 {
                    report.first_byte.record(slot.first_byte_ns);
                }
            }
            _ => {}
        }
        report.recorder.on_nominal(bytes);
        match op {
            ObjectOp::Put => self.live.on_write(bytes),
            _ => self.live.on_read(bytes),
        }
        self.live.on_samples(1);
        match op {
            ObjectOp::List => {}
            ObjectOp::Delete => report.pool.removed(slot.object),
            _ => report.pool.put_back(slot.object, slot.version),
        }
        self.free.push(place);
        Ok(())
    }
}
