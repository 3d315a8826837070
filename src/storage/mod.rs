//! Moves bytes. One completion-based trait serves every store; one instance per I/O thread, no
//! locks inside.
//!
//! The caller thinks in file ranges: a store that needs alignment rounds outward by itself and says
//! where in the buffer the wanted bytes lie. Buffers are owned tokens of a [`pool::BufferPool`]:
//! they travel into `submit` and come back in the [`Completion`], so a buffer in flight cannot be
//! touched. Submitting and reaping allocate nothing, lock nothing and format nothing unless an
//! operation fails.

mod align;
mod clock;
mod connect;
mod delay;
mod error;
mod fault;
mod file;
mod filesystem;
mod null;
mod object;
pub mod pool;
pub mod proof;

pub use connect::connect;
pub use object::renew_keys_early;
pub use object::{check_root as check_object_root, check_uri as check_object_uri};

pub use pool::{BufferPool, IoBuffer};
use std::time::Duration;

/// An open file or object of one store instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Handle(pub u32);

/// How to open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenMode {
    /// Existing, for reading. `expected_bytes`: what the plan says; the null store believes it,
    /// others report the real size.
    Read {
        /// Planned size.
        expected_bytes: u64,
    },
    /// New content for a name, there or not; only where [`Storage::puts_are_atomic`].
    /// `final_bytes` as below.
    Replace {
        /// Length it will have.
        final_bytes: u64,
    },
    /// New, for writing; fails if it exists (parent folders are made). `final_bytes`: length it
    /// will have (space is reserved where asked for).
    Create {
        /// Length it will have.
        final_bytes: u64,
    },
}

/// What was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opened {
    /// Handle for `submit`.
    pub handle: Handle,
    /// Size in bytes (for `Create`: 0).
    pub size_bytes: u64,
    /// O_DIRECT is in force on this handle.
    pub direct: bool,
    /// The system or a server was asked. An object store may have no need to, and then the time of
    /// the open says nothing.
    pub was_asked: bool,
}

/// An operation to submit.
#[derive(Debug)]
pub enum Op {
    /// Read `[offset, offset + len)`. `len` may be at most [`StoreSpec::buffer_bytes`]; each buffer
    /// has room beyond that for the rounding to alignment.
    Read {
        /// First byte.
        offset: u64,
        /// Bytes wanted.
        len: usize,
        /// Destination.
        buffer: IoBuffer,
    },
    /// Write the first `len` bytes of `buffer` at `offset` (a multiple of 4096). A `len` that is
    /// not a multiple of 4096 is the file's tail; the buffer behind it is overwritten with zeros.
    Write {
        /// First byte.
        offset: u64,
        /// Bytes to write.
        len: usize,
        /// Source.
        buffer: IoBuffer,
    },
    /// Make the file durable: true length, data and metadata of every write submitted before it.
    Sync,
}

/// What is done about a name by [`Storage::submit_named`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NamedOp {
    /// Asks for its size, which becomes `bytes` of the completion; a name that is not there is an
    /// error with ENOENT.
    Head,
    /// Removes it. Whether one that is not there is an error is the store's.
    Delete,
    /// Asks for the names in the folder of that name; how many there are, at most
    /// [`PAGE_NAMES`], becomes `bytes` of the completion.
    List,
}

/// Names of one page of a listing, and of one removal of many.
pub const PAGE_NAMES: usize = 1000;

/// The end of one operation.
#[derive(Debug)]
pub struct Completion {
    /// The caller's tag.
    pub tag: u64,
    /// The buffer of a read or write.
    pub buffer: Option<IoBuffer>,
    /// Where the wanted bytes begin in the buffer (reads).
    pub data_start: usize,
    /// Wanted bytes that arrived or were written; a read that ends at the end of the file gives
    /// fewer than asked for.
    pub bytes: usize,
    /// Bytes that the device or server really moved for it (rounded to alignment).
    pub transferred: usize,
    /// From submission to completion, monotonic; 0 from the null store, which reads no clock.
    pub latency_ns: u64,
    /// From submission to the first byte of what is read; 0 where that cannot be told.
    pub first_byte_ns: u64,
    /// Why it failed; the message names path and offset.
    pub error: Option<Box<StorageError>>,
}

/// What a sync of a new file makes durable, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SyncKind {
    /// Data and all metadata (fsync).
    #[default]
    Full,
    /// Data and what is needed to read them again (fdatasync).
    Data,
    /// Every write is durable when it completes (O_DSYNC); a sync only adds the true length.
    EachWrite,
}

