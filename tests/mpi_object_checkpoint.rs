//! Checkpoints on an object store under mpirun: they come back as they were written, a killed job
//! loses none and leaves no half one, every damage is found, and nobody else's objects go.

#![cfg(feature = "mpi")]

mod launch;
mod s3;

use launch::{Job, Lab, all_gone, mpirun_is_there, sharded_model};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use s3::{Memory, Server};
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

const ROOT: &str = "s3://bench/ck/run";
const PREFIX: &str = "ck/run/";
const LOCK: &str = "ck/run/.rankio-dataset.lock";
const MARKER: &str = "ck/run/.rankio-checkpoints.json";
const OPTIM: &str = "zero_pp_rank_1_mp_rank_0_optim_states.pt";
const READ_ONLY: &str = "checkpoint.num_checkpoints_write=0";
const WRITE_ONLY: &str = "checkpoint.num_checkpoints_read=0";

fn lab() -> Lab {
    let lab = Lab::new();
    std::fs::write(lab.path("model.yaml"), sharded_model([499, 128, 500], "256KiB")).unwrap();
    lab
}

/// A run of `model.yaml` on [`ROOT`] with these settings, everything verified.
fn job(server: &Server, lab: &Lab, ranks: usize, id: &str, settings: &[&str]) -> Job {
    let (file, results) = (lab.arg("model.yaml"), lab.arg("results"));
    let mut words = vec!["run", &file, "--checkpoint-dir", ROOT, "--results-dir", &results];
    words.extend(["--run-id", id, "--verify", "full"]);
    words.extend(settings.iter().flat_map(|text| ["--set", *text]));
    lab.command(ranks, &words).with(&server.environment())
}

fn key(name: &str) -> String {
    format!("{PREFIX}{name}")
}

fn json(memory: &Memory, key: &str) -> Value {
    serde_json::from_slice(&memory.get(key).unwrap_or_else(|| panic!("{key} is missing"))).unwrap()
}

fn step(number: u64) -> String {
    format!("global_epoch1_step{number}")
}

fn manifest(memory: &Memory, name: &str) -> Value {
    json(memory, &key(&format!("{name}/manifest.json")))
}

/// Version of each whole checkpoint. One whose files are not all there is an error.
fn whole(memory: &Memory) -> BTreeMap<String, u64> {
    let keys = memory.keys();
    let names = keys.iter().filter_map(|key| {
        key.strip_prefix(PREFIX)?.strip_suffix("/manifest.json").map(str::to_string)
    });
    names
        .map(|name| {
            let manifest = manifest(memory, &name);
            assert_eq!(manifest["name"], name.as_str());
            let folder = manifest["folder"].as_str().unwrap();
            let list = memory.get(&key(&format!("{folder}/files.jsonl"))).unwrap();
            let list = std::str::from_utf8(&list).unwrap();
            assert_eq!(list.lines().count() as u64, manifest["files"].as_u64().unwrap());
            for line in list.lines() {
                let line: Value = serde_json::from_str(line).unwrap();
                let path = key(&format!("{folder}/{}", line["name"].as_str().unwrap()));
                let object = memory.get(&path).unwrap_or_else(|| panic!("{path} is missing"));
                assert_eq!(object.len() as u64, line["bytes"].as_u64().unwrap(), "{path}");
            }
            (name, manifest["version"].as_u64().unwrap())
        })
        .collect()
}

/// Keys below the root that belong to no whole checkpoint.
fn others(memory: &Memory) -> Vec<String> {
    let folders: Vec<String> = whole(memory)
        .keys()
        .flat_map(|name| {
            let folder = manifest(memory, name)["folder"].as_str().unwrap().to_string();
            [key(&format!("{name}/manifest.json")), key(&format!("{folder}/"))]
        })
        .collect();
    let keys = memory.keys().into_iter();
    keys.filter(|key| !folders.iter().any(|folder| key.starts_with(folder))).collect()
}

/// The same with Amazon's library, where it is in this build.
fn by_sdk<T>(what: T) -> Option<(T, &'static str)> {
    cfg!(feature = "sdk").then_some((what, "sdk"))
}

