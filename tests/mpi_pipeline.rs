//! Dataset, training with checkpoints and restore in one job, and checkpoints that are written
//! while the training goes on.

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
    let kinds = phases.map(|phase| phase["kind"].as_str().unwrap().to_string());
    kinds.filter(|kind| kind != "housekeeping").collect()
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

/// Each rank's flush takes many times as long as a step.
const SLOW: &str = "io.delay={latency: 0.05}";

#[test]
fn checkpoints_in_the_background_are_whole_and_told_apart() {
    if !mpirun_is_there() {
        return;
    }
    for ranks in [1, 2, 3] {
        let lab = Lab::new();
        let layout = ["raw", "raw", "safetensors"][ranks - 1];
        let layout = format!("checkpoint.layout={layout}");
        pipeline(&lab, ranks, "r", &["checkpoint.keep_last=0", &layout]).succeed();
        let each_epoch = 24 / 4 / ranks as u64 / 2;
        let names = checkpoints(&lab);
        assert_eq!(names.len() as u64, 3 * each_epoch);
        assert!(names.iter().all(|name| !name.contains('.')), "{names:?}");
        restored_the_newest(&lab, "r");
        let metrics = lab.phase("r", "checkpoint_save")["metrics"].clone();
        let operations = metrics["operations"].as_array().unwrap();
        assert_eq!(operations.len() as u64, 3 * each_epoch);
        let number = |value: &Value| value.as_f64().unwrap_or_else(|| panic!("{metrics:#}"));
        for one in operations {
            assert!(number(&one["stall_s"]) >= number(&one["snapshot_s"]), "{one}");
            assert!(number(&one["snapshot_s"]) > 0.0 && number(&one["flush_s"]) > 0.0, "{one}");
            // What is written counts from the begin of the snapshot to the end of the last file.
            assert!(number(&one["strict_s"]) >= number(&one["flush_s"]), "{one}");
        }
        let background = &metrics["background"];
        let sum = |key: &str| operations.iter().map(|one| number(&one[key])).sum::<f64>();
        for key in ["stall_s", "flush_s", "snapshot_s"] {
            assert!((number(&background[key]) - sum(key)).abs() < 1e-6, "{key} {background}");
        }
        let steps = |part: &str| background[part]["steps"].as_u64().unwrap();
        let all = lab.phase("r", "training")["metrics"]["steps"].as_u64().unwrap();
        let left_out = 3 * lab.result("r")["config"]["output"]["metric"]["exclude_start_steps"]
            .as_u64()
            .unwrap();
        assert_eq!(steps("during_flush") + steps("outside_flush"), all - left_out);
        let total = metrics["bytes"].as_u64().unwrap();
        let held = background["snapshot_bytes_per_rank"].as_u64().unwrap();
        assert!(held >= total / ranks as u64 && held < total / ranks as u64 + (1 << 20));
        // The files of the reference have no place for a checkpoint whose end is not known.
        let stats = lab.path("results/r/mlperf/0_per_epoch_stats.json");
        assert!(!std::fs::read_to_string(stats).unwrap().contains("save_ckpt"));
    }
}

#[test]
fn all_ranks_wait_for_the_slowest_flush_before_a_commit() {
    if !mpirun_is_there() {
        return;
    }
    let lab = Lab::new();
    let slow = "io.delay={latency: 0.05, rank: 1}";
    pipeline(&lab, 2, "r", &[slow, "train.epochs=1"]).succeed();
    restored_the_newest(&lab, "r");
    let metrics = lab.phase("r", "checkpoint_save")["metrics"].clone();
    for one in metrics["operations"].as_array().unwrap() {
        assert_eq!(one["slowest_rank"], 1);
        assert!(one["rank0_s"].as_f64() < one["strict_s"].as_f64(), "{one}");
    }
    assert!(metrics["background"]["during_flush"]["steps"].as_u64().unwrap() > 0, "{metrics:#}");
    assert!(metrics["background"]["during_flush"]["au_percent"].is_f64());
}

#[test]
fn a_failing_flush_ends_the_job_with_one_line() {
    if !mpirun_is_there() {
        return;
    }
    let lab = Lab::new();
    let fault = "io.fault=[{op: write, kind: eio, rank: 1, name_contains: optim_states, at: 3}]";
    let ended = pipeline(&lab, 2, "r", &[fault]).fail_with(1);
    ended.error_of_a_rank(&["checkpoint global_epoch1_step2: ", "optim_states"]);
    assert_eq!(ended.errors().len(), 1, "{ended}");
    let names = checkpoints(&lab);
    assert!(names.iter().all(|name| name.ends_with(".partial")), "{names:?}");
}

#[test]
fn an_interrupted_flush_leaves_nothing_of_its_checkpoint() {
    if !mpirun_is_there() {
        return;
    }
    let lab = Lab::new();
    let mut running = pipeline(&lab, 2, "r", &[SLOW, "train.epochs=500"]).start();
    running.wait_until("a checkpoint and one on its way", || {
        lab.path("C").is_dir() && {
            let names = checkpoints(&lab);
            names.iter().any(|name| name.ends_with(".partial"))
                && names.iter().any(|name| !name.contains('.'))
        }
    });
    running.signal(nix::sys::signal::Signal::SIGINT);
    running.end();
    for name in checkpoints(&lab).iter().filter(|name| !name.contains('.')) {
        assert!(lab.path("C").join(name).join("manifest.json").is_file(), "{name}");
    }
}

#[test]
fn what_cannot_be_done_in_the_background_is_refused() {
    if !mpirun_is_there() {
        return;
    }
    let lab = Lab::new();
    let writes = ["workflow.train=False", "checkpoint.num_checkpoints_write=1"];
    let ended = pipeline(&lab, 1, "r", &writes).fail_with(2);
    ended.one_error(&["checkpoint.async", "workflow.train"]);
    let ended = pipeline(&lab, 1, "r", &["checkpoint.rank_sync=True"]).fail_with(2);
    ended.one_error(&["checkpoint.rank_sync", "checkpoint.async"]);
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("workloads/pipeline.yaml");
    let words = ["plan", file.to_str().unwrap(), "--memory-per-host", "128MiB"];
    let ended = lab.command(1, &words).fail_with(2);
    ended.one_error(&["checkpoint.async: True", "108.5 MiB", "128.0 MiB"]);
    lab.command(1, &[&words[..], &["--set", "checkpoint.async=False"]].concat()).succeed();
}
