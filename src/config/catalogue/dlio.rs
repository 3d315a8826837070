//! The keys of MLPerf and DLIO files, section by section.
//!
//! Framework settings (loaders, pinned memory, worker start methods) steer Python machinery that
//! does not exist here; they are accepted so that files run unmodified, and each says why it
//! changes nothing.

use super::super::kind::*;
use super::{Key, folded, ignored, typed};

const FRAMEWORKS: &[&str] = &["tensorflow", "pytorch"];
const LOADERS: &[&str] =
    &["tensorflow", "pytorch", "dali", "native_dali", "custom", "none", "synthetic"];
const FORMATS: &[&str] = &[
    "tfrecord",
    "hdf5",
    "hdf5_opt",
    "csv",
    "npz",
    "npy",
    "jpeg",
    "png",
    "indexed_binary",
    "mmap_indexed_binary",
    "synthetic",
    "parquet",
];
const CODECS: &[&str] = &["none", "gzip", "snappy", "zstd", "lz4"];
const ELEMENTS: &[&str] = &[
    "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float16", "float32",
    "float64", "bool",
];
const SHUFFLES: &[&str] = &["off", "seed", "random"];
const STORAGES: &[&str] = &["local_fs", "direct_fs", "parallel_fs", "s3", "s3dlio", "aistore"];
const COLUMN_TYPES: &[&str] = &[
    "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float16", "float32",
    "float64", "bool", "list", "string", "binary",
];
const COLUMN: &[Field] = &[
    Field { name: "name", kind: TEXT, required: true },
    Field { name: "dtype", kind: Kind::Choice(COLUMN_TYPES), required: false },
    Field { name: "size", kind: POSITIVE, required: false },
    Field { name: "read", kind: Kind::Optional(&BOOL), required: false },
];

const DATATYPES: &[&str] = &["int8", "uint8", "fp16", "bf16", "fp32", "fp64"];

const OWN_GENERATOR: &str = "rankio has its own generator (dataset.pattern)";
const PLUGIN: &str = "rankio reads with its own engine and loads no Python classes";
const NO_TENSOR: &str = "rankio hands no tensor to the training loop";
const IN_OPTIONS: &str =
    "the reference does not read it either; see storage.storage_options.endpoint_uris";
const BY_RANK: &str = "see storage.storage_options.load_balance_strategy, which is by_rank if \
                       nothing else is given";
const OBJECT: &str = "it belongs to client libraries that rankio does not use";
const NO_CREDENTIALS: &str = "credentials are never taken from a workload file";
const NO_READER: &str = "the reference does not read it either";

/// `framework` and `workflow`.
pub(super) const RUN: &[Key] = &[
    typed("framework", Kind::Choice(FRAMEWORKS)),
    typed("workflow.generate_data", BOOL),
    typed("workflow.train", BOOL),
    typed("workflow.evaluation", BOOL),
    typed("workflow.checkpoint", BOOL),
    typed("workflow.profiling", BOOL),
    typed("workflow.object", BOOL),
];

/// `model`.
pub(super) const MODEL: &[Key] = &[
    typed("model.name", TEXT),
    typed("model.type", Kind::Optional(&TEXT)),
    ignored("model.model_size", BYTES, "the reference reads model_size_bytes instead"),
    typed("model.model_size_bytes", BYTES),
    typed("model.model_datatype", Kind::Choice(DATATYPES)),
    typed("model.optimizer_datatype", Kind::Choice(DATATYPES)),
    typed("model.num_layers", Kind::Tally),
    typed("model.optimization_groups", COUNTS),
    typed("model.layer_parameters", COUNTS),
    typed("model.parallelism.tensor", POSITIVE),
    typed("model.parallelism.pipeline", POSITIVE),
    typed("model.parallelism.data", Kind::Tally),
    typed("model.parallelism.zero_stage", Kind::Count { min: 0, max: 3 }),
    typed("model.transformer.vocab_size", POSITIVE),
    typed("model.transformer.hidden_size", POSITIVE),
    typed("model.transformer.ffn_hidden_size", POSITIVE),
    typed("model.transformer.num_attention_heads", POSITIVE),
    typed("model.transformer.num_kv_heads", POSITIVE),
];

