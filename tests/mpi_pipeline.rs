//! Dataset, training with checkpoints and restore in one job, and checkpoints that are written while
//! the training goes on.

#![cfg(feature = "mpi")]

mod launch;

use launch::{Job, Lab, mpirun_is_there};
use serde_json::Value;
use std::path::Path;

/// `workloads/pipeline.yaml` in a small form; `more` are settings.
fn pipeline(lab: &Lab, ranks: usize, id: &str, more: &[&str]) -> Job {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("workloads/pipeline.yaml");
    let settings = [
        "dataset.num_files_train=24",
        "dataset.record_length_bytes=65536",
        "train.epochs=3",
        "train.computation_time=0.02",
        "checkpoint.steps_between_checkpoints=2",
        "model.num_layers=1",
        "model.transformer.vocab_size=499",
        "io.block_size=64KiB",
    ];
    let (file, data) = (file.to_str().unwrap().to_string(), lab.arg("data"));
    let (checkpoints, results) = (lab.arg("C"), lab.arg("results"));
    let mut words = vec!["run", &file, "--data-dir", &data, "--checkpoint-dir", &checkpoints];
    words.extend(["--results-dir", &results, "--run-id", id, "--quiet"]);
    words.extend(settings.iter().chain(more).flat_map(|text| ["--set", *text]));
    words.extend(["--verify", "full"]);
    lab.command(ranks, &words)
}

fn kinds(lab: &Lab, id: &str) -> Vec<String> {
    let phases = lab.result(id)["phases"].clone();
    let phases = phases.as_array().unwrap().iter();
    phases.map(|phase| phase["kind"].as_str().unwrap().to_string()).collect()
}

/// Names of the checkpoints in the root, and of everything on its way.
fn checkpoints(lab: &Lab) -> Vec<String> {
    let names = std::fs::read_dir(lab.path("C")).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|name| name.starts_with("global")).collect();
    names.sort();
    names
}

/// The newest checkpoint was read whole, and is the last one that was written.
fn restored_the_newest(lab: &Lab, id: &str) {
    let [saved, restored] = ["checkpoint_save", "checkpoint_restore"]
        .map(|kind| lab.phase(id, kind)["metrics"].clone());
    let last = |metrics: &Value| metrics["operations"].as_array().unwrap().last().cloned();
    let (written, read) = (last(&saved).unwrap(), last(&restored).unwrap());
    assert_eq!(written["checkpoint"], read["checkpoint"]);
    assert_eq!(written["bytes"], read["bytes"]);
    let checked = &lab.phase(id, "checkpoint_restore")["verify"]["bytes_checked"];
    assert_eq!(checked, &restored["bytes"]);
}

#[test]
fn a_job_makes_trains_saves_and_restores() {
    if !mpirun_is_there() {
        return;
    }
    for ranks in [1, 2, 3] {
        let lab = Lab::new();
        pipeline(&lab, ranks, "r", &["checkpoint.async=False"]).succeed();
        let wanted = ["datagen", "training", "checkpoint_save", "checkpoint_restore"];
        assert_eq!(kinds(&lab, "r"), wanted);
        assert_eq!(checkpoints(&lab).len(), 2, "keep_last");
        restored_the_newest(&lab, "r");
        let saved = lab.phase("r", "checkpoint_save")["metrics"].clone();
        let each_epoch = 24 / 4 / ranks as u64 / 2;
        assert_eq!(saved["checkpoints"], 3 * each_epoch);
    }
}

#[test]
fn a_restore_of_more_than_the_training_leaves_is_refused_before_it() {
    if !mpirun_is_there() {
        return;
    }
    let lab = Lab::new();
    let ended = pipeline(&lab, 2, "r", &["checkpoint.num_checkpoints_read=3"]).fail_with(1);
    ended.one_error(&["checkpoint.num_checkpoints_read is 3", "leaves 2"]);
    assert!(!lab.path("C").exists());
}
