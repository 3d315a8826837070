//! From reduced values to files and screens. `result` is the one source; every exporter is one file.

pub mod atomic;
pub mod csv;
pub mod dlio;
pub mod hlog;
pub mod json;
pub mod official;
pub mod progress;
pub mod result;
#[cfg(test)]
pub(crate) mod sample;
pub mod text;
pub mod timestamp;
pub mod units;
pub mod verdict;
