//! The `metrics` object of a training or evaluation phase, from reduced values.

use super::phase::Reduced;
use super::reader::window_batches;
use super::session::Session;
use super::training::EpochTable;
use crate::report::dlio::BlockLog;
use serde::Serialize;
use serde_json::{Value, json};

const GIB: f64 = (1u64 << 30) as f64;

/// One epoch of all ranks.
#[derive(Debug, Clone, Serialize)]
pub struct EpochRow {
    /// Number, from 1.
    pub epoch: u64,
    /// Longest block of a rank.
    pub window_s: f64,
    /// Bytes asked for by all ranks.
    pub requested_bytes: u64,
    /// Rate over the window.
    pub gib_per_s: f64,
    /// Share of sampled pages that were in the page cache when the epoch began; null: could not be looked at.
    pub resident_before: Option<f64>,
}

impl EpochRow {
    /// Reduces one epoch. Collective.
    pub fn reduce(
        session: &Session<'_>,
        epoch: u64,
        log: &BlockLog,
        requested_bytes: u64,
        resident_before: Option<f64>,
    ) -> EpochRow {
        let mut window = [(log.duration_s * 1e9) as u64];
        session.world.max(&mut window);
        let mut bytes = [requested_bytes];
        session.world.sum(&mut bytes);
        let window_s = window[0] as f64 / 1e9;
        let gib_per_s = if window_s > 0.0 { bytes[0] as f64 / GIB / window_s } else { 0.0 };
        EpochRow { epoch, window_s, requested_bytes: bytes[0], gib_per_s, resident_before }
    }
}

/// `compute_ns`: configured and measured compute time of all ranks.
pub fn metrics(
    session: &Session<'_>,
    table: &EpochTable,
    reduced: &Reduced,
    compute_ns: [u64; 2],
    epochs: &[EpochRow],
) -> Value {
    let (official, v2, whole) = (table.official(), table.v2(), table.whole());
    let config = session.config;
    let required = config.metric.au;
    let measured_over_configured = match compute_ns {
        [0, _] => 1.0,
        [configured, measured] => measured as f64 / configured as f64,
    };
    let mut metrics = json!({
        "au_percent_mean": official.au_percent.mean,
        "au_percent_stdev": official.au_percent.stdev,
        "au_percent_per_epoch": official.au_percent_per_epoch,
        "au_required_percent": required * 100.0,
        "au_pass": official.au_pass(required),
        "au_percent_by_configured_compute": official.au_percent.mean / measured_over_configured,
        "au_percent_of_whole_blocks": whole.au_percent.mean,
        "samples_per_s_mean": official.samples_per_s.mean,
        "samples_per_s_stdev": official.samples_per_s.stdev,
        "samples_per_s_per_epoch": official.samples_per_s_per_epoch,
        "samples_per_s_mean_v2": v2.samples_per_s.mean,
        "samples_per_s_of_whole_blocks": whole.samples_per_s.mean,
        "mib_per_s_mean": official.mib_per_s(config.dataset.record_length_bytes).mean,
        "compute_measured_over_configured": measured_over_configured,
        "prefetch_window_batches":
            window_batches(config.reader.read_threads.max(1), config.reader.prefetch_size),
        "epochs": epochs,
    });
    let object = metrics.as_object_mut().expect("it was made as an object");
    for (name, histogram) in &reduced.histograms {
        let summary = serde_json::to_value(histogram.summary()).unwrap_or(Value::Null);
        object.insert(name.clone(), summary);
    }
    let all_steps = reduced.histograms.first().map_or(0, |(_, load)| load.count());
    object.insert("steps".into(), json!(all_steps / session.world.size()));
    metrics
}
