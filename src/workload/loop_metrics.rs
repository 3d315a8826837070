//! The `metrics` of a training or evaluation phase, from reduced values.

use super::page_cache::CacheBefore;
use super::phase::{RankRow, Reduced};
use super::reader::window_batches;
use super::session::Session;
use super::training::EpochTable;
use crate::metrics::Summary;
use crate::plan::nominal_sample_bytes;
use crate::report::cache::CacheState;
use crate::report::dlio::BlockLog;
use crate::report::result::{EpochBlock, FiguresByFormula, RankValue, TrainingMetrics};

const GIB: f64 = (1u64 << 30) as f64;

/// Reduces one epoch. Collective.
pub fn epoch_block(
    session: &Session<'_>,
    epoch: u64,
    log: &BlockLog,
    requested_bytes: u64,
    cache: CacheBefore,
) -> EpochBlock {
    let mut window = [(log.duration_s * 1e9) as u64];
    session.world.max(&mut window);
    let mut bytes = [requested_bytes];
    session.world.sum(&mut bytes);
    let window_s = window[0] as f64 / 1e9;
    let gib_per_s = if window_s > 0.0 { bytes[0] as f64 / GIB / window_s } else { 0.0 };
    EpochBlock {
        epoch,
        blocks: 1,
        window_s,
        requested_bytes: bytes[0],
        gib_per_s,
        resident_before: cache.resident,
        cache_before: CacheState::of(cache.resident),
        cache_drop_s: cache.drop_s,
    }
}

/// `compute_ns`: configured and measured compute time of all ranks; `samples`: of all ranks.
pub fn metrics(
    session: &Session<'_>,
    table: &EpochTable,
    reduced: &Reduced,
    compute_ns: [u64; 2],
    samples: u64,
    blocks: Vec<EpochBlock>,
) -> TrainingMetrics {
    let config = session.config;
    let figures =
        FiguresByFormula { official: table.official(), v2: table.v2(), whole: table.whole() };
    let histogram = |name: &str| {
        let found = reduced.histograms.iter().find(|(found, _)| found == name);
        found.map_or_else(Summary::default, |(_, histogram)| histogram.summary())
    };
    let measured_over_configured = match compute_ns {
        [0, _] => 1.0,
        [configured, measured] => measured as f64 / configured as f64,
    };
    let load_wait_ns = histogram("load_wait_ns");
    let mut metrics = TrainingMetrics {
        epochs: blocks.len() as u64,
        steps: load_wait_ns.count / session.world.size(),
        samples,
        excluded_start_steps: config.output.metric.exclude_start_steps,
        excluded_end_steps: config.output.metric.exclude_end_steps,
        load_wait_ns,
        compute_ns: histogram("compute_ns"),
        barrier_ns: histogram("barrier_ns"),
        compute_error_ns: histogram("compute_error_ns"),
        decode_ns: config.io.decode.then(|| histogram("decode_ns")),
        compute_measured_over_configured: measured_over_configured,
        compute_over_configured_max: largest(&reduced.rows, &|row| {
            row.columns.compute_over_configured
        }),
        barrier_lost_percent: barrier_lost_percent(&reduced.rows),
        cpu_wait_percent_max: largest(&reduced.rows, &|row| {
            Some(percent_of_window(row.columns.cpu_wait_ns?, row))
        }),
        prefetch_window_batches: window_batches(
            config.reader.read_threads.max(1),
            config.reader.prefetch_size,
        ),
        cache: config.io.cache,
        blocks,
        ..TrainingMetrics::default()
    };
    metrics.set_figures(&figures, config.metric.au, nominal_sample_bytes(&config.dataset));
    metrics.set_uncached(reduced.phase.storage.direct == Some(true));
    metrics.au_percent_by_configured_compute = metrics.au_percent_mean / measured_over_configured;
    metrics
}

/// The rank with the largest value of those that have one.
fn largest(rows: &[RankRow], value: &dyn Fn(&RankRow) -> Option<f64>) -> Option<RankValue> {
    let known = rows.iter().filter_map(|row| Some((row, value(row)?)));
    let (row, value) = known.max_by(|(_, a), (_, b)| a.total_cmp(b))?;
    Some(RankValue { rank: row.rank, host: row.host.clone(), value })
}

fn percent_of_window(ns: u64, row: &RankRow) -> f64 {
    100.0 * ns as f64 / row.window_ns.max(1) as f64
}

/// Mean over ranks, as AU is; None for a phase whose steps have no barrier.
fn barrier_lost_percent(rows: &[RankRow]) -> Option<f64> {
    let lost = rows.iter().map(|row| Some(percent_of_window(row.columns.barrier_lost_ns?, row)));
    let lost: Vec<f64> = lost.collect::<Option<_>>()?;
    (!lost.is_empty()).then(|| lost.iter().sum::<f64>() / lost.len() as f64)
}