#[test]
fn what_is_written_comes_back_under_every_mapping() {
    if !mpirun_is_there() {
        return;
    }
    for (ranks, client) in [(2, "raw"), (4, "raw")].into_iter().chain(by_sdk(2)) {
        let (server, lab) = (Server::start(0), lab());
        let memory = &server.memory;
        let client = format!("storage.client={client}");
        let job = |ranks: usize, id: &str, settings: &[&str]| {
            job(&server, &lab, ranks, id, &[&[client.as_str()], settings].concat())
        };
        job(ranks, "r", &[]).succeed();
        let [saved, restored] =
            ["checkpoint_save", "checkpoint_restore"].map(|kind| lab.phase("r", kind));
        assert_eq!(whole(memory), [(step(1), 1), (step(2), 2)].into());
        assert_eq!(others(memory), [MARKER.to_string(), key("latest")]);
        assert_eq!(memory.get(&key("latest")).unwrap(), format!("{}\n", step(2)));
        assert!(memory.requests("part") > 0 && memory.open_uploads() == 0);
        let both = 2 * saved["metrics"]["bytes"].as_u64().unwrap();
        for phase in [&saved, &restored] {
            let engine = client.replace("storage.client=", "s3-");
            assert_eq!(phase["storage"]["engine"], engine, "{phase:#}");
            assert_eq!(phase["bytes"]["requested"], both);
        }
        assert_eq!(restored["verify"]["bytes_checked"], both);
        let endpoint = &saved["storage"]["endpoints"][0];
        assert_eq!((&endpoint["bytes_written"], &endpoint["errors"]), (&both.into(), &0.into()));
        job(ranks, "random", &[READ_ONLY, "checkpoint.restore=random"]).succeed();
        let reshard = format!("checkpoint.reshard.written_ranks={ranks}");
        let reshard = [READ_ONLY, "checkpoint.restore=reshard", &reshard];
        job(3, "reshard", &reshard).succeed();
        let weights = [READ_ONLY, "checkpoint.weights_only=True"];
        job(ranks, "weights", &weights).succeed();
        // All ranks are on one host, so no other host has written anything.
        let ring = [READ_ONLY, "checkpoint.restore=ring"];
        job(ranks, "ring", &ring).end().one_error(&["ring"]);
    }
    let (server, lab) = (Server::start(0), lab());
    // Two copies of the model, of which one reads.
    let copies = ["model.parallelism.zero_stage=1", "checkpoint.restore=broadcast"];
    job(&server, &lab, 2, "b", &copies).succeed();
    let restored = lab.phase("b", "checkpoint_restore");
    assert!(restored["metrics"]["received_bytes"].as_u64() > Some(0), "{restored:#}");
}

#[test]
fn a_checkpoint_is_replaced_by_a_new_version_and_the_last_ones_are_kept() {
    if !mpirun_is_there() {
        return;
    }
    let (server, lab) = (Server::start(0), lab());
    let memory = &server.memory;
    job(&server, &lab, 2, "a", &[]).succeed();
    let first = manifest(memory, &step(1))["folder"].clone();
    let ended = job(&server, &lab, 2, "b", &[]).succeed();
    assert!(ended.err.contains("holds 2 checkpoint(s)"), "{ended}");
    assert_eq!(whole(memory), [(step(1), 3), (step(2), 4)].into());
    assert_ne!(manifest(memory, &step(1))["folder"], first, "never in place");
    let three = ["checkpoint.num_checkpoints_write=3", "checkpoint.keep_last=2"];
    job(&server, &lab, 2, "c", &three).succeed();
    assert_eq!(whole(memory), [(step(2), 6), (step(3), 7)].into());
    assert_eq!(others(memory), [MARKER.to_string(), key("latest")], "old versions are gone");
    let restored = &lab.phase("c", "checkpoint_restore")["metrics"]["operations"];
    assert_eq!((&restored[0]["checkpoint"], &restored[1]["checkpoint"]), (&2.into(), &3.into()));
}