/// What a store says of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// Size in bytes.
    pub size_bytes: u64,
}

/// What was really used; goes into the result.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct StoreFacts {
    /// Engine: `uring`, `sync`, `mmap`, `null`, with wrappers as `delay(uring)`.
    pub engine: String,
    /// O_DIRECT held for every file opened so far (None: no file opened).
    pub direct: Option<bool>,
    /// Buffers are registered with the ring.
    pub registered_buffers: bool,
    /// Page size behind the buffers: `4KiB`, `2MiB-thp`, `2MiB-hugetlb`.
    pub page_size: String,
    /// Offset alignment in force on reads, bytes (1: none).
    pub alignment: u32,
    /// Everything that was wanted and could not be had, one sentence each.
    pub fallbacks: Vec<String>,
    /// Servers of an object store.
    #[serde(default)]
    pub endpoints: Vec<EndpointFacts>,
    /// Times that an operation was handed to the system again because it answered EAGAIN or EINTR.
    /// Part of `ops.retries` in the result.
    #[serde(skip)]
    pub retried_operations: u64,
    /// Bytes mapped for buffers. Part of `client.buffer_bytes` in the result.
    #[serde(skip)]
    pub buffer_bytes: u64,
}

impl StoreFacts {
    /// Takes out what the same store had done `before`.
    pub fn leave_out(&mut self, before: &StoreFacts) {
        self.retried_operations -= before.retried_operations;
        for server in &mut self.endpoints {
            if let Some(known) = before.endpoints.iter().find(|known| known.url == server.url) {
                server.leave_out(known);
            }
        }
    }
}

/// What one server of an object store did.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct EndpointFacts {
    /// `http://HOST:PORT`.
    pub url: String,
    /// Requests that it was sent: every attempt, also those about names.
    pub operations: u64,
    /// Those that broke, or were answered with an error.
    pub errors: u64,
    /// Bytes of objects that it sent.
    pub bytes_read: u64,
    /// Bytes of objects that it took.
    pub bytes_written: u64,
    /// Sum of the times from sending a request to the end of its answer, ns.
    pub busy_ns: u64,
    /// Times that it was set aside because it broke connections.
    pub set_aside: u64,
}

impl EndpointFacts {
    /// Adds what the same server did for somebody else.
    pub fn add(&mut self, other: &EndpointFacts) {
        self.operations += other.operations;
        self.errors += other.errors;
        self.bytes_read += other.bytes_read;
        self.bytes_written += other.bytes_written;
        self.busy_ns += other.busy_ns;
        self.set_aside += other.set_aside;
    }

    /// Takes out what the same server had done for the same client `before`.
    pub fn leave_out(&mut self, before: &EndpointFacts) {
        self.operations -= before.operations;
        self.errors -= before.errors;
        self.bytes_read -= before.bytes_read;
        self.bytes_written -= before.bytes_written;
        self.busy_ns -= before.busy_ns;
        self.set_aside -= before.set_aside;
    }
}

/// A failed operation.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
#[error("{op} {path}{}: {what}", error::at_offset(.offset))]
pub struct StorageError {
    /// `open`, `read`, ...
    pub op: &'static str,
    /// Path or URI without credentials.
    pub path: String,
    /// Offset of the operation.
    pub offset: Option<u64>,
    /// The system's words and, where there is one, the remedy.
    pub what: String,
    /// errno, 0 if none.
    pub errno: i32,
}

