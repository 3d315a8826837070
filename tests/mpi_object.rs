//! Datasets on an object store under mpirun: made, read and checked, resumed, cleaned; what the
//! server does wrong is found or counted; no file and no line holds a key.

#![cfg(feature = "mpi")]

mod launch;
mod s3;

use launch::{Lab, holds, mpirun_is_there};
use s3::{ACCESS_KEY, Fault, Kind, SECRET_KEY, Server};

const ROOT: &str = "s3://bench/runs/tiny";
const PREFIX: &str = "runs/tiny/";

/// Amazon's rule for parts holds here.
fn server() -> Server {
    Server::start(5 << 20)
}

fn job(lab: &Lab, ranks: usize, command: &str, id: &str, extra: &[&str]) -> launch::Job {
    let mut all = vec!["--data-dir", ROOT];
    all.extend(extra);
    lab.job(ranks, command, id, &all)
}

/// What is checked with the clients beside the own one too.
fn others<'a>(what: &[&'a str]) -> Vec<(&'a str, &'static str)> {
    let what = what.iter().filter(|_| cfg!(feature = "sdk"));
    what.map(|what| (*what, "sdk")).collect()
}

#[test]
fn datasets_are_made_read_checked_and_cleaned() {
    if !mpirun_is_there() {
        return;
    }
    let raw = ["npz", "tfrecord", "parquet"].map(|format| (format, "raw"));
    for (format, client) in raw.into_iter().chain(others(&["npz", "tfrecord"])) {
        let (server, lab) = (server(), Lab::new());
        let environment = server.environment();
        let format = format!("dataset.format={format}");
        let by = format!("storage.client={client}");
        let mut settings = vec!["--set", &format, "--set", &by, "--verify", "full"];
        let columns = "dataset.parquet.columns=[{name: a, dtype: uint8, size: 300000}]";
        if format.ends_with("parquet") {
            settings.extend(["--set", "dataset.record_length_bytes_stdev=0", "--set", columns]);
        }
        job(&lab, 2, "datagen", "g", &settings).with(&environment).succeed();
        let keys = server.memory.keys();
        assert!(keys.iter().all(|key| key.starts_with(PREFIX)), "{keys:?}");
        assert!(keys.iter().all(|key| !key.contains("partial")), "{keys:?}");
        let files = keys.iter().filter(|key| key.starts_with("runs/tiny/train/img_")).count();
        assert_eq!(files, 13, "{keys:?}");
        job(&lab, 2, "run", "t", &settings).with(&environment).succeed();
        let phase = lab.phase("t", "training");
        assert_eq!(phase["storage"]["engine"], format!("s3-{client}"));
        assert_eq!(phase["ops"]["retries"], 0);
        assert!(phase["verify"]["bytes_checked"].as_u64().unwrap() > 3_000_000, "{phase:#}");
        assert_eq!(phase["bytes"]["requested"], phase["bytes"]["transferred"], "no rounding");
        // Only what rankio made goes.
        server.memory.put("runs/tiny2/keep", vec![1]);
        server.memory.put("runs/tiny/train/foreign", vec![1]);
        lab.command(1, &["clean", ROOT]).with(&environment).succeed();
        assert_eq!(server.memory.keys(), ["runs/tiny/train/foreign", "runs/tiny2/keep"]);
    }
}

