//! What direct I/O is worth on a file system, found by trying: whether O_DIRECT is accepted,
//! whether misaligned reads are refused, and whether the kernel counts such transfers.

use super::mount::{filesystem_of, is_network};
use super::{IoCounters, thread_io};
use crate::storage::align::PAGE_BYTES;
use crate::storage::file::file_facts;
use crate::storage::filesystem::is_memory;
use crate::storage::{BufferPool, IoBuffer, StorageError};
use nix::errno::Errno;
use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
use nix::sys::uio::{pread, pwrite};
use std::fs::{File, OpenOptions};
use std::hash::{BuildHasher, Hasher};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// An offset that no alignment allows.
const MISALIGNED: i64 = 1;

/// What direct I/O is worth in a folder.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct AlignmentProbe {
    /// Name of the file system.
    pub filesystem: String,
    /// It lives in memory, so there is no device to be direct to.
    pub memory: bool,
    /// Its data lies on servers, whose caches nothing here can see.
    pub network: bool,
    /// It answers from a cache of its own with O_DIRECT too (ZFS).
    pub own_cache: bool,
    /// O_DIRECT was accepted at open.
    pub accepted: bool,
    /// A read at a misaligned offset was refused (EINVAL), as only real direct I/O does.
    pub enforced: bool,
    /// Offset alignment that the kernel states (STATX_DIOALIGN), bytes.
    pub offset_alignment: Option<u32>,
    /// Direct reads appear in the kernel's counts of the process. None: not tried or no counts.
    pub counts_reads: Option<bool>,
    /// The same of direct writes.
    pub counts_writes: Option<bool>,
    /// One sentence for a reader.
    pub verdict: String,
}

/// What the trial with one file gave.
#[derive(Debug, Default)]
struct Trial {
    accepted: bool,
    misaligned: Option<Errno>,
    counts_reads: Option<bool>,
    counts_writes: Option<bool>,
    offset_alignment: Option<u32>,
}

/// Tries direct writes and reads, aligned and not, on a small new file in `dir`; nothing that was
/// there before is touched. The file has no name where the file system allows it, so that a job
/// killed meanwhile leaves nothing; else a random name, which is removed.
///
/// # Errors
/// The folder cannot be written, or an aligned direct transfer fails.
pub fn alignment_probe(dir: &Path) -> Result<AlignmentProbe, StorageError> {
    let fail = |op| move |errno: Errno| StorageError::system(op, dir, None, errno as i32);
    let made = OwnFile::new(dir).map_err(|e| fail("probe direct I/O in")(errno_of(e)))?;
    let path = made.reopen_path();
    let trial = try_file(&path, true).map_err(fail("probe direct I/O in"))?;
    let filesystem = filesystem_of(&path).ok_or_else(|| fail("statfs")(Errno::last()))?;
    made.remove().map_err(|e| fail("remove the probe file in")(errno_of(e)))?;
    Ok(assess(filesystem, trial))
}

/// Tries direct reads, aligned and not, on the first page of `file`, which is not changed.
///
/// # Errors
/// The file cannot be read, is too short to be read at an odd place, or an aligned direct read
/// fails.
pub fn alignment_probe_of(file: &Path) -> Result<AlignmentProbe, StorageError> {
    let fail = |op| move |errno: Errno| StorageError::system(op, file, None, errno as i32);
    let meta = std::fs::metadata(file).map_err(|e| fail("probe direct I/O on")(errno_of(e)))?;
    if meta.len() <= MISALIGNED as u64 {
        let what = "too short to try misaligned reads on";
        return Err(StorageError::own("probe direct I/O on", file, what));
    }
    let trial = try_file(file, false).map_err(fail("probe direct I/O on"))?;
    let filesystem = filesystem_of(file).ok_or_else(|| fail("statfs")(Errno::last()))?;
    Ok(assess(filesystem, trial))
}

fn errno_of(error: io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO))
}

/// A file that this probe made. Dropping it removes it. It stays open, so that no other file can
/// get its inode number.
struct OwnFile {
    /// None: it has no name.
    path: Option<PathBuf>,
    file: File,
}

impl OwnFile {
    fn new(dir: &Path) -> io::Result<OwnFile> {
        let flags = libc::O_TMPFILE;
        let made = OpenOptions::new().write(true).mode(0o600).custom_flags(flags).open(dir);
        match made {
            Ok(file) => Ok(OwnFile { path: None, file }),
            // What file systems without such files answer with, see open(2).
            Err(e) if [Some(libc::EOPNOTSUPP), Some(libc::EISDIR)].contains(&e.raw_os_error()) => {
                OwnFile::named(dir)
            }
            Err(e) => Err(e),
        }
    }

