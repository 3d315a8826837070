//! The folder that a file store lives in: names to paths, and everything that is done to names.
//!
//! A rename is durable only when the folder is synced too; so is a new folder in its parent.

use crate::storage::{Stat, StorageError};
use nix::errno::Errno;
use nix::fcntl::{RenameFlags, renameat2};
use std::fs::{self, File};
use std::io;
use std::path::{Component, Path, PathBuf};

/// errno of an I/O error; EIO where the library made it up.
pub(super) fn errno_of(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or(Errno::EIO as i32)
}

/// The root folder; it need not exist until something is created in it.
#[derive(Debug, Clone)]
pub(super) struct Root {
    path: PathBuf,
}

impl Root {
    /// `path` may be relative to the working directory.
    pub fn new(path: &Path) -> Result<Root, StorageError> {
        let absolute = std::path::absolute(path)
            .map_err(|e| StorageError::system("connect", path, None, errno_of(&e)))?;
        Ok(Root { path: absolute })
    }

    /// Absolute path of the root.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Absolute path of a name, which may not leave the root.
    pub fn resolve(&self, op: &'static str, name: &str) -> Result<PathBuf, StorageError> {
        let inside = !name.is_empty()
            && Path::new(name).components().all(|c| matches!(c, Component::Normal(_)));
        if !inside {
            let what = format!("`{name}` is not a name inside this folder");
            return Err(StorageError::own(op, &self.path, what));
        }
        Ok(self.path.join(name))
    }

    /// Absolute path of a name that is to be made, moved or removed: no folder on its way below
    /// the root may be a symbolic link, since what lies behind one is not this root's. A link in
    /// last place is allowed: creating refuses it, renaming and removing act on the link itself.
    pub fn resolve_own(&self, op: &'static str, name: &str) -> Result<PathBuf, StorageError> {
        let path = self.resolve(op, name)?;
        let below = path.ancestors().skip(1).take_while(|folder| *folder != self.path);
        for folder in below {
            match fs::symlink_metadata(folder) {
                Ok(meta) if meta.is_symlink() => {
                    let what = format!(
                        "{} is a symbolic link, and nothing is changed behind links: name the \
                         folder it points to as the root, or put a real folder in its place",
                        folder.display()
                    );
                    return Err(StorageError::own(op, &path, what));
                }
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(e) => return Err(StorageError::system(op, folder, None, errno_of(&e))),
            }
        }
        Ok(path)
    }

    /// Makes the folders above `path`, each synced into its parent.
    pub fn make_parents(&self, path: &Path) -> Result<(), StorageError> {
        let Some(parent) = path.parent() else { return Ok(()) };
        let missing: Vec<&Path> = parent.ancestors().take_while(|p| !p.exists()).collect();
        fs::create_dir_all(parent)
            .map_err(|e| StorageError::system("create folder", parent, None, errno_of(&e)))?;
        missing.iter().rev().filter_map(|made| made.parent()).try_for_each(sync_folder)
    }

    /// Size of a name.
    pub fn stat(&self, name: &str) -> Result<Option<Stat>, StorageError> {
        let path = self.resolve("stat", name)?;
        match fs::metadata(&path) {
            Ok(meta) => Ok(Some(Stat { size_bytes: meta.len() })),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(StorageError::system("stat", &path, None, errno_of(&e))),
        }
    }

    /// Moves `from` over `to`, making folders as needed.
    pub fn rename(&self, from: &str, to: &str) -> Result<(), StorageError> {
        let source = self.resolve_own("rename", from)?;
        let target = self.resolve_own("rename", to)?;
        let fail = |e: io::Error| {
            let mut error = StorageError::system("rename", &source, None, errno_of(&e));
            error.what = format!("to {}: {}", target.display(), error.what);
            error
        };
        if let Err(e) = fs::rename(&source, &target) {
            if e.kind() != io::ErrorKind::NotFound || !source.exists() {
                return Err(fail(e));
            }
            self.make_parents(&target)?;
            fs::rename(&source, &target).map_err(fail)?;
        }
        Ok(())
    }

    /// Swaps two names; false where the file system cannot (EINVAL, ENOSYS).
    pub fn exchange(&self, one: &str, other: &str) -> Result<bool, StorageError> {
        let source = self.resolve_own("exchange", one)?;
        let target = self.resolve_own("exchange", other)?;
        let here = nix::fcntl::AT_FDCWD;
        let flags = RenameFlags::RENAME_EXCHANGE;
        match renameat2(here, &source, here, &target, flags) {
            Ok(()) => Ok(true),
            Err(Errno::EINVAL | Errno::ENOSYS | Errno::EOPNOTSUPP) => Ok(false),
            Err(e) => {
                let mut error = StorageError::system("exchange", &source, None, e as i32);
                error.what = format!("with {}: {}", target.display(), error.what);
                Err(error)
            }
        }
    }

