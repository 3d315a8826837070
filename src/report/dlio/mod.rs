//! The `mlperf/` tree: DLIO's `summary.json` (rank 0) and, from each rank,
//! `<rank>_per_epoch_stats.json` and `<rank>_output.json`, with DLIO's keys, nesting and units.
//!
//! Scripts that read DLIO's results read these. What differs: times are UTC (DLIO: local time, also
//! written without a zone), and `compute` holds measured sleeps, as the MLCommons version of DLIO
//! does; DLIO 2.0.0 stored the configured time.

mod rank_log;
mod summary;

pub use rank_log::{CheckpointLog, EpochLog, RankLog};
pub use summary::{
    RunFacts, data_gib_per_host, has_potential_caching, summary_json, write_summary,
};

use serde::Serialize;
use serde_json::ser::{PrettyFormatter, Serializer};
use std::io::{self, Write};

/// What one rank measured in one block or evaluation. Seconds.
#[derive(Debug, Clone, Default)]
pub struct BlockLog {
    /// Wall clock at the start, nanoseconds since the epoch.
    pub start_unix_ns: u64,
    /// Wall clock at the end.
    pub end_unix_ns: u64,
    /// Monotonic length.
    pub duration_s: f64,
    /// Wait for the batch, for each step.
    pub load_s: Vec<f64>,
    /// Measured compute sleep, for each step.
    pub compute_s: Vec<f64>,
    /// Wait in the step barrier, for each step (not part of DLIO's files).
    pub barrier_s: Vec<f64>,
    /// Samples of this rank in each step: the batch size, or less in a last step that
    /// `io.drop_last: False` kept (not part of DLIO's files).
    pub samples: Vec<u64>,
}

impl BlockLog {
    /// Load and compute of a step together, which DLIO calls `proc`.
    pub fn proc_s(&self) -> impl Iterator<Item = f64> + '_ {
        self.load_s.iter().zip(&self.compute_s).map(|(load, compute)| load + compute)
    }

    /// Empties the lists and keeps their memory, for the next block.
    pub fn clear(&mut self) {
        self.load_s.clear();
        self.compute_s.clear();
        self.barrier_s.clear();
        self.samples.clear();
        (self.start_unix_ns, self.end_unix_ns, self.duration_s) = (0, 0, 0.0);
    }
}

/// Writes JSON as Python's `json.dump(..., indent=4)` does.
fn write_json(writer: &mut impl Write, value: &impl Serialize) -> io::Result<()> {
    let mut serializer = Serializer::with_formatter(writer, PrettyFormatter::with_indent(b"    "));
    value.serialize(&mut serializer).map_err(io::Error::from)
}

/// Puts one more indentation behind each line end; JSON text holds no other raw line ends.
struct Indented<W>(W);

impl<W: Write> Write for Indented<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for line in bytes.split_inclusive(|&byte| byte == b'\n') {
            self.0.write_all(line)?;
            if line.ends_with(b"\n") {
                self.0.write_all(b"    ")?;
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}
