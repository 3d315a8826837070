//! `az://` and `gs://` under mpirun: every workload by another URI only. `gs://` on a server of the
//! test's own that speaks Google's dialect, `az://` on Azurite where that is installed.

#![cfg(all(feature = "mpi", feature = "azure", feature = "gcs"))]

mod azurite;
mod launch;
mod s3;

use azurite::Azurite;
use launch::{Job, Lab, mpirun_is_there, object_mix, sharded_model};
use s3::Server;
use std::path::Path;

type Environment = Vec<(&'static str, String)>;

fn job(lab: &Lab, ranks: usize, words: &[&str], environment: &Environment) -> Job {
    let results = lab.arg("results");
    let mut all = words.to_vec();
    all.extend(["--results-dir", &results, "--verify", "full"]);
    lab.command(ranks, &all).with(environment)
}

fn engine(lab: &Lab, id: &str, kind: &str) -> String {
    let phase = lab.phase(id, kind);
    assert_eq!(phase["ops"]["retries"], 0, "{phase:#}");
    phase["storage"]["engine"].as_str().unwrap().into()
}

/// Datasets of several formats and of objects in parts: made, read, checked, cleaned.
fn train(lab: &Lab, root: &str, environment: &Environment) {
    let data = format!("{root}/data");
    let (file, columns) = (lab.arg("tiny.yaml"), "[{name: a, dtype: uint8, size: 300000}]");
    let columns = format!("dataset.parquet.columns={columns}");
    let even = "dataset.record_length_bytes_stdev=0";
    let large = ["dataset.record_length_bytes=20000000", "dataset.num_files_train=4", even];
    let cases: [(&str, &[&str]); 5] = [
        ("npz", &[]),
        ("tfrecord", &[]),
        ("hdf5", &[]),
        ("parquet", &[even, &columns]),
        ("npz", &large),
    ];
    for (number, (format, settings)) in cases.into_iter().enumerate() {
        let format = format!("dataset.format={format}");
        let mut words = vec!["--data-dir", &data, "--set", &format];
        words.extend(settings.iter().flat_map(|text| ["--set", *text]));
        for command in ["datagen", "run"] {
            let id = format!("{command}{number}");
            let all = [&[command, &file, "--run-id", &id], words.as_slice()].concat();
            job(lab, 2, &all, environment).succeed();
        }
        let id = format!("run{number}");
        assert_eq!(engine(lab, &id, "training"), format!("{}-object_store", &root[..2]));
        let phase = lab.phase(&id, "training");
        assert!(phase["verify"]["bytes_checked"].as_u64().unwrap() > 3_000_000, "{phase:#}");
        lab.command(1, &["clean", &data]).with(environment).succeed();
    }
}

/// Checkpoints: saved, replaced and kept, read by other ranks, cleaned.
fn save_and_restore(lab: &Lab, root: &str, environment: &Environment) {
    std::fs::write(lab.path("model.yaml"), sharded_model([1999, 256, 1000], "5MiB")).unwrap();
    let (file, checkpoints) = (lab.arg("model.yaml"), format!("{root}/ck"));
    let words = |id| ["run", &file, "--checkpoint-dir", &checkpoints, "--run-id", id];
    job(lab, 2, &words("new"), environment).succeed();
    let engine = engine(lab, "new", "checkpoint_restore");
    assert!(engine.contains("object_store"), "{engine}");
    let keep = ["--set", "checkpoint.num_checkpoints_write=3", "--set", "checkpoint.keep_last=2"];
    job(lab, 2, &[&words("kept")[..], &keep].concat(), environment).succeed();
    let other = [
        "--set",
        "checkpoint.num_checkpoints_write=0",
        "--set",
        "checkpoint.restore=reshard",
        "--set",
        "checkpoint.reshard.written_ranks=2",
    ];
    job(lab, 3, &[&words("other")[..], &other].concat(), environment).succeed();
    let phase = lab.phase("other", "checkpoint_restore");
    assert!(phase["verify"]["bytes_checked"].as_u64().unwrap() > 5_000_000, "{phase:#}");
    lab.command(1, &["clean", &checkpoints]).with(environment).succeed();
}

/// The micro-benchmark.
fn mix(lab: &Lab, root: &str, environment: &Environment) {
    std::fs::write(lab.path("object.yaml"), object_mix(40, 100)).unwrap();
    let (file, data) = (lab.arg("object.yaml"), format!("{root}/objects"));
    job(lab, 2, &["run", &file, "--data-dir", &data, "--run-id", "mix"], environment).succeed();
    let phase = lab.phase("mix", "object");
    assert_eq!(phase["metrics"]["operations_done"], 200);
    assert!(phase["verify"]["bytes_checked"].as_u64() > Some(0), "{phase:#}");
}

/// Whether a file below a folder holds a text.
fn holds(folder: &Path, text: &str) -> bool {
    std::fs::read_dir(folder).unwrap().flatten().any(|entry| match entry.path() {
        path if path.is_dir() => holds(&path, text),
        path => {
            let bytes = std::fs::read(path).unwrap();
            bytes.windows(text.len()).any(|part| part == text.as_bytes())
        }
    })
}

#[test]
fn every_workload_runs_on_google_by_another_uri() {
    if !mpirun_is_there() {
        return;
    }
    let (server, lab) = (Server::start_google(5 << 20), Lab::new());
    server.memory.put("theirs", vec![1]);
    let environment = server.environment();
    train(&lab, "gs://bench", &environment);
    save_and_restore(&lab, "gs://bench", &environment);
    mix(&lab, "gs://bench", &environment);
    assert_eq!(server.memory.keys(), ["theirs"], "only what is ours goes");
    assert_eq!(server.memory.open_uploads_below(""), 0);
}

#[test]
fn every_workload_runs_on_azure_by_another_uri() {
    if !mpirun_is_there() {
        return;
    }
    let Some(server) = Azurite::start() else { return };
    let (lab, environment) = (Lab::new(), server.environment());
    train(&lab, "az://bench", &environment);
    save_and_restore(&lab, "az://bench", &environment);
    mix(&lab, "az://bench", &environment);
    // A wrong key, and no output that holds one.
    let wrong = "V3JvbmdLZXlUaGF0Tm9ib2R5TWF5U2Vl";
    let mut other = environment.clone();
    other[2].1 = wrong.into();
    let data = ["--data-dir", "az://bench/data", "--run-id", "wrong"];
    let file = lab.arg("tiny.yaml");
    let words = [&["datagen", file.as_str()], data.as_slice()].concat();
    let ended = job(&lab, 2, &words, &other).end();
    assert!(!ended.status.success() && ended.err.contains("AZURE_STORAGE_KEY"), "{ended}");
    for (key, text) in [(azurite::key(), "the key"), (wrong.into(), "the wrong key")] {
        assert!(!holds(lab.path("").as_path(), &key), "{text} is in a file");
    }
    assert!(holds(lab.path("").as_path(), "az://bench"), "the search finds what is there");
}

#[test]
fn a_uri_with_a_key_is_refused_and_not_repeated() {
    let lab = Lab::new();
    let environment: Environment = vec![
        ("AZURE_STORAGE_ACCOUNT", azurite::ACCOUNT.into()),
        ("AZURE_STORAGE_KEY", azurite::key()),
        ("GOOGLE_SKIP_SIGNATURE", "true".into()),
    ];
    for root in ["az://bench/x?sig=hunter2", "gs://key:hunter2@bench/x"] {
        let file = lab.arg("tiny.yaml");
        let words = ["datagen", &file, "--data-dir", root];
        let ended = lab.command(1, &words).plain().with(&environment).fail_with(2);
        let said = format!("{}{}", ended.out, ended.err);
        assert!(said.contains("must not hold credentials") && !said.contains("hunter2"), "{said}");
    }
}
