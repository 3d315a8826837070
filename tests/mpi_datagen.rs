//! Generation under mpirun: the bytes do not depend on the rank count, damage is found, an
//! interrupted generation goes on, and nobody else's folder is touched.

#![cfg(feature = "mpi")]

mod launch;

use launch::{Lab, fingerprint, mpirun_is_there};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::path::{Path, PathBuf};

const MARKER: &str = ".rankio-dataset.json";
const LOCK: &str = ".rankio-dataset.lock";

/// Data files, without the marker.
fn data_files(root: &Path) -> Vec<PathBuf> {
    fingerprint(root).into_keys().filter(|name| name != MARKER).map(|n| root.join(n)).collect()
}

fn shapes(format: &str) -> Vec<String> {
    let mut settings = vec![format!("dataset.format={format}")];
    settings.extend(
        ["num_files_train=11", "num_files_eval=5", "num_subfolders_train=3"]
            .map(|text| format!("dataset.{text}")),
    );
    if !matches!(format, "jpeg" | "png") {
        settings.push("dataset.num_samples_per_file=2".into());
    }
    if matches!(format, "jpeg" | "png") {
        settings.push("dataset.record_length_bytes=90000".into());
    }
    settings
}

fn sets(settings: &[String]) -> Vec<&str> {
    settings.iter().flat_map(|text| ["--set", text.as_str()]).collect()
}

#[test]
fn every_rank_count_writes_the_same_bytes() {
    if !mpirun_is_there() {
        return;
    }
    for format in ["npz", "npy", "tfrecord", "jpeg", "png"] {
        let lab = Lab::new();
        let settings = shapes(format);
        let mut first = None;
        for ranks in [1, 2, 3, 5] {
            let folder = lab.arg(&format!("data-{ranks}"));
            let mut extra = vec!["--data-dir", &folder, "--verify", "full"];
            extra.extend(sets(&settings));
            let id = format!("g{ranks}");
            lab.job(ranks, "datagen", &id, &extra).succeed();
            let found = fingerprint(Path::new(&folder));
            let sidecars = if format == "tfrecord" { 16 } else { 0 };
            assert_eq!(found.len(), 17 + sidecars, "{found:#?}");
            assert!(found.keys().all(|name| !name.ends_with(".partial")), "{found:#?}");
            assert!(found.keys().any(|name| name.starts_with("train/2/")), "{found:#?}");
            let verified = lab.phase(&id, "verify");
            let generated = lab.phase(&id, "datagen");
            assert_eq!(verified["metrics"]["files_checked"], 16);
            let (checked, claimed) = (&verified["verify"]["bytes_checked"], &verified["bytes"]);
            assert_eq!(checked, &claimed["requested"], "every byte was compared");
            assert!(generated["metrics"]["files_written"] == 16, "{generated:#}");
            let first = first.get_or_insert_with(|| found.clone());
            assert_eq!(*first, found, "{format}: {ranks} ranks wrote other bytes");
        }
    }
}

#[test]
fn an_evaluation_folder_is_there_even_if_empty() {
    if !mpirun_is_there() {
        return;
    }
    let lab = Lab::new();
    lab.job(2, "datagen", "g", &[]).succeed();
    assert!(lab.path("data/valid").is_dir(), "the reference lists it");
    lab.command(1, &["clean", &lab.arg("data")]).succeed();
    assert!(!lab.path("data/valid").exists());
}

/// Flips one bit of a file and expects `--verify full` to name the file and the place; on one rank
/// by a plain start, which is quicker to fail than mpirun.
fn flip_is_found(lab: &Lab, ranks: usize, path: &Path, at: usize, settings: &[String]) {
    let sound = std::fs::read(path).unwrap();
    let mut bytes = sound.clone();
    bytes[at] ^= 0x10;
    std::fs::write(path, &bytes).unwrap();
    let mut extra = vec!["--verify", "full"];
    extra.extend(sets(settings));
    let ended = match ranks {
        1 => lab.job(1, "datagen", "flip", &extra).plain().fail_with(1),
        _ => lab.job(ranks, "datagen", "flip", &extra).fail_with(1),
    };
    std::fs::write(path, &sound).unwrap();
    let name = path.file_name().unwrap().to_str().unwrap();
    let line = match ranks {
        1 => ended.one_error(&["verify", name, "byte "]),
        _ => ended.error_of_a_rank(&["verify", name, "byte "]),
    };
    let named: usize = line
        .split(": byte ")
        .nth(1)
        .and_then(|rest| rest.split(|c: char| !c.is_ascii_digit()).next())
        .and_then(|digits| digits.parse().ok())
        .unwrap_or_else(|| panic!("no place in {line}"));
    // A wrong checksum is a field of four bytes; everything else is named to the byte.
    assert!(named <= at && at < named + 4, "flipped {at}: {line}");
}

