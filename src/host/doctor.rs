//! What stands between this host and a clean measurement, as findings with a remedy each.
//!
//! Only facts that can be read are judged here; trying things out (a ring, an O_DIRECT open, a
//! registration) is the store's part. Each finding is a function of values, so that hosts we do not
//! have can be tested.

use super::limits::{self, HugePages};
use super::{cpus_allowed, cpus_online, mounts, paths, proc_files, read};
use nix::unistd::{AccessFlags, access};
use std::path::Path;

/// How serious a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// As it should be.
    Ok,
    /// The run works, its figures may suffer or mislead.
    Warn,
    /// The run will fail or cannot measure storage.
    Bad,
}

/// One thing looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What was looked at: `kernel`, `memlock`.
    pub name: &'static str,
    /// How serious.
    pub level: Level,
    /// What was found, one sentence without a full stop.
    pub text: String,
    /// What to do about it; empty if nothing.
    pub remedy: String,
}

/// What a run would like to have on this host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Need {
    /// Ranks on this host.
    pub ranks: u64,
    /// Threads of a rank (I/O threads and the step loop).
    pub threads_per_rank: u64,
    /// Buffer memory of a rank, bytes.
    pub buffer_bytes_per_rank: u64,
    /// Files a rank keeps open at a time.
    pub open_files_per_rank: u64,
}

/// Looks at this host for a run that stores its data below `data_path` (which need not exist).
pub fn doctor(data_path: &Path, need: Need) -> Vec<Finding> {
    let meminfo = proc_files::key_values(&read("/proc/meminfo"));
    let memory_bytes = proc_files::kib(&meminfo, "MemTotal").unwrap_or(0);
    let kernel = read("/proc/sys/kernel/osrelease");
    let disabled = read("/proc/sys/kernel/io_uring_disabled");
    vec![
        kernel_finding(kernel.trim()),
        io_uring_finding(kernel.trim(), disabled.trim(), limits::may_administrate()),
        memlock_finding(limits::memlock_bytes(), limits::may_lock_any_memory(), need),
        huge_pages_finding(&HugePages::read(&meminfo)),
        affinity_finding(cpus_online(), cpus_allowed(), need),
        memory_finding(memory_bytes, limits::cgroup_memory_bytes(), need),
        open_files_finding(limits::open_files(), need),
        folder_finding(data_path),
        filesystem_finding(&mounts::of_path(data_path).unwrap_or_default().filesystem),
    ]
}

impl Finding {
    fn ok(name: &'static str, text: String) -> Finding {
        Finding { name, level: Level::Ok, text, remedy: String::new() }
    }

    fn warn(name: &'static str, text: String, remedy: &str) -> Finding {
        Finding { name, level: Level::Warn, text, remedy: remedy.to_string() }
    }

    fn bad(name: &'static str, text: String, remedy: &str) -> Finding {
        Finding { name, level: Level::Bad, text, remedy: remedy.to_string() }
    }
}

