//! Keys of the reference's readers that say how files are asked for: request size, whole files,
//! who opens what; and the part of a dataset that is read.

use super::kind::{BLOCK_BYTES_MAX, PAGE_BYTES};
use super::resolve::converted;
use super::source::Sources;
use super::{Config, ConfigError, Dataset, IoMode, ReadType, Shuffle};

/// The reference's read buffer is our largest request, where that is not given itself.
pub(super) fn fold(
    sources: &Sources,
    config: &mut Config,
    notes: &mut Vec<String>,
) -> Result<(), ConfigError> {
    if let Some(entry) = sources.get("reader.transfer_size")
        && let Some(bytes) = converted(sources, entry)?.as_u64()
    {
        if bytes == 0 {
            notes.push("reader.transfer_size: no effect: 0 names no size of a request".into());
        } else if sources.get("io.block_size").is_some() {
            notes.push("reader.transfer_size: no effect: io.block_size is given".into());
        } else {
            let block = bytes.div_ceil(PAGE_BYTES).saturating_mul(PAGE_BYTES);
            config.io.block_size = block.min(BLOCK_BYTES_MAX);
            if config.io.block_size != bytes {
                notes.push(format!(
                    "reader.transfer_size: {bytes} becomes io.block_size {}: requests are whole \
                     pages of 4 KiB, up to 1 GiB",
                    config.io.block_size
                ));
            }
        }
    }
    let dataset = &config.dataset;
    // The effective configuration of a run writes out what nobody asked for.
    let usual = Dataset::default().listing_validation_interval;
    if !dataset.skip_listing && dataset.listing_validation_interval != usual {
        notes.push(
            "dataset.listing_validation_interval: no effect: dataset.skip_listing is False, so \
             files are looked for anyway"
                .into(),
        );
    }
    Ok(())
}

/// Refuses what cannot be had.
pub(super) fn check(sources: &Sources, config: &Config) -> Result<(), ConfigError> {
    let refuse = |path: &str, text: &str| Err(sources.error_about(path, text));
    let access = sources.get("reader.file_access").and_then(|entry| entry.value.as_str());
    let access = access.map(str::to_ascii_lowercase);
    if let Some(word @ ("collective" | "mpio")) = access.as_deref() {
        let text = format!(
            "`{word}`: collective MPI-IO is not made here: each rank reads its own samples by \
             itself, in files that it may share with others; give multi, shared or posix"
        );
        return refuse("reader.file_access", &text);
    }
    let (dataset, reader) = (&config.dataset, &config.reader);
    let shuffled = config.io.mode == IoMode::Native && reader.sample_shuffle != Shuffle::Off;
    if reader.read_type == ReadType::Memory && shuffled && dataset.num_samples_per_file > 1 {
        return refuse(
            "reader.read_type",
            "`memory` reads a file once for all its samples, and reader.sample_shuffle spreads \
             them over the epoch; set reader.sample_shuffle to off (reader.file_shuffle may stay) \
             or read_type to on_demand",
        );
    }
    if let Some(files) = dataset.num_files_generated
        && files < dataset.num_files_train
    {
        let text = format!(
            "`{files}` is less than dataset.num_files_train ({}), which is a part of it; give more \
             or remove it",
            dataset.num_files_train
        );
        return refuse("dataset.num_files_generated", &text);
    }
    if let Some(name) = &config.output.log_file
        && (name.contains('/') || name.starts_with('.') || RESULT_FILES.contains(&name.as_str()))
    {
        let text = format!(
            "`{name}` is not a free name in the results folder; give a plain one such as dlio.log"
        );
        return refuse("output.log_file", &text);
    }
    Ok(())
}

/// Names that a run writes itself.
const RESULT_FILES: [&str; 7] = [
    "config.yaml",
    "histograms.hlog",
    "mlperf",
    "ranks.csv",
    "result.json",
    "series.csv",
    "summary.txt",
];