    /// O_EXCL never follows a link and never opens what is there.
    fn named(dir: &Path) -> io::Result<OwnFile> {
        let random = std::hash::RandomState::new().build_hasher().finish();
        let path = dir.join(format!(".rankio-probe-{random:016x}"));
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW)
            .open(&path)?;
        Ok(OwnFile { path: Some(path), file })
    }

    /// A path that opens the same file.
    fn reopen_path(&self) -> PathBuf {
        let by_number = || format!("/proc/self/fd/{}", self.file.as_raw_fd()).into();
        self.path.clone().unwrap_or_else(by_number)
    }

    /// Dropping it afterwards finds nothing any more.
    fn remove(self) -> io::Result<()> {
        self.unlink()
    }

    /// Only if the name still leads to the file that was made.
    fn unlink(&self) -> io::Result<()> {
        let Some(path) = &self.path else { return Ok(()) };
        let (there, made) = (std::fs::symlink_metadata(path)?, self.file.metadata()?);
        match (there.dev(), there.ino()) == (made.dev(), made.ino()) {
            true => std::fs::remove_file(path),
            false => Ok(()),
        }
    }
}

impl Drop for OwnFile {
    fn drop(&mut self) {
        // After `remove` there is nothing; after an error that error is what counts.
        let _ = self.unlink();
    }
}

/// Opens `path`, which exists, and tries. `writable`: it is the probe's own and empty.
fn try_file(path: &Path, writable: bool) -> Result<Trial, Errno> {
    let open = |flags: i32| {
        // A data file may be a link, and a file without a name is opened by one of the kernel's.
        // A named one of the probe's own is not: its folder may be anybody's.
        let own_name = writable && !path.starts_with("/proc/self/fd");
        let flags = if own_name { flags | libc::O_NOFOLLOW } else { flags };
        OpenOptions::new().read(true).write(writable).custom_flags(flags).open(path)
    };
    let mut pool = BufferPool::new(1, 2 * PAGE_BYTES, false).map_err(errno_of)?;
    let mut buffer = pool.take().ok_or(Errno::ENOMEM)?;
    let (file, accepted) = match open(libc::O_DIRECT) {
        Ok(file) => (file, true),
        Err(e) if e.raw_os_error() == Some(libc::EINVAL) => (open(0).map_err(errno_of)?, false),
        Err(e) => return Err(errno_of(e)),
    };
    let mut trial = Trial { accepted, ..Trial::default() };
    let counts = |before: Option<IoCounters>, count: fn(IoCounters) -> u64| {
        let (before, after) = (before?, thread_io()?);
        accepted.then_some(count(after) > count(before))
    };
    if writable {
        let before = thread_io();
        pwrite(&file, &buffer.as_slice()[..2 * PAGE_BYTES], 0)?;
        trial.counts_writes = counts(before, |io| io.write_bytes);
    }
    let before = thread_io();
    pread(&file, &mut buffer.as_mut_slice()[..PAGE_BYTES], 0)?;
    trial.counts_reads = counts(before, |io| io.read_bytes);
    trial.misaligned = misaligned_read(&file, &mut buffer);
    trial.offset_alignment =
        file_facts(file.as_raw_fd()).map_err(Errno::from_raw)?.dio.map(|(_, offset)| offset);
    Ok(trial)
}

/// What a misaligned read ends with. Where it is served through the page cache, it must not leave
/// pages there that a later look would find.
fn misaligned_read(file: &File, buffer: &mut IoBuffer) -> Option<Errno> {
    let _ = posix_fadvise(file, 0, 0, PosixFadviseAdvice::POSIX_FADV_RANDOM);
    let error = pread(file, &mut buffer.as_mut_slice()[..PAGE_BYTES], MISALIGNED).err();
    let two_pages = 2 * PAGE_BYTES as i64;
    let _ = posix_fadvise(file, 0, two_pages, PosixFadviseAdvice::POSIX_FADV_DONTNEED);
    error
}

