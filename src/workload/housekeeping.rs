//! Counts what is done in the stores of small files: markers, locks, manifests, looks at names,
//! removals. None of it belongs to what the I/O threads count, so it is a phase of its own, and a
//! request is counted in one phase only.
//!
//! Such a store counts by itself, and adds its counts to those of the process when it goes.

use super::compute::now_ns;
use super::phase::{RankColumns, RankOutcome, Reduced, reduce_without_clock};
use super::session::Session;
use super::store_facts::merge_facts;
use crate::host::thread_cpu_seconds;
use crate::metrics::{Histogram, Recorder};
use crate::report::housekeeping::{HOUSEKEEPING, HousekeepingMetrics, KindOfOperation};
use crate::storage::{
    Completion, Handle, IoBuffer, NamedOp, Op, OpenMode, Opened, Stat, Storage, StorageError,
    StoreFacts, SyncKind,
};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// An operation that a [`Recorder`] has no histogram for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OnName {
    Stat,
    List,
    Rename,
    Remove,
    /// A folder is made, removed or synced.
    Folder,
    /// Unfinished uploads are listed and given up.
    Uploads,
}

impl OnName {
    const NAMES: [&str; 6] = ["stat", "list", "rename", "remove", "folder", "uploads"];
}

/// What one store, one process or the world did.
#[derive(Debug, Clone, Default)]
struct Counts {
    recorder: Recorder,
    on_names: [Histogram; OnName::NAMES.len()],
    failed: u64,
    busy_ns: u64,
    cpu_s: f64,
    facts: StoreFacts,
}

impl Counts {
    fn add(&mut self, other: &Counts) {
        self.recorder.add(&other.recorder);
        for (mine, theirs) in self.on_names.iter_mut().zip(&other.on_names) {
            mine.add(theirs);
        }
        self.failed += other.failed;
        self.busy_ns += other.busy_ns;
        self.cpu_s += other.cpu_s;
        // Such stores come and go, so their buffers are not there together.
        let buffer_bytes = self.facts.buffer_bytes.max(other.facts.buffer_bytes);
        self.facts = merge_facts([&self.facts, &other.facts].into_iter());
        self.facts.buffer_bytes = buffer_bytes;
    }

    /// Histograms of all kinds of operations by their names.
    fn histograms(&self) -> Vec<(&'static str, &Histogram)> {
        let Recorder { open, read, write, sync, .. } = &self.recorder;
        let of_data = [("open", open), ("read", read), ("write", write), ("sync", sync)];
        of_data.into_iter().chain(OnName::NAMES.into_iter().zip(&self.on_names)).collect()
    }
}

/// What the stores that are gone did in this process; None: nothing.
static TOTAL: Mutex<Option<Box<Counts>>> = Mutex::new(None);

/// Takes what was counted in this process so far.
fn take() -> Option<Box<Counts>> {
    TOTAL.lock().unwrap_or_else(PoisonError::into_inner).take()
}

/// Forgets what was counted after the end of a run, so that the next one in this process does not
/// have it.
pub(super) fn forget() {
    drop(take());
}

/// Wraps a store of small files, so that what it does is counted.
pub(super) fn counted(inner: Box<dyn Storage>) -> Box<dyn Storage> {
    // Nothing is done on the null store.
    if inner.facts().engine == "null" {
        return inner;
    }
    Box::new(Counted { inner, counts: Box::default(), in_flight: Vec::new() })
}

/// The phase of all ranks; None on rank 0: nothing was done. Collective.
pub(super) fn reduce(session: &Session<'_>) -> Option<Reduced> {
    let own = take().unwrap_or_default();
    let histograms = own.histograms();
    let mut sums = [own.failed, histograms.iter().map(|(_, histogram)| histogram.count()).sum()];
    session.world.sum(&mut sums);
    if sums[1] == 0 {
        return None;
    }
    let outcome = RankOutcome {
        kind: HOUSEKEEPING,
        window_ns: own.busy_ns,
        busy_ns: own.busy_ns,
        recorder: &own.recorder,
        facts: vec![own.facts.clone()],
        samples: 0,
        columns: RankColumns::default(),
        histograms,
        verify_mode: "none".into(),
    };
    let mut reduced = reduce_without_clock(session, &outcome, own.cpu_s)?;
    let of_kind = |(name, histogram): &(String, Histogram)| {
        let (operation, latency_ns) = (name.clone(), histogram.summary());
        let count = latency_ns.count;
        (count > 0).then_some(KindOfOperation { operation, count, latency_ns })
    };
    let metrics = HousekeepingMetrics {
        operations_done: sums[1],
        failed: sums[0],
        by_operation: reduced.histograms.iter().filter_map(of_kind).collect(),
    };
    reduced.phase.metrics = serde_json::to_value(metrics).expect("metrics are plain data");
    // These are in the recorder too.
    reduced.histograms.retain(|(name, _)| OnName::NAMES.contains(&name.as_str()));
    // They tell how ranks compare, and of this most do nothing.
    reduced.rows.clear();
    Some(reduced)
}

