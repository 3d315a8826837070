//! Moves bytes. One completion-based trait serves every store; one instance per I/O thread, no locks inside.
//!
//! The caller thinks in file ranges: a store that needs alignment rounds outward by itself and says where in the
//! buffer the wanted bytes lie. Buffers are owned tokens of a [`pool::BufferPool`]: they travel into `submit` and come back
//! in the [`Completion`], so a buffer in flight cannot be touched.

pub mod pool;

pub use pool::{BufferPool, IoBuffer};
use std::time::Duration;

/// An open file or object of one store instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Handle(pub u32);

/// How to open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenMode {
    /// Existing, for reading. `expected_bytes`: what the plan says; the null store believes it, others report the real size.
    Read {
        /// Planned size.
        expected_bytes: u64,
    },
    /// New, for writing; fails if it exists (parent folders are made). `final_bytes`: length it will have (space is reserved where asked for).
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
}

/// An operation to submit.
#[derive(Debug)]
pub enum Op {
    /// Read `[offset, offset + len)`. `buffer.capacity()` must be at least [`Storage::buffer_bytes_for`]`(len)`.
    Read {
        /// First byte.
        offset: u64,
        /// Bytes wanted.
        len: usize,
        /// Destination.
        buffer: IoBuffer,
    },
    /// Write the first `len` bytes of `buffer` at `offset` (a multiple of 4096). A `len` that is not a multiple of 4096 is the file's tail.
    Write {
        /// First byte.
        offset: u64,
        /// Bytes to write.
        len: usize,
        /// Source.
        buffer: IoBuffer,
    },
    /// Make the file durable: true length, data and metadata.
    Sync,
}

/// The end of one operation.
#[derive(Debug)]
pub struct Completion {
    /// The caller's tag.
    pub tag: u64,
    /// The buffer of a read or write.
    pub buffer: Option<IoBuffer>,
    /// Where the wanted bytes begin in the buffer (reads).
    pub data_start: usize,
    /// Wanted bytes that arrived or were written; a read that ends at the end of the file gives fewer than asked for.
    pub bytes: usize,
    /// Bytes that the device or server really moved for it (rounded to alignment).
    pub transferred: usize,
    /// From submission to completion.
    pub latency_ns: u64,
    /// Why it failed; the message names path and offset.
    pub error: Option<Box<StorageError>>,
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
    /// Offset alignment in force, bytes.
    pub alignment: u32,
    /// Everything that was wanted and could not be had, one sentence each.
    pub fallbacks: Vec<String>,
}

/// A failed operation.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
#[error("{op} {path}{}: {what}", .offset.map(|o| format!(" at offset {o}")).unwrap_or_default())]
pub struct StorageError {
    /// `open`, `read`, …
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
pub trait Storage: Send {
    /// Opens or creates.
    fn open(&mut self, name: &str, mode: OpenMode) -> Result<Opened, StorageError>;
    /// Closes; nothing of this handle may be in flight. A created file has its true length afterwards.
    fn close(&mut self, handle: Handle) -> Result<(), StorageError>;
    /// Starts an operation; fails only if [`Storage::queue_depth`] operations are in flight.
    fn submit(&mut self, handle: Handle, op: Op, tag: u64) -> Result<(), StorageError>;
    /// Waits for at least `min` completions (or until `timeout`) and appends them to `out`; returns how many.
    fn reap(
        &mut self,
        min: usize,
        timeout: Option<Duration>,
        out: &mut Vec<Completion>,
    ) -> Result<usize, StorageError>;
    /// A free buffer, or None while all are in flight.
    fn take_buffer(&mut self) -> Option<IoBuffer>;
    /// Gives a buffer back.
    fn give_buffer(&mut self, buffer: IoBuffer);
    /// Size of a name, None if it does not exist.
    fn stat(&mut self, name: &str) -> Result<Option<Stat>, StorageError>;
    /// Moves a finished file to its final name, replacing what is there, durably (folder synced).
    fn rename(&mut self, from: &str, to: &str) -> Result<(), StorageError>;
    /// Removes a name.
    fn remove(&mut self, name: &str) -> Result<(), StorageError>;
    /// What was really used.
    fn facts(&self) -> StoreFacts;
}

/// How to reach a store.
#[derive(Debug, Clone)]
pub struct StoreSpec {
    /// Root: a path, `file://PATH`, `direct://PATH` or `null://`.
    pub root: String,
    /// Settings of the `io` section.
    pub io: crate::config::Io,
    /// This rank (for wrappers that act on one rank only).
    pub rank: u32,
    /// Buffers of this instance.
    pub buffers: usize,
    /// Bytes usable in each buffer (the pool adds room for alignment).
    pub buffer_bytes: usize,
}

/// Opens a store instance for one I/O thread.
pub fn connect(_spec: &StoreSpec) -> Result<Box<dyn Storage>, StorageError> {
    unimplemented!()
}
