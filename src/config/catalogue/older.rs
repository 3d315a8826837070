//! Keys of older versions of the reference, and keys that its files hold and nothing reads.
//!
//! Files of MLPerf Storage v0.5 and v1.0 and of DLIO 2.0.0 load with these. None of them is offered
//! as what a misspelt key was meant to be.

use super::super::kind::*;
use super::{Key, ignored, renamed};

const NO_MESSAGES: &str = "it chooses messages of the Python tool";
const NOT_READ: &str = "the reference does not read it";
const NO_TENSOR: &str = "rankio hands no tensor to the training loop";
const STORAGE: &str = "the reference does not read it; see section storage";
const ENDPOINTS: &str = "the reference does not read it; see storage.storage_options.endpoint_uris";
const DATA_LOADER: &str = "the reference does not read it; see section reader";

pub(super) const KEYS: &[Key] = &[
    renamed("dataset.record_length", Kind::MeanBytes { min: 1.0 }, "dataset.record_length_bytes"),
    renamed(
        "dataset.record_length_stdev",
        Kind::MeanBytes { min: 0.0 },
        "dataset.record_length_bytes_stdev",
    ),
    renamed("checkpoint.model_size", BYTES, "model.model_size_bytes"),
    renamed("checkpoint.num_layers", Kind::Tally, "model.num_layers"),
    renamed("checkpoint.layer_parameters", COUNTS, "model.layer_parameters"),
    renamed("checkpoint.optimization_groups", COUNTS, "model.optimization_groups"),
    renamed("checkpoint.tensor_parallelism", POSITIVE, "model.parallelism.tensor"),
    renamed("checkpoint.pipeline_parallelism", POSITIVE, "model.parallelism.pipeline"),
    ignored("dataset.record_length_resize", Kind::MeanBytes { min: 0.0 }, NO_TENSOR),
    ignored("dataset.eval_num_samples_per_file", Kind::Any, NOT_READ),
    ignored("dataset.file_list_train", Kind::Any, NOT_READ),
    ignored("dataset.storage_type", Kind::Any, STORAGE),
    ignored("dataset.storage_root", Kind::Any, STORAGE),
    ignored("dataset.storage_library", Kind::Any, STORAGE),
    ignored("dataset.storage_options", Kind::Any, STORAGE),
    ignored("workflow.debug", Kind::Any, NO_MESSAGES),
    ignored(
        "workflow.do_eval",
        Kind::Any,
        "the reference does not read it; workflow.evaluation turns evaluation on",
    ),
    ignored("reader.computatation_threads", COUNT, "rankio parses no samples"),
    ignored("reader.shuffle", Kind::Any, "the reference does not read it; see reader.file_shuffle"),
    ignored("reader.seed", Kind::Any, "the reference does not read it; see train.seed"),
    ignored("reader.checkpoint_folder", Kind::Any, "the reference does not read it"),
    ignored("reader.data_loader_root", Kind::Any, STORAGE),
    ignored("reader.protocol", Kind::Any, STORAGE),
    ignored("reader.storage_type", Kind::Any, STORAGE),
    ignored("reader.storage_root", Kind::Any, STORAGE),
    ignored("reader.storage_library", Kind::Any, STORAGE),
    ignored("reader.storage_options", Kind::Any, STORAGE),
    ignored("reader.endpoint_uris", Kind::Any, ENDPOINTS),
    ignored("reader.load_balance_strategy", Kind::Any, ENDPOINTS),
    ignored("reader.use_mpi_endpoint_distribution", Kind::Any, ENDPOINTS),
    ignored("train.batch_size", Kind::Any, "the reference does not read it; see reader.batch_size"),
    ignored("train.total_eval_steps", Kind::Any, NOT_READ),
    ignored("evaluation.steps_between_evals", Kind::Any, NOT_READ),
    ignored("endpoint_uris", Kind::Any, ENDPOINTS),
    ignored("load_balance_strategy", Kind::Any, ENDPOINTS),
    ignored("use_mpi_endpoint_distribution", Kind::Any, ENDPOINTS),
    ignored("data_loader", Kind::Any, DATA_LOADER),
    ignored("generator", Kind::Any, NOT_READ),
    ignored("logging", Kind::Any, NO_MESSAGES),
];

/// Whether `key` is one of these.
pub(super) fn holds(key: &Key) -> bool {
    KEYS.iter().any(|older| older.path == key.path)
}
