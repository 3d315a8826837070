//! What is counted while bytes move: histograms, per-thread recorders, time series.

pub mod counts;
pub mod histogram;

pub use counts::{ByteCounts, OpCounts};
pub use histogram::{Histogram, Summary};
