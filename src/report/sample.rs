//! A fixed result in which every field holds something, for the tests of all exporters.

use super::cache::CacheState;
use super::checkpoint::{
    BackgroundMetrics, CheckpointMetrics, CheckpointOperation, StepsBeside, ThreadTimes,
};
use super::housekeeping::{HOUSEKEEPING, HousekeepingMetrics, KindOfOperation};
use super::object::{ByOperation, ObjectMetrics};
use super::result::*;
use crate::config::CacheMode;
use crate::host::HostFacts;
use crate::metrics::{ByteCounts, Histogram, OpCounts, Summary};
use crate::storage::proof::AlignmentProbe;
use crate::storage::{EndpointFacts, StoreFacts};
use serde_json::json;
use std::collections::BTreeMap;

const GIB: u64 = 1 << 30;
const MS: u64 = 1_000_000;

/// `count` durations from `first_ns` on, evenly `step_ns` apart.
pub(crate) fn histogram(count: u64, first_ns: u64, step_ns: u64) -> Histogram {
    let mut histogram = Histogram::new();
    (0..count).for_each(|index| histogram.record(first_ns + index * step_ns));
    histogram
}

fn summary(count: u64, first_ns: u64, step_ns: u64) -> Summary {
    histogram(count, first_ns, step_ns).summary()
}

fn training() -> TrainingMetrics {
    TrainingMetrics {
        epochs: 2,
        steps: 2_400,
        samples: 67_200,
        au_percent_per_epoch: vec![91.25, 93.75],
        au_percent_mean: 92.5,
        au_percent_stdev: 1.25,
        au_required_percent: 90.0,
        au_pass: true,
        samples_per_s_per_epoch: vec![1_500.0, 1_700.0],
        samples_per_s_mean: 1_600.0,
        samples_per_s_stdev: 100.0,
        samples_per_s_mean_v2: 1_598.5,
        nominal_mib_per_s_mean: 223_694.0,
        nominal_mib_per_s_stdev: 13_980.9,
        au_whole_percent: 88.5,
        samples_per_s_whole: 1_550.0,
        excluded_start_steps: 1,
        excluded_end_steps: 0,
        load_wait_ns: summary(9_600, 50_000, 3_000),
        compute_ns: summary(9_600, 323 * MS, 10),
        barrier_ns: summary(9_600, 20_000, 1_500),
        compute_error_ns: summary(9_600, 10_000, 500),
        decode_ns: Some(summary(1_200, 2 * MS, 40)),
        compute_measured_over_configured: 1.0001,
        compute_over_configured_max: rank_value(1.0002),
        au_percent_by_configured_compute: 92.49,
        barrier_lost_percent: Some(0.4),
        cpu_wait_percent_max: rank_value(0.3),
        prefetch_window_batches: 4,
        cache: CacheMode::Direct,
        uncached_epochs: 2,
        au_percent_mean_uncached: Some(92.5),
        samples_per_s_mean_uncached: Some(1_600.0),
        blocks: vec![super::result::EpochBlock {
            epoch: 1,
            blocks: 1,
            window_s: 10.0,
            requested_bytes: 1 << 30,
            gib_per_s: 0.1,
            resident_before: Some(0.0),
            cache_before: CacheState::Cold,
            cache_drop_s: Some(0.25),
        }],
    }
}

fn rank_value(value: f64) -> Option<RankValue> {
    Some(RankValue { rank: 5, host: "node1".into(), value })
}

fn checkpoint() -> CheckpointMetrics {
    let operation = |checkpoint, strict_s: f64| CheckpointOperation {
        checkpoint,
        bytes: 104 * GIB,
        received_bytes: 0,
        strict_s,
        rank0_s: strict_s / 2.0,
        mean_s: strict_s * 0.75,
        slowest_rank: 17,
        commit_s: 0.25,
        sync_s: 0.5,
        resident_before: Some(0.0),
        gap_s: Some(42.5),
        stall_s: Some(0.75),
        snapshot_s: Some(0.5),
        flush_s: Some(strict_s - 0.5),
    };
    let beside = |au| StepsBeside {
        steps: 300,
        load_wait_ns: summary(2_400, 5 * MS, MS),
        au_percent: Some(au),
    };
    let background = BackgroundMetrics {
        snapshot_bytes_per_rank: 13 * GIB,
        settle_s: 1.25,
        drain_s: 2.5,
        during_flush: beside(91.5),
        outside_flush: beside(97.25),
        ..Default::default()
    };
    let times = ThreadTimes { content_ns: 10, sync_ns: 5, metadata_ns: 1, total_ns: 100 };
    let operations = vec![operation(1, 8.0), operation(2, 12.0)];
    let size = (48, 104 * GIB);
    let metrics = CheckpointMetrics::new(size, operations, &times, summary(48, 4_000 * MS, MS));
    CheckpointMetrics { between_s: Some(1.5), ..metrics.with_background(background) }
}

