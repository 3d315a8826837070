//! One sentence for every key: what it does, or would do where it has no effect here.
//!
//! Apart from the table of keys, so that a line of that table stays a line.

/// What the key at `path` does; None where nobody has said it yet, which a test finds.
pub(super) fn sentence(path: &str) -> Option<&'static str> {
    let sections = [RUN, MODEL, DATASET, PARQUET, READER, TIMES, CHECKPOINT, STORAGE, OUTPUT, IO];
    let known = sections.into_iter().chain([OBJECT, OLDER, OTHER_TOOLS]).flatten();
    known.into_iter().find(|(known, _)| *known == path).map(|(_, sentence)| *sentence)
}

type Sentences = &'static [(&'static str, &'static str)];

const RUN: Sentences = &[
    ("framework", "Python framework that the file was written for; only compared with the loader"),
    ("workflow.generate_data", "Generate the dataset before anything else"),
    ("workflow.train", "Run the training loop"),
    ("workflow.evaluation", "Evaluate after epochs"),
    ("workflow.checkpoint", "Write checkpoints"),
    ("workflow.profiling", "Record the counters of block devices over time"),
];

const MODEL: Sentences = &[
    ("model.name", "Name of the model in reports"),
    (
        "model.type",
        "`transformer`: sizes follow from `model.transformer`; another word: from \
         `model_size_bytes`",
    ),
    ("model.model_size", "Older name of `model_size_bytes`"),
    (
        "model.model_size_bytes",
        "Bytes that each writing rank has of a model that is no transformer",
    ),
    ("model.model_datatype", "Number type of the weights in a checkpoint"),
    ("model.optimizer_datatype", "Number type of the optimizer state in a checkpoint"),
    ("model.num_layers", "Blocks of the model"),
    (
        "model.optimization_groups",
        "Bytes of each group of a rank's optimizer, instead of those that follow from the \
         parameters; each is written twice, and all together once",
    ),
    (
        "model.layer_parameters",
        "Bytes of each tensor of a block, instead of those of a transformer; there are no other \
         layers then",
    ),
    ("model.parallelism.tensor", "Ranks that share each layer"),
    ("model.parallelism.pipeline", "Stages that share the layers"),
    (
        "model.parallelism.data",
        "Copies of the model in the whole job, with `checkpoint.mode: subset` only",
    ),
    (
        "model.parallelism.zero_stage",
        "What is shared among the copies: 0 nothing, 1 and 2 the optimizer, 3 the weights too",
    ),
    ("model.transformer.vocab_size", "Tokens of the vocabulary"),
    ("model.transformer.hidden_size", "Width of a layer"),
    ("model.transformer.ffn_hidden_size", "Width of a layer's feed-forward part"),
    ("model.transformer.num_attention_heads", "Heads of the attention"),
    ("model.transformer.num_kv_heads", "Heads of keys and values"),
];

