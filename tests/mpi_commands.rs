//! Commands that need no data, alone and under mpirun: printed once, refused with one line.

#![cfg(feature = "mpi")]

mod launch;

use launch::{Lab, mpirun_is_there};

#[test]
fn plan_needs_neither_mpirun_nor_data() {
    let lab = Lab::new();
    let shape = ["--ranks", "4", "--hosts", "2", "--memory-per-host", "256GiB"];
    let workload = lab.arg("tiny.yaml");
    let words = [&["plan", &workload], &shape[..]].concat();
    let ended = lab.command(1, &words).plain().succeed();
    assert!(ended.out.contains("13"), "{ended}");
    let ended = lab.command(1, &[&words[..], &["--json"]].concat()).plain().succeed();
    let plan: serde_json::Value = serde_json::from_str(&ended.out).unwrap();
    for key in ["dataset", "training", "memory", "hash"] {
        assert!(!plan[key].is_null(), "{plan:#}");
    }
    assert!(!lab.path("data").exists() && !lab.path("results").exists());
}

#[test]
fn a_host_without_memory_is_refused() {
    let lab = Lab::new();
    let words = ["plan", &lab.arg("tiny.yaml"), "--memory-per-host", "0"];
    let ended = lab.command(1, &words).plain().fail_with(2);
    ended.one_error(&["--memory-per-host 0", "256GiB"]);
}

/// It ended with 0, as if the plan had been printed.
#[test]
fn output_to_a_full_device_is_a_failure() {
    let lab = Lab::new();
    let workload = lab.arg("tiny.yaml");
    for command in [vec!["plan", &workload], vec!["completions", "bash"], vec!["--help"]] {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let mut program = std::process::Command::new(env!("CARGO_BIN_EXE_rankio"));
        let ended = program.args(&command).stdout(full).output().unwrap();
        let said = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(1), "{command:?}: {said}");
        assert_eq!(said.lines().count(), 1, "{command:?}: {said}");
        assert!(said.contains("standard output cannot be written"), "{command:?}: {said}");
    }
}

/// It left an empty folder, which looked like a run that was still to be written.
#[test]
fn a_run_that_fails_before_it_measured_leaves_no_folder() {
    if !mpirun_is_there() {
        return;
    }
    let lab = Lab::new();
    for ranks in [1, 3] {
        lab.job(ranks, "run", "t", &[]).fail_with(1).one_error(&["not found"]);
        assert!(!lab.path("results/t").exists(), "{ranks} ranks");
    }
    // A folder that was there before, or that holds something, is left as it is.
    std::fs::create_dir_all(lab.path("results/mine")).unwrap();
    lab.job(1, "run", "mine", &[]).fail_with(1);
    assert!(lab.path("results/mine").is_dir());
}

#[test]
fn what_is_printed_is_printed_once() {
    if !mpirun_is_there() {
        return;
    }
    let lab = Lab::new();
    let workload = lab.arg("tiny.yaml");
    let plan = ["plan", &workload, "--json"];
    let alone = lab.command(1, &plan).plain().succeed().out;
    assert_eq!(lab.command(3, &plan).succeed().out, alone);
    for words in [&["--help"][..], &["--version"], &["completions", "bash"], &["run", "--help"]] {
        let alone = lab.command(1, words).plain().succeed().out;
        let together = lab.command(3, words).succeed().out;
        assert!(!alone.is_empty() && together == alone, "{words:?} differ in output");
    }
}

#[test]
fn wrong_input_ends_with_2_and_one_line_of_one_rank() {
    if !mpirun_is_there() {
        return;
    }
    let lab = Lab::new();
    let wrong = launch::TINY.replace("batch_size", "batchsize");
    std::fs::write(lab.path("wrong.yaml"), wrong).unwrap();
    let file = lab.arg("wrong.yaml");
    for command in ["plan", "run", "datagen"] {
        let ended = lab.command(3, &[command, &file]).fail_with(2);
        ended.one_error(&["wrong.yaml", "reader.batchsize", "batch_size"]);
    }
    let good = lab.arg("tiny.yaml");
    for (words, parts) in [
        (vec!["run", &good, "--set", "train.epochs=many"], ["train.epochs", "many"]),
        (vec!["run", &good, "--set", "train.epoch=2"], ["train.epoch", "train.epochs"]),
        (vec!["datagen", "missing.yaml"], ["missing.yaml", "No such file"]),
        (vec!["run", &good, "--set", "workflow.evaluation=True"], ["evaluation", "num_files_eval"]),
    ] {
        let ended = lab.command(2, &words).fail_with(2);
        ended.one_error(&parts);
    }
    for words in [&["run"][..], &["frobnicate"], &["run", &good, "--direct", "--buffered"]] {
        let ended = lab.command(2, words).fail_with(2);
        assert_eq!(ended.err.matches("error: ").count(), 1, "{ended}");
    }
    assert!(!lab.path("results").exists(), "nothing was made");
}

