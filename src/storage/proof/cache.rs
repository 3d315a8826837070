//! What the page cache holds of a file, and the request to drop it.

use crate::storage::StorageError;
use crate::storage::align::{PAGE_BYTES, round_up};
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

/// Distance from the end of a file at which no large page of it can reach.
const BEYOND_BYTES: u64 = 4 << 20;

/// Share of a file that lies in the page cache, from 0.0 to 1.0, looking at up to `max_pages`
/// pages in windows spread evenly over the file. None for an empty file, one that cannot be
/// mapped, or one that the kernel does not tell this process about. Looking does not load
/// anything.
pub fn resident_fraction(path: &Path, max_pages: usize) -> Option<f64> {
    const WINDOWS: usize = 16;
    let file = File::open(path).ok()?;
    let bytes = usize::try_from(file.metadata().ok()?.len()).ok()?;
    if bytes == 0 || max_pages == 0 || !residency_is_told(&file, bytes as u64) {
        return None;
    }
    // SAFETY: a read-only mapping whose bytes are never looked at, so that neither a change nor a
    // truncation of the file by others matters.
    let map = unsafe { memmap2::Mmap::map(&file) }.ok()?;
    let pages = bytes.div_ceil(PAGE_BYTES);
    let windows = if pages <= max_pages { 1 } else { WINDOWS.min(max_pages) };
    let width = (max_pages / windows).min(pages);
    let mut seen = vec![0u8; width];
    let (mut resident, mut looked) = (0usize, 0usize);
    for window in 0..windows {
        let first = (pages - width) * window / (windows - 1).max(1);
        // SAFETY: `first + width <= pages`, so the range lies within the mapping; `seen` has a
        // byte for each of its pages.
        let status = unsafe {
            let start = map.as_ptr().add(first * PAGE_BYTES);
            libc::mincore(start as *mut _, width * PAGE_BYTES, seen.as_mut_ptr())
        };
        if status != 0 {
            return None;
        }
        resident += seen.iter().filter(|page| **page & 1 == 1).count();
        looked += width;
    }
    Some(resident as f64 / looked as f64)
}

/// Whether `mincore` tells the truth about a file. Since Linux 5.2 it calls every page resident
/// for a process that neither owns the file nor may write it (mm/mincore.c, `can_do_mincore`).
/// Asking about a page far beyond the end settles it for every combination of owner, mode,
/// capabilities and user namespace: no cache can hold that one.
fn residency_is_told(file: &File, file_bytes: u64) -> bool {
    let beyond = round_up(file_bytes, BEYOND_BYTES) + BEYOND_BYTES;
    // SAFETY: as for the mapping of the file; no byte of it is ever touched, so that it lies
    // beyond the end of the file does no harm.
    let map = unsafe { memmap2::MmapOptions::new().offset(beyond).len(PAGE_BYTES).map(file) };
    let Ok(map) = map else { return false };
    let mut seen = 0u8;
    // SAFETY: one page of a mapping of one page, and one byte for it.
    let status = unsafe { libc::mincore(map.as_ptr() as *mut _, PAGE_BYTES, &raw mut seen) };
    status == 0 && seen & 1 == 0
}

/// What a failure to drop pages is called.
pub(in crate::storage) const DROP_CACHE: &str = "drop the page cache of";

/// Writes what is dirty of a file and asks the kernel to drop its pages from the page cache.
///
/// # Errors
/// The file cannot be opened, synced or advised.
pub fn drop_cache(path: &Path) -> Result<(), StorageError> {
    drop_pages(path, true)
}

/// The same for a file that nobody has written to since it was synced: it is not synced again,
/// which costs a flush of the device.
///
/// # Errors
/// The file cannot be opened or advised.
pub fn drop_clean_cache(path: &Path) -> Result<(), StorageError> {
    drop_pages(path, false)
}

fn drop_pages(path: &Path, sync: bool) -> Result<(), StorageError> {
    let fail = |errno: i32| StorageError::system(DROP_CACHE, path, None, errno);
    let io = |e: io::Error| fail(e.raw_os_error().unwrap_or(libc::EIO));
    let file = File::open(path).map_err(io)?;
    if sync {
        file.sync_data().map_err(io)?;
    }
    forget_pages(&file).map_err(|e| fail(e as i32))
}

/// Asks the kernel to drop the clean pages of an open file that no mapping holds.
pub(in crate::storage) fn forget_pages(file: impl AsFd) -> Result<(), nix::errno::Errno> {
    let advice = nix::fcntl::PosixFadviseAdvice::POSIX_FADV_DONTNEED;
    nix::fcntl::posix_fadvise(file, 0, 0, advice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_pages_are_resident() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        std::fs::write(&path, vec![1u8; 100 * PAGE_BYTES + 7]).unwrap();
        for max_pages in [1, 15, 40, 1000] {
            let fraction = resident_fraction(&path, max_pages).unwrap();
            assert!(fraction > 0.9, "{max_pages} pages: {fraction}");
        }
        drop_cache(&path).unwrap();
        assert!(resident_fraction(&path, 1000).is_some());
        std::fs::write(&path, b"").unwrap();
        assert_eq!(resident_fraction(&path, 10), None);
        assert!(drop_cache(&dir.path().join("absent")).is_err());
        assert!(drop_clean_cache(&dir.path().join("absent")).is_err());
    }
}
