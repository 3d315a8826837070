//! `repeat.json` of a workload that only writes and reads checkpoints: its rates over several runs.

use super::repeat::{OverRuns, SCHEMA, gravest, write_text, write_value};
use super::result::{Phase, RunResult, Status};
use super::units::table;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::Path;

/// A rate of a phase.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CheckpointRate {
    /// Phase that it is of.
    pub phase: String,
    /// Its name, the unit last.
    pub name: String,
    /// Its value.
    pub value: f64,
}

/// One run of a series.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CheckpointRun {
    /// Its results folder, below that of the series.
    pub folder: String,
    /// It warms up: not part of any mean.
    pub warmup: bool,
    /// ISO 8601, UTC.
    pub started: String,
    /// The same of its end.
    pub ended: String,
    /// Its verdict.
    pub status: Status,
    /// Why.
    pub reasons: Vec<String>,
    /// It was interrupted.
    pub partial: bool,
    /// Its rates in the order of the phases.
    pub rates: Vec<CheckpointRate>,
}

impl CheckpointRun {
    /// The record of a run.
    pub fn of(result: &RunResult, folder: &str, warmup: bool) -> CheckpointRun {
        CheckpointRun {
            folder: folder.into(),
            warmup,
            started: result.run.started.clone(),
            ended: result.run.ended.clone(),
            status: result.verdict.status,
            reasons: result.verdict.reasons.clone(),
            partial: result.run.partial,
            rates: result.phases.iter().flat_map(rates_of).collect(),
        }
    }

    /// One line for a terminal.
    pub fn line(&self) -> String {
        let shown =
            |rate: &CheckpointRate| format!("{} {} {:.3}", rate.phase, rate.name, rate.value);
        let rates = self.rates.iter().map(shown).collect::<Vec<_>>().join(", ");
        format!("{}: {}, {rates}", self.folder, self.status)
    }
}

fn rates_of(phase: &Phase) -> Vec<CheckpointRate> {
    let Some(metrics) = phase.checkpoint() else { return Vec::new() };
    let commits = (phase.kind == "checkpoint_save").then_some(metrics.committed_gib_per_s);
    let rates = [
        ("strict_gib_per_s", Some(metrics.strict_gib_per_s)),
        ("committed_gib_per_s", commits),
        ("official_gib_per_s_mean", Some(metrics.official_gib_per_s_mean)),
    ];
    let rate = |(name, value): (&str, Option<f64>)| {
        Some(CheckpointRate { phase: phase.name.clone(), name: name.into(), value: value? })
    };
    rates.into_iter().filter_map(rate).collect()
}

/// A rate over the measured runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RepeatedRate {
    /// Phase that it is of.
    pub phase: String,
    /// Its name, the unit last.
    pub name: String,
    /// Over the measured runs that were not cut short.
    pub over_runs: OverRuns,
}

/// The whole of `repeat.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CheckpointSeries {
    /// Version of this file's layout.
    pub schema: u32,
    /// Name of the series.
    pub id: String,
    /// The command as typed.
    pub command: String,
    /// MPI ranks.
    pub ranks: u64,
    /// Hosts.
    pub hosts: u64,
    /// Warm-up runs asked for.
    pub warmup_runs: u64,
    /// Measured runs asked for.
    pub measured_runs: u64,
    /// True: interrupted before all of them were done.
    pub partial: bool,
    /// The runs in order, warm-ups first.
    pub runs: Vec<CheckpointRun>,
    /// Each rate over the measured runs.
    pub rates: Vec<RepeatedRate>,
}

impl CheckpointSeries {
    /// A series without runs, for `ranks` ranks on `hosts` hosts.
    pub fn new(id: &str, command: &str, [ranks, hosts]: [u64; 2], asked: [u64; 2]) -> Self {
        CheckpointSeries {
            schema: SCHEMA,
            id: id.into(),
            command: command.into(),
            ranks,
            hosts,
            warmup_runs: asked[0],
            measured_runs: asked[1],
            partial: false,
            runs: Vec::new(),
            rates: Vec::new(),
        }
    }

