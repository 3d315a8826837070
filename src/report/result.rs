//! The schema of `result.json`.

use crate::host::HostFacts;
use crate::metrics::{ByteCounts, OpCounts, Summary};
use crate::storage::StoreFacts;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Version of the schema.
pub const SCHEMA: u32 = 1;

/// A whole run.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct RunResult {
    pub schema: u32,
    pub tool: Tool,
    pub run: Run,
    /// Effective configuration.
    pub config: serde_json::Value,
    /// Keys that had no effect.
    pub config_notes: Vec<String>,
    pub environment: Vec<HostFacts>,
    pub calibration: Option<Calibration>,
    pub phases: Vec<Phase>,
    pub verdict: Verdict,
}

/// The binary.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Tool {
    pub version: String,
    pub commit: String,
    pub features: Vec<String>,
}

/// The launch.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Run {
    pub id: String,
    pub command: String,
    /// ISO 8601 with microseconds, UTC.
    pub started: String,
    pub ended: String,
    pub ranks: u64,
    pub hosts: u64,
    pub ranks_per_host: u64,
    /// Seed of `random` shuffles.
    pub seed: u64,
    /// Hash of the plan that was executed.
    pub plan_hash: String,
    /// True: the run was interrupted and the figures cover a part of it.
    pub partial: bool,
}

/// The ceiling of the client: the same loop against the null store.
#[derive(Debug, Clone, Serialize, Deserialize, Default)]
#[allow(missing_docs)]
pub struct Calibration {
    pub null_store_requests_per_s_per_rank: f64,
    pub null_store_gib_per_s_per_rank: f64,
    pub generator_gib_per_s_per_thread: f64,
    pub verifier_gib_per_s_per_thread: f64,
    /// Error of the compute sleep on this host.
    pub sleep_error_ns: Summary,
}

/// One phase.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Phase {
    /// `datagen`, `training`, `evaluation`, …
    pub kind: String,
    pub name: String,
    pub window_s: f64,
    pub bytes: ByteCounts,
    pub ops: OpCounts,
    pub rate: Rate,
    pub client: Client,
    pub storage: StoreFacts,
    /// Proof of directness, see `DirectProof`.
    pub proof: Option<DirectProof>,
    /// Keys `read`, `write`, `sync`, `open`.
    pub latency_ns: BTreeMap<String, Summary>,
    pub ranks: Ranks,
    pub verify: VerifyOutcome,
    /// What belongs to the workload.
    pub metrics: serde_json::Value,
}

/// Rates over the window, of all ranks together.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, Default)]
pub struct Rate {
    /// Requested bytes.
    pub gib_per_s: f64,
    /// Nominal bytes.
    pub nominal_gib_per_s: f64,
    /// Data operations.
    pub ops_per_s: f64,
}

/// What the client itself used.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, Default)]
pub struct Client {
    /// User and system seconds of all ranks.
    pub cpu_s: f64,
    /// The same for each GiB requested.
    pub cpu_s_per_gib: f64,
    /// Largest resident set of a rank.
    pub peak_rss_bytes: u64,
}

/// Claimed bytes against what the kernel counted.
#[derive(Debug, Clone, Serialize, Deserialize, Default)]
pub struct DirectProof {
    /// Bytes that this phase says it transferred.
    pub claimed_bytes: u64,
    /// `/proc/self/io` of all ranks: bytes fetched from or sent to the storage layer.
    pub process_io_bytes: Option<u64>,
    /// Counters of the block devices behind the data folder, all hosts.
    pub device_bytes: Option<u64>,
    /// Share of sampled pages that were resident in the page cache before the phase, 0 to 1.
    pub resident_before: Option<f64>,
    /// The same after it.
    pub resident_after: Option<f64>,
    /// What the alignment probe found.
    pub alignment_probe: String,
}

/// Stragglers.
#[derive(Debug, Clone, Serialize, Deserialize, Default)]
#[allow(missing_docs)]
pub struct Ranks {
    pub slowest: SlowestRank,
    /// Slowest over fastest.
    pub imbalance: f64,
}

/// The rank that took longest.
#[derive(Debug, Clone, Serialize, Deserialize, Default)]
#[allow(missing_docs)]
pub struct SlowestRank {
    pub rank: u64,
    pub host: String,
    pub ratio_to_median: f64,
}

/// Outcome of verification.
#[derive(Debug, Clone, Serialize, Deserialize, Default)]
#[allow(missing_docs)]
pub struct VerifyOutcome {
    pub mode: String,
    /// `inside` or `outside` the measured window.
    pub window: String,
    pub bytes_checked: u64,
    pub errors: u64,
}

/// Status of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Status {
    /// Every rule held.
    Valid,
    /// A rule failed; the reasons say which.
    Invalid,
    /// Bytes claimed exceed what the device delivered, or residency was seen.
    Cached,
    /// The null store on this host could not have gone faster.
    ClientBound,
}

/// Verdict.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Verdict {
    pub status: Status,
    pub reasons: Vec<String>,
}
