//! The typed form of a workload file. Field names are the file's key names; defaults are DLIO's.

use super::cache::CacheMode;
use super::checkpoint::Checkpoint;
use super::compression::Compression;
use super::model::Model;
use super::object::StorageSection;
use super::objects::ObjectWork;
use super::parquet::Parquet;
use super::profiling::Profiling;
use super::written::{WrittenDistribution, plain_number};
use serde::{Deserialize, Serialize};

/// One workload: every section of the file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// `framework`: which Python loader the reference would use; only checked.
    pub framework: Framework,
    /// `workflow`: which phases run.
    pub workflow: Workflow,
    /// `model`.
    pub model: Model,
    /// `dataset`.
    pub dataset: Dataset,
    /// `reader`.
    pub reader: Reader,
    /// `train`.
    pub train: Train,
    /// `evaluation`.
    pub evaluation: Evaluation,
    /// `metric`.
    pub metric: Metric,
    /// `output`.
    pub output: Output,
    /// `profiling`.
    pub profiling: Profiling,
    /// `checkpoint`.
    pub checkpoint: Checkpoint,
    /// `storage`: how an object store is reached.
    pub storage: StorageSection,
    /// `object` (ours): the object micro-benchmark.
    pub object: ObjectWork,
    /// `io` (ours): how bytes move.
    pub io: Io,
    /// `verify` (ours): what is checked on reading.
    pub verify: Verify,
}

/// `framework`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
pub enum Framework {
    /// TensorFlow (DLIO's default).
    #[default]
    Tensorflow,
    /// PyTorch.
    Pytorch,
}

/// `workflow`: the phases that run, in the order datagen, training with evaluation, checkpoints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Workflow {
    /// Generate the dataset first.
    pub generate_data: bool,
    /// Run the training loop.
    pub train: bool,
    /// Evaluate after epochs.
    pub evaluation: bool,
    /// Write checkpoints.
    pub checkpoint: bool,
    /// Sample the devices.
    pub profiling: bool,
    /// Run the object micro-benchmark (ours).
    pub object: bool,
}

impl Default for Workflow {
    fn default() -> Self {
        Workflow {
            generate_data: false,
            train: true,
            evaluation: false,
            checkpoint: false,
            profiling: false,
            object: false,
        }
    }
}

impl Workflow {
    /// Whether a phase makes or reads a dataset. A file that asks for no phase is taken for one
    /// about its dataset.
    pub fn uses_dataset(&self) -> bool {
        self.generate_data || self.train || self.evaluation || !(self.checkpoint || self.object)
    }
}

/// Sample container on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default, Hash)]
#[serde(rename_all = "snake_case")]
pub enum FormatKind {
    /// TFRecord with one `tf.train.Example` for each sample.
    #[default]
    Tfrecord,
    /// HDF5.
    Hdf5,
    /// HDF5 through the reference's tuned reader.
    Hdf5Opt,
    /// Comma separated integers.
    Csv,
    /// NumPy zip archive (stored) with `x` and `y`.
    Npz,
    /// NumPy array.
    Npy,
    /// JPEG.
    Jpeg,
    /// PNG.
    Png,
    /// Samples back to back with index files.
    IndexedBinary,
    /// The same, read through a mapping.
    MmapIndexedBinary,
    /// No file content at all.
    Synthetic,
    /// Parquet.
    Parquet,
}

/// `dataset.image_content` (ours): what a `.jpeg` or `.png` file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default, Hash)]
#[serde(rename_all = "lowercase")]
pub enum ImageContent {
    /// A picture that image readers open.
    #[default]
    Real,
    /// Random bytes under an image suffix, as the reference writes.
    Raw,
}

/// Element type of a sample array.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default, Hash)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum ElementType {
    Int8,
    #[default]
    Uint8,
    Int16,
    Uint16,
    Int32,
    Uint32,
    Int64,
    Uint64,
    Float16,
    Float32,
    Float64,
    Bool,
}

