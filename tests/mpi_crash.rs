//! A job that is killed at any moment leaves the checkpoints it had committed, and nothing that
//! could be taken for one it had not. `RANKIO_CRASH_KILLS=200` goes on until so many jobs have died
//! of it, `RANKIO_CRASH_SEED` repeats the times and victims of a run (`tests/crash/run.sh`).

#![cfg(feature = "mpi")]

mod launch;

use launch::{Ended, Job, Lab, Running, all_gone, mpirun_is_there};
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
/// Of a job in the campaign.
const CHECKPOINTS: usize = 8;

/// Version of each checkpoint that has a manifest; one without it, or without a file of its list,
/// is an error.
fn whole(root: &Path) -> BTreeMap<String, u64> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(root).unwrap().map(|entry| entry.unwrap()) {
        let name = entry.file_name().into_string().unwrap();
        // What has a dot is on its way or going.
        if !entry.path().is_dir() || name.contains('.') {
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

/// Who is killed.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Victim {
    OneRank,
    AllRanks,
    Launcher,
}

impl Victim {
    const ALL: [Victim; 3] = [Victim::OneRank, Victim::AllRanks, Victim::Launcher];

    /// Ranks notice about a second later that their launcher is gone, and must not be done then.
    fn settings(self) -> &'static [&'static str] {
        match self {
            Victim::Launcher => &["--set", "io.delay={latency: 0.03}"],
            Victim::OneRank | Victim::AllRanks => &[],
        }
    }

    fn strike(self, running: &Running, ranks: &[i32], chance: &mut Chance) {
        let one = [ranks.get(chance.below(RANKS as u64) as usize).copied().unwrap_or_default()];
        let launcher = [running.launcher()];
        let victims = match self {
            Victim::OneRank => &one[..],
            Victim::AllRanks => ranks,
            Victim::Launcher => &launcher[..],
        };
        for victim in victims.iter().filter(|pid| **pid > 0) {
            // It may have ended meanwhile.
            let _ = kill(Pid::from_raw(*victim), Signal::SIGKILL);
        }
    }
}

/// A number from the environment.
fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|error| panic!("{name}: {error}")))
}

/// What the root may hold at any moment: every earlier checkpoint at least as new as before, and a
/// pointer to a whole one. Gives the versions.
fn nothing_lost(
    root: &Path,
    before: &BTreeMap<String, u64>,
    ended: &Ended,
) -> BTreeMap<String, u64> {
    let after = whole(root);
    for (name, version) in before {
        assert!(after.get(name) >= Some(version), "{name} went back or is lost\n{ended}");
    }
    let latest = std::fs::read_to_string(root.join("latest")).unwrap();
    assert!(after.contains_key(latest.trim()), "latest is {latest}");
    after
}

/// Jobs of [`MODEL`] on one root of checkpoints.
struct Campaign {
    lab: Lab,
    chance: Chance,
    /// Time of a job from MPI_Init to its end.
    usual_us: u64,
    /// Versions of the checkpoints that must not be lost.
    before: BTreeMap<String, u64>,
    deaths: [usize; Victim::ALL.len()],
    partial: usize,
    rounds: usize,
}

impl Campaign {
    fn new(seed: u64) -> Campaign {
        let lab = Lab::new();
        std::fs::write(lab.path("model.yaml"), MODEL).unwrap();
        let (chance, before, deaths) = (Chance(seed), BTreeMap::new(), [0; Victim::ALL.len()]);
        Campaign { lab, chance, usual_us: 0, before, deaths, partial: 0, rounds: 0 }
    }

    fn root(&self) -> std::path::PathBuf {
        self.lab.path("C")
    }

    fn job(&self, id: &str, extra: &[&str]) -> Job {
        let (file, root) = (self.lab.arg("model.yaml"), self.lab.arg("C"));
        let results = self.lab.arg("results");
        let writes = format!("checkpoint.num_checkpoints_write={CHECKPOINTS}");
        let words = ["run", &file, "--checkpoint-dir", &root, "--results-dir", &results];
        let settings = ["--run-id", id, "--set", &writes];
        self.lab.command(RANKS, &[&words[..], &settings, extra].concat())
    }

    /// Reads so many checkpoints back and compares every byte.
    fn read(&self, id: &str, checkpoints: usize) {
        let reads = format!("checkpoint.num_checkpoints_read={checkpoints}");
        let none = "checkpoint.num_checkpoints_write=0";
        self.job(id, &["--set", none, "--set", &reads, "--verify", "full"]).succeed();
    }

    /// A job that has come so far that a rank may die: Open MPI's launcher may hang when one does
    /// so in MPI_Init.
    fn up(&self, id: &str, extra: &[&str]) -> Running {
        let mut running = self.job(id, extra).start();
        let folder = self.lab.path("results").join(id);
        running.wait_until("MPI is up", || folder.is_dir());
        running
    }

    fn whole_job(&self, id: &str) -> u64 {
        let running = self.up(id, &[]);
        let start = Instant::now();
        let ended = running.end();
        assert!(ended.status.success(), "{ended}");
        start.elapsed().as_micros() as u64
    }