const DATASET: Sentences = &[
    ("dataset.data_folder", "Folder that holds `train/` and `valid/`; `--data-dir` replaces it"),
    ("dataset.format", "Container of the samples"),
    ("dataset.num_files_train", "Files that an epoch trains on"),
    ("dataset.num_files_eval", "Files of an evaluation"),
    ("dataset.num_samples_per_file", "Samples in each file"),
    ("dataset.record_length_bytes", "Mean bytes of a sample"),
    (
        "dataset.record_length_bytes_stdev",
        "Standard deviation of the bytes of a sample, from file to file",
    ),
    (
        "dataset.record_length_bytes_resize",
        "Size of the tensor that the reference's reader returns",
    ),
    ("dataset.record_dims", "Shape of a sample; then its bytes are product x element"),
    (
        "dataset.record_element_type",
        "Type of an element; its bytes times `record_dims` are a sample",
    ),
    ("dataset.num_subfolders_train", "Subfolders of `train/`: file i lies in subfolder i modulo n"),
    ("dataset.num_subfolders_eval", "Subfolders of `valid/`"),
    ("dataset.file_prefix", "First part of every file name"),
    ("dataset.keep_files", "False: the dataset is removed at the end of the run"),
    ("dataset.skip_listing", "False: every file is looked for before the run; True: some are"),
    ("dataset.listing_validation_interval", "With `skip_listing`: every Nth file is looked for"),
    ("dataset.enable_chunking", "HDF5: store datasets in chunks of about `chunk_size` bytes"),
    ("dataset.chunk_size", "HDF5: bytes of a chunk"),
    ("dataset.hdf5.chunk_dims", "HDF5: sides of a chunk"),
    ("dataset.hdf5.num_dset_per_record", "HDF5: datasets that share a sample"),
    ("dataset.hdf5.max_shape", "HDF5: sides that a dataset could grow to"),
    ("dataset.image_content", "jpeg and png: pictures that readers open, or random bytes"),
    ("dataset.seed", "Seed of sizes and content"),
    ("dataset.compress_ratio", "How well the content compresses"),
    ("dataset.dedup_ratio", "How often each 4 KiB block occurs"),
    ("dataset.pattern", "Generator of the content"),
    ("dataset.num_files_generated", "Files of the whole dataset where an epoch trains on a part"),
    ("dataset.record_element_bytes", "Bytes of an element"),
    ("dataset.compression", "Codec of parquet pages; csv files: gzip"),
    ("dataset.compression_level", "How hard it tries: gzip 1 to 9, zstd 1 to 22"),
    ("dataset.generation_buffer_size", "Bytes that the reference generates and writes at once"),
    ("dataset.data_gen_method", "Which random generator the reference uses"),
    ("dataset.total_disk_bytes", "Bytes that the author of the file expects"),
];

const PARQUET: Sentences = &[
    ("dataset.parquet.columns", "Columns: name, dtype, size, read"),
    ("dataset.parquet.row_group_size", "Rows of a row group"),
    ("dataset.parquet.encoding", "Values as they are, or behind dictionaries"),
    ("dataset.parquet.coalesce_gap", "Selected chunks this close are read as one range"),
    ("dataset.parquet.read_mode", "Meant to choose how row groups are read"),
    ("dataset.parquet.partition_by", "Refused: made values are all different"),
    ("dataset.parquet.generation_batch_size", "Rows that the reference generates at once"),
    ("dataset.parquet.use_s3dlio_gen", "Another generator of the reference"),
];

const READER: Sentences = &[
    ("reader.batch_size", "Samples of a training step of one rank"),
    ("reader.batch_size_eval", "Samples of an evaluation step of one rank"),
    ("reader.read_threads", "I/O threads of a rank; 0: one"),
    ("reader.write_threads", "Files that a rank generates at a time; 0 and 1: by its CPUs"),
    ("reader.prefetch_size", "Batches read ahead"),
    ("reader.file_shuffle", "Order of the files in an epoch"),
    ("reader.sample_shuffle", "Order of all samples in an epoch"),
    ("reader.preprocess_time", "Sleep of the I/O thread for each sample"),
    ("reader.preprocess_time_stdev", "Its standard deviation"),
    ("reader.odirect", "Read with O_DIRECT"),
    ("reader.data_loader", "Python loader"),
    ("reader.data_loader_classname", "Python class of a loader"),
    ("reader.data_loader_sampler", "Python sampler"),
    ("reader.reader_classname", "Python class of a reader"),
    ("reader.computation_threads", "Threads that parse samples"),
    ("reader.shuffle_size", "Samples in TensorFlow's shuffle buffer"),
    ("reader.read_type", "`memory`: a file is read whole, once for all its samples"),
    ("reader.file_access", "How processes share files"),
    ("reader.transfer_size", "Bytes of a request; 0: not given"),
    ("reader.dont_use_mmap", "Parsed by the reference and not used"),
    ("reader.pin_memory", "Copy through pinned memory to a GPU"),
    ("reader.multiprocessing_context", "How Python starts its worker processes"),
    ("reader.transformed_record_dims", "Shape of the tensor that the reference's reader returns"),
    ("reader.transformed_record_element_type", "Its element type"),
];

