//! Facts about this node: cpus, memory, cgroup, mounts, devices, kernel.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One host of the run (gathered by `host.rs`).
#[derive(Debug, Clone, Serialize, Deserialize, Default)]
#[allow(missing_docs)]
pub struct HostFacts {
    pub host: String,
    pub ranks: u64,
    pub cpus: u64,
    /// CPUs in the affinity mask of the first rank.
    pub cpus_allowed: u64,
    pub processor: String,
    pub memory_bytes: u64,
    pub memory_limit_bytes: u64,
    pub kernel: String,
    pub mpi: String,
    /// Block device behind the data folder, if any.
    pub device: String,
    pub filesystem: String,
    pub memlock_bytes: u64,
    pub huge_pages: String,
    /// `/proc/cpuinfo` of the first CPU and `/proc/meminfo`, for the `mlperf/` files.
    pub cpuinfo: BTreeMap<String, String>,
    pub meminfo: BTreeMap<String, String>,
}
