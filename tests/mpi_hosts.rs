//! Ranks on two hosts: what is merged over all ranks and what is named by host. The hosts are
//! network namespaces of this machine, made by a script beside the project; without it or without
//! root the test is left out.

#![cfg(feature = "mpi")]

mod launch;

use launch::{Ended, Job, Lab, is_root, mpirun_is_there, shared};
use std::path::PathBuf;

/// The script that pretends two hosts.
struct Hosts(PathBuf);

impl Hosts {
    /// None, and said: it cannot run here.
    fn of_this_machine() -> Option<Hosts> {
        let script = shared().filter(|_| mpirun_is_there())?.join("tools/netns-mpirun");
        if !is_root() || !script.exists() {
            eprintln!("skipped: needs root and {}", script.display());
            return None;
        }
        Some(Hosts(script))
    }

    /// `job` with so many ranks on both hosts in equal numbers, with these options of mpirun.
    fn job(&self, lab: &Lab, ranks: usize, options: &[&str], job: Job) -> Job {
        self.program(lab, ranks, options, job.plain().words())
    }

    /// The same of any program; `program` holds it and its arguments.
    fn program(&self, lab: &Lab, ranks: usize, options: &[&str], program: Vec<String>) -> Job {
        self.filled(lab, (ranks, ranks / 2), options, program)
    }

    /// The same with so many ranks on the first host and the others on the second.
    fn filled(
        &self,
        lab: &Lab,
        (ranks, slots): (usize, usize),
        options: &[&str],
        program: Vec<String>,
    ) -> Job {
        let (slots, ranks) = (slots.to_string(), ranks.to_string());
        let script = self.0.to_str().unwrap();
        let first = [script, "-H", "2", "-s", &slots, "--", "-n", &ranks];
        let mut words: Vec<String> = first.iter().chain(options).map(|w| w.to_string()).collect();
        words.extend(program);
        lab.raw(words)
    }

    /// `job` with one rank on each host, of which the second has `folder` for itself: there it is
    /// the folder `private`.
    fn with_private(&self, lab: &Lab, folder: &str, job: Job) -> Job {
        let script = "if [ \"$(hostname)\" = node2 ]; then mount --bind \"$1\" \"$2\" || exit 9; fi
            shift 2; exec \"$@\"";
        let (private, folder) = (lab.arg("private"), lab.arg(folder));
        for folder in [&private, &folder] {
            std::fs::create_dir_all(folder).unwrap();
        }
        let wrapper = ["sh", "-c", script, "sh", &private, &folder].map(String::from);
        self.program(lab, 2, &[], [&wrapper[..], &job.plain().words()].concat())
    }

    /// True, and said: the first job found that this machine makes no namespaces.
    fn are_missing(ended: &Ended) -> bool {
        let missing =
            ended.err.contains("netns-mpirun: ") || ended.err.contains("Operation not permitted");
        if missing {
            eprintln!("skipped: no namespaces here\n{ended}");
        }
        missing
    }
}

#[test]
fn two_hosts_are_told_apart_and_their_results_merged() {
    let Some(hosts) = Hosts::of_this_machine() else { return };
    let lab = Lab::new();
    let launch = |command: &str, id: &str| {
        hosts.job(&lab, 4, &[], lab.job(1, command, id, &["--verify", "full"])).end()
    };
    let ended = launch("datagen", "g");
    if Hosts::are_missing(&ended) {
        return;
    }
    assert!(ended.status.success(), "{ended}");
    let ended = launch("run", "t");
    assert!(ended.status.success(), "{ended}");
    let result = lab.result("t");
    assert_eq!((&result["run"]["hosts"], &result["run"]["ranks"]), (&2.into(), &4.into()));
    assert_eq!(result["run"]["ranks_per_host"], 2);
    let environment = result["environment"].as_array().unwrap();
    let hosts: Vec<_> = environment.iter().map(|host| host["host"].as_str().unwrap()).collect();
    assert_eq!(hosts, ["node1", "node2"]);
    assert!(environment.iter().all(|host| host["ranks"] == 2), "{environment:#?}");
    let phase = lab.phase("t", "training");
    let slowest = phase["ranks"]["slowest"]["host"].as_str().unwrap();
    assert!(hosts.contains(&slowest), "{slowest}");
    // One step of batch 2 on each of four ranks, in each of two epochs.
    assert_eq!(phase["metrics"]["samples"], 16);
    assert_eq!(phase["ops"]["retries"], 0);
    let rows = std::fs::read_to_string(lab.path("results/t/ranks.csv")).unwrap();
    assert_eq!(rows.lines().count(), 5, "{rows}");
    for host in hosts {
        assert_eq!(rows.matches(host).count(), 2, "{rows}");
    }
}

