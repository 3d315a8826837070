//! The mount that holds a path, by the identifier the kernel gives, and which kinds of file system
//! are a server's or keep a cache of their own.

use crate::storage::filesystem::{magic_of, name_of};
use std::ffi::OsString;
use std::mem::MaybeUninit;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// A mount as the kernel lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mount {
    /// As the kernel names it: `ext4`, `nfs4`, `fuse.sshfs`.
    pub kind: String,
    /// A device, an export, or any word.
    pub source: PathBuf,
    /// Folder of the file system that is mounted.
    root: PathBuf,
    /// Where it is mounted.
    point: PathBuf,
    /// Options of the file system, as they stand.
    options: String,
}

impl Mount {
    /// Where the layers of an overlay hold `path`, which lies in this mount: of each layer that has
    /// it. None at all if a layer cannot be seen from here, as those of a container: what is in it
    /// is not known.
    pub(super) fn in_layers(&self, path: &Path) -> Vec<PathBuf> {
        let Ok(below) = path.strip_prefix(&self.point) else { return Vec::new() };
        let root = self.root.strip_prefix("/").unwrap_or(&self.root);
        let layers = layers_of(&self.options);
        if !layers.iter().all(|layer| layer.is_absolute() && layer.is_dir()) {
            return Vec::new();
        }
        let inside = layers.into_iter().map(|layer| layer.join(root).join(below));
        inside.filter(|path| path.exists()).collect()
    }
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
    let (left, right) = line.split_once(" - ")?;
    let path = |word: &str| PathBuf::from(OsString::from_vec(unescape(word)));
    let mut left = left.split(' ').skip(3);
    let (root, point) = (path(left.next()?), path(left.next()?));
    let mut right = right.split(' ');
    let (kind, source) = (right.next()?.to_string(), path(right.next()?));
    Some(Mount { kind, source, root, point, options: right.next().unwrap_or_default().into() })
}

/// Blanks, commas and the like stand as a backslash and three octal digits.
fn unescape(word: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(word.len());
    let mut rest = word.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let digits = tail.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        let code = digits.and_then(|digits| u8::from_str_radix(digits, 8).ok());
        let code = code.filter(|_| first == b'\\');
        bytes.push(code.unwrap_or(first));
        rest = if code.is_some() { &tail[3..] } else { tail };
    }
    bytes
}

/// The folders that an overlay lies over: `lowerdir=A:B,upperdir=C`, a colon in a name behind a
/// backslash; since Linux 6.8 also `lowerdir+=A` for one folder.
fn layers_of(options: &str) -> Vec<PathBuf> {
    let mut layers = Vec::new();
    let mut push = |bytes: &mut Vec<u8>| {
        if !bytes.is_empty() {
            layers.push(PathBuf::from(OsString::from_vec(std::mem::take(bytes))));
        }
    };
    for (key, value) in options.split(',').filter_map(|option| option.split_once('=')) {
        let mut value = unescape(value);
        if key != "lowerdir" {
            if ["upperdir", "lowerdir+", "datadir+"].contains(&key) {
                push(&mut value);
            }
            continue;
        }
        let (mut layer, mut escaped) = (Vec::new(), false);
        for byte in value {
            match byte {
                b'\\' if !escaped => escaped = true,
                b':' if !escaped => push(&mut layer),
                _ => {
                    layer.push(byte);
                    escaped = false;
                }
            }
        }
        push(&mut layer);
    }
    layers
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
    fn layers_of_an_overlay_are_read_from_its_options() {
        let options = "rw,lowerdir=/a\\040b:/c\\134:d:/e,upperdir=/u\\054v,workdir=/w,xino=off";
        let layers: Vec<PathBuf> = ["/a b", "/c:d", "/e", "/u,v"].map(PathBuf::from).into();
        assert_eq!(layers_of(options), layers);
        let single = layers_of("rw,lowerdir+=/a:b,datadir+=/d,upperdir=/u");
        assert_eq!(single, ["/a:b", "/d", "/u"].map(PathBuf::from));
        assert_eq!(layers_of("rw,size=4k"), Vec::<PathBuf>::new());
    }

    #[test]
    fn a_path_is_found_in_the_layers_that_hold_it() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::create_dir_all(at("lower/data")).unwrap();
        std::fs::create_dir_all(at("upper")).unwrap();
        let at_text = |name: &str| at(name).display().to_string();
        let text = format!(
            "7 1 0:44 / /mnt/o rw - overlay overlay rw,lowerdir={},upperdir={}\n",
            at_text("lower"),
            at_text("upper")
        );
        let mount = parse_mountinfo(&text, 7).unwrap();
        assert_eq!(mount.in_layers(Path::new("/mnt/o/data")), [at("lower/data")]);
        assert_eq!(mount.in_layers(Path::new("/mnt/o")).len(), 2);
        assert_eq!(mount.in_layers(Path::new("/elsewhere")), Vec::<PathBuf>::new());
        for unseen in ["relative", "/not/there"] {
            let text = text.replace("lowerdir=", &format!("lowerdir={unseen}:"));
            let mount = parse_mountinfo(&text, 7).unwrap();
            assert_eq!(mount.in_layers(Path::new("/mnt/o/data")), Vec::<PathBuf>::new());
        }
    }

    #[test]
    fn a_vague_magic_number_is_named_by_the_mount() {
        assert_eq!(filesystem_of(Path::new("/proc")).unwrap().1, "proc");
        assert!(is_network("lustre") && !is_network("zfs") && !is_network("fuse.sshfs"));
    }
}
