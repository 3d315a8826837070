//! From reduced values to files and screens. `result` is the one source; every exporter is one file.

pub mod dlio;
pub mod result;
