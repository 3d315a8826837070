//! Keys that only some containers read: what they do elsewhere, and what a container implies for
//! the rest of the run.

use super::source::Sources;
use super::{Config, ConfigError, Dataset, Engine, FormatKind};

/// Keys that shape HDF5 files and say something else than their default.
fn hdf5_keys(dataset: &Dataset) -> impl Iterator<Item = &'static str> {
    let plain = Dataset::default();
    [
        ("dataset.enable_chunking", dataset.enable_chunking != plain.enable_chunking),
        ("dataset.chunk_size", dataset.chunk_size != plain.chunk_size),
        ("dataset.hdf5.chunk_dims", dataset.hdf5.chunk_dims != plain.hdf5.chunk_dims),
        (
            "dataset.hdf5.num_dset_per_record",
            dataset.hdf5.num_dset_per_record != plain.hdf5.num_dset_per_record,
        ),
        ("dataset.hdf5.max_shape", dataset.hdf5.max_shape != plain.hdf5.max_shape),
    ]
    .into_iter()
    .filter_map(|(path, given)| given.then_some(path))
}

/// Whether the container is HDF5.
fn is_hdf5(config: &Config) -> bool {
    matches!(config.dataset.format, FormatKind::Hdf5 | FormatKind::Hdf5Opt)
}

/// Applies what the container implies and notes the keys that it does not read.
pub(super) fn fold(sources: &Sources, config: &mut Config, notes: &mut Vec<String>) {
    let dataset = &config.dataset;
    if !is_hdf5(config) {
        let unread = hdf5_keys(dataset);
        notes.extend(unread.map(|path| format!("{path}: no effect: it only shapes hdf5 files")));
    } else if dataset.chunk_size > 0 && !dataset.hdf5.chunk_dims.is_empty() {
        notes.push("dataset.chunk_size: no effect: dataset.hdf5.chunk_dims is given".into());
    } else if dataset.chunk_size > 0 && !dataset.enable_chunking {
        notes.push("dataset.chunk_size: no effect: dataset.enable_chunking is False".into());
    }
    let mapped = config.dataset.format == FormatKind::MmapIndexedBinary;
    if mapped && sources.get("io.engine").is_none() {
        config.io.engine = Engine::Mmap;
        notes.push(
            "dataset.format: mmap_indexed_binary sets io.engine to mmap, through the page cache; \
             give io.engine for another"
                .into(),
        );
    }
}

/// Refuses what a container cannot do.
pub(super) fn check(sources: &Sources, config: &Config) -> Result<(), ConfigError> {
    let Some(compression) = sources.get("dataset.compression") else { return Ok(()) };
    let word = compression.value.as_str().unwrap_or_default();
    let none = compression.value.is_null() || matches!(word, "" | "none" | "None" | "NONE");
    let compressed = match config.dataset.format {
        FormatKind::Csv => "csv files",
        FormatKind::Hdf5 | FormatKind::Hdf5Opt => "hdf5 datasets",
        _ => return Ok(()),
    };
    if none {
        return Ok(());
    }
    let text = format!(
        "`{word}`: {compressed} are written uncompressed, because the size of compressed ones is \
         not known before they are made and a part of them cannot be checked by itself; give none"
    );
    Err(sources.error(compression, &[], &text))
}