/// `6.1.0-18-amd64` as (6, 1).
fn version(release: &str) -> Option<(u32, u32)> {
    let mut parts = release.split(|c: char| !c.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// 6.1 brought deferred task work and STATX_DIOALIGN; 5.6 the plain read and write operations of
/// io_uring.
fn kernel_finding(release: &str) -> Finding {
    let name = "kernel";
    match version(release) {
        None => Finding::warn(name, "the release cannot be read".into(), "mount /proc"),
        Some(v) if v >= (6, 1) => Finding::ok(name, release.to_string()),
        Some(v) if v >= (5, 6) => Finding::warn(
            name,
            format!(
                "{release} lacks deferred task work and the query for direct-I/O alignment (6.1)"
            ),
            "use a kernel of 6.1 or later; until then rings are plainer and 4096 bytes are assumed",
        ),
        Some(_) => Finding::bad(
            name,
            format!("{release} is too old for io_uring reads and writes (5.6)"),
            "use a kernel of 6.1 or later, or --engine sync",
        ),
    }
}

/// `kernel.io_uring_disabled` (6.6 and later): 0 free, 1 only for a group and the administrator, 2
/// off.
fn io_uring_finding(release: &str, disabled: &str, administrator: bool) -> Finding {
    let name = "io_uring";
    let remedy = "set sysctl kernel.io_uring_disabled=0, or use --engine sync";
    if version(release).is_some_and(|v| v < (5, 6)) {
        return Finding::bad(name, "not in this kernel".into(), "use --engine sync");
    }
    match disabled {
        "" => {
            Finding::ok(name, "no switch in this kernel: allowed unless a filter stops it".into())
        }
        "0" => Finding::ok(name, "allowed for everyone".into()),
        "1" if administrator => Finding::ok(name, "allowed for the administrator".into()),
        "1" => {
            Finding::warn(name, "allowed for the group kernel.io_uring_group only".into(), remedy)
        }
        other => {
            Finding::bad(name, format!("switched off (kernel.io_uring_disabled={other})"), remedy)
        }
    }
}

/// The kernel charges registered buffers to the user, over all processes of the host.
fn memlock_finding(limit: u64, unlimited: bool, need: Need) -> Finding {
    let wanted = need.buffer_bytes_per_rank.saturating_mul(need.ranks);
    let name = "memlock";
    if unlimited || limit == u64::MAX {
        return Finding::ok(name, format!("unlimited, {} wanted", mib(wanted)));
    }
    let text = format!("{} allowed, {} wanted by {} ranks", mib(limit), mib(wanted), need.ranks);
    if limit >= wanted {
        return Finding::ok(name, text);
    }
    let remedy = "raise `ulimit -l` (limits.conf: memlock); buffers stay unregistered otherwise";
    Finding::warn(name, text, remedy)
}

/// Small pages make every 4 KiB of a large request a segment of its own.
fn huge_pages_finding(pages: &HugePages) -> Finding {
    let name = "huge pages";
    if pages.free > 0 || matches!(pages.transparent.as_str(), "always" | "madvise") {
        return Finding::ok(name, pages.to_string());
    }
    let remedy = "write madvise to /sys/kernel/mm/transparent_hugepage/enabled, \
                  or set vm.nr_hugepages; large requests cost several times the CPU otherwise";
    Finding::warn(name, pages.to_string(), remedy)
}

/// A launcher that binds each rank to one core puts all its threads there.
fn affinity_finding(online: u64, allowed: u64, need: Need) -> Finding {
    let name = "cpu affinity";
    let threads = need.threads_per_rank;
    let text = format!("{allowed} of {online} CPUs for {threads} threads of a rank");
    if allowed >= threads {
        Finding::ok(name, text)
    } else if allowed < online {
        let remedy = "give mpirun --bind-to none (or --map-by slot:PE=k), srun --cpu-bind=none";
        Finding::warn(name, text, remedy)
    } else {
        Finding::warn(name, text, "lower reader.read_threads, or use a host with more CPUs")
    }
}

fn memory_finding(total: u64, limit: Option<u64>, need: Need) -> Finding {
    let name = "memory";
    let wanted = need.buffer_bytes_per_rank.saturating_mul(need.ranks);
    let (available, whose) = match limit {
        Some(limit) if limit < total => (limit, "the cgroup allows"),
        _ => (total, "the host has"),
    };
    let text = format!("{whose} {}, buffers want {}", mib(available), mib(wanted));
    if wanted > available / 2 {
        let remedy =
            "lower io.max_buffer_bytes or the ranks per host, or raise the limit of the job";
        return Finding::bad(name, text, remedy);
    }
    Finding::ok(name, text)
}

fn open_files_finding((soft, hard): (u64, u64), need: Need) -> Finding {
    // Sockets of MPI, the ring, libraries and result files take their share.
    let wanted = need.open_files_per_rank.saturating_add(64);
    let name = "open files";
    let text = format!("{soft} allowed, {wanted} wanted by a rank");
    if soft >= wanted {
        Finding::ok(name, text)
    } else if hard >= wanted {
        Finding::bad(name, text, "raise `ulimit -n` before the launch")
    } else {
        Finding::bad(name, text, "raise the hard limit (limits.conf: nofile)")
    }
}

/// The folder itself: allowed, or its nearest existing parent writable.
fn folder_finding(path: &Path) -> Finding {
    let name = "data path";
    if let Err(why) = paths::check_data_path(path) {
        return Finding::bad(name, why, "give another --data-dir");
    }
    let Ok(resolved) = paths::resolve(path) else {
        return Finding::bad(name, format!("{} cannot be resolved", path.display()), "check it");
    };
    let existing = resolved.ancestors().find(|folder| folder.exists()).unwrap_or(Path::new("/"));
    if !existing.is_dir() {
        let text = format!("{} is not a folder", existing.display());
        return Finding::bad(name, text, "give another --data-dir");
    }
    match access(existing, AccessFlags::W_OK | AccessFlags::X_OK) {
        Ok(()) => Finding::ok(name, format!("{} is writable", existing.display())),
        Err(e) => {
            let text = format!("{} cannot be written ({})", existing.display(), e.desc());
            Finding::bad(name, text, "change its rights, or give another --data-dir")
        }
    }
}

/// What the kind of file system means for the figures.
fn filesystem_finding(kind: &str) -> Finding {
    let name = "filesystem";
    let text = |what: &str| format!("{kind}: {what}");
    match kind {
        "" => Finding::warn(name, "unknown".into(), "check that /proc is mounted"),
        "tmpfs" | "ramfs" | "devtmpfs" => Finding::warn(
            name,
            text("this is memory, no storage is measured"),
            "give a --data-dir on the storage to be measured",
        ),
        "overlay" | "aufs" | "unionfs" => Finding::warn(
            name,
            text("a container's own layer"),
            "bind a real file system into the container",
        ),
        "zfs" => Finding::warn(
            name,
            text("direct I/O bypasses the ARC from OpenZFS 2.3 on only"),
            "check the version and the property `direct`",
        ),
        "nfs" | "nfs4" | "cifs" | "smb3" | "9p" | "virtiofs" | "ceph" | "afs" => Finding::ok(
            name,
            text("network; O_DIRECT bypasses the client's cache, the server may still cache"),
        ),
        "lustre" | "gpfs" | "beegfs" | "beegfs_nodev" | "wekafs" | "pvfs2" | "daos" => {
            Finding::ok(name, text("parallel; servers may cache what clients read again"))
        }
        fuse if fuse.starts_with("fuse") => Finding::warn(
            name,
            text("a user program serves it; O_DIRECT holds only if that program takes part"),
            "trust the figures only where the proof of directness holds",
        ),
        _ => Finding::ok(name, text("local")),
    }
}

fn mib(bytes: u64) -> String {
    format!("{} MiB", bytes.div_ceil(1 << 20))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEED: Need = Need {
        ranks: 2,
        threads_per_rank: 5,
        buffer_bytes_per_rank: 64 << 20,
        open_files_per_rank: 16,
    };

    #[test]
    fn every_finding_of_this_host_says_something() {
        let dir = tempfile::tempdir().unwrap();
        let findings = doctor(dir.path(), NEED);
        assert_eq!(findings.len(), 9);
        for f in findings {
            assert!(!f.text.is_empty() && !f.text.contains('\n'), "{f:?}");
            assert_eq!(f.level == Level::Ok, f.remedy.is_empty(), "{f:?}");
        }
    }

    #[test]
    fn kernels_are_judged_by_what_they_can_do() {
        assert_eq!(kernel_finding("6.18.44-x").level, Level::Ok);
        assert_eq!(kernel_finding("6.1.0-18-amd64").level, Level::Ok);
        assert_eq!(kernel_finding("5.15.0-91-generic").level, Level::Warn);
        assert_eq!(kernel_finding("4.18.0-513.el8").level, Level::Bad);
        assert_eq!(kernel_finding("").level, Level::Warn);
    }

    #[test]
    fn the_switch_of_io_uring_is_read() {
        let level = |kernel, switch, admin| io_uring_finding(kernel, switch, admin).level;
        assert_eq!(level("6.8.0", "0", false), Level::Ok);
        assert_eq!(level("6.1.0", "", false), Level::Ok);
        assert_eq!(level("6.8.0", "1", false), Level::Warn);
        assert_eq!(level("6.8.0", "1", true), Level::Ok);
        assert_eq!(level("6.8.0", "2", true), Level::Bad);
        assert_eq!(level("4.18.0", "", true), Level::Bad);
    }

    #[test]
    fn memlock_counts_all_ranks_of_the_host() {
        assert_eq!(memlock_finding(128 << 20, false, NEED).level, Level::Ok);
        assert_eq!(memlock_finding(127 << 20, false, NEED).level, Level::Warn);
        assert_eq!(memlock_finding(0, true, NEED).level, Level::Ok);
        assert_eq!(memlock_finding(u64::MAX, false, NEED).level, Level::Ok);
    }

    #[test]
    fn binding_and_a_small_host_have_different_remedies() {
        assert_eq!(affinity_finding(8, 8, NEED).level, Level::Ok);
        assert!(affinity_finding(8, 1, NEED).remedy.contains("--bind-to none"));
        assert!(affinity_finding(2, 2, NEED).remedy.contains("read_threads"));
    }

    #[test]
    fn the_smaller_of_host_and_cgroup_binds() {
        assert_eq!(memory_finding(1 << 30, None, NEED).level, Level::Ok);
        let small = memory_finding(1 << 30, Some(200 << 20), NEED);
        assert_eq!(small.level, Level::Bad);
        assert!(small.text.starts_with("the cgroup allows 200 MiB"), "{}", small.text);
    }

    #[test]
    fn open_files_name_the_limit_to_raise() {
        assert_eq!(open_files_finding((1024, 4096), NEED).level, Level::Ok);
        assert!(open_files_finding((64, 4096), NEED).remedy.contains("ulimit -n"));
        assert!(open_files_finding((64, 64), NEED).remedy.contains("hard limit"));
    }

    #[test]
    fn huge_pages_of_either_kind_do() {
        let pages = |transparent: &str, free| HugePages {
            transparent: transparent.into(),
            free,
            ..HugePages::default()
        };
        assert_eq!(huge_pages_finding(&pages("madvise", 0)).level, Level::Ok);
        assert_eq!(huge_pages_finding(&pages("never", 8)).level, Level::Ok);
        assert_eq!(huge_pages_finding(&pages("never", 0)).level, Level::Warn);
    }

    #[test]
    fn file_systems_are_told_apart() {
        for kind in ["ext4", "xfs", "btrfs", "nfs4", "lustre"] {
            assert_eq!(filesystem_finding(kind).level, Level::Ok, "{kind}");
        }
        for kind in ["tmpfs", "overlay", "fuse.sshfs", "fuseblk", ""] {
            assert_eq!(filesystem_finding(kind).level, Level::Warn, "{kind}");
        }
    }

    #[test]
    fn the_folder_must_be_allowed_and_a_folder() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(folder_finding(&dir.path().join("new/set")).level, Level::Ok);
        assert_eq!(folder_finding(Path::new("/etc")).level, Level::Bad);
        let file = tempfile::NamedTempFile::new().unwrap();
        assert_eq!(folder_finding(file.path()).level, Level::Bad);
    }
}
