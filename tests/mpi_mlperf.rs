//! The benchmark's own files, unmodified but for sizes on the command line: generate, then train.

#![cfg(feature = "mpi")]

mod launch;

use launch::{Lab, mpirun_is_there, shared};
use rankio::config::{CacheMode, load};
use rankio::report::dlio::{Job, Kind};
use serde_json::{Value, json};

struct Workload {
    model: &'static str,
    accelerator: &'static str,
    sizes: &'static [&'static str],
    samples: u64,
}

const WORKLOADS: &[Workload] = &[
    Workload {
        model: "unet3d",
        accelerator: "h100",
        sizes: &[
            "dataset.num_files_train=14",
            "dataset.record_length_bytes=2MiB",
            "dataset.record_length_bytes_stdev=512KiB",
        ],
        samples: 14,
    },
    Workload {
        model: "resnet50",
        accelerator: "h100",
        sizes: &["dataset.num_files_train=4", "dataset.num_samples_per_file=250"],
        samples: 800,
    },
    Workload {
        model: "cosmoflow",
        accelerator: "h100",
        sizes: &["dataset.num_files_train=12"],
        samples: 12,
    },
    Workload {
        model: "retinanet",
        accelerator: "b200",
        sizes: &["dataset.num_files_train=100"],
        samples: 96,
    },
    Workload {
        model: "dlrm",
        accelerator: "b200",
        sizes: &["dataset.num_files_train=4", "dataset.num_samples_per_file=49152"],
        samples: 196_608,
    },
    Workload {
        model: "flux",
        accelerator: "b200",
        sizes: &["dataset.num_files_train=2", "dataset.num_samples_per_file=96"],
        samples: 192,
    },
];

#[test]
fn the_files_of_the_benchmark_run_at_full_size_on_the_null_store() {
    let Some(shared) = shared().filter(|_| mpirun_is_there()) else { return };
    for Workload { model, accelerator, .. } in WORKLOADS {
        let lab = Lab::new();
        let results = lab.arg("results");
        let path = shared.join(format!("mlperf-configs/training/{model}_{accelerator}.yaml"));
        let path = path.to_str().unwrap();
        // Full size in everything but the number of steps.
        let set = ["--set", "train.total_training_steps=8", "--set", "train.epochs=1"];
        let options =
            ["run", path, "--data-dir", "null://", "--results-dir", &results, "--run-id", "t"];
        lab.command(2, &[&options[..], &set].concat()).succeed();
        let phase = lab.phase("t", "training");
        assert_eq!(phase["metrics"]["steps"], 8, "{model}: {phase:#}");
        assert_eq!(phase["storage"]["engine"], "null", "{model}");
    }
}

#[test]
fn the_files_of_the_benchmark_generate_and_train() {
    let Some(shared) = shared().filter(|_| mpirun_is_there()) else { return };
    for workload in WORKLOADS {
        let lab = Lab::new();
        let Workload { model, accelerator, sizes, samples } = workload;
        let (data, results) = (lab.arg("data"), lab.arg("results"));
        let file = |kind: &str| {
            let path = shared.join(format!("mlperf-configs/training/{model}_{kind}.yaml"));
            path.to_str().unwrap().to_string()
        };
        let mut options = vec!["--data-dir", &data, "--results-dir", &results, "--run-id"];
        let mut set: Vec<&str> = sizes.iter().flat_map(|text| ["--set", text]).collect();
        options.push("g");
        lab.command(2, &[&["datagen", &file("datagen")], &options[..], &set].concat()).succeed();
        options.pop();
        options.push("t");
        // Two of the epochs are enough here.
        set.extend(["--set", "train.epochs=2", "--verify", "full"]);
        lab.command(2, &[&["run", &file(accelerator)], &options[..], &set].concat()).succeed();
        let phase = lab.phase("t", "training");
        assert_eq!(phase["metrics"]["samples"], 2 * samples, "{model}: {phase:#}");
        let probe = phase["proof"]["alignment_probe"]["verdict"].as_str().unwrap();
        assert_eq!(phase["storage"]["direct"], probe.contains("enforces"), "{model}: {probe}");
    }
}

