//! pread and pwrite: the engine for kernels that refuse io_uring, and a yardstick for the other.
//!
//! An operation is done within `submit`, so only one is ever in flight at the device; its
//! completion waits in a queue until it is reaped.

use super::table::{FileTable, OpenFile};
use super::transfer::{Kind, Step, Transfer};
use super::{Engine, finished, prepare};
use crate::storage::clock::monotonic_ns;
use crate::storage::{Completion, Handle, IoBuffer, Op, StorageError, StoreFacts};
use nix::errno::Errno;
use nix::sys::uio::{pread, pwrite};
use std::collections::VecDeque;
use std::time::Duration;

/// Completions that nobody has asked for yet.
pub(in crate::storage) struct SyncEngine {
    ready: VecDeque<Completion>,
    limit: usize,
    /// Calls repeated after EINTR or EAGAIN.
    retried: u64,
}

impl SyncEngine {
    /// `depth` reads and writes and as many syncs may wait to be reaped.
    pub fn new(depth: usize) -> SyncEngine {
        SyncEngine { ready: VecDeque::with_capacity(2 * depth), limit: 2 * depth, retried: 0 }
    }

    /// No completion fits any more.
    pub(super) fn is_full(&self) -> bool {
        self.ready.len() >= self.limit
    }

    /// Queues a completion.
    pub(super) fn push(&mut self, completion: Completion) {
        self.ready.push_back(completion);
    }
}

/// Does a transfer; the error is an errno. `retried` counts answers of EINTR or EAGAIN.
fn execute(
    file: &mut OpenFile,
    transfer: &mut Transfer,
    buffer: Option<&mut IoBuffer>,
    retried: &mut u64,
) -> Result<(), Errno> {
    let Some(buffer) = buffer else {
        file.restore_length().map_err(Errno::from_raw)?;
        return match file.data_only {
            true => nix::unistd::fdatasync(&file.fd),
            false => nix::unistd::fsync(&file.fd),
        };
    };
    loop {
        let part = transfer.done as usize..transfer.total as usize;
        let data = &mut buffer.as_mut_slice()[part];
        let offset = transfer.next_offset() as i64;
        let moved = match transfer.kind {
            Kind::Write => pwrite(&file.fd, data, offset),
            _ => pread(&file.fd, data, offset),
        };
        match moved {
            Err(Errno::EINTR | Errno::EAGAIN) => *retried += 1,
            Err(errno) => return Err(errno),
            Ok(moved) => match transfer.advance(moved as u32) {
                Step::Done => return Ok(()),
                Step::More => {}
                Step::Stuck => return Err(Errno::EIO),
            },
        }
    }
}

impl Engine for SyncEngine {
    fn name(&self) -> &'static str {
        "sync"
    }

    fn attach(&mut self, _: Handle, _: &mut OpenFile) -> Result<(), StorageError> {
        Ok(())
    }

    fn detach(&mut self, _: Handle, _: &mut OpenFile) {}

    fn submit(
        &mut self,
        files: &mut FileTable,
        handle: Handle,
        op: Op,
        tag: u64,
    ) -> Result<(), Option<IoBuffer>> {
        if self.is_full() {
            return Err(op.into_buffer());
        }
        let file = files.of_operation(handle);
        let completion = match prepare(file, op, tag) {
            Err(completion) => *completion,
            Ok((mut transfer, mut buffer)) => {
                let start_ns = monotonic_ns();
                let result = execute(file, &mut transfer, buffer.as_mut(), &mut self.retried);
                let latency_ns = monotonic_ns() - start_ns;
                let errno = result.err().map(|e| e as i32);
                finished(file, &transfer, buffer, tag, latency_ns, errno)
            }
        };
        self.push(completion);
        Ok(())
    }

    fn reap(
        &mut self,
        _: &mut FileTable,
        _: usize,
        _: Option<Duration>,
        out: &mut Vec<Completion>,
    ) -> Result<usize, StorageError> {
        let count = self.ready.len();
        out.extend(self.ready.drain(..));
        Ok(count)
    }

    fn describe(&self, facts: &mut StoreFacts) {
        facts.retried_operations = self.retried;
    }
}
