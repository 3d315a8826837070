//! Ranks that do not come: stopped ones end the job and are named, slow ones are waited for.

#![cfg(feature = "mpi")]

mod launch;

use launch::{Ended, Lab, Running, all_gone, mpirun_is_there};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Ranks of the jobs here.
const RANKS: usize = 3;

/// A training that is at work for long.
fn training(lab: &Lab) -> Running {
    lab.job(2, "datagen", "g", &[]).succeed();
    let long = ["--set", "train.epochs=100000", "--set", "train.computation_time=0.02"];
    let mut running =
        lab.job(RANKS, "run", "t", &[&long[..], &["--stall-timeout", "6"]].concat()).start();
    let log = lab.path("results/t/mlperf/1_output.json");
    running.wait_until("the training started", || log.exists());
    std::thread::sleep(std::time::Duration::from_millis(700));
    running
}

/// Stops one rank in the middle of a training and waits for the end.
fn stop_rank(rank: usize) -> Option<Ended> {
    if !mpirun_is_there() {
        return None;
    }
    let lab = Lab::new();
    let running = training(&lab);
    let ranks = running.ranks();
    assert_eq!(ranks.len(), RANKS);
    kill(Pid::from_raw(ranks[rank]), Signal::SIGSTOP).unwrap();
    let ended = running.end();
    all_gone(&ranks);
    assert!(!ended.status.success(), "{ended}");
    Some(ended)
}

/// Bug: the others waited for ever, without a word.
#[test]
fn a_stopped_rank_is_named_and_ends_the_job() {
    let Some(ended) = stop_rank(2) else { return };
    let line = ended.one_error(&["no sign of life for 6 s", " of epoch ", "--stall-timeout"]);
    assert!(line.starts_with("rankio: error: rank 2 ("), "{ended}");
    let notes = ended.err.lines().filter(|line| line.starts_with("rankio: note: rank 2 ("));
    let notes: Vec<_> = notes.collect();
    assert_eq!(notes.len(), 1, "{ended}");
    assert!(notes[0].contains("has not come to ") && notes[0].contains("no sign of"), "{ended}");
}

/// Nobody waits for the rank that would speak otherwise.
#[test]
fn a_stopped_rank_0_is_named_by_another() {
    let Some(ended) = stop_rank(0) else { return };
    let line = ended.one_error(&["no sign of life for 6 s", " of epoch "]);
    assert!(line.starts_with("rankio: error: rank 0 ("), "{ended}");
}

/// Reads of one rank take so long, one after the other.
fn delayed(lab: &Lab, rank: usize, seconds: f64, timeout: &str) -> Ended {
    lab.job(2, "datagen", "g", &[]).succeed();
    let delay = format!("io.delay={{latency: {seconds}, rank: {rank}}}");
    let one = ["--set", "train.epochs=1", "--set", "reader.read_threads=1"];
    let more = ["--set", "io.queue_depth=1", "--set", &delay, "--stall-timeout", timeout];
    lab.job(RANKS, "run", "t", &[&one[..], &more].concat()).end()
}

#[test]
fn a_slow_rank_is_waited_for() {
    if !mpirun_is_there() {
        return;
    }
    let lab = Lab::new();
    // A step has at least four reads. Rank 1, which looks after rank 0, waits too.
    let ended = delayed(&lab, 2, 1.6, "6");
    assert!(ended.status.success(), "{ended}");
    let slow = ended.err.lines().filter(|line| line.starts_with("rankio: note: rank 2 ("));
    let slow: Vec<_> = slow.collect();
    assert!(!slow.is_empty(), "{ended}");
    assert!(slow.iter().all(|line| line.ends_with("(it waits for its storage)")), "{ended}");
}

#[test]
fn a_store_that_hangs_is_told_by_its_rank() {
    if !mpirun_is_there() {
        return;
    }
    let lab = Lab::new();
    let ended = delayed(&lab, 1, 1000.0, "4");
    assert!(!ended.status.success(), "{ended}");
    let what = "storage has ended no operation for 4 s at step 1 of epoch 1";
    let line = ended.one_error(&[what, "--stall-timeout"]);
    assert!(line.starts_with("rankio: error: rank 1 ("), "{ended}");
}
