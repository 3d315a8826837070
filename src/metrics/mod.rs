//! What is counted while bytes move: histograms, per-thread recorders, live counters, time series,
//! and the catalogue of every name under which a figure is reported.

pub mod catalog;
pub mod counts;
pub mod histogram;
pub mod live;
pub mod recorder;
pub mod series;
pub mod timeline;

pub use counts::{ByteCounts, OpCounts};
pub use histogram::{Histogram, Summary};
pub use live::{LiveCounters, LiveTotals};
pub use recorder::Recorder;
pub use series::{BinCounts, Series};
pub use timeline::Timeline;
