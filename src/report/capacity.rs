//! `capacity.json` and `capacity.csv`: AU against the number of accelerators, and the largest
//! number that storage keeps busy.

use super::repeat::{OverRuns, RunRecord, SCHEMA, write_text, write_value};
use super::result::Status;
use super::units::table;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::Path;

/// Below so many times the batches read ahead, these are a tenth of an epoch and more.
const FEW_WINDOWS: u64 = 10;

/// One number of accelerators with its runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// Accelerators of all ranks.
    pub accelerators: u64,
    /// `train.accelerators_per_rank`.
    pub accelerators_per_rank: u64,
    /// Steps of an epoch.
    pub steps_per_epoch: u64,
    /// Official AU of each run, mean over epochs.
    pub au_percent: Vec<f64>,
    /// Mean over runs.
    pub au_percent_mean: f64,
    /// Official samples per second, mean over runs.
    pub samples_per_s: f64,
    /// Requested bytes over the window, mean over runs.
    pub gib_per_s: f64,
    /// Every run reaches `metric.au`.
    pub reaches_au: bool,
    /// That, and no run is INVALID or CACHED.
    pub passed: bool,
    /// The runs.
    pub runs: Vec<RunRecord>,
}

impl Point {
    /// From its runs.
    pub fn new(
        accelerators: u64,
        accelerators_per_rank: u64,
        steps_per_epoch: u64,
        runs: Vec<RunRecord>,
    ) -> Point {
        let values = |value: fn(&RunRecord) -> f64| runs.iter().map(value).collect::<Vec<f64>>();
        let au_percent = values(|run| run.au_percent);
        let reaches_au = !runs.is_empty() && runs.iter().all(|run| run.au_pass && !run.partial);
        let counts = |run: &RunRecord| !matches!(run.status, Status::Invalid | Status::Cached);
        Point {
            accelerators,
            accelerators_per_rank,
            steps_per_epoch,
            au_percent_mean: OverRuns::of(&au_percent).mean,
            au_percent,
            samples_per_s: OverRuns::of(&values(|run| run.samples_per_s)).mean,
            gib_per_s: OverRuns::of(&values(|run| run.gib_per_s)).mean,
            reaches_au,
            passed: reaches_au && runs.iter().all(counts),
            runs,
        }
    }
}

/// The whole of `capacity.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CapacityReport {
    /// Version of this file's layout.
    pub schema: u32,
    /// Name of the search.
    pub id: String,
    /// The command as typed.
    pub command: String,
    /// MPI ranks.
    pub ranks: u64,
    /// Hosts.
    pub hosts: u64,
    /// `metric.au` in percent.
    pub au_required_percent: f64,
    /// Runs of each point.
    pub runs_per_point: u64,
    /// Batches of an accelerator that may be there before the metric window of an epoch begins.
    pub read_ahead_batches: u64,
    /// The points by accelerators.
    pub points: Vec<Point>,
    /// Accelerators of the largest point that passed; null: none did.
    pub best: Option<u64>,
    /// Accelerators of the largest point whose runs all reach AU, whatever their verdicts; null:
    /// none does.
    pub best_by_au: Option<u64>,
    /// Why the search ended.
    pub stopped_because: String,
    /// True: interrupted.
    pub partial: bool,
}

impl CapacityReport {
    /// A search without points.
    pub fn new(id: &str, command: &str, world: [u64; 2], required_au: f64, runs: u64) -> Self {
        CapacityReport {
            schema: SCHEMA,
            id: id.into(),
            command: command.into(),
            ranks: world[0],
            hosts: world[1],
            au_required_percent: 100.0 * required_au,
            runs_per_point: runs,
            read_ahead_batches: 0,
            points: Vec::new(),
            best: None,
            best_by_au: None,
            stopped_because: String::new(),
            partial: false,
        }
    }

    /// Adds a point in its place.
    pub fn add(&mut self, point: Point) {
        self.points.push(point);
        self.points.sort_by_key(|point| point.accelerators);
        let largest = |holds: fn(&Point) -> bool| {
            self.points.iter().filter(|p| holds(p)).map(|p| p.accelerators).max()
        };
        (self.best, self.best_by_au) = (largest(|p| p.passed), largest(|p| p.reaches_au));
    }

    /// VALID where a point passed, else the gravest verdict of the smallest point.
    pub fn status(&self) -> Status {
        if self.best.is_some() {
            return Status::Valid;
        }
        let runs = self.points.first().map_or(&[][..], |point| &point.runs);
        let cached = runs.iter().any(|run| run.status == Status::Cached);
        let invalid = runs.iter().any(|run| run.status == Status::Invalid) || runs.is_empty();
        if cached && !invalid { Status::Cached } else { Status::Invalid }
    }