#[test]
fn one_flipped_byte_is_found_wherever_it_is() {
    if !mpirun_is_there() {
        return;
    }
    for format in ["npz", "npy", "tfrecord", "jpeg", "png"] {
        let lab = Lab::new();
        let settings = shapes(format);
        lab.job(3, "datagen", "g", &sets(&settings)).succeed();
        let data = lab.path("data");
        let train = data_files(&data).into_iter().find(|path| path.starts_with(data.join("train")));
        let path = train.unwrap();
        let length = std::fs::metadata(&path).unwrap().len() as usize;
        // Magic, header, checksum fields, payload near and far, the last byte.
        for at in [0, 9, 13, 15, 40, 128, length / 2, length / 2 + 131_072, length - 1] {
            if at < length {
                flip_is_found(&lab, 1, &path, at, &settings);
            }
        }
        flip_is_found(&lab, 3, &path, length / 3, &settings);
    }
}

#[test]
fn a_file_of_another_length_is_found() {
    if !mpirun_is_there() {
        return;
    }
    let lab = Lab::new();
    lab.job(2, "datagen", "g", &[]).succeed();
    let path = lab.path("data/train/img_05_of_13.npz");
    let length = std::fs::metadata(&path).unwrap().len();
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.set_len(length + 1).unwrap();
    // Not the planned size, so it is not complete: made again.
    lab.job(2, "datagen", "again", &["--verify", "full"]).succeed();
    assert_eq!(lab.phase("again", "datagen")["metrics"]["files_written"], 1);
    assert_eq!(lab.phase("again", "datagen")["metrics"]["files_kept"], 12);
    assert_eq!(std::fs::metadata(&path).unwrap().len(), length);
}

/// Settings of a generation that lasts long enough to be hit.
const LONG: &[&str] =
    &["--set", "dataset.num_files_train=40", "--set", "dataset.record_length_bytes=2MB"];
const SLOWLY: &[&str] = &["--set", "io.delay={latency: 0.05, bandwidth: 0}"];

/// Starts a long generation and waits until some files are there.
fn start_long(lab: &Lab, ranks: usize) -> launch::Running {
    let mut running = lab.job(ranks, "datagen", "killed", &[LONG, SLOWLY].concat()).start();
    let train = lab.path("data/train");
    let count = || std::fs::read_dir(&train).map_or(0, |entries| entries.count());
    running.wait_until("five files are there", || count() > 5);
    running
}

/// Training files that are not finished; the generation may be at work.
fn partials(root: &Path) -> usize {
    let entries = std::fs::read_dir(root.join("train")).into_iter().flatten().flatten();
    entries.filter(|entry| entry.path().extension().is_some_and(|end| end == "partial")).count()
}

fn finish_and_compare(lab: &Lab, ranks: usize) {
    lab.job(ranks, "datagen", "resumed", &[LONG, &["--verify", "full"]].concat()).succeed();
    let metrics = &lab.phase("resumed", "datagen")["metrics"];
    let (written, kept) = (metrics["files_written"].as_u64(), metrics["files_kept"].as_u64());
    assert_eq!(written.unwrap() + kept.unwrap(), 40, "{metrics:#}");
    assert!(kept.unwrap() > 0 && written.unwrap() > 0, "{metrics:#}");
    assert_eq!(partials(&lab.path("data")), 0);
    let whole = Lab::new();
    whole.job(1, "datagen", "g", LONG).succeed();
    assert_eq!(fingerprint(&lab.path("data")), fingerprint(&whole.path("data")));
}

#[test]
fn a_killed_generation_is_finished_by_another_number_of_ranks() {
    if !mpirun_is_there() {
        return;
    }
    let lab = Lab::new();
    let running = start_long(&lab, 3);
    let ranks = running.ranks();
    assert_eq!(ranks.len(), 3);
    kill(Pid::from_raw(ranks[1]), Signal::SIGKILL).unwrap();
    let ended = running.end();
    assert!(!ended.status.success(), "{ended}");
    let ended = lab.job(2, "run", "t", LONG).fail_with(1);
    ended.error_of_a_rank(&["incomplete", "rankio datagen"]);
    finish_and_compare(&lab, 2);
}