    /// Fills the rates from the runs.
    pub fn evaluate(&mut self) {
        let measured = || self.runs.iter().filter(|run| !run.warmup && !run.partial);
        let Some(first) = measured().next() else { return };
        let over = |wanted: &CheckpointRate| {
            let same =
                |rate: &&CheckpointRate| rate.phase == wanted.phase && rate.name == wanted.name;
            let values = measured().filter_map(|run| run.rates.iter().find(same));
            let values: Vec<f64> = values.map(|rate| rate.value).collect();
            RepeatedRate {
                phase: wanted.phase.clone(),
                name: wanted.name.clone(),
                over_runs: OverRuns::of(&values),
            }
        };
        self.rates = first.rates.iter().map(over).collect();
    }

    /// The gravest verdict of the measured runs; VALID of none.
    pub fn status(&self) -> Status {
        gravest(self.runs.iter().filter(|run| !run.warmup).map(|run| run.status))
    }

    /// The series for a terminal.
    pub fn text(&self) -> String {
        let partial = if self.partial { "  (interrupted)" } else { "" };
        let mut text = format!("\nseries {}{partial}\n", self.id);
        for run in &self.runs {
            let warmup = if run.warmup { "  warm-up" } else { "" };
            text += &format!("{}{warmup}\n", run.line());
        }
        let head = ["phase", "rate", "mean", "deviation", "coefficient", "least", "most"];
        let mut rows = vec![head.map(String::from).to_vec()];
        for RepeatedRate { phase, name, over_runs } in &self.rates {
            let OverRuns { mean, stdev, coefficient, min, max } = over_runs;
            rows.push(vec![
                phase.clone(),
                name.clone(),
                format!("{mean:.3}"),
                format!("{stdev:.3}"),
                format!("{:.2} %", 100.0 * coefficient),
                format!("{min:.3}"),
                format!("{max:.3}"),
            ]);
        }
        text + &table(&rows)
    }

    /// Writes `repeat.json` and `repeat.txt` into `dir`.
    ///
    /// # Errors
    /// If a file cannot be written; the message names it.
    pub fn write(&self, dir: &Path) -> io::Result<()> {
        write_text(&dir.join("repeat.txt"), self.text().trim_start())?;
        write_value(&dir.join("repeat.json"), self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(value: f64, warmup: bool, status: Status) -> CheckpointRun {
        let rate = |phase: &str, factor: f64| CheckpointRate {
            phase: phase.into(),
            name: "strict_gib_per_s".into(),
            value: factor * value,
        };
        CheckpointRun {
            folder: "checkpointing/m/run/x".into(),
            warmup,
            started: String::new(),
            ended: String::new(),
            status,
            reasons: Vec::new(),
            partial: false,
            rates: vec![rate("checkpoint-save", 1.0), rate("checkpoint-restore", 2.0)],
        }
    }

    #[test]
    fn rates_are_over_the_measured_runs() {
        let mut series = CheckpointSeries::new("s", "", [4, 2], [1, 3]);
        series.runs = vec![
            run(100.0, true, Status::Invalid),
            run(1.0, false, Status::Valid),
            run(3.0, false, Status::Cached),
            CheckpointRun { partial: true, ..run(50.0, false, Status::Valid) },
        ];
        series.evaluate();
        let means: Vec<f64> = series.rates.iter().map(|rate| rate.over_runs.mean).collect();
        assert_eq!(means, [2.0, 4.0]);
        assert_eq!(series.rates[1].over_runs.stdev, 2.0);
        assert_eq!(series.status(), Status::Cached);
        let text = series.text();
        assert!(text.contains("50.00 %") && text.contains("warm-up"), "{text}");
        let mut none = CheckpointSeries::new("s", "", [4, 2], [1, 3]);
        none.evaluate();
        assert_eq!((none.rates.len(), none.status()), (0, Status::Valid));
    }
}
