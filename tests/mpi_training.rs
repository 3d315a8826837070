//! Training under mpirun: what a run must leave behind, that every sample is read once in every
//! epoch, and that each setting does what it says.

#![cfg(feature = "mpi")]

mod launch;

use launch::{Lab, is_root, mpirun_is_there, shared};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

fn keys(value: &Value) -> BTreeSet<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

fn set<'a>(settings: &[&'a str]) -> Vec<&'a str> {
    settings.iter().flat_map(|text| ["--set", text]).collect()
}

fn json(path: &Path) -> Value {
    let text = std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A training checks content in any order, so it leaves out the few bytes of a sample that hold a
/// checksum over the others; `datagen --verify full` checks those too.
fn checked_in_full(phase: &Value) {
    let (checked, requested) = (&phase["verify"]["bytes_checked"], &phase["bytes"]["requested"]);
    let left_out = number(requested) - number(checked);
    let most = 8.0 * number(&phase["metrics"]["samples"]);
    assert!((0.0..=most).contains(&left_out), "{checked} of {requested}");
}

#[test]
fn a_run_leaves_everything_that_the_design_names() {
    if !mpirun_is_there() {
        return;
    }
    let lab = Lab::new();
    lab.job(3, "datagen", "g", &[]).succeed();
    let ended = lab.job(3, "run", "t", &["--verify", "full"]).succeed();
    for name in ["result.json", "summary.txt", "ranks.csv", "series.csv", "histograms.hlog"] {
        let length = std::fs::metadata(lab.path("results/t").join(name)).unwrap().len();
        assert!(length > 0, "{name} is empty");
    }
    assert!(ended.out.contains("verdict: "), "{ended}");
    let result = lab.result("t");
    let wanted = ["schema", "tool", "run", "config", "environment", "calibration", "phases"];
    for key in wanted.into_iter().chain(["verdict"]) {
        assert!(!result[key].is_null(), "{key} is missing: {result:#}");
    }
    assert_eq!((&result["run"]["ranks"], &result["run"]["hosts"]), (&3.into(), &1.into()));
    let phase = lab.phase("t", "training");
    let sections = "window_s bytes ops rate client storage proof latency_ns ranks verify metrics";
    for key in sections.split(' ') {
        assert!(!phase[key].is_null(), "{key} is missing: {phase:#}");
    }
    let metrics = &phase["metrics"];
    // 13 samples for 3 ranks in batches of 2: two steps, and two epochs of them.
    assert_eq!(metrics["steps"], 4);
    assert_eq!(metrics["samples"], 24);
    checked_in_full(&phase);
    let wanted = "au_percent_mean au_percent_per_epoch au_pass samples_per_s_mean \
                  samples_per_s_per_epoch load_wait_ns compute_ns barrier_ns";
    for key in wanted.split_whitespace() {
        assert!(!metrics[key].is_null(), "{key} is missing: {metrics:#}");
    }
    let ranks = std::fs::read_to_string(lab.path("results/t/ranks.csv")).unwrap();
    assert_eq!(ranks.lines().count(), 4, "{ranks}");
}

#[test]
fn reads_are_direct_and_the_kernel_counted_them() {
    if !mpirun_is_there() {
        return;
    }
    let lab = Lab::new();
    let larger = set(&["dataset.record_length_bytes=4MB", "dataset.num_files_train=16"]);
    lab.job(2, "datagen", "g", &larger).succeed();
    lab.job(2, "run", "t", &larger).succeed();
    let phase = lab.phase("t", "training");
    if phase["proof"]["alignment_probe"]["verdict"].as_str().unwrap().contains("enforces") {
        assert_eq!(phase["storage"]["direct"], true);
        let claimed = number(&phase["bytes"]["transferred"]);
        let counted = number(&phase["proof"]["process_io_bytes"]);
        assert!((claimed / counted - 1.0).abs() < 0.01, "claimed {claimed}, counted {counted}");
        assert_eq!(number(&phase["proof"]["resident_after"]), 0.0);
        assert_eq!(phase["storage"]["fallbacks"], serde_json::json!([]));
    } else {
        eprintln!("skipped in part: {}", phase["proof"]["alignment_probe"]["verdict"]);
    }
    assert_eq!(lab.result("t")["verdict"]["status"], "VALID", "{:#}", lab.result("t")["verdict"]);
}

/// Trains on `samples` samples in all and expects each of them once in each of two epochs.
fn every_sample_once(lab: &Lab, ranks: usize, id: &str, samples: u64, settings: &[&str]) {
    let mut settings = set(settings);
    settings.extend(["--set", "io.drop_last=False", "--verify", "full"]);
    lab.job(ranks, "datagen", &format!("{id}-g"), &settings).succeed();
    lab.job(ranks, "run", id, &settings).succeed();
    let phase = lab.phase(id, "training");
    assert_eq!(phase["metrics"]["samples"], 2 * samples, "{id}: {:#}", phase["metrics"]);
    checked_in_full(&phase);
    let blocks = phase["metrics"]["blocks"].as_array().unwrap();
    assert_eq!(blocks[0]["requested_bytes"], blocks[1]["requested_bytes"], "{id}");
}

#[test]
fn every_format_trains_with_every_sample_once() {
    if !mpirun_is_there() {
        return;
    }
    for (format, ranks) in [("npz", 1), ("npy", 2), ("tfrecord", 3), ("jpeg", 5), ("png", 2)] {
        let lab = Lab::new();
        let format_is = format!("dataset.format={format}");
        let per_file = if matches!(format, "npy" | "tfrecord") { 7 } else { 1 };
        let samples = format!("dataset.num_samples_per_file={per_file}");
        let settings = [&*format_is, &*samples, "dataset.record_length_bytes=60000"];
        let settings = [&settings[..], &["dataset.record_length_bytes_stdev=0"]].concat();
        every_sample_once(&lab, ranks, format, 13 * per_file, &settings);
    }
    let lab = Lab::new();
    let synthetic = set(&["dataset.format=synthetic"]);
    lab.job(2, "run", "s", &[&synthetic[..], &["--data-dir", "null://"]].concat()).succeed();
}

#[test]
fn shuffles_and_engines_read_the_same_samples() {
    if !mpirun_is_there() {
        return;
    }
    let lab = Lab::new();
    let shape = ["dataset.format=tfrecord", "dataset.num_samples_per_file=5"];
    for (id, files, samples, engine) in [
        ("a", "off", "off", "uring"),
        ("b", "seed", "off", "sync"),
        ("c", "random", "seed", "mmap"),
        ("d", "off", "random", "auto"),
    ] {
        let (files, samples) =
            (format!("reader.file_shuffle={files}"), format!("reader.sample_shuffle={samples}"));
        let engine = format!("io.engine={engine}");
        let settings = [&shape[..], &[&*files, &*samples, &*engine]].concat();
        every_sample_once(&lab, 3, id, 65, &settings);
    }
}

#[test]
fn an_evaluation_runs_where_it_is_due() {
    if !mpirun_is_there() {
        return;
    }
    let lab = Lab::new();
    let settings = set(&[
        "dataset.num_files_eval=6",
        "workflow.evaluation=True",
        "train.epochs=4",
        "evaluation.eval_after_epoch=2",
        "evaluation.epochs_between_evals=2",
        "evaluation.eval_time=0.001",
        "reader.batch_size_eval=3",
    ]);
    lab.job(2, "datagen", "g", &settings).succeed();
    lab.job(2, "run", "t", &settings).succeed();
    let evaluation = lab.phase("t", "evaluation");
    assert_eq!(evaluation["metrics"]["epochs"], 2);
    assert_eq!(evaluation["metrics"]["samples"], 12);
    assert_eq!(evaluation["storage"]["direct"], lab.phase("t", "training")["storage"]["direct"]);
    let epochs = json(&lab.path("results/t/mlperf/0_per_epoch_stats.json"));
    assert!(epochs["2"].get("eval").is_some() && epochs["3"].get("eval").is_none(), "{epochs:#}");
}

#[test]
fn total_training_steps_caps_each_epoch() {
    if !mpirun_is_there() {
        return;
    }
    let lab = Lab::new();
    lab.job(2, "datagen", "g", &[]).succeed();
    lab.job(2, "run", "t", &set(&["train.total_training_steps=2"])).succeed();
    let metrics = lab.phase("t", "training")["metrics"].clone();
    assert_eq!(metrics["steps"], 4, "{metrics:#}");
    assert_eq!(metrics["samples"], 16);
}

#[test]
fn every_distribution_of_compute_time_is_slept_as_drawn() {
    if !mpirun_is_there() {
        return;
    }
    let lab = Lab::new();
    for (id, time) in [
        ("normal", "{mean: 0.004, stdev: 0.001}"),
        ("uniform", "{type: uniform, min: 0.002, max: 0.004}"),
        ("gamma", "{type: gamma, shape: 2, scale: 0.001}"),
        ("exponential", "{type: exponential, scale: 0.002}"),
        ("poisson", "{type: poisson, lam: 0.001}"),
    ] {
        let time = format!("train.computation_time={time}");
        lab.job(2, "run", id, &[&set(&[&time])[..], &["--engine", "null"]].concat()).succeed();
        let metrics = lab.phase(id, "training")["metrics"].clone();
        let ratio = number(&metrics["compute_measured_over_configured"]);
        assert!((1.0..3.0).contains(&ratio), "{id}: {metrics:#}");
    }
}

#[test]
fn a_buffered_run_is_called_cached_and_strict_says_so() {
    if !mpirun_is_there() {
        return;
    }
    let lab = Lab::new();
    lab.job(2, "datagen", "g", &[]).succeed();
    let ended = lab.job(2, "run", "b", &["--buffered"]).succeed();
    assert!(ended.out.contains("CACHED"), "{ended}");
    assert_eq!(lab.result("b")["verdict"]["status"], "CACHED");
    assert_eq!(lab.phase("b", "training")["storage"]["direct"], false);
    lab.job(2, "run", "s", &["--buffered", "--strict"]).fail_with(3);
}

#[test]
fn memory_is_not_called_direct() {
    if !mpirun_is_there() {
        return;
    }
    let Ok(memory) = tempfile::tempdir_in("/dev/shm") else {
        return eprintln!("skipped: no /dev/shm");
    };
    let lab = Lab::new();
    let folder = memory.path().join("data").to_str().unwrap().to_string();
    lab.job(2, "datagen", "g", &["--data-dir", &folder]).succeed();
    let ended = lab.job(2, "run", "t", &["--data-dir", &folder]).succeed();
    let phase = lab.phase("t", "training");
    assert_eq!(phase["storage"]["direct"], false);
    let fallback = phase["storage"]["fallbacks"][0].as_str().unwrap();
    assert!(fallback.contains("O_DIRECT") && fallback.contains("tmpfs"), "{fallback}");
    assert_eq!(lab.result("t")["verdict"]["status"], "CACHED");
    assert!(ended.out.contains("tmpfs"), "{ended}");
}

#[test]
fn datasets_of_the_reference_train() {
    let Some(shared) = shared().filter(|_| mpirun_is_there()) else { return };
    for format in ["npz", "npy", "tfrecord", "jpeg", "png"] {
        let lab = Lab::new();
        let folder = shared.join("fixtures/dlio-2.0.0/data").join(format);
        let before = launch::fingerprint(&folder);
        let format_is = format!("dataset.format={format}");
        let subfolders = if format == "tfrecord" { 0 } else { 2 };
        let subfolders = format!("dataset.num_subfolders_train={subfolders}");
        let mut settings = set(&[
            &format_is,
            &subfolders,
            "dataset.num_files_train=4",
            "dataset.num_files_eval=2",
            "dataset.num_samples_per_file=3",
            "dataset.record_length_bytes=1600",
            "dataset.record_length_bytes_stdev=0",
            "dataset.keep_files=False",
            "workflow.evaluation=True",
            "reader.batch_size=3",
        ]);
        settings.extend(["--data-dir", folder.to_str().unwrap()]);
        let ended = lab.job(2, "run", "t", &settings).succeed();
        assert!(ended.err.contains("not made by rankio"), "{ended}");
        assert_eq!(lab.phase("t", "training")["metrics"]["samples"], 24, "{format}");
        assert_eq!(lab.phase("t", "evaluation")["metrics"]["samples"], 12, "{format}");
        assert_eq!(before, launch::fingerprint(&folder), "{format}: it is somebody else's");
        settings.extend(["--verify", "full"]);
        let ended = lab.job(2, "run", "v", &settings).fail_with(1);
        ended.one_error(&["was not made by rankio", "--verify none"]);
    }
}

#[test]
fn the_mlperf_files_have_the_keys_of_the_reference() {
    let Some(shared) = shared().filter(|_| mpirun_is_there()) else { return };
    let lab = Lab::new();
    let settings = set(&["dataset.num_files_eval=4", "workflow.evaluation=True"]);
    lab.job(2, "datagen", "g", &settings).succeed();
    lab.job(2, "run", "t", &settings).succeed();
    let theirs = shared.join("fixtures/dlio-2.0.0/output");
    let ours = lab.path("results/t/mlperf");
    for (name, their_name) in [
        ("summary.json", "summary.json"),
        ("0_output.json", "0_output.json"),
        ("1_output.json", "1_output.json"),
        ("0_per_epoch_stats.json", "per_epoch_stats.json"),
        ("1_per_epoch_stats.json", "per_epoch_stats.json"),
    ] {
        let (found, wanted) = (json(&ours.join(name)), json(&theirs.join(their_name)));
        assert_eq!(keys(&found), keys(&wanted), "{name}");
        for key in ["metric", "1", "2"] {
            if wanted.get(key).is_some_and(Value::is_object) {
                assert_eq!(keys(&found[key]), keys(&wanted[key]), "{name}: {key}");
            }
        }
    }
}

#[test]
fn the_effective_configuration_runs_again() {
    if !mpirun_is_there() {
        return;
    }
    let lab = Lab::new();
    let settings = [
        "--set",
        "dataset.format=npy",
        "--set",
        "train.computation_time={mean: 0.002, stdev: 0.001}",
    ];
    lab.job(2, "datagen", "g", &settings).succeed();
    lab.job(2, "run", "first", &settings).succeed();
    let (effective, results) = (lab.arg("results/first/config.yaml"), lab.arg("results"));
    let again = ["run", &effective, "--results-dir", &results, "--run-id", "second"];
    lab.command(2, &again).succeed();
    let (first, second) = (lab.result("first"), lab.result("second"));
    assert_eq!(first["run"]["plan_hash"], second["run"]["plan_hash"]);
    assert_eq!(first["config"], second["config"]);
    let ended = lab.command(2, &again).fail_with(1);
    ended.one_error(&["second", "already holds a result", "--run-id"]);
}

#[test]
fn ranks_with_different_settings_are_refused_with_one_line() {
    if !mpirun_is_there() {
        return;
    }
    let lab = Lab::new();
    let program = env!("CARGO_BIN_EXE_rankio");
    for change in ["train.epochs=3", "verify.mode=full", "io.engine=null"] {
        let part = ["-n", "1", program, "run", "tiny.yaml", "--data-dir", "data"];
        let other = [&part[..], &["--set", change]].concat();
        let launcher = ["mpirun", "--bind-to", "none"];
        let words = [&launcher, &part[..], &[":"], &other, &[":"], &other].concat();
        let words = words.into_iter().map(String::from).collect();
        let ended = lab.raw(words).fail_with(2);
        ended.one_error(&["rank 1 (", change, "rank 0 (", "same command line"]);
    }
}

#[test]
fn files_that_are_not_to_be_kept_go_with_the_run() {
    if !mpirun_is_there() {
        return;
    }
    let lab = Lab::new();
    lab.job(2, "run", "t", &set(&["workflow.generate_data=True", "dataset.keep_files=False"]))
        .succeed();
    assert_eq!(lab.phase("t", "training")["metrics"]["samples"], 24);
    assert_eq!(launch::fingerprint(&lab.path("data")).len(), 0);
}

#[test]
fn a_dataset_that_may_not_be_written_trains() {
    if !mpirun_is_there() || !is_root() {
        return eprintln!("skipped: mounts need root");
    }
    let lab = Lab::new();
    lab.job(2, "datagen", "g", &[]).succeed();
    let data = lab.arg("data");
    let script =
        "mount --bind \"$1\" \"$1\" && mount -o remount,bind,ro \"$1\" && shift && exec \"$@\"";
    let mut words: Vec<String> =
        ["unshare", "--mount", "sh", "-c", script, "sh", &data].map(String::from).into();
    words.extend(lab.job(2, "run", "t", &[]).words());
    lab.raw(words).succeed();
    assert_eq!(lab.phase("t", "training")["metrics"]["samples"], 24);
}

#[test]
fn runs_of_the_same_second_have_folders_of_their_own() {
    if !mpirun_is_there() {
        return;
    }
    let lab = Lab::new();
    let results = lab.arg("results");
    let workload = lab.arg("tiny.yaml");
    let unnamed = ["run", &workload, "--engine", "null", "--results-dir", &results];
    let running: Vec<_> = (0..4).map(|_| lab.command(1, &unnamed).plain().start()).collect();
    for job in running {
        let ended = job.end();
        assert!(ended.status.success(), "{ended}");
    }
    let folders = || std::fs::read_dir(lab.path("results")).unwrap().flatten();
    assert_eq!(folders().count(), 4);
    assert!(folders().all(|folder| folder.path().join("result.json").exists()));
    for name in ["", "../elsewhere", ".hidden"] {
        let ended = lab.job(2, "run", name, &["--engine", "null"]).fail_with(2);
        ended.one_error(&["--run-id", name]);
    }
}

#[test]
fn settings_of_the_engine_and_of_content_are_honoured_together() {
    if !mpirun_is_there() {
        return;
    }
    let lab = Lab::new();
    for (id, settings) in [
        ("plain", &["io.registered=False", "io.huge_pages=False", "io.fallocate=False"][..]),
        ("batched", &["io.submit_batch=4", "io.queue_depth=4", "dataset.format=npy"]),
        ("single", &["io.queue_depth=1", "io.block_size=4KiB", "io.engine=sync"]),
        ("pcg", &["dataset.pattern=pcg", "dataset.format=tfrecord"]),
        ("ratios", &["dataset.compress_ratio=2", "dataset.dedup_ratio=2"]),
        ("raw", &["dataset.format=jpeg", "dataset.image_content=raw"]),
        ("floats", &["dataset.format=npy", "dataset.record_element_type=float32"]),
        ("windows", &["reader.prefetch_size=0", "reader.read_threads=5", "reader.batch_size=1"]),
        ("reference", &["io.mode=reference", "reader.file_shuffle=random"]),
    ] {
        let folder = lab.arg(&format!("data-{id}"));
        let mut settings = set(settings);
        settings.extend(["--data-dir", &folder, "--verify", "full"]);
        lab.job(3, "datagen", &format!("{id}-g"), &settings).succeed();
        lab.job(2, "run", id, &settings).succeed();
        checked_in_full(&lab.phase(id, "training"));
    }
    assert_eq!(lab.phase("plain", "training")["storage"]["registered_buffers"], false);
    assert_eq!(lab.phase("plain", "training")["storage"]["page_size"], "4KiB");
}

#[test]
fn the_rank_with_the_slow_store_is_named() {
    if !mpirun_is_there() {
        return;
    }
    let lab = Lab::new();
    lab.job(3, "datagen", "g", &[]).succeed();
    let slow = set(&["io.delay={latency: 0.05, bandwidth: 0, rank: 1}", "io.drop_last=False"]);
    lab.job(3, "run", "t", &slow).succeed();
    let phase = lab.phase("t", "training");
    let slowest = &phase["ranks"]["slowest"];
    assert_eq!(slowest["rank"], 1, "{:#}", phase["ranks"]);
    assert!(number(&slowest["ratio_to_median"]) > 1.5, "{slowest}");
    // The others wait for it: that time is the barrier's, not theirs.
    let metrics = &phase["metrics"];
    assert!(number(&metrics["barrier_ns"]["max"]) > 20e6, "{metrics:#}");
    assert!(phase["storage"]["engine"].as_str().unwrap().contains("delay"), "{phase:#}");
}

#[test]
fn a_short_last_batch_does_not_count_as_a_full_one() {
    if !mpirun_is_there() {
        return;
    }
    let lab = Lab::new();
    let settings = ["dataset.num_files_train=9", "reader.batch_size=8", "io.drop_last=False"];
    let settings = set(&[&settings[..], &["train.epochs=1"]].concat());
    lab.job(1, "run", "t", &[&settings[..], &["--data-dir", "null://"]].concat()).succeed();
    let metrics = &lab.phase("t", "training")["metrics"];
    let samples =
        number(&metrics["samples_per_s_whole"]) * number(&metrics["blocks"][0]["window_s"]);
    assert!((samples - 9.0).abs() < 0.01, "{metrics:#}");
}

#[test]
fn nominal_figures_of_a_dataset_with_dimensions_are_by_its_dimensions() {
    if !mpirun_is_there() {
        return;
    }
    let lab = Lab::new();
    let settings = ["dataset.record_dims=[1024, 64]", "dataset.record_element_type=float32"];
    let settings = set(&[&settings[..], &["dataset.record_length_bytes_stdev=0"]].concat());
    lab.job(2, "run", "t", &[&settings[..], &["--data-dir", "null://"]].concat()).succeed();
    let phase = lab.phase("t", "training");
    let sample_bytes = 1024.0 * 64.0 * 4.0;
    let nominal = sample_bytes * number(&phase["metrics"]["samples"]);
    assert_eq!(number(&phase["bytes"]["nominal"]), nominal, "{phase:#}");
    let metrics = &phase["metrics"];
    let expected = number(&metrics["samples_per_s_mean"]) * sample_bytes / f64::from(1 << 20);
    let found = number(&metrics["nominal_mib_per_s_mean"]);
    assert!((found / expected - 1.0).abs() < 1e-9, "{metrics:#}");
    let summary = json(&lab.path("results/t/mlperf/summary.json"));
    let found = number(&summary["metric"]["train_io_mean_MB_per_second"]);
    assert!((found / expected - 1.0).abs() < 1e-9, "{summary:#}");
    // Six whole files for each of two ranks.
    let data_gib = 12.0 * sample_bytes / f64::from(1 << 30);
    assert_eq!(number(&summary["data_size_per_host_GB"]), data_gib);
}

#[test]
fn what_the_client_used_stands_in_the_result() {
    if !mpirun_is_there() {
        return;
    }
    let lab = Lab::new();
    let many = [
        "dataset.num_files_eval=6",
        "workflow.evaluation=True",
        "evaluation.eval_after_epoch=1",
        "evaluation.epochs_between_evals=1",
        "evaluation.eval_time=0.001",
        "train.epochs=4",
    ];
    let settings = set(&many);
    lab.job(2, "datagen", "g", &settings).succeed();
    lab.job(2, "run", "t", &settings).succeed();
    let training = lab.phase("t", "training");
    let evaluation = lab.phase("t", "evaluation");
    assert_eq!(evaluation["metrics"]["epochs"], 4);
    // Two threads with eight buffers of 128 KiB and 8 KiB of room; huge pages round up. Evaluations
    // one after the other hold no more than one.
    let buffers = 2.0 * 8.0 * 136.0 * 1024.0;
    for phase in [&training, &evaluation] {
        let mapped = number(&phase["client"]["buffer_bytes"]);
        assert!((buffers..buffers + 2.0 * f64::from(2 << 20)).contains(&mapped), "{phase:#}");
        let share = number(&phase["client"]["cpu_share_max"]);
        assert!(share > 0.0 && share < 1.1, "{phase:#}");
        for gone in ["errors", "delete"] {
            assert!(phase["ops"].get(gone).is_none(), "{phase:#}");
        }
    }
}

/// The training files are read through the page cache before a run; the evaluation's are not.
#[test]
fn residency_of_an_evaluation_is_that_of_its_own_files() {
    if !mpirun_is_there() {
        return;
    }
    let lab = Lab::new();
    let settings = set(&["dataset.num_files_eval=6", "workflow.evaluation=True"]);
    lab.job(2, "datagen", "g", &settings).succeed();
    let data = lab.path("data/train");
    for entry in std::fs::read_dir(data).unwrap() {
        std::fs::read(entry.unwrap().path()).unwrap();
    }
    lab.job(2, "run", "t", &settings).succeed();
    let before = |phase: &str| lab.phase("t", phase)["proof"]["resident_before"].clone();
    if before("training").is_null() {
        eprintln!("skipped: residency cannot be seen here");
        return;
    }
    assert!(number(&before("training")) > 0.5, "{}", before("training"));
    assert_eq!(number(&before("evaluation")), 0.0);
}