#[test]
fn a_terminated_generation_leaves_no_half_files_and_is_finished_later() {
    if !mpirun_is_there() {
        return;
    }
    let lab = Lab::new();
    let running = start_long(&lab, 2);
    running.signal(Signal::SIGTERM);
    let ended = running.end();
    assert!(!ended.status.success(), "{ended}");
    assert_eq!(ended.errors(), [""; 0], "{ended}");
    let left = fingerprint(&lab.path("data"));
    assert!(left.keys().all(|name| !name.ends_with(".partial")), "{left:#?}");
    let result = lab.result("killed");
    assert_eq!(result["run"]["partial"], true);
    assert_eq!(result["verdict"]["status"], "INVALID");
    finish_and_compare(&lab, 3);
}

#[test]
fn a_folder_of_another_configuration_is_kept_until_overwrite() {
    if !mpirun_is_there() {
        return;
    }
    let lab = Lab::new();
    lab.job(2, "datagen", "g", &[]).succeed();
    let before = fingerprint(&lab.path("data"));
    let other = ["--set", "dataset.num_files_train=7", "--set", "dataset.format=npy"];
    for command in ["datagen", "run"] {
        let ended = lab.job(2, command, "refused", &other).fail_with(1);
        ended.one_error(&["data", "another dataset", "dataset.format", "npz", "--overwrite"]);
        assert_eq!(before, fingerprint(&lab.path("data")));
    }
    lab.job(2, "datagen", "o", &[&other[..], &["--overwrite"]].concat()).succeed();
    let after = fingerprint(&lab.path("data"));
    assert_eq!(after.len(), 8, "{after:#?}");
    assert!(after.keys().all(|name| !name.ends_with(".npz")), "{after:#?}");
}

#[test]
fn somebody_elses_folder_is_refused_untouched() {
    if !mpirun_is_there() {
        return;
    }
    let lab = Lab::new();
    std::fs::create_dir_all(lab.path("data/train")).unwrap();
    std::fs::write(lab.path("data/train/thesis.txt"), "years of work").unwrap();
    let before = fingerprint(&lab.path("data"));
    for extra in [&[][..], &["--overwrite"]] {
        let ended = lab.job(2, "datagen", "g", extra).fail_with(1);
        ended.one_error(&["data", "train", "did not make"]);
        assert_eq!(before, fingerprint(&lab.path("data")));
    }
    let ended = lab.command(1, &["clean", &lab.arg("data")]).fail_with(1);
    ended.one_error(&["nothing was removed"]);
    assert_eq!(before, fingerprint(&lab.path("data")));
}

#[test]
fn folders_of_the_system_are_refused() {
    if !mpirun_is_there() {
        return;
    }
    let lab = Lab::new();
    for folder in ["/", "/etc/rankio-test", "/usr/share"] {
        let ended = lab.job(2, "datagen", "g", &["--data-dir", folder]).fail_with(1);
        ended.one_error(
            &[folder, "--data-dir"].map(|p| if p == "--data-dir" { "folder" } else { p }),
        );
        assert!(!Path::new("/etc/rankio-test").exists());
        lab.command(1, &["clean", folder]).fail_with(1).one_error(&[folder]);
    }
}

#[test]
fn clean_removes_only_what_is_ours() {
    if !mpirun_is_there() {
        return;
    }
    let lab = Lab::new();
    let settings = shapes("tfrecord");
    lab.job(2, "datagen", "g", &sets(&settings)).succeed();
    let planted = lab.path("data/train/0/notes.txt");
    std::fs::write(&planted, "mine").unwrap();
    let before = fingerprint(&lab.path("data"));
    let ended = lab.command(2, &["clean", &lab.arg("data"), "--dry-run"]).succeed();
    assert_eq!(ended.out.matches("would remove 32 files").count(), 1, "{ended}");
    assert_eq!(before, fingerprint(&lab.path("data")));
    lab.command(2, &["clean", &lab.arg("data")]).succeed();
    let after = fingerprint(&lab.path("data"));
    assert_eq!(after.keys().collect::<Vec<_>>(), ["train/0/notes.txt"]);
    let folders: Vec<_> = std::fs::read_dir(lab.path("data")).unwrap().flatten().collect();
    assert_eq!(folders.len(), 1, "emptied folders are gone: {folders:?}");
}

