//! `--find-max-accelerators`: how many accelerators storage keeps busy, by raising
//! `train.accelerators_per_rank` until AU falls below `metric.au`, then by bisection.
//!
//! AU is taken to fall with the number of accelerators. Every point is a real training over the
//! same dataset, and one point is several runs.

use super::reader::window_batches;
use super::run::{Finished, Request, memory_shortage};
use super::series::{Series, conclude};
use crate::config::{Config, Loaded};
use crate::plan::Plan;
use crate::report::capacity::{CapacityReport, Point};
use crate::report::repeat::RunRecord;
use crate::world::World;

/// More than this for each rank no workload file may say.
const MOST_PER_RANK: u64 = 1 << 16;

/// What is searched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Search {
    /// No more accelerators than these, all ranks together.
    pub max_accelerators: Option<u64>,
    /// Runs of each point.
    pub runs_per_point: u64,
}

/// The next number to try: doubling until one fails or the limit is reached, then bisection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ladder {
    limit: u64,
    passed: u64,
    failed: Option<u64>,
}

impl Ladder {
    fn next(&self) -> Option<u64> {
        let Ladder { limit, passed, failed } = *self;
        match failed {
            Some(failed) => (failed - passed > 1).then(|| passed + (failed - passed) / 2),
            None if passed >= limit => None,
            None => Some((2 * passed).clamp(1, limit)),
        }
    }

    fn tried(&mut self, each: u64, passes: bool) {
        match passes {
            true => self.passed = each,
            false => self.failed = Some(each),
        }
    }
}

/// Searches. Collective.
pub fn find(
    world: &World,
    loaded: &Loaded,
    plan: &Plan,
    request: &Request,
    search: Search,
) -> Result<Finished, String> {
    let (mut series, interrupted) = Series::begin(world, loaded, plan, request)?;
    if let Some(finished) = interrupted {
        return Ok(finished);
    }
    let (limit, bound) = largest(&series, search.max_accelerators);
    if limit == 0 {
        return Err(bound);
    }
    let config = &loaded.config;
    let sizes = [world.size(), world.hosts()];
    let (id, runs) = (series.claimed.name.clone(), search.runs_per_point);
    let mut report = CapacityReport::new(&id, &request.command, sizes, config.metric.au, runs);
    report.read_ahead_batches = read_ahead(config);
    let mut ladder = Ladder { limit, passed: 0, failed: None };
    while let Some(each) = ladder.next() {
        let Some(point) = measure(&mut series, each, runs)? else {
            report.partial = true;
            break;
        };
        // Only rank 0 has the figures.
        let passes = world.broadcast(vec![u8::from(point.reaches_au)]) == [1];
        ladder.tried(each, passes);
        report.add(point);
        if world.is_root() {
            // A long search that is killed leaves its curve.
            report.write(&series.claimed.path).map_err(|error| error.to_string())?;
        }
    }
    report.stopped_because = match (report.partial, ladder.failed) {
        (true, _) => "it was interrupted".into(),
        (_, Some(failed)) => format!("{} do not", failed * world.size()),
        (_, None) => bound,
    };
    if world.is_root() {
        let folder = &series.claimed.path;
        conclude(folder, &report.text(), || report.write(folder))?;
    }
    series.end(report.partial)?;
    let status = super::results::told_by_root(world, report.status());
    Ok(Finished { status, partial: report.partial, written: None })
}

/// All runs of a point; None: interrupted. The figures are rank 0's. Collective.
fn measure(series: &mut Series<'_>, each: u64, runs: u64) -> Result<Option<Point>, String> {
    let mut config = series.loaded.config.clone();
    config.train.accelerators_per_rank = each;
    let plan = series.plan(&config)?;
    let mut records: Vec<RunRecord> = Vec::new();
    for _ in 0..runs {
        if series.is_over() {
            return Ok(None);
        }
        let (finished, record) = series.run(|config| config.train.accelerators_per_rank = each)?;
        records.extend(record);
        if finished.partial {
            return Ok(None);
        }
    }
    Ok(Some(Point::new(plan.accelerators(), each, plan.steps_per_epoch(), records)))
}

