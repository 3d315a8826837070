//! The `mlperf/` tree: DLIO's summary.json, `<rank>_per_epoch_stats.json`, `<rank>_output.json`.

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
}
