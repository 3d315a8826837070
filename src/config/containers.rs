//! Keys that only some containers read: what they do elsewhere, and what a container implies for
//! the rest of the run.

use super::source::Sources;
use super::{Compression, Config, ConfigError, Dataset, Engine, FormatKind, IoMode, ReadType};

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
    note_compression(dataset, notes);
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
        notes.push(match config.io.mode {
            IoMode::Reference => {
                config.io.engine = Engine::Mmap;
                "dataset.format: mmap_indexed_binary sets io.engine to mmap with io.mode: \
                 reference, through the page cache; give io.engine for another"
                    .into()
            }
            IoMode::Native => "dataset.format: mmap_indexed_binary is read as indexed_binary; the \
                               reference maps the files into memory, as io.engine: mmap does"
                .into(),
        });
    }
}

/// Compression that the container does not have, and a level that no codec asks for.
fn note_compression(dataset: &Dataset, notes: &mut Vec<String>) {
    let compressed = dataset.compression != Compression::None;
    let level = dataset.compression_level.is_some();
    if !matches!(dataset.format, FormatKind::Parquet | FormatKind::Csv) {
        if compressed {
            notes.push(
                "dataset.compression: no effect: files of this format are written uncompressed, as \
                 the reference does"
                    .into(),
            );
        } else if level {
            notes.push("dataset.compression_level: no effect: nothing is compressed".into());
        }
    } else if level && dataset.compression.levels().is_none() {
        let why = if compressed { "this codec has no levels" } else { "nothing is compressed" };
        notes.push(format!("dataset.compression_level: no effect: {why}"));
    }
}

/// Refuses what a container cannot do.
pub(super) fn check(sources: &Sources, config: &Config) -> Result<(), ConfigError> {
    let refuse = |path: &str, text: &str| Err(sources.error_about(path, text));
    check_compression(sources, &config.dataset)?;
    match contradiction(config) {
        Some((path, text)) => refuse(path, text),
        None => Ok(()),
    }
}

/// What contradicts the container or the engine, also after options of the command line changed
/// settings: the key, and a sentence without it.
pub fn contradiction(config: &Config) -> Option<(&'static str, &'static str)> {
    if let Some(found) = super::objects::contradiction(config) {
        return Some(found);
    }
    if config.verify.mode.checks_content() && !config.dataset.has_exact_sizes() {
        let text = "the bytes of compressed or dictionary-encoded files cannot be checked one by \
                    one; give none";
        return Some(("verify.mode", text));
    }
    if config.io.decode && config.io.engine == Engine::Null {
        return Some(("io.decode", "io.engine: null brings no bytes to decode; set one of them"));
    }
    if config.io.decode && config.dataset.format != FormatKind::Parquet {
        let text = "only files of dataset.format: parquet are decoded; give False";
        return Some(("io.decode", text));
    }
    if config.io.decode && config.reader.read_type == ReadType::Memory {
        let text = "reader.read_type: memory reads files whole, not by row groups; set one of them";
        return Some(("io.decode", text));
    }
    None
}

fn check_compression(sources: &Sources, dataset: &Dataset) -> Result<(), ConfigError> {
    let refuse = |path: &str, text: &str| Err(sources.error_about(path, text));
    match (dataset.format, dataset.compression) {
        (_, Compression::None) => {}
        (FormatKind::Csv, codec) if codec != Compression::Gzip => {
            return refuse(
                "dataset.compression",
                "csv files are compressed by gzip; give gzip or none",
            );
        }
        (FormatKind::Hdf5 | FormatKind::Hdf5Opt, _) => {
            return refuse(
                "dataset.compression",
                "hdf5 datasets are written uncompressed, because the places of compressed chunks \
                 are not known before they are made; give none",
            );
        }
        _ => {}
    }
    if let (Some(level), Some((least, _, most))) =
        (dataset.compression_level, dataset.compression.levels())
        && !(least..=most).contains(&level)
    {
        let text = format!("`{level}` is no level of this codec; give {least} to {most}");
        return refuse("dataset.compression_level", &text);
    }
    Ok(())
}
