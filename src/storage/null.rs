//! No storage at all: every operation ends at once, no clock is read and no byte moves. It shows
//! how fast the client itself could go.

use super::{
    BufferPool, Completion, Handle, IoBuffer, NamedOp, Op, OpenMode, Opened, Stat, Storage,
    StorageError, StoreFacts, SyncKind,
};
use std::collections::VecDeque;
use std::path::Path;
use std::time::Duration;

/// Believes the plan: an opened file has the expected size; a read leaves its buffer as it is.
/// Nothing can be found afterwards: `stat` always says None.
pub(super) struct NullStore {
    pool: BufferPool,
    sizes: Vec<Option<u64>>,
    free: Vec<u32>,
    ready: VecDeque<Completion>,
}

impl NullStore {
    /// A store with the buffers of `pool`.
    pub fn new(pool: BufferPool) -> NullStore {
        let ready = VecDeque::with_capacity(2 * pool.count());
        NullStore { pool, sizes: Vec::new(), free: Vec::new(), ready }
    }

    fn refuse(&mut self, op: Op, what: &str) -> StorageError {
        if let Some(buffer) = op.into_buffer().filter(|b| self.pool.owns(b)) {
            self.pool.give(buffer);
        }
        StorageError::own("submit", Path::new("null://"), what)
    }
}

impl Storage for NullStore {
    fn open(&mut self, _: &str, mode: OpenMode) -> Result<Opened, StorageError> {
        let size_bytes = match mode {
            OpenMode::Read { expected_bytes } => expected_bytes,
            OpenMode::Create { .. } | OpenMode::Replace { .. } => 0,
        };
        let slot = self.free.pop().unwrap_or_else(|| {
            self.sizes.push(None);
            self.sizes.len() as u32 - 1
        });
        self.sizes[slot as usize] = Some(size_bytes);
        Ok(Opened { handle: Handle(slot), size_bytes, direct: false, was_asked: true })
    }

    fn close(&mut self, handle: Handle) -> Result<(), StorageError> {
        match self.sizes.get_mut(handle.0 as usize).and_then(Option::take) {
            Some(_) => {
                self.free.push(handle.0);
                Ok(())
            }
            None => {
                let what = "this handle is not open";
                Err(StorageError::own("close", Path::new("null://"), what))
            }
        }
    }

    fn submit(&mut self, handle: Handle, op: Op, tag: u64) -> Result<(), StorageError> {
        let Some(Some(size)) = self.sizes.get(handle.0 as usize).copied() else {
            return Err(self.refuse(op, "this handle is not open"));
        };
        if self.ready.len() >= 2 * self.pool.count() {
            return Err(self.refuse(op, "the queue is full: reap completions first"));
        }
        let (bytes, buffer) = match op {
            Op::Read { offset, len, buffer } => {
                ((len as u64).min(size.saturating_sub(offset)) as usize, Some(buffer))
            }
            Op::Write { len, buffer, .. } => (len, Some(buffer)),
            Op::Sync => (0, None),
        };
        self.ready.push_back(Completion {
            tag,
            buffer,
            data_start: 0,
            bytes,
            transferred: 0,
            latency_ns: 0,
            first_byte_ns: 0,
            error: None,
        });
        Ok(())
    }

    fn submit_named(&mut self, _: NamedOp, _: &str, tag: u64) -> Result<(), StorageError> {
        if self.ready.len() >= 2 * self.pool.count() {
            let what = "the queue is full: reap completions first";
            return Err(StorageError::own("submit", Path::new("null://"), what));
        }
        self.ready.push_back(Completion {
            tag,
            buffer: None,
            data_start: 0,
            bytes: 0,
            transferred: 0,
            latency_ns: 0,
            first_byte_ns: 0,
            error: None,
        });
        Ok(())
    }

    fn reap(
        &mut self,
        _: usize,
        _: Option<Duration>,
        out: &mut Vec<Completion>,
    ) -> Result<usize, StorageError> {
        let count = self.ready.len();
        out.extend(self.ready.drain(..));
        Ok(count)
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

    fn stat(&mut self, _: &str) -> Result<Option<Stat>, StorageError> {
        Ok(None)
    }

    fn puts_are_atomic(&self) -> bool {
        false
    }

    fn set_sync(&mut self, _: SyncKind) {}

    fn rename(&mut self, _: &str, _: &str) -> Result<(), StorageError> {
        Ok(())
    }

    fn exchange(&mut self, _: &str, _: &str) -> Result<bool, StorageError> {
        Ok(true)
    }

    fn make_folder(&mut self, _: &str) -> Result<(), StorageError> {
        Ok(())
    }

    fn remove_folder(&mut self, _: &str) -> Result<(), StorageError> {
        Ok(())
    }

    fn list(&mut self, _: &str, _: &mut dyn FnMut(&str, bool)) -> Result<(), StorageError> {
        Ok(())
    }

    fn sync_folder(&mut self, _: &str) -> Result<(), StorageError> {
        Ok(())
    }

    fn remove(&mut self, _: &str) -> Result<(), StorageError> {
        Ok(())
    }

    fn facts(&self) -> StoreFacts {
        StoreFacts {
            engine: "null".into(),
            direct: None,
            registered_buffers: false,
            page_size: self.pool.page_size().into(),
            alignment: 1,
            fallbacks: self.pool.shortfall().map(str::to_string).into_iter().collect(),
            endpoints: Vec::new(),
            retried_operations: 0,
            buffer_bytes: self.pool.mapped_bytes(),
        }
    }
}
