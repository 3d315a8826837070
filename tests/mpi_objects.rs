//! The object micro-benchmark under mpirun, on a server of the test's own and in a folder: it does
//! what it says, finds damage, and touches nothing that is not its own.

#![cfg(feature = "mpi")]

mod launch;
mod s3;

use launch::{Ended, Job, Lab, mpirun_is_there, object_mix};
use s3::{Fault, Kind, Server};
use serde_json::Value;

const ROOT: &str = "s3://bench/runs/objects";

fn lab() -> Lab {
    let lab = Lab::new();
    std::fs::write(lab.path("object.yaml"), object_mix(100, 300)).unwrap();
    lab
}

fn job(lab: &Lab, ranks: usize, root: &str, id: &str, extra: &[&str]) -> Job {
    let file = lab.arg("object.yaml");
    let results = lab.arg("results");
    let mut words = vec!["run", &file, "--data-dir", root, "--results-dir", &results];
    words.extend(["--run-id", id]);
    words.extend(extra);
    lab.command(ranks, &words)
}

/// Counts by operation.
fn count(phase: &Value, operation: &str) -> u64 {
    let all = phase["metrics"]["by_operation"].as_array().unwrap();
    let one = all.iter().find(|one| one["operation"] == operation);
    one.map_or(0, |one| one["count"].as_u64().unwrap())
}

fn verdict(ended: &Ended) -> &str {
    ended.out.split("verdict: ").nth(1).unwrap().lines().next().unwrap()
}

#[test]
fn what_is_counted_is_what_the_server_saw_and_the_mix_is_as_asked() {
    if !mpirun_is_there() {
        return;
    }
    for ranks in [1, 3] {
        let (server, lab) = (Server::start(5 << 20), lab());
        server.memory.put("runs/objects/theirs", vec![1]);
        server.memory.put("runs/objects/objects2/theirs", vec![1]);
        job(&lab, ranks, ROOT, "o", &[]).with(&server.environment()).succeed();
        let (all, n) = (ranks as u64, 300 * ranks as u64);
        let (prefill, phase) = (lab.phase("o", "object_prefill"), lab.phase("o", "object"));
        assert_eq!(count(&prefill, "put"), 100 * all);
        assert_eq!(phase["metrics"]["operations_done"], n);
        assert_eq!(phase["metrics"]["ended_by"], "operations");
        assert_eq!(
            (&phase["metrics"]["made_puts"], &phase["ops"]["retries"]),
            (&0.into(), &0.into())
        );
        let seen = |op| server.memory.requests(op);
        let put = count(&prefill, "put") + count(&phase, "put");
        // The marker is asked for, written, and asked for and removed; objects2 is no part of it.
        assert_eq!(seen("put"), put + 1);
        assert_eq!(seen("get"), count(&phase, "get") + count(&phase, "range"));
        assert_eq!(seen("head"), count(&phase, "head") + 2);
        assert_eq!(seen("list"), count(&phase, "list") + 1);
        assert_eq!(seen("delete"), count(&phase, "delete") + 1);
        assert_eq!(seen("delete_many"), all, "each rank removes its own at once");
        let weights =
            [("put", 20), ("get", 40), ("range", 15), ("head", 15), ("list", 3), ("delete", 7)];
        for (operation, weight) in weights {
            let share = f64::from(weight) / 100.0;
            let bound = 6.0 * (n as f64 * share * (1.0 - share)).sqrt();
            let found = count(&phase, operation) as f64;
            assert!((found - n as f64 * share).abs() < bound, "{operation} {found} of {n}");
        }
        let bytes = 20_000 * count(&phase, "get") + 3_000 * count(&phase, "range");
        assert_eq!(phase["verify"]["bytes_checked"], bytes);
        let reads = count(&phase, "get") + count(&phase, "range");
        assert_eq!(phase["metrics"]["first_byte_ns"]["count"], reads);
        let (first, last) = (&phase["metrics"]["first_done_s"], &phase["metrics"]["last_done_s"]);
        assert!(first.as_f64() > Some(0.0) && first.as_f64() <= last.as_f64(), "{phase:#}");
        let live = 100 * all - count(&phase, "delete");
        assert!(phase["metrics"]["live_objects"].as_u64().unwrap() >= live, "{phase:#}");
        assert_eq!(server.memory.keys(), ["runs/objects/objects2/theirs", "runs/objects/theirs"]);
    }
}