/// Such lines were clap's paragraphs, whose first words were `error:` alone.
#[test]
fn a_wrong_command_line_ends_with_2_and_one_line_that_says_what_was_meant() {
    let lab = Lab::new();
    let cases: [(&[&str], &[&str]); 8] = [
        (&["rum", "x"], &["'rum'", "'run'", "see rankio --help"]),
        (&["run"], &["required", "<WORKLOAD.yaml>", "see rankio run --help"]),
        (&["run", "a.yaml", "--foo", "3"], &["'--foo'", "see rankio run --help"]),
        (&["run", "a.yaml", "--enginee", "null"], &["'--enginee'", "'--engine'"]),
        (&["run", "a.yaml", "--verify", "bad"], &["'bad'", "--verify", "[possible values: none"]),
        (&["plan", "a.yaml", "--ranks", "0"], &["'0'", "--ranks", "not in 1.."]),
        (&["run", "a.yaml", "--set"], &["--set <KEY=VALUE>", "value is required"]),
        (&["completions"], &["<SHELL>", "see rankio completions --help"]),
    ];
    for (words, parts) in cases {
        let ended = lab.command(1, words).plain().fail_with(2);
        ended.one_error(parts);
        assert_eq!(ended.err.lines().count(), 1, "{ended}");
    }
    if mpirun_is_there() {
        let ended = lab.command(3, &["run", "--foo"]).fail_with(2);
        ended.one_error(&["'--foo'"]);
    }
}

#[test]
fn completions_know_the_commands_and_the_manual_its_name() {
    let lab = Lab::new();
    for shell in ["bash", "zsh", "fish", "man"] {
        let ended = lab.command(1, &["completions", shell]).plain().succeed();
        assert!(ended.out.contains("rankio") && ended.out.contains("datagen"), "{shell}");
    }
}

#[test]
fn doctor_looks_at_a_folder_and_leaves_nothing_there() {
    if !mpirun_is_there() {
        return;
    }
    let lab = Lab::new();
    std::fs::create_dir(lab.path("empty")).unwrap();
    let ended = lab.command(2, &["doctor", &lab.arg("empty"), "--json"]).end();
    let found: serde_json::Value = serde_json::from_str(&ended.out).unwrap();
    let findings = found["findings"].as_array().unwrap();
    let bad = findings.iter().any(|finding| finding["level"] == "bad");
    assert_eq!(ended.status.code(), Some(i32::from(bad)), "{ended}");
    for name in ["mpi", "engine", "direct I/O", "sleep", "content"] {
        let count = findings.iter().filter(|finding| finding["name"] == name).count();
        assert_eq!(count, 1, "{name} once for one host: {found:#}");
    }
    assert_eq!(std::fs::read_dir(lab.path("empty")).unwrap().count(), 0);
    let ended = lab.command(2, &["doctor", &lab.arg("missing")]).fail_with(1);
    assert!(ended.out.contains("bad"), "{ended}");
}

#[test]
fn a_plain_start_is_a_run_with_one_rank() {
    // Open MPI starts a helper of its own for it.
    if !mpirun_is_there() {
        return;
    }
    let lab = Lab::new();
    lab.job(1, "datagen", "g", &[]).plain().succeed();
    lab.job(1, "run", "t", &[]).plain().succeed();
    assert_eq!(lab.result("t")["run"]["ranks"], 1);
    assert_eq!(lab.phase("t", "training")["metrics"]["samples"], 24);
}

#[test]
fn another_file_on_one_rank_is_named_with_it() {
    if !mpirun_is_there() {
        return;
    }
    let lab = Lab::new();
    let program = env!("CARGO_BIN_EXE_rankio");
    let words = ["mpirun", "-n", "2", program, "run", "tiny.yaml", ":"];
    let words = [&words[..], &["-n", "1", program, "run", "missing.yaml"]].concat();
    let ended = lab.raw(words.into_iter().map(String::from).collect()).fail_with(2);
    ended.one_error(&["rank 2 (", "`missing.yaml`", "rank 0 (", "`tiny.yaml`"]);
}
