//! Which file system and device stand behind a path, from `/proc/self/mountinfo`.

use super::{paths, read};
use std::path::{Path, PathBuf};

/// What is mounted where a path lies.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Mounted {
    /// Type as the kernel names it: `ext4`, `nfs4`, `lustre`, `fuse.sshfs`.
    pub filesystem: String,
    /// Source of the mount: a device, an export, or a word such as `tmpfs`.
    pub device: String,
    /// `major:minor` of the mount, which names the entry in `/sys/dev/block`.
    pub device_number: String,
}

/// The mount that holds `path`; None if the path cannot be resolved or no mount covers it.
pub fn of_path(path: &Path) -> Option<Mounted> {
    let resolved = paths::resolve(path).ok()?;
    let mut mounted = covering(&read("/proc/self/mountinfo"), &resolved)?;
    // The root disk is often listed under a name that does not exist as a file.
    if mounted.device == "/dev/root"
        && let Some(name) = block_device_name(&mounted.device_number)
    {
        mounted.device = format!("/dev/{name}");
    }
    Some(mounted)
}

fn block_device_name(number: &str) -> Option<String> {
    let uevent = read(&format!("/sys/dev/block/{number}/uevent"));
    uevent.lines().find_map(|line| line.strip_prefix("DEVNAME=")).map(str::to_string)
}

/// The entry with the longest mount point above `path`. Of several at one point the last counts: it
/// hides the others.
fn covering(mountinfo: &str, path: &Path) -> Option<Mounted> {
    let mut best: Option<(usize, Mounted)> = None;
    for (point, mounted) in mountinfo.lines().filter_map(parse_line) {
        let depth = point.components().count();
        if path.starts_with(&point) && best.as_ref().is_none_or(|(d, _)| depth >= *d) {
            best = Some((depth, mounted));
        }
    }
    best.map(|(_, mounted)| mounted)
}

/// One line: `id parent major:minor root point options [tags] - type source superoptions`.
fn parse_line(line: &str) -> Option<(PathBuf, Mounted)> {
    let (left, right) = line.split_once(" - ")?;
    let mut left = left.split(' ').skip(2);
    let device_number = left.next()?.to_string();
    let point = PathBuf::from(unescape(left.nth(1)?));
    let mut right = right.split(' ');
    let filesystem = right.next()?.to_string();
    let device = unescape(right.next()?);
    Some((point, Mounted { filesystem, device, device_number }))
}

/// The kernel writes space, tab, newline and backslash as three octal digits.
fn unescape(field: &str) -> String {
    let bytes = field.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let octal = field
            .get(at + 1..at + 4)
            .filter(|_| bytes[at] == b'\\')
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        out.push(octal.unwrap_or(bytes[at]));
        at += if octal.is_some() { 4 } else { 1 };
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard
30 24 0:27 / /dev/shm rw,relatime shared:4 - tmpfs shm rw,size=24684084k
40 27 0:50 / /mnt rw - tmpfs hidden rw
41 27 8:17 / /mnt rw,noatime shared:1 master:2 - xfs /dev/sdb1 rw
42 41 0:60 /export /mnt/my\\040data rw - nfs4 server:/a\\134b rw,vers=4.2
";

    fn at(path: &str) -> (String, String) {
        let m = covering(TABLE, Path::new(path)).unwrap();
        (m.filesystem, m.device)
    }

    #[test]
    fn longest_mount_point_wins() {
        assert_eq!(at("/srv/data"), ("ext4".into(), "/dev/vda".into()));
        assert_eq!(at("/dev/shm/x"), ("tmpfs".into(), "shm".into()));
        assert_eq!(at("/mnt/my data/set"), ("nfs4".into(), "server:/a\\b".into()));
    }

    #[test]
    fn a_later_mount_hides_an_earlier_one() {
        assert_eq!(at("/mnt/x"), ("xfs".into(), "/dev/sdb1".into()));
    }

    #[test]
    fn a_name_that_only_begins_alike_is_another_folder() {
        assert_eq!(at("/mnt2"), ("ext4".into(), "/dev/vda".into()));
    }

    #[test]
    fn damaged_lines_are_left_out() {
        assert_eq!(parse_line("27 1 254:0 / /"), None);
        assert_eq!(parse_line("27 1 254:0 - ext4 /dev/vda"), None);
        assert_eq!(covering("", Path::new("/")), None);
        assert_eq!(unescape("end\\04"), "end\\04");
    }

    #[test]
    fn a_path_that_does_not_exist_yet_has_its_parents_mount() {
        let dir = tempfile::tempdir().unwrap();
        let here = of_path(dir.path()).unwrap();
        assert_eq!(of_path(&dir.path().join("not/yet/there")).unwrap(), here);
        assert!(!here.filesystem.is_empty());
    }

    #[test]
    fn a_symlink_is_followed() {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("link");
        std::os::unix::fs::symlink("/proc", &link).unwrap();
        assert_eq!(of_path(&link.join("self")).unwrap().filesystem, "proc");
    }
}
