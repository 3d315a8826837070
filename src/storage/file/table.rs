//! The open files of one store instance: a slab by handle, so that finding a file costs an index.

use crate::storage::{Handle, StorageError};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;

/// Low bits of a handle that number the slot; the rest counts the slot's uses, so that a handle
/// kept after `close` is refused.
const SLOT_BITS: u32 = 20;
const SLOT_MASK: u32 = (1 << SLOT_BITS) - 1;

/// One open file.
#[derive(Debug)]
pub(in crate::storage) struct OpenFile {
    pub fd: OwnedFd,
    /// Absolute.
    pub path: PathBuf,
    /// At open; 0 for a created file.
    pub size: u64,
    /// Length that the plan or the file system says it has or will have.
    pub expected_bytes: u64,
    /// O_DIRECT is set.
    pub direct: bool,
    /// Offset alignment of reads; 1 where the file is not direct.
    pub align: u32,
    /// Made by this store: its length is put right on sync and close.
    pub created: bool,
    /// A sync leaves out metadata that reading does not need.
    pub data_only: bool,
    /// End of the wanted bytes written so far.
    pub true_len: u64,
    /// Length in the file system, larger through reserved space or padding.
    pub physical_len: u64,
    /// Operations in flight.
    pub in_flight: u32,
    /// Writes among them.
    pub writes_in_flight: u32,
    /// The file is in the ring's table, at its slot.
    pub registered: bool,
}

impl OpenFile {
    /// Cuts reserved space and padding off.
    pub fn restore_length(&mut self) -> Result<(), i32> {
        if !self.created || self.physical_len == self.true_len {
            return Ok(());
        }
        nix::unistd::ftruncate(&self.fd, self.true_len as i64).map_err(|e| e as i32)?;
        self.physical_len = self.true_len;
        Ok(())
    }

    /// Notes a finished write of `[start, start + moved)` of which `wanted` bytes are content.
    pub fn wrote(&mut self, start: u64, wanted: usize, moved: usize) {
        self.true_len = self.true_len.max(start + wanted as u64);
        self.physical_len = self.physical_len.max(start + moved as u64);
    }

    /// The error of an operation on this file.
    pub fn error(&self, op: &'static str, offset: Option<u64>, errno: i32) -> Box<StorageError> {
        Box::new(StorageError::system(op, &self.path, offset, errno))
    }

    /// The descriptor for the kernel.
    pub fn raw(&self) -> i32 {
        self.fd.as_raw_fd()
    }
}

/// The slab.
#[derive(Debug, Default)]
pub(in crate::storage) struct FileTable {
    slots: Vec<(u32, Option<OpenFile>)>,
    free: Vec<u32>,
}

impl FileTable {
    /// Number of the slot behind a handle.
    pub fn slot_of(handle: Handle) -> u32 {
        handle.0 & SLOT_MASK
    }

    /// Keeps a file; None if a million are open already.
    pub fn insert(&mut self, file: OpenFile) -> Option<Handle> {
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None if self.slots.len() > SLOT_MASK as usize => return None,
            None => {
                self.slots.push((0, None));
                self.slots.len() as u32 - 1
            }
        };
        let entry = &mut self.slots[slot as usize];
        entry.1 = Some(file);
        Some(Handle(entry.0 << SLOT_BITS | slot))
    }

    /// The file behind a handle.
    #[inline]
    pub fn get(&mut self, handle: Handle) -> Option<&mut OpenFile> {
        let (uses, file) = self.slots.get_mut(Self::slot_of(handle) as usize)?;
        if *uses == handle.0 >> SLOT_BITS { file.as_mut() } else { None }
    }

    /// The file of an operation in flight, which keeps it open.
    #[inline]
    pub fn of_operation(&mut self, handle: Handle) -> &mut OpenFile {
        self.get(handle).expect("close refuses files with operations in flight")
    }

    /// Gives the slot up.
    pub fn remove(&mut self, handle: Handle) -> Option<OpenFile> {
        self.get(handle)?;
        let slot = Self::slot_of(handle);
        let entry = &mut self.slots[slot as usize];
        entry.0 = (entry.0 + 1) & (u32::MAX >> SLOT_BITS);
        self.free.push(slot);
        entry.1.take()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// An open file of a made-up size; `align` 1 means buffered.
    pub fn file_of(size: u64, align: u32) -> OpenFile {
        OpenFile {
            fd: std::fs::File::open("/dev/null").unwrap().into(),
            path: "/dev/null".into(),
            size,
            expected_bytes: size,
            direct: align > 1,
            align,
            created: false,
            data_only: false,
            true_len: 0,
            physical_len: 0,
            in_flight: 0,
            writes_in_flight: 0,
            registered: false,
        }
    }

    #[test]
    fn a_closed_handle_is_refused_though_its_slot_is_used_again() {
        let mut table = FileTable::default();
        let a = table.insert(file_of(1, 1)).unwrap();
        let b = table.insert(file_of(2, 1)).unwrap();
        assert_eq!(table.get(b).unwrap().size, 2);
        assert!(table.remove(a).is_some());
        assert!(table.get(a).is_none() && table.remove(a).is_none());
        let c = table.insert(file_of(3, 1)).unwrap();
        assert_ne!(a, c);
        assert_eq!(FileTable::slot_of(a), FileTable::slot_of(c));
        assert_eq!(table.get(c).unwrap().size, 3);
        assert!(table.get(a).is_none());
        assert!(table.get(Handle(77)).is_none());
    }
}
