//! Facts about this node: cpus, memory, cgroup, mounts, devices, kernel.
//!
//! Everything comes from `/proc`, `/sys` and a few system calls, read once per host before the
//! clock starts. A fact that cannot be read stays at its empty value (0 or ""), because a missing
//! `/proc` file must not end a benchmark.

mod clock;
pub mod doctor;
mod limits;
mod mounts;
mod paths;
mod proc_files;

pub use clock::{LocalTime, local_time};
pub use paths::check_data_path;
pub use proc_files::cpus_of;

use nix::sys::resource::{UsageWho, getrusage};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// One host of the run (gathered by [`gather`]).
#[derive(Debug, Clone, Serialize, Deserialize, Default, PartialEq)]
#[allow(missing_docs)]
pub struct HostFacts {
    pub host: String,
    /// Ranks of the run on this host; filled in by whoever knows the world.
    pub ranks: u64,
    /// CPUs online.
    pub cpus: u64,
    /// CPUs in the affinity mask of the first rank.
    pub cpus_allowed: u64,
    pub processor: String,
    pub memory_bytes: u64,
    /// The smallest memory limit of the cgroups this process is in; `memory_bytes` if there is
    /// none.
    pub memory_limit_bytes: u64,
    pub kernel: String,
    pub mpi: String,
    /// Block device or export behind the data folder, if any.
    pub device: String,
    pub filesystem: String,
    /// Soft limit on locked memory; `u64::MAX` means unlimited.
    pub memlock_bytes: u64,
    pub huge_pages: String,
    /// `/proc/cpuinfo` of the first CPU and `/proc/meminfo`, for the `mlperf/` files.
    pub cpuinfo: BTreeMap<String, String>,
    pub meminfo: BTreeMap<String, String>,
}

/// Reads the facts of this host. `data_path` may not exist yet: its nearest existing parent decides
/// the file system. `ranks` is left at 0.
pub fn gather(data_path: Option<&Path>, mpi_version: &str) -> HostFacts {
    let cpuinfo = proc_files::first_cpu(&read("/proc/cpuinfo"));
    let meminfo = proc_files::key_values(&read("/proc/meminfo"));
    let memory_bytes = proc_files::kib(&meminfo, "MemTotal").unwrap_or(0);
    let mounted = data_path.and_then(mounts::of_path).unwrap_or_default();
    HostFacts {
        host: host_name(),
        ranks: 0,
        cpus: cpus_online(),
        cpus_allowed: cpus_allowed(),
        processor: proc_files::processor(&cpuinfo),
        memory_bytes,
        memory_limit_bytes: limits::cgroup_memory_bytes()
            .map_or(memory_bytes, |limit| limit.min(memory_bytes)),
        kernel: read("/proc/sys/kernel/osrelease").trim().to_string(),
        mpi: mpi_version.to_string(),
        device: mounted.device,
        filesystem: mounted.filesystem,
        memlock_bytes: limits::memlock_bytes(),
        huge_pages: limits::HugePages::read(&meminfo).to_string(),
        cpuinfo,
        meminfo,
    }
}

/// `/proc/meminfo` now.
pub fn meminfo() -> BTreeMap<String, String> {
    proc_files::key_values(&read("/proc/meminfo"))
}

/// This host's name as the kernel has it; "" if it cannot be read.
pub fn host_name() -> String {
    nix::unistd::gethostname().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default()
}

/// User and system seconds of this process so far, all threads (io_uring's worker threads
/// included).
pub fn cpu_seconds() -> f64 {
    cpu_of(UsageWho::RUSAGE_SELF)
}

/// CPU time of the calling thread so far, seconds.
pub fn thread_cpu_seconds() -> f64 {
    cpu_of(UsageWho::RUSAGE_THREAD)
}

fn cpu_of(who: UsageWho) -> f64 {
    let Ok(usage) = getrusage(who) else { return 0.0 };
    let seconds = |t: nix::sys::time::TimeVal| t.tv_sec() as f64 + t.tv_usec() as f64 * 1e-6;
    seconds(usage.user_time()) + seconds(usage.system_time())
}

/// Largest resident set of this process so far, bytes. Linux counts it in KiB.
pub fn peak_rss_bytes() -> u64 {
    getrusage(UsageWho::RUSAGE_SELF).map_or(0, |u| u.max_rss().max(0) as u64 * 1024)
}

/// CPUs in this thread's affinity mask; 0 if it cannot be read.
pub fn cpus_allowed() -> u64 {
    proc_files::cpu_list_len(&cpu_list()).unwrap_or(0)
}

/// The CPUs in this thread's affinity mask as the kernel lists them (`0-3,8`); "" if they cannot be
/// read.
pub fn cpu_list() -> String {
    // The file has no ceiling on the number of CPUs, as a fixed-size mask would.
    let status = read("/proc/thread-self/status");
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    list.unwrap_or_default().trim().to_string()
}

/// CPUs of this host that are online.
pub fn cpus_online() -> u64 {
    proc_files::cpu_list_len(&read("/sys/devices/system/cpu/online")).unwrap_or_else(cpus_allowed)
}

/// The text of a small kernel file; "" if it cannot be read.
fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_of_this_host_are_there() {
        let facts = gather(Some(Path::new(".")), "solo");
        assert!(!facts.host.is_empty());
        assert!(facts.cpus >= 1);
        assert!(facts.cpus_allowed >= 1 && facts.cpus_allowed <= facts.cpus);
        assert!(!facts.processor.is_empty());
        assert!(facts.memory_bytes > 1 << 20);
        assert!(facts.memory_limit_bytes > 0 && facts.memory_limit_bytes <= facts.memory_bytes);
        assert!(facts.kernel.contains('.'));
        assert_eq!(facts.mpi, "solo");
        assert!(!facts.filesystem.is_empty());
        assert!(!facts.huge_pages.is_empty());
        assert!(facts.meminfo["MemTotal"].ends_with(" kB"));
        assert!(!facts.cpuinfo.is_empty());
    }

    #[test]
    fn facts_survive_json() {
        let facts = gather(None, "solo");
        assert_eq!(facts.filesystem, "");
        let text = serde_json::to_string(&facts).unwrap();
        assert_eq!(serde_json::from_str::<HostFacts>(&text).unwrap(), facts);
    }

    #[test]
    fn cpu_time_grows_with_work() {
        let before = cpu_seconds();
        let mut x = 1u64;
        while cpu_seconds() <= before {
            for _ in 0..100_000 {
                x = std::hint::black_box(x.wrapping_mul(6364136223846793005).wrapping_add(1));
            }
        }
        assert!(cpu_seconds() > before);
    }

    #[test]
    fn peak_memory_follows_an_allocation() {
        let bytes = 64 << 20;
        let block = std::hint::black_box(vec![1u8; bytes]);
        assert!(peak_rss_bytes() >= bytes as u64);
        drop(block);
    }
}