/// A store. Names are relative to the store's root (`train/img_0_of_8.npz`).
///
/// An instance may be made on one thread and moved to another before its first `submit`; from
/// then on it stays there, because a ring belongs to the thread that submits to it.
pub trait Storage: Send {
    /// Opens or creates.
    fn open(&mut self, name: &str, mode: OpenMode) -> Result<Opened, StorageError>;
    /// Closes; nothing of this handle may be in flight. A created file has its true length
    /// afterwards.
    fn close(&mut self, handle: Handle) -> Result<(), StorageError>;
    /// Starts an operation. Fails (and takes the buffer back into the pool) only if the handle is
    /// not open or [`Storage::queue_depth`] operations of its sort are in flight; everything else
    /// that goes wrong arrives as a [`Completion`] with an error.
    fn submit(&mut self, handle: Handle, op: Op, tag: u64) -> Result<(), StorageError>;
    /// Starts an operation on a name. Fails only if as many of them and syncs together as
    /// [`Storage::queue_depth`] are in flight; everything else arrives as a [`Completion`] without
    /// a buffer. Allocates nothing, like [`Storage::submit`].
    fn submit_named(&mut self, op: NamedOp, name: &str, _tag: u64) -> Result<(), StorageError> {
        let what = format!("{op:?} in flight is not available with this client");
        Err(StorageError::own("submit", std::path::Path::new(name), &what))
    }
    /// Opens for reading from now on believe `expected_bytes` (unless 0) where asking for the size
    /// would be a request of its own. Then the first answer must tell the size, and another one
    /// than expected is an error of that read which names both. Stores that know sizes without a
    /// request need not do anything.
    fn trust_sizes(&mut self, _trust: bool) {}
    /// Waits for at least `min` completions (all that are in flight if these are fewer, or until
    /// `timeout`) and appends them to `out`; returns how many. An `out` with room for
    /// `2 * queue_depth()` entries is never grown.
    fn reap(
        &mut self,
        min: usize,
        timeout: Option<Duration>,
        out: &mut Vec<Completion>,
    ) -> Result<usize, StorageError>;
    /// Reads and writes that can be in flight: the number of buffers. As many syncs fit beside.
    fn queue_depth(&self) -> usize;
    /// A free buffer, or None while all are in flight.
    fn take_buffer(&mut self) -> Option<IoBuffer>;
    /// Gives a buffer back.
    fn give_buffer(&mut self, buffer: IoBuffer);
    /// Size of a name, None if it does not exist.
    fn stat(&mut self, name: &str) -> Result<Option<Stat>, StorageError>;
    /// True where a new file appears whole or not at all, once it was synced or closed whole: then
    /// nothing needs another name while it is written.
    fn puts_are_atomic(&self) -> bool;
    /// How files that are created from now on become durable.
    fn set_sync(&mut self, kind: SyncKind);
    /// Moves a finished file to its final name, replacing what is there, or a whole folder to a
    /// name that is free. The new name is durable after [`Storage::sync_folder`]; until then a
    /// crash may bring the old one back.
    fn rename(&mut self, from: &str, to: &str) -> Result<(), StorageError>;
    /// Swaps two names, files or folders, in one step; false where the file system cannot.
    fn exchange(&mut self, one: &str, other: &str) -> Result<bool, StorageError>;
    /// Makes a folder and those above it; one that is there is no error.
    fn make_folder(&mut self, folder: &str) -> Result<(), StorageError>;
    /// Removes an empty folder.
    fn remove_folder(&mut self, folder: &str) -> Result<(), StorageError>;
    /// Calls `visit` for each name in a folder (`""`: the root), in no order; the second argument
    /// is true for folders. A folder that is not there is empty.
    fn list(&mut self, folder: &str, visit: &mut dyn FnMut(&str, bool))
    -> Result<(), StorageError>;
    /// Makes the names in a folder durable (`""`: the root). A folder that is not there is no
    /// error.
    fn sync_folder(&mut self, folder: &str) -> Result<(), StorageError>;
    /// Removes a name.
    fn remove(&mut self, name: &str) -> Result<(), StorageError>;
    /// Removes at most [`PAGE_NAMES`] names, by one request where the store can. One that is not
    /// there is no error; the first that cannot be removed is, and others may be gone then.
    fn remove_many(&mut self, names: &[String]) -> Result<(), StorageError> {
        for name in names {
            match self.remove(name) {
                Err(error) if error.errno != libc::ENOENT => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
    /// Gives up the unfinished uploads in parts of names for which `ours` is true, whoever began
    /// them, and returns how many; None where the store cannot say which there are.
    fn abort_uploads(&mut self, _ours: &dyn Fn(&str) -> bool) -> Result<Option<u64>, StorageError> {
        Ok(None)
    }
    /// What was really used.
    fn facts(&self) -> StoreFacts;
}

/// How to reach a store.
#[derive(Debug, Clone)]
pub struct StoreSpec {
    /// Root: a path, `file://PATH`, `direct://PATH`, `s3://BUCKET/PREFIX` (or `az://`,
    /// `gs://`) or `null://`.
    pub root: String,
    /// Settings of the `io` section.
    pub io: crate::config::Io,
    /// How an object store is reached.
    pub object: crate::config::ObjectOptions,
    /// This rank (for wrappers that act on one rank only).
    pub rank: u32,
    /// Buffers of this instance.
    pub buffers: usize,
    /// Bytes usable in each buffer (the pool adds room for alignment).
    pub buffer_bytes: usize,
}
