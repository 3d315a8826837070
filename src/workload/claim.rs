//! Who is at work in a dataset folder: at most one `datagen` or `clean` at a time.
//!
//! Two generations in one folder would each take the other's unfinished files for leftovers. So a
//! lock file is made before anything else is touched, and rank 0 holds a file lock (flock) on it
//! until the work ends. The kernel drops that lock with the process, so what a killed job leaves is
//! told from a job at work: on the same host the next run takes over. Another host is not believed,
//! because many network file systems keep such locks to one host; there the user has to say, by
//! removing the file, that the holder is gone.

use crate::report::timestamp;
use serde::{Deserialize, Serialize};
use std::fmt::Display;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Name of the lock file in the dataset root.
pub const LOCK: &str = ".rankio-dataset.lock";
/// The work of writing checkpoints, in a folder of theirs.
pub const CHECKPOINT: &str = "checkpoint";
/// A holder that ends while we look makes us look again, a few times.
const TRIES: u32 = 50;
const PAUSE: Duration = Duration::from_millis(20);

/// What the lock file says of its holder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Holder {
    /// `datagen`, `clean`, `object` or [`CHECKPOINT`].
    work: String,
    run: String,
    host: String,
    pub(super) pid: u32,
    /// The kernel's boot: containers of one machine have different host names but share its locks.
    pub(super) boot: String,
    started: String,
}

impl Holder {
    pub(super) fn this_process(work: &str, run: &str) -> Holder {
        Holder {
            work: work.into(),
            run: run.into(),
            host: crate::host::host_name(),
            pid: std::process::id(),
            boot: boot_id(),
            started: timestamp::iso_utc(timestamp::unix_ns_now()),
        }
    }

    /// True if a file lock of `other` would have been seen here.
    fn shares_locks_with(&self, other: &Holder) -> bool {
        let known = |text: &str, with: &str| !text.is_empty() && text == with;
        known(&self.host, &other.host) || known(&self.boot, &other.boot)
    }
}

fn boot_id() -> String {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    text.trim().to_string()
}

/// `datagen g1 on node7 (process 12, since ...)`.
fn describe(holder: Option<&Holder>) -> String {
    let Some(Holder { work, run, host, pid, started, .. }) = holder else {
        return "a rankio that has not said yet who it is".into();
    };
    let space = if run.is_empty() { "" } else { " " };
    format!("{work}{space}{run} on {host} (process {pid}, since {started})")
}

/// The sole right to change a dataset folder; given back when dropped.
#[derive(Debug)]
pub struct Claim {
    file: File,
    path: PathBuf,
}

/// Outcome of one look at the lock file.
enum Look {
    Mine(Claim),
    /// The file went away or changed hands meanwhile.
    Again,
    Refused(String),
}

impl Claim {
    /// True if somebody holds the folder, or died while holding it.
    pub fn is_there(root: &Path) -> bool {
        root.join(LOCK).exists()
    }

    /// Claims the folder `root`, which is made where it is missing, for `work` (`datagen`,
    /// `clean`, [`CHECKPOINT`]) of the run `run` (may be empty).
    ///
    /// # Errors
    /// One line: who holds it and what to do, or why the lock file cannot be made.
    pub fn take(root: &Path, work: &str, run: &str) -> Result<Claim, String> {
        std::fs::create_dir_all(root).map_err(|error| format!("{}: {error}", root.display()))?;
        let holder = Holder::this_process(work, run);
        for _ in 0..TRIES {
            match look(root, &holder)? {
                Look::Mine(claim) => return Ok(claim),
                Look::Again => std::thread::sleep(PAUSE),
                Look::Refused(message) => return Err(message),
            }
        }
        let path = root.join(LOCK);
        Err(format!("{}: changes hands all the time; start one rankio at a time", path.display()))
    }

    /// Writes down who holds it.
    fn sign(mut self, holder: &Holder) -> Result<Claim, String> {
        let text = serde_json::to_string_pretty(holder).expect("a holder is plain data");
        let written = self
            .file
            .set_len(0)
            .and_then(|()| self.file.rewind())
            .and_then(|()| self.file.write_all(text.as_bytes()))
            .and_then(|()| self.file.sync_all());
        written.map_err(|error| format!("{}: {error}", self.path.display()))?;
        Ok(self)
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        // Before the file lock goes, so that nobody can hold a file that has no name. One that
        // somebody removed and made again is theirs.
        if names(&self.path, &self.file) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn look(root: &Path, holder: &Holder) -> Result<Look, String> {
    let path = root.join(LOCK);
    let failed = |error: std::io::Error| format!("{}: {error}", path.display());
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    let (mut file, made) = match options.clone().create_new(true).open(&path) {
        Ok(file) => (file, true),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => match options.open(&path) {
            Ok(file) => (file, false),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Look::Again),
            Err(error) => return Err(failed(error)),
        },
        Err(error) => return Err(failed(error)),
    };
    let locked = match try_lock(&file, made) {
        Ok(locked) => locked,
        Err(TryLockError::WouldBlock) => {
            let found = read(&mut file);
            let option = if holder.work == CHECKPOINT { "--checkpoint-dir" } else { "--data-dir" };
            return Ok(Look::Refused(at_work(root.display(), found.as_ref(), option)));
        }
        Err(TryLockError::Error(error)) => {
            if made {
                let _ = std::fs::remove_file(&path);
            }
            return Err(failed(error));
        }
    };
    if locked && !names(&path, &file) {
        return Ok(Look::Again);
    }
    if !made {
        let found = read(&mut file);
        let stale = locked && found.as_ref().is_some_and(|found| found.shares_locks_with(holder));
        if !stale {
            return Ok(Look::Refused(unknown(root.display(), found.as_ref())));
        }
    }
    Claim { file, path }.sign(holder).map(Look::Mine)
}

/// Takes the file lock; false where the file system has none, so that only the name protects.
fn try_lock(file: &File, made: bool) -> Result<bool, TryLockError> {
    let mut tries = 0;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(true),
            // Who finds our file before it is locked looks into it, and leaves it because it is
            // empty.
            Err(TryLockError::WouldBlock) if made && tries < TRIES => tries += 1,
            Err(TryLockError::Error(error)) if has_no_locks(&error) => return Ok(false),
            Err(error) => return Err(error),
        }
        std::thread::sleep(PAUSE);
    }
}