/// `dataset`; the keys after `image_content` are ours.
pub(super) const DATASET: &[Key] = &[
    typed("dataset.data_folder", TEXT),
    typed("dataset.format", Kind::Choice(FORMATS)),
    typed("dataset.num_files_train", COUNT),
    typed("dataset.num_files_eval", COUNT),
    typed("dataset.num_samples_per_file", POSITIVE),
    typed("dataset.record_length_bytes", Kind::MeanBytes { min: 1.0 }),
    typed("dataset.record_length_bytes_stdev", Kind::MeanBytes { min: 0.0 }),
    typed("dataset.record_dims", COUNTS),
    typed("dataset.record_element_type", Kind::Choice(ELEMENTS)),
    typed("dataset.num_subfolders_train", COUNT),
    typed("dataset.num_subfolders_eval", COUNT),
    typed("dataset.file_prefix", TEXT),
    typed("dataset.keep_files", BOOL),
    typed("dataset.skip_listing", BOOL),
    typed("dataset.listing_validation_interval", COUNT),
    typed("dataset.compression", Kind::Choice(CODECS)),
    typed("dataset.compression_level", Kind::Optional(&Kind::Count { min: 0, max: 22 })),
    typed("dataset.enable_chunking", BOOL),
    typed("dataset.chunk_size", BYTES),
    typed("dataset.hdf5.chunk_dims", COUNTS),
    typed("dataset.hdf5.num_dset_per_record", POSITIVE),
    typed("dataset.hdf5.max_shape", COUNTS),
    typed("dataset.image_content", Kind::Choice(&["real", "raw"])),
    typed("dataset.seed", SEED),
    typed("dataset.compress_ratio", RATIO),
    typed("dataset.dedup_ratio", RATIO),
    typed("dataset.pattern", Kind::Choice(&["pool", "pcg"])),
    typed("dataset.num_files_generated", Kind::Optional(&POSITIVE)),
    ignored("dataset.record_length_bytes_resize", Kind::MeanBytes { min: 0.0 }, NO_TENSOR),
    ignored("dataset.record_element_bytes", POSITIVE, "it follows from record_element_type"),
    ignored(
        "dataset.generation_buffer_size",
        BYTES,
        "content is made in the buffers it is written from, io.block_size bytes each",
    ),
    ignored("dataset.data_gen_method", Kind::Choice(&["dgen", "numpy"]), OWN_GENERATOR),
    ignored("dataset.total_disk_bytes", BYTES, "rankio computes the exact size"),
    typed("dataset.parquet.columns", Kind::Records(COLUMN)),
    typed("dataset.parquet.row_group_size", POSITIVE),
    typed("dataset.parquet.encoding", Kind::Choice(&["plain", "dictionary"])),
    typed("dataset.parquet.coalesce_gap", BYTES),
    ignored("dataset.parquet.read_mode", WORD, NO_READER),
    ignored("dataset.parquet.partition_by", WORD, "no partition column is named"),
    ignored("dataset.parquet.generation_batch_size", COUNT, "rows are made as they are written"),
    ignored("dataset.parquet.use_s3dlio_gen", BOOL, OWN_GENERATOR),
];

