//! What a workload file may say.
//!
//! An unmodified MLPerf/DLIO YAML is a valid workload file; sections DLIO does not have (`io`, `verify`) are ours.
//! [`load`] reads one or more files, lays `--set` overrides over them and yields one typed [`Config`].

pub mod types;

pub use types::*;

use std::path::PathBuf;

/// A configuration that could not be read; one line that names file, line, key, what was wrong and what is allowed.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0}")]
pub struct ConfigError(pub String);

/// The outcome of reading workload files.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// Typed settings, defaults filled in.
    pub config: Config,
    /// Keys that were accepted but have no effect here, one sentence each (`key: why`).
    pub notes: Vec<String>,
    /// The effective configuration as YAML that loads again to the same [`Config`].
    pub effective_yaml: String,
}

/// Reads workload files in order (a later file wins key by key), then applies `section.key=value` overrides.
pub fn load(_files: &[PathBuf], _overrides: &[String]) -> Result<Loaded, ConfigError> {
    unimplemented!()
}