/// `dataset`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Dataset {
    /// Root; holds `train/` and `valid/`. `--data-dir` replaces it.
    pub data_folder: String,
    /// Container.
    pub format: FormatKind,
    /// Files for training.
    pub num_files_train: u64,
    /// Training files of the whole dataset, where an epoch trains on a part; None: all are used.
    pub num_files_generated: Option<u64>,
    /// Files for evaluation.
    pub num_files_eval: u64,
    /// Samples in each file.
    pub num_samples_per_file: u64,
    /// Mean nominal bytes of a sample.
    #[serde(serialize_with = "plain_number")]
    pub record_length_bytes: f64,
    /// Standard deviation of the nominal bytes of a sample, drawn once for each file.
    #[serde(serialize_with = "plain_number")]
    pub record_length_bytes_stdev: f64,
    /// Explicit shape of a sample; empty: from `record_length_bytes`.
    pub record_dims: Vec<u64>,
    /// Element type.
    pub record_element_type: ElementType,
    /// Subfolders of `train/`; 0 and 1: none.
    pub num_subfolders_train: u64,
    /// Subfolders of `valid/`.
    pub num_subfolders_eval: u64,
    /// First part of every file name.
    pub file_prefix: String,
    /// False: the dataset is removed at the end of the run.
    pub keep_files: bool,
    /// Names are computed, never listed. False: files are looked for before the run, each rank's
    /// share; true: the first, the last and every Nth.
    pub skip_listing: bool,
    /// That N; 0: none.
    pub listing_validation_interval: u64,
    /// Codec of parquet pages and of csv files.
    pub compression: Compression,
    /// Its level; None: the codec's default.
    pub compression_level: Option<u64>,
    /// HDF5: divide datasets into chunks of about `chunk_size` bytes, unless `hdf5.chunk_dims` is
    /// given.
    pub enable_chunking: bool,
    /// See `enable_chunking`.
    pub chunk_size: u64,
    /// Shape of HDF5 files.
    pub hdf5: Hdf5,
    /// Content of image files (ours).
    pub image_content: ImageContent,
    /// Seed of sizes and content (ours); one seed, one dataset, whatever the rank count.
    pub seed: u64,
    /// Part of the content that compresses away: 2.0 means zstd finds half (ours).
    pub compress_ratio: f64,
    /// Logical blocks for each distinct block (ours).
    pub dedup_ratio: f64,
    /// Generator (ours).
    pub pattern: Pattern,
    /// Columns and row groups of parquet files.
    pub parquet: Parquet,
}

impl Dataset {
    /// Training files that exist: `num_files_generated`, else `num_files_train`.
    pub fn generated_files(&self) -> u64 {
        self.num_files_generated.unwrap_or(self.num_files_train)
    }
}

/// `dataset.hdf5`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Hdf5 {
    /// Sides of a chunk, that on the sample axis first; empty: contiguous datasets.
    pub chunk_dims: Vec<u64>,
    /// Datasets that share the first side of a record.
    pub num_dset_per_record: u64,
    /// Largest sides that a dataset could grow to; only its own are possible.
    pub max_shape: Vec<u64>,
}

/// Which generator fills the payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default, Hash)]
#[serde(rename_all = "lowercase")]
pub enum Pattern {
    /// Keyed pool: the fast default.
    #[default]
    Pool,
    /// Pure Pcg64Mcg: the slower reference.
    Pcg,
}

/// `file_shuffle`, `sample_shuffle`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
pub enum Shuffle {
    /// In order.
    #[default]
    Off,
    /// By `train.seed`.
    Seed,
    /// By a seed of this run; it stands in the result.
    Random,
}

/// `reader.read_type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "snake_case")]
pub enum ReadType {
    /// The bytes of each sample.
    #[default]
    OnDemand,
    /// A file whole, once for all its samples that a rank has.
    Memory,
}

/// `reader`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Reader {
    /// Samples of a step and accelerator.
    pub batch_size: u64,
    /// Samples of an evaluation step and accelerator.
    pub batch_size_eval: u64,
    /// I/O threads of a rank.
    pub read_threads: u64,
    /// Files written at a time by a rank; 0: as many as CPUs of this rank's share.
    pub write_threads: u64,
    /// Batches read ahead.
    pub prefetch_size: u64,
    /// Order of files.
    pub file_shuffle: Shuffle,
    /// Order of samples.
    pub sample_shuffle: Shuffle,
    /// Whether a file is read whole, once for all its samples.
    pub read_type: ReadType,
    /// Sleep for each sample in the reader.
    pub preprocess_time: Distribution,
}

/// `train`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Train {
    /// Epochs.
    pub epochs: u64,
    /// Emulated accelerator time of a step, seconds.
    pub computation_time: Distribution,
    /// Accelerators that a rank stands for, in lock-step (ours).
    pub accelerators_per_rank: u64,
    /// Cap on the steps of each epoch; None: no cap.
    pub total_training_steps: Option<u64>,
    /// Shuffle seed.
    pub seed: u64,
    /// Add the epoch number to the seed.
    pub seed_change_epoch: bool,
}

/// `evaluation`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Evaluation {
    /// Emulated accelerator time of an evaluation step, seconds.
    pub eval_time: Distribution,
    /// First epoch that ends with an evaluation.
    pub eval_after_epoch: u64,
    /// Epochs between two evaluations.
    pub epochs_between_evals: u64,
}

/// A duration in seconds, constant or drawn; absolute values are taken, as the reference does.
///
/// Written as a plain number where constant, else as a mapping with `type`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(from = "WrittenDistribution", into = "WrittenDistribution")]
#[allow(missing_docs)]
pub enum Distribution {
    Constant { seconds: f64 },
    Normal { mean: f64, stdev: f64 },
    Uniform { min: f64, max: f64 },
    Gamma { shape: f64, scale: f64 },
    Exponential { scale: f64 },
    Poisson { lam: f64 },
}

