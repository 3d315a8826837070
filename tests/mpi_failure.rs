//! What goes wrong on one rank ends the whole job soon, with a status that is not zero and a line
//! that names rank, host, path and, where there is one, the offset.

#![cfg(feature = "mpi")]

mod launch;

use launch::{Ended, Job, Lab, PROMPT, is_root, is_there, mpirun_is_there};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::path::Path;

fn set<'a>(settings: &[&'a str]) -> Vec<&'a str> {
    settings.iter().flat_map(|text| ["--set", text]).collect()
}

/// A file that a run with one batch of one epoch reads for sure.
fn victim(lab: &Lab) -> std::path::PathBuf {
    lab.path("data/train/img_07_of_13.npz")
}

/// Trains over all 13 files on `ranks` ranks; every file is read.
fn train_all(lab: &Lab, ranks: usize, extra: &[&str]) -> Job {
    let mut settings = set(&["io.drop_last=False", "reader.batch_size=1"]);
    settings.extend(extra);
    lab.job(ranks, "run", "t", &settings)
}

fn generated() -> Option<Lab> {
    if !mpirun_is_there() {
        return None;
    }
    let lab = Lab::new();
    lab.job(2, "datagen", "g", &[]).succeed();
    Some(lab)
}

#[test]
fn a_missing_file_is_named() {
    let Some(lab) = generated() else { return };
    std::fs::remove_file(victim(&lab)).unwrap();
    for ranks in [2, 4] {
        let unseen = ["dataset.skip_listing=True", "dataset.listing_validation_interval=0"];
        let extra = [&set(&unseen)[..], &["--verify", "none"]].concat();
        let ended = train_all(&lab, ranks, &extra).fail_with(1);
        ended.error_of_a_rank(&["img_07_of_13.npz", "No such file", "rankio datagen"]);
        let ended = train_all(&lab, ranks, &["--verify", "none"]).fail_with(1);
        ended.error_of_a_rank(&["img_07_of_13.npz", "not found", "rankio datagen"]);
    }
}

#[test]
fn a_file_of_the_wrong_size_is_named() {
    let Some(lab) = generated() else { return };
    let path = victim(&lab);
    let planned = std::fs::metadata(&path).unwrap().len();
    for length in [planned - 1, planned / 2, 0, planned + 1, planned + 4096] {
        let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
        file.set_len(length).unwrap();
        let ended = train_all(&lab, 3, &[]).fail_with(1);
        let (found, planned) = (length.to_string(), planned.to_string());
        ended.error_of_a_rank(&["img_07_of_13.npz", &found, &planned, "datagen"]);
    }
}

#[test]
fn a_file_cut_off_under_a_run_is_named_with_its_offset() {
    let Some(lab) = generated() else { return };
    let short = "io.fault=[{op: read, kind: short, at: 3, rank: 1}]";
    let ended = train_all(&lab, 2, &["--set", short]).fail_with(1);
    ended.one_error(&["rank 1 (", "img_", "at offset ", "truncated"]);
}

#[test]
fn damage_is_named_while_training() {
    let Some(lab) = generated() else { return };
    let path = victim(&lab);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[200_000] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let ended = train_all(&lab, 2, &["--verify", "full"]).fail_with(1);
    ended.error_of_a_rank(&["img_07_of_13.npz", "byte 200000", "damaged"]);
    train_all(&lab, 2, &["--verify", "none"]).succeed();
}

/// An error used to wait until every other thread's request had come back.
#[test]
fn an_error_does_not_wait_for_requests_of_a_store_that_hangs() {
    let Some(lab) = generated() else { return };
    let settings = set(&[
        "io.delay.latency=60",
        "io.fault=[{op: open, kind: eio, at: 2, rank: 1}]",
        "reader.prefetch_size=16",
        "io.queue_depth=64",
    ]);
    let ended = train_all(&lab, 2, &settings).fail_with(1);
    ended.one_error(&["rank 1 (", "open ", "img_"]);
    assert!(ended.elapsed.as_secs() < 60, "the error came only when the store answered");
}

