//! The block devices below a path: their counters, and whether their bytes come from memory.

use super::IoCounters;
use super::mount::{Mount, filesystem_of, mount_of};
use crate::storage::filesystem::is_memory;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Loops over mappings over loops: deeper than anyone stacks on purpose.
const DEPTH: usize = 16;

/// A block device by its numbers.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
pub struct DeviceId {
    /// Major number; 0 for file systems without a block device of their own.
    pub major: u64,
    /// Minor number.
    pub minor: u64,
}

impl DeviceId {
    fn of_number(number: u64) -> DeviceId {
        let (major, minor) = (nix::sys::stat::major(number), nix::sys::stat::minor(number));
        DeviceId { major, minor }
    }

    fn parse(text: &str) -> Option<DeviceId> {
        let (major, minor) = text.trim().split_once(':')?;
        Some(DeviceId { major: major.parse().ok()?, minor: minor.parse().ok()? })
    }

    pub(super) fn folder(self) -> PathBuf {
        format!("/sys/dev/block/{}:{}", self.major, self.minor).into()
    }
}

/// `path`, or its nearest parent that exists.
fn existing(path: &Path) -> Option<PathBuf> {
    let path = std::path::absolute(path).ok()?;
    path.ancestors().find(|path| path.exists()).map(Path::to_path_buf)
}

/// The block devices that hold `path`, or its nearest parent that exists: several for btrfs, those
/// of the layers for overlays, none for tmpfs, NFS and FUSE.
pub fn devices_of(path: &Path) -> Vec<DeviceId> {
    devices_below(path, DEPTH)
}

fn devices_below(path: &Path, depth: usize) -> Vec<DeviceId> {
    let Some(path) = existing(path).filter(|_| depth > 0) else { return Vec::new() };
    let Ok(meta) = fs::metadata(&path) else { return Vec::new() };
    let device = DeviceId::of_number(meta.dev());
    if device.major != 0 {
        return vec![device];
    }
    let Some(mount) = mount_of(&path) else { return Vec::new() };
    if mount.kind == "overlay" {
        let layers = layers_apart(&mount, &path);
        let mut all: Vec<_> = layers.iter().flat_map(|l| devices_below(l, depth - 1)).collect();
        all.sort_unstable();
        all.dedup();
        return all;
    }
    // btrfs gives every subvolume a number of its own; the mount names one of its devices.
    let source = Some(mount.source).filter(|_| mount.kind == "btrfs");
    let Some(meta) = source.and_then(|source| fs::metadata(source).ok()) else { return Vec::new() };
    if !meta.file_type().is_block_device() {
        return Vec::new();
    }
    btrfs_devices(DeviceId::of_number(meta.rdev()))
}

/// Where the layers of an overlay hold `path`, one for each file system: an overlay may have
/// hundreds of layers.
fn layers_apart(mount: &Mount, path: &Path) -> Vec<PathBuf> {
    let mut seen = Vec::new();
    let mut layers = mount.in_layers(path);
    layers.retain(|layer| {
        let Ok(meta) = fs::metadata(layer) else { return false };
        let new = !seen.contains(&meta.dev());
        seen.push(meta.dev());
        new
    });
    layers
}

/// All devices of the btrfs that `member` belongs to (/sys/fs/btrfs/UUID/devices).
fn btrfs_devices(member: DeviceId) -> Vec<DeviceId> {
    let folders = fs::read_dir("/sys/fs/btrfs").into_iter().flatten().flatten();
    for folder in folders {
        let members = fs::read_dir(folder.path().join("devices")).into_iter().flatten().flatten();
        let numbers = members.map(|m| fs::read_to_string(m.path().join("dev")));
        let all: Option<Vec<_>> = numbers.map(|n| DeviceId::parse(&n.ok()?)).collect();
        if let Some(all) = all.filter(|all| all.contains(&member)) {
            return all;
        }
    }
    Vec::new()
}

