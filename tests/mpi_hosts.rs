//! Ranks on two hosts: what is merged over all ranks and what is named by host. The hosts are
//! network namespaces of this machine, made by a script beside the project; without it or without
//! root the test is left out.

#![cfg(feature = "mpi")]

mod launch;

use launch::{Lab, is_root, mpirun_is_there, shared};

#[test]
fn two_hosts_are_told_apart_and_their_results_merged() {
    let Some(shared) = shared().filter(|_| mpirun_is_there()) else { return };
    let script = shared.join("tools/netns-mpirun");
    if !is_root() || !script.exists() {
        return eprintln!("skipped: needs root and {}", script.display());
    }
    let lab = Lab::new();
    let launch = |command: &str, id: &str| {
        let mut words = vec![script.to_str().unwrap().to_string()];
        words.extend(["-H", "2", "-s", "2", "--", "-n", "4"].map(String::from));
        let job = lab.job(1, command, id, &["--verify", "full"]).plain().words();
        words.extend(job);
        lab.raw(words).end()
    };
    let ended = launch("datagen", "g");
    if ended.err.contains("netns-mpirun: ") || ended.err.contains("Operation not permitted") {
        return eprintln!("skipped: no namespaces here\n{ended}");
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

#[test]
fn a_failure_names_the_host_of_its_rank() {
    let Some(shared) = shared().filter(|_| mpirun_is_there()) else { return };
    let script = shared.join("tools/netns-mpirun");
    if !is_root() || !script.exists() {
        return eprintln!("skipped: needs root and {}", script.display());
    }
    let lab = Lab::new();
    lab.job(2, "datagen", "g", &[]).succeed();
    let mut words = vec![script.to_str().unwrap().to_string()];
    words.extend(["-H", "2", "-s", "2", "--", "-n", "4"].map(String::from));
    let fault = "io.fault=[{op: read, kind: eio, at: 2, rank: 3}]";
    words.extend(lab.job(1, "run", "t", &["--set", fault]).plain().words());
    let ended = lab.raw(words).end();
    if ended.err.contains("netns-mpirun: ") || ended.err.contains("Operation not permitted") {
        return eprintln!("skipped: no namespaces here\n{ended}");
    }
    assert!(!ended.status.success(), "{ended}");
    ended.one_error(&["rank 3 (node2): read ", "img_", "at offset "]);
}

#[test]
fn an_interruption_reaches_both_hosts() {
    let Some(shared) = shared().filter(|_| mpirun_is_there()) else { return };
    let script = shared.join("tools/netns-mpirun");
    if !is_root() || !script.exists() {
        return eprintln!("skipped: needs root and {}", script.display());
    }
    let lab = Lab::new();
    lab.job(2, "datagen", "g", &[]).succeed();
    let mut words = vec![script.to_str().unwrap().to_string()];
    words.extend(["-H", "2", "-s", "1", "--", "-n", "2"].map(String::from));
    let long = ["--set", "train.epochs=1000", "--set", "train.computation_time=0.05"];
    words.extend(lab.job(1, "run", "t", &long).plain().words());
    let mut running = lab.raw(words).start();
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
