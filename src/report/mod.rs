//! From reduced values to files and screens. `result` is the one source; every exporter is one
//! file, and [`files::write_all`] calls them all.

pub mod atomic;
pub mod cache;
pub mod capacity;
pub mod checkpoint;
pub mod compare;
pub mod csv;
pub mod dlio;
pub mod files;
pub mod foreign;
pub mod hlog;
pub mod housekeeping;
pub mod json;
pub mod object;
pub mod official;
pub mod progress;
pub mod repeat;
pub mod result;
pub mod run_log;
#[cfg(test)]
pub(crate) mod sample;
pub mod screen;
pub mod text;
pub mod timestamp;
pub mod units;
pub mod verdict;
