//! Default values of every section.
//!
//! The sections that DLIO knows have DLIO's defaults, so that a file which leaves a key out means
//! the same here and there; `io` and `verify` are ours.

use super::cache::CacheMode;
use super::compression::Compression;
use super::parquet::Parquet;
use super::types::*;

impl Default for Distribution {
    fn default() -> Self {
        Distribution::Constant { seconds: 0.0 }
    }
}

impl Default for Dataset {
    fn default() -> Self {
        Dataset {
            data_folder: "./data".into(),
            format: FormatKind::Tfrecord,
            num_files_train: 8,
            num_files_generated: None,
            num_files_eval: 0,
            num_samples_per_file: 1,
            record_length_bytes: 65536.0,
            record_length_bytes_stdev: 0.0,
            record_dims: Vec::new(),
            record_element_type: ElementType::Uint8,
            num_subfolders_train: 0,
            num_subfolders_eval: 0,
            file_prefix: "img".into(),
            keep_files: true,
            skip_listing: false,
            listing_validation_interval: 1000,
            compression: Compression::None,
            compression_level: None,
            enable_chunking: false,
            chunk_size: 0,
            hdf5: Hdf5::default(),
            image_content: ImageContent::Real,
            seed: 10,
            compress_ratio: 1.0,
            dedup_ratio: 1.0,
            pattern: Pattern::Pool,
            parquet: Parquet::default(),
        }
    }
}

impl Default for Hdf5 {
    fn default() -> Self {
        Hdf5 { chunk_dims: Vec::new(), num_dset_per_record: 1, max_shape: Vec::new() }
    }
}

impl Default for Reader {
    fn default() -> Self {
        Reader {
            batch_size: 1,
            batch_size_eval: 1,
            read_threads: 1,
            write_threads: 1,
            prefetch_size: 2,
            file_shuffle: Shuffle::Off,
            sample_shuffle: Shuffle::Off,
            read_type: ReadType::OnDemand,
            preprocess_time: Distribution::default(),
        }
    }
}

impl Default for Train {
    fn default() -> Self {
        Train {
            epochs: 1,
            computation_time: Distribution::default(),
            accelerators_per_rank: 1,
            total_training_steps: None,
            seed: 123,
            seed_change_epoch: true,
        }
    }
}

impl Default for Evaluation {
    fn default() -> Self {
        Evaluation {
            eval_time: Distribution::default(),
            eval_after_epoch: 1,
            epochs_between_evals: 1,
        }
    }
}

impl Default for Metric {
    fn default() -> Self {
        Metric { au: 0.90 }
    }
}

impl Default for OutputMetric {
    fn default() -> Self {
        OutputMetric { exclude_start_steps: 1, exclude_end_steps: 0 }
    }
}

impl Default for Io {
    fn default() -> Self {
        Io {
            mode: IoMode::Native,
            engine: Engine::Auto,
            cache: CacheMode::Direct,
            direct: true,
            queue_depth: 8,
            block_size: 1 << 20,
            submit_batch: 4,
            registered: true,
            huge_pages: true,
            max_buffer_bytes: 1 << 30,
            fallocate: true,
            drop_last: true,
            decode: false,
            delay: None,
            fault: Vec::new(),
        }
    }
}

impl Default for Verify {
    fn default() -> Self {
        Verify { mode: VerifyMode::None, sample_fraction: 0.05 }
    }
}