/// A training on the files of `data` with checkpoints in `C`, in the background, by one client.
fn training(
    (server, client): (&Server, &str),
    lab: &Lab,
    id: &str,
    (data, checkpoints): (&str, &str),
) -> Job {
    let client = format!("storage.client={client}");
    let settings = [
        client.as_str(),
        "workflow.generate_data=True",
        "workflow.checkpoint=True",
        "model.type=cnn",
        "model.model_size_bytes=3000001",
        "checkpoint.type=all_ranks",
        "checkpoint.steps_between_checkpoints=1",
        "checkpoint.async=True",
        "checkpoint.keep_last=2",
        "checkpoint.num_checkpoints_read=2",
        "io.delay={latency: 0.01}",
    ];
    let settings = settings.iter().flat_map(|text| ["--set", text]);
    let options = ["--data-dir", data, "--checkpoint-dir", checkpoints, "--verify", "full"];
    let words: Vec<&str> = settings.chain(options).collect();
    lab.job(2, "run", id, &words).with(&server.environment())
}

#[test]
fn data_and_checkpoints_may_lie_in_different_stores() {
    if !mpirun_is_there() {
        return;
    }
    let lab = lab();
    let (data, folder) = (lab.arg("data"), lab.arg("C"));
    let raw = [
        ("files-objects", data.as_str(), ROOT),
        ("objects-files", "s3://bench/data", folder.as_str()),
        ("objects", "s3://bench/data", ROOT),
    ];
    let by_sdk = by_sdk(("objects-sdk", "s3://bench/data", ROOT));
    for (roots, client) in raw.map(|roots| (roots, "raw")).into_iter().chain(by_sdk) {
        let (id, data, checkpoints) = roots;
        let server = Server::start(0);
        training((&server, client), &lab, id, (data, checkpoints)).succeed();
        let is_object = |root: &str| root.starts_with("s3");
        for (kind, root) in [
            ("training", data),
            ("checkpoint_save", checkpoints),
            ("checkpoint_restore", checkpoints),
        ] {
            let engine = &lab.phase(id, kind)["storage"]["engine"];
            let engine = engine.as_str().unwrap();
            let is_ours = engine.contains(&format!("s3-{client}"));
            assert_eq!(is_ours, is_object(root), "{id} {kind}: {engine}");
        }
        let saved = lab.phase(id, "checkpoint_save");
        assert!(saved["metrics"]["background"].is_object(), "{saved:#}");
        if is_object(checkpoints) {
            assert_eq!(whole(&server.memory).len(), 2);
            // Of 6 checkpoints, each thread counts its server's bytes once.
            let endpoint = &saved["storage"]["endpoints"][0];
            assert_eq!(endpoint["bytes_written"], saved["bytes"]["requested"], "{saved:#}");
        }
    }
}

/// Damages the second checkpoint, and expects the words in the error.
fn damaged(damage: impl Fn(&Memory, &str), words: &[&str]) {
    let (server, lab) = (Server::start(0), lab());
    job(&server, &lab, 2, "w", &[WRITE_ONLY]).succeed();
    let folder = manifest(&server.memory, &step(2))["folder"].as_str().unwrap().to_string();
    damage(&server.memory, &folder);
    let ended = job(&server, &lab, 2, "r", &[READ_ONLY]).fail_with(1);
    assert!(!ended.errors().is_empty(), "{ended}");
    for word in words {
        assert!(ended.errors().iter().all(|line| line.contains(word)), "{word}: {ended}");
    }
}

fn change(memory: &Memory, key: &str, change: impl Fn(&mut Vec<u8>)) {
    let mut bytes = memory.get(key).unwrap().to_vec();
    change(&mut bytes);
    memory.put(key, bytes);
}

#[test]
fn every_damage_is_found() {
    if !mpirun_is_there() {
        return;
    }
    let object = |folder: &str| key(&format!("{folder}/{OPTIM}"));
    damaged(
        |memory, folder| change(memory, &object(folder), |bytes| bytes[1_234_567] ^= 16),
        &["rank 1", OPTIM, "byte 1234567", "flipped bits", "s3://bench/ck/run/global_epoch1_step2"],
    );
    damaged(
        |memory, folder| change(memory, &object(folder), |bytes| bytes.truncate(1_000_000)),
        &[OPTIM, "truncated"],
    );
    damaged(|memory, folder| memory.remove(&object(folder)), &[OPTIM, "is missing"]);
    let list = |folder: &str| key(&format!("{folder}/files.jsonl"));
    let cut = |bytes: &mut Vec<u8>| bytes.truncate(bytes.len() / 2);
    damaged(
        |memory, folder| change(memory, &list(folder), cut),
        &["files.jsonl", "truncated or damaged"],
    );
    let manifest = key(&format!("{}/manifest.json", step(2)));
    damaged(
        |memory, _| change(memory, &manifest, cut),
        &["step2/manifest.json", "is no manifest of rankio"],
    );
    // It may not send us, and what removes files, elsewhere.
    damaged(
        |memory, folder| {
            let text = String::from_utf8(memory.get(&manifest).unwrap().to_vec()).unwrap();
            memory.put(&manifest, text.replace(folder, "elsewhere").into_bytes());
        },
        &["step2/manifest.json", "elsewhere"],
    );
}