/// Bytes that the block devices below `path` have moved since boot, for all their users. None
/// for what has no block device (see [`devices_of`]) or no counters.
pub fn device_counters(path: &Path) -> Option<IoCounters> {
    let devices = devices_of(path);
    if devices.is_empty() {
        return None;
    }
    devices.into_iter().try_fold(IoCounters::default(), |sum, device| {
        let one = parse_device_stat(&fs::read_to_string(device.folder().join("stat")).ok()?)?;
        Some(IoCounters {
            read_bytes: sum.read_bytes + one.read_bytes,
            write_bytes: sum.write_bytes + one.write_bytes,
        })
    })
}

/// Fields 3 and 7 of Documentation/block/stat.rst: sectors of 512 bytes, whatever the device has.
fn parse_device_stat(text: &str) -> Option<IoCounters> {
    let mut fields = text.split_whitespace().map(str::parse::<u64>);
    let read = fields.nth(2)?.ok()?;
    let written = fields.nth(3)?.ok()?;
    Some(IoCounters { read_bytes: read * 512, write_bytes: written * 512 })
}

/// Why bytes of `path` come from this host's memory although a block device lies below it, as one
/// sentence without a full stop; None where nothing says so. Partitions, mappings and arrays are
/// followed down, loop devices into the file system of their file, and overlays into the layers
/// that hold the path.
pub fn memory_device(path: &Path) -> Option<String> {
    memory_behind(&existing(path)?, DEPTH)
}

/// The same of a path that exists.
fn memory_behind(path: &Path, depth: usize) -> Option<String> {
    if depth == 0 {
        return None;
    }
    let overlay = mount_of(path).filter(|mount| mount.kind == "overlay");
    if let Some(mount) = overlay {
        return layers_apart(&mount, path).iter().find_map(|layer| {
            let (magic, filesystem) = filesystem_of(layer)?;
            if is_memory(magic) {
                let layer = layer.display();
                return Some(format!(
                    "the overlay's layer {layer} lies in {filesystem}, which is memory"
                ));
            }
            let reason = memory_behind(layer, depth - 1)?;
            Some(format!("the overlay's layer {} lies on a device where {reason}", layer.display()))
        });
    }
    let devices = devices_below(path, depth).into_iter();
    devices.filter_map(|d| d.folder().canonicalize().ok()).find_map(|d| memory_in(&d, depth))
}

/// The same of a device by its folder below /sys/devices.
fn memory_in(folder: &Path, depth: usize) -> Option<String> {
    if depth == 0 {
        return None;
    }
    if folder.join("partition").exists() {
        return memory_in(folder.parent()?, depth - 1);
    }
    let name = folder.file_name()?.to_str()?;
    if let Some(what) = memory_by_name(name) {
        return Some(format!("{name} is {what}"));
    }
    let model = fs::read_to_string(folder.join("device/model")).unwrap_or_default();
    if model.trim() == "scsi_debug" {
        return Some(format!("{name} is a SCSI disk emulated in memory"));
    }
    if let Some(reason) = memory_in_loop(name, &folder.join("loop"), depth) {
        return Some(reason);
    }
    let below = fs::read_dir(folder.join("slaves")).into_iter().flatten().flatten();
    below.filter_map(|link| link.path().canonicalize().ok()).find_map(|device| {
        let reason = memory_in(&device, depth - 1)?;
        Some(format!("{name} lies on a device where {reason}"))
    })
}

/// Drivers that keep their blocks in memory. Persistent memory (pmem) is storage.
fn memory_by_name(name: &str) -> Option<&'static str> {
    let numbered = |driver: &str| {
        let number = name.strip_prefix(driver);
        number.is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
    };
    [
        ("zram", "compressed memory"),
        ("ram", "a RAM disk"),
        ("nullb", "a null device, which keeps its blocks in memory or nowhere"),
    ]
    .into_iter()
    .find_map(|(driver, what)| numbered(driver).then_some(what))
}