/// `metric`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Metric {
    /// Accelerator utilization that a run must reach, as a fraction.
    pub au: f64,
}

/// `output`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
pub struct Output {
    /// Where results go; `--results-dir` replaces it.
    pub folder: Option<String>,
    /// The metric window.
    pub metric: OutputMetric,
    /// File in the results folder that messages are copied to; None: no file.
    pub log_file: Option<String>,
}

/// `output.metric`: steps of each block left out of the official metric.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OutputMetric {
    /// At the start of a block.
    pub exclude_start_steps: u64,
    /// At its end.
    pub exclude_end_steps: u64,
}

/// `io.mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default, Hash)]
#[serde(rename_all = "lowercase")]
pub enum IoMode {
    /// Exact sizes, true shuffles, deep queues.
    #[default]
    Native,
    /// Sizes, sharding, depth and caching of the Python tool.
    Reference,
}

/// `io.engine`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
pub enum Engine {
    /// io_uring; where the kernel refuses it, pread/pwrite with a warning and a note in the result.
    #[default]
    Auto,
    /// io_uring or an error.
    Uring,
    /// pread/pwrite.
    Sync,
    /// Memory mapping.
    Mmap,
    /// No storage at all: the ceiling of the client.
    Null,
}

/// `io` (ours): how bytes move.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Io {
    /// Manner of the run.
    pub mode: IoMode,
    /// Engine for files.
    pub engine: Engine,
    /// What becomes of the page cache.
    pub cache: CacheMode,
    /// O_DIRECT on data files; always `cache == direct`.
    pub direct: bool,
    /// Requests in flight of one I/O thread.
    pub queue_depth: u64,
    /// Largest request.
    pub block_size: u64,
    /// Requests below 256 KiB that are handed to the kernel at once, at most the queue depth; 1
    /// keeps a lone disk's queue fullest, more saves CPU. Larger ones go by themselves.
    pub submit_batch: u64,
    /// Register buffers and files with the ring where the limits allow.
    pub registered: bool,
    /// Ask for huge pages.
    pub huge_pages: bool,
    /// Cap on the buffer memory of one rank.
    pub max_buffer_bytes: u64,
    /// Reserve the space of a file before it is written.
    pub fallocate: bool,
    /// The last incomplete batch of an epoch is left out, as the reference does.
    pub drop_last: bool,
    /// Decode what was read, on the I/O thread and outside of read latency.
    pub decode: bool,
    /// Delay added to every operation.
    pub delay: Option<DelaySpec>,
    /// Faults injected on a schedule.
    pub fault: Vec<FaultSpec>,
}

/// `io.delay`: latency and bandwidth of an emulated slow store.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
pub struct DelaySpec {
    /// Seconds added to every operation.
    pub latency: f64,
    /// Bytes per second of one I/O thread; 0: unlimited.
    pub bandwidth: u64,
    /// Only on this rank; None: on all.
    pub rank: Option<u32>,
}

/// One entry of `io.fault`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultSpec {
    /// Operation that fails.
    pub op: FaultOp,
    /// What happens.
    pub kind: FaultKind,
    /// First operation of this kind (counted from 1, for each I/O thread) that is hit.
    #[serde(default = "one")]
    pub at: u64,
    /// Hit again every so many operations; 0: only once.
    #[serde(default)]
    pub every: u64,
    /// Only files whose name contains this.
    #[serde(default)]
    pub name_contains: String,
    /// Only on this rank.
    #[serde(default)]
    pub rank: Option<u32>,
}

fn one() -> u64 {
    1
}

/// Operation of a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum FaultOp {
    Open,
    Read,
    Write,
    Sync,
}

/// Kind of a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FaultKind {
    /// The operation fails with EIO.
    Eio,
    /// The operation fails with ENOSPC.
    Enospc,
    /// Half of the bytes arrive.
    Short,
    /// One bit of the data is flipped.
    Flip,
    /// The data are zeros.
    Zeros,
}

/// `verify.mode`, `--verify`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
pub enum VerifyMode {
    /// Nothing is checked.
    #[default]
    None,
    /// The size of every file, asked for when it is opened. Of a file on a disk that costs nothing
    /// and is always done; of an object it is a request (HEAD).
    Size,
    /// A share of the requests.
    Sample,
    /// Every byte.
    Full,
}

impl VerifyMode {
    /// Bytes are compared.
    pub fn checks_content(self) -> bool {
        matches!(self, VerifyMode::Sample | VerifyMode::Full)
    }
}

/// `verify` (ours).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Verify {
    /// How much is checked.
    pub mode: VerifyMode,
    /// Share of requests that `sample` checks.
    pub sample_fraction: f64,
}
