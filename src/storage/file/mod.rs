//! Files: one store for all file engines. Names, opening, lengths and buffers are the same for
//! each of them; an engine only moves bytes of files that are open.

mod memlock;
mod mmap;
mod opening;
mod root;
mod sync;
mod table;
mod transfer;
mod uring;

pub(super) use mmap::MmapEngine;
pub(super) use opening::file_facts;
pub(super) use sync::SyncEngine;
pub(super) use uring::{UringEngine, UringOptions};

use super::clock::monotonic_ns;
use super::proof::{DROP_CACHE, forget_pages};
use super::{
    BufferPool, Completion, Handle, IoBuffer, NamedOp, Op, OpenMode, Opened, PAGE_NAMES, Stat,
    Storage, StorageError, StoreFacts, SyncKind,
};
use opening::Opener;
use root::Root;
use std::collections::VecDeque;
use std::os::fd::IntoRawFd;
use std::path::Path;
use std::time::Duration;
use table::{FileTable, OpenFile};
use transfer::{Kind, Transfer};

/// What a file engine has to do.
pub(super) trait Engine: Send {
    /// `uring`, `sync`, `mmap`.
    fn name(&self) -> &'static str;
    /// A file was opened.
    fn attach(&mut self, handle: Handle, file: &mut OpenFile) -> Result<(), StorageError>;
    /// A file is about to be closed; nothing of it is in flight.
    fn detach(&mut self, handle: Handle, file: &mut OpenFile);
    /// Starts an operation on an open file; gives the buffer back if no slot is free.
    fn submit(
        &mut self,
        files: &mut FileTable,
        handle: Handle,
        op: Op,
        tag: u64,
    ) -> Result<(), Option<IoBuffer>>;
    /// See [`Storage::reap`].
    fn reap(
        &mut self,
        files: &mut FileTable,
        min: usize,
        timeout: Option<Duration>,
        out: &mut Vec<Completion>,
    ) -> Result<usize, StorageError>;
    /// Adds what the engine itself knows.
    fn describe(&self, facts: &mut StoreFacts);
}

/// How a file store is set up.
pub(super) struct FileOptions<'a> {
    /// Folder.
    pub root: &'a Path,
    /// O_DIRECT is wanted.
    pub direct: bool,
    /// Reserve the space of new files.
    pub reserve: bool,
    /// Drop the pages of a file when it is closed.
    pub evict: bool,
    /// What was given up before this store was made.
    pub fallbacks: Vec<String>,
}

/// A folder served by an engine.
pub(super) struct FileStore<E> {
    // Dropped first: an engine may still hold buffers and descriptors of the others.
    engine: E,
    root: Root,
    opener: Opener,
    files: FileTable,
    pool: BufferPool,
    evict: bool,
    /// Operations on names that are done and were not reaped.
    named: VecDeque<Completion>,
}

impl<E: Engine> FileStore<E> {
    /// Puts an engine to work in a folder.
    pub fn new(
        engine: E,
        pool: BufferPool,
        options: FileOptions<'_>,
    ) -> Result<FileStore<E>, StorageError> {
        let root = Root::new(options.root)?;
        let mut opener = Opener::new(root.clone(), options.direct, options.reserve);
        opener.fallbacks = options.fallbacks;
        Ok(FileStore {
            engine,
            root,
            opener,
            files: FileTable::default(),
            named: VecDeque::with_capacity(pool.count()),
            pool,
            evict: options.evict,
        })
    }

    /// An error that the caller made: the buffer goes back to the pool.
    fn refuse(&mut self, op: Option<IoBuffer>, path: &Path, what: &str) -> StorageError {
        if let Some(buffer) = op.filter(|b| self.pool.owns(b)) {
            self.pool.give(buffer);
        }
        StorageError::own("submit", path, what)
    }
}

impl Op {
    /// The buffer of a read or write.
    pub(super) fn into_buffer(self) -> Option<IoBuffer> {
        match self {
            Op::Read { buffer, .. } | Op::Write { buffer, .. } => Some(buffer),
            Op::Sync => None,
        }
    }
}

