//! `repeat.json`: several runs of one configuration in one job, their spread, and whether they make
//! up the series that MLPerf Storage asks for.

use super::atomic::write_atomic;
use super::official::Spread;
use super::result::{RunResult, Status};
use super::units::table;
use serde::{Deserialize, Serialize};
use std::io::{self, Write};
use std::path::Path;

/// Version of the schema of `repeat.json` and `capacity.json`.
pub const SCHEMA: u32 = 1;
/// Warm-up and measured runs of a series by the rules of MLPerf Storage (Rules.md of v2 and v3).
const RULE_WARMUPS: usize = 1;
const RULE_MEASURED: usize = 5;

/// One run of a series.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunRecord {
    /// Its results folder, below that of the series.
    pub folder: String,
    /// It warms up: not part of any mean.
    pub warmup: bool,
    /// ISO 8601, UTC.
    pub started: String,
    /// The same of its end.
    pub ended: String,
    /// Wall clock at its start, nanoseconds since 1970.
    pub started_unix_ns: u64,
    /// The same at its end.
    pub ended_unix_ns: u64,
    /// Its verdict.
    pub status: Status,
    /// Why.
    pub reasons: Vec<String>,
    /// It was interrupted.
    pub partial: bool,
    /// `train.seed` of this run, which decides its orders by `seed`.
    pub train_seed: u64,
    /// Seed of its orders by `random`.
    pub run_seed: u64,
    /// Steps that each accelerator did.
    pub steps: u64,
    /// Official AU, mean over epochs.
    pub au_percent: f64,
    /// It reaches `metric.au`.
    pub au_pass: bool,
    /// Official samples per second, mean over epochs.
    pub samples_per_s: f64,
    /// Requested bytes over the window of the training.
    pub gib_per_s: f64,
}

impl RunRecord {
    /// The record of a run that trained; None for others.
    pub fn of(result: &RunResult, folder: &str, unix_ns: [u64; 2]) -> Option<RunRecord> {
        let phase = result.phases.iter().find(|phase| phase.kind == "training")?;
        let metrics = phase.training()?;
        Some(RunRecord {
            folder: folder.into(),
            warmup: false,
            started: result.run.started.clone(),
            ended: result.run.ended.clone(),
            started_unix_ns: unix_ns[0],
            ended_unix_ns: unix_ns[1],
            status: result.verdict.status,
            reasons: result.verdict.reasons.clone(),
            partial: result.run.partial,
            train_seed: result.config["train"]["seed"].as_u64().unwrap_or(0),
            run_seed: result.run.seed,
            steps: metrics.steps,
            au_percent: metrics.au_percent_mean,
            au_pass: metrics.au_pass,
            samples_per_s: metrics.samples_per_s_mean,
            gib_per_s: phase.rate.gib_per_s,
        })
    }

    /// One line for a terminal.
    pub fn line(&self) -> String {
        format!(
            "{}: {}, AU {:.2} %, {:.2} samples/s, {:.3} GiB/s",
            self.folder, self.status, self.au_percent, self.samples_per_s, self.gib_per_s
        )
    }
}

/// Mean and spread over runs.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct OverRuns {
    /// Arithmetic mean.
    pub mean: f64,
    /// Population standard deviation (ddof 0).
    pub stdev: f64,
    /// `stdev / mean`; 0 where the mean is 0.
    pub coefficient: f64,
    /// Least.
    pub min: f64,
    /// Largest.
    pub max: f64,
}

impl OverRuns {
    /// Of `values`; all zero of none.
    pub fn of(values: &[f64]) -> OverRuns {
        let Spread { mean, stdev } = Spread::of(values);
        let coefficient = if mean == 0.0 { 0.0 } else { stdev / mean };
        let min = values.iter().copied().reduce(f64::min).unwrap_or(0.0);
        let max = values.iter().copied().reduce(f64::max).unwrap_or(0.0);
        OverRuns { mean, stdev, coefficient, min, max }
    }
}

/// Whether the runs are a series by the rules of MLPerf Storage.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct RuleCheck {
    /// No rule is broken.
    pub meets: bool,
    /// A sentence for each rule that is.
    pub broken: Vec<String>,
}

