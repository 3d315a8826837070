//! A slower store around another: latency added to every operation, and one pipe of limited
//! bandwidth for each instance. Operations overlap as they do on a real store: a completion is
//! held back until it is due, and nothing else waits for it. Opening, renaming and the like pass
//! through undelayed.

use super::clock::monotonic_ns;
use super::{
    Completion, Handle, IoBuffer, NamedOp, Op, OpenMode, Opened, Stat, Storage, StorageError,
    StoreFacts, SyncKind,
};
use crate::config::DelaySpec;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

const NS_PER_S: f64 = 1e9;

/// An operation under way.
#[derive(Default)]
struct Place {
    tag: u64,
    submit_ns: u64,
    held: Option<Completion>,
}

/// The wrapper. Its own tags number its places.
pub(super) struct DelayStore {
    inner: Box<dyn Storage>,
    latency_ns: u64,
    ns_per_byte: f64,
    places: Vec<Place>,
    free: Vec<u32>,
    /// When the pipe is free again.
    pipe_free_ns: u64,
    /// (due, place) of completions held back.
    due: BinaryHeap<Reverse<(u64, u32)>>,
    arrived: Vec<Completion>,
    at_inner: usize,
}

impl DelayStore {
    /// Slows `inner` down.
    pub fn new(inner: Box<dyn Storage>, spec: &DelaySpec) -> DelayStore {
        let count = 2 * inner.queue_depth();
        DelayStore {
            latency_ns: (spec.latency.max(0.0) * NS_PER_S) as u64,
            ns_per_byte: if spec.bandwidth == 0 { 0.0 } else { NS_PER_S / spec.bandwidth as f64 },
            places: std::iter::repeat_with(Place::default).take(count).collect(),
            free: (0..count as u32).rev().collect(),
            pipe_free_ns: 0,
            due: BinaryHeap::with_capacity(count),
            arrived: Vec::with_capacity(count),
            at_inner: 0,
            inner,
        }
    }

    /// Takes what the inner store has finished and computes when each is due.
    fn pull(&mut self, min: usize, timeout: Option<Duration>) -> Result<(), StorageError> {
        if self.at_inner == 0 {
            return Ok(());
        }
        let result = self.inner.reap(min, timeout, &mut self.arrived);
        for completion in self.arrived.drain(..) {
            let index = completion.tag as u32;
            let place = &mut self.places[index as usize];
            let done_ns = place.submit_ns + completion.latency_ns;
            let bytes = completion.transferred.max(completion.bytes) as f64;
            self.pipe_free_ns = self.pipe_free_ns.max(done_ns) + (bytes * self.ns_per_byte) as u64;
            let limited = if self.ns_per_byte > 0.0 { self.pipe_free_ns } else { done_ns };
            self.due.push(Reverse((limited + self.latency_ns, index)));
            place.held = Some(completion);
            self.at_inner -= 1;
        }
        result.map(|_| ())
    }

    /// A free place, or what to say where there is none.
    fn place(&mut self) -> Result<u32, StorageError> {
        let what = "the queue is full: reap completions first";
        let full = || StorageError::own("submit", std::path::Path::new("delay"), what);
        self.free.pop().ok_or_else(full)
    }

    /// Notes what the inner store said to the operation at a place.
    fn submitted(
        &mut self,
        (index, tag, submit_ns): (u32, u64, u64),
        said: Result<(), StorageError>,
    ) -> Result<(), StorageError> {
        if let Err(e) = said {
            self.free.push(index);
            return Err(e);
        }
        self.places[index as usize] = Place { tag, submit_ns, held: None };
        self.at_inner += 1;
        Ok(())
    }

    /// Hands out what is due.
    fn release(&mut self, out: &mut Vec<Completion>) -> usize {
        let now_ns = monotonic_ns();
        let before = out.len();
        while let Some(Reverse((due_ns, index))) = self.due.peek().copied() {
            if due_ns > now_ns {
                break;
            }
            self.due.pop();
            let place = &mut self.places[index as usize];
            let mut completion = place.held.take().expect("a due place holds a completion");
            completion.tag = place.tag;
            let added_ns = (now_ns - place.submit_ns).saturating_sub(completion.latency_ns);
            completion.latency_ns = now_ns - place.submit_ns;
            if completion.first_byte_ns > 0 {
                // The pipe hands out whole answers, so nothing of one comes before.
                completion.first_byte_ns += added_ns;
            }
            self.free.push(index);
            out.push(completion);
        }
        out.len() - before
    }
}

impl Storage for DelayStore {
    fn open(&mut self, name: &str, mode: OpenMode) -> Result<Opened, StorageError> {
        self.inner.open(name, mode)
    }

