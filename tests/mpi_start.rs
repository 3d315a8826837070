//! How a job begins: the launcher that belongs to the MPI, one program with one command line on all
//! ranks, workload files that rank 0 reads; and how a batch system ends it.

#![cfg(feature = "mpi")]

mod launch;

use launch::{Ended, Lab, mpirun_is_there};
use nix::sys::signal::Signal;
use rankio::world::World;

const PROGRAM: &str = env!("CARGO_BIN_EXE_rankio");

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| word.to_string()).collect()
}

/// One rank of `first`, and one of `second`, each a program with its arguments.
fn pair(lab: &Lab, first: &[&str], second: &[&str]) -> Ended {
    let launcher = ["mpirun", "--bind-to", "none", "-n", "1"];
    let all = [&launcher[..], first, &[":", "-n", "1"], second].concat();
    lab.raw(words(&all)).end()
}

/// Bug: each process of a launcher of another MPI was a run of one rank, and all were VALID.
#[test]
fn processes_that_a_foreign_launcher_started_are_refused_with_one_line() {
    if !mpirun_is_there() {
        return;
    }
    let lab = Lab::new();
    let null = ["run", &lab.arg("tiny.yaml"), "--data-dir", "null://"];
    let start = |size: &str, rank: &str| {
        let environment = [("PMI_SIZE", size.to_string()), ("PMI_RANK", rank.to_string())];
        lab.command(1, &null).plain().with(&environment)
    };
    let first = start("2", "0").fail_with(2);
    first.one_error(&["mpiexec", "started 2 processes", "Open MPI", "finds no other rank"]);
    assert_eq!(start("2", "1").fail_with(2).errors(), [""; 0]);
    start("1", "0").succeed();
    // The shell of a batch job, in which nothing was launched, and mpirun there.
    let batch = [("SLURM_NTASKS", "2".to_string()), ("SLURM_PROCID", "0".to_string())];
    lab.command(1, &null).plain().with(&batch).succeed();
    lab.command(2, &null).with(&batch).succeed();
    let runs = std::fs::read_dir(lab.path("results")).unwrap().count();
    assert_eq!(runs, 3, "only those that were not refused");
}

/// Bug: one host with another build ran unnoticed.
#[test]
fn another_build_on_one_host_is_refused() {
    if !mpirun_is_there() {
        return;
    }
    let lab = Lab::new();
    lab.job(1, "run", "t", &["--data-dir", "null://"]).succeed();
    let commit = lab.result("t")["tool"]["commit"].as_str().unwrap().to_string();
    if commit.len() < 12 {
        return eprintln!("skipped: this build knows no commit");
    }
    // The same program with another commit in it.
    let mut program = std::fs::read(PROGRAM).unwrap();
    let places: Vec<usize> = program
        .windows(commit.len())
        .enumerate()
        .filter(|(_, part)| *part == commit.as_bytes())
        .map(|(place, _)| place)
        .collect();
    assert!(!places.is_empty());
    for place in places {
        program[place..place + 12].copy_from_slice(b"other0commit");
    }
    let other = lab.arg("other");
    std::fs::write(&other, program).unwrap();
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(&other, std::fs::Permissions::from_mode(0o755)).unwrap();
    let run = ["run", "tiny.yaml", "--data-dir", "null://", "--run-id", "u"];
    let ended = pair(&lab, &[&[PROGRAM], &run[..]].concat(), &[&[&other[..]], &run[..]].concat());
    assert_eq!(ended.status.code(), Some(2), "{ended}");
    ended.one_error(&["rank 1 (", &commit, "other0commit", "rank 0 (", "install one build"]);
    assert!(!lab.path("results/u").exists());
}

/// Bug: `--repeat 2` on one host only ended in a hang.
#[test]
fn an_option_that_one_rank_only_has_is_refused() {
    if !mpirun_is_there() {
        return;
    }
    let lab = Lab::new();
    let run = [PROGRAM, "run", "tiny.yaml", "--data-dir", "null://"];
    let repeat = [&run[..], &["--repeat", "2"]].concat();
    let (run, repeat) = (&run[..], &repeat[..]);
    for (first, second, what) in
        [(run, repeat, "with `--repeat 2`"), (repeat, run, "no `--repeat 2`")]
    {
        let ended = pair(&lab, first, second);
        assert_eq!(ended.status.code(), Some(2), "{ended}");
        ended.one_error(&["rank 1 (", what, "rank 0 (", "same command line"]);
    }
    // Where results go is a rank's own affair.
    let own = [run, &["--results-dir", "other", "--quiet"]].concat();
    let ended = pair(&lab, run, &own);
    assert!(ended.status.success(), "{ended}");
}