/// `reader` (also `data_reader`).
pub(super) const READER: &[Key] = &[
    typed("reader.batch_size", POSITIVE),
    typed("reader.batch_size_eval", POSITIVE),
    typed("reader.read_threads", Kind::Count { min: 0, max: 4096 }),
    typed("reader.write_threads", Kind::Count { min: 0, max: 4096 }),
    typed("reader.prefetch_size", COUNT),
    typed("reader.file_shuffle", Kind::Choice(SHUFFLES)),
    typed("reader.sample_shuffle", Kind::Choice(SHUFFLES)),
    typed("reader.read_type", Kind::Choice(&["memory", "on_demand"])),
    typed("reader.preprocess_time", Kind::Distribution),
    folded("reader.preprocess_time_stdev", SECONDS, "reader.preprocess_time"),
    folded("reader.odirect", BOOL, "io.direct"),
    ignored(
        "reader.data_loader",
        Kind::Choice(LOADERS),
        "rankio reads with its own engine (io.engine: null moves no bytes)",
    ),
    ignored("reader.data_loader_classname", WORD, PLUGIN),
    ignored("reader.data_loader_sampler", Kind::Choice(&["iterative", "index", "none"]), PLUGIN),
    ignored("reader.reader_classname", WORD, PLUGIN),
    ignored("reader.computation_threads", COUNT, "rankio parses no samples"),
    ignored("reader.shuffle_size", COUNT, "shuffles cover the whole dataset"),
    ignored(
        "reader.file_access",
        Kind::Choice(&["multi", "shared", "collective", "mpio", "posix"]),
        "a rank opens the files of its samples, and two share one where their shares meet in it; \
         collective and mpio are refused",
    ),
    folded("reader.transfer_size", Kind::Optional(&BYTES), "io.block_size"),
    ignored("reader.dont_use_mmap", BOOL, "only io.engine: mmap maps files"),
    ignored("reader.pin_memory", BOOL, "rankio has no GPU copy"),
    ignored("reader.multiprocessing_context", WORD, "readers are threads, not processes"),
    ignored("reader.transformed_record_dims", COUNTS, NO_TENSOR),
    ignored("reader.transformed_record_element_type", Kind::Choice(ELEMENTS), NO_TENSOR),
];

/// `train`, `evaluation`, `metric`.
pub(super) const TIMES: &[Key] = &[
    typed("train.epochs", POSITIVE),
    typed("train.computation_time", Kind::Distribution),
    folded("train.computation_time_stdev", SECONDS, "train.computation_time"),
    typed("train.accelerators_per_rank", Kind::Count { min: 1, max: 1 << 16 }),
    typed("train.total_training_steps", Kind::Cap),
    typed("train.seed", SEED),
    typed("train.seed_change_epoch", BOOL),
    typed("evaluation.eval_time", Kind::Distribution),
    folded("evaluation.eval_time_stdev", SECONDS, "evaluation.eval_time"),
    typed("evaluation.eval_after_epoch", COUNT),
    typed("evaluation.epochs_between_evals", COUNT),
    typed("metric.au", Kind::Number { min: 0.0, max: 1.0, above_min: false }),
];

/// `checkpoint`; the keys that say nothing of DLIO's are ours.
pub(super) const CHECKPOINT: &[Key] = &[
    typed("checkpoint.checkpoint_folder", TEXT),
    typed("checkpoint.checkpoint_after_epoch", POSITIVE),
    typed("checkpoint.epochs_between_checkpoints", COUNT),
    typed("checkpoint.steps_between_checkpoints", Kind::Tally),
    typed("checkpoint.mode", Kind::Choice(&["default", "subset"])),
    typed("checkpoint.time_between_checkpoints", PAUSE),
    typed("checkpoint.num_checkpoints_write", Kind::Tally),
    typed("checkpoint.num_checkpoints_read", Kind::Tally),
    typed("checkpoint.rank_sync", BOOL),
    folded("checkpoint.fsync", BOOL, "checkpoint.durability"),
    folded("checkpoint.recovery_rank_shift", BOOL, "checkpoint.restore"),
    typed("checkpoint.type", Kind::Choice(&["rank_zero", "all_ranks"])),
    ignored("checkpoint.randomize_tensor", BOOL, "content is always that of the generator"),
    ignored("checkpoint.ksm", Kind::Any, "equal pages are never merged"),
    ignored("checkpoint.checkpoint_mechanism_classname", WORD, PLUGIN),
];

const PART: Kind = Kind::Bytes { min: PAGE_BYTES, max: BLOCK_BYTES_MAX, multiple: PAGE_BYTES };
const POSITIVE_SECONDS: Kind = Kind::Number { min: 0.0, max: 3600.0, above_min: true };

const CLIENT: Kind = Kind::Choice(&["raw", "sdk"]);
const BALANCE: Kind =
    Kind::Choice(&["by_rank", "round_robin", "least_outstanding", "least_connections", "random"]);

const LIBRARY: Kind = Kind::Optional(&Kind::Choice(&["s3dlio", "s3torchconnector", "minio"]));
const WINDOW: Kind = Kind::Optional(&Kind::Count { min: 1, max: 4096 });
const BOTH_SPELLINGS: &str =
    "a key below storage.storage_root and a whole URI in dataset.data_folder name the same object";

