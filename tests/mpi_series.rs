//! Several runs in one job: `--repeat` and `--find-max-accelerators`.

mod launch;

use launch::{Lab, all_gone, mpirun_is_there};
use nix::sys::signal::Signal;
use serde_json::Value;
use std::path::Path;

fn json(lab: &Lab, path: &str) -> Value {
    serde_json::from_str(&std::fs::read_to_string(lab.path(path)).unwrap()).unwrap()
}

/// Names in a folder, in order.
fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn is_stamp(name: &str) -> bool {
    name.len() == 15
        && name.bytes().enumerate().all(|(index, byte)| match index {
            8 => byte == b'_',
            _ => byte.is_ascii_digit(),
        })
}

/// `settings` as options.
fn sets<'a>(settings: &[&'a str]) -> Vec<&'a str> {
    settings.iter().flat_map(|text| ["--set", *text]).collect()
}

#[test]
fn a_repeated_run_has_a_folder_and_a_seed_for_each_time() {
    if !mpirun_is_there() {
        return;
    }
    for ranks in [1, 3] {
        let lab = Lab::new();
        let mut extra = sets(&["workflow.generate_data=true", "dataset.keep_files=false"]);
        extra.extend(["--repeat", "2", "--warmup-runs", "1", "--verify", "full"]);
        let ended = lab.job(ranks, "run", "s", &extra).succeed();
        let model = lab.path("results/s/training/tiny");
        assert_eq!(names(&model), ["datagen", "run"]);
        assert_eq!(names(&model.join("datagen")).len(), 1, "generated once");
        let mut folders = names(&model.join("run"));
        assert_eq!(folders.pop().as_deref(), Some("results.json"));
        assert_eq!(folders.len(), 3, "{folders:?}");
        let listed = json(&lab, "results/s/training/tiny/run/results.json");
        let ids: Vec<&str> =
            listed.as_array().unwrap().iter().map(|run| run["run_id"].as_str().unwrap()).collect();
        for (id, folder) in ids.iter().zip(&folders) {
            assert_eq!(*id, format!("training_run_tiny_{folder}"), "in the order of the runs");
        }
        assert_eq!(ids.len(), 3);
        let report = json(&lab, "results/s/repeat.json");
        let runs = report["runs"].as_array().unwrap();
        for (index, (run, folder)) in runs.iter().zip(&folders).enumerate() {
            assert!(is_stamp(folder), "{folder}");
            assert_eq!(run["folder"], format!("training/tiny/run/{folder}"));
            assert_eq!(run["warmup"], index == 0);
            assert_eq!(run["train_seed"], 123 + index, "each run has another order");
            let path = format!("results/s/training/tiny/run/{folder}");
            let result = json(&lab, &format!("{path}/result.json"));
            assert_eq!(result["config"]["train"]["seed"], 123 + index);
            assert_eq!(result["run"]["partial"], false);
            assert!(json(&lab, &format!("{path}/mlperf/summary.json"))["metric"].is_object());
            let logs = names(&lab.path(&path).join("mlperf"));
            let of_ranks = |end: &str| logs.iter().filter(|name| name.ends_with(end)).count();
            assert_eq!(of_ranks("_output.json"), ranks, "{logs:?}");
            assert_eq!(of_ranks("_per_epoch_stats.json"), ranks, "{logs:?}");
            let told = format!("training_{folder}_metadata.json");
            assert!(logs.contains(&told), "the folder has the time of its metadata: {logs:?}");
        }
        let rates: Vec<f64> =
            runs.iter().map(|run| run["samples_per_s"].as_f64().unwrap()).collect();
        let mean = (rates[1] + rates[2]) / 2.0;
        let found = report["samples_per_s"]["mean"].as_f64().unwrap();
        assert!((found - mean).abs() < 1e-6 * mean, "{found} of {rates:?}");
        let check = &report["mlperf_series"];
        assert_eq!(check["meets"], false);
        assert!(check["broken"].to_string().contains("1 warm-up and 2 measured runs"));
        assert!(ended.out.contains("do not meet the rules"), "{ended}");
        assert!(!lab.path("data/train").exists(), "the dataset goes after the last run");
        // The name is taken.
        let again = lab.job(ranks, "run", "s", &["--repeat", "2"]).fail_with(1);
        again.one_error(&["already holds a result"]);
    }
}

#[test]
fn an_interrupted_series_keeps_what_was_measured() {
    if !mpirun_is_there() {
        return;
    }
    let lab = Lab::new();
    let mut extra = sets(&["train.computation_time=0.05", "train.epochs=4"]);
    extra.extend(["--engine", "null", "--repeat", "50", "--warmup-runs", "1"]);
    let mut running = lab.job(2, "run", "cut", &extra).start();
    let folder = lab.path("results/cut/training/tiny/run");
    running.wait_until("the second run", || folder.is_dir() && names(&folder).len() >= 2);
    let ranks = running.ranks();
    running.signal(Signal::SIGINT);
    let ended = running.end();
    all_gone(&ranks);
    assert!(!ended.status.success(), "{ended}");
    let report = json(&lab, "results/cut/repeat.json");
    assert_eq!(report["partial"], true);
    let runs = report["runs"].as_array().unwrap();
    assert!((2..50).contains(&runs.len()), "{report:#}");
    assert_eq!(runs[0]["partial"], false);
    assert!(ended.out.contains("(interrupted)"), "{ended}");
}

