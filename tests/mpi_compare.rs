//! `--compare`: two clients of one store in turn, in one job.

#![cfg(all(feature = "mpi", feature = "sdk"))]

mod launch;
mod s3;

use launch::{Job, Lab, all_gone, mpirun_is_there};
use nix::sys::signal::Signal;
use s3::Server;
use serde_json::Value;

const OBJECTS: &str = "
workflow: {object: True, train: False}
model: {name: object}
object:
  mix: {put: 30, get: 60, head: 10}
  size: 20000
  objects: 20
  in_flight: 4
  operations: 200
  duration_s: 0
";

const CHECKPOINTS: &str = "
model: {name: small, type: cnn, model_size_bytes: 3000001}
framework: pytorch
workflow: {generate_data: False, train: False, checkpoint: True}
checkpoint: {type: all_ranks, num_checkpoints_write: 2, num_checkpoints_read: 2,
             time_between_checkpoints: 0}
io: {block_size: 64KiB, queue_depth: 4}
storage: {storage_options: {part_size: 256KiB}}
";

/// A run of `text` at two ranks with data and checkpoints in the store.
fn job(server: &Server, lab: &Lab, text: &str, id: &str, extra: &[&str]) -> Job {
    std::fs::write(lab.path("compared.yaml"), text).unwrap();
    let (file, results) = (lab.arg("compared.yaml"), lab.arg("results"));
    let mut words = vec!["run", &file, "--results-dir", &results, "--run-id", id];
    words.extend(["--data-dir", "s3://bench/data", "--checkpoint-dir", "s3://bench/ck"]);
    words.extend(extra);
    lab.command(2, &words).with(&server.environment())
}

