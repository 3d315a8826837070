//! Several runs in one job: the folder they share, a dataset that is generated once, another order
//! for each run, and `--repeat`.

use super::run::{Finished, Request, execute, remove_after};
use super::run_folder::RunFolder;
use crate::config::{Config, Loaded, effective_yaml};
use crate::plan::Plan;
use crate::report::dlio::join_results;
use crate::report::repeat::{self, OverRuns, RepeatReport, RuleCheck, RunRecord};
use crate::report::repeat_checkpoints::{CheckpointRun, CheckpointSeries};
use crate::report::{screen, timestamp};
use crate::world::{World, interrupted};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The runs of one job and their folder. Trainings lie below it as a submission to MLPerf Storage
/// has them: `training/<model>/run/<YYYYMMDD_HHMMSS>`.
pub(super) struct Series<'a> {
    pub world: &'a World,
    pub request: &'a Request,
    /// The settings of a run: nothing is generated, nothing removed.
    pub loaded: Loaded,
    /// Name and folder of the series; held until the end.
    pub claimed: RunFolder,
    keep_files: bool,
    begun: u64,
}

impl<'a> Series<'a> {
    /// Claims the folder and generates the dataset if the workflow says so. The second value is how
    /// that was interrupted, if it was. Collective.
    pub fn begin(
        world: &'a World,
        loaded: &Loaded,
        plan: &Plan,
        request: &'a Request,
    ) -> Result<(Series<'a>, Option<Finished>), String> {
        let unix_ns = super::compute::unix_ns();
        let claimed = RunFolder::claim(world, &loaded.config, request, unix_ns)?;
        let mut own = loaded.clone();
        own.config.workflow.generate_data = false;
        own.config.dataset.keep_files = true;
        let keep_files = loaded.config.dataset.keep_files || !loaded.config.workflow.uses_dataset();
        let series = Series { world, request, loaded: own, claimed, keep_files, begun: 0 };
        if !loaded.config.workflow.generate_data {
            return Ok((series, None));
        }
        let inner = Request { datagen_only: true, ..series.inner("datagen") };
        let made = execute(world, loaded, plan, &inner)?;
        Ok((series, Some(made).filter(|made| made.partial)))
    }

    /// The request of one run of this phase.
    fn inner(&self, phase: &str) -> Request {
        let workflow = &self.loaded.config.workflow;
        let kind = match (workflow.object, workflow.checkpoint && !workflow.train) {
            (true, _) => "object",
            (_, true) => "checkpointing",
            _ => "training",
        };
        let model = folder_name(&self.loaded.config.model.name);
        let root = self.claimed.path.join(kind).join(model).join(phase);
        if self.world.is_root() {
            wait_for_a_free_stamp(&root);
        }
        Request {
            datagen_only: false,
            results_root: Some(root),
            run_id: None,
            brief: true,
            ..self.request.clone()
        }
    }

    /// One training with the next seed after `change`, and its record on rank 0. Collective.
    pub fn run(
        &mut self,
        change: impl FnOnce(&mut Config),
    ) -> Result<(Finished, Option<RunRecord>), String> {
        let number = self.begun;
        self.begun += 1;
        let finished = self.run_in("run", number, change)?;
        let record = finished.written.as_ref().and_then(|written| {
            RunRecord::of(&written.result, &self.below(&written.folder), written.unix_ns)
        });
        if let Some(record) = &record {
            screen::print(&record.line())?;
        }
        Ok((finished, record))
    }

    /// One run after `change` with results below `phase`. Runs of one `number` have the same
    /// orders by `train.seed`. Collective.
    pub fn run_in(
        &self,
        phase: &str,
        number: u64,
        change: impl FnOnce(&mut Config),
    ) -> Result<Finished, String> {
        let mut loaded = self.loaded.clone();
        change(&mut loaded.config);
        // Orders by `train.seed` differ from run to run; those by `random` do anyway.
        loaded.config.train.seed = self.loaded.config.train.seed.wrapping_add(number);
        loaded.effective_yaml =
            effective_yaml(&loaded.config).map_err(|error| error.to_string())?;
        let plan = self.plan(&loaded.config)?;
        execute(self.world, &loaded, &plan, &self.inner(phase))
    }

    /// A folder of a run as it lies below that of the series.
    pub fn below(&self, folder: &Path) -> String {
        folder.strip_prefix(&self.claimed.path).unwrap_or(folder).display().to_string()
    }

    /// The plan of `config` in this job's world.
    pub fn plan(&self, config: &Config) -> Result<Plan, String> {
        Plan::new(config, self.request.shape).map_err(|error| error.to_string())
    }

    /// Whether any rank was told to stop. Collective.
    pub fn is_over(&self) -> bool {
        let mut flag = [u64::from(interrupted())];
        self.world.max(&mut flag);
        flag[0] != 0
    }

    /// Removes the dataset where the workload file wants that; an interrupted series keeps it.
    /// Collective.
    pub fn end(&self, partial: bool) -> Result<(), String> {
        if self.keep_files || partial {
            return Ok(());
        }
        remove_after(self.world, &self.loaded, &self.plan(&self.loaded.config)?)
    }
}