#[test]
fn an_io_error_of_one_rank_ends_all_with_one_line() {
    let Some(lab) = generated() else { return };
    for (ranks, engine) in [(2, "uring"), (3, "sync"), (4, "uring")] {
        let fault = "io.fault=[{op: read, kind: eio, at: 4, rank: 1}]";
        let extra = ["--set", fault, "--engine", engine];
        let ended = train_all(&lab, ranks, &extra).fail_with(1);
        ended.one_error(&["rank 1 (", "read ", "img_", "at offset ", "Input/output error"]);
    }
    let fault = set(&["io.fault=[{op: open, kind: eio, at: 2, rank: 1}]"]);
    train_all(&lab, 2, &fault).fail_with(1).one_error(&["rank 1 (", "open ", "img_"]);
    for op in ["write", "sync", "open"] {
        let fault = format!("io.fault=[{{op: {op}, kind: eio, at: 2, rank: 1}}]");
        let folder = lab.arg(op);
        let extra = ["--data-dir", &folder, "--set", &fault];
        let ended = lab.job(3, "datagen", op, &extra).fail_with(1);
        ended.one_error(&["rank 1 (", op, "img_", "Input/output error"]);
    }
}

#[test]
fn an_error_during_a_long_step_does_not_wait_for_its_end() {
    let Some(lab) = generated() else { return };
    let mut settings = set(&[
        "io.fault=[{op: read, kind: eio, at: 4, rank: 1}]",
        "train.computation_time=3600",
        "io.delay={latency: 0.2, bandwidth: 0, rank: 1}",
    ]);
    settings.extend(["--set", "reader.read_threads=1", "--set", "reader.prefetch_size=8"]);
    train_all(&lab, 2, &settings).fail_with(1).one_error(&["rank 1 (", "read ", "at offset "]);
}

/// Runs `job` in a mount namespace of its own, after `setup` there; `$1` is `folder`.
fn with_mounts(lab: &Lab, setup: &str, folder: &Path, job: Job) -> Option<Ended> {
    if !is_root() || !is_there("unshare") {
        eprintln!("skipped: mounts need root");
        return None;
    }
    let script = format!("{setup} || exit 99; shift; exec \"$@\"");
    let folder = folder.to_str().unwrap();
    let mut words: Vec<String> =
        ["unshare", "--mount", "sh", "-c", &script, "sh", folder].map(String::from).into();
    words.extend(job.words());
    let ended = lab.raw(words).end();
    if ended.status.code() == Some(99) {
        eprintln!("skipped: no mounts here\n{ended}");
        return None;
    }
    assert!(!ended.status.success(), "{ended}");
    assert!(ended.elapsed < PROMPT, "{ended}");
    Some(ended)
}

#[test]
fn a_full_disk_is_named() {
    if !mpirun_is_there() {
        return;
    }
    let lab = Lab::new();
    let folder = lab.path("small");
    std::fs::create_dir(&folder).unwrap();
    let data = folder.join("data");
    let job = lab.job(3, "datagen", "g", &["--data-dir", data.to_str().unwrap()]);
    let mount = "mount -t tmpfs -o size=2m tmpfs \"$1\"";
    let Some(ended) = with_mounts(&lab, mount, &folder, job) else { return };
    ended.error_of_a_rank(&["small/data/train/img_", "No space left", "free space"]);
}

#[test]
fn a_folder_that_may_not_be_written_is_named() {
    let Some(lab) = generated() else { return };
    let folder = lab.path("data");
    let mount = "mount --bind \"$1\" \"$1\" && mount -o remount,bind,ro \"$1\"";
    std::fs::remove_file(victim(&lab)).unwrap();
    let job = lab.job(2, "datagen", "again", &[]);
    let Some(ended) = with_mounts(&lab, mount, &folder, job) else { return };
    ended.error_of_a_rank(&["data", "Read-only file system"]);
    let results = lab.path("results");
    let job = lab.job(2, "run", "t", &[]);
    let Some(ended) = with_mounts(&lab, mount, &results, job) else { return };
    ended.one_error(&["results/t", "Read-only file system"]);
}