const TIMES: Sentences = &[
    ("train.epochs", "Epochs"),
    ("train.computation_time", "Emulated accelerator time of a step"),
    ("train.computation_time_stdev", "Its standard deviation"),
    ("train.accelerators_per_rank", "Accelerators that a rank stands for, in lock-step"),
    ("train.total_training_steps", "Cap on the steps of each epoch"),
    ("train.seed", "Seed of shuffles and of drawn step times"),
    ("train.seed_change_epoch", "Each epoch has an order of its own"),
    ("evaluation.eval_time", "Emulated accelerator time of an evaluation step"),
    ("evaluation.eval_time_stdev", "Its standard deviation"),
    ("evaluation.eval_after_epoch", "First epoch that ends with an evaluation; 0: the first"),
    ("evaluation.epochs_between_evals", "Epochs from one evaluation to the next; 0: 1"),
    ("metric.au", "Accelerator utilization that a run must reach to be VALID"),
];

const CHECKPOINT: Sentences = &[
    ("checkpoint.checkpoint_folder", "Folder that holds one folder for each checkpoint"),
    ("checkpoint.checkpoint_after_epoch", "First epoch that ends with a checkpoint"),
    (
        "checkpoint.epochs_between_checkpoints",
        "Epochs from one checkpoint to the next; 0: there is one only",
    ),
    ("checkpoint.steps_between_checkpoints", "Steps from one checkpoint to the next; 0: by epochs"),
    ("checkpoint.type", "Which ranks write a model of given size; others go by ZeRO"),
    (
        "checkpoint.mode",
        "`default`: all ranks of the model's grid; `subset`: the first ranks of a larger job",
    ),
    ("checkpoint.fsync", "True: `durability: fsync`"),
    (
        "checkpoint.time_between_checkpoints",
        "Seconds before each checkpoint, in place of computation; below 0: none",
    ),
    ("checkpoint.num_checkpoints_write", "Checkpoints that are written without training"),
    (
        "checkpoint.num_checkpoints_read",
        "Checkpoints that are read after writing or after training",
    ),
    ("checkpoint.rank_sync", "Wait for all ranks inside the time of a checkpoint"),
    (
        "checkpoint.recovery_rank_shift",
        "True: `restore: ring` (the reference reads the key and does nothing)",
    ),
    ("checkpoint.randomize_tensor", "Random content instead of constant"),
    ("checkpoint.ksm", "Merging of equal memory pages in the reference"),
    ("checkpoint.checkpoint_mechanism_classname", "Python class that writes checkpoints"),
    (
        "checkpoint.layout",
        "`raw`: tensors back to back; `safetensors`: files that the package opens, tensors named \
         as in Llama checkpoints",
    ),
    (
        "checkpoint.content",
        "`full`: every byte is made anew, as in datasets; `stamped`: a megabyte that repeats, with \
         a stamp in each 4 KiB, for as little CPU as fio's buffers",
    ),
    (
        "checkpoint.durability",
        "What is done before a checkpoint counts as written: sync of each file (`fsync`: and of \
         its folder), or `O_DSYNC`",
    ),
    ("checkpoint.files_in_flight", "Files that a rank writes at a time"),
    ("checkpoint.order", "`reference`: a rank's files one after the other, model before optimizer"),
    ("checkpoint.keep_last", "Checkpoints that stay while others are written; 0: all"),
    (
        "checkpoint.restore",
        "Whose files a rank reads: its own, those of the next host, of a drawn rank, its part on \
         another grid, or its own and the rest by MPI",
    ),
    ("checkpoint.restore_seed", "Seed of `restore: random`"),
    ("checkpoint.reshard.tensor", "Ranks that share each layer when reading; 0: as written"),
    ("checkpoint.reshard.pipeline", "Stages that share the layers when reading; 0: as written"),
    ("checkpoint.reshard.written_ranks", "Ranks that wrote the checkpoints; 0: as many as read"),
    ("checkpoint.weights_only", "Read the model files only"),
    ("checkpoint.async", "Write from a snapshot in memory while the training goes on"),
];