    fn close(&mut self, handle: Handle) -> Result<(), StorageError> {
        self.inner.close(handle)
    }

    fn discard(&mut self, handle: Handle) -> Result<(), StorageError> {
        self.inner.discard(handle)
    }

    fn submit(&mut self, handle: Handle, op: Op, tag: u64) -> Result<(), StorageError> {
        let index = match self.place() {
            Ok(index) => index,
            Err(full) => {
                if let Some(buffer) = op.into_buffer() {
                    self.inner.give_buffer(buffer);
                }
                return Err(full);
            }
        };
        let submit_ns = monotonic_ns();
        let said = self.inner.submit(handle, op, u64::from(index));
        self.submitted((index, tag, submit_ns), said)
    }

    fn submit_named(&mut self, op: NamedOp, name: &str, tag: u64) -> Result<(), StorageError> {
        let index = self.place()?;
        let submit_ns = monotonic_ns();
        let said = self.inner.submit_named(op, name, u64::from(index));
        self.submitted((index, tag, submit_ns), said)
    }

    fn trust_sizes(&mut self, trust: bool) {
        self.inner.trust_sizes(trust);
    }

    fn ask_ahead(&mut self, name: &str) {
        self.inner.ask_ahead(name);
    }

    fn reap(
        &mut self,
        min: usize,
        timeout: Option<Duration>,
        out: &mut Vec<Completion>,
    ) -> Result<usize, StorageError> {
        let end_ns = timeout.map(|t| monotonic_ns().saturating_add(t.as_nanos() as u64));
        let mut got = 0;
        loop {
            self.pull(0, None)?;
            got += self.release(out);
            let pending = self.at_inner + self.due.len();
            let now_ns = monotonic_ns();
            if got >= min || pending == 0 || end_ns.is_some_and(|end| end <= now_ns) {
                return Ok(got);
            }
            let next_due = self.due.peek().map(|Reverse((due, _))| *due);
            let until_ns = match (next_due, end_ns) {
                (Some(due), Some(end)) => Some(due.min(end)),
                (due, end) => due.or(end),
            };
            let wait = until_ns.map(|t| Duration::from_nanos(t.saturating_sub(now_ns)));
            match wait {
                _ if self.at_inner > 0 => self.pull(1, wait)?,
                Some(wait) => std::thread::sleep(wait),
                None => unreachable!("nothing at the inner store, so something is due"),
            }
        }
    }

    fn queue_depth(&self) -> usize {
        self.inner.queue_depth()
    }

    fn take_buffer(&mut self) -> Option<IoBuffer> {
        self.inner.take_buffer()
    }

    fn give_buffer(&mut self, buffer: IoBuffer) {
        self.inner.give_buffer(buffer);
    }

    fn stat(&mut self, name: &str) -> Result<Option<Stat>, StorageError> {
        self.inner.stat(name)
    }

    fn puts_are_atomic(&self) -> bool {
        self.inner.puts_are_atomic()
    }

    fn set_sync(&mut self, kind: SyncKind) {
        self.inner.set_sync(kind);
    }

    fn rename(&mut self, from: &str, to: &str) -> Result<(), StorageError> {
        self.inner.rename(from, to)
    }

    fn exchange(&mut self, one: &str, other: &str) -> Result<bool, StorageError> {
        self.inner.exchange(one, other)
    }

    fn make_folder(&mut self, folder: &str) -> Result<(), StorageError> {
        self.inner.make_folder(folder)
    }

    fn remove_folder(&mut self, folder: &str) -> Result<(), StorageError> {
        self.inner.remove_folder(folder)
    }

    fn list(
        &mut self,
        folder: &str,
        visit: &mut dyn FnMut(&str, bool),
    ) -> Result<(), StorageError> {
        self.inner.list(folder, visit)
    }

    fn list_until(
        &mut self,
        folder: &str,
        visit: &mut dyn FnMut(&str, bool) -> bool,
    ) -> Result<(), StorageError> {
        self.inner.list_until(folder, visit)
    }

    fn sync_folder(&mut self, folder: &str) -> Result<(), StorageError> {
        self.inner.sync_folder(folder)
    }

    fn remove(&mut self, name: &str) -> Result<(), StorageError> {
        self.inner.remove(name)
    }

    fn remove_many(&mut self, names: &[String]) -> Result<(), StorageError> {
        self.inner.remove_many(names)
    }

    fn abort_uploads(&mut self, ours: &dyn Fn(&str) -> bool) -> Result<Option<u64>, StorageError> {
        self.inner.abort_uploads(ours)
    }

    fn facts(&self) -> StoreFacts {
        let mut facts = self.inner.facts();
        facts.engine = format!("delay({})", facts.engine);
        facts
    }
}