/// Bug: `ranks_per_host` was the mean, and the summary said so many on each host.
#[test]
fn hosts_with_unequal_numbers_of_ranks_are_told_as_they_are() {
    let Some(hosts) = Hosts::of_this_machine() else { return };
    let lab = Lab::new();
    let job = lab.job(1, "run", "t", &["--data-dir", "null://"]);
    let ended = hosts.filled(&lab, (4, 3), &[], job.plain().words()).end();
    if Hosts::are_missing(&ended) {
        return;
    }
    assert!(ended.status.success(), "{ended}");
    assert_eq!(lab.result("t")["run"]["ranks_per_host"], 3);
    assert!(ended.out.contains("4 on 2 host(s), 1 to 3 each"), "{ended}");
}

#[test]
fn a_failure_names_the_host_of_its_rank() {
    let Some(hosts) = Hosts::of_this_machine() else { return };
    let lab = Lab::new();
    lab.job(2, "datagen", "g", &[]).succeed();
    let fault = "io.fault=[{op: read, kind: eio, at: 2, rank: 3}]";
    let ended = hosts.job(&lab, 4, &[], lab.job(1, "run", "t", &["--set", fault])).end();
    if Hosts::are_missing(&ended) {
        return;
    }
    assert!(!ended.status.success(), "{ended}");
    ended.one_error(&["rank 3 (node2): read ", "img_", "at offset "]);
}

#[test]
fn an_interruption_reaches_both_hosts() {
    let Some(hosts) = Hosts::of_this_machine() else { return };
    let lab = Lab::new();
    lab.job(2, "datagen", "g", &[]).succeed();
    let long = ["--set", "train.epochs=1000", "--set", "train.computation_time=0.05"];
    let mut running = hosts.job(&lab, 2, &[], lab.job(1, "run", "t", &long)).start();
    let log = lab.path("results/t/mlperf/1_output.json");
    running.wait_until("the training started", || log.exists());
    std::thread::sleep(std::time::Duration::from_millis(700));
    // One rank gets the signal and tells the others at the next step.
    let rank = running.descendant("rankio").expect("a rank runs");
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(rank), nix::sys::signal::Signal::SIGINT)
        .unwrap();
    let ended = running.end();
    assert_eq!(ended.status.code(), Some(130), "{ended}");
    assert_eq!(lab.result("t")["run"]["partial"], true, "{ended}");
    assert_eq!(lab.result("t")["run"]["hosts"], 2);
}

/// Two layers, ZeRO 3: each rank has its own two files.
const MODEL: &str = "
model:
  name: small
  type: transformer
  num_layers: 2
  parallelism: {tensor: 1, pipeline: 1, zero_stage: 3}
  transformer: {vocab_size: 1000, hidden_size: 256, ffn_hidden_size: 512}
workflow: {generate_data: False, train: False, checkpoint: True}
checkpoint:
  time_between_checkpoints: 0
  num_checkpoints_write: 1
  num_checkpoints_read: 1
  restore: ring
  durability: fsync
";

#[test]
fn in_a_ring_no_rank_reads_what_its_own_host_wrote() {
    let Some(hosts) = Hosts::of_this_machine() else { return };
    let lab = Lab::new();
    std::fs::write(lab.path("model.yaml"), MODEL).unwrap();
    // A trap is a read of one rank from the files of one writer that ends the job.
    let launch = |id: &str, traps: &[(u64, u64)]| {
        let traps: Vec<_> = traps
            .iter()
            .map(|(rank, writer)| {
                format!(
                    "{{op: read, kind: eio, rank: {rank}, name_contains: zero_pp_rank_{writer}_}}"
                )
            })
            .collect();
        let fault = format!("io.fault=[{}]", traps.join(", "));
        let (model, folder, results) = (lab.arg("model.yaml"), lab.arg(id), lab.arg("results"));
        let job = ["run", &model, "--checkpoint-dir", &folder, "--results-dir", &results];
        let more = ["--run-id", id, "--verify", "full", "--set", &fault];
        hosts.job(&lab, 4, &[], lab.command(1, &[&job[..], &more].concat())).end()
    };
    // Ranks 0 and 1 are on one host, 2 and 3 on the other.
    let own_host = [(0, 0), (0, 1), (1, 0), (1, 1), (2, 2), (2, 3), (3, 2), (3, 3)];
    let ended = launch("own", &own_host);
    if Hosts::are_missing(&ended) {
        return;
    }
    assert!(ended.status.success(), "{ended}");
    let phase = lab.phase("own", "checkpoint_restore");
    assert_eq!(phase["verify"]["bytes_checked"], phase["bytes"]["requested"]);
    // The traps work: every rank reads from a host that is not its own.
    for rank in 0..4 {
        let other = if rank < 2 { [(rank, 2), (rank, 3)] } else { [(rank, 0), (rank, 1)] };
        let ended = launch(&format!("other{rank}"), &other);
        assert!(!ended.status.success(), "{ended}");
        ended.one_error(&[&format!("rank {rank} (node"), "read ", "zero_pp_rank_"]);
    }
}