/// Of objects that fit into a request every sample costs one request, and no size is asked for
/// while the clock runs. Before, an epoch asked for each size first.
#[test]
fn an_epoch_of_small_objects_costs_one_request_for_each() {
    if !mpirun_is_there() {
        return;
    }
    let (server, lab) = (server(), Lab::new());
    let environment = server.environment();
    let small = ["dataset.record_length_bytes=50000", "dataset.record_length_bytes_stdev=9000"];
    let mut settings: Vec<&str> = small.iter().flat_map(|text| ["--set", text]).collect();
    settings.extend(["--set", "io.drop_last=False"]);
    job(&lab, 2, "datagen", "g", &settings).with(&environment).succeed();
    let count = |id: &str, more: &[&str]| {
        let before = ["get", "head"].map(|op| server.memory.requests(op));
        let all: Vec<&str> = settings.iter().chain(more).copied().collect();
        job(&lab, 2, "run", id, &all).with(&environment).succeed();
        let after = ["get", "head"].map(|op| server.memory.requests(op));
        [after[0] - before[0], after[1] - before[1]]
    };
    let two = count("two", &["--set", "train.epochs=2", "--verify", "full"]);
    let five = count("five", &["--set", "train.epochs=5"]);
    assert_eq!(five[0] - two[0], 3 * 13, "{two:?} {five:?}");
    assert_eq!(five[1], two[1], "sizes are asked for before the run only");
    let asked = count("asked", &["--set", "train.epochs=5", "--verify", "size"]);
    assert_eq!((asked[0], asked[1]), (five[0], five[1] + 5 * 13));
    assert_eq!(lab.phase("asked", "training")["verify"]["mode"], "size");
}

#[test]
fn large_objects_go_up_in_parts() {
    if !mpirun_is_there() {
        return;
    }
    for (_, client) in [("", "raw")].into_iter().chain(others(&[""])) {
        check_large_objects(client);
    }
}

fn check_large_objects(client: &str) {
    let (server, lab) = (server(), Lab::new());
    let by = format!("storage.client={client}");
    let large = ["dataset.record_length_bytes=20000000", "dataset.num_files_train=3"];
    let mut settings = vec!["--verify", "full", "--set", &by];
    settings.extend(large.iter().flat_map(|text| ["--set", text]));
    settings.extend([
        "--set",
        "dataset.record_length_bytes_stdev=0",
        "--set",
        "reader.batch_size=1",
    ]);
    job(&lab, 2, "datagen", "g", &settings).with(&server.environment()).succeed();
    assert_eq!(server.memory.requests("complete"), 3);
    assert_eq!(server.memory.requests("part"), 9, "8 MiB each");
    assert_eq!(server.memory.open_uploads(), 0);
    assert_eq!(lab.phase("g", "verify")["metrics"]["files_checked"], 3);
}

#[test]
fn faults_of_the_server_are_counted_or_end_the_run() {
    if !mpirun_is_there() {
        return;
    }
    for (_, client) in [("", "raw")].into_iter().chain(others(&[""])) {
        check_faults(client);
    }
}

fn check_faults(client: &str) {
    let (server, lab) = (server(), Lab::new());
    let by = format!("storage.client={client}");
    let by = ["--set", &by];
    let job = |ranks, command, id, extra: &[&str]| {
        job(&lab, ranks, command, id, &[by.as_slice(), extra].concat())
    };
    let environment = server.environment();
    let fault = |op, kind, after, times| server.memory.inject(Fault { op, kind, after, times });
    fault("put", Kind::SlowDown, 3, 2);
    job(2, "datagen", "g", &[]).with(&environment).succeed();
    // The server may also close the connection on which it refused a body.
    let retries = |id, kind| lab.phase(id, kind)["ops"]["retries"].as_u64().unwrap();
    assert!((2..=4).contains(&retries("g", "datagen")), "{}", retries("g", "datagen"));
    fault("get", Kind::Drop, 4, 1);
    fault("get", Kind::SlowDown, 9, 2);
    job(2, "run", "t", &["--verify", "full"]).with(&environment).succeed();
    assert_eq!(retries("t", "training"), 3);
    // An object that is cut after it was opened.
    server.memory.clear_faults();
    fault("get", Kind::Truncate, 5, 99);
    let ended = job(2, "run", "cut", &[]).with(&environment).fail_with(1);
    ended.error_of_a_rank(&["read s3://bench/runs/tiny/train/img_", "were expected: truncated"]);
    // One that is shorter than planned.
    server.memory.clear_faults();
    let key = server.memory.keys().into_iter().find(|key| key.contains("img_0")).unwrap();
    let object = server.memory.get(&key).unwrap();
    server.memory.put(&key, object[..object.len() - 1].to_vec());
    let ended = job(2, "run", "short", &[]).with(&environment).fail_with(1);
    let sizes = format!("has {} bytes where {} were expected", object.len() - 1, object.len());
    ended.error_of_a_rank(&["read s3://", &sizes]);
    let asks = ["--verify", "size"];
    let ended = job(2, "run", "asked", &asks).with(&environment).fail_with(1);
    ended.error_of_a_rank(&["open s3://", "the plan says"]);
    // Another datagen replaces it, and only it.
    job(2, "datagen", "again", &["--verify", "full"]).with(&environment).succeed();
    assert_eq!(lab.phase("again", "datagen")["metrics"]["files_written"], 1);
    assert_eq!(server.memory.get(&key).unwrap(), object);
}

