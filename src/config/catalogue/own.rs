//! The keys of sections that DLIO does not have, and the sections of other tools' files.

use super::super::kind::*;
use super::{Key, refused, typed};

const BLOCK: Kind = Kind::Bytes { min: PAGE_BYTES, max: BLOCK_BYTES_MAX, multiple: PAGE_BYTES };
const FAULT: &[Field] = &[
    Field { name: "op", kind: Kind::Choice(&["open", "read", "write", "sync"]), required: true },
    Field {
        name: "kind",
        kind: Kind::Choice(&["eio", "enospc", "short", "flip", "zeros"]),
        required: true,
    },
    Field { name: "at", kind: POSITIVE, required: false },
    Field { name: "every", kind: COUNT, required: false },
    Field { name: "name_contains", kind: Kind::FreeText, required: false },
    Field { name: "rank", kind: RANK, required: false },
];

const RESTORES: &[&str] = &["same", "ring", "random", "reshard", "broadcast"];

const WEIGHT: Kind = Kind::Number { min: 0.0, max: 1e9, above_min: false };
const OBJECT_BYTES: Kind = Kind::Bytes { min: 1, max: 5 << 40, multiple: 1 };
const SIZES: &[Field] = &[
    Field { name: "size", kind: OBJECT_BYTES, required: true },
    Field { name: "weight", kind: WEIGHT, required: false },
];

/// `object`: the object micro-benchmark.
pub(super) const OBJECT: &[Key] = &[
    typed("object.mix.put", WEIGHT),
    typed("object.mix.get", WEIGHT),
    typed("object.mix.range", WEIGHT),
    typed("object.mix.head", WEIGHT),
    typed("object.mix.list", WEIGHT),
    typed("object.mix.delete", WEIGHT),
    typed("object.size", OBJECT_BYTES),
    typed("object.size_stdev", BYTES),
    typed("object.size_max", BYTES),
    typed("object.sizes", Kind::Records(SIZES)),
    typed("object.range_size", OBJECT_BYTES),
    typed("object.objects", Kind::Count { min: 1, max: 1 << 24 }),
    typed("object.prefill", BOOL),
    typed("object.in_flight", Kind::Count { min: 1, max: 4096 }),
    typed("object.rate_per_s", WEIGHT),
    typed("object.duration_s", SECONDS),
    typed("object.operations", COUNT),
    typed("object.autoterm.within", Kind::Number { min: 0.0, max: 1.0, above_min: false }),
    typed("object.autoterm.over_s", Kind::Number { min: 0.1, max: 3600.0, above_min: false }),
    typed("object.seed", SEED),
    typed("object.keep", BOOL),
    typed("object.source", Kind::Choice(&["own", "prepared", "list"])),
];

/// `io`: how bytes move.
pub(super) const IO: &[Key] = &[
    typed("io.mode", Kind::Choice(&["native", "reference"])),
    typed("io.engine", Kind::Choice(&["auto", "uring", "sync", "mmap", "null"])),
    typed("io.cache", Kind::Choice(&["direct", "drop", "keep", "evict"])),
    typed("io.direct", BOOL),
    typed("io.queue_depth", Kind::Count { min: 1, max: 4096 }),
    typed("io.block_size", BLOCK),
    typed("io.submit_batch", Kind::Count { min: 1, max: 4096 }),
    typed("io.registered", BOOL),
    typed("io.huge_pages", BOOL),
    typed("io.max_buffer_bytes", Kind::Bytes { min: 4096, max: u64::MAX, multiple: 1 }),
    typed("io.fallocate", BOOL),
    typed("io.drop_last", BOOL),
    typed("io.decode", BOOL),
    typed("io.delay.latency", SECONDS),
    typed("io.delay.bandwidth", BYTES),
    typed("io.delay.rank", RANK),
    typed("io.fault", Kind::Records(FAULT)),
];

/// `checkpoint`: the keys that DLIO does not have.
pub(super) const CHECKPOINT: &[Key] = &[
    typed("checkpoint.layout", Kind::Choice(&["raw", "safetensors"])),
    typed("checkpoint.content", Kind::Choice(&["full", "stamped"])),
    typed("checkpoint.durability", Kind::Choice(&["none", "fdatasync", "fsync", "dsync"])),
    typed("checkpoint.files_in_flight", Kind::Count { min: 1, max: 4096 }),
    typed("checkpoint.order", Kind::Choice(&["parallel", "reference"])),
    typed("checkpoint.keep_last", COUNT),
    typed("checkpoint.restore", Kind::Choice(RESTORES)),
    typed("checkpoint.restore_seed", SEED),
    typed("checkpoint.reshard.tensor", COUNT),
    typed("checkpoint.reshard.pipeline", COUNT),
    typed("checkpoint.reshard.written_ranks", COUNT),
    typed("checkpoint.weights_only", BOOL),
    typed("checkpoint.async", BOOL),
];

/// `verify`: what is checked on reading.
pub(super) const VERIFY: &[Key] = &[
    typed("verify.mode", Kind::Choice(&["none", "size", "sample", "full"])),
    typed("verify.sample_fraction", Kind::Number { min: 0.0, max: 1.0, above_min: true }),
];

const VECTORDB: &str = "vector database workloads are not available in this version";
const KVCACHE: &str = "KV-cache workloads are not available in this version";

/// Top-level keys of the vector database and KV-cache benchmarks, so that such a file is
/// recognised.
pub(super) const OTHER_TOOLS: &[Key] = &[
    refused("database", VECTORDB),
    refused("index", VECTORDB),
    refused("benchmark", VECTORDB),
    refused("user_templates", KVCACHE),
    refused("generation_timing", KVCACHE),
    refused("qos_profiles", KVCACHE),
    refused("qos_distribution", KVCACHE),
    refused("eviction", KVCACHE),
    refused("gpu_backend", KVCACHE),
    refused("prefix_cache", KVCACHE),
    refused("rag", KVCACHE),
    refused("conversation", KVCACHE),
    refused("autoscaler", KVCACHE),
    refused("decode", KVCACHE),
    refused("sharegpt", KVCACHE),
    refused("saturation_detection", KVCACHE),
    refused("validation_limits", KVCACHE),
    refused("model_configs", KVCACHE),
];