fn has_no_locks(error: &std::io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EOPNOTSUPP | libc::ENOLCK))
}

fn names(path: &Path, file: &File) -> bool {
    let (Ok(named), Ok(held)) = (std::fs::metadata(path), file.metadata()) else { return false };
    (named.dev(), named.ino()) == (held.dev(), held.ino())
}

fn read(file: &mut File) -> Option<Holder> {
    let mut text = String::new();
    file.read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}

/// Who is at work in `root`, and what to do; `option` names another root.
pub(super) fn at_work(root: impl Display, holder: Option<&Holder>, option: &str) -> String {
    format!(
        "{root}: {} is at work there; wait until it ends, end it, or give another {option}",
        describe(holder)
    )
}

/// Who holds `root`, where it cannot be seen whether he still does.
pub(super) fn unknown(root: impl Display, holder: Option<&Holder>) -> String {
    format!(
        "{root}: claimed by {}, and from here it cannot be seen whether it still runs; if it does \
         not, remove {root}/{LOCK}",
        describe(holder),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lock_text(root: &Path) -> Holder {
        serde_json::from_str(&std::fs::read_to_string(root.join(LOCK)).unwrap()).unwrap()
    }

    fn leave(root: &Path, host: &str, boot: &str) {
        let holder = Holder { host: host.into(), boot: boot.into(), ..dead() };
        std::fs::write(root.join(LOCK), serde_json::to_string(&holder).unwrap()).unwrap();
    }

    fn dead() -> Holder {
        Holder { pid: 1, started: "then".into(), ..Holder::this_process("datagen", "old") }
    }

    #[test]
    fn a_folder_is_claimed_once_and_given_back() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("new");
        let claim = Claim::take(&root, "datagen", "g1").unwrap();
        let holder = lock_text(&root);
        assert_eq!((holder.work.as_str(), holder.run.as_str()), ("datagen", "g1"));
        let said = Claim::take(&root, "clean", "").unwrap_err();
        for part in ["datagen g1", &holder.host, &holder.pid.to_string(), &holder.started] {
            assert!(said.contains(part), "{said}");
        }
        assert!(said.contains("--data-dir") && !said.contains('\n'), "{said}");
        assert_eq!(lock_text(&root), holder, "who was refused changed nothing");
        drop(claim);
        assert!(!Claim::is_there(&root));
        Claim::take(&root, "clean", "").unwrap();
    }

    #[test]
    fn what_a_dead_process_of_this_host_left_is_taken_over() {
        let dir = tempfile::tempdir().unwrap();
        let own = dead();
        for (host, boot) in [(own.host.as_str(), "before"), ("container", own.boot.as_str())] {
            leave(dir.path(), host, boot);
            let _claim = Claim::take(dir.path(), "datagen", "g2").unwrap();
            assert_eq!(lock_text(dir.path()).run, "g2");
        }
    }

    #[test]
    fn what_another_host_left_is_refused_with_the_remedy() {
        let dir = tempfile::tempdir().unwrap();
        leave(dir.path(), "elsewhere", "another boot");
        let said = Claim::take(dir.path(), "datagen", "g2").unwrap_err();
        let path = dir.path().join(LOCK);
        for part in ["elsewhere", "datagen old", "process 1", &path.display().to_string()] {
            assert!(said.contains(part), "{said}");
        }
        assert_eq!(lock_text(dir.path()).host, "elsewhere", "left as it was");
        std::fs::remove_file(&path).unwrap();
        Claim::take(dir.path(), "datagen", "g2").unwrap();
    }

    #[test]
    fn an_empty_lock_file_is_not_believed_to_be_stale() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(LOCK), "").unwrap();
        let said = Claim::take(dir.path(), "datagen", "").unwrap_err();
        assert!(said.contains("not said yet") && said.contains("remove"), "{said}");
    }

    #[test]
    fn a_lock_file_that_was_replaced_is_not_removed() {
        let dir = tempfile::tempdir().unwrap();
        let claim = Claim::take(dir.path(), "datagen", "g1").unwrap();
        std::fs::remove_file(dir.path().join(LOCK)).unwrap();
        let second = Claim::take(dir.path(), "datagen", "g2").unwrap();
        drop(claim);
        assert_eq!(lock_text(dir.path()).run, "g2");
        drop(second);
    }

    #[test]
    fn of_many_at_once_exactly_one_holds_the_folder() {
        let dir = tempfile::tempdir().unwrap();
        for _ in 0..20 {
            let start = std::sync::Barrier::new(8);
            let claims: Vec<_> = std::thread::scope(|scope| {
                let take = || {
                    start.wait();
                    Claim::take(dir.path(), "datagen", "g")
                };
                let handles: Vec<_> = (0..8).map(|_| scope.spawn(take)).collect();
                handles.into_iter().map(|handle| handle.join().unwrap()).collect()
            });
            assert_eq!(claims.iter().filter(|claim| claim.is_ok()).count(), 1, "{claims:?}");
        }
    }
}
