//! The mount that holds a path, by the identifier the kernel gives, and which kinds of file system
//! are a server's or keep a cache of their own.

use crate::storage::filesystem::{magic_of, name_of};
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Type and source of a mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mount {
    /// As the kernel names it: `ext4`, `nfs4`, `fuse.sshfs`.
    pub kind: String,
    /// A device, an export, or any word.
    pub source: PathBuf,
}

/// The mount of `path`, which must exist. None before Linux 5.8 or without /proc.
pub(super) fn mount_of(path: &Path) -> Option<Mount> {
    let path = std::ffi::CString::new(path.as_os_str().as_bytes()).ok()?;
    let mut stat = MaybeUninit::<libc::statx>::zeroed();
    // SAFETY: the path is a C string and `stat` is valid for writes.
    let status = unsafe {
        libc::statx(libc::AT_FDCWD, path.as_ptr(), 0, libc::STATX_MNT_ID, stat.as_mut_ptr())
    };
    if status != 0 {
        return None;
    }
    // SAFETY: zeroed at first and filled by the call; every field is an integer.
    let stat = unsafe { stat.assume_init() };
    if stat.stx_mask & libc::STATX_MNT_ID == 0 {
        return None;
    }
    parse_mountinfo(&std::fs::read_to_string("/proc/self/mountinfo").ok()?, stat.stx_mnt_id)
}

/// `id parent major:minor root point options [tags] - type source superoptions`, see proc(5).
fn parse_mountinfo(text: &str, id: u64) -> Option<Mount> {
    let id = id.to_string();
    let line = text.lines().find(|line| line.split(' ').next() == Some(&id))?;
    let mut right = line.split_once(" - ")?.1.split(' ');
    let kind = right.next()?.to_string();
    Some(Mount { kind, source: PathBuf::from(right.next()?) })
}

/// Name of the file system that holds `path`: by its magic number, and by its mount where that
/// says more (everything in user space shares one number).
pub(super) fn filesystem_of(path: &Path) -> Option<(u64, String)> {
    let magic = magic_of(&nix::sys::statfs::statfs(path).ok()?);
    let name = name_of(magic);
    let vague = name == "fuse" || name.contains(' ');
    let mount = if vague { mount_of(path) } else { None };
    Some((magic, mount.map_or(name, |mount| mount.kind)))
}

/// File systems whose data lies on servers, by the names of [`filesystem_of`].
pub(super) fn is_network(name: &str) -> bool {
    const NETWORK: &[&str] = &[
        "nfs", "nfs4", "cifs", "smb2", "smb3", "lustre", "gpfs", "ceph", "beegfs", "9p", "pvfs2",
        "afs", "panfs", "wekafs", "quobyte",
    ];
    NETWORK.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_is_found_by_its_identifier() {
        let text = "22 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n\
                    222 22 0:44 / /mnt/s rw shared:5 - fuse.sshfs host:/x rw,user_id=0\n";
        let mount = parse_mountinfo(text, 222).unwrap();
        assert_eq!(
            (mount.kind.as_str(), mount.source.to_str().unwrap()),
            ("fuse.sshfs", "host:/x")
        );
        assert_eq!(parse_mountinfo(text, 2), None);
    }

    #[test]
    fn a_vague_magic_number_is_named_by_the_mount() {
        assert_eq!(filesystem_of(Path::new("/proc")).unwrap().1, "proc");
        assert!(is_network("lustre") && !is_network("zfs") && !is_network("fuse.sshfs"));
    }
}