fn object() -> ObjectMetrics {
    let one = |operation: &str, count, bytes| ByOperation {
        operation: operation.into(),
        count,
        bytes,
        latency_ns: summary(count, 900_000, 1_000),
        ..Default::default()
    };
    let mut metrics = ObjectMetrics {
        objects: 6_144,
        live_objects: 6_000,
        ended_by: "duration".into(),
        offered_per_s: Some(500.0),
        not_started: 2,
        start_delay_ns: Some(summary(15_000, 1_000, 10)),
        first_byte_ns: summary(9_000, 400_000, 1_000),
        first_done_s: 62.5,
        last_done_s: 64.0,
        made_puts: 1,
        content_s: 1.5,
        by_operation: vec![one("put", 5_000, 5 * GIB), one("get", 9_000, 9 * GIB)],
        ..Default::default()
    };
    metrics.set_rates(64.0, [13_900, 13 * GIB]);
    metrics
}

fn housekeeping() -> HousekeepingMetrics {
    let one = |operation: &str, count| KindOfOperation {
        operation: operation.into(),
        count,
        latency_ns: summary(count, 900_000, 1_000),
    };
    let by_operation = vec![one("open", 12), one("read", 10), one("write", 8), one("stat", 40)];
    HousekeepingMetrics { operations_done: 70, failed: 1, by_operation }
}

fn storage() -> StoreFacts {
    StoreFacts {
        engine: "uring".into(),
        direct: Some(true),
        registered_buffers: true,
        page_size: "2MiB-thp".into(),
        alignment: 4096,
        fallbacks: vec!["2MiB-hugetlb pages were not free, 2MiB-thp are used".into()],
        endpoints: vec![EndpointFacts { url: "http://store1:9000".into(), ..Default::default() }],
        ..Default::default()
    }
}

fn proof() -> DirectProof {
    DirectProof {
        direction: "read".into(),
        claimed_bytes: 8_700 * GIB + 4096,
        process_io_bytes: Some(8_700 * GIB + 4096),
        device_bytes: Some(8_701 * GIB),
        resident_before: Some(0.0),
        resident_after: Some(0.001),
        alignment_probe: Some(AlignmentProbe {
            filesystem: "xfs".into(),
            accepted: true,
            enforced: true,
            offset_alignment: Some(512),
            counts_reads: Some(true),
            verdict: "misaligned read refused with EINVAL".into(),
            ..AlignmentProbe::default()
        }),
        not_probed: None,
        memory_device: None,
    }
}

/// A phase of a kind with the metrics that belong to it.
pub(crate) fn phase(kind: &str) -> Phase {
    let metrics = match kind {
        "training" | "evaluation" => serde_json::to_value(training()).unwrap(),
        "datagen" => json!(DatagenMetrics {
            files_written: 1_000,
            files_kept: 24,
            file_bytes: 146 * GIB,
            generator_s: 12.5,
            generator_gib_per_s_per_thread: 9.5,
            generator_share: 0.25,
        }),
        "checkpoint_save" | "checkpoint_restore" => json!(checkpoint()),
        "object" => json!(object()),
        HOUSEKEEPING => json!(housekeeping()),
        _ => json!({}),
    };
    Phase {
        kind: kind.into(),
        name: kind.into(),
        window_s: 43.5,
        bytes: ByteCounts {
            nominal: 8_700 * GIB,
            requested: 8_699 * GIB,
            transferred: 8_700 * GIB + 4096,
        },
        ops: OpCounts { read: 8_907_776, write: 120, sync: 2, open: 67_200, retries: 3 },
        rate: Rate { gib_per_s: 199.977, nominal_gib_per_s: 200.0, ops_per_s: 204_776.0 },
        client: Client {
            cpu_s: 217.5,
            cpu_s_per_gib: 0.025,
            cpu_share_max: 0.03125,
            peak_rss_bytes: 3 * GIB / 2,
            buffer_bytes: GIB / 32,
        },
        storage: storage(),
        proof: (kind != HOUSEKEEPING).then(proof),
        latency_ns: BTreeMap::from([
            ("read".to_owned(), summary(20_000, 200_000, 100)),
            ("write".to_owned(), summary(120, 900_000, 5_000)),
            ("sync".to_owned(), summary(2, 3 * MS, MS)),
            ("open".to_owned(), summary(1_500, 40_000, 11)),
        ]),
        ranks: Ranks {
            slowest: SlowestRank { rank: 17, host: "node3".into(), ratio_to_median: 1.08 },
            imbalance: 1.21,
        },
        verify: VerifyOutcome {
            mode: "sample".into(),
            window: "inside".into(),
            bytes_checked: 435 * GIB,
        },
        metrics,
    }
}

