//! Collects the bytes of a file that an encoder makes into the blocks of the store.

use super::compute::now_ns;
use super::write_thread::Writer;
use crate::storage::{Handle, IoBuffer, Op};
use std::io;

/// The block being filled. Once an operation failed or the run was stopped every `put` fails.
pub(super) struct Sheet<'w, 'job> {
    writer: &'w mut Writer<'job>,
    handle: Handle,
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

impl<'w, 'job> Sheet<'w, 'job> {
    /// At the beginning of the file `handle`.
    pub fn new(writer: &'w mut Writer<'job>, handle: Handle) -> Self {
        Sheet {
            writer,
            handle,
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
        let block_bytes = self.writer.job.block_bytes as usize;
        let mut rest = bytes;
        while !rest.is_empty() {
            let mut buffer = match self.buffer.take() {
                Some(buffer) => buffer,
                None => self.next_buffer()?,
            };
            let len = rest.len().min(block_bytes - self.filled);
            let (now, after) = rest.split_at(len);
            buffer.as_mut_slice()[self.filled..self.filled + len].copy_from_slice(now);
            self.buffer = Some(buffer);
            self.filled += len;
            rest = after;
            if self.filled == block_bytes {
                self.flush()?;
            }
        }
        Ok(())
    }

    /// Hands over what is there: the last block of a file may be short.
    ///
    /// # Errors
    /// See [`Sheet::put`].
    pub fn flush(&mut self) -> io::Result<()> {
        let Some(buffer) = self.buffer.take() else { return Ok(()) };
        let op = Op::Write { offset: self.offset, len: self.filled, buffer };
        self.offset += self.filled as u64;
        self.filled = 0;
        let start = now_ns();
        let submitted = self.writer.submit(self.handle, op);
        self.waited_ns += now_ns() - start;
        self.kept(submitted)
    }

    fn next_buffer(&mut self) -> io::Result<IoBuffer> {
        self.stopped |= self.writer.stopping();
        if self.stopped || self.failure.is_some() {
            return Err(io::Error::other("stopped"));
        }
        let start = now_ns();
        let buffer = self.writer.free_buffer();
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