#[test]
fn the_capacity_of_a_store_of_known_rate_is_found() {
    if !mpirun_is_there() {
        return;
    }
    // A rank has 2 x 2 requests in flight, one for each sample, and each takes 40 ms: 100 samples/s
    // at most. An accelerator asks for 10 samples/s, 7.5 at the required AU: 13.3 accelerators. Its
    // steps are long and the AU is low, so that a busy machine does not decide.
    let settings = sets(&[
        "io.delay.latency=0.04",
        "io.queue_depth=2",
        "io.block_size=1MiB",
        "dataset.record_length_bytes_stdev=0",
        "dataset.num_files_train=100000",
        "train.total_training_steps=30",
        "train.epochs=1",
        "train.computation_time=0.1",
        "reader.batch_size=1",
        "metric.au=0.75",
    ]);
    const ANALYTIC: f64 = 100.0 / (10.0 * 0.75);
    for ranks in [1u64, 2] {
        let lab = Lab::new();
        let mut extra = settings.clone();
        extra.extend(["--engine", "null", "--find-max-accelerators", "--runs-per-point", "1"]);
        let ended = lab.job(ranks as usize, "run", "c", &extra).succeed();
        let report = json(&lab, "results/c/capacity.json");
        let points = report["points"].as_array().unwrap();
        let best = report["best_by_au"].as_u64().unwrap();
        // It cannot be beaten but by what was read ahead in the first step, and by sleeps that last
        // longer than asked for on a busy machine, which also makes reads slower.
        let point = points.iter().find(|point| point["accelerators"] == best).unwrap();
        let folder = point["runs"][0]["folder"].as_str().unwrap();
        let result = json(&lab, &format!("results/c/{folder}/result.json"));
        let slept = &result["phases"][0]["metrics"]["compute_measured_over_configured"];
        let most = 1.2 * ANALYTIC * slept.as_f64().unwrap();
        let each = best as f64 / ranks as f64;
        assert!((ANALYTIC / 3.0..=most).contains(&each), "{each} of {most}\n{ended}");
        // The border is exact: one more for each rank was tried and does not reach AU.
        let next = points.iter().find(|point| point["accelerators"] == best + ranks);
        assert_eq!(next.expect("the next point was tried")["reaches_au"], false);
        for point in points {
            let reaches = point["accelerators"].as_u64().unwrap() <= best;
            assert_eq!(point["reaches_au"], reaches, "{point:#}");
            assert_eq!(point["au_percent"].as_array().unwrap().len(), 1);
            assert_eq!(point["passed"], false, "a delayed store proves nothing");
        }
        assert!(report["best"].is_null());
        assert!(ended.out.contains("altered on purpose"), "{ended}");
        let csv = std::fs::read_to_string(lab.path("results/c/capacity.csv")).unwrap();
        assert_eq!(csv.lines().count(), points.len() + 1);
        let folders = names(&lab.path("results/c/training/tiny/run"));
        assert_eq!(folders.len(), points.len(), "one run for each point");
    }
}

#[test]
fn a_search_ends_at_its_limits_and_says_which() {
    if !mpirun_is_there() {
        return;
    }
    let lab = Lab::new();
    let files = "dataset.num_files_train=40";
    lab.job(2, "datagen", "gen", &["--set", files]).succeed();
    let common = sets(&["metric.au=0.0", "train.epochs=1", "reader.batch_size=1", files]);
    let search = |id: &str, more: &[&str]| {
        let mut extra = common.clone();
        extra.extend(["--find-max-accelerators", "--runs-per-point", "2"]);
        extra.extend(more);
        let ended = lab.job(2, "run", id, &extra).succeed();
        (json(&lab, &format!("results/{id}/capacity.json")), ended)
    };
    let (report, ended) = search("most", &["--max-accelerators", "5"]);
    let tried: Vec<u64> = report["points"]
        .as_array()
        .unwrap()
        .iter()
        .map(|point| point["accelerators"].as_u64().unwrap())
        .collect();
    assert_eq!(tried, [2, 4]);
    assert_eq!(report["best_by_au"], 4);
    assert!(ended.out.contains("--max-accelerators is 5"), "{ended}");
    // 40 samples: with 6 for each of two ranks, one of the three steps is left out of the window
    // and two may have been read before it.
    let (report, ended) = search("data", &[]);
    assert_eq!(report["best_by_au"], 10);
    assert!(ended.out.contains("12 accelerators have 3 step(s)"), "{ended}");
    assert!(ended.out.contains("note: an epoch of the largest point has 4 steps"), "{ended}");
    let refused = lab.job(2, "run", "no", &["--find-max-accelerators", "--max-accelerators", "1"]);
    refused.fail_with(2).one_error(&["--max-accelerators 1", "2 ranks"]);
    let both = ["--find-max-accelerators", "--set", "train.accelerators_per_rank=2"];
    lab.job(2, "run", "no", &both).fail_with(2).one_error(&["train.accelerators_per_rank"]);
    let both = ["--find-max-accelerators", "--repeat", "2"];
    assert_eq!(lab.job(2, "run", "no", &both).end().status.code(), Some(2));
}