/// A file of the `mlperf/` folder of a run.
fn told(lab: &Lab, id: &str, name: &str) -> Value {
    let path = lab.path("results").join(id).join("mlperf").join(name);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    match name.ends_with(".yaml") {
        true => serde_yaml::from_str(&text).unwrap(),
        false => serde_json::from_str(&text).unwrap(),
    }
}

/// The folder of a run, with the time of its metadata left out; that time.
fn tree(lab: &Lab, id: &str) -> (Vec<String>, String) {
    let folder = lab.path("results").join(id).join("mlperf");
    let mut names = Vec::new();
    let mut stamp = String::new();
    for entry in std::fs::read_dir(&folder).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        match name.strip_suffix("_metadata.json").and_then(|rest| rest.split_once('_')) {
            Some((benchmark, time)) => {
                stamp = time.into();
                names.push(format!("{benchmark}_TIME_metadata.json"));
            }
            None => names.push(name),
        }
    }
    names.sort();
    (names, stamp)
}

const RANK_FILES: [&str; 4] =
    ["0_output.json", "0_per_epoch_stats.json", "1_output.json", "1_per_epoch_stats.json"];

/// What a folder of a submission holds, of two ranks.
fn wanted(kind: &str, command: &str) -> Vec<String> {
    let mut names: Vec<String> = RANK_FILES.map(String::from).into();
    names.extend(["dlio.log", "dlio_config", "results.json", "summary.json"].map(String::from));
    for end in ["stderr.log", "stdout.log"] {
        names.push(format!("{kind}_{command}.{end}"));
    }
    names.push(format!("{kind}_TIME_metadata.json"));
    names.sort();
    names
}

/// The benchmark's unet3d with samples of 300 kB.
fn small_unet3d(shared: &std::path::Path, file: &str) -> Vec<String> {
    let path = shared.join(format!("mlperf-configs/training/unet3d_{file}.yaml"));
    let mut words = vec![path.to_str().unwrap().to_string()];
    for set in [
        "dataset.num_files_train=28",
        "dataset.record_length_bytes=300000",
        "dataset.record_length_bytes_stdev=0",
    ] {
        words.extend(["--set".into(), set.into()]);
    }
    words
}