#[test]
fn a_byte_that_is_wrong_ends_the_run_and_what_is_left_is_cleaned() {
    if !mpirun_is_there() {
        return;
    }
    let (server, lab) = (Server::start(5 << 20), lab());
    let environment = server.environment();
    let fault = ["--set", "io.fault=[{op: read, kind: flip, at: 20, rank: 1}]"];
    let ended = job(&lab, 2, ROOT, "flip", &fault).with(&environment).fail_with(1);
    ended.error_of_a_rank(&["verify s3://bench/runs/objects/objects/r00001/", "after it was put"]);
    // One that somebody else made shorter is found by its size.
    let said = job(&lab, 1, ROOT, "again", &[]).with(&environment).fail_with(1);
    assert!(said.err.contains("holds the objects of run flip"), "{said}");
    server.memory.put("runs/objects/objects/r00000/theirs", vec![1]);
    let would = lab.command(1, &["clean", ROOT, "--dry-run"]).plain().with(&environment).succeed();
    assert!(would.out.contains("would remove"), "{would}");
    assert!(server.memory.keys().len() > 100);
    lab.command(1, &["clean", ROOT]).plain().with(&environment).succeed();
    assert_eq!(server.memory.keys(), ["runs/objects/objects/r00000/theirs"]);
    let said = job(&lab, 1, ROOT, "theirs", &[]).with(&environment).fail_with(1);
    assert!(said.err.contains("which rankio did not make"), "{said}");
    server.memory.remove("runs/objects/objects/r00000/theirs");
    let keep = ["--set", "object.keep=True"];
    job(&lab, 2, ROOT, "kept", &keep).with(&environment).succeed();
    assert!(server.memory.keys().contains(&"runs/objects/.rankio-objects.json".to_string()));
    job(&lab, 1, ROOT, "new", &["--overwrite"]).with(&environment).succeed();
    assert_eq!(server.memory.keys(), Vec::<String>::new());
}

#[test]
fn large_objects_of_many_sizes_go_in_parts_and_retries_are_counted() {
    if !mpirun_is_there() {
        return;
    }
    let (server, lab) = (Server::start(0), lab());
    let mut settings = Vec::new();
    for text in [
        "object.size=150000",
        "object.size_stdev=120000",
        "object.objects=20",
        "object.operations=100",
        "io.block_size=64KiB",
        "storage.storage_options.part_size=64KiB",
    ] {
        settings.extend(["--set", text]);
    }
    server.memory.inject(Fault { op: "get", kind: Kind::SlowDown, after: 5, times: 2 });
    job(&lab, 2, ROOT, "o", &settings).with(&server.environment()).succeed();
    assert!(server.memory.requests("complete") > 5, "objects above 64 KiB");
    assert_eq!(server.memory.open_uploads(), 0);
    let phase = lab.phase("o", "object");
    assert_eq!(phase["ops"]["retries"], 2);
    assert_eq!(phase["metrics"]["operations_done"], 200);
    assert_eq!(server.memory.keys(), Vec::<String>::new());
}

#[test]
fn an_open_loop_begins_what_is_due_and_counts_from_the_intended_start() {
    if !mpirun_is_there() {
        return;
    }
    for ranks in [1, 3] {
        let (server, lab) = (Server::start(5 << 20), lab());
        let pace = ["rate_per_s=200", "duration_s=2", "operations=0", "objects=8"];
        let pace = pace.map(|text| format!("object.{text}"));
        let mut settings: Vec<&str> =
            pace.iter().flat_map(|text| ["--set", text.as_str()]).collect();
        job(&lab, ranks, ROOT, "open", &settings).with(&server.environment()).succeed();
        let metrics = &lab.phase("open", "object")["metrics"];
        // A Poisson count of mean 400, six standard deviations around it.
        let all = ["operations_done", "not_started"].map(|key| metrics[key].as_u64().unwrap());
        assert!((280..520).contains(&(all[0] + all[1])), "{metrics:#}");
        assert_eq!(metrics["start_delay_ns"]["count"], all[0]);
        assert_eq!(
            (&metrics["offered_per_s"], &metrics["ended_by"]),
            (&200.0.into(), &"duration".into())
        );
        // Answers that take longer than there is room for: what could not begin is told.
        settings.extend(["--set", "object.in_flight=1", "--set", "io.delay.latency=0.1"]);
        let ended = job(&lab, ranks, ROOT, "slow", &settings).with(&server.environment()).succeed();
        let metrics = &lab.phase("slow", "object")["metrics"];
        let missed = metrics["not_started"].as_u64().unwrap();
        let done = metrics["operations_done"].as_u64().unwrap();
        assert!(missed > done && (280..520).contains(&(missed + done)), "{metrics:#}");
        assert_eq!(verdict(&ended), "INVALID");
        assert!(ended.out.contains("were not begun"), "{ended}");
        // Latencies hold the time that an operation waited for its turn.
        let late = metrics["start_delay_ns"]["max"].as_u64().unwrap();
        let longest = metrics["by_operation"].as_array().unwrap().iter();
        let longest = longest.filter_map(|one| one["latency_ns"]["max"].as_u64()).max().unwrap();
        assert!(late > 1_000_000_000 && longest > late, "{late} {longest}");
    }
}