/// `--repeat`: `warmups` runs that count for nothing, then `runs` that do. Collective.
pub fn repeat(
    world: &World,
    loaded: &Loaded,
    plan: &Plan,
    request: &Request,
    [warmups, runs]: [u64; 2],
) -> Result<Finished, String> {
    let (mut series, interrupted) = Series::begin(world, loaded, plan, request)?;
    if let Some(finished) = interrupted {
        return Ok(finished);
    }
    if !loaded.config.workflow.train {
        return repeat_checkpoints(&series, [warmups, runs]);
    }
    let mut records: Vec<RunRecord> = Vec::new();
    let mut partial = false;
    for index in 0..warmups + runs {
        if series.is_over() {
            partial = true;
            break;
        }
        let (finished, record) = series.run(|_| ())?;
        let warmup = index < warmups;
        records.extend(record.map(|record| RunRecord { warmup, ..record }));
        if finished.partial {
            partial = true;
            break;
        }
    }
    let mut report = RepeatReport {
        schema: repeat::SCHEMA,
        id: series.claimed.name.clone(),
        command: request.command.clone(),
        ranks: world.size(),
        hosts: world.hosts(),
        accelerators: plan.accelerators(),
        warmup_runs: warmups,
        measured_runs: runs,
        partial,
        runs: records,
        au_percent: OverRuns::default(),
        samples_per_s: OverRuns::default(),
        gib_per_s: OverRuns::default(),
        mlperf_series: RuleCheck::default(),
    };
    if world.is_root() {
        report.evaluate();
        let folder = &series.claimed.path;
        conclude(folder, &report.text(), || report.write(folder))?;
        list_runs(folder, report.runs.iter().map(|run| &run.folder))?;
    }
    series.end(partial)?;
    // Only rank 0 has the records; the others learn what it found.
    let status = super::results::told_by_root(world, report.status());
    Ok(Finished { status, partial, written: None })
}

/// The same of runs that only write and read checkpoints. Collective.
fn repeat_checkpoints(series: &Series<'_>, [warmups, runs]: [u64; 2]) -> Result<Finished, String> {
    let (world, claimed) = (series.world, &series.claimed);
    let shape = [world.size(), world.hosts()];
    let command = &series.request.command;
    let mut report = CheckpointSeries::new(&claimed.name, command, shape, [warmups, runs]);
    for index in 0..warmups + runs {
        report.partial = series.is_over();
        if report.partial {
            break;
        }
        let finished = series.run_in("run", index, |_| ())?;
        if let Some(written) = &finished.written {
            let folder = series.below(&written.folder);
            let run = CheckpointRun::of(&written.result, &folder, index < warmups);
            screen::print(&run.line())?;
            report.runs.push(run);
        }
        report.partial = finished.partial;
        if report.partial {
            break;
        }
    }
    if world.is_root() {
        report.evaluate();
        conclude(&claimed.path, &report.text(), || report.write(&claimed.path))?;
        list_runs(&claimed.path, report.runs.iter().map(|run| &run.folder))?;
    }
    series.end(report.partial)?;
    // Only rank 0 has the runs; the others learn what it found.
    let status = super::results::told_by_root(world, report.status());
    Ok(Finished { status, partial: report.partial, written: None })
}

/// Prints what came out on rank 0 and writes it. What was measured must not be lost to a full
/// results folder, nor to a terminal that went away.
pub(super) fn conclude(
    folder: &Path,
    text: &str,
    write: impl FnOnce() -> std::io::Result<()>,
) -> Result<(), String> {
    let printed = screen::print(text.trim_end());
    write().map_err(|error| error.to_string())?;
    let place = format!("results: {}", folder.display());
    let told = printed.and_then(|()| screen::print(&place));
    told.map_err(|message| format!("{message} ({place})"))
}

/// Writes `results.json` of all runs beside their folders, as a submission has it.
fn list_runs<'a>(folder: &Path, runs: impl Iterator<Item = &'a String>) -> Result<(), String> {
    let runs: Vec<PathBuf> = runs.map(|run| folder.join(run)).collect();
    let Some(phase) = runs.first().and_then(|run| run.parent()) else { return Ok(()) };
    join_results(phase, &runs).map_err(|error| error.to_string())
}

/// Folders of runs are named by the second; a run that would have the name of the one before it
/// waits.
fn wait_for_a_free_stamp(root: &Path) {
    while root.join(timestamp::stamp_local(super::compute::unix_ns())).exists() && !interrupted() {
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A model's name as the name of one folder.
fn folder_name(model: &str) -> PathBuf {
    let safe = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' };
    let name: String = model.chars().map(safe).collect();
    let name = name.trim_start_matches('.');
    PathBuf::from(if name.is_empty() { "model" } else { name })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_name_one_folder() {
        for (model, folder) in [
            ("unet3d", "unet3d"),
            ("a/b c", "a_b_c"),
            ("../x", "_x"),
            ("..", "model"),
            ("", "model"),
        ] {
            assert_eq!(folder_name(model), PathBuf::from(folder));
        }
    }
}