/// The whole of `repeat.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RepeatReport {
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
    /// Accelerators of all ranks.
    pub accelerators: u64,
    /// Warm-up runs asked for.
    pub warmup_runs: u64,
    /// Measured runs asked for.
    pub measured_runs: u64,
    /// True: interrupted before all of them were done.
    pub partial: bool,
    /// The runs in order, warm-ups first.
    pub runs: Vec<RunRecord>,
    /// Official AU over the measured runs that were not cut short, percent.
    pub au_percent: OverRuns,
    /// Official samples per second over the same.
    pub samples_per_s: OverRuns,
    /// GiB of requested bytes per second over the same.
    pub gib_per_s: OverRuns,
    /// The series against the rules.
    pub mlperf_series: RuleCheck,
}

impl RepeatReport {
    /// Fills the means and checks the rules.
    pub fn evaluate(&mut self) {
        let measured: Vec<&RunRecord> =
            self.runs.iter().filter(|run| !run.warmup && !run.partial).collect();
        let over = |value: fn(&RunRecord) -> f64| {
            OverRuns::of(&measured.iter().map(|run| value(run)).collect::<Vec<f64>>())
        };
        let (au, samples, gib) =
            (over(|run| run.au_percent), over(|run| run.samples_per_s), over(|run| run.gib_per_s));
        (self.au_percent, self.samples_per_s, self.gib_per_s) = (au, samples, gib);
        let broken = self.broken_rules();
        self.mlperf_series = RuleCheck { meets: broken.is_empty(), broken };
    }

    /// One warm-up and five measured runs, all VALID, one after the other on the same hosts, with
    /// as many accelerators on each host, another order each. More runs may be cut to these.
    fn broken_rules(&self) -> Vec<String> {
        let mut broken = Vec::new();
        let warmups = self.runs.iter().filter(|run| run.warmup).count();
        let measured = self.runs.len() - warmups;
        if warmups < RULE_WARMUPS || measured < RULE_MEASURED {
            broken.push(format!(
                "{warmups} warm-up and {measured} measured runs; the rules want {RULE_WARMUPS} and \
                 {RULE_MEASURED}"
            ));
        }
        for run in self.runs.iter().filter(|run| run.status != Status::Valid) {
            let why = run.reasons.first().map_or("", |reason| reason);
            broken.push(format!("{} is {}: {why}", run.folder, run.status));
        }
        let lasted = |run: &RunRecord| run.ended_unix_ns.saturating_sub(run.started_unix_ns);
        let shortest = self.runs.iter().map(lasted).min().unwrap_or(0);
        for pair in self.runs.windows(2) {
            let gap = pair[1].started_unix_ns.saturating_sub(pair[0].ended_unix_ns);
            if gap >= shortest {
                broken.push(format!(
                    "{} began {:.1} s after the end of the run before it, and the shortest run \
                     took {:.1} s",
                    pair[1].folder,
                    gap as f64 / 1e9,
                    shortest as f64 / 1e9
                ));
            }
        }
        if !self.accelerators.is_multiple_of(self.hosts.max(1)) {
            broken.push(format!(
                "{} accelerators cannot be the same number on each of {} hosts",
                self.accelerators, self.hosts
            ));
        }
        broken
    }

    /// The gravest verdict of the measured runs; VALID of none.
    pub fn status(&self) -> Status {
        gravest(self.runs.iter().filter(|run| !run.warmup).map(|run| run.status))
    }