#[test]
fn ranks_are_dealt_to_the_endpoints_and_a_dead_one_does_not_end_the_run() {
    if !mpirun_is_there() {
        return;
    }
    let (server, lab) = (server(), Lab::new());
    let door = server.door();
    let environment = server.environment();
    let uris = format!("storage.storage_options.endpoint_uris=[{}, {}]", server.url(), door.url());
    let equal = "dataset.record_length_bytes_stdev=0";
    let files = "dataset.num_files_train=16";
    let settings = ["--set", &uris, "--set", equal, "--set", files, "--verify", "full"];
    job(&lab, 4, "datagen", "g", &settings).with(&environment).succeed();
    job(&lab, 4, "run", "t", &settings).with(&environment).succeed();
    for (id, kind, key) in [("g", "datagen", "bytes_written"), ("t", "training", "bytes_read")] {
        let endpoints = lab.phase(id, kind)["storage"]["endpoints"].clone();
        let moved: Vec<u64> = (0..2).map(|n| endpoints[n][key].as_u64().unwrap()).collect();
        assert!(moved[0].abs_diff(moved[1]) <= 300_600 && moved[0] > 0, "{endpoints:#}");
        assert_eq!(endpoints[0]["errors"], 0, "{endpoints:#}");
    }
    // One of them dies in the middle of a run.
    let before = server.memory.requests("get");
    let mut words = settings.to_vec();
    words.extend(["--set", "train.epochs=6", "--set", "train.computation_time=0.05"]);
    let mut running = job(&lab, 4, "run", "dead", &words).with(&environment).start();
    running.wait_until("a few reads", || server.memory.requests("get") > before + 20);
    let url = door.url();
    drop(door);
    let ended = running.end();
    assert!(ended.status.success(), "{ended}");
    let phase = lab.phase("dead", "training");
    let endpoints = phase["storage"]["endpoints"].as_array().unwrap();
    let dead = endpoints.iter().find(|endpoint| endpoint["url"] == url.as_str()).unwrap();
    assert!(dead["errors"].as_u64() > Some(0), "{phase:#}");
    assert!(phase["ops"]["retries"].as_u64() > Some(0), "{phase:#}");
    // 16 samples of 300000 bytes in each of 6 epochs, all read and compared.
    assert!(phase["verify"]["bytes_checked"].as_u64() > Some(6 * 16 * 299_000), "{phase:#}");
}

#[test]
fn keys_of_python_clients_act_or_say_why_not() {
    if !mpirun_is_there() {
        return;
    }
    let (server, lab) = (server(), Lab::new());
    let environment = server.environment();
    let mut settings = vec!["--engine", "sync"];
    for text in [
        "storage.storage_options.storage_library=s3dlio",
        "storage.storage_options.prefetch_window=3",
        "storage.storage_options.use_full_object_uri=True",
        "storage.post_generation_settle_seconds=0.2",
    ] {
        settings.extend(["--set", text]);
    }
    let ended = job(&lab, 2, "datagen", "g", &settings).with(&environment).succeed();
    assert!(ended.err.contains("waiting 0.2 s for the store to settle"), "{ended}");
    let result = lab.result("g");
    assert_eq!(result["config"]["io"]["queue_depth"], 3);
    let notes = result["config_notes"].to_string();
    for words in [
        "`s3dlio` is a Python library",
        "use_full_object_uri: no effect: a key",
        "io.engine: no effect on s3://bench/runs/tiny",
    ] {
        assert!(notes.contains(words), "{words} in {notes}");
    }
}