/// Bug: each rank opened the workload file by itself: a burst of opens on one file of a shared file
/// system, and a file that only some of the hosts had was an error.
#[test]
fn rank_0_alone_reads_the_workload_files() {
    if !mpirun_is_there() {
        return;
    }
    let lab = Lab::new();
    std::fs::create_dir(lab.path("elsewhere")).unwrap();
    let results = lab.arg("results");
    let run = [PROGRAM, "run", "tiny.yaml", "--data-dir", "null://", "--results-dir", &results];
    let elsewhere = lab.arg("elsewhere");
    let ended = pair(&lab, &run, &[&["-wdir", &elsewhere[..]], &run[..]].concat());
    assert!(ended.status.success(), "{ended}");
    // What is wrong in it is told once all the same, with its line.
    let wrong = launch::TINY.replace("batch_size", "batchsize");
    std::fs::write(lab.path("tiny.yaml"), wrong).unwrap();
    let ended = pair(&lab, &run, &[&["-wdir", &elsewhere[..]], &run[..]].concat());
    assert_eq!(ended.status.code(), Some(2), "{ended}");
    ended.one_error(&["tiny.yaml:11", "reader.batchsize"]);
}

/// Bug: `dataset.data_folder: null://` became a folder named `null:`.
#[test]
fn the_null_store_can_be_named_in_the_file() {
    let lab = Lab::new();
    let text = launch::TINY.replace("data_folder: data", "data_folder: \"null://\"");
    std::fs::write(lab.path("tiny.yaml"), text).unwrap();
    let plan = lab.command(1, &["plan", "tiny.yaml"]).plain().succeed();
    assert!(!plan.out.contains("null:/t"), "{plan}");
    let run = ["run", "tiny.yaml", "--run-id", "t", "--results-dir", "results"];
    lab.command(1, &run).plain().succeed();
    assert_eq!(lab.phase("t", "training")["storage"]["engine"], "null");
    assert!(!lab.path("null:").exists());
}

/// Bug: Slurm's two SIGTERM within 20 ms at the time limit ended the ranks before they had written
/// what was measured.
#[test]
fn a_repeated_sigterm_does_not_lose_what_was_measured() {
    if !mpirun_is_there() {
        return;
    }
    let lab = Lab::new();
    lab.job(1, "datagen", "g", &[]).succeed();
    let long = ["--set", "train.epochs=1000", "--set", "train.computation_time=0.05"];
    let mut running = lab.job(1, "run", "t", &long).plain().start();
    let log = lab.path("results/t/mlperf/0_output.json");
    running.wait_until("the training started", || log.exists());
    std::thread::sleep(std::time::Duration::from_millis(600));
    for signal in [Signal::SIGTERM, Signal::SIGCONT, Signal::SIGTERM] {
        running.signal(signal);
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let ended = running.end();
    assert_eq!(ended.status.code(), Some(130), "{ended}");
    assert_eq!(lab.result("t")["run"]["partial"], true);
}

/// Bug: a job that Slurm started again ended with "already holds a result" and no word of why.
#[test]
fn a_requeued_job_is_told_how_to_get_a_name_of_its_own() {
    let lab = Lab::new();
    let run = ["run", "tiny.yaml", "--data-dir", "null://", "--run-id", "t"];
    lab.command(1, &run).plain().succeed();
    let again = || lab.command(1, &run).plain();
    let requeued = again().with(&[("SLURM_RESTART_COUNT", "1".to_string())]).fail_with(1);
    requeued.one_error(&["already holds a result", "--run-id", "requeued", "SLURM_RESTART_COUNT"]);
    assert!(!again().fail_with(1).err.contains("requeued"));
}

/// Three rows that do not fit into one piece, then small ones.
#[test]
#[ignore = "is a rank of the test below"]
fn rank_with_large_rows() {
    let world = World::start().unwrap();
    let row = |rank: u64, length: usize| vec![rank as u8 + 1; length + rank as usize];
    for length in [40 << 20, 0, 5] {
        let own = row(world.rank(), length);
        let mut next = 0;
        world.gather_each(&own, &mut |rank, bytes| {
            assert_eq!((rank, bytes == row(rank, length)), (next, true), "{length}");
            next += 1;
        });
        assert_eq!(next, if world.is_root() { world.size() } else { 0 });
    }
    let hosts = world.gather(world.host().as_bytes());
    assert_eq!(hosts.map(|rows| rows.len()), world.is_root().then_some(3));
}

#[test]
fn rows_of_ranks_come_to_rank_0_in_pieces() {
    if !mpirun_is_there() {
        return;
    }
    let lab = Lab::new();
    let program = std::env::current_exe().unwrap().to_str().unwrap().to_string();
    let rank = [&program, "--ignored", "--exact", "rank_with_large_rows", "--nocapture"];
    let ended = lab.program(3, words(&rank)).end();
    assert!(ended.status.success(), "{ended}");
    assert_eq!(ended.out.matches("1 passed").count(), 3, "{ended}");
}
