//! Faults on a schedule around another store, so that every error path can be tested without a
//! broken disk. Each entry of `io.fault` counts the operations that it concerns and hits the
//! `at`-th, then every `every`-th. Damage is done where it would happen: to the bytes that were
//! read, or to those on their way to the disk.

use super::{
    Completion, Handle, IoBuffer, NamedOp, Op, OpenMode, Opened, Stat, Storage, StorageError,
    StoreFacts, SyncKind,
};
use crate::config::{FaultKind, FaultOp, FaultSpec};
use std::collections::VecDeque;
use std::path::Path;
use std::time::Duration;

/// Entries that one store can have: a bit for each in a file's mask.
const MAX_ENTRIES: usize = 64;

/// An entry and how many operations it has counted.
struct Entry {
    spec: FaultSpec,
    number: usize,
    seen: u64,
}

impl Entry {
    /// Counts one more operation; true if it is hit.
    fn count(&mut self) -> bool {
        self.seen += 1;
        let (at, every) = (self.spec.at.max(1), self.spec.every);
        self.seen == at || (every > 0 && self.seen > at && (self.seen - at).is_multiple_of(every))
    }

    fn error(&self, op: &'static str, path: &Path, offset: Option<u64>) -> StorageError {
        let errno = if self.spec.kind == FaultKind::Enospc { libc::ENOSPC } else { libc::EIO };
        let mut error = StorageError::system(op, path, offset, errno);
        error.what = format!("{} (injected by io.fault[{}])", error.what, self.number);
        error
    }
}

/// What is still to be done to a completion of the inner store.
#[derive(Default, Clone, Copy)]
struct Place {
    tag: u64,
    damage: Option<FaultKind>,
    written: Option<usize>,
}

/// An open file: which entries concern it, and its name.
struct Named {
    mask: u64,
    name: String,
}

/// The wrapper. Its own tags number its places.
pub(super) struct FaultStore {
    inner: Box<dyn Storage>,
    root: String,
    entries: Vec<Entry>,
    files: std::collections::HashMap<Handle, Named>,
    places: Vec<Place>,
    free: Vec<u32>,
    /// Completions of operations that never reached the inner store.
    ready: VecDeque<Completion>,
    at_inner: usize,
}

impl FaultStore {
    /// Applies the entries of this `rank`, of files under `root`, to `inner`.
    ///
    /// # Errors
    /// An entry that damages data of an operation that has none, or more than 64 entries.
    pub fn new(
        inner: Box<dyn Storage>,
        root: &str,
        specs: &[FaultSpec],
        rank: u32,
    ) -> Result<FaultStore, StorageError> {
        let bad = |number: usize, what: &str| {
            let what = format!("io.fault[{number}]: {what}");
            StorageError::own("connect", Path::new(root), what)
        };
        if specs.len() > MAX_ENTRIES {
            return Err(bad(MAX_ENTRIES, "at most 64 entries"));
        }
        for (number, spec) in specs.iter().enumerate() {
            let moves_data = matches!(spec.op, FaultOp::Read | FaultOp::Write);
            if !moves_data && !matches!(spec.kind, FaultKind::Eio | FaultKind::Enospc) {
                return Err(bad(number, "open and sync move no data: use kind eio or enospc"));
            }
        }
        let entries = specs
            .iter()
            .cloned()
            .enumerate()
            .filter(|(_, spec)| spec.rank.is_none_or(|r| r == rank))
            .map(|(number, spec)| Entry { spec, number, seen: 0 })
            .collect();
        let count = 2 * inner.queue_depth();
        Ok(FaultStore {
            inner,
            root: root.to_string(),
            entries,
            files: std::collections::HashMap::new(),
            places: vec![Place::default(); count],
            free: (0..count as u32).rev().collect(),
            ready: VecDeque::with_capacity(count),
            at_inner: 0,
        })
    }

    /// Counts an operation; the first entry that hits it, if any.
    fn hit(&mut self, op: FaultOp, mask: u64) -> Option<usize> {
        let mut first = None;
        for (bit, entry) in self.entries.iter_mut().enumerate() {
            if entry.spec.op == op && mask >> bit & 1 == 1 && entry.count() && first.is_none() {
                first = Some(bit);
            }
        }
        first
    }

    /// One bit for each entry that concerns this name.
    fn mask_of(&self, name: &str) -> u64 {
        let concerns = |entry: &Entry| name.contains(entry.spec.name_contains.as_str());
        self.entries
            .iter()
            .enumerate()
            .fold(0, |mask, (bit, entry)| mask | u64::from(concerns(entry)) << bit)
    }

    /// Absolute path of a name, or of the root.
    fn path_of(&self, name: &str) -> std::path::PathBuf {
        let root = Path::new(&self.root);
        std::path::absolute(root).unwrap_or_else(|_| root.to_path_buf()).join(name)
    }

    /// Fails an operation without the inner store.
    #[cold]
    fn fail(&mut self, bit: usize, handle: Handle, op: Op, tag: u64) {
        let name = self.files.get(&handle).map(|f| f.name.clone()).unwrap_or_default();
        let path = self.path_of(&name);
        let (word, offset) = match &op {
            Op::Read { offset, .. } => ("read", Some(*offset)),
            Op::Write { offset, .. } => ("write", Some(*offset)),
            Op::Sync => ("sync", None),
        };
        let error = self.entries[bit].error(word, &path, offset);
        self.ready.push_back(Completion {
            tag,
            buffer: op.into_buffer(),
            data_start: 0,
            bytes: 0,
            transferred: 0,
            latency_ns: 0,
            first_byte_ns: 0,
            error: Some(Box::new(error)),
        });
    }