impl<E: Engine> Storage for FileStore<E> {
    fn open(&mut self, name: &str, mode: OpenMode) -> Result<Opened, StorageError> {
        let path = match mode {
            OpenMode::Read { .. } => self.root.resolve("open", name)?,
            OpenMode::Create { .. } => self.root.resolve_own("create", name)?,
            OpenMode::Replace { .. } => {
                let what = "a file is replaced by a rename, not in place";
                return Err(StorageError::own("create", &self.root.path().join(name), what));
            }
        };
        let file = self.opener.open(&path, mode)?;
        let (size_bytes, direct) = (file.size, file.direct);
        let handle = self.files.insert(file).ok_or_else(|| {
            StorageError::own("open", &path, "a million files are open: close some first")
        })?;
        if let Err(e) = self.engine.attach(handle, self.files.of_operation(handle)) {
            self.files.remove(handle);
            return Err(e);
        }
        Ok(Opened { handle, size_bytes, direct, was_asked: true })
    }

    fn close(&mut self, handle: Handle) -> Result<(), StorageError> {
        let root = self.root.path();
        let Some(file) = self.files.get(handle) else {
            return Err(StorageError::own("close", root, "this handle is not open"));
        };
        if file.in_flight > 0 {
            let what = format!("{} operations are still in flight", file.in_flight);
            return Err(StorageError::own("close", &file.path, what));
        }
        self.engine.detach(handle, file);
        let cut = file.restore_length();
        let file = self.files.remove(handle).expect("the handle was just looked up");
        let fail = |errno: i32| StorageError::system("close", &file.path, None, errno);
        // After the mapping of an engine is gone: mapped pages stay.
        let dropped = if self.evict { forget_pages(&file.fd) } else { Ok(()) };
        // NFS and others report a failed write-back here, so the status matters.
        let closed = nix::unistd::close(file.fd.into_raw_fd());
        cut.map_err(fail)?;
        dropped.map_err(|e| StorageError::system(DROP_CACHE, &file.path, None, e as i32))?;
        closed.map_err(|e| fail(e as i32))
    }

    fn submit(&mut self, handle: Handle, op: Op, tag: u64) -> Result<(), StorageError> {
        if self.files.get(handle).is_none() {
            let root = self.root.path().to_path_buf();
            return Err(self.refuse(op.into_buffer(), &root, "this handle is not open"));
        }
        match self.engine.submit(&mut self.files, handle, op, tag) {
            Ok(()) => Ok(()),
            Err(buffer) => {
                let path = self.files.of_operation(handle).path.clone();
                Err(self.refuse(buffer, &path, "the queue is full: reap completions first"))
            }
        }
    }

    fn reap(
        &mut self,
        min: usize,
        timeout: Option<Duration>,
        out: &mut Vec<Completion>,
    ) -> Result<usize, StorageError> {
        let own = self.named.len();
        out.extend(self.named.drain(..));
        let reaped = self.engine.reap(&mut self.files, min.saturating_sub(own), timeout, out);
        reaped.map(|count| count + own)
    }

    /// Names of files cost a system call, so it is done at once.
    fn submit_named(&mut self, op: NamedOp, name: &str, tag: u64) -> Result<(), StorageError> {
        if self.named.len() >= self.pool.count() {
            let what = "the queue is full: reap completions first";
            return Err(StorageError::own("submit", self.root.path(), what));
        }
        let start_ns = monotonic_ns();
        let done = match op {
            NamedOp::Head => self.root.stat(name).and_then(|stat| {
                let gone = || {
                    let path = self.root.path().join(name);
                    StorageError::system("stat", &path, None, libc::ENOENT)
                };
                stat.map(|stat| stat.size_bytes as usize).ok_or_else(gone)
            }),
            NamedOp::Delete => self.root.remove(name).map(|()| 0),
            NamedOp::List => {
                let mut names = 0;
                self.root.list(name, &mut |_, _| names += 1).map(|()| names.min(PAGE_NAMES))
            }
        };
        let latency_ns = monotonic_ns() - start_ns;
        let (bytes, error) = match done {
            Ok(bytes) => (bytes, None),
            Err(error) => (0, Some(Box::new(error))),
        };
        self.named.push_back(Completion {
            tag,
            buffer: None,
            data_start: 0,
            bytes,
            transferred: 0,
            latency_ns,
            first_byte_ns: 0,
            error,
        });
        Ok(())
    }

    fn queue_depth(&self) -> usize {
        self.pool.count()
    }

    fn take_buffer(&mut self) -> Option<IoBuffer> {
        self.pool.take()
    }