    /// The curve for a terminal.
    pub fn text(&self) -> String {
        let head =
            ["accelerators", "a rank", "steps", "AU %", "least", "samples/s", "GiB/s", "", ""];
        let mut rows = vec![head.map(String::from).to_vec()];
        for point in &self.points {
            let least = OverRuns::of(&point.au_percent).min;
            let verdict = match point.runs.iter().find(|run| run.status != Status::Valid) {
                Some(run) => run.status.to_string(),
                None => Status::Valid.to_string(),
            };
            rows.push(vec![
                point.accelerators.to_string(),
                point.accelerators_per_rank.to_string(),
                point.steps_per_epoch.to_string(),
                format!("{:.2}", point.au_percent_mean),
                format!("{least:.2}"),
                format!("{:.2}", point.samples_per_s),
                format!("{:.3}", point.gib_per_s),
                if point.reaches_au { "reaches AU".into() } else { "below".into() },
                verdict,
            ]);
        }
        let partial = if self.partial { "  (interrupted)" } else { "" };
        let mut text = format!("\ncapacity {}{partial}\n{}", self.id, table(&rows));
        text += &match (self.best, self.best_by_au) {
            (Some(best), _) => format!(
                "{best} accelerators keep an AU of {:.2} %; the search ended because {}\n",
                self.au_required_percent, self.stopped_because
            ),
            (None, Some(by_au)) => format!(
                "no point passed: {by_au} accelerators keep an AU of {:.2} %, but not in runs \
                 that count: {}; the search ended because {}\n",
                self.au_required_percent,
                self.objection(by_au),
                self.stopped_because
            ),
            (None, None) => format!(
                "no point reaches an AU of {:.2} %; the search ended because {}\n",
                self.au_required_percent, self.stopped_because
            ),
        };
        if let Some(steps) = self.short_epochs() {
            text += &format!(
                "note: an epoch of the largest point has {steps} steps, of which up to {} may be \
                 read before its metric window begins, so its AU is flattered; generate more \
                 files\n",
                self.read_ahead_batches
            );
        }
        text
    }

    /// Steps of the largest point that reaches AU, if they are so few that reading ahead counts.
    fn short_epochs(&self) -> Option<u64> {
        let point = self.points.iter().rfind(|point| point.reaches_au)?;
        let few = FEW_WINDOWS.saturating_mul(self.read_ahead_batches);
        (point.steps_per_epoch < few).then_some(point.steps_per_epoch)
    }

    /// Why a point with this many accelerators does not count.
    fn objection(&self, accelerators: u64) -> &str {
        let point = self.points.iter().find(|point| point.accelerators == accelerators);
        let runs = point.map_or(&[][..], |point| &point.runs);
        let bad = runs.iter().find(|run| matches!(run.status, Status::Invalid | Status::Cached));
        bad.and_then(|run| run.reasons.first()).map_or("", |reason| reason.trim_end_matches('.'))
    }

    /// Writes `capacity.csv`, `capacity.txt` and `capacity.json` into `dir`.
    ///
    /// # Errors
    /// If a file cannot be written; the message names it.
    pub fn write(&self, dir: &Path) -> io::Result<()> {
        let mut csv = String::from(
            "accelerators,accelerators_per_rank,steps_per_epoch,runs,au_percent_mean,\
             au_percent_min,au_percent_max,samples_per_s,gib_per_s,reaches_au,passed\n",
        );
        for point in &self.points {
            let OverRuns { min, max, .. } = OverRuns::of(&point.au_percent);
            csv += &format!(
                "{},{},{},{},{},{min},{max},{},{},{},{}\n",
                point.accelerators,
                point.accelerators_per_rank,
                point.steps_per_epoch,
                point.runs.len(),
                point.au_percent_mean,
                point.samples_per_s,
                point.gib_per_s,
                point.reaches_au,
                point.passed
            );
        }
        write_text(&dir.join("capacity.csv"), &csv)?;
        write_text(&dir.join("capacity.txt"), self.text().trim_start())?;
        write_value(&dir.join("capacity.json"), self)
    }
}

#[cfg(test)]
mod tests {
    use super::super::repeat::tests::record;
    use super::*;

    fn point(accelerators: u64, runs: &[(bool, Status)]) -> Point {
        let runs = runs.iter().map(|(au_pass, status)| RunRecord {
            au_pass: *au_pass,
            status: *status,
            ..record(0)
        });
        Point::new(accelerators, accelerators, 10, runs.collect())
    }

    #[test]
    fn a_point_passes_if_every_run_does() {
        use Status::{Cached, ClientBound, Invalid, Valid};
        let of = |runs: &[(bool, Status)]| {
            let point = point(1, runs);
            (point.reaches_au, point.passed)
        };
        assert_eq!(of(&[(true, Valid), (true, ClientBound)]), (true, true));
        assert_eq!(of(&[(true, Valid), (false, Invalid)]), (false, false));
        assert_eq!(of(&[(true, Cached), (true, Valid)]), (true, false));
        assert_eq!(of(&[]), (false, false));
    }

    #[test]
    fn the_largest_point_that_passed_is_the_best() {
        let mut report = CapacityReport::new("c", "", [1, 1], 0.9, 1);
        report.stopped_because = "enough".into();
        assert_eq!(report.status(), Status::Invalid);
        report.add(point(4, &[(true, Status::Cached)]));
        assert_eq!((report.best, report.best_by_au), (None, Some(4)));
        assert_eq!(report.status(), Status::Cached);
        assert!(report.text().contains("no point passed: 4"), "{}", report.text());
        report.add(point(2, &[(true, Status::Valid)]));
        report.add(point(8, &[(false, Status::Invalid)]));
        assert_eq!((report.best, report.best_by_au), (Some(2), Some(4)));
        assert_eq!(report.status(), Status::Valid);
        let order: Vec<u64> = report.points.iter().map(|point| point.accelerators).collect();
        assert_eq!(order, [2, 4, 8]);
        assert!(!report.text().contains("note:"));
        report.read_ahead_batches = 2;
        assert!(report.text().contains("note: an epoch of the largest point has 10 steps"));
        let dir = tempfile::tempdir().unwrap();
        report.write(dir.path()).unwrap();
        let csv = std::fs::read_to_string(dir.path().join("capacity.csv")).unwrap();
        assert_eq!(csv.lines().count(), 4);
        let text = std::fs::read_to_string(dir.path().join("capacity.json")).unwrap();
        let again: CapacityReport = serde_json::from_str(&text).unwrap();
        assert_eq!(again, report);
    }
}