#[test]
fn datagen_and_training_leave_all_that_a_submission_holds() {
    let Some(shared) = shared().filter(|_| mpirun_is_there()) else { return };
    let lab = Lab::new();
    let (data, results) = (lab.arg("data"), lab.arg("results"));
    let run = |command: &str, file: &str, id: &str| {
        let words = small_unet3d(&shared, file);
        let mut all = vec![command];
        all.extend(words.iter().map(String::as_str));
        all.extend(["--data-dir", &data, "--results-dir", &results, "--run-id", id]);
        lab.command(2, &all).succeed()
    };
    run("datagen", "datagen", "g");
    let ended = run("run", "h100", "t");
    let (names, _) = tree(&lab, "g");
    assert_eq!(names, wanted("training", "datagen"));
    let (names, stamp) = tree(&lab, "t");
    assert_eq!(names, wanted("training", "run"));

    let summary = told(&lab, "g", "summary.json");
    assert_eq!((&summary["metric"], &summary["num_files_train"]), (&json!({}), &json!(28)));
    assert_eq!(told(&lab, "g", "1_per_epoch_stats.json"), json!({}));

    let metadata = told(&lab, "t", &format!("training_{stamp}_metadata.json"));
    assert_eq!(metadata["model"], "unet3d");
    assert_eq!((&metadata["command"], &metadata["accelerator"]), (&json!("run"), &json!("h100")));
    assert_eq!(metadata["args"]["data_dir"], data);
    assert_eq!(metadata["args"]["results_dir"], results);
    assert_eq!(metadata["args"]["num_processes"], 2);
    assert_eq!(metadata["verification"], Value::Null, "that is theirs to say");
    assert_eq!(metadata["combined_params"]["dataset"]["record_length_bytes"], 300_000);
    assert_eq!(metadata["run_datetime"], stamp);
    // With the four of these their report generator looks at nothing else, and finds no memory.
    let all = ["benchmark_type", "run_datetime", "num_processes", "parameters"];
    assert!(all.iter().any(|key| metadata.get(key).is_none()));

    let config = told(&lab, "t", "dlio_config/config.yaml");
    assert_eq!(config["workload"]["model"]["name"], "unet3d");
    assert_eq!(config["workload"], metadata["combined_params"]);
    let overrides = told(&lab, "t", "dlio_config/overrides.yaml");
    let data_folder = format!("++workload.dataset.data_folder={data}");
    assert_eq!(
        overrides,
        json!([
            "workload=unet3d_h100",
            data_folder,
            "++workload.dataset.num_files_train=28",
            "++workload.dataset.record_length_bytes=300000",
            "++workload.dataset.record_length_bytes_stdev=0",
            "++workload.reader.odirect=True",
        ])
    );
    assert_eq!(told(&lab, "t", "dlio_config/hydra.yaml")["hydra"]["overrides"]["task"], overrides);

    let entry = &told(&lab, "t", "results.json")[0];
    assert_eq!(entry["metrics"], told(&lab, "t", "summary.json")["metric"]);
    assert_eq!(entry["parameters"], metadata["parameters"]);

    let text =
        |name: &str| std::fs::read_to_string(lab.path("results/t/mlperf").join(name)).unwrap();
    assert_eq!(text("training_run.stdout.log"), ended.out);
    let said = text("training_run.stderr.log");
    assert!(said.starts_with("rankio: run t: unet3d on 2 rank(s)"), "{said}");
    assert!(said.lines().all(|line| ended.err.contains(line)), "{said}");
    let log = text("dlio.log");
    assert!(log.lines().all(|line| line.starts_with("[OUTPUT] ")), "{log}");
    assert!(log.contains("verdict: {\"status\":"), "{log}");
}

/// `mlperf/` said the time of Greenwich where the reference says that of the place.
#[test]
fn times_of_the_mlperf_files_are_local() {
    if !mpirun_is_there() {
        return;
    }
    let lab = Lab::new();
    let zone = [("TZ", "XXX-24:00".to_string())];
    lab.job(1, "datagen", "g", &[]).succeed();
    lab.job(1, "run", "t", &[]).with(&zone).succeed();
    // A day ahead: only the date differs.
    let utc = lab.result("t")["run"]["started"].as_str().unwrap().to_string();
    let local = told(&lab, "t", "summary.json")["start"].as_str().unwrap().to_string();
    assert_eq!(local[10..], utc[10..26], "{local} {utc}");
    assert_ne!(local[..10], utc[..10]);
    let (_, stamp) = tree(&lab, "t");
    let digits: String = local.chars().filter(char::is_ascii_digit).take(14).collect();
    assert_eq!(stamp.replace('_', ""), digits);
    let epoch = told(&lab, "t", "0_output.json")["1"]["end"].as_str().unwrap().to_string();
    assert_eq!(epoch, told(&lab, "t", "0_per_epoch_stats.json")["1"]["end"].as_str().unwrap());
    assert_ne!(epoch[..10], utc[..10]);
}