    fn give_buffer(&mut self, buffer: IoBuffer) {
        self.pool.give(buffer);
    }

    fn stat(&mut self, name: &str) -> Result<Option<Stat>, StorageError> {
        self.root.stat(name)
    }

    fn puts_are_atomic(&self) -> bool {
        false
    }

    fn set_sync(&mut self, kind: SyncKind) {
        self.opener.sync = kind;
    }

    fn rename(&mut self, from: &str, to: &str) -> Result<(), StorageError> {
        self.root.rename(from, to)
    }

    fn exchange(&mut self, one: &str, other: &str) -> Result<bool, StorageError> {
        self.root.exchange(one, other)
    }

    fn make_folder(&mut self, folder: &str) -> Result<(), StorageError> {
        self.root.make_folder(folder)
    }

    fn remove_folder(&mut self, folder: &str) -> Result<(), StorageError> {
        self.root.remove_folder(folder)
    }

    fn list(
        &mut self,
        folder: &str,
        visit: &mut dyn FnMut(&str, bool),
    ) -> Result<(), StorageError> {
        self.root.list(folder, visit)
    }

    fn sync_folder(&mut self, folder: &str) -> Result<(), StorageError> {
        self.root.sync_folder(folder)
    }

    fn remove(&mut self, name: &str) -> Result<(), StorageError> {
        self.root.remove(name)
    }

    fn facts(&self) -> StoreFacts {
        let mut facts = StoreFacts {
            engine: self.engine.name().to_string(),
            direct: self.opener.direct,
            registered_buffers: false,
            page_size: self.pool.page_size().to_string(),
            alignment: self.opener.align,
            fallbacks: self.opener.fallbacks.clone(),
            endpoints: Vec::new(),
            retried_operations: 0,
            buffer_bytes: self.pool.mapped_bytes(),
        };
        facts.fallbacks.extend(self.pool.shortfall().map(str::to_string));
        self.engine.describe(&mut facts);
        facts
    }
}

/// Turns an operation into a transfer, or into the completion that says why it cannot be.
fn prepare(
    file: &OpenFile,
    op: Op,
    tag: u64,
) -> Result<(Transfer, Option<IoBuffer>), Box<Completion>> {
    let (kind, offset, buffer, made) = match op {
        Op::Sync => return Ok((Transfer::sync(), None)),
        Op::Read { offset, len, buffer } => {
            let made = Transfer::read(file, offset, len, buffer.capacity());
            (Kind::Read, offset, buffer, made)
        }
        Op::Write { offset, len, mut buffer } => {
            let made = Transfer::write(file, offset, len, buffer.as_mut_slice());
            (Kind::Write, offset, buffer, made)
        }
    };
    match made {
        Ok(transfer) => Ok((transfer, Some(buffer))),
        Err(why) => {
            let mut error = StorageError::own(kind.word(), &file.path, why);
            (error.offset, error.errno) = (Some(offset), libc::EINVAL);
            Err(Box::new(failed(tag, Some(buffer), 0, Box::new(error))))
        }
    }
}

/// The completion of an operation that went wrong.
fn failed(
    tag: u64,
    buffer: Option<IoBuffer>,
    latency_ns: u64,
    error: Box<StorageError>,
) -> Completion {
    let error = Some(error);
    let (data_start, bytes, transferred, first_byte_ns) = (0, 0, 0, 0);
    Completion { tag, buffer, data_start, bytes, transferred, latency_ns, first_byte_ns, error }
}

/// The completion of a transfer that has ended, with `errno` if it failed. Notes in the file how
/// far a write got.
fn finished(
    file: &mut OpenFile,
    transfer: &Transfer,
    buffer: Option<IoBuffer>,
    tag: u64,
    latency_ns: u64,
    errno: Option<i32>,
) -> Completion {
    let bytes = transfer.wanted_bytes();
    if transfer.kind == Kind::Write {
        file.wrote(transfer.start, bytes, transfer.done as usize);
    }
    if let Some(errno) = errno {
        let error = file.error(transfer.kind.word(), transfer.offset(), errno);
        return failed(tag, buffer, latency_ns, error);
    }
    Completion {
        tag,
        buffer,
        data_start: transfer.lead as usize,
        bytes,
        transferred: transfer.transferred_bytes(),
        latency_ns,
        first_byte_ns: 0,
        error: None,
    }
}
