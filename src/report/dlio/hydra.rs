//! `dlio_config/`: the settings of a run as Hydra, which starts DLIO, writes them down.

use super::job::Job;
use crate::report::atomic::write_atomic;
use serde::Serialize;
use serde_json::json;
use std::io::{self, Write};
use std::path::Path;

/// Folder that `mlpstorage` has Hydra write into.
const FOLDER: &str = "dlio_config";

/// Writes the folder into `mlperf`.
pub(super) fn write(mlperf: &Path, job: &Job) -> io::Result<()> {
    let folder = mlperf.join(FOLDER);
    std::fs::create_dir_all(&folder).map_err(|error| {
        io::Error::new(error.kind(), format!("cannot make folder {}: {error}", folder.display()))
    })?;
    let task = task_overrides(job);
    write_yaml(&folder.join("config.yaml"), &json!({"workload": job.parameters}))?;
    write_yaml(&folder.join("overrides.yaml"), &task)?;
    let output = std::path::absolute(mlperf).unwrap_or_else(|_| mlperf.into());
    let output = output.display().to_string();
    let hydra = json!({"hydra": {
        "run": {"dir": output},
        "mode": "RUN",
        "output_subdir": FOLDER,
        "overrides": {
            "hydra": [
                format!("++hydra.run.dir={output}"),
                format!("++hydra.output_subdir={FOLDER}"),
            ],
            "task": task,
        },
        "job": {"name": "rankio"},
        "runtime": {"output_dir": output, "choices": {"workload": job.workload()}},
    }});
    write_yaml(&folder.join("hydra.yaml"), &hydra)
}

/// `workload=NAME` and each override as one types it.
fn task_overrides(job: &Job) -> Vec<String> {
    let own = job.overrides.iter().map(|(key, value)| format!("++workload.{key}={value}"));
    std::iter::once(format!("workload={}", job.workload())).chain(own).collect()
}

fn write_yaml(path: &Path, value: &impl Serialize) -> io::Result<()> {
    let text = serde_yaml::to_string(value).map_err(io::Error::other)?;
    write_atomic(path, |writer| writer.write_all(text.as_bytes()))
}
