//! Evidence that bytes came from the device: an alignment probe, the kernel's own byte counters
//! of this process and of the device, and a look at what the page cache holds.

use super::align::PAGE_BYTES;
use super::file::file_facts;
use super::filesystem::{is_memory, magic_of, name_of};
use super::{BufferPool, StorageError};
use nix::errno::Errno;
use nix::sys::uio::{pread, pwrite};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

/// What direct I/O is worth in a folder.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct AlignmentProbe {
    /// Name of the file system.
    pub filesystem: String,
    /// It lives in memory, so there is no device to be direct to.
    pub memory: bool,
    /// O_DIRECT was accepted at open.
    pub accepted: bool,
    /// A read at a misaligned offset was refused (EINVAL), as only real direct I/O does.
    pub enforced: bool,
    /// Offset alignment that the kernel states (STATX_DIOALIGN), bytes.
    pub offset_alignment: Option<u32>,
    /// One sentence for a reader.
    pub verdict: String,
}

/// Tries direct reads, aligned and not, on a small file made and removed in `dir`.
///
/// # Errors
/// The folder cannot be written, or an aligned direct read fails.
pub fn alignment_probe(dir: &Path) -> Result<AlignmentProbe, StorageError> {
    let path = dir.join(format!(".rankio-probe-{}", std::process::id()));
    let result = probe_file(&path);
    let removed = std::fs::remove_file(&path);
    let fail = |op| move |errno: Errno| StorageError::system(op, dir, None, errno as i32);
    let (file, accepted, misaligned) = result.map_err(fail("probe direct I/O in"))?;
    let errno = |e: io::Error| Errno::from_raw(e.raw_os_error().unwrap_or(libc::EIO));
    removed.map_err(|e| fail("remove the probe file in")(errno(e)))?;
    let magic = nix::sys::statfs::fstatfs(&file).map(|s| magic_of(&s));
    let magic = magic.map_err(fail("statfs"))?;
    let facts = file_facts(file.as_raw_fd()).map_err(|e| fail("statx")(Errno::from_raw(e)))?;
    let (filesystem, memory) = (name_of(magic), is_memory(magic));
    let enforced = accepted && misaligned == Some(Errno::EINVAL);
    let offset_alignment = facts.dio.map(|(_, offset)| offset);
    let verdict = match (memory, accepted, enforced) {
        (true, _, _) => format!("{filesystem} is memory: no device, direct I/O means nothing"),
        (_, false, _) => format!("{filesystem} refuses O_DIRECT: reads use the page cache"),
        (_, _, true) => format!(
            "{filesystem} enforces alignment ({}): direct I/O is real",
            offset_alignment.map_or("not stated".into(), |a| format!("{a} bytes"))
        ),
        _ => format!(
            "{filesystem} accepts O_DIRECT but also misaligned reads: this does not prove direct \
             I/O, compare the device's counters"
        ),
    };
    Ok(AlignmentProbe { filesystem, memory, accepted, enforced, offset_alignment, verdict })
}

/// Makes and reads the probe file; gives it back with: O_DIRECT was accepted, and what a
/// misaligned read ended with.
fn probe_file(path: &Path) -> Result<(File, bool, Option<Errno>), Errno> {
    let errno = |e: io::Error| Errno::from_raw(e.raw_os_error().unwrap_or(libc::EIO));
    let open = |flags: i32| {
        OpenOptions::new().read(true).write(true).create(true).custom_flags(flags).open(path)
    };
    let mut pool = BufferPool::new(1, 2 * PAGE_BYTES, false).map_err(errno)?;
    let mut buffer = pool.take().ok_or(Errno::ENOMEM)?;
    let (file, accepted) = match open(libc::O_DIRECT) {
        Ok(file) => (file, true),
        Err(e) if e.raw_os_error() == Some(libc::EINVAL) => (open(0).map_err(errno)?, false),
        Err(e) => return Err(errno(e)),
    };
    pwrite(&file, &buffer.as_slice()[..2 * PAGE_BYTES], 0)?;
    pread(&file, &mut buffer.as_mut_slice()[..PAGE_BYTES], 0)?;
    let misaligned = pread(&file, &mut buffer.as_mut_slice()[..PAGE_BYTES], 100).err();
    Ok((file, accepted, misaligned))
}

/// Bytes moved to and from storage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct IoCounters {
    /// Read, bytes.
    pub read_bytes: u64,
    /// Written, bytes.
    pub write_bytes: u64,
}