/// An operation under way.
struct InFlight {
    tag: u64,
    named: Option<NamedOp>,
    is_write: bool,
    wanted_bytes: u64,
}

/// A store that counts what it does.
struct Counted {
    inner: Box<dyn Storage>,
    counts: Box<Counts>,
    in_flight: Vec<InFlight>,
}

impl Counted {
    /// Does `work` and counts its time; the time by itself.
    fn timed<T>(
        &mut self,
        work: impl FnOnce(&mut dyn Storage) -> Result<T, StorageError>,
    ) -> (Result<T, StorageError>, u64) {
        let (start, cpu_s) = (now_ns(), thread_cpu_seconds());
        let done = work(self.inner.as_mut());
        let took_ns = now_ns() - start;
        self.counts.busy_ns += took_ns;
        self.counts.cpu_s += thread_cpu_seconds() - cpu_s;
        self.counts.failed += u64::from(done.is_err());
        (done, took_ns)
    }

    fn on_name<T>(
        &mut self,
        kind: OnName,
        work: impl FnOnce(&mut dyn Storage) -> Result<T, StorageError>,
    ) -> Result<T, StorageError> {
        let (done, took_ns) = self.timed(work);
        self.counts.on_names[kind as usize].record(took_ns);
        done
    }

    /// The same of a folder, of which an object store knows nothing.
    fn on_folder(
        &mut self,
        work: impl FnOnce(&mut dyn Storage) -> Result<(), StorageError>,
    ) -> Result<(), StorageError> {
        match self.inner.puts_are_atomic() {
            true => work(self.inner.as_mut()),
            false => self.on_name(OnName::Folder, work),
        }
    }

    fn on_completion(&mut self, completion: &Completion) {
        let found = self.in_flight.iter().position(|one| one.tag == completion.tag);
        let Some(one) = found.map(|place| self.in_flight.swap_remove(place)) else { return };
        let (took_ns, moved) = (completion.latency_ns, completion.transferred as u64);
        let Counts { recorder, on_names, failed, .. } = self.counts.as_mut();
        *failed += u64::from(completion.error.is_some());
        match (one.named, completion.buffer.is_some(), one.is_write) {
            (Some(NamedOp::Head), ..) => on_names[OnName::Stat as usize].record(took_ns),
            (Some(NamedOp::Delete), ..) => on_names[OnName::Remove as usize].record(took_ns),
            (Some(NamedOp::List), ..) => on_names[OnName::List as usize].record(took_ns),
            (None, true, true) => recorder.on_write(took_ns, one.wanted_bytes, moved),
            (None, true, false) => recorder.on_read(took_ns, one.wanted_bytes, moved),
            (None, false, _) => recorder.on_sync(took_ns),
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.counts.facts = self.inner.facts();
        let mut total = TOTAL.lock().unwrap_or_else(PoisonError::into_inner);
        match total.as_mut() {
            Some(total) => total.add(&self.counts),
            None => *total = Some(std::mem::take(&mut self.counts)),
        }
    }
}

impl Storage for Counted {
    fn open(&mut self, name: &str, mode: OpenMode) -> Result<Opened, StorageError> {
        let (opened, took_ns) = self.timed(|store| store.open(name, mode));
        if opened.as_ref().map_or(true, |opened| opened.was_asked) {
            self.counts.recorder.on_open(took_ns);
        }
        opened
    }

    fn close(&mut self, handle: Handle) -> Result<(), StorageError> {
        // It has no histogram: the end of what was written, or nothing that takes time.
        self.timed(|store| store.close(handle)).0
    }

    fn discard(&mut self, handle: Handle) -> Result<(), StorageError> {
        self.timed(|store| store.discard(handle)).0
    }

    fn submit(&mut self, handle: Handle, op: Op, tag: u64) -> Result<(), StorageError> {
        let (is_write, wanted_bytes) = match &op {
            Op::Read { len, .. } => (false, *len as u64),
            Op::Write { len, .. } => (true, *len as u64),
            Op::Sync => (false, 0),
        };
        self.timed(|store| store.submit(handle, op, tag)).0?;
        self.in_flight.push(InFlight { tag, named: None, is_write, wanted_bytes });
        Ok(())
    }

    fn submit_named(&mut self, op: NamedOp, name: &str, tag: u64) -> Result<(), StorageError> {
        self.timed(|store| store.submit_named(op, name, tag)).0?;
        self.in_flight.push(InFlight { tag, named: Some(op), is_write: false, wanted_bytes: 0 });
        Ok(())
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
        let first = out.len();
        let (reaped, _) = self.timed(|store| store.reap(min, timeout, out));
        for completion in &out[first..] {
            self.on_completion(completion);
        }
        reaped
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
        self.on_name(OnName::Stat, |store| store.stat(name))
    }