#[test]
fn leftovers_of_ours_go_and_nothing_else() {
    if !mpirun_is_there() {
        return;
    }
    let (server, lab) = (Server::start(0), lab());
    let memory = &server.memory;
    memory.put(&key("thesis.tex"), vec![1]);
    let ended = job(&server, &lab, 2, "a", &[]).fail_with(1);
    ended.error_of_a_rank(&["holds thesis.tex, which rankio did not make"]);
    assert_eq!(memory.keys(), [key("thesis.tex")]);
    memory.remove(&key("thesis.tex"));
    job(&server, &lab, 2, "b", &[]).succeed();
    // A version that no manifest names, of a job that was killed; a foreign object in another one.
    let version = format!("{}.00000000000000ab.version", step(7));
    let foreign = format!("{}.00000000000000ac.version", step(8));
    for name in ["a_states-0.pb", "files.jsonl"] {
        memory.put(&key(&format!("{version}/{name}")), vec![1]);
    }
    let kept = [key(&format!("{foreign}/photo.jpeg")), key("holiday/notes.txt")];
    kept.iter().for_each(|key| memory.put(key, vec![1]));
    for file in 0..7 {
        memory.leave_upload(&key(&format!("{version}/{file}_states-0.pb")));
    }
    let theirs = [key("movie.mkv"), key("holiday/a_states.pb"), "ck/run2/x_states.pb".to_string()];
    theirs.iter().for_each(|key| memory.leave_upload(key));
    let ended = job(&server, &lab, 2, "c", &[]).succeed();
    for words in [
        format!("note: {version} of a killed job is no whole checkpoint and is removed"),
        "note: 7 unfinished upload(s) of a killed job are given up".into(),
        format!("{foreign} is left, because it holds photo.jpeg"),
    ] {
        assert!(ended.err.contains(&words), "{words}: {ended}");
    }
    assert_eq!(memory.open_uploads(), 3);
    let left = others(memory);
    for key in &kept {
        assert!(left.contains(key), "{key}: {left:?}");
    }
    assert_eq!(left.len(), 4, "{left:?}");
    // Another configuration is refused, unless it may be removed.
    let other = ["model.transformer.vocab_size=300"];
    let ended = job(&server, &lab, 2, "d", &other).fail_with(1);
    ended.error_of_a_rank(&["vocab_size is 499, wanted 300", "--overwrite"]);
    // What cleaning would remove, and what it leaves.
    let environment = server.environment();
    let dry = lab.command(1, &["clean", ROOT, "--dry-run"]).with(&environment).succeed();
    // Four shards, a list and a manifest for each of two.
    assert!(dry.out.contains("would remove 12 files"), "{dry}");
    assert_eq!(whole(memory).len(), 2);
    let ended = lab.command(1, &["clean", ROOT]).with(&environment).succeed();
    assert!(ended.out.contains("removed 12 files"), "{ended}");
    let mut left = memory.keys();
    left.sort();
    assert_eq!(left, kept);
    let said = lab.command(1, &["clean", ROOT]).plain().with(&environment).fail_with(1);
    said.one_error(&["rankio did not make it"]);
}