/// What the kernel caused to be fetched from and sent to the storage layer for this process, all
/// threads (`read_bytes` and `write_bytes` of /proc/self/io; page cache hits do not count). None
/// where the kernel does not account.
pub fn process_io() -> Option<IoCounters> {
    parse_process_io(&std::fs::read_to_string("/proc/self/io").ok()?)
}

fn parse_process_io(text: &str) -> Option<IoCounters> {
    let value = |key: &str| {
        text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(": ")?.parse().ok())
    };
    Some(IoCounters { read_bytes: value("read_bytes")?, write_bytes: value("write_bytes")? })
}

/// A block device by its numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct DeviceId {
    /// Major number; 0 for file systems without a block device of their own.
    pub major: u64,
    /// Minor number.
    pub minor: u64,
}

/// The device that holds `path`, or its nearest parent that exists.
pub fn device_of(path: &Path) -> Option<DeviceId> {
    let path = std::path::absolute(path).ok()?;
    let meta = path.ancestors().find_map(|p| std::fs::metadata(p).ok())?;
    let dev = meta.dev();
    Some(DeviceId { major: nix::sys::stat::major(dev), minor: nix::sys::stat::minor(dev) })
}

/// Bytes that a block device has moved since boot, for all its users. None for what has no block
/// device: tmpfs, NFS, overlays, FUSE, and file systems over several devices (btrfs).
pub fn device_counters(device: DeviceId) -> Option<IoCounters> {
    if device.major == 0 {
        return None;
    }
    let path = format!("/sys/dev/block/{}:{}/stat", device.major, device.minor);
    parse_device_stat(&std::fs::read_to_string(path).ok()?)
}

/// Fields 3 and 7 of Documentation/block/stat.rst: sectors of 512 bytes, whatever the device has.
fn parse_device_stat(text: &str) -> Option<IoCounters> {
    let mut fields = text.split_whitespace().map(str::parse::<u64>);
    let read = fields.nth(2)?.ok()?;
    let written = fields.nth(3)?.ok()?;
    Some(IoCounters { read_bytes: read * 512, write_bytes: written * 512 })
}

/// Share of a file that lies in the page cache, from 0.0 to 1.0, looking at up to `max_pages`
/// pages in windows spread evenly over the file. None for an empty file or one that cannot be
/// mapped. Looking does not load anything.
pub fn resident_fraction(path: &Path, max_pages: usize) -> Option<f64> {
    const WINDOWS: usize = 16;
    let file = File::open(path).ok()?;
    let bytes = usize::try_from(file.metadata().ok()?.len()).ok()?;
    if bytes == 0 || max_pages == 0 {
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

/// Asks the kernel to drop a file's clean pages from the page cache; dirty ones are written first.
///
/// # Errors
/// The file cannot be opened, synced or advised.
pub fn drop_cache(path: &Path) -> Result<(), StorageError> {
    let fail = |errno: i32| StorageError::system("drop the page cache of", path, None, errno);
    let io = |e: io::Error| fail(e.raw_os_error().unwrap_or(libc::EIO));
    let file = File::open(path).map_err(io)?;
    file.sync_data().map_err(io)?;
    let advice = nix::fcntl::PosixFadviseAdvice::POSIX_FADV_DONTNEED;
    nix::fcntl::posix_fadvise(&file, 0, 0, advice).map_err(|e| fail(e as i32))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_counters_are_parsed() {
        let text = "rchar: 1\nwchar: 2\nsyscr: 3\nsyscw: 4\nread_bytes: 4096\n\
                    write_bytes: 8192\ncancelled_write_bytes: 0\n";
        assert_eq!(
            parse_process_io(text),
            Some(IoCounters { read_bytes: 4096, write_bytes: 8192 })
        );
        assert_eq!(parse_process_io("rchar: 1\n"), None);
        let stat = "  10 0 16 1 20 0 32 4 0 5 6 0 0 0 0\n";
        assert_eq!(
            parse_device_stat(stat),
            Some(IoCounters { read_bytes: 16 * 512, write_bytes: 32 * 512 })
        );
        assert_eq!(parse_device_stat("1 2"), None);
    }

    #[test]
    fn memory_file_systems_have_no_device() {
        if let Some(device) = device_of(Path::new("/dev/shm/not/there")) {
            assert_eq!(device_counters(device), None);
        }
    }

    #[test]
    fn a_probe_leaves_nothing_behind_and_has_a_verdict() {
        let dir = tempfile::tempdir().unwrap();
        let probe = alignment_probe(dir.path()).unwrap();
        assert!(probe.verdict.starts_with(&probe.filesystem), "{}", probe.verdict);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        assert!(alignment_probe(&dir.path().join("absent")).is_err());
    }

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
    }
}