#[test]
fn nobody_elses_objects_are_touched() {
    if !mpirun_is_there() {
        return;
    }
    let (server, lab) = (server(), Lab::new());
    let environment = server.environment();
    server.memory.put("runs/tiny/theirs", vec![1]);
    let ended = job(&lab, 2, "datagen", "g", &[]).with(&environment).fail_with(1);
    ended.error_of_a_rank(&["holds theirs, which rankio did not make"]);
    let said = lab.command(1, &["clean", ROOT]).plain().with(&environment).fail_with(1);
    said.one_error(&["no .rankio-dataset.json and no .rankio-checkpoints.json there"]);
    assert_eq!(server.memory.keys(), ["runs/tiny/theirs"]);
    server.memory.remove("runs/tiny/theirs");
    job(&lab, 1, "datagen", "one", &[]).with(&environment).succeed();
    let before = server.memory.keys();
    let other = ["--set", "dataset.num_files_train=5"];
    let ended = job(&lab, 2, "datagen", "two", &other).with(&environment).fail_with(1);
    ended.error_of_a_rank(&["holds another dataset", "--overwrite"]);
    assert_eq!(server.memory.keys(), before);
    let other = ["--set", "dataset.num_files_train=5", "--overwrite"];
    job(&lab, 2, "datagen", "three", &other).with(&environment).succeed();
    assert_eq!(server.memory.keys().iter().filter(|key| key.contains("img_")).count(), 5);
}

/// Where an object appears whole or not at all nothing is copied; before, compressed files were put
/// under another name, copied and deleted.
#[test]
fn compressed_files_are_put_under_their_own_names() {
    if !mpirun_is_there() {
        return;
    }
    let (server, lab) = (server(), Lab::new());
    let environment = server.environment();
    let mut settings = vec!["--verify", "none"];
    for text in [
        "dataset.format=parquet",
        "dataset.record_length_bytes_stdev=0",
        "dataset.num_files_train=4",
        "dataset.parquet.columns=[{name: a, dtype: uint8, size: 300000}]",
        "dataset.compression=zstd",
        "dataset.num_samples_per_file=30",
    ] {
        settings.extend(["--set", text]);
    }
    job(&lab, 2, "datagen", "g", &settings).with(&environment).succeed();
    let seen = |op| server.memory.requests(op);
    assert_eq!((seen("copy"), seen("delete"), server.memory.open_uploads()), (0, 0, 0));
    // Each is larger than a part and of a length that nobody knows before.
    assert_eq!(seen("complete"), 4);
    let names = server.memory.keys();
    assert_eq!(names.iter().filter(|key| key.ends_with(".parquet")).count(), 4, "{names:?}");
    job(&lab, 2, "run", "t", &settings).with(&environment).succeed();
    // Small ones are one PUT each, from the buffer.
    let before = seen("put");
    settings.extend(["--set", "dataset.num_samples_per_file=1", "--overwrite"]);
    job(&lab, 2, "datagen", "small", &settings).with(&environment).succeed();
    assert_eq!((seen("put") - before, seen("complete")), (4 + 2, 4), "files and two markers");
}

