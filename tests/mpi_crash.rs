//! A job that is killed at any moment leaves the checkpoints it had committed, and nothing that
//! could be taken for one it had not. `RANKIO_CRASH_ROUNDS=200` kills more often.

#![cfg(feature = "mpi")]

mod launch;

use launch::{Lab, all_gone, mpirun_is_there};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

const MODEL: &str = "
model:
  name: small
  type: transformer
  num_layers: 2
  parallelism: {tensor: 1, pipeline: 1, zero_stage: 3}
  transformer: {vocab_size: 499, hidden_size: 128, ffn_hidden_size: 500, num_attention_heads: 4,
                num_kv_heads: 2}
framework: pytorch
workflow: {generate_data: False, train: False, checkpoint: True}
checkpoint: {num_checkpoints_write: 3, num_checkpoints_read: 0, fsync: True}
io: {block_size: 64KiB, queue_depth: 4}
";

const RANKS: usize = 3;

/// Version of each checkpoint that has a manifest; one without it, or without a file of its list,
/// is an error.
fn whole(root: &Path) -> BTreeMap<String, u64> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(root).unwrap().map(|entry| entry.unwrap()) {
        let name = entry.file_name().into_string().unwrap();
        if !entry.path().is_dir() || name.contains(".0") || name.matches('.').count() > 1 {
            continue;
        }
        let text = std::fs::read_to_string(entry.path().join("manifest.json"));
        let text = text.unwrap_or_else(|error| panic!("{name} has no manifest: {error}"));
        let manifest: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(manifest["name"], name.as_str());
        let list = std::fs::read_to_string(entry.path().join("files.jsonl")).unwrap();
        assert_eq!(list.lines().count() as u64, manifest["files"].as_u64().unwrap());
        for line in list.lines() {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            let path = entry.path().join(line["name"].as_str().unwrap());
            assert_eq!(std::fs::metadata(&path).unwrap().len(), line["bytes"], "{path:?}");
        }
        found.insert(name, manifest["version"].as_u64().unwrap());
    }
    found
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
    let rounds = std::env::var("RANKIO_CRASH_ROUNDS").ok().and_then(|text| text.parse().ok());
    let rounds: u64 = rounds.unwrap_or(30);
    let lab = Lab::new();
    std::fs::write(lab.path("model.yaml"), MODEL).unwrap();
    let (file, root, results) = (lab.arg("model.yaml"), lab.arg("C"), lab.arg("results"));
    let job = |id: &str, extra: &[&str]| {
        let words = ["run", &file, "--checkpoint-dir", &root, "--results-dir", &results];
        lab.command(RANKS, &[&words[..], &["--run-id", id], extra].concat())
    };
    let read = |id: &str, checkpoints: usize| {
        let reads = format!("checkpoint.num_checkpoints_read={checkpoints}");
        let none = "checkpoint.num_checkpoints_write=0";
        job(id, &["--set", none, "--set", &reads, "--verify", "full"]).succeed();
    };
    let start = Instant::now();
    job("first", &[]).succeed();
    let usual_ms = start.elapsed().as_millis() as u64;
    let seed = std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64;
    eprintln!("seed {seed}, a whole job lasts {usual_ms} ms");
    let mut chance = Chance(seed);
    let mut before = whole(Path::new(&root));
    let (mut killed, mut partial) = (0, 0);
    for round in 0..rounds {
        let id = format!("k{round}");
        let mut running = job(&id, &[]).start();
        // Not before MPI is up: Open MPI's launcher may hang when a rank dies in MPI_Init.
        let folder = lab.path("results").join(&id);
        running.wait_until("MPI is up", || folder.is_dir());
        let delay = Duration::from_millis(chance.below(usual_ms / 2));
        std::thread::sleep(delay);
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
        let entries = std::fs::read_dir(&root).unwrap().map(|entry| entry.unwrap().file_name());
        partial += entries.filter(|name| name.to_str().unwrap().ends_with(".partial")).count();
        let after = whole(Path::new(&root));
        for (name, version) in &before {
            assert!(after.get(name) >= Some(version), "{name} went back or is lost\n{ended}");
        }
        let latest = std::fs::read_to_string(Path::new(&root).join("latest")).unwrap();
        assert!(after.contains_key(latest.trim()), "latest is {latest}");
        if round % 5 == 4 {
            read(&format!("v{round}"), after.len());
        }
        before = after;
    }
    eprintln!("{killed} of {rounds} jobs were killed, {partial} left an unfinished checkpoint");
    assert!(killed > 0, "no job was killed: nothing was tested");
    // The next run clears up, says so, and all is whole.
    let ended = job("last", &[]).succeed();
    read("end", 3);
    let names: Vec<String> = std::fs::read_dir(&root)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(names.iter().all(|name| !name.contains(".partial")), "{names:?}\n{ended}");
    assert_eq!(names.len(), 5, "{names:?}");
}