#[test]
fn missing_rights_are_named() {
    let Some(lab) = generated() else { return };
    if !is_root() || !is_there("setpriv") {
        return eprintln!("skipped: another user needs root and setpriv");
    }
    use std::os::unix::fs::PermissionsExt;
    let open = std::fs::Permissions::from_mode(0o777);
    std::fs::set_permissions(lab.path(""), open.clone()).unwrap();
    std::fs::set_permissions(lab.path("results"), open).unwrap();
    let nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    let as_nobody = |job: Job| {
        let words = nobody.map(String::from).into_iter().chain(job.words());
        lab.raw(words.collect()).end()
    };
    let version = lab.command(1, &["--version"]).plain();
    if !as_nobody(version).status.success() {
        return eprintln!("skipped: the program cannot be reached by another user");
    }
    std::fs::set_permissions(victim(&lab), std::fs::Permissions::from_mode(0o600)).unwrap();
    let ended = as_nobody(train_all(&lab, 2, &[]));
    assert!(!ended.status.success(), "{ended}");
    ended.error_of_a_rank(&["img_07_of_13.npz", "Permission denied", "owner and mode"]);
    let ended = as_nobody(lab.job(2, "datagen", "again", &["--overwrite"]));
    ended.error_of_a_rank(&["data", "Permission denied"]);
}

/// A run that would last for minutes, in its second step or later.
fn long_run(lab: &Lab, ranks: usize, id: &str) -> launch::Running {
    let settings = set(&["train.epochs=1000", "train.computation_time=0.05"]);
    let mut running = lab.job(ranks, "run", id, &settings).start();
    let log = lab.path("results").join(id).join("mlperf");
    running.wait_until("the training started", || {
        (0..ranks).all(|rank| log.join(format!("{rank}_output.json")).exists())
    });
    std::thread::sleep(std::time::Duration::from_millis(600));
    running
}

#[test]
fn a_rank_that_dies_ends_the_others() {
    let Some(lab) = generated() else { return };
    for (id, signal) in [("kill", Signal::SIGKILL), ("abort", Signal::SIGABRT)] {
        let running = long_run(&lab, 3, id);
        let ranks = running.ranks();
        assert_eq!(ranks.len(), 3);
        kill(Pid::from_raw(ranks[2]), signal).unwrap();
        let ended = running.end();
        assert!(!ended.status.success(), "{ended}");
        assert!(ended.elapsed < PROMPT, "{ended}");
        // Such a rank has no last words; the launcher names it.
        assert!(
            ended.err.contains("process rank 2") || ended.err.contains("rank 2 with"),
            "{ended}"
        );
        launch::all_gone(&ranks);
    }
}

#[test]
fn an_interrupted_run_keeps_what_it_measured() {
    let Some(lab) = generated() else { return };
    for (id, signal) in [("int", Signal::SIGINT), ("term", Signal::SIGTERM)] {
        let running = long_run(&lab, 2, id);
        let ranks = running.ranks();
        running.signal(signal);
        let ended = running.end();
        assert!(!ended.status.success(), "{ended}");
        assert!(ended.elapsed < PROMPT, "{ended}");
        assert_eq!(ended.errors(), [""; 0], "{ended}");
        is_partial(&lab, id, &ended);
        launch::all_gone(&ranks);
    }
}

fn is_partial(lab: &Lab, id: &str, ended: &Ended) {
    let result = lab.result(id);
    assert_eq!(result["run"]["partial"], true, "{ended}");
    assert_eq!(result["verdict"]["status"], "INVALID");
    let reason = result["verdict"]["reasons"][0].as_str().unwrap();
    assert!(reason.contains("interrupted"), "{reason}");
    let samples = lab.phase(id, "training")["metrics"]["samples"].as_u64().unwrap();
    assert!(samples > 0 && samples < 12_000, "{samples}");
    for entry in std::fs::read_dir(lab.path("results").join(id).join("mlperf")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|kind| kind != "json") {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let parsed: Result<serde_json::Value, _> = serde_json::from_str(&text);
        assert!(parsed.is_ok(), "{}: {parsed:?}", path.display());
    }
}