#[test]
fn clean_gives_up_the_uploads_that_a_killed_datagen_left() {
    if !mpirun_is_there() {
        return;
    }
    let (server, lab) = (server(), Lab::new());
    let environment = server.environment();
    job(&lab, 1, "datagen", "g", &[]).with(&environment).succeed();
    let name = server.memory.keys().into_iter().find(|key| key.contains("img_0")).unwrap();
    for key in [name.as_str(), "runs/tiny/train/theirs", "runs/tiny/other/img_00_of_13.npz"] {
        server.memory.leave_upload(key);
    }
    let dry = lab.command(1, &["clean", ROOT, "--dry-run"]).plain().with(&environment).succeed();
    assert!(!dry.out.contains("upload") && server.memory.open_uploads() == 3, "{dry}");
    let said = lab.command(1, &["clean", ROOT]).plain().with(&environment).succeed();
    assert!(said.out.contains(", 1 unfinished upload(s)"), "{said}");
    assert_eq!(server.memory.open_uploads(), 2, "those of others stay");
}

#[test]
fn clean_tells_a_bad_root_from_a_missing_bucket() {
    let (server, lab) = (server(), Lab::new());
    let environment = server.environment();
    let clean = |root: &str| lab.command(1, &["clean", root]).plain();
    for root in ["s3://", "s3://B/x", "null://"] {
        clean(root).with(&environment).fail_with(2).one_error(&[]);
    }
    let nothing = [("AWS_ACCESS_KEY_ID", String::new())];
    let said = clean(ROOT).with(&environment).with(&nothing).fail_with(2);
    said.one_error(&["AWS_ACCESS_KEY_ID is not set"]);
    let said = clean("s3://absent/x").with(&environment).fail_with(1);
    said.one_error(&["NoSuchBucket", "create the bucket, or check"]);
}

#[test]
fn no_key_is_in_any_file_or_line() {
    if !mpirun_is_there() {
        return;
    }
    let (server, lab) = (server(), Lab::new());
    let mut environment = server.environment();
    environment.push(("AWS_SESSION_TOKEN", "ToKeN987654321".into()));
    server.memory.inject(Fault { op: "get", kind: Kind::SlowDown, after: 3, times: 1 });
    job(&lab, 2, "datagen", "g", &[]).with(&environment).succeed();
    job(&lab, 2, "run", "t", &["--verify", "full"]).with(&environment).succeed();
    server.memory.inject(Fault { op: "get", kind: Kind::Denied, after: 9, times: 99 });
    job(&lab, 2, "run", "denied", &[]).with(&environment).fail_with(1);
    // Keys that the server does not take.
    environment[1].1 = "nobodyknowsthis".into();
    job(&lab, 1, "run", "unknown", &[]).plain().with(&environment).fail_with(1);
    // The folder of the lab holds results, standard output and error of all these jobs.
    let folder = lab.path("results");
    let folder = folder.parent().unwrap();
    for secret in [SECRET_KEY, ACCESS_KEY, "ToKeN987654321", "nobodyknowsthis"] {
        assert_eq!(holds(folder, secret), Vec::<String>::new(), "{secret}");
    }
    assert!(!holds(folder, "s3://bench").is_empty(), "the search finds what is there");
}

#[test]
fn credentials_in_a_uri_and_missing_ones_are_refused() {
    let lab = Lab::new();
    for option in ["--data-dir", "--checkpoint-dir"] {
        let root = "s3://key:hunter2@bench/x";
        let mut words = vec!["run", option, root, "--set", "workflow.checkpoint=True"];
        let file = lab.arg("tiny.yaml");
        words.insert(1, &file);
        let said = lab.command(1, &words).plain().fail_with(2);
        assert!(!said.err.contains("hunter2") && !said.out.contains("hunter2"), "{said}");
    }
    let endpoint = "storage.storage_options.endpoint_url=http://key:hunter2@host";
    let said = job(&lab, 1, "run", "x", &["--set", endpoint]).plain().fail_with(2);
    assert!(!said.err.contains("hunter2"), "{said}");
    let nothing = [("AWS_ACCESS_KEY_ID", String::new())];
    let said = job(&lab, 1, "run", "x", &[]).plain().with(&nothing).fail_with(2);
    said.one_error(&["AWS_ACCESS_KEY_ID is not set"]);
}
