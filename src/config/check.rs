//! What must hold between keys.
//!
//! Each key's own range stands in the catalogue; here are the rules that need more than one.

use super::source::Sources;
use super::{Config, ConfigError, Dataset, FormatKind};
use serde_yaml::Value;
use std::collections::BTreeSet;

/// Samples of a split end here, so that positions and their sums stay in 64 bits.
const SAMPLES_MAX: u128 = 1 << 62;

/// Refuses settings that contradict each other.
pub(super) fn check(sources: &Sources, config: &Config) -> Result<(), ConfigError> {
    let refuse = |path: &str, text: &str| Err(sources.error_about(path, text));
    if config.workflow.checkpoint {
        super::check_checkpoint::check(sources, config)?;
    }
    if config.workflow.uses_dataset() {
        check_dataset(sources, &config.dataset)?;
        if config.dataset.format == FormatKind::Parquet {
            check_parquet(sources, &config.dataset)?;
        }
    }
    if config.workflow.evaluation && config.dataset.num_files_eval == 0 {
        return refuse(
            "workflow.evaluation",
            "there is nothing to evaluate; give dataset.num_files_eval of at least 1",
        );
    }
    let io = &config.io;
    if io.max_buffer_bytes < io.block_size {
        let text = format!(
            "{} bytes hold no request of io.block_size ({} bytes); give more",
            io.max_buffer_bytes, io.block_size
        );
        return refuse("io.max_buffer_bytes", &text);
    }
    Ok(())
}

fn check_dataset(sources: &Sources, dataset: &Dataset) -> Result<(), ConfigError> {
    let refuse = |path: &str, text: &str| Err(sources.error_about(path, text));
    if dataset.num_files_train == 0 && dataset.num_files_eval == 0 {
        return refuse(
            "dataset.num_files_train",
            "there are no files; give at least 1, or files for evaluation in \
             dataset.num_files_eval",
        );
    }
    for (path, files) in [
        ("dataset.num_files_train", dataset.generated_files()),
        ("dataset.num_files_eval", dataset.num_files_eval),
    ] {
        if u128::from(files) * u128::from(dataset.num_samples_per_file) > SAMPLES_MAX {
            let text = "times dataset.num_samples_per_file is above 2^62 samples; give less";
            return refuse(path, text);
        }
    }
    let subfolders = [
        ("dataset.num_subfolders_train", dataset.num_subfolders_train, dataset.generated_files()),
        ("dataset.num_subfolders_eval", dataset.num_subfolders_eval, dataset.num_files_eval),
    ];
    for (path, folders, files) in subfolders {
        if files > 0 && folders > files {
            let text = format!("`{folders}` folders for {files} files; give at most {files}");
            return refuse(path, &text);
        }
    }
    if !dataset.record_dims.is_empty() && dataset.record_length_bytes_stdev > 0.0 {
        return refuse(
            "dataset.record_dims",
            "cannot go with dataset.record_length_bytes_stdev; a fixed shape has a fixed size, \
             remove one",
        );
    }
    let elements = dataset.record_dims.iter().try_fold(1u64, |all, dim| all.checked_mul(*dim));
    if elements.is_none_or(|elements| elements > super::kind::COUNT_MAX) {
        return refuse("dataset.record_dims", "the product is above 2^53 elements; give less");
    }
    if dataset.file_prefix.contains('/') {
        return refuse("dataset.file_prefix", "is a part of a file name; remove the `/`");
    }
    Ok(())
}

/// A value that was given and means something: neither null nor a spelling of none.
fn given(sources: &Sources, path: &str) -> bool {
    sources.get(path).is_some_and(|entry| match &entry.value {
        Value::Null => false,
        Value::String(text) => !text.is_empty() && !text.eq_ignore_ascii_case("none"),
        _ => true,
    })
}

fn check_parquet(sources: &Sources, dataset: &Dataset) -> Result<(), ConfigError> {
    let refuse = |path: &str, text: &str| Err(sources.error_about(path, text));
    if given(sources, "dataset.parquet.partition_by") {
        return refuse(
            "dataset.parquet.partition_by",
            "would divide each file by the values of a column, and made values are all different; \
             remove it and give dataset.num_subfolders_train",
        );
    }
    let columns = &dataset.parquet.columns;
    let mut names = BTreeSet::new();
    if let Some(twice) = columns.iter().find(|column| !names.insert(&column.name)) {
        let text = format!("`{}` stands twice; rename one", twice.name);
        return refuse("dataset.parquet.columns", &text);
    }
    if columns.is_empty() {
        return Ok(());
    }
    if !(0..columns.len()).any(|index| dataset.parquet.is_read(index)) {
        return refuse(
            "dataset.parquet.columns",
            "every column says read: false; give read: true to at least one",
        );
    }
    if dataset.record_length_bytes_stdev > 0.0 {
        return refuse(
            "dataset.record_length_bytes_stdev",
            "cannot go with dataset.parquet.columns, which fix the size; remove one",
        );
    }
    Ok(())
}