#[test]
fn an_interrupted_rank_without_a_launcher_ends_with_130() {
    if !mpirun_is_there() {
        return;
    }
    let lab = Lab::new();
    lab.job(1, "datagen", "g", &[]).plain().succeed();
    let settings = set(&["train.epochs=1000", "train.computation_time=0.05"]);
    let mut running = lab.job(1, "run", "t", &settings).plain().start();
    let log = lab.path("results/t/mlperf/0_output.json");
    running.wait_until("the training started", || log.exists());
    std::thread::sleep(std::time::Duration::from_millis(600));
    running.signal(Signal::SIGINT);
    let ended = running.end();
    assert_eq!(ended.status.code(), Some(130), "{ended}");
    is_partial(&lab, "t", &ended);
}

#[test]
fn one_interrupted_rank_stops_all_at_the_same_step() {
    let Some(lab) = generated() else { return };
    let running = long_run(&lab, 3, "one");
    kill(Pid::from_raw(running.ranks()[1]), Signal::SIGTERM).unwrap();
    let ended = running.end();
    assert_eq!(ended.status.code(), Some(130), "{ended}");
    is_partial(&lab, "one", &ended);
}

#[test]
fn an_interruption_finds_its_way_at_any_moment() {
    let Some(lab) = generated() else { return };
    let slow = "io.delay={latency: 0.3, bandwidth: 0}";
    for (tenths, extra) in [
        (0, set(&["train.computation_time=0"])),
        (1, set(&["train.computation_time=0"])),
        (3, set(&["train.computation_time=0"])),
        (8, set(&["train.computation_time=3600"])),
        (9, set(&["train.computation_time=0.01", slow])),
        (9, set(&["reader.preprocess_time=3600"])),
        (7, set(&["workflow.train=False", "workflow.generate_data=True", slow])),
    ] {
        let id = format!("t{tenths}-{}", extra.join("").len());
        let mut settings = set(&["train.epochs=100000", "dataset.num_files_train=13"]);
        settings.extend(&extra);
        let running = lab.job(3, "run", &id, &settings).start();
        std::thread::sleep(std::time::Duration::from_millis(100 * tenths + 150));
        running.signal(Signal::SIGINT);
        let ended = running.end();
        assert!(ended.elapsed < PROMPT, "{extra:?}\n{ended}");
        assert!(!ended.err.contains("internal error"), "{extra:?}\n{ended}");
    }
}

#[test]
fn a_second_signal_ends_a_rank_at_once() {
    if !mpirun_is_there() {
        return;
    }
    let lab = Lab::new();
    lab.job(1, "datagen", "g", &[]).plain().succeed();
    // One request of ten minutes is in flight: the first signal has to wait for it.
    let stuck = set(&["io.delay={latency: 600, bandwidth: 0}"]);
    let running = lab.job(1, "run", "t", &stuck).plain().start();
    std::thread::sleep(std::time::Duration::from_millis(1500));
    running.signal(Signal::SIGINT);
    std::thread::sleep(std::time::Duration::from_millis(300));
    running.signal(Signal::SIGINT);
    let ended = running.end();
    assert_eq!(ended.status.code(), Some(130), "{ended}");
    assert!(ended.elapsed < PROMPT, "{ended}");
}

#[test]
fn an_interruption_during_the_calibration_is_no_error() {
    if !mpirun_is_there() {
        return;
    }
    let lab = Lab::new();
    let mut many = set(&["dataset.num_files_train=200000", "reader.batch_size=8"]);
    many.extend(["--engine", "null"]);
    for id in ["a", "b", "c"] {
        let mut running = lab.job(1, "run", id, &many).plain().start();
        // The step log is made just before the calibration, which lasts a fifth of a second.
        let log = lab.path("results").join(id).join("mlperf/0_output.json");
        running.wait_until("the step log is there", || log.exists());
        std::thread::sleep(std::time::Duration::from_millis(50));
        running.signal(Signal::SIGINT);
        let ended = running.end();
        assert_eq!(ended.errors(), [""; 0], "{ended}");
        assert_eq!(ended.status.code(), Some(130), "{ended}");
        assert_eq!(lab.result(id)["run"]["partial"], true, "{ended}");
    }
}
