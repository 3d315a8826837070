//! Makes [`StorageError`]s: the system's words and, where there is one, what to do about it.

use super::StorageError;
use std::path::Path;

/// ` at offset N`, or nothing.
pub(super) fn at_offset(offset: &Option<u64>) -> String {
    offset.map(|o| format!(" at offset {o}")).unwrap_or_default()
}

/// What helps against an errno during `op`; empty where nothing general can be said.
fn remedy(op: &str, errno: i32) -> &'static str {
    match (op, errno) {
        (_, libc::ENOSPC) => ": free space or choose another --data-dir",
        (_, libc::EDQUOT) => ": raise the quota or choose another --data-dir",
        (_, libc::EACCES) => ": check the owner and mode of the path and of its folders",
        (_, libc::EPERM) => ": check the owner, mode and attributes of the path",
        (_, libc::EROFS) => ": choose a --data-dir that is mounted for writing",
        (_, libc::EMFILE) => ": raise `ulimit -n` or lower reader.read_threads",
        (_, libc::ENFILE) => ": raise the sysctl fs.file-max",
        ("open", libc::ENOENT) => ": run `rankio datagen` first, or check --data-dir",
        ("create", libc::EEXIST) => ": remove it (`rankio clean`) or choose another --data-dir",
        (_, libc::ENOTDIR) => ": a part of this path is a file",
        (_, libc::EIO) => ": the device or file system failed, see `dmesg`",
        (_, libc::ESTALE) => ": the file system was changed by another host, mount it again",
        (_, libc::ENAMETOOLONG) => ": shorten dataset.file_prefix or --data-dir",
        _ => "",
    }
}

impl StorageError {
    /// From an errno; `path` should be absolute.
    pub(crate) fn system(op: &'static str, path: &Path, offset: Option<u64>, errno: i32) -> Self {
        let words = std::io::Error::from_raw_os_error(errno);
        let what = format!("{words}{}", remedy(op, errno));
        StorageError { op, path: path.display().to_string(), offset, what, errno }
    }

    /// From our own words, with no errno.
    pub(crate) fn own(op: &'static str, path: &Path, what: impl Into<String>) -> Self {
        let path = path.display().to_string();
        StorageError { op, path, offset: None, what: what.into(), errno: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_names_operation_path_offset_words_and_remedy() {
        let e = StorageError::system("write", Path::new("/d/f"), Some(4096), libc::ENOSPC);
        let text = e.to_string();
        assert!(text.starts_with("write /d/f at offset 4096: No space left on device"), "{text}");
        assert!(text.ends_with("free space or choose another --data-dir"), "{text}");
        let e = StorageError::system("open", Path::new("/d/f"), None, libc::ENOENT);
        assert!(e.to_string().contains("rankio datagen"), "{e}");
    }

    #[test]
    fn own_words_have_no_offset_and_no_errno() {
        let e = StorageError::own("connect", Path::new("s3://b"), "not available");
        assert_eq!(e.to_string(), "connect s3://b: not available");
        assert_eq!(e.errno, 0);
    }
}