#[test]
fn more_ranks_than_files_generate() {
    if !mpirun_is_there() {
        return;
    }
    let lab = Lab::new();
    let few = ["--set", "dataset.num_files_train=3", "--verify", "full"];
    lab.job(5, "datagen", "g", &few).succeed();
    assert_eq!(lab.phase("g", "datagen")["metrics"]["files_written"], 3);
    assert_eq!(lab.phase("g", "verify")["metrics"]["files_checked"], 3);
    // What was generated trains on fewer ranks.
    lab.job(1, "run", "t", &few).succeed();
}

#[test]
fn an_interrupted_read_back_is_called_partial() {
    if !mpirun_is_there() {
        return;
    }
    let lab = Lab::new();
    lab.job(2, "datagen", "g", &[]).succeed();
    let slowly = ["--verify", "full", "--set", "io.delay={latency: 0.2, bandwidth: 0}"];
    let slowly = [&slowly[..], &["--set", "io.queue_depth=1"]].concat();
    let running = lab.job(2, "datagen", "t", &slowly).start();
    std::thread::sleep(std::time::Duration::from_millis(700));
    kill(Pid::from_raw(running.ranks()[1]), Signal::SIGTERM).unwrap();
    let ended = running.end();
    assert_eq!(ended.status.code(), Some(130), "{ended}");
    assert_eq!(lab.result("t")["run"]["partial"], true, "{ended}");
    assert_eq!(lab.result("t")["verdict"]["status"], "INVALID");
    let checked = lab.phase("t", "verify")["metrics"]["files_checked"].as_u64().unwrap();
    assert!(checked < 13, "{checked}");
}

#[test]
fn a_second_generation_in_one_folder_is_refused_and_harms_nothing() {
    if !mpirun_is_there() {
        return;
    }
    let lab = Lab::new();
    let slowly = ["--set", "io.delay={latency: 0.2, bandwidth: 0}"];
    let mut first = lab.job(2, "datagen", "first", &[LONG, &slowly].concat()).start();
    first.wait_until("files are being written", || partials(&lab.path("data")) > 0);
    let process = first.ranks()[0].to_string();
    let parts = ["data: datagen first on ", &process, "since 20", "--data-dir"];
    lab.job(2, "datagen", "second", LONG).fail_with(1).one_error(&parts);
    let other = ["--overwrite", "--set", "dataset.num_files_train=3"];
    lab.job(1, "datagen", "third", &other).plain().fail_with(1).one_error(&parts);
    lab.command(1, &["clean", &lab.arg("data")]).plain().fail_with(1).one_error(&parts);
    let ended = first.end();
    assert!(ended.status.success(), "{ended}");
    assert!(!lab.path("data").join(LOCK).exists(), "the claim is given back");
    lab.job(2, "datagen", "again", &[LONG, &["--verify", "full"]].concat()).succeed();
    assert_eq!(lab.phase("again", "datagen")["metrics"]["files_kept"], 40);
    assert_eq!(lab.phase("again", "verify")["metrics"]["files_checked"], 40);
}

#[test]
fn the_claim_of_a_killed_generation_is_taken_over() {
    if !mpirun_is_there() {
        return;
    }
    let lab = Lab::new();
    let mut running = start_long(&lab, 2);
    running.wait_until("files are being written", || partials(&lab.path("data")) > 0);
    let ranks = running.ranks();
    for process in std::iter::once(running.launcher()).chain(ranks.iter().copied()) {
        kill(Pid::from_raw(process), Signal::SIGKILL).unwrap();
    }
    running.end();
    launch::all_gone(&ranks);
    assert!(lab.path("data").join(LOCK).exists() && partials(&lab.path("data")) > 0);
    finish_and_compare(&lab, 2);
    assert!(!lab.path("data").join(LOCK).exists());
}

#[test]
fn clean_removes_what_a_killed_generation_left() {
    if !mpirun_is_there() {
        return;
    }
    let lab = Lab::new();
    let arguments = [LONG, SLOWLY].concat();
    let mut running = lab.job(1, "datagen", "killed", &arguments).plain().start();
    running.wait_until("files are being written", || partials(&lab.path("data")) > 0);
    running.signal(Signal::SIGKILL);
    running.end();
    assert!(partials(&lab.path("data")) > 0);
    lab.command(1, &["clean", &lab.arg("data")]).plain().succeed();
    assert_eq!(std::fs::read_dir(lab.path("data")).unwrap().count(), 0);
}