const STORAGE: Sentences = &[
    (
        "storage.storage_type",
        "Kind of store; `direct_fs` asks for O_DIRECT, `s3dlio` leaves it to the scheme of \
         `storage_root`",
    ),
    ("storage.storage_root", "Folder below which a relative `data_folder` lies"),
    ("storage.client", "Who speaks with an object store: the own client or aws-sdk-s3"),
    ("storage.storage_library", "Client library of an object store"),
    (
        "storage.post_generation_settle_seconds",
        "Seconds to wait after generating into an object store",
    ),
    ("storage.endpoint_uris", "Endpoints of an object store"),
    ("storage.load_balance_strategy", "How requests are spread over endpoints"),
    ("storage.use_mpi_endpoint_distribution", "Endpoints are dealt to ranks"),
    ("storage.storage_options.access_key_id", "Credential"),
    ("storage.storage_options.secret_access_key", "Credential"),
    ("storage.storage_options.s3_profile", "Profile of the client that holds credentials"),
    ("storage.storage_options.client", "The same as `storage.client`"),
    ("storage.storage_options.endpoint_url", "Endpoint of an object store"),
    ("storage.storage_options.endpoint_uris", "Several endpoints of one store, or templates"),
    ("storage.storage_options.load_balance_strategy", "How requests are dealt to endpoints"),
    ("storage.storage_options.region", "Region of an object store"),
    ("storage.storage_options.storage_library", "Client library of an object store"),
    ("storage.storage_options.part_size", "Smallest part of an object written in parts"),
    ("storage.storage_options.connect_timeout", "Seconds until a connection must stand"),
    ("storage.storage_options.timeout", "Seconds without a byte after which an attempt failed"),
    ("storage.storage_options.total_timeout", "Seconds for all attempts at a request"),
    (
        "storage.storage_options.require_all_endpoints",
        "A silent endpoint ends the run at its start",
    ),
    ("storage.storage_options.uri_scheme", "Scheme of an object's URI"),
    ("storage.storage_options.use_full_object_uri", "Spelling of an object's key"),
    ("storage.storage_options.secure", "TLS to an object store"),
    ("storage.storage_options.s3_force_path_style", "Bucket in the path instead of the host name"),
    ("storage.storage_options.s3_max_attempts", "Attempts of a request"),
    ("storage.storage_options.use_mpi_endpoint_distribution", "Endpoints are dealt to ranks"),
    ("storage.storage_options.account_name", "Credential"),
    ("storage.storage_options.account_key", "Credential"),
    ("storage.storage_options.connection_string", "Credential"),
    ("storage.storage_options.prefetch", "Requests in flight of an object reader"),
    ("storage.storage_options.prefetch_workers", "Threads of an object reader"),
    ("storage.storage_options.prefetch_window", "Requests in flight of an object reader"),
    ("storage.storage_options.stagger_workers", "Workers start one after the other"),
    ("storage.storage_options.columns", "Columns that an object reader reads"),
    ("storage.storage_options.coalesce_rgs", "Row groups of a request"),
    ("storage.storage_options.footer_cap", "Bytes read to find a footer"),
    ("storage.storage_options.footer_batch_size", "Footers read at once"),
    ("storage.storage_options.max_outstanding", "Requests in flight at most"),
    ("storage.storage_options.decode", "Decode row groups after reading"),
    ("storage.storage_options.decode_output", "Form of what was decoded"),
    ("storage.storage_options.simulate_io", "Run without I/O"),
    ("storage.storage_options.sim_log_secs", "Seconds between messages of such a run"),
];