#[test]
fn checkpoints_leave_all_that_a_submission_holds() {
    let Some(shared) = shared().filter(|_| mpirun_is_there()) else { return };
    let lab = Lab::new();
    let path = shared.join("mlperf-configs/checkpointing/llama3_8b.yaml");
    let (folder, results) = (lab.arg("checkpoints"), lab.arg("results"));
    let mut all = vec!["run", path.to_str().unwrap()];
    for set in [
        "model.num_layers=1",
        "model.transformer.vocab_size=512",
        "model.transformer.hidden_size=128",
        "model.transformer.ffn_hidden_size=256",
        "checkpoint.time_between_checkpoints=0",
        "checkpoint.num_checkpoints_write=2",
        "checkpoint.num_checkpoints_read=2",
    ] {
        all.extend(["--set", set]);
    }
    all.extend(["--checkpoint-dir", &folder, "--results-dir", &results, "--run-id", "c"]);
    lab.command(2, &all).succeed();
    let (names, stamp) = tree(&lab, "c");
    assert_eq!(names, wanted("checkpointing", "run"));
    let metadata = told(&lab, "c", &format!("checkpointing_{stamp}_metadata.json"));
    assert_eq!(metadata["args"]["model"], "llama3-8b");
    assert_eq!(metadata["args"]["checkpoint_folder"], folder);
    assert_eq!(metadata["args"]["num_checkpoints_write"], 2);
    assert_eq!(metadata["combined_params"]["checkpoint"]["fsync"], true);
    let overrides: Vec<&String> = metadata["params_dict"].as_object().unwrap().keys().collect();
    assert!(overrides.iter().any(|key| *key == "model.num_layers"), "{overrides:?}");
    assert!(!overrides.iter().any(|key| key.starts_with("dataset.")), "{overrides:?}");
    assert_eq!(told(&lab, "c", "summary.json")["epochs"], 0, "nothing was trained");
}

/// The unmodified files of the benchmark are recognised as such.
#[test]
fn files_of_the_benchmark_have_no_overrides() {
    let Some(shared) = shared() else { return };
    for WorkloadFile { path, kind, generates } in workload_files(&shared) {
        let loaded = load(std::slice::from_ref(&path), &[]).unwrap();
        let mut config = loaded.config;
        config.io.cache = CacheMode::Keep;
        let job = Job::of(&config, Kind::of(&config, generates).unwrap(), 1.0);
        let found: Vec<&String> = job.overrides.keys().collect();
        let folder = match kind {
            "checkpointing" => "checkpoint.checkpoint_folder",
            _ => "dataset.data_folder",
        };
        assert_eq!(found, [folder], "{}", path.display());
        let stem = path.file_stem().unwrap().to_str().unwrap();
        assert_eq!(job.workload(), stem);
    }
}

struct WorkloadFile {
    path: std::path::PathBuf,
    kind: &'static str,
    generates: bool,
}

fn workload_files(shared: &std::path::Path) -> Vec<WorkloadFile> {
    let mut files = Vec::new();
    for kind in ["training", "checkpointing"] {
        for entry in std::fs::read_dir(shared.join("mlperf-configs").join(kind)).unwrap() {
            let path = entry.unwrap().path();
            let generates = path.to_str().unwrap().ends_with("_datagen.yaml");
            files.push(WorkloadFile { path, kind, generates });
        }
    }
    assert!(files.len() > 10, "{} files", files.len());
    files
}

/// A credential that was given as a setting does not reach the metadata.
#[test]
fn no_credential_reaches_the_mlperf_files() {
    if !mpirun_is_there() {
        return;
    }
    let lab = Lab::new();
    let secret = "storage.storage_options.secret_access_key=hunter2";
    lab.job(1, "datagen", "g", &["--set", secret]).succeed();
    lab.job(1, "run", "t", &["--set", secret]).succeed();
    for id in ["g", "t"] {
        let found = launch::holds(&lab.path("results").join(id), "hunter2");
        assert_eq!(found, [""; 0]);
        let (_, stamp) = tree(&lab, id);
        let metadata = told(&lab, id, &format!("training_{stamp}_metadata.json"));
        let command = metadata["executed_command"].as_str().unwrap();
        assert!(command.contains("secret_access_key=(left out)"), "{command}");
    }
}
