//! From reduced values to files and screens. `result` is the one source; every exporter is one file.

pub mod atomic;
pub mod dlio;
pub mod official;
pub mod result;
pub mod timestamp;
