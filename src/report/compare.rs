//! `compare.json`: two clients of one store head to head, and the ratio of their figures.

use super::repeat::{OverRuns, SCHEMA, gravest, write_text, write_value};
use super::result::{Phase, RunResult, Status};
use super::units::table;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::Path;

/// A headline figure of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// Phase that it is of.
    pub phase: String,
    /// Its name, the unit last.
    pub name: String,
    /// Its value.
    pub value: f64,
}

/// One run by one client.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClientRun {
    /// Number of its round, from 0.
    pub round: u64,
    /// The round warms up: part of no mean.
    pub warmup: bool,
    /// `storage.client` of the run.
    pub client: String,
    /// `storage.engine` of its phases: what was really used.
    pub engines: Vec<String>,
    /// Its results folder, below that of the comparison.
    pub folder: String,
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
    /// Headline figures in the order of the phases.
    pub figures: Vec<Figure>,
}

impl ClientRun {
    /// The record of a run of a round that warms up or not.
    pub fn of(result: &RunResult, folder: &str, (round, warmup): (u64, bool)) -> ClientRun {
        let client = &result.config["storage"]["storage_options"]["client"];
        let mut engines: Vec<String> = Vec::new();
        for phase in result.phases.iter().filter(|phase| phase.is_measured()) {
            if !engines.contains(&phase.storage.engine) {
                engines.push(phase.storage.engine.clone());
            }
        }
        ClientRun {
            round,
            warmup,
            client: client.as_str().unwrap_or_default().into(),
            engines,
            folder: folder.into(),
            started: result.run.started.clone(),
            ended: result.run.ended.clone(),
            status: result.verdict.status,
            reasons: result.verdict.reasons.clone(),
            partial: result.run.partial,
            figures: result.phases.iter().flat_map(figures_of).collect(),
        }
    }

    fn value(&self, phase: &str, name: &str) -> Option<f64> {
        let found = self.figures.iter().find(|one| one.phase == phase && one.name == name);
        found.map(|one| one.value)
    }

    /// One line for a terminal.
    pub fn line(&self) -> String {
        let shown = |one: &Figure| format!("{} {}", one.name, number(one.value));
        let figures = self.figures.iter().map(shown).collect::<Vec<_>>().join(", ");
        format!("{}: {} by {}, {figures}", self.folder, self.status, self.client)
    }
}

/// Headline figures of a phase. One that it does not have, such as bytes per second of operations
/// that move none, is left out.
fn figures_of(phase: &Phase) -> Vec<Figure> {
    let mut found: Vec<(String, f64)> = Vec::new();
    let mut add = |name: &str, value: f64| found.push((name.into(), value));
    let kind = phase.kind.as_str();
    if let Some(metrics) = phase.training().filter(|_| kind == "training") {
        add("samples_per_s", metrics.samples_per_s_mean);
        add("au_percent", metrics.au_percent_mean);
    }
    if let Some(metrics) = phase.checkpoint() {
        add("strict_gib_per_s", metrics.strict_gib_per_s);
    }
    if let Some(metrics) = phase.object().filter(|_| kind == "object") {
        add("operations_per_s", metrics.operations_per_s);
        for one in &metrics.by_operation {
            // Withheld where too few operations were done to name it.
            if let Some(p99) = one.latency_ns.p99 {
                add(&format!("{}_p99_ms", one.operation), p99 as f64 / 1e6);
            }
        }
    }
    let compared = !found.is_empty() && phase.bytes.requested > 0;
    if compared && phase.checkpoint().is_none() {
        found.push(("gib_per_s".into(), phase.rate.gib_per_s));
    }
    if compared {
        found.push(("cpu_s_per_gib".into(), phase.client.cpu_s_per_gib));
    }
    let figure = |(name, value)| Figure { phase: phase.name.clone(), name, value };
    found.into_iter().map(figure).collect()
}

/// A figure over all rounds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Compared {
    /// Phase that it is of.
    pub phase: String,
    /// Its name, the unit last.
    pub name: String,
    /// Rounds that both clients have it of.
    pub rounds: u64,
    /// Of the first client, over these rounds.
    pub first: OverRuns,
    /// Of the second.
    pub second: OverRuns,
    /// The first client's value over the second's, of each round by itself; null: one of the
    /// values is 0.
    pub ratio: Option<OverRuns>,
}

/// The whole of `compare.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CompareReport {
    /// Version of this file's layout.
    pub schema: u32,
    /// Name of the comparison.
    pub id: String,
    /// The command as typed.
    pub command: String,
    /// MPI ranks.
    pub ranks: u64,
    /// Hosts.
    pub hosts: u64,
    /// The two clients; ratios are the first's figures over the second's.
    pub clients: [String; 2],
    /// Rounds asked for that warm up.
    pub warmup_rounds: u64,
    /// Rounds asked for that count.
    pub rounds: u64,
    /// True: interrupted before all of them were done.
    pub partial: bool,
    /// The runs in the order in which they were made.
    pub runs: Vec<ClientRun>,
    /// Each figure over the rounds that count and were done whole.
    pub figures: Vec<Compared>,
}

