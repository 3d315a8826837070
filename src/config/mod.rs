//! What a workload file may say.
//!
//! An unmodified MLPerf/DLIO YAML is a valid workload file; sections that DLIO does not have (`io`,
//! `verify`) are ours. [`load`] reads one or more files, lays `--set` overrides over them and
//! yields one typed [`Config`].
//!
//! The way of a setting: `source` reads it and remembers where it stands, [`catalogue`] knows the
//! key, `coerce` takes the value in any of its spellings, `resolve` puts it into its field or notes
//! that it has no effect, `check` compares fields.

mod accelerators;
mod cache;
pub mod catalogue;
mod check;
mod check_checkpoint;
mod checkpoint;
mod coerce;
mod compression;
mod containers;
mod defaults;
pub mod kind;
mod locate;
mod model;
mod object;
mod objects;
mod parquet;
mod profiling;
mod requests;
mod resolve;
mod source;
pub mod types;
pub mod units;
mod written;

pub use accelerators::{Accelerator, accelerators};
pub use cache::CacheMode;
pub use checkpoint::{
    Checkpoint, CheckpointContent, CheckpointLayout, CheckpointMode, CheckpointOrder,
    CheckpointType, Durability, Reshard, Restore,
};
pub use compression::{Compression, ParquetEncoding};
pub use containers::contradiction;
pub use model::{Datatype, Model, Parallelism, Transformer};
pub use object::{
    Balance, ObjectClient, ObjectOptions, StorageLibrary, StorageSection, is_object_root,
};
pub use objects::{Autoterm, ObjectMix, ObjectSource, ObjectWork, SizeShare};
pub use parquet::{ColumnType, Parquet, ParquetColumn};
pub use profiling::{Profiler, Profiling};
pub use types::*;

use std::path::PathBuf;

/// A configuration that could not be read; one line that names file, line, key, what was wrong and
/// what is allowed.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
#[error("{0}")]
pub struct ConfigError(pub String);

/// The outcome of reading workload files.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// Typed settings, defaults filled in.
    pub config: Config,
    /// Keys that were accepted but have no effect here or another than expected, one sentence each
    /// (`key: why`).
    pub notes: Vec<String>,
    /// The effective configuration as YAML that loads again to the same [`Config`].
    pub effective_yaml: String,
}

/// Reads workload files in order (a later file wins key by key), then applies `section.key=value`
/// overrides.
///
/// The value of an override is a YAML scalar or flow collection and ends with the argument, so it
/// may contain `=`; for a key that takes text it is the text itself. Hydra's spelling
/// (`++workload.section.key=value`) is understood. Without files the result is the defaults and the
/// overrides.
///
/// # Errors
/// The first thing that is wrong, as `file:line: key: what, and what is allowed` or `--set key:
/// ...`.
pub fn load(files: &[PathBuf], overrides: &[String]) -> Result<Loaded, ConfigError> {
    load_for(files, overrides, None)
}

/// As [`load`], with the batch and the compute time that `accelerator` has for the model, see
/// [`accelerators`]. They lie above the files and below the overrides.
///
/// # Errors
/// As [`load`], and a model or accelerator that is not in the table.
pub fn load_for(
    files: &[PathBuf],
    overrides: &[String],
    accelerator: Option<&str>,
) -> Result<Loaded, ConfigError> {
    let mut sources = source::Sources::read(files, overrides)?;
    if let Some(accelerator) = accelerator {
        sources.take_accelerator(accelerator)?;
    }
    let (config, mut notes) = resolve::resolve(&sources)?;
    check::check(&sources, &config)?;
    containers::check(&sources, &config)?;
    requests::check(&sources, &config)?;
    profiling::check(&sources, &config, &mut notes)?;
    let effective_yaml = effective_yaml(&config)?;
    Ok(Loaded { config, notes, effective_yaml })
}

/// A [`Config`] as a workload file in which every value is written out; [`load`] reads it back to
/// an equal one.
///
/// Use it again where settings change after loading (`--data-dir`, `--engine`).
pub fn effective_yaml(config: &Config) -> Result<String, ConfigError> {
    serde_yaml::to_string(config)
        .map_err(|error| ConfigError(format!("the configuration cannot be written: {error}")))
}

#[cfg(test)]
mod tests;
