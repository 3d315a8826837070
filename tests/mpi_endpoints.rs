//! Two endpoints of one object store: each of four ranks has one, both move the same bytes, and one
//! that dies in the middle of a run costs retries and nothing else.

#![cfg(feature = "mpi")]

mod launch;
mod s3;

use launch::{Job, Lab, mpirun_is_there};
use s3::Server;
use serde_json::Value;

const RANKS: usize = 4;
const ATTEMPTS: u64 = 5;

/// Two endpoints of one store.
struct Store {
    doors: [Server; 2],
    uris: String,
    environment: Vec<(&'static str, String)>,
}

impl Store {
    fn start() -> Store {
        let first = Server::start(0);
        let second = first.door();
        let uris = format!("[{}, {}]", first.url(), second.url());
        let uris = format!("storage.storage_options.endpoint_uris={uris}");
        let mut environment = first.environment();
        // Nobody listens there: every request must go by the list.
        environment[0].1 = "http://127.0.0.1:9".into();
        Store { doors: [first, second], uris, environment }
    }

    /// Ends one endpoint; its URL.
    fn kill(self, place: usize) -> (Server, String) {
        let [first, second] = self.doors;
        let (dead, left) = if place == 0 { (first, second) } else { (second, first) };
        (left, dead.url())
    }
}

/// A command on `workloads/FILE` with data and checkpoints in the store.
fn job(lab: &Lab, store: &Store, command: &str, (file, id): (&str, &str), sets: &[&str]) -> Job {
    let file = format!("{}/workloads/{file}.yaml", env!("CARGO_MANIFEST_DIR"));
    let results = lab.arg("results");
    let mut words = vec![command, &file, "--results-dir", &results, "--run-id", id];
    words.extend(["--data-dir", "s3://bench/data", "--checkpoint-dir", "s3://bench/ck"]);
    words.extend(["--verify", "full", "--set", &store.uris]);
    words.extend(sets.iter().flat_map(|text| ["--set", *text]));
    lab.command(RANKS, &words).with(&store.environment)
}

/// Both endpoints moved the same bytes, give or take one file, and nothing broke.
fn expect_equal(phase: &Value, key: &str, file_bytes: u64) {
    let endpoints = phase["storage"]["endpoints"].as_array().unwrap();
    assert_eq!(endpoints.len(), 2, "{phase:#}");
    let moved: Vec<u64> = endpoints.iter().map(|one| one[key].as_u64().unwrap()).collect();
    assert!(moved[0] > 0 && moved[0].abs_diff(moved[1]) <= file_bytes, "{moved:?}");
    assert!(moved[0] + moved[1] >= phase["bytes"]["requested"].as_u64().unwrap(), "{phase:#}");
    assert!(endpoints.iter().all(|one| one["errors"] == 0), "{endpoints:#?}");
    assert_eq!(phase["ops"]["retries"], 0, "{phase:#}");
}

/// The death of an endpoint was noticed, counted and made up for.
fn expect_survived(phase: &Value, dead: &str) {
    let endpoints = phase["storage"]["endpoints"].as_array().unwrap();
    let errors = |one: &Value| one["errors"].as_u64().unwrap();
    let broken = endpoints.iter().find(|one| one["url"] == dead).map_or(0, errors);
    let alive = endpoints.iter().find(|one| one["url"] != dead).unwrap();
    assert!(broken > 0, "{endpoints:#?}");
    assert_eq!(errors(alive), 0, "{endpoints:#?}");
    let retries = phase["ops"]["retries"].as_u64().unwrap();
    assert!((1..=broken * ATTEMPTS).contains(&retries), "{retries} for {broken}");
}

/// Largest object below a prefix.
fn largest(store: &Store, prefix: &str) -> u64 {
    let memory = &store.doors[0].memory;
    let keys = memory.keys().into_iter().filter(|key| key.starts_with(prefix));
    keys.map(|key| memory.get(&key).unwrap().len() as u64).max().unwrap()
}

/// Trains `samples` in each of two epochs.
fn trains(file: &str, sizes: &[&str], samples: u64) {
    let (lab, store) = (Lab::new(), Store::start());
    job(&lab, &store, "datagen", (file, "g"), sizes).succeed();
    let file_bytes = largest(&store, "data/train/");
    expect_equal(&lab.phase("g", "datagen"), "bytes_written", file_bytes);
    job(&lab, &store, "run", (file, "t"), &[sizes, &["train.epochs=2"]].concat()).succeed();
    let whole = lab.phase("t", "training");
    assert_eq!(whole["metrics"]["samples"], 2 * samples, "{whole:#}");
    expect_equal(&whole, "bytes_read", file_bytes);
    // One dies in the middle.
    let slow = ["train.epochs=6", "train.computation_time=0.03"];
    let before = store.doors[0].memory.requests("get");
    let slow = [sizes, &slow[..]].concat();
    let mut running = job(&lab, &store, "run", (file, "dead"), &slow).start();
    let memory = store.doors[0].memory.clone();
    running.wait_until("a few reads", || memory.requests("get") > before + 40);
    let (_left, dead) = store.kill(1);
    let ended = running.end();
    assert!(ended.status.success(), "{ended}");
    let phase = lab.phase("dead", "training");
    assert_eq!(phase["metrics"]["samples"], 6 * samples, "{phase:#}");
    let [long, short] = [&phase, &whole].map(|one| one["verify"]["bytes_checked"].as_u64());
    // Three times as many epochs, each read and compared whole.
    assert_eq!(long, short.map(|bytes| 3 * bytes), "{phase:#}");
    expect_survived(&phase, &dead);
}

#[test]
fn unet3d_trains_on_two_endpoints_and_on_the_one_that_is_left() {
    if !mpirun_is_there() {
        return;
    }
    let sizes = [
        "dataset.num_files_train=32",
        "dataset.record_length_bytes=1MiB",
        "dataset.record_length_bytes_stdev=0",
        "reader.batch_size=2",
        "train.computation_time=0.002",
    ];
    trains("unet3d_h100", &sizes, 32);
}

#[test]
fn flux_trains_on_two_endpoints_and_on_the_one_that_is_left() {
    if !mpirun_is_there() {
        return;
    }
    let sizes = [
        "dataset.num_files_train=8",
        "dataset.num_samples_per_file=4",
        "reader.batch_size=1",
        "train.computation_time=0.002",
    ];
    trains("flux_b200", &sizes, 32);
}

#[test]
fn checkpoints_are_saved_and_restored_over_two_endpoints_and_the_one_that_is_left() {
    if !mpirun_is_there() {
        return;
    }
    const SIZES: [&str; 6] = [
        "model.num_layers=2",
        "model.transformer.vocab_size=512",
        "model.transformer.hidden_size=256",
        "model.transformer.ffn_hidden_size=512",
        "checkpoint.time_between_checkpoints=0",
        "storage.storage_options.part_size=256KiB",
    ];
    let numbers = |count: u64| {
        ["write", "read"].map(|what| format!("checkpoint.num_checkpoints_{what}={count}"))
    };
    // Either of them may die; rank 0, which commits, has the first.
    for place in [0, 1] {
        let (lab, store) = (Lab::new(), Store::start());
        let two = numbers(2);
        let two: Vec<&str> = SIZES.into_iter().chain(two.iter().map(String::as_str)).collect();
        job(&lab, &store, "run", ("llama3_8b", "r"), &two).succeed();
        let file_bytes = largest(&store, "ck/");
        expect_equal(&lab.phase("r", "checkpoint_save"), "bytes_written", file_bytes);
        expect_equal(&lab.phase("r", "checkpoint_restore"), "bytes_read", file_bytes);
        let many = numbers(8);
        let many: Vec<&str> = SIZES.into_iter().chain(many.iter().map(String::as_str)).collect();
        let memory = store.doors[0].memory.clone();
        let before = memory.requests("part");
        let mut running = job(&lab, &store, "run", ("llama3_8b", "dead"), &many).start();
        running.wait_until("a few parts", || memory.requests("part") > before + 20);
        let (left, dead) = store.kill(place);
        let ended = running.end();
        assert!(ended.status.success(), "{ended}");
        let saved = lab.phase("dead", "checkpoint_save");
        assert_eq!(saved["metrics"]["checkpoints"], 8, "{saved:#}");
        expect_survived(&saved, &dead);
        let restored = lab.phase("dead", "checkpoint_restore");
        let bytes = 8 * saved["metrics"]["bytes"].as_u64().unwrap();
        assert_eq!(restored["verify"]["bytes_checked"], bytes, "{restored:#}");
        assert_eq!(left.memory.open_uploads(), 0);
    }
}

/// A tiny dataset of the null computation, made below `s3://bench/data`.
const TINY: [&str; 4] = [
    "dataset.num_files_train=16",
    "dataset.record_length_bytes=64KiB",
    "dataset.record_length_bytes_stdev=0",
    "reader.batch_size=1",
];

/// Where nobody listens.
fn dead_url() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

#[test]
fn an_endpoint_that_is_dead_from_the_start_ends_the_run_before_it_begins() {
    if !mpirun_is_there() {
        return;
    }
    let (lab, mut store, dead) = (Lab::new(), Store::start(), dead_url());
    let living = store.uris.clone();
    store.uris = living.replace(']', &format!(", {dead}]"));
    let ended = job(&lab, &store, "datagen", ("unet3d_h100", "g"), &TINY).fail_with(1);
    let silent = format!("1 of the 3 endpoints of s3://bench/data do not answer: {dead}: cannot");
    ended.one_error(&[&silent, "storage.storage_options.require_all_endpoints=false"]);
    assert_eq!(store.doors[0].memory.keys(), Vec::<String>::new(), "nothing was written");
    // Where that is allowed it is said before and after.
    let without = ["storage.storage_options.require_all_endpoints=false"];
    let sets = [&TINY[..], &without].concat();
    let ended = job(&lab, &store, "datagen", ("unet3d_h100", "w"), &sets).succeed();
    assert!(ended.err.contains(&format!("note: {silent}")), "{ended}");
    let held = lab.result("w")["verdict"]["held"].to_string();
    assert!(held.contains(&format!("endpoint {dead} broke ")), "{held}");
    // The same one twice would get twice its share.
    store.uris = living.replace(']', &format!(", {}]", store.doors[0].url()));
    let ended = job(&lab, &store, "datagen", ("unet3d_h100", "t"), &TINY).fail_with(2);
    assert!(ended.err.contains("is given twice; give each endpoint once"), "{ended}");
}

#[test]
fn an_endpoint_that_belongs_to_no_rank_is_told_before_the_run_and_in_the_verdict() {
    if !mpirun_is_there() {
        return;
    }
    let (lab, store) = (Lab::new(), Store::start());
    let file = format!("{}/workloads/unet3d_h100.yaml", env!("CARGO_MANIFEST_DIR"));
    let results = lab.arg("results");
    for (id, balance) in [("home", "by_rank"), ("turns", "round_robin")] {
        let balance = format!("storage.storage_options.load_balance_strategy={balance}");
        let mut words = vec!["datagen", &file, "--results-dir", &results, "--run-id", id];
        words.extend(["--data-dir", "s3://bench/data", "--overwrite", "--set", &store.uris]);
        words.extend(TINY.iter().chain([&balance.as_str()]).flat_map(|text| ["--set", *text]));
        let ended = lab.command(1, &words).with(&store.environment).succeed();
        let unused = "1 of the 2 endpoints of s3://bench/data belong to no rank";
        assert_eq!(ended.err.contains(unused), id == "home", "{ended}");
        let held = lab.result(id)["verdict"]["held"].to_string();
        let others = "got no request, so the figures are those of the others";
        let unused = format!("{others}: {}.", store.doors[1].url());
        assert_eq!(held.contains(&unused), id == "home", "{held}");
    }
}