/// Bug: the rate of a phase left out heads, listings and removals, opens that sent no request had a
/// row of 100 ns, and claimed bytes were those of reads without saying so.
#[test]
fn a_rate_is_of_all_operations_and_an_open_that_asks_nobody_has_no_latency() {
    if !mpirun_is_there() {
        return;
    }
    let (server, lab) = (Server::start(5 << 20), lab());
    let ended = job(&lab, 2, ROOT, "o", &[]).with(&server.environment()).succeed();
    let phase = lab.phase("o", "object");
    let all = phase["metrics"]["operations_per_s"].as_f64().unwrap();
    assert_eq!(phase["rate"]["ops_per_s"], all, "{phase:#}");
    let data = phase["ops"]["read"].as_u64().unwrap() + phase["ops"]["write"].as_u64().unwrap();
    assert!(data < phase["metrics"]["operations_done"].as_u64().unwrap(), "{phase:#}");
    assert!(phase["latency_ns"]["open"].is_null() && phase["ops"]["open"] == 0, "{phase:#}");
    let proof = &phase["proof"];
    assert_eq!((&proof["direction"], &proof["device_bytes"]), (&"read".into(), &Value::Null));
    let bytes = 20_000 * count(&phase, "get") + 3_000 * count(&phase, "range");
    assert_eq!(proof["claimed_bytes"], bytes);
    assert!(ended.out.contains(" read, process I/O not counted"), "{ended}");
    // Sizes that are asked for are asked for by the open.
    let asks = ["--verify", "size"];
    job(&lab, 2, ROOT, "size", &asks).with(&server.environment()).succeed();
    let phase = lab.phase("size", "object");
    let reads = count(&phase, "get") + count(&phase, "range");
    assert_eq!(phase["latency_ns"]["open"]["count"], reads, "{phase:#}");
}

#[test]
fn the_same_in_a_folder_which_is_empty_afterwards() {
    if !mpirun_is_there() {
        return;
    }
    let lab = lab();
    std::fs::create_dir(lab.path("o")).unwrap();
    std::fs::write(lab.path("o/theirs"), "x").unwrap();
    job(&lab, 2, &lab.arg("o"), "o", &[]).succeed();
    let phase = lab.phase("o", "object");
    assert_eq!(phase["metrics"]["operations_done"], 600);
    assert!(count(&phase, "delete") > 0 && count(&phase, "list") > 0);
    let names = |folder: &str| -> Vec<String> {
        let entries = std::fs::read_dir(lab.path(folder)).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    };
    assert_eq!(names("o"), ["theirs"]);
    job(&lab, 2, &lab.arg("o"), "kept", &["--set", "object.keep=True"]).succeed();
    assert!(names("o/objects/r00000").len() > 50);
    lab.command(1, &["clean", &lab.arg("o")]).plain().succeed();
    assert_eq!(names("o"), ["theirs"]);
}

#[test]
fn a_stable_rate_ends_the_run_and_the_null_store_is_told() {
    if !mpirun_is_there() {
        return;
    }
    let lab = lab();
    let mut settings = vec!["--verify", "none"];
    for text in [
        "object.operations=0",
        "object.duration_s=50",
        "object.size=4096",
        "object.autoterm={within: 1.0, over_s: 1.0}",
    ] {
        settings.extend(["--set", text]);
    }
    let ended = job(&lab, 2, "null://", "null", &settings).succeed();
    let phase = lab.phase("null", "object");
    assert_eq!(phase["metrics"]["ended_by"], "autoterm", "{phase:#}");
    assert!(phase["window_s"].as_f64() < Some(45.0), "{phase:#}");
    assert_eq!(verdict(&ended), "CLIENT_BOUND");
}

#[test]
fn settings_that_make_no_sense_are_refused() {
    let lab = lab();
    for (text, words) in [
        ("workflow.train=True", "workflow.object: is a run of its own"),
        ("object.mix={put: 0, get: 0, range: 0, head: 0, list: 0, delete: 0}", "every weight is 0"),
        ("object.objects=7", "object.objects: every operation in flight"),
        ("object.operations=0", "object.duration_s: neither this nor"),
        ("object.sizes=[{size: 1, weight: 0}]", "object.sizes: a weight"),
    ] {
        let said = job(&lab, 1, "null://", "x", &["--set", text, "--verify", "none"]);
        said.plain().fail_with(2).one_error(&[words]);
    }
}