const OUTPUT: Sentences = &[
    ("output.folder", "Folder of results; `--results-dir` replaces it"),
    ("output.metric.exclude_start_steps", "Steps left out of the metric at the start of a block"),
    ("output.metric.exclude_end_steps", "Steps left out at its end"),
    ("output.log_file", "File of messages in the results folder"),
    ("profiling.profiler", "What records while `workflow.profiling` is on"),
    (
        "profiling.iostat_devices",
        "Block devices to record, or one name; empty: those below the data",
    ),
];

const IO: Sentences = &[
    ("io.mode", "`reference`: sizes, order and caching of the Python tool"),
    ("io.engine", "How requests reach the kernel; `null`: not at all"),
    ("io.cache", "What becomes of the page cache; all but `direct` read through it"),
    ("io.direct", "O_DIRECT on data files"),
    ("io.queue_depth", "Requests in flight of one I/O thread"),
    ("io.block_size", "Largest request"),
    (
        "io.submit_batch",
        "Requests below 256 KiB handed to the kernel at once; larger ones go by themselves",
    ),
    ("io.registered", "Register buffers and files with the ring"),
    ("io.huge_pages", "Ask for huge pages behind the buffers"),
    ("io.max_buffer_bytes", "Cap on the buffers of a rank"),
    ("io.fallocate", "Reserve the space of a file before it is written"),
    ("io.drop_last", "Leave the last incomplete batch of an epoch out"),
    ("io.decode", "Decode the columns that were read, on the I/O thread, timed apart"),
    ("io.delay.latency", "Delay added to every operation"),
    ("io.delay.bandwidth", "Bytes per second of the emulated store; 0: no limit"),
    ("io.delay.rank", "The one rank that is delayed"),
    ("io.fault", "Errors and damage injected on a schedule"),
    ("verify.mode", "How much of what is read is compared with what must be there"),
    ("verify.sample_fraction", "Share of the requests that `sample` checks"),
];

const OBJECT: Sentences = &[
    ("workflow.object", "Run the object micro-benchmark, alone"),
    ("object.mix.put", "Weight of writes of whole objects"),
    ("object.mix.get", "Weight of reads of whole objects"),
    ("object.mix.range", "Weight of reads of `range_size` bytes anywhere in an object"),
    ("object.mix.head", "Weight of questions for a size"),
    ("object.mix.list", "Weight of first pages of a listing"),
    ("object.mix.delete", "Weight of removals"),
    ("object.size", "Size of an object, or the mean of sizes"),
    ("object.size_stdev", "Standard deviation of lognormal sizes; 0: all are equal"),
    ("object.size_max", "Largest of those; 0: 16 times `size`"),
    ("object.sizes", "Histogram of sizes in the place of `size`"),
    ("object.range_size", "Size of a ranged read"),
    ("object.objects", "Objects of each rank; of a `list` the most"),
    ("object.prefill", "Put all objects first, in a phase of their own"),
    ("object.in_flight", "Operations of a rank in flight"),
    (
        "object.rate_per_s",
        "Operations of all ranks begun per second, at random times; 0: as one ends",
    ),
    ("object.duration_s", "Seconds of the measured phase; 0: by `operations`"),
    ("object.operations", "Operations of each rank; 0: by `duration_s`"),
    ("object.autoterm.within", "End when ten samples of the rate lie so close together; 0: never"),
    ("object.autoterm.over_s", "Seconds that these ten samples cover"),
    ("object.seed", "Seed of operations and sizes"),
    ("object.keep", "Objects stay after the run"),
    (
        "object.source",
        "Whose objects: `own` of this run, `prepared` by datagen, or any that a `list` finds",
    ),
];

