//! The `mlperf/` folder: what DLIO and the command `mlpstorage` around it leave of one run, with
//! their names, keys, nesting and units. It is what a folder `<YYYYMMDD_HHMMSS>` of a submission
//! holds, so scripts, the report generator and the submission checker read it.
//!
//! | File | Written by | Source |
//! |---|---|---|
//! | `<rank>_output.json`, `<rank>_per_epoch_stats.json` | each rank, epoch by epoch | `rank_log` |
//! | `dlio.log`, `<benchmark>_<command>.stderr.log` | rank 0, message by message | `run_log` |
//! | `summary.json` | rank 0 at the end | `summary` |
//! | `dlio_config/{config,hydra,overrides}.yaml` | rank 0 at the end | `hydra` |
//! | `<benchmark>_<time>_metadata.json`, `results.json` | rank 0 at the end | `metadata` |
//! | `<benchmark>_<command>.stdout.log` | rank 0 at the end | here |
//!
//! What differs: `compute` holds measured sleeps, as the MLCommons version of DLIO does; DLIO 2.0.0
//! stored the configured time. What rankio does not know, it leaves out.

mod hydra;
mod job;
mod metadata;
mod rank_log;
mod summary;

pub use job::{Job, Kind};
pub use metadata::join_results;
pub use rank_log::{CheckpointLog, EpochLog, RankLog};
pub use summary::{
    RunFacts, data_gib_per_host, has_potential_caching, summary_json, write_summary,
};

use super::atomic::write_atomic;
use serde::Serialize;
use serde_json::ser::{PrettyFormatter, Serializer};
use std::io::{self, Write};
use std::path::Path;

/// Everything that rank 0 writes at the end of a run.
#[derive(Debug)]
pub struct Mlperf<'a> {
    /// Facts of `summary.json`.
    pub facts: RunFacts<'a>,
    /// What was run.
    pub job: Job,
    /// Folder that holds the folder of the run.
    pub results_root: &'a Path,
    /// The command as typed, without what it may hold of credentials.
    pub command_line: &'a str,
    /// Ranks.
    pub processes: u64,
}

/// Writes the files of rank 0 into `folder`, which exists; `printed` is what went to standard
/// output.
///
/// # Errors
/// If a file cannot be written; the message names it.
pub fn write_all(folder: &Path, mlperf: &Mlperf, printed: &str) -> io::Result<()> {
    write_summary(folder, &mlperf.facts)?;
    let stdout = folder.join(mlperf.job.kind.log_name("stdout"));
    write_atomic(&stdout, |writer| writer.write_all(printed.as_bytes()))?;
    hydra::write(folder, &mlperf.job)?;
    metadata::write(folder, mlperf)
}

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