/// Puts a trial into words.
fn assess((magic, filesystem): (u64, String), trial: Trial) -> AlignmentProbe {
    let (accepted, memory) = (trial.accepted, is_memory(magic));
    let mut probe = AlignmentProbe {
        memory,
        network: is_network(&filesystem),
        // A read that finds its block in the ARC is answered from there, see zfsprops(7), direct.
        own_cache: filesystem == "zfs",
        accepted,
        enforced: accepted && trial.misaligned == Some(Errno::EINVAL),
        offset_alignment: trial.offset_alignment,
        counts_reads: trial.counts_reads,
        counts_writes: trial.counts_writes,
        verdict: String::new(),
        filesystem,
    };
    let name = &probe.filesystem;
    let mut verdict = if memory {
        format!("{name} is memory: no device, direct I/O means nothing")
    } else if !accepted {
        format!("{name} refuses O_DIRECT: reads use the page cache")
    } else if probe.own_cache {
        format!("{name} may answer from its own cache with O_DIRECT too")
    } else if probe.enforced {
        let alignment =
            probe.offset_alignment.map_or("not stated".into(), |a| format!("{a} bytes"));
        format!("{name} enforces alignment ({alignment}): direct I/O is real")
    } else {
        format!(
            "{name} accepts O_DIRECT but also misaligned reads: this does not prove direct I/O, \
             counters must"
        )
    };
    if !memory && probe.counts_reads == Some(false) {
        verdict.push_str("; the kernel does not count such reads for the process");
    }
    probe.verdict = verdict;
    probe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_leaves_nothing_behind_and_has_a_verdict() {
        let dir = tempfile::tempdir().unwrap();
        let probe = alignment_probe(dir.path()).unwrap();
        assert!(probe.verdict.starts_with(&probe.filesystem), "{}", probe.verdict);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        assert!(alignment_probe(&dir.path().join("absent")).is_err());
    }

    /// Bug: a job killed while it probed left `.rankio-probe-*` beside the checkpoints.
    #[test]
    fn a_probe_that_is_killed_leaves_no_file() {
        let dir = tempfile::tempdir().unwrap();
        let made = OwnFile::new(dir.path()).unwrap();
        if made.path.is_some() {
            eprintln!("skipped: this file system has no files without a name");
            return;
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        let nameless = try_file(&made.reopen_path(), true).unwrap();
        let named = OwnFile::named(dir.path()).unwrap();
        let named = try_file(&named.reopen_path(), true).unwrap();
        assert_eq!(format!("{nameless:?}"), format!("{named:?}"));
    }

    #[test]
    fn a_data_file_is_probed_without_writing_and_gives_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let by_writing = alignment_probe(dir.path()).unwrap();
        for bytes in [2usize, 100, 3 * PAGE_BYTES + 1] {
            let path = dir.path().join("data");
            std::fs::write(&path, vec![7u8; bytes]).unwrap();
            File::open(&path).unwrap().sync_all().unwrap();
            let probe = alignment_probe_of(&path).unwrap();
            assert_eq!(probe.counts_writes, None);
            let same = AlignmentProbe { counts_writes: by_writing.counts_writes, ..probe };
            assert_eq!(same, by_writing, "{bytes} bytes");
            assert_eq!(std::fs::read(&path).unwrap(), vec![7u8; bytes]);
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        std::fs::write(dir.path().join("data"), b"").unwrap();
        let e = alignment_probe_of(&dir.path().join("data")).unwrap_err();
        assert!(e.to_string().contains("too short"), "{e}");
        assert!(alignment_probe_of(&dir.path().join("absent")).is_err());
    }

    #[test]
    fn only_the_file_that_was_made_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let made = OwnFile::named(dir.path()).unwrap();
        let path = made.reopen_path();
        // Another file in its place, a link for example, stays.
        std::fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("elsewhere", &path).unwrap();
        drop(made);
        assert!(path.is_symlink());
        let (a, b) = (OwnFile::named(dir.path()).unwrap(), OwnFile::named(dir.path()).unwrap());
        assert_ne!(a.path, b.path);
        a.remove().unwrap();
    }

    #[test]
    fn words_follow_the_trial() {
        let trial = |misaligned, counts| Trial {
            accepted: true,
            misaligned,
            counts_reads: Some(counts),
            ..Trial::default()
        };
        let probe = |name: &str, misaligned, counts| {
            assess((0xEF53, name.into()), trial(misaligned, counts))
        };
        let ext4 = probe("ext4", Some(Errno::EINVAL), true);
        assert!(ext4.enforced && !ext4.network && ext4.verdict.ends_with("direct I/O is real"));
        let fuse = probe("fuse.sshfs", None, false);
        assert!(!fuse.enforced && fuse.verdict.ends_with("for the process"), "{}", fuse.verdict);
        let zfs = probe("zfs", Some(Errno::EINVAL), true);
        assert!(zfs.own_cache && zfs.verdict.contains("own cache"));
        assert!(probe("nfs", None, true).network);
        // Any other error is no refusal of the alignment.
        assert!(!probe("ext4", Some(Errno::EIO), true).enforced);
    }
}