    /// The series for a terminal.
    pub fn text(&self) -> String {
        let head = ["run", "", "verdict", "AU %", "samples/s", "GiB/s", "train.seed"];
        let mut rows = vec![head.map(String::from).to_vec()];
        for run in &self.runs {
            rows.push(vec![
                run.folder.clone(),
                if run.warmup { "warm-up".into() } else { String::new() },
                run.status.to_string(),
                format!("{:.2}", run.au_percent),
                format!("{:.2}", run.samples_per_s),
                format!("{:.3}", run.gib_per_s),
                run.train_seed.to_string(),
            ]);
        }
        let figures = [(&self.au_percent, 2), (&self.samples_per_s, 2), (&self.gib_per_s, 3)];
        let mut row = |name: &str, value: &dyn Fn(&OverRuns, usize) -> String| {
            let mut cells = vec![name.to_string(), String::new(), String::new()];
            cells.extend(figures.map(|(over, digits)| value(over, digits)));
            rows.push(cells);
        };
        row("mean", &|over, digits| format!("{:.digits$}", over.mean));
        row("deviation", &|over, digits| format!("{:.digits$}", over.stdev));
        row("coefficient", &|over, _| format!("{:.2} %", 100.0 * over.coefficient));
        let partial = if self.partial { "  (interrupted)" } else { "" };
        let mut text = format!("\nseries {}{partial}\n{}", self.id, table(&rows));
        let RuleCheck { meets, broken } = &self.mlperf_series;
        text += if *meets {
            "MLPerf series: the runs meet the rules\n"
        } else {
            "MLPerf series: the runs do not meet the rules\n"
        };
        for sentence in broken {
            text += &format!("  {sentence}\n");
        }
        text
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

/// The gravest of some verdicts; VALID of none.
pub(super) fn gravest(all: impl Iterator<Item = Status>) -> Status {
    const ORDER: [Status; 4] =
        [Status::Valid, Status::ClientBound, Status::Cached, Status::Invalid];
    let place = |status: &Status| ORDER.iter().position(|known| known == status);
    all.max_by_key(place).unwrap_or(Status::Valid)
}

/// Writes a text file, there whole or not at all.
pub(super) fn write_text(path: &Path, text: &str) -> io::Result<()> {
    write_atomic(path, |writer| writer.write_all(text.as_bytes()))
}

/// Writes indented JSON, there whole or not at all.
pub(super) fn write_value(path: &Path, value: &impl Serialize) -> io::Result<()> {
    write_atomic(path, |writer| {
        serde_json::to_writer_pretty(&mut *writer, value)?;
        writer.write_all(b"\n")
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::report::sample;

    const S: u64 = 1_000_000_000;

    /// Runs of 10 s, a second apart.
    pub fn record(index: u64) -> RunRecord {
        let unix_ns = [11 * index * S, (11 * index + 10) * S];
        let record = RunRecord::of(&sample::result(), &format!("run/{index}"), unix_ns);
        record.expect("the sample trains")
    }

    fn series(warmups: u64, measured: u64) -> RepeatReport {
        let all = (0..warmups + measured).map(|index| RunRecord {
            warmup: index < warmups,
            status: Status::Valid,
            samples_per_s: if index < warmups { 1.0 } else { 100.0 + index as f64 },
            train_seed: index,
            ..record(index)
        });
        let mut report = RepeatReport {
            schema: SCHEMA,
            id: "s".into(),
            command: String::new(),
            ranks: 4,
            hosts: 2,
            accelerators: 4,
            warmup_runs: warmups,
            measured_runs: measured,
            partial: false,
            runs: all.collect(),
            au_percent: OverRuns::default(),
            samples_per_s: OverRuns::default(),
            gib_per_s: OverRuns::default(),
            mlperf_series: RuleCheck::default(),
        };
        report.evaluate();
        report
    }

    #[test]
    fn warm_ups_are_in_no_mean() {
        let OverRuns { mean, stdev, coefficient, min, max } = series(1, 5).samples_per_s;
        assert_eq!((mean, min, max), (103.0, 101.0, 105.0));
        assert_eq!((stdev, coefficient), (2f64.sqrt(), 2f64.sqrt() / 103.0));
        assert_eq!(OverRuns::of(&[]), OverRuns::default());
    }

    #[test]
    fn one_warm_up_and_five_sound_runs_in_a_row_are_a_series() {
        assert!(series(1, 5).mlperf_series.meets);
        assert!(series(2, 7).mlperf_series.meets, "a longer series may be cut");
        for (warmups, measured) in [(0, 6), (1, 4)] {
            let check = series(warmups, measured).mlperf_series;
            assert!(!check.meets && check.broken[0].contains("the rules want 1 and 5"));
        }
    }

    #[test]
    fn each_broken_rule_is_named() {
        let broken = |change: &dyn Fn(&mut RepeatReport)| {
            let mut report = series(1, 5);
            change(&mut report);
            report.evaluate();
            assert_eq!(report.mlperf_series.broken.len(), 1, "{:?}", report.mlperf_series);
            assert!(report.text().contains("do not meet the rules"));
            report.mlperf_series.broken.remove(0)
        };
        let text = broken(&|report| report.runs[3].status = Status::Cached);
        assert!(text.starts_with("run/3 is CACHED: "), "{text}");
        let text = broken(&|report| {
            report.runs[5].started_unix_ns += 10 * S;
            report.runs[5].ended_unix_ns += 10 * S;
        });
        assert!(text.contains("run/5 began 11.0 s after") && text.contains("10.0 s"), "{text}");
        let text = broken(&|report| report.hosts = 3);
        assert!(text.contains("4 accelerators"), "{text}");
    }

    #[test]
    fn the_gravest_measured_run_is_the_status() {
        let mut report = series(1, 5);
        report.runs[0].status = Status::Invalid;
        assert_eq!(report.status(), Status::Valid);
        report.runs[1].status = Status::ClientBound;
        report.runs[2].status = Status::Cached;
        assert_eq!(report.status(), Status::Cached);
    }
}