fn memory_in_loop(name: &str, folder: &Path, depth: usize) -> Option<String> {
    let file = fs::read_to_string(folder.join("backing_file")).ok()?;
    let file = file.trim_end_matches('\n');
    // The kernel appends this to the name of a file that was removed.
    let path = existing(Path::new(file.strip_suffix(" (deleted)").unwrap_or(file)))?;
    let (magic, filesystem) = filesystem_of(&path)?;
    if is_memory(magic) {
        return Some(format!(
            "{name} is a loop device over {file} in {filesystem}, which is memory"
        ));
    }
    let direct = fs::read_to_string(folder.join("dio")).unwrap_or_default();
    if direct.trim() != "1" {
        return Some(format!(
            "{name} is a loop device that reads {file} through the page cache (dio=0)"
        ));
    }
    let reason = memory_behind(&path, depth - 1)?;
    Some(format!("{name} is a loop device over {file}, and {reason}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_counters_are_parsed() {
        let stat = "  10 0 16 1 20 0 32 4 0 5 6 0 0 0 0\n";
        assert_eq!(
            parse_device_stat(stat),
            Some(IoCounters { read_bytes: 16 * 512, write_bytes: 32 * 512 })
        );
        assert_eq!(parse_device_stat("1 2"), None);
    }

    #[test]
    fn memory_file_systems_have_no_device() {
        if Path::new("/dev/shm").exists() {
            assert_eq!(device_counters(Path::new("/dev/shm/not/there")), None);
            assert_eq!(memory_device(Path::new("/dev/shm/not/there")), None);
        }
    }

    /// A tree as /sys has it: folders with files of one line.
    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        dir
    }

    #[test]
    fn memory_is_found_below_partitions_and_mappings() {
        let sys = tree(&[
            ("zram0/disksize", "1\n"),
            ("zram0/zram0p1/partition", "1\n"),
            ("ram3/size", "1\n"),
            ("pmem0/size", "1\n"),
            ("nvme0n1/size", "1\n"),
            ("sda/device/model", "scsi_debug      \n"),
            ("dm-0/slaves/.keep", ""),
            ("md127/slaves/.keep", ""),
        ]);
        let at = |name: &str| sys.path().canonicalize().unwrap().join(name);
        let link = |from: &str, to: &str| std::os::unix::fs::symlink(at(to), at(from)).unwrap();
        link("dm-0/slaves/nvme0n1", "nvme0n1");
        link("dm-0/slaves/zram0p1", "zram0/zram0p1");
        link("md127/slaves/nvme0n1", "nvme0n1");
        let found = |name: &str| memory_in(&at(name), DEPTH);
        assert_eq!(found("zram0/zram0p1").unwrap(), "zram0 is compressed memory");
        assert_eq!(found("ram3").unwrap(), "ram3 is a RAM disk");
        assert!(found("sda").unwrap().contains("emulated in memory"));
        let reason = found("dm-0").unwrap();
        assert_eq!(reason, "dm-0 lies on a device where zram0 is compressed memory");
        for storage in ["pmem0", "nvme0n1", "md127"] {
            assert_eq!(found(storage), None, "{storage}");
        }
        // A device on itself, which the kernel never shows, ends too.
        link("md127/slaves/md127", "md127");
        assert_eq!(found("md127"), None);
    }

    #[test]
    fn a_loop_device_is_judged_by_its_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let backing = format!("{}\n", file.path().display());
        let sys = tree(&[("loop7/loop/backing_file", &backing), ("loop7/loop/dio", "0\n")]);
        let device = sys.path().canonicalize().unwrap().join("loop7");
        let reason = memory_in(&device, DEPTH).unwrap();
        assert!(reason.starts_with("loop7 is a loop device"), "{reason}");
        if !Path::new("/dev/shm").exists() {
            eprintln!("skipped in part: no /dev/shm");
            return;
        }
        // A removed file is judged by its folder.
        fs::write(device.join("loop/backing_file"), "/dev/shm/gone (deleted)\n").unwrap();
        fs::write(device.join("loop/dio"), "1\n").unwrap();
        let reason = memory_in(&device, DEPTH).unwrap();
        assert!(reason.contains("tmpfs, which is memory"), "{reason}");
    }
}
