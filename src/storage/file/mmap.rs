//! Reads through a memory mapping, as loaders do that map their files: the bytes are copied out of
//! the mapping into the buffer, so every page is really touched. Writes and syncs go by pwrite and
//! fsync. Never direct; a file that shrinks while it is mapped ends the process with SIGBUS, as it
//! would end those loaders.

use super::sync::SyncEngine;
use super::table::{FileTable, OpenFile};
use super::{Engine, failed};
use crate::storage::clock::monotonic_ns;
use crate::storage::{Completion, Handle, IoBuffer, Op, StorageError, StoreFacts};
use memmap2::Mmap;
use std::time::Duration;

/// Mappings by slot; an empty file has none.
pub(in crate::storage) struct MmapEngine {
    maps: Vec<Option<Mmap>>,
    rest: SyncEngine,
}

impl MmapEngine {
    /// `depth` as for the sync engine.
    pub fn new(depth: usize) -> MmapEngine {
        MmapEngine { maps: Vec::new(), rest: SyncEngine::new(depth) }
    }

    /// Copies `[offset, offset + len)`, or what the file has of it, into the buffer.
    fn read(
        map: &[u8],
        file: &OpenFile,
        (offset, len, tag): (u64, usize, u64),
        mut buffer: IoBuffer,
    ) -> Completion {
        let start_ns = monotonic_ns();
        if len > buffer.capacity() {
            let mut error = StorageError::own("read", &file.path, "the buffer is too small");
            (error.offset, error.errno) = (Some(offset), libc::EINVAL);
            return failed(tag, Some(buffer), 0, Box::new(error));
        }
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(map.len());
        let bytes = len.min(map.len() - start);
        buffer.as_mut_slice()[..bytes].copy_from_slice(&map[start..start + bytes]);
        Completion {
            tag,
            buffer: Some(buffer),
            data_start: 0,
            bytes,
            transferred: bytes,
            latency_ns: monotonic_ns() - start_ns,
            first_byte_ns: 0,
            error: None,
        }
    }
}

impl Engine for MmapEngine {
    fn name(&self) -> &'static str {
        "mmap"
    }

    fn attach(&mut self, handle: Handle, file: &mut OpenFile) -> Result<(), StorageError> {
        let slot = FileTable::slot_of(handle) as usize;
        if self.maps.len() <= slot {
            self.maps.resize_with(slot + 1, || None);
        }
        if file.created || file.size == 0 {
            return Ok(());
        }
        // SAFETY: the mapping is read-only and private to this store, which only copies out of it.
        // Another process that changes the file changes bytes we copy, never what we rely on;
        // one that truncates it causes SIGBUS, as the module documentation says.
        let map = unsafe { Mmap::map(file.raw()) };
        let map = map.map_err(|e| {
            StorageError::system("map", &file.path, None, e.raw_os_error().unwrap_or(libc::EIO))
        })?;
        self.maps[slot] = Some(map);
        Ok(())
    }

    fn detach(&mut self, handle: Handle, _: &mut OpenFile) {
        self.maps[FileTable::slot_of(handle) as usize] = None;
    }

    fn submit(
        &mut self,
        files: &mut FileTable,
        handle: Handle,
        op: Op,
        tag: u64,
    ) -> Result<(), Option<IoBuffer>> {
        match op {
            Op::Read { .. } if self.rest.is_full() => Err(op.into_buffer()),
            Op::Read { offset, len, buffer } => {
                let slot = FileTable::slot_of(handle) as usize;
                let map = self.maps[slot].as_deref().unwrap_or(&[]);
                let file = files.of_operation(handle);
                let completion = Self::read(map, file, (offset, len, tag), buffer);
                self.rest.push(completion);
                Ok(())
            }
            other => self.rest.submit(files, handle, other, tag),
        }
    }

    fn reap(
        &mut self,
        files: &mut FileTable,
        min: usize,
        timeout: Option<Duration>,
        out: &mut Vec<Completion>,
    ) -> Result<usize, StorageError> {
        self.rest.reap(files, min, timeout, out)
    }

    fn describe(&self, facts: &mut StoreFacts) {
        self.rest.describe(facts);
    }
}