#[test]
fn an_abandoned_file_is_not_counted_and_has_no_index() {
    let lab = Lab::new();
    let shape = ["--set", "dataset.format=tfrecord", "--set", "dataset.num_samples_per_file=2"];
    let arguments = [LONG, SLOWLY, &shape].concat();
    let mut running = lab.job(1, "datagen", "stopped", &arguments).plain().start();
    let finished = || {
        let names = std::fs::read_dir(lab.path("data/train")).into_iter().flatten().flatten();
        let names = names.map(|entry| entry.file_name().into_string().unwrap());
        names.filter(|name| name.ends_with(".tfrecord")).collect::<Vec<_>>()
    };
    // While an index is written, no file would be abandoned.
    running.wait_until("some files are there and others are being written", || {
        finished().len() > 3 && partials(&lab.path("data")) > 0
    });
    running.signal(Signal::SIGTERM);
    let ended = running.end();
    assert_eq!(ended.status.code(), Some(130), "{ended}");
    let mut indexes: Vec<_> = std::fs::read_dir(lab.path("data/index/train"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let mut wanted: Vec<_> = finished().iter().map(|name| format!("{name}.idx")).collect();
    indexes.sort();
    wanted.sort();
    assert_eq!(indexes, wanted);
    let phase = lab.phase("stopped", "datagen");
    assert_eq!(phase["metrics"]["files_written"], wanted.len(), "{phase:#}");
    let nominal = wanted.len() * 2 * 2_000_000;
    assert_eq!(phase["bytes"]["nominal"], nominal, "{phase:#}");
    assert!(!lab.path("data").join(LOCK).exists());
}

#[test]
fn an_error_is_told_while_other_threads_hang_in_the_store() {
    let lab = Lab::new();
    let settings = [
        "io.delay={latency: 100000, bandwidth: 0}",
        "io.fault=[{op: open, kind: eio, name_contains: img_02}]",
        "reader.write_threads=4",
        "reader.read_threads=4",
    ];
    let hanging: Vec<&str> = settings.iter().flat_map(|text| ["--set", text]).collect();
    let ended = lab.job(1, "datagen", "w", &hanging).plain().fail_with(1);
    ended.one_error(&["open ", "img_02_of_13.npz", "Input/output error"]);
    assert!(!lab.path("data").join(LOCK).exists(), "the claim is given back");
    lab.job(1, "datagen", "g", &[]).plain().succeed();
    let reading = [&hanging[..], &["--verify", "full"]].concat();
    let ended = lab.job(1, "datagen", "r", &reading).plain().fail_with(1);
    ended.one_error(&["open ", "img_02_of_13.npz", "Input/output error"]);
}

#[test]
fn nominal_bytes_are_the_configured_size_of_each_sample() {
    if !mpirun_is_there() {
        return;
    }
    let lab = Lab::new();
    lab.job(3, "datagen", "g", &["--verify", "full"]).succeed();
    for kind in ["datagen", "verify"] {
        let bytes = &lab.phase("g", kind)["bytes"];
        assert_eq!(bytes["nominal"], 13 * 300_000, "{kind}: {bytes}");
        assert_ne!(bytes["requested"], bytes["nominal"], "sizes vary, and headers are read");
    }
    let table = std::fs::read_to_string(lab.path("results/g/ranks.csv")).unwrap();
    let mut lines = table.lines().map(|line| line.split(',').collect::<Vec<_>>());
    let header = lines.next().unwrap();
    let column = |name: &str| header.iter().position(|title| *title == name).unwrap();
    let [phase, rate, window] = ["phase", "samples_per_s", "window_s"].map(column);
    let number = |text: &str| text.parse::<f64>().unwrap();
    for kind in ["datagen", "verify"] {
        let rows = lines.clone().filter(|row| row[phase] == kind);
        let sum: f64 = rows.map(|row| number(row[rate]) * number(row[window])).sum();
        assert_eq!(sum.round(), 13.0, "{kind}: {table}");
    }
}

#[test]
fn a_folder_with_a_hidden_file_is_refused_by_its_name() {
    let lab = Lab::new();
    std::fs::create_dir_all(lab.path("data/lost+found")).unwrap();
    std::fs::write(lab.path("data/.nfs0001"), "").unwrap();
    let ended = lab.job(1, "datagen", "g", &[]).plain().fail_with(1);
    ended.one_error(&["data: holds .nfs0001, which rankio did not make"]);
    assert!(!lab.path("data").join(LOCK).exists());
    std::fs::remove_file(lab.path("data/.nfs0001")).unwrap();
    lab.job(1, "datagen", "g2", &[]).plain().succeed();
}