/// What was done on an object store outside of the phases.
fn around() -> Phase {
    let mut phase = phase(HOUSEKEEPING);
    phase.window_s = 0.25;
    phase.bytes = ByteCounts { nominal: 0, requested: 40_960, transferred: 40_960 };
    phase.ops = OpCounts { read: 10, write: 8, sync: 0, open: 12, retries: 1 };
    phase.storage.engine = "s3-raw".into();
    let server = &mut phase.storage.endpoints[0];
    (server.operations, server.errors, server.bytes_read) = (72, 1, 40_960);
    phase
}

fn host(name: &str) -> HostFacts {
    let text = |key: &str, value: &str| BTreeMap::from([(key.to_owned(), value.to_owned())]);
    HostFacts {
        host: name.into(),
        ranks: 8,
        cpus: 64,
        cpus_allowed: 64,
        processor: "Example 9000".into(),
        memory_bytes: 512 * GIB,
        memory_limit_bytes: 512 * GIB,
        kernel: "6.8.0".into(),
        mpi: "Open MPI 4.1.6".into(),
        device: "nvme0n1".into(),
        filesystem: "xfs".into(),
        memlock_bytes: u64::MAX,
        huge_pages: "madvise".into(),
        cpuinfo: text("model name", "Example 9000"),
        meminfo: text("MemTotal", "536870912 kB"),
    }
}

/// Three hosts with eight ranks each; datagen, training, evaluation, checkpoints.
pub(crate) fn result() -> RunResult {
    RunResult {
        schema: SCHEMA,
        tool: Tool {
            version: "0.1.0".into(),
            commit: "0123abcd".into(),
            features: vec!["mpi".into(), "avx2".into()],
        },
        run: Run {
            id: "unet3d-2026-01-31".into(),
            command: "rankio run unet3d_h100.yaml --data-dir /data".into(),
            started: "2026-01-31T12:00:00.000000Z".into(),
            ended: "2026-01-31T12:03:30.500000Z".into(),
            ranks: 24,
            hosts: 3,
            ranks_per_host: 8,
            accelerators: 24,
            seed: 42,
            plan_hash: "00112233445566ff".into(),
            partial: false,
        },
        config: json!({"model": {"name": "unet3d"}}),
        config_notes: vec!["reader.transfer_size: files are read in io.block_size".into()],
        environment: ["node1", "node2", "node3"].map(host).to_vec(),
        calibration: Some(Calibration {
            null_store_requests_per_s_per_rank: 1_250_000.0,
            null_store_gib_per_s_per_rank: 310.5,
            generator_gib_per_s_per_thread: 11.25,
            verifier_gib_per_s_per_thread: 10.5,
            sleep_error_ns: summary(200, 1_000, 20),
            checkpoint_save: ceiling(16_000.0, 15.6),
            checkpoint_restore: ceiling(420_000.0, 410.2),
        }),
        phases: ["datagen", "training", "evaluation", "checkpoint_save", "object"]
            .map(phase)
            .into_iter()
            .chain([around()])
            .collect(),
        verdict: Verdict {
            status: Status::Valid,
            reasons: Vec::new(),
            held: vec!["training: AU 92.50 % reaches the required 90.00 %.".into()],
        },
    }
}

fn ceiling(requests_per_s_per_rank: f64, gib_per_s_per_rank: f64) -> Option<Ceiling> {
    Some(Ceiling { requests_per_s_per_rank, gib_per_s_per_rank })
}