    /// Makes a folder and those above it.
    pub fn make_folder(&self, folder: &str) -> Result<(), StorageError> {
        let path = self.resolve_own("create folder", folder)?;
        self.make_parents(&path)?;
        match fs::create_dir(&path) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => {
                Err(StorageError::system("create folder", &path, None, errno_of(&e)))
            }
            _ => Ok(()),
        }
    }

    /// Removes an empty folder.
    pub fn remove_folder(&self, folder: &str) -> Result<(), StorageError> {
        let path = self.resolve_own("remove folder", folder)?;
        fs::remove_dir(&path)
            .map_err(|e| StorageError::system("remove folder", &path, None, errno_of(&e)))
    }

    /// Visits the names in a folder; a name that is not text is left out, for it is not ours.
    pub fn list(
        &self,
        folder: &str,
        visit: &mut dyn FnMut(&str, bool),
    ) -> Result<(), StorageError> {
        let path = match folder {
            "" => self.path().to_path_buf(),
            _ => self.resolve("list", folder)?,
        };
        let fail = |e: io::Error| StorageError::system("list", &path, None, errno_of(&e));
        let entries = match fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(e) => return Err(fail(e)),
        };
        for entry in entries {
            let entry = entry.map_err(fail)?;
            let is_folder = entry.file_type().map_err(fail)?.is_dir();
            if let Some(name) = entry.file_name().to_str() {
                visit(name, is_folder);
            }
        }
        Ok(())
    }

    /// Makes the names in a folder durable.
    pub fn sync_folder(&self, folder: &str) -> Result<(), StorageError> {
        let path = match folder {
            "" => self.path().to_path_buf(),
            _ => self.resolve("sync folder", folder)?,
        };
        match path.is_dir() {
            true => sync_folder(&path),
            false => Ok(()),
        }
    }

    /// Removes a file.
    pub fn remove(&self, name: &str) -> Result<(), StorageError> {
        let path = self.resolve_own("remove", name)?;
        fs::remove_file(&path)
            .map_err(|e| StorageError::system("remove", &path, None, errno_of(&e)))
    }
}

/// fsync of a folder; file systems that cannot (EINVAL) are as durable as they get.
fn sync_folder(path: &Path) -> Result<(), StorageError> {
    let synced = File::open(path).and_then(|folder| folder.sync_all());
    match synced {
        Err(e) if e.raw_os_error() != Some(libc::EINVAL) => {
            Err(StorageError::system("sync folder", path, None, errno_of(&e)))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_inside() {
        let root = Root::new(Path::new("some/where")).unwrap();
        assert!(root.path().is_absolute());
        assert!(root.resolve("open", "train/a.npz").unwrap().ends_with("some/where/train/a.npz"));
        for bad in ["", "/etc/passwd", "../x", "a/../../x", "."] {
            assert!(root.resolve("open", bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn rename_makes_folders_replaces_and_reports_what_is_missing() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::new(dir.path()).unwrap();
        fs::write(dir.path().join("a"), b"new").unwrap();
        root.rename("a", "deep/er/b").unwrap();
        assert_eq!(fs::read(dir.path().join("deep/er/b")).unwrap(), b"new");
        fs::write(dir.path().join("a"), b"newer").unwrap();
        root.rename("a", "deep/er/b").unwrap();
        assert_eq!(root.stat("deep/er/b").unwrap(), Some(Stat { size_bytes: 5 }));
        let e = root.rename("a", "deep/er/b").unwrap_err();
        assert!(e.to_string().contains("/a: to ") && e.errno == libc::ENOENT, "{e}");
        root.remove("deep/er/b").unwrap();
        assert_eq!(root.stat("deep/er/b").unwrap(), None);
        root.sync_folder("deep/er").unwrap();
        root.sync_folder("").unwrap();
        root.sync_folder("absent").unwrap();
        assert_eq!(root.remove("deep/er/b").unwrap_err().errno, libc::ENOENT);
    }

    #[test]
    fn nothing_is_changed_behind_a_linked_folder_but_it_can_be_read() {
        let dir = tempfile::tempdir().unwrap();
        let other = dir.path().join("other");
        fs::create_dir_all(other.join("train")).unwrap();
        fs::write(other.join("train/f"), b"foreign").unwrap();
        let real = dir.path().join("real");
        fs::create_dir(&real).unwrap();
        std::os::unix::fs::symlink("../other/train", real.join("train")).unwrap();
        // The root itself may be a link.
        let linked = dir.path().join("linked");
        std::os::unix::fs::symlink(&real, &linked).unwrap();
        for root in [Root::new(&real).unwrap(), Root::new(&linked).unwrap()] {
            assert_eq!(root.stat("train/f").unwrap(), Some(Stat { size_bytes: 7 }));
            let e = root.remove("train/f").unwrap_err();
            assert!(e.to_string().contains("train is a symbolic link"), "{e}");
            assert!(root.rename("train/f", "f").is_err());
            fs::write(real.join("own"), b"own").unwrap();
            assert!(root.rename("own", "train/f").is_err());
            assert!(root.resolve_own("create", "train/sub/new").is_err());
            assert!(root.resolve_own("create", "valid/sub/new").is_ok());
            // A link in last place goes, what it names stays.
            std::os::unix::fs::symlink(other.join("train/f"), real.join("link")).unwrap();
            root.remove("link").unwrap();
            root.remove("own").unwrap();
            assert_eq!(fs::read(other.join("train/f")).unwrap(), b"foreign");
        }
    }
}