    fn puts_are_atomic(&self) -> bool {
        self.inner.puts_are_atomic()
    }

    fn set_sync(&mut self, kind: SyncKind) {
        self.inner.set_sync(kind);
    }

    fn rename(&mut self, from: &str, to: &str) -> Result<(), StorageError> {
        self.on_name(OnName::Rename, |store| store.rename(from, to))
    }

    fn exchange(&mut self, one: &str, other: &str) -> Result<bool, StorageError> {
        self.on_name(OnName::Rename, |store| store.exchange(one, other))
    }

    fn make_folder(&mut self, folder: &str) -> Result<(), StorageError> {
        self.on_folder(|store| store.make_folder(folder))
    }

    fn remove_folder(&mut self, folder: &str) -> Result<(), StorageError> {
        self.on_folder(|store| store.remove_folder(folder))
    }

    fn list(
        &mut self,
        folder: &str,
        visit: &mut dyn FnMut(&str, bool),
    ) -> Result<(), StorageError> {
        self.on_name(OnName::List, |store| store.list(folder, visit))
    }

    fn list_until(
        &mut self,
        folder: &str,
        visit: &mut dyn FnMut(&str, bool) -> bool,
    ) -> Result<(), StorageError> {
        self.on_name(OnName::List, |store| store.list_until(folder, visit))
    }

    fn sync_folder(&mut self, folder: &str) -> Result<(), StorageError> {
        self.on_folder(|store| store.sync_folder(folder))
    }

    fn remove(&mut self, name: &str) -> Result<(), StorageError> {
        self.on_name(OnName::Remove, |store| store.remove(name))
    }

    fn remove_many(&mut self, names: &[String]) -> Result<(), StorageError> {
        self.on_name(OnName::Remove, |store| store.remove_many(names))
    }

    fn abort_uploads(&mut self, ours: &dyn Fn(&str) -> bool) -> Result<Option<u64>, StorageError> {
        self.on_name(OnName::Uploads, |store| store.abort_uploads(ours))
    }

    fn facts(&self) -> StoreFacts {
        self.inner.facts()
    }
}

#[cfg(test)]
mod tests {
    use super::super::small;
    use super::*;
    use crate::config::ObjectOptions;

    fn count(counts: &Counts, name: &str) -> u64 {
        let all = counts.histograms();
        all.into_iter().find(|(known, _)| *known == name).unwrap().1.count()
    }

    #[test]
    fn every_operation_on_small_files_is_counted_once_by_its_kind() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().to_str().unwrap();
        let inner = small::connect_uncounted(root, &ObjectOptions::default()).unwrap();
        let mut store = Counted { inner, counts: Box::default(), in_flight: Vec::new() };
        small::write_text(&mut store, "a/marker", b"hello").unwrap();
        assert_eq!(small::read_text(&mut store, "a/marker").unwrap().unwrap(), "hello");
        store.list("a", &mut |_, _| {}).unwrap();
        store.remove("a/marker").unwrap();
        assert!(store.remove("a/marker").is_err());
        store.remove_folder("a").unwrap();
        let counts = &store.counts;
        let found = ["open", "read", "write", "sync"].map(|name| count(counts, name));
        // Made and read.
        assert_eq!(found, [2, 1, 1, 1]);
        // A look before it is written and two before it is read; the folder is synced and removed.
        assert_eq!(OnName::NAMES.map(|name| count(counts, name)), [3, 1, 1, 2, 2, 0]);
        assert_eq!((counts.failed, counts.recorder.bytes.requested), (1, 5 + 5));
        assert!(counts.busy_ns > 0 && store.in_flight.is_empty());
        let mut sum = Counts::default();
        store.counts.facts = store.inner.facts();
        sum.add(&store.counts);
        sum.add(&store.counts);
        assert_eq!((sum.failed, count(&sum, "stat"), sum.recorder.ops.open), (2, 6, 4));
        assert_eq!(sum.facts.engine, "sync");
        assert_eq!(sum.facts.buffer_bytes, store.counts.facts.buffer_bytes);
    }

    #[test]
    fn what_a_store_did_is_there_when_it_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().to_str().unwrap();
        forget();
        let mut store = small::connect_small_by(root, &ObjectOptions::default()).unwrap();
        let _ = store.stat("nothing");
        drop(store);
        // Other tests of this process may count beside it.
        assert!(count(&take().unwrap(), "stat") >= 1);
        drop(small::connect_small_by("null://", &ObjectOptions::default()).unwrap());
    }
}