/// Most accelerators of a rank that can be tried, and what forbids more. All is arithmetic, so all
/// ranks find the same.
fn largest(series: &Series<'_>, max_accelerators: Option<u64>) -> (u64, String) {
    let ranks = series.world.size();
    let (most, what) = match max_accelerators.map(|most| (most / ranks, most)) {
        Some((each, most)) if each < MOST_PER_RANK => {
            (each, format!("--max-accelerators is {most} for {ranks} rank(s)"))
        }
        _ => (MOST_PER_RANK, format!("a rank stands for {MOST_PER_RANK} at most")),
    };
    let objection = |each: u64| objection(series, each);
    if most == 0 || objection(most).is_none() {
        return (most, what);
    }
    // The first that cannot be tried lies in (passed, failed].
    let (mut passed, mut failed) = (0, most);
    while failed - passed > 1 {
        let middle = passed + (failed - passed) / 2;
        match objection(middle) {
            None => passed = middle,
            Some(_) => failed = middle,
        }
    }
    (passed, objection(failed).unwrap_or(what))
}

/// Why a rank cannot stand for `each` accelerators: too little memory, or a dataset that leaves no
/// step to judge.
fn objection(series: &Series<'_>, each: u64) -> Option<String> {
    let mut config: Config = series.loaded.config.clone();
    config.train.accelerators_per_rank = each;
    let plan = match series.plan(&config) {
        Ok(plan) => plan,
        Err(error) => return Some(error),
    };
    if let Err(error) = plan.check_runnable() {
        return Some(error.to_string());
    }
    let window = &config.output.metric;
    let excluded = window.exclude_start_steps.saturating_add(window.exclude_end_steps);
    let (steps, ahead) = (plan.steps_per_epoch(), read_ahead(&config));
    // All batches of such an epoch can be there before its metric window begins.
    if steps <= excluded.saturating_add(ahead) {
        return Some(format!(
            "{} accelerators have {steps} step(s) in an epoch, the metric window leaves {excluded} \
             out and {ahead} are read ahead; generate more files",
            plan.accelerators(),
        ));
    }
    memory_shortage(&plan, series.request.ranks_on_fullest_host)
}

/// Batches that are read before they are asked for.
fn read_ahead(config: &Config) -> u64 {
    window_batches(config.reader.read_threads.max(1), config.reader.prefetch_size)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_ladder_finds_the_threshold_in_few_tries(
            limit in 1u64..70_000, threshold in 0u64..80_000,
        ) {
            let mut ladder = Ladder { limit, passed: 0, failed: None };
            let mut tries = 0;
            while let Some(each) = ladder.next() {
                prop_assert!(each >= 1 && each <= limit, "{ladder:?}");
                ladder.tried(each, each <= threshold);
                tries += 1;
                prop_assert!(tries <= 2 * 64 - 2 * u64::leading_zeros(limit) + 1, "{ladder:?}");
            }
            prop_assert_eq!(ladder.passed, threshold.min(limit));
        }
    }

    #[test]
    fn tries_double_first() {
        let mut ladder = Ladder { limit: 12, passed: 0, failed: None };
        let mut tries = Vec::new();
        while let Some(each) = ladder.next() {
            tries.push(each);
            ladder.tried(each, each <= 5);
        }
        assert_eq!(tries, [1, 2, 4, 8, 6, 5]);
        let mut ladder = Ladder { limit: 12, passed: 0, failed: None };
        let mut tries = Vec::new();
        while let Some(each) = ladder.next() {
            tries.push(each);
            ladder.tried(each, true);
        }
        assert_eq!(tries, [1, 2, 4, 8, 12]);
    }
}
