//! Collects the bytes of a file that an encoder makes into the blocks of the store.

use super::compute::now_ns;
use super::file_writer::FileWriter;
use crate::storage::{Handle, IoBuffer};
use std::io;

/// The block being filled. Once an operation failed or the run was stopped every `put` fails.
pub struct Sheet<'w, 'a> {
    out: &'w mut FileWriter<'a>,
    name: &'w str,
    /// The file, once its first block is there: a file of one block is opened with its length.
    pub handle: Option<Handle>,
    block_bytes: usize,
    stopping: &'w (dyn Fn() -> bool + Sync),
    /// Where the block begins in the file.
    offset: u64,
    buffer: Option<IoBuffer>,
    filled: usize,
    /// Time that the store took from the encoder, for buffers and submissions.
    pub waited_ns: u64,
    /// What went wrong in the store.
    pub failure: Option<String>,
    /// The run ends early.
    pub stopped: bool,
}

impl<'w, 'a> Sheet<'w, 'a> {
    /// At the beginning of the file `name`, which is written in blocks of `block_bytes` until
    /// `stopping` says so.
    pub fn new(
        out: &'w mut FileWriter<'a>,
        name: &'w str,
        block_bytes: u64,
        stopping: &'w (dyn Fn() -> bool + Sync),
    ) -> Self {
        Sheet {
            out,
            name,
            handle: None,
            block_bytes: block_bytes as usize,
            stopping,
            offset: 0,
            buffer: None,
            filled: 0,
            waited_ns: 0,
            failure: None,
            stopped: false,
        }
    }

    /// Takes the next bytes.
    ///
    /// # Errors
    /// That there is a reason in `failure` or `stopped`.
    pub fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let mut buffer = match self.buffer.take() {
                Some(buffer) => buffer,
                None => self.next_buffer()?,
            };
            let len = rest.len().min(self.block_bytes - self.filled);
            let (now, after) = rest.split_at(len);
            buffer.as_mut_slice()[self.filled..self.filled + len].copy_from_slice(now);
            self.buffer = Some(buffer);
            self.filled += len;
            rest = after;
            if self.filled == self.block_bytes {
                self.flush(false)?;
            }
        }
        Ok(())
    }

    /// Hands over the last block, which may be short.
    ///
    /// # Errors
    /// See [`Sheet::put`].
    pub fn finish(&mut self) -> io::Result<()> {
        self.flush(true)?;
        self.open(0).map(drop)
    }

    fn flush(&mut self, is_last: bool) -> io::Result<()> {
        let Some(buffer) = self.buffer.take() else { return Ok(()) };
        let (offset, len) = (self.offset, std::mem::take(&mut self.filled));
        self.offset += len as u64;
        let handle = self.open(if is_last { len as u64 } else { 0 })?;
        let start = now_ns();
        let submitted = self.out.write(handle, offset, len, buffer);
        self.waited_ns += now_ns() - start;
        self.kept(submitted)
    }

    /// Makes the file, unless it is there, with the length that it will have (0: nobody knows).
    fn open(&mut self, final_bytes: u64) -> io::Result<Handle> {
        if let Some(handle) = self.handle {
            return Ok(handle);
        }
        let start = now_ns();
        let created = self.out.create(self.name, final_bytes);
        self.waited_ns += now_ns() - start;
        let handle = self.kept(created)?;
        self.handle = Some(handle);
        Ok(handle)
    }

    fn next_buffer(&mut self) -> io::Result<IoBuffer> {
        self.stopped |= (self.stopping)();
        if self.stopped || self.failure.is_some() {
            return Err(io::Error::other("stopped"));
        }
        let start = now_ns();
        let buffer = self.out.free_buffer();
        self.waited_ns += now_ns() - start;
        self.kept(buffer)
    }

    fn kept<T>(&mut self, outcome: Result<T, String>) -> io::Result<T> {
        outcome.map_err(|failure| {
            self.failure.get_or_insert(failure);
            io::Error::other("the store failed")
        })
    }
}