#[test]
fn one_job_at_a_time_writes_below_a_root() {
    if !mpirun_is_there() {
        return;
    }
    let (server, lab) = (Server::start(0), lab());
    let memory = &server.memory;
    let many = ["checkpoint.num_checkpoints_write=400", "checkpoint.keep_last=2"];
    let mut running = job(&server, &lab, 2, "first", &many).start();
    running.wait_until("a checkpoint", || memory.get(&key("latest")).is_some());
    let ended = job(&server, &lab, 2, "second", &[]).fail_with(1);
    ended.error_of_a_rank(&["checkpoint first on", "is at work there", "--checkpoint-dir"]);
    let said = lab.command(1, &["clean", ROOT]).plain().with(&server.environment());
    said.fail_with(1).one_error(&["checkpoint first on", "is at work there"]);
    running.signal(Signal::SIGINT);
    running.end();
    assert_eq!(memory.get(LOCK), None, "given back");
    assert!(!whole(memory).is_empty());
    // Somebody on another host, who may be alive.
    let elsewhere = r#"{"work": "checkpoint", "run": "far", "host": "elsewhere", "pid": 1,
        "boot": "another", "started": "then", "pid_space": "pid:[1]", "start_ticks": 1}"#;
    memory.put(LOCK, elsewhere.into());
    let ended = job(&server, &lab, 2, "third", &[]).fail_with(1);
    ended.error_of_a_rank(&["checkpoint far on elsewhere", "remove s3://bench/ck/run/.rankio"]);
    memory.remove(LOCK);
    job(&server, &lab, 2, "fourth", &[]).succeed();
}

/// Times and victims, other ones in every run of the test.
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
        (self.0 >> 33) % limit.max(1)
    }
}

#[test]
fn a_killed_job_loses_no_checkpoint_and_leaves_no_half_one() {
    if !mpirun_is_there() {
        return;
    }
    const RANKS: usize = 3;
    let rounds = std::env::var("RANKIO_CRASH_ROUNDS").ok().and_then(|text| text.parse().ok());
    let rounds: u64 = rounds.unwrap_or(12);
    let (server, lab) = (Server::start(0), lab());
    let memory = &server.memory;
    let write = [WRITE_ONLY, "checkpoint.num_checkpoints_write=3"];
    let start = Instant::now();
    job(&server, &lab, RANKS, "first", &write).succeed();
    let usual_ms = start.elapsed().as_millis() as u64;
    let seed = std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64;
    eprintln!("seed {seed}, a whole job lasts {usual_ms} ms");
    let mut chance = Chance(seed);
    let mut before = whole(memory);
    let (mut killed, mut left, mut uploads) = (0, 0, 0);
    for round in 0..rounds {
        let id = format!("k{round}");
        let mut running = job(&server, &lab, RANKS, &id, &write).start();
        // Not before MPI is up: Open MPI's launcher may hang when a rank dies in MPI_Init.
        let folder = lab.path("results").join(&id);
        running.wait_until("MPI is up", || folder.is_dir());
        std::thread::sleep(Duration::from_millis(chance.below(usual_ms / 2)));
        let ranks = running.ranks();
        if let Some(victim) = ranks.get(chance.below(RANKS as u64) as usize) {
            // It may have ended meanwhile.
            let _ = kill(Pid::from_raw(*victim), Signal::SIGKILL);
        }
        let ended = running.end();
        all_gone(&ranks);
        killed += u64::from(!ended.status.success());
        // Only the kill may have ended it, not what an earlier kill left.
        assert!(ended.errors().is_empty(), "{ended}");
        let own = [MARKER.to_string(), key("latest"), LOCK.to_string()];
        left += others(memory).iter().filter(|key| !own.contains(key)).count();
        uploads += memory.open_uploads();
        let after = whole(memory);
        for (name, version) in &before {
            assert!(after.get(name) >= Some(version), "{name} went back or is lost\n{ended}");
        }
        let latest = memory.get(&key("latest")).unwrap();
        let latest = std::str::from_utf8(&latest).unwrap().trim();
        assert!(after.contains_key(latest), "latest is {latest}");
        if round % 4 == 3 {
            let reads = format!("checkpoint.num_checkpoints_read={}", after.len());
            let read = [READ_ONLY, &reads];
            job(&server, &lab, RANKS, &format!("v{round}"), &read).succeed();
        }
        before = after;
    }
    eprintln!(
        "{killed} of {rounds} jobs were killed; they left {left} objects and {uploads} uploads"
    );
    assert!(killed > 0, "no job was killed: nothing was tested");
    // The next run clears up, and all is whole.
    job(&server, &lab, RANKS, "last", &["checkpoint.num_checkpoints_write=3"]).succeed();
    assert_eq!(others(memory), [MARKER.to_string(), key("latest")]);
    assert_eq!(memory.open_uploads(), 0);
}
