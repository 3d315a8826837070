//! Limits that hold for this process: memory of its cgroups, locked memory, open files, huge pages.

use super::{proc_files, read};
use nix::sys::resource::{Resource, getrlimit};
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

/// The smallest memory limit of the cgroups (v1 or v2) this process is in, bytes; None if none
/// limits it.
pub fn cgroup_memory_bytes() -> Option<u64> {
    let places = memory_groups(&read("/proc/self/cgroup"), &read("/proc/self/mountinfo"));
    places.iter().filter_map(|(top, group)| smallest_limit(top, group)).min()
}

/// `(mount point, folder of this process below it)` of every hierarchy that can limit memory.
fn memory_groups(cgroup: &str, mountinfo: &str) -> Vec<(PathBuf, PathBuf)> {
    let mut found = Vec::new();
    for line in cgroup.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
        let v2 = controllers.is_empty();
        if !v2 && !controllers.split(',').any(|c| c == "memory") {
            continue;
        }
        for (point, root) in cgroup_mounts(mountinfo, v2) {
            // In a container the hierarchy may be mounted from the container's own group downwards.
            let below = path.strip_prefix(root.trim_end_matches('/')).unwrap_or(path);
            found.push((point.clone(), point.join(below.trim_start_matches('/'))));
        }
    }
    found
}

/// `(mount point, root within the hierarchy)` of the v2 hierarchy or of v1's memory hierarchy.
fn cgroup_mounts(mountinfo: &str, v2: bool) -> Vec<(PathBuf, String)> {
    let mut mounts = Vec::new();
    for line in mountinfo.lines() {
        let Some((left, right)) = line.split_once(" - ") else { continue };
        let mut right = right.split(' ');
        let kind = right.next().unwrap_or_default();
        let options = right.nth(1).unwrap_or_default();
        let fits = match v2 {
            true => kind == "cgroup2",
            false => kind == "cgroup" && options.split(',').any(|o| o == "memory"),
        };
        let mut left = left.split(' ').skip(3);
        if let (true, Some(root), Some(point)) = (fits, left.next(), left.next()) {
            mounts.push((PathBuf::from(point), root.to_string()));
        }
    }
    mounts
}

/// Smallest limit from `group` up to `top`: a parent's limit binds its children.
fn smallest_limit(top: &Path, group: &Path) -> Option<u64> {
    let folders = group.ancestors().take_while(|folder| folder.starts_with(top));
    folders
        .flat_map(|folder| [folder.join("memory.max"), folder.join("memory.limit_in_bytes")])
        .filter_map(|file| parse_limit(&std::fs::read_to_string(file).ok()?))
        .min()
}

/// v2 says `max`, v1 a number near 2^63, where there is no limit.
fn parse_limit(text: &str) -> Option<u64> {
    text.trim().parse::<u64>().ok().filter(|&limit| limit < 1 << 62)
}

/// Soft limit on locked memory, bytes; `u64::MAX`: unlimited; 0 if it cannot be read.
pub fn memlock_bytes() -> u64 {
    getrlimit(Resource::RLIMIT_MEMLOCK).map_or(0, |(soft, _)| soft)
}

/// Soft and hard limit on open files; zeros if they cannot be read.
pub fn open_files() -> (u64, u64) {
    getrlimit(Resource::RLIMIT_NOFILE).unwrap_or((0, 0))
}

/// True if this process may lock memory beyond the limit (CAP_IPC_LOCK is effective).
pub fn may_lock_any_memory() -> bool {
    has_capability(&read("/proc/self/status"), 14)
}

/// True if this process is all-powerful on the host (CAP_SYS_ADMIN is effective).
pub fn may_administrate() -> bool {
    has_capability(&read("/proc/self/status"), 21)
}

fn has_capability(status: &str, bit: u32) -> bool {
    status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
        .is_some_and(|set| set >> bit & 1 == 1)
}

