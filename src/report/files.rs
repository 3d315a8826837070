//! The result folder of a run, written by rank 0.

use super::csv::{DeviceSeries, PhaseSeries, RankRow, write_ranks, write_series};
use super::dlio::{self, Mlperf};
use super::hlog::{self, Interval};
use super::result::RunResult;
use super::{atomic::write_atomic, json, text};
use std::io::{self, Write};
use std::path::Path;

/// What goes into the folder beside the result itself.
pub struct Attachments<'a> {
    /// The effective configuration, runnable as it is.
    pub effective_yaml: &'a str,
    /// Wall clock at the start of the run, nanoseconds since 1970.
    pub start_unix_ns: u64,
    /// Rows of `ranks.csv`; read once, in order.
    pub rank_rows: &'a mut dyn Iterator<Item = RankRow>,
    /// The time series of each phase.
    pub series: &'a [PhaseSeries<'a>],
    /// Counters of block devices over time, if they were recorded.
    pub devices: &'a [DeviceSeries],
    /// Merged histograms of each phase and operation.
    pub histograms: &'a [Interval<'a>],
    /// What the `mlperf/` folder tells; None where the reference has no such run, or nothing was
    /// measured.
    pub mlperf: Option<Mlperf<'a>>,
}

/// Folder of the `mlperf/` tree, into which every rank writes its [`super::dlio::RankLog`].
pub const MLPERF_DIR: &str = "mlperf";

/// Writes `config.yaml`, `ranks.csv`, `series.csv`, `histograms.hlog`, rank 0's part of `mlperf/`,
/// `summary.txt` and, last of all, `result.json`: where that is, the folder is complete.
///
/// # Errors
/// If the folder cannot be made or a file cannot be written; the message names it.
pub fn write_all(dir: &Path, result: &RunResult, attachments: Attachments) -> io::Result<()> {
    make_dir(dir)?;
    let text_file = |name: &str, text: &str| {
        write_atomic(&dir.join(name), |writer| writer.write_all(text.as_bytes()))
    };
    text_file("config.yaml", attachments.effective_yaml)?;
    write_ranks(&dir.join("ranks.csv"), attachments.rank_rows)?;
    write_series(&dir.join("series.csv"), attachments.series, attachments.devices)?;
    let (start, histograms) = (attachments.start_unix_ns, attachments.histograms);
    hlog::write(&dir.join("histograms.hlog"), start, histograms)?;
    let summary = text::summary(result);
    if let Some(mlperf) = &attachments.mlperf {
        let folder = dir.join(MLPERF_DIR);
        make_dir(&folder)?;
        let printed = format!("{}\n{}\n", summary.trim_end(), place(dir));
        dlio::write_all(&folder, mlperf, &printed)?;
    }
    text_file("summary.txt", &summary)?;
    json::write(&dir.join("result.json"), result)
}

/// The line that says where the results lie.
pub fn place(dir: &Path) -> String {
    format!("results: {}", dir.display())
}

fn make_dir(dir: &Path) -> io::Result<()> {
    std::fs::create_dir_all(dir).map_err(|error| {
        io::Error::new(error.kind(), format!("cannot make folder {}: {error}", dir.display()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::benchmark;
    use crate::host::HostFacts;
    use crate::metrics::Series;
    use crate::report::dlio::{Job, Kind, RunFacts};
    use crate::report::official::RunFigures;
    use crate::report::sample;
    use std::time::Duration;

    fn facts<'a>(hosts: &'a [HostFacts], train: &'a RunFigures) -> RunFacts<'a> {
        RunFacts {
            start_unix_ns: 0,
            end_unix_ns: 0,
            hosts,
            accelerators: 24,
            accelerators_per_rank: 1,
            files_train: 1,
            files_eval: 0,
            samples_per_file: 1,
            record_length_bytes: 1.0,
            epochs: 0,
            required_au: 0.9,
            train: Some(train),
            eval: None,
            save: None,
            load: None,
            checkpoint_bytes: None,
        }
    }

    fn names(dir: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(dir).unwrap();
        let mut names: Vec<_> =
            entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn the_folder_is_complete() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("results/run-1");
        let result = sample::result();
        let (series, read) = (Series::new(), sample::histogram(10, 1, 1));
        let figures = RunFigures::default();
        let config = benchmark("unet3d", Some("h100")).unwrap();
        let kind = Kind::of(&config, false).unwrap();
        let attachments = Attachments {
            effective_yaml: "workflow: {train: true}\n",
            start_unix_ns: 0,
            rank_rows: &mut std::iter::empty(),
            series: &[PhaseSeries { phase: "training", window_ns: 1, series: &series }],
            devices: &[],
            histograms: &[Interval {
                phase: "training",
                operation: "read",
                start: Duration::ZERO,
                length: Duration::from_secs(1),
                histogram: &read,
            }],
            mlperf: Some(Mlperf {
                facts: facts(&result.environment, &figures),
                job: Job::of(&config, kind, 1.0),
                results_root: dir.parent().unwrap(),
                command_line: "rankio run",
                processes: 24,
            }),
        };
        write_all(&dir, &result, attachments).unwrap();
        assert_eq!(
            names(&dir),
            [
                "config.yaml",
                "histograms.hlog",
                "mlperf",
                "ranks.csv",
                "result.json",
                "series.csv",
                "summary.txt"
            ]
        );
        let mlperf = dir.join("mlperf");
        let stamp = crate::report::timestamp::stamp_local(0);
        assert_eq!(
            names(&mlperf),
            [
                "dlio_config",
                "results.json",
                "summary.json",
                format!("training_{stamp}_metadata.json").as_str(),
                "training_run.stdout.log"
            ]
        );
        let hydra = names(&mlperf.join("dlio_config"));
        assert_eq!(hydra, ["config.yaml", "hydra.yaml", "overrides.yaml"]);
        let printed = std::fs::read_to_string(mlperf.join("training_run.stdout.log")).unwrap();
        assert!(printed.ends_with(&format!("\nresults: {}\n", dir.display())), "{printed}");
        json::read(&dir.join("result.json")).unwrap();
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("occupied");
        std::fs::write(&file, "").unwrap();
        let error = make_dir(&file.join("run")).unwrap_err().to_string();
        assert!(error.contains("occupied"), "{error}");
    }
}