impl Default for CompareReport {
    fn default() -> Self {
        CompareReport {
            schema: SCHEMA,
            id: String::new(),
            command: String::new(),
            ranks: 0,
            hosts: 0,
            clients: Default::default(),
            warmup_rounds: 0,
            rounds: 0,
            partial: false,
            runs: Vec::new(),
            figures: Vec::new(),
        }
    }
}

impl CompareReport {
    /// The runs of both clients in each round that counts and was done whole.
    fn pairs(&self) -> Vec<[&ClientRun; 2]> {
        let whole = |run: &&ClientRun| !run.warmup && !run.partial;
        let run = |round: u64, client: &String| {
            let mut runs = self.runs.iter().filter(whole);
            runs.find(|run| run.round == round && run.client == *client)
        };
        let [first, second] = &self.clients;
        let rounds = self.warmup_rounds..self.warmup_rounds + self.rounds;
        rounds.filter_map(|round| Some([run(round, first)?, run(round, second)?])).collect()
    }

    /// Fills the figures from the runs.
    pub fn evaluate(&mut self) {
        let pairs = self.pairs();
        let mut names: Vec<(&str, &str)> = Vec::new();
        for figure in pairs.iter().flatten().flat_map(|run| &run.figures) {
            let name = (figure.phase.as_str(), figure.name.as_str());
            if !names.contains(&name) {
                names.push(name);
            }
        }
        let compared = names.into_iter().filter_map(|(phase, name)| {
            let value = |run: &ClientRun| run.value(phase, name);
            let both = pairs.iter().filter_map(|[one, other]| Some((value(one)?, value(other)?)));
            let (first, second): (Vec<f64>, Vec<f64>) = both.unzip();
            let ratios: Vec<f64> =
                first.iter().zip(&second).map(|(one, other)| one / other).collect();
            let sound = ratios.iter().all(|ratio| ratio.is_finite() && *ratio > 0.0);
            (!first.is_empty()).then(|| Compared {
                phase: phase.into(),
                name: name.into(),
                rounds: first.len() as u64,
                first: OverRuns::of(&first),
                second: OverRuns::of(&second),
                ratio: sound.then(|| OverRuns::of(&ratios)),
            })
        });
        self.figures = compared.collect();
    }

    /// The gravest verdict of the runs that count; VALID of none.
    pub fn status(&self) -> Status {
        gravest(self.runs.iter().filter(|run| !run.warmup).map(|run| run.status))
    }

    /// The comparison for a terminal.
    pub fn text(&self) -> String {
        let [first, second] = &self.clients;
        let texts = |cells: [&str; 6]| cells.map(String::from).to_vec();
        let mut rows = vec![texts(["run", "", "round", "client", "engine", "verdict"])];
        for run in &self.runs {
            let (warmup, round) = (if run.warmup { "warm-up" } else { "" }, run.round.to_string());
            let (engines, status) = (run.engines.join(" "), run.status.to_string());
            rows.push(texts([&run.folder, warmup, &round, &run.client, &engines, &status]));
        }
        let partial = if self.partial { "  (interrupted)" } else { "" };
        let mut text = format!("\ncomparison {}{partial}\n{}\n", self.id, table(&rows));
        let title = format!("{first} / {second}");
        let head = ["", first, second, &title, "deviation", "least", "most", "rounds"];
        let mut rows = vec![head.map(String::from).to_vec()];
        for one in &self.figures {
            let ratio = |value: fn(&OverRuns) -> f64| match &one.ratio {
                Some(ratio) => format!("{:.3}", value(ratio)),
                None => "-".into(),
            };
            rows.push(vec![
                format!("{} {}", one.phase, one.name),
                number(one.first.mean),
                number(one.second.mean),
                ratio(|ratio| ratio.mean),
                // One value does not deviate from anything.
                match one.rounds {
                    1 => "none".into(),
                    _ => ratio(|ratio| ratio.stdev),
                },
                ratio(|ratio| ratio.min),
                ratio(|ratio| ratio.max),
                one.rounds.to_string(),
            ]);
        }
        if self.figures.is_empty() {
            return text + "no round was done whole, so nothing is compared\n";
        }
        text += &table(&rows);
        text
    }

