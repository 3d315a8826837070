//! A thread that looks at the counters a few times a second: for the time series of every rank and
//! the progress line of rank 0. The step loop and the I/O threads never format or print.

use super::compute::now_ns;
use crate::metrics::{BinCounts, LiveCounters, LiveTotals, Series};
use crate::report::progress::Progress;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

const LOOK_EVERY: Duration = Duration::from_millis(200);

/// What the progress line counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Steps of the loop.
    Steps,
    /// Samples read or written.
    Samples,
}

/// Runs `body` beside a ticker over `live`; returns what it returned and the series from the start
/// of `body`.
pub fn with_ticker<R>(
    live: &[LiveCounters],
    steps: &AtomicU64,
    mut progress: Option<(Progress, Unit)>,
    body: impl FnOnce() -> R,
) -> (R, Series) {
    let done = AtomicBool::new(false);
    let mut series = Series::new();
    let outcome = std::thread::scope(|scope| {
        let ticker = std::thread::Builder::new().name("ticker".into()).spawn_scoped(scope, || {
            tick(live, steps, &mut progress, &mut series, &done);
        });
        let outcome = body();
        done.store(true, Ordering::SeqCst);
        if let Ok(ticker) = &ticker {
            ticker.thread().unpark();
        }
        outcome
    });
    (outcome, series)
}

fn tick(
    live: &[LiveCounters],
    steps: &AtomicU64,
    progress: &mut Option<(Progress, Unit)>,
    series: &mut Series,
    done: &AtomicBool,
) {
    let start = now_ns();
    let mut seen = LiveTotals::default();
    let mut seen_steps = 0;
    let mut at = 0;
    loop {
        let last = done.load(Ordering::SeqCst);
        let totals = LiveTotals::sum(live);
        crate::world::count_io(totals.operations);
        let now_steps = steps.load(Ordering::Relaxed);
        let now = now_ns() - start;
        let counts = BinCounts::new(&totals.since(&seen), now_steps - seen_steps);
        series.spread(at, now, &counts);
        (seen, seen_steps, at) = (totals, now_steps, now);
        if let Some((line, unit)) = progress {
            let units = if *unit == Unit::Steps { now_steps } else { totals.samples };
            line.update(units, totals.bytes(), "");
        }
        if last {
            break;
        }
        std::thread::park_timeout(LOOK_EVERY);
    }
    if let Some((line, _)) = progress.take() {
        line.finish();
    }
}