fn report(lab: &Lab, id: &str) -> Value {
    let path = lab.path("results").join(id).join("compare.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// The clients of all runs, and that each has a whole result that names it.
fn clients(lab: &Lab, id: &str, report: &Value) -> Vec<String> {
    let runs = report["runs"].as_array().unwrap();
    let of = |run: &Value| {
        let client = run["client"].as_str().unwrap().to_string();
        let folder = run["folder"].as_str().unwrap();
        assert!(folder.contains(&format!("/{client}/")), "{folder}");
        let result = lab.result(&format!("{id}/{folder}"));
        assert_eq!(result["config"]["storage"]["storage_options"]["client"], client.as_str());
        for phase in result["phases"].as_array().unwrap() {
            assert_eq!(phase["storage"]["engine"], format!("s3-{client}"), "{phase:#}");
        }
        assert_eq!(run["engines"][0], format!("s3-{client}"));
        client
    };
    runs.iter().map(of).collect()
}

/// Every figure is that of the results, and its ratio that of the rounds.
fn expect_figures(report: &Value, rounds: u64, names: &[&str]) {
    let figures = report["figures"].as_array().unwrap();
    let found: Vec<String> = figures
        .iter()
        .map(|one| format!("{} {}", one["phase"].as_str().unwrap(), one["name"].as_str().unwrap()))
        .collect();
    assert_eq!(found, names);
    for one in figures {
        assert_eq!(one["rounds"], rounds, "{one:#}");
        let ratio = |key: &str| one["ratio"][key].as_f64().unwrap();
        let value = |client: &str, round: u64| -> f64 {
            let runs = report["runs"].as_array().unwrap();
            let fits = |run: &&Value| run["client"] == client && run["round"] == round;
            let run = runs.iter().find(fits).unwrap();
            let all = run["figures"].as_array().unwrap();
            let same = |own: &&Value| own["phase"] == one["phase"] && own["name"] == one["name"];
            all.iter().find(same).unwrap()["value"].as_f64().unwrap()
        };
        let first = report["warmup_rounds"].as_u64().unwrap();
        let ratios: Vec<f64> =
            (first..first + rounds).map(|n| value("sdk", n) / value("raw", n)).collect();
        let mean = ratios.iter().sum::<f64>() / rounds as f64;
        assert!((ratio("mean") - mean).abs() < 1e-9 * mean, "{one:#}");
        let rounding = 1.0 + 1e-9;
        assert!(ratio("min") <= mean * rounding && mean <= ratio("max") * rounding, "{one:#}");
    }
}

#[test]
fn the_object_benchmark_runs_by_both_clients_in_alternating_order() {
    if !mpirun_is_there() {
        return;
    }
    let (server, lab) = (Server::start(0), Lab::new());
    let extra = ["--compare", "sdk,raw", "--verify", "full"];
    let ended = job(&server, &lab, OBJECTS, "o", &extra).succeed();
    let report = report(&lab, "o");
    assert_eq!(report["rounds"], 3, "the default");
    assert_eq!(clients(&lab, "o", &report), ["sdk", "raw", "raw", "sdk", "sdk", "raw"]);
    let names = ["operations_per_s", "put_p99_ms", "get_p99_ms", "gib_per_s", "cpu_s_per_gib"];
    let names = names.map(|name| format!("object {name}"));
    expect_figures(&report, 3, &names.each_ref().map(String::as_str));
    assert!(ended.out.contains("sdk / raw"), "{ended}");
    let text = std::fs::read_to_string(lab.path("results/o/compare.txt")).unwrap();
    assert!(ended.out.contains(text.trim_end()), "{ended}");
    assert_eq!(server.memory.keys(), Vec::<String>::new(), "each run removes its objects");
    let again = job(&server, &lab, OBJECTS, "o", &extra).fail_with(1);
    again.one_error(&["already holds a result"]);
}

#[test]
fn a_training_reads_one_dataset_in_one_order_by_both_clients() {
    if !mpirun_is_there() {
        return;
    }
    let (server, lab) = (Server::start(0), Lab::new());
    let mut extra = vec!["--compare", "sdk,raw", "--repeat", "2", "--warmup-runs", "1"];
    extra.extend(["--verify", "full", "--set", "workflow.generate_data=True"]);
    extra.extend(["--set", "dataset.keep_files=False"]);
    job(&server, &lab, launch::TINY, "t", &extra).succeed();
    let report = report(&lab, "t");
    assert_eq!(clients(&lab, "t", &report), ["sdk", "raw", "raw", "sdk", "sdk", "raw"]);
    let names = ["samples_per_s", "au_percent", "gib_per_s", "cpu_s_per_gib"];
    let names = names.map(|name| format!("training {name}"));
    expect_figures(&report, 2, &names.each_ref().map(String::as_str));
    for run in report["runs"].as_array().unwrap() {
        let round = run["round"].as_u64().unwrap();
        assert_eq!(run["warmup"], round == 0);
        let result = lab.result(&format!("t/{}", run["folder"].as_str().unwrap()));
        assert_eq!(result["config"]["train"]["seed"], 123 + round, "one order in a round");
    }
    let model = lab.path("results/t/training/tiny");
    let datagens = std::fs::read_dir(model.join("datagen")).unwrap().count();
    assert_eq!(datagens, 1, "generated once");
    assert!(server.memory.requests("put") < 2 * 13, "and nothing of it is written again");
    assert_eq!(server.memory.keys(), Vec::<String>::new(), "the dataset goes after the last run");
}

#[test]
fn checkpoints_are_saved_and_restored_by_both_clients() {
    if !mpirun_is_there() {
        return;
    }
    let (server, lab) = (Server::start(0), Lab::new());
    let extra = ["--compare", "sdk,raw", "--repeat", "1", "--verify", "full"];
    job(&server, &lab, CHECKPOINTS, "c", &extra).succeed();
    let report = report(&lab, "c");
    assert_eq!(clients(&lab, "c", &report), ["sdk", "raw"]);
    let names = ["checkpoint_save", "checkpoint_restore"].into_iter().flat_map(|phase| {
        ["strict_gib_per_s", "cpu_s_per_gib"].map(|name| format!("{phase} {name}"))
    });
    let names: Vec<String> = names.collect();
    expect_figures(&report, 1, &names.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(server.memory.open_uploads(), 0);
}

#[test]
fn an_interrupted_comparison_keeps_its_whole_rounds() {
    if !mpirun_is_there() {
        return;
    }
    let (server, lab) = (Server::start(0), Lab::new());
    let extra = ["--compare", "sdk,raw", "--repeat", "500"];
    let mut running = job(&server, &lab, OBJECTS, "cut", &extra).start();
    // The third run by sdk begins when two rounds are whole.
    let folder = lab.path("results/cut/object/object/sdk");
    let runs = || std::fs::read_dir(&folder).map_or(0, |entries| entries.count());
    running.wait_until("two rounds", || runs() >= 3);
    let ranks = running.ranks();
    running.signal(Signal::SIGINT);
    let ended = running.end();
    all_gone(&ranks);
    assert!(!ended.status.success(), "{ended}");
    let report = report(&lab, "cut");
    assert_eq!(report["partial"], true);
    let rounds = report["figures"][0]["rounds"].as_u64().unwrap();
    assert!((2..500).contains(&rounds), "{report:#}");
    assert!(report["runs"].as_array().unwrap().len() as u64 >= 2 * rounds);
    assert!(ended.out.contains("(interrupted)"), "{ended}");
}

#[test]
fn what_cannot_be_compared_is_refused_in_one_line() {
    let (server, lab) = (Server::start(0), Lab::new());
    for (text, extra, words) in [
        (OBJECTS, &["--compare", "sdk"][..], "--compare: two clients are compared"),
        (OBJECTS, &["--compare", "sdk,boto3"], "there is no client `boto3`; give two of raw, sdk"),
        (OBJECTS, &["--compare", "raw,raw"], "--compare: the same client twice"),
        (OBJECTS, &["--compare", "sdk,raw", "--set", "object.keep=True"], "object.keep: "),
        (OBJECTS, &["--compare", "sdk,raw", "--engine", "null"], "nothing of this run lies there"),
        (
            launch::TINY,
            &[
                "--compare",
                "sdk,raw",
                "--set",
                "workflow.train=False",
                "--set",
                "workflow.generate_data=True",
            ],
            "--compare needs a training, checkpoints or the object benchmark",
        ),
    ] {
        job(&server, &lab, text, "no", extra).plain().fail_with(2).one_error(&[words]);
    }
    let folder = lab.arg("data");
    let words = ["--compare", "sdk,raw", "--data-dir", &folder];
    let said = lab.job(1, "run", "no", &words).plain().fail_with(2);
    said.one_error(&["--compare is about clients of s3://", "--data-dir"]);
    let both = ["--compare", "sdk,raw", "--find-max-accelerators"];
    assert_eq!(lab.job(1, "run", "no", &both).plain().end().status.code(), Some(2));
}