    /// Kills one job at some moment, and looks at what it left.
    fn round(&mut self) {
        let id = format!("k{}", self.rounds);
        self.rounds += 1;
        let kind = self.chance.below(Victim::ALL.len() as u64) as usize;
        let (running, start) = (self.up(&id, Victim::ALL[kind].settings()), Instant::now());
        let delay_us = self.chance.below(self.usual_us);
        std::thread::sleep(Duration::from_micros(delay_us));
        let ranks = running.ranks();
        Victim::ALL[kind].strike(&running, &ranks, &mut self.chance);
        let ended = running.end();
        all_gone(&ranks);
        // One that had ended before, or whose ranks ended without their launcher, did not die.
        let finished = self.lab.path("results").join(&id).join("result.json").is_file();
        let died = !ended.status.success() && !finished;
        self.deaths[kind] += usize::from(died);
        eprintln!(
            "{id}: {:?} after {delay_us} us, died: {died}, gone after {:?}",
            Victim::ALL[kind],
            start.elapsed()
        );
        // Only the kill may have ended it, not what an earlier kill left.
        assert!(ended.errors().is_empty(), "{ended}");
        let cut = !partials(&self.root()).is_empty();
        self.partial += usize::from(cut);
        self.before = nothing_lost(&self.root(), &self.before, &ended);
        // What has cut a checkpoint, and some others, is read back.
        if cut || self.rounds.is_multiple_of(5) {
            self.read(&format!("v{}", self.rounds), self.before.len());
        }
    }
}

#[test]
fn a_killed_job_loses_no_checkpoint_and_leaves_no_half_one() {
    if !mpirun_is_there() {
        return;
    }
    let wanted = number("RANKIO_CRASH_KILLS").unwrap_or(18) as usize;
    let clock = std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64;
    let seed = number("RANKIO_CRASH_SEED").unwrap_or(clock);
    let mut campaign = Campaign::new(seed);
    let mut usual = ["first0", "first1", "first2"].map(|id| campaign.whole_job(id));
    usual.sort_unstable();
    campaign.usual_us = usual[1];
    eprintln!("seed {seed}; from MPI_Init to its end a job lasts {} us", usual[1]);
    campaign.before = whole(&campaign.root());
    while campaign.deaths.iter().sum::<usize>() < wanted {
        campaign.round();
        let Campaign { rounds, deaths, .. } = &campaign;
        assert!(*rounds <= 4 * wanted + 20, "of {rounds} jobs only {deaths:?} died");
    }
    let Campaign { rounds, deaths, partial, .. } = &campaign;
    eprintln!(
        "{rounds} jobs, of which {} died: {deaths:?} by {:?}; {partial} left a checkpoint cut",
        deaths.iter().sum::<usize>(),
        Victim::ALL
    );
    // The next run clears up, says so, and all is whole.
    let ended = campaign.job("last", &[]).succeed();
    campaign.read("end", CHECKPOINTS);
    let names: Vec<String> = std::fs::read_dir(campaign.root())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(names.iter().all(|name| !name.contains(".partial")), "{names:?}\n{ended}");
    // With the marker and the pointer.
    assert_eq!(names.len(), CHECKPOINTS + 2, "{names:?}");
}

/// Settings of a training that writes [`MODEL`] in the background, each flush longer than the steps
/// between two checkpoints.
const BACKGROUND: &[&str] = &[
    "workflow.generate_data=True",
    "workflow.train=True",
    "dataset.num_files_train=36",
    "dataset.record_length_bytes=4096",
    "reader.batch_size=2",
    "train.computation_time=0.01",
    "train.epochs=2",
    "checkpoint.async=True",
    "checkpoint.steps_between_checkpoints=2",
    "io.delay={latency: 0.02}",
];

#[test]
fn a_job_killed_while_it_flushes_keeps_the_checkpoint_before() {
    if !mpirun_is_there() {
        return;
    }
    let lab = Lab::new();
    std::fs::write(lab.path("model.yaml"), MODEL).unwrap();
    let (file, root, results) = (lab.arg("model.yaml"), lab.arg("C"), lab.arg("results"));
    let data = lab.arg("data");
    let job = |id: &str, more: &[&str]| {
        let words = ["run", &file, "--checkpoint-dir", &root, "--results-dir", &results];
        let words = words.into_iter().chain(["--data-dir", &data, "--run-id", id, "--quiet"]);
        let settings = more.iter().flat_map(|text| ["--set", *text]);
        lab.command(RANKS, &words.chain(settings).collect::<Vec<_>>())
    };
    job("first", BACKGROUND).succeed();
    let mut before = whole(Path::new(&root));
    assert_eq!(before.len(), 6);
    let mut chance = Chance(std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64);
    let mut unfinished = 0;
    for round in 0..6 {
        let left = partials(Path::new(&root));
        let mut running = job(&format!("k{round}"), BACKGROUND).start();
        running.wait_until("a flush", || {
            partials(Path::new(&root)).iter().any(|name| !left.contains(name))
        });
        std::thread::sleep(Duration::from_millis(chance.below(150)));
        let ranks = running.ranks();
        if let Some(victim) = ranks.get(chance.below(RANKS as u64) as usize) {
            // It may have ended meanwhile.
            let _ = kill(Pid::from_raw(*victim), Signal::SIGKILL);
        }
        let ended = running.end();
        all_gone(&ranks);
        assert!(ended.errors().is_empty(), "{ended}");
        unfinished += partials(Path::new(&root)).len();
        let after = whole(Path::new(&root));
        for (name, version) in &before {
            assert!(after.get(name) >= Some(version), "{name} went back or is lost\n{ended}");
        }
        before = after;
    }
    assert!(unfinished > 0, "no flush was cut: nothing was tested");
    let none = "checkpoint.num_checkpoints_write=0";
    let reads = format!("checkpoint.num_checkpoints_read={}", before.len());
    job("read", &[none, &reads, "verify.mode=full"]).succeed();
}

/// Names of checkpoints in `root` that are being written.
fn partials(root: &Path) -> Vec<String> {
    let names = std::fs::read_dir(root).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.ends_with(".partial")).collect()
}