/// State of explicit and transparent huge pages.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HugePages {
    /// Explicit pages set aside (`vm.nr_hugepages`).
    pub reserved: u64,
    /// Of them free.
    pub free: u64,
    /// Size of an explicit page, bytes.
    pub page_bytes: u64,
    /// `always`, `madvise` or `never`; "" where the kernel has no transparent huge pages.
    pub transparent: String,
}

impl HugePages {
    /// Reads the state; `meminfo` is the parsed `/proc/meminfo`.
    pub fn read(meminfo: &BTreeMap<String, String>) -> HugePages {
        Self::parse(meminfo, &read("/sys/kernel/mm/transparent_hugepage/enabled"))
    }

    fn parse(meminfo: &BTreeMap<String, String>, enabled: &str) -> HugePages {
        let count = |key: &str| meminfo.get(key).and_then(|v| v.parse().ok()).unwrap_or(0);
        let chosen = enabled.split(['[', ']']).nth(1).unwrap_or_default();
        HugePages {
            reserved: count("HugePages_Total"),
            free: count("HugePages_Free"),
            page_bytes: proc_files::kib(meminfo, "Hugepagesize").unwrap_or(0),
            transparent: chosen.to_string(),
        }
    }
}

impl fmt::Display for HugePages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let thp = if self.transparent.is_empty() { "absent" } else { &self.transparent };
        let (reserved, free, kib) = (self.reserved, self.free, self.page_bytes >> 10);
        write!(f, "transparent {thp}, {reserved} explicit pages of {kib} KiB ({free} free)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const V1: &str = "\
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
";

    #[test]
    fn both_hierarchies_are_found() {
        let groups = memory_groups("4:memory:/job/7\n3:cpuset:/\n0::/job\n", V1);
        let group = |top: &str, at: &str| (PathBuf::from(top), PathBuf::from(at));
        assert_eq!(
            groups,
            [
                group("/sys/fs/cgroup/memory", "/sys/fs/cgroup/memory/job/7"),
                group("/sys/fs/cgroup/unified", "/sys/fs/cgroup/unified/job"),
            ]
        );
    }

    #[test]
    fn a_container_sees_its_group_as_the_top() {
        let mounts = "35 31 0:32 /docker/ab /sys/fs/cgroup ro - cgroup2 cgroup rw\n";
        let groups = memory_groups("0::/docker/ab/step\n", mounts);
        assert_eq!(groups[0].1, Path::new("/sys/fs/cgroup/step"));
    }

    #[test]
    fn the_tightest_parent_binds() {
        let top = tempfile::tempdir().unwrap();
        let group = top.path().join("job/step");
        std::fs::create_dir_all(&group).unwrap();
        std::fs::write(group.join("memory.max"), "max\n").unwrap();
        assert_eq!(smallest_limit(top.path(), &group), None);
        std::fs::write(top.path().join("job/memory.max"), "1073741824\n").unwrap();
        assert_eq!(smallest_limit(top.path(), &group), Some(1 << 30));
        std::fs::write(group.join("memory.limit_in_bytes"), "4096\n").unwrap();
        assert_eq!(smallest_limit(top.path(), &group), Some(4096));
    }

    #[test]
    fn no_limit_has_two_spellings() {
        assert_eq!(parse_limit("max\n"), None);
        assert_eq!(parse_limit("9223372036854771712\n"), None);
        assert_eq!(parse_limit("512\n"), Some(512));
    }

    #[test]
    fn huge_pages_are_read() {
        let text = "HugePages_Total:      12\nHugePages_Free:  5\nHugepagesize:    2048 kB\n";
        let map = proc_files::key_values(text);
        let pages = HugePages::parse(&map, "always [madvise] never\n");
        assert_eq!(
            pages.to_string(),
            "transparent madvise, 12 explicit pages of 2048 KiB (5 free)"
        );
        assert_eq!(HugePages::parse(&map, "").transparent, "");
    }

    #[test]
    fn capabilities_are_bits() {
        let status = "Name:\tx\nCapEff:\t0000000000004000\n";
        assert!(has_capability(status, 14));
        assert!(!has_capability(status, 21));
        assert!(!has_capability("", 14));
    }
}