    /// Restores the caller's tag and does what is left of the damage.
    fn finish(&mut self, completion: &mut Completion) {
        let index = completion.tag as u32;
        let place = std::mem::take(&mut self.places[index as usize]);
        self.free.push(index);
        self.at_inner -= 1;
        completion.tag = place.tag;
        let (Some(kind), None) = (place.damage, &completion.error) else { return };
        let bytes = place.written.unwrap_or(completion.bytes);
        if let Some(buffer) = &mut completion.buffer {
            let data = &mut buffer.as_mut_slice()[completion.data_start..][..bytes];
            match (kind, place.written.is_some()) {
                (FaultKind::Short, false) => completion.bytes /= 2,
                (FaultKind::Zeros, false) => data.fill(0),
                // A second flip of a written buffer gives the caller its data back.
                (FaultKind::Flip, _) => flip(data),
                _ => {}
            }
        }
    }
}

/// Flips one bit in the middle.
fn flip(data: &mut [u8]) {
    if let Some(byte) = data.get_mut(data.len() / 2) {
        *byte ^= 1;
    }
}

/// Damages a write before it starts: the data themselves, or how much of them is written (whole
/// 4 KiB blocks, so that a later write can go on). Returns the length it had.
fn damage_write(kind: FaultKind, op: &mut Op) -> Option<usize> {
    let Op::Write { len, buffer, .. } = op else { return None };
    let whole = *len;
    match kind {
        FaultKind::Flip => flip(&mut buffer.as_mut_slice()[..whole]),
        FaultKind::Zeros => buffer.as_mut_slice()[..whole].fill(0),
        FaultKind::Short => *len = (whole / 2) & !4095,
        FaultKind::Eio | FaultKind::Enospc => {}
    }
    Some(*len)
}

impl Storage for FaultStore {
    fn open(&mut self, name: &str, mode: OpenMode) -> Result<Opened, StorageError> {
        let mask = self.mask_of(name);
        if let Some(bit) = self.hit(FaultOp::Open, mask) {
            return Err(self.entries[bit].error("open", &self.path_of(name), None));
        }
        let opened = self.inner.open(name, mode)?;
        self.files.insert(opened.handle, Named { mask, name: name.to_string() });
        Ok(opened)
    }

    fn close(&mut self, handle: Handle) -> Result<(), StorageError> {
        self.files.remove(&handle);
        self.inner.close(handle)
    }

    fn discard(&mut self, handle: Handle) -> Result<(), StorageError> {
        self.files.remove(&handle);
        self.inner.discard(handle)
    }

    fn submit(&mut self, handle: Handle, mut op: Op, tag: u64) -> Result<(), StorageError> {
        let mask = self.files.get(&handle).map_or(0, |f| f.mask);
        let Some(index) = self.free.last().copied() else {
            if let Some(buffer) = op.into_buffer() {
                self.inner.give_buffer(buffer);
            }
            let what = "the queue is full: reap completions first";
            return Err(StorageError::own("submit", Path::new(&self.root), what));
        };
        let sort = match op {
            Op::Read { .. } => FaultOp::Read,
            Op::Write { .. } => FaultOp::Write,
            Op::Sync => FaultOp::Sync,
        };
        let mut place = Place { tag, ..Place::default() };
        if let Some(bit) = self.hit(sort, mask) {
            let kind = self.entries[bit].spec.kind;
            if matches!(kind, FaultKind::Eio | FaultKind::Enospc) {
                self.fail(bit, handle, op, tag);
                return Ok(());
            }
            place.damage = Some(kind);
            place.written = damage_write(kind, &mut op);
        }
        self.inner.submit(handle, op, u64::from(index))?;
        self.free.pop();
        self.places[index as usize] = place;
        self.at_inner += 1;
        Ok(())
    }

    /// No entry of `io.fault` concerns these.
    fn submit_named(&mut self, op: NamedOp, name: &str, tag: u64) -> Result<(), StorageError> {
        let Some(index) = self.free.last().copied() else {
            let what = "the queue is full: reap completions first";
            return Err(StorageError::own("submit", Path::new(&self.root), what));
        };
        self.inner.submit_named(op, name, u64::from(index))?;
        self.free.pop();
        self.places[index as usize] = Place { tag, ..Place::default() };
        self.at_inner += 1;
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
        let own = self.ready.len();
        out.extend(self.ready.drain(..));
        if self.at_inner == 0 {
            return Ok(own);
        }
        let first = out.len();
        let result = self.inner.reap(min.saturating_sub(own), timeout, out);
        for completion in &mut out[first..] {
            self.finish(completion);
        }
        result.map(|count| count + own)
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
        facts.engine = format!("fault({})", facts.engine);
        facts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hits(at: u64, every: u64) -> Vec<u64> {
        let spec = FaultSpec {
            op: FaultOp::Read,
            kind: FaultKind::Eio,
            at,
            every,
            name_contains: String::new(),
            rank: None,
        };
        let mut entry = Entry { spec, number: 0, seen: 0 };
        (1..=12).filter(|_| entry.count()).collect()
    }

    #[test]
    fn the_schedule_hits_exactly() {
        assert_eq!(hits(3, 0), [3]);
        assert_eq!(hits(2, 4), [2, 6, 10]);
        assert_eq!(hits(0, 5), [1, 6, 11], "0 counts as the first");
        assert_eq!(hits(13, 1), [0u64; 0]);
    }
}