    /// Writes `compare.json` and `compare.txt` into `dir`.
    ///
    /// # Errors
    /// If a file cannot be written; the message names it.
    pub fn write(&self, dir: &Path) -> io::Result<()> {
        write_text(&dir.join("compare.txt"), self.text().trim_start())?;
        write_value(&dir.join("compare.json"), self)
    }
}

/// Four digits or more.
fn number(value: f64) -> String {
    match value.abs() {
        1000.0.. => format!("{value:.0}"),
        10.0..1000.0 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    fn run(round: u64, client: &str, rate: f64, cpu: f64) -> ClientRun {
        let mut run = ClientRun::of(&sample::result(), "f", (round, round == 0));
        let figure = |name: &str, value| Figure { phase: "t".into(), name: name.into(), value };
        run.figures = vec![figure("rate", rate), figure("cpu", cpu)];
        ClientRun { client: client.into(), status: Status::Valid, partial: false, ..run }
    }

    /// A round that warms up and three others.
    fn report() -> CompareReport {
        let runs = vec![
            run(0, "sdk", 1.0, 1.0),
            run(0, "raw", 9.0, 1.0),
            run(1, "raw", 100.0, 1.0),
            run(1, "sdk", 50.0, 2.0),
            run(2, "sdk", 60.0, 2.0),
            run(2, "raw", 200.0, 0.0),
            run(3, "raw", 100.0, 1.0),
            run(3, "sdk", 70.0, 2.0),
        ];
        let clients = ["sdk", "raw"].map(String::from);
        CompareReport { clients, warmup_rounds: 1, rounds: 3, runs, ..CompareReport::default() }
    }

    #[test]
    fn a_ratio_is_that_of_each_round_and_not_of_the_means() {
        let mut report = report();
        report.evaluate();
        let rate = &report.figures[0];
        assert_eq!((rate.rounds, rate.first.mean), (3, 60.0));
        assert_eq!(rate.second.mean, 400.0 / 3.0);
        let ratio = rate.ratio.unwrap();
        // 0.5, 0.3 and 0.7: the mean of the means' ratio would be 0.45.
        assert!((ratio.mean - 0.5).abs() < 1e-12, "{ratio:?}");
        assert!((ratio.stdev - (0.08f64 / 3.0).sqrt()).abs() < 1e-12, "{ratio:?}");
        assert_eq!((ratio.min, ratio.max), (0.3, 0.7));
        assert_eq!(report.figures[1].ratio, None, "nothing is divided by 0");
        let text = report.text();
        assert!(text.contains("sdk / raw") && text.contains("0.500"), "{text}");
        assert!(text.contains("warm-up"), "{text}");
    }

    /// Bug: the table told of a deviation of 0.000 where one round was measured.
    #[test]
    fn one_round_has_no_deviation() {
        let mut report = report();
        report.rounds = 1;
        report.evaluate();
        let text = report.text();
        assert!(text.contains("none") && !text.contains("0.000"), "{text}");
        report.rounds = 3;
        report.evaluate();
        assert!(!report.text().contains("none"));
    }

    #[test]
    fn a_round_that_was_cut_short_counts_for_nothing() {
        let mut report = report();
        report.runs[7].partial = true;
        report.runs.remove(3);
        report.evaluate();
        assert_eq!(report.figures[0].rounds, 1, "only round 2 is whole");
        assert_eq!(report.figures[0].ratio.unwrap().mean, 0.3);
        report.runs.truncate(2);
        report.evaluate();
        assert_eq!(report.figures, []);
        assert!(report.text().contains("nothing is compared"));
    }

    #[test]
    fn the_gravest_verdict_that_counts_is_the_status() {
        let mut report = report();
        report.runs[0].status = Status::Invalid;
        assert_eq!(report.status(), Status::Valid, "warm-ups do not count");
        report.runs[4].status = Status::ClientBound;
        report.runs[5].status = Status::Cached;
        assert_eq!(report.status(), Status::Cached);
    }

    #[test]
    fn every_kind_of_phase_has_its_headline_figures() {
        let names = |kind: &str| -> Vec<String> {
            figures_of(&sample::phase(kind)).into_iter().map(|figure| figure.name).collect()
        };
        let training = ["samples_per_s", "au_percent", "gib_per_s", "cpu_s_per_gib"];
        assert_eq!(names("training"), training);
        assert_eq!(names("checkpoint_save"), ["strict_gib_per_s", "cpu_s_per_gib"]);
        let object = ["operations_per_s", "put_p99_ms", "get_p99_ms", "gib_per_s", "cpu_s_per_gib"];
        assert_eq!(names("object"), object);
        assert_eq!(names("datagen"), Vec::<String>::new());
        let mut heads = sample::phase("object");
        heads.bytes.requested = 0;
        assert!(figures_of(&heads).iter().all(|figure| !figure.name.contains("gib")));
    }
}