const OLDER: Sentences = &[
    ("dataset.record_length", "Mean bytes of a sample"),
    ("dataset.record_length_stdev", "Their standard deviation"),
    ("dataset.record_length_resize", "Bytes of the tensor that the reference's reader returns"),
    ("dataset.eval_num_samples_per_file", "Samples of an evaluation file"),
    ("dataset.file_list_train", "Names of training files"),
    ("dataset.storage_type", "Kind of store"),
    ("dataset.storage_root", "Bucket of an object store"),
    ("dataset.storage_library", "Client library of an object store"),
    ("dataset.storage_options", "How an object store is reached"),
    ("checkpoint.model_size", "Bytes of a model that is no transformer"),
    ("checkpoint.num_layers", "Blocks of the model"),
    ("checkpoint.layer_parameters", "Bytes of each tensor of a block"),
    ("checkpoint.optimization_groups", "Bytes of each group of a rank's optimizer"),
    ("checkpoint.tensor_parallelism", "Ranks that share each layer"),
    ("checkpoint.pipeline_parallelism", "Stages that share the layers"),
    ("workflow.debug", "Messages for developers of the reference"),
    ("workflow.do_eval", "Evaluation"),
    ("reader.computatation_threads", "Threads that parse samples; the reference spelt it so"),
    ("reader.shuffle", "Shuffle of a Python loader"),
    ("reader.seed", "Seed of shuffles"),
    ("reader.checkpoint_folder", "Folder of checkpoints"),
    ("reader.data_loader_root", "Folder or bucket of the dataset"),
    ("reader.protocol", "Scheme of a store"),
    ("reader.storage_type", "Kind of store"),
    ("reader.storage_root", "Bucket of an object store"),
    ("reader.storage_library", "Client library of an object store"),
    ("reader.storage_options", "How an object store is reached"),
    ("reader.endpoint_uris", "Endpoints of an object store"),
    ("reader.load_balance_strategy", "How requests are spread over endpoints"),
    ("reader.use_mpi_endpoint_distribution", "Endpoints are dealt to ranks"),
    ("train.batch_size", "Samples of a step"),
    ("train.total_eval_steps", "Cap on the steps of an evaluation"),
    ("evaluation.steps_between_evals", "Steps from one evaluation to the next"),
    ("endpoint_uris", "Endpoints of an object store"),
    ("load_balance_strategy", "How requests are spread over endpoints"),
    ("use_mpi_endpoint_distribution", "Endpoints are dealt to ranks"),
    ("data_loader", "Older name of section `reader`"),
    ("generator", "Threads and buffers of a generator"),
    ("logging", "Messages of the reference"),
];

const OTHER_TOOLS: Sentences = &[
    ("database", "Section of a vector database file"),
    ("index", "Section of a vector database file"),
    ("benchmark", "Section of a vector database file"),
    ("user_templates", "Section of a KV-cache file"),
    ("generation_timing", "Section of a KV-cache file"),
    ("qos_profiles", "Section of a KV-cache file"),
    ("qos_distribution", "Section of a KV-cache file"),
    ("eviction", "Section of a KV-cache file"),
    ("gpu_backend", "Section of a KV-cache file"),
    ("prefix_cache", "Section of a KV-cache file"),
    ("rag", "Section of a KV-cache file"),
    ("conversation", "Section of a KV-cache file"),
    ("autoscaler", "Section of a KV-cache file"),
    ("decode", "Section of a KV-cache file"),
    ("sharegpt", "Section of a KV-cache file"),
    ("saturation_detection", "Section of a KV-cache file"),
    ("validation_limits", "Section of a KV-cache file"),
    ("model_configs", "Section of a KV-cache file"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::catalogue::keys;

    #[test]
    fn every_key_has_a_sentence() {
        for key in keys() {
            let sentence = sentence(key.path);
            let sentence = sentence.unwrap_or_else(|| panic!("{}: say what it does", key.path));
            assert!(!sentence.contains('|') && !sentence.ends_with('.'), "{}", key.path);
        }
    }
}