/// Bug: a job whose ranks are dealt round the hosts read in a ring what its own host had written
/// with neighbours on one host.
#[test]
fn a_ring_in_another_placement_than_that_of_the_writers_is_refused() {
    let Some(hosts) = Hosts::of_this_machine() else { return };
    let lab = Lab::new();
    std::fs::write(lab.path("model.yaml"), MODEL).unwrap();
    let launch = |id: &str, map: &str, none: &str| {
        let (model, folder, results) = (lab.arg("model.yaml"), lab.arg("C"), lab.arg("results"));
        let job = ["run", &model, "--checkpoint-dir", &folder, "--results-dir", &results];
        let more = ["--run-id", id, "--set", none];
        let job = lab.command(1, &[&job[..], &more].concat());
        hosts.job(&lab, 4, &["--map-by", map], job).end()
    };
    let ended = launch("write", "slot", "checkpoint.num_checkpoints_read=0");
    if Hosts::are_missing(&ended) {
        return;
    }
    assert!(ended.status.success(), "{ended}");
    let read = "checkpoint.num_checkpoints_write=0";
    let ended = launch("other", "node", read);
    assert!(!ended.status.success(), "{ended}");
    ended.one_error(&["rank ", "(node", "global_epoch1_step1", "ring", "place the ranks as"]);
    let ended = launch("same", "slot", read);
    assert!(ended.status.success() && !ended.err.contains("names no hosts"), "{ended}");
    // A manifest of an earlier build has no hosts.
    let path = lab.path("C/global_epoch1_step1/manifest.json");
    let mut manifest: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    for key in ["hosts", "committed_unix_ns"] {
        manifest.as_object_mut().unwrap().remove(key).unwrap();
    }
    std::fs::write(&path, manifest.to_string()).unwrap();
    let ended = launch("older", "slot", read);
    assert!(ended.status.success() && ended.err.contains("names no hosts"), "{ended}");
}

/// Names in a folder.
fn names(lab: &Lab, folder: &str) -> Vec<String> {
    let entries = std::fs::read_dir(lab.path(folder)).unwrap().flatten();
    entries.map(|entry| entry.file_name().into_string().unwrap()).collect()
}

/// Bug: a checkpoint was committed, and called VALID, with half of its files on another host.
#[test]
fn a_checkpoint_folder_that_is_private_to_a_host_is_not_written_into() {
    let Some(hosts) = Hosts::of_this_machine() else { return };
    let lab = Lab::new();
    std::fs::write(lab.path("model.yaml"), MODEL).unwrap();
    let (model, folder, results) = (lab.arg("model.yaml"), lab.arg("C"), lab.arg("results"));
    let job = ["run", &model, "--checkpoint-dir", &folder, "--results-dir", &results];
    let ended = hosts.with_private(&lab, "C", lab.command(1, &job)).end();
    if Hosts::are_missing(&ended) {
        return;
    }
    assert!(!ended.status.success(), "{ended}");
    let what = format!("{folder}: is not one folder on all hosts: node2 does not see what node1");
    ended.one_error(&["rank 0 (node1): ", &what, "give a --checkpoint-dir that all hosts share"]);
    assert_eq!((names(&lab, "C"), names(&lab, "private")), (vec![], vec![]), "{ended}");
}

#[test]
fn a_data_folder_that_is_private_to_a_host_is_not_generated_into() {
    let Some(hosts) = Hosts::of_this_machine() else { return };
    let lab = Lab::new();
    let ended = hosts.with_private(&lab, "data", lab.job(1, "datagen", "g", &[])).end();
    if Hosts::are_missing(&ended) {
        return;
    }
    assert!(!ended.status.success(), "{ended}");
    ended.one_error(&["data: is not one folder", "node2 does not see", "on each host by itself"]);
    assert_eq!((names(&lab, "data"), names(&lab, "private")), (vec![], vec![]), "{ended}");
    // What each host has made for itself, or copied, can be read.
    lab.job(1, "datagen", "a", &[]).succeed();
    lab.job(1, "datagen", "b", &["--data-dir", &lab.arg("private")]).succeed();
    let job = lab.job(1, "run", "t", &["--verify", "full"]);
    let ended = hosts.with_private(&lab, "data", job).end();
    assert!(ended.status.success(), "{ended}");
}

#[test]
fn a_results_folder_that_is_private_to_a_host_is_told() {
    let Some(hosts) = Hosts::of_this_machine() else { return };
    let lab = Lab::new();
    lab.job(2, "datagen", "g", &["--results-dir", &lab.arg("other")]).succeed();
    let ended = hosts.with_private(&lab, "results", lab.job(1, "run", "t", &[])).end();
    if Hosts::are_missing(&ended) {
        return;
    }
    assert!(ended.status.success(), "{ended}");
    let said = format!("{}{}", ended.out, ended.err);
    assert!(said.contains("results/t: is not one folder on all hosts: node2 does not"), "{ended}");
    assert!(lab.path("private/t/mlperf/1_output.json").exists(), "{ended}");
}