/// `storage`. Values of keys that may be credentials are not looked at.
pub(super) const STORAGE: &[Key] = &[
    folded("storage.storage_type", Kind::Choice(STORAGES), "io.direct"),
    folded("storage.storage_root", TEXT, "dataset.data_folder"),
    folded("storage.client", CLIENT, "storage.storage_options.client"),
    typed("storage.storage_library", LIBRARY),
    typed("storage.post_generation_settle_seconds", SECONDS),
    ignored("storage.endpoint_uris", Kind::Any, IN_OPTIONS),
    ignored("storage.load_balance_strategy", Kind::Any, IN_OPTIONS),
    ignored("storage.use_mpi_endpoint_distribution", Kind::Any, IN_OPTIONS),
    ignored("storage.storage_options.use_mpi_endpoint_distribution", Kind::Any, BY_RANK),
    ignored("storage.storage_options.account_name", Kind::Any, NO_CREDENTIALS),
    ignored("storage.storage_options.account_key", Kind::Any, NO_CREDENTIALS),
    ignored("storage.storage_options.connection_string", Kind::Any, NO_CREDENTIALS),
    ignored("storage.storage_options.access_key_id", Kind::Any, NO_CREDENTIALS),
    ignored("storage.storage_options.secret_access_key", Kind::Any, NO_CREDENTIALS),
    ignored("storage.storage_options.s3_profile", Kind::Any, NO_CREDENTIALS),
    typed("storage.storage_options.client", CLIENT),
    typed("storage.storage_options.endpoint_url", Kind::FreeText),
    typed("storage.storage_options.endpoint_uris", Kind::Texts),
    typed("storage.storage_options.load_balance_strategy", Kind::Optional(&BALANCE)),
    typed("storage.storage_options.region", Kind::FreeText),
    folded("storage.storage_options.storage_library", LIBRARY, "storage.storage_library"),
    ignored("storage.storage_options.uri_scheme", Kind::Any, OBJECT),
    ignored("storage.storage_options.use_full_object_uri", BOOL, BOTH_SPELLINGS),
    ignored("storage.storage_options.secure", Kind::Any, OBJECT),
    typed("storage.storage_options.s3_force_path_style", Kind::Optional(&BOOL)),
    typed("storage.storage_options.s3_max_attempts", Kind::Count { min: 1, max: 100 }),
    typed("storage.storage_options.part_size", PART),
    typed("storage.storage_options.connect_timeout", POSITIVE_SECONDS),
    typed("storage.storage_options.timeout", POSITIVE_SECONDS),
    typed("storage.storage_options.total_timeout", POSITIVE_SECONDS),
    typed("storage.storage_options.require_all_endpoints", BOOL),
    ignored("storage.storage_options.prefetch", Kind::Any, OBJECT),
    ignored("storage.storage_options.prefetch_workers", Kind::Any, OBJECT),
    folded("storage.storage_options.prefetch_window", WINDOW, "io.queue_depth"),
    ignored("storage.storage_options.stagger_workers", Kind::Any, OBJECT),
    ignored("storage.storage_options.columns", Kind::Any, OBJECT),
    ignored("storage.storage_options.coalesce_rgs", Kind::Any, OBJECT),
    ignored("storage.storage_options.footer_cap", Kind::Any, OBJECT),
    ignored("storage.storage_options.footer_batch_size", Kind::Any, OBJECT),
    ignored("storage.storage_options.max_outstanding", Kind::Any, OBJECT),
    ignored("storage.storage_options.decode", Kind::Any, OBJECT),
    ignored("storage.storage_options.decode_output", Kind::Any, OBJECT),
    ignored("storage.storage_options.simulate_io", Kind::Any, OBJECT),
    ignored("storage.storage_options.sim_log_secs", Kind::Any, OBJECT),
];

/// `output`, `profiling`.
pub(super) const OUTPUT: &[Key] = &[
    typed("output.folder", Kind::Optional(&TEXT)),
    typed("output.metric.exclude_start_steps", COUNT),
    typed("output.metric.exclude_end_steps", COUNT),
    typed("output.log_file", Kind::Optional(&TEXT)),
    typed("profiling.profiler", Kind::Choice(&["none", "iostat", "darshan", "tensorboard"])),
    typed("profiling.iostat_devices", Kind::Texts),
];
