//! Keys of workload files that act on a whole run: each test fails if its key did nothing.

#![cfg(feature = "mpi")]

mod launch;

use launch::{Lab, mpirun_is_there};
use serde_json::Value;
use std::path::PathBuf;

fn set<'a>(settings: &[&'a str]) -> Vec<&'a str> {
    settings.iter().flat_map(|text| ["--set", text]).collect()
}

fn data_files(lab: &Lab) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(lab.path("data/train")).unwrap();
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

fn reasons(result: &Value) -> String {
    let verdict = &result["verdict"];
    format!("{} {}", verdict["reasons"], verdict["held"])
}

/// Samples in records of their own: on demand a batch is read, in memory a file.
const RECORDS: &[&str] = &[
    "dataset.format=tfrecord",
    "dataset.num_files_train=6",
    "dataset.num_samples_per_file=8",
    "dataset.record_length_bytes=3000",
    "dataset.record_length_bytes_stdev=0",
    "reader.sample_shuffle=off",
    "train.epochs=1",
];

#[test]
fn a_file_that_is_taken_into_memory_is_read_once() {
    if !mpirun_is_there() {
        return;
    }
    let lab = Lab::new();
    lab.job(2, "datagen", "g", &set(RECORDS)).succeed();
    let bytes: u64 = data_files(&lab).iter().map(|f| f.metadata().unwrap().len()).sum();
    for mode in ["native", "reference"] {
        for ranks in [1, 2, 3] {
            let id = format!("{mode}{ranks}");
            let mode = format!("io.mode={mode}");
            let mut settings = set(RECORDS);
            settings.extend(set(&["io.direct=True", &mode]));
            if mode.ends_with("reference") {
                settings.extend(["--data-dir", "ref"]);
                if ranks == 1 {
                    lab.job(1, "datagen", "gr", &settings).succeed();
                }
            }
            let demand = [&settings[..], &["--verify", "full"]].concat();
            lab.job(ranks, "run", &format!("{id}d"), &demand).succeed();
            let memory = [&demand[..], &["--set", "reader.read_type=memory"]].concat();
            lab.job(ranks, "run", &format!("{id}m"), &memory).succeed();
            let demand = lab.phase(&format!("{id}d"), "training");
            let memory = lab.phase(&format!("{id}m"), "training");
            for phase in [&demand, &memory] {
                assert_eq!(phase["metrics"]["samples"], 48, "{id}");
            }
            assert_eq!(memory["ops"]["read"], 6, "{id}: a read for each file");
            assert!(demand["ops"]["read"].as_u64().unwrap() >= 24, "{id}: one for each batch");
            if mode.ends_with("native") {
                assert_eq!(memory["bytes"]["requested"], bytes, "{id}");
            }
        }
    }
}

#[test]
fn a_part_of_a_dataset_trains_and_leaves_the_rest() {
    if !mpirun_is_there() {
        return;
    }
    let lab = Lab::new();
    let folders = "dataset.num_subfolders_train=3";
    let part = set(&[folders, "dataset.num_files_train=6", "dataset.num_files_generated=13"]);
    // Made as a whole by its part's file, found complete by the file of the whole.
    lab.job(2, "datagen", "g", &part).succeed();
    let again = lab.job(1, "datagen", "again", &set(&[folders])).succeed();
    assert_eq!(lab.phase("again", "datagen")["metrics"]["files_kept"], 13, "{again}");
    for ranks in [1, 2, 3] {
        let id = format!("t{ranks}");
        let every = ["--set", "io.drop_last=False", "--verify", "full"];
        let words = [&part[..], &every].concat();
        lab.job(ranks, "run", &id, &words).succeed();
        assert_eq!(lab.phase(&id, "training")["metrics"]["samples"], 12, "6 files, 2 epochs");
    }
    let folder = lab.arg("data");
    let cleaned = lab.command(1, &["clean", &folder]).plain().succeed();
    assert!(cleaned.out.contains("removed 13 files"), "{cleaned}");
}

#[test]
fn missing_files_are_found_before_the_run_unless_that_is_skipped() {
    if !mpirun_is_there() {
        return;
    }
    let lab = Lab::new();
    lab.job(2, "datagen", "g", &[]).succeed();
    let gone = data_files(&lab)[6].clone();
    std::fs::remove_file(&gone).unwrap();
    let name = gone.file_name().unwrap().to_str().unwrap();
    for ranks in [1, 3] {
        let ended = lab.job(ranks, "run", "t", &[]).fail_with(1);
        ended.one_error(&[name, "not found; run rankio datagen"]);
        assert!(!lab.path("results/t").exists());
    }
    // Of 13 files 0, 5, 10 and 12 are looked for: this one is missed when it is read.
    let some = ["dataset.skip_listing=True", "dataset.listing_validation_interval=5"];
    let ended = lab.job(1, "run", "t", &set(&some)).fail_with(1);
    ended.one_error(&[name, "open"]);
    let third = ["dataset.skip_listing=True", "dataset.listing_validation_interval=3"];
    let ended = lab.job(2, "run", "t", &set(&third)).fail_with(1);
    ended.one_error(&[name, "not found; run rankio datagen"]);
}

#[test]
fn messages_are_copied_to_the_log_file() {
    if !mpirun_is_there() {
        return;
    }
    let lab = Lab::new();
    let logged = set(&["output.log_file=dlio.log", "reader.pin_memory=True"]);
    lab.job(2, "datagen", "g", &logged).succeed();
    lab.job(2, "run", "t", &[&logged[..], &["--quiet"]].concat()).succeed();
    for id in ["g", "t"] {
        let text = std::fs::read_to_string(lab.path("results").join(id).join("dlio.log")).unwrap();
        for said in ["note: reader.pin_memory: no effect", "verdict: {\"status\":"] {
            assert_eq!(text.matches(said).count(), 1, "{said}: {text}");
        }
    }
    std::fs::remove_dir_all(lab.path("data")).unwrap();
    lab.job(1, "run", "f", &logged).fail_with(1);
    let text = std::fs::read_to_string(lab.path("results/f/dlio.log")).unwrap();
    assert!(!text.contains("verdict"), "{text}");
}

#[test]
fn devices_are_recorded_where_profiling_is_on() {
    if !mpirun_is_there() {
        return;
    }
    let lab = Lab::new();
    let missing = set(&["workflow.profiling=True", "profiling.iostat_devices=[nosuchdisk7]"]);
    let ended = lab.job(2, "datagen", "g", &missing).fail_with(2);
    ended.one_error(&["profiling.iostat_devices", "nosuchdisk7"]);
    lab.job(2, "datagen", "g", &[]).succeed();
    let blocks = std::fs::read_dir("/sys/class/block").into_iter().flatten().flatten();
    let Some(device) = blocks.map(|entry| entry.file_name().into_string().unwrap()).min() else {
        eprintln!("skipped in part: no block device");
        return;
    };
    let devices = format!("profiling.iostat_devices=[{device}]");
    let on = set(&["workflow.profiling=True", &devices, "train.computation_time=0.2"]);
    lab.job(2, "run", "on", &on).succeed();
    lab.job(2, "run", "off", &set(&[&devices])).succeed();
    let rows = |id: &str| {
        let path = lab.path("results").join(id).join("series.csv");
        let text = std::fs::read_to_string(path).unwrap();
        let is_device = |line: &&str| line.contains(&format!(",{device}@"));
        (text.lines().filter(is_device).count(), text.lines().next().unwrap().to_string())
    };
    assert_eq!(rows("off").0, 0);
    let (_, header) = rows("on");
    assert!(header.ends_with("device,reads,writes,io_ms"), "{header}");
    // Without names it is what lies below the data: the reads of the run are among its own.
    if rankio::storage::proof::device_names(&lab.path("data")).is_empty() {
        eprintln!("skipped in part: no block device below the data");
    } else {
        lab.job(2, "run", "own", &set(&["workflow.profiling=True"])).succeed();
        let text = std::fs::read_to_string(lab.path("results/own/series.csv")).unwrap();
        let rows = text.lines().map(|line| line.split(',').collect::<Vec<_>>());
        let rows: Vec<_> = rows.filter(|row| row[8].contains('@')).collect();
        let read: u64 = rows.iter().map(|row| row[3].parse::<u64>().unwrap()).sum();
        let phase = lab.phase("own", "training");
        assert_eq!(phase["storage"]["direct"], true);
        let transferred = phase["bytes"]["transferred"].as_u64().unwrap();
        assert!(read >= transferred, "{read} of {transferred} bytes were recorded: {text}");
    }
    // A device that nobody uses has no row: only seconds up to its last request are written.
    let text = std::fs::read_to_string(lab.path("results/on/series.csv")).unwrap();
    assert!(text.lines().all(|line| line.split(',').count() == 12), "{text}");
}

#[test]
fn a_foreign_dataset_of_other_sizes_is_invalid() {
    if !mpirun_is_there() {
        return;
    }
    let lab = Lab::new();
    lab.job(2, "datagen", "g", &set(RECORDS)).succeed();
    std::fs::remove_file(lab.path("data/.rankio-dataset.json")).unwrap();
    lab.job(2, "run", "right", &set(RECORDS)).succeed();
    let right = lab.result("right");
    assert_ne!(right["verdict"]["status"], "INVALID", "{}", reasons(&right));
    assert!(!reasons(&right).contains("not of the configured size"), "{}", reasons(&right));
    // Where its records lie need not be known to read it whole.
    std::fs::remove_dir_all(lab.path("data/index")).unwrap();
    let memory = [&set(RECORDS)[..], &["--set", "reader.read_type=memory"]].concat();
    lab.job(2, "run", "memory", &memory).succeed();
    assert_eq!(lab.phase("memory", "training")["ops"]["read"], 6, "a read for each file");
    for (id, configured) in [("larger", "1000"), ("smaller", "30000")] {
        let wrong = format!("dataset.record_length_bytes={configured}");
        let settings = [RECORDS, &[wrong.as_str()]].concat();
        lab.job(2, "run", id, &set(&settings)).succeed();
        let result = lab.result(id);
        assert_eq!(result["verdict"]["status"], "INVALID", "{id}");
        let why = reasons(&result);
        assert!(why.contains("not of the configured size"), "{id}: {why}");
        assert!(why.contains(&format!("{configured} are configured")), "{id}: {why}");
    }
}

#[test]
fn excluded_steps_are_left_out_of_the_metric() {
    if !mpirun_is_there() {
        return;
    }
    let lab = Lab::new();
    lab.job(1, "datagen", "g", &[]).succeed();
    // 13 files, batches of 2: 6 steps.
    let window = set(&["output.metric.exclude_start_steps=2", "output.metric.exclude_end_steps=1"]);
    lab.job(1, "run", "some", &window).succeed();
    let metrics = &lab.phase("some", "training")["metrics"];
    assert_eq!(
        (&metrics["excluded_start_steps"], &metrics["excluded_end_steps"]),
        (&Value::from(2), &Value::from(1))
    );
    assert!(metrics["au_percent_mean"].as_f64().unwrap() > 0.0);
    lab.job(1, "run", "all", &set(&["output.metric.exclude_end_steps=6"])).succeed();
    let result = lab.result("all");
    assert!(reasons(&result).contains("AU cannot be judged"), "{}", reasons(&result));
    let metrics = &lab.phase("all", "training")["metrics"];
    assert_eq!(metrics["au_percent_mean"], 0.0, "no step is left");
}

#[test]
fn each_sample_is_preprocessed() {
    if !mpirun_is_there() {
        return;
    }
    let lab = Lab::new();
    lab.job(1, "datagen", "g", &[]).succeed();
    let settings = ["reader.read_threads=1", "train.computation_time=0"];
    let slept = |id: &str, time: &str| {
        let time = format!("reader.preprocess_time={time}");
        lab.job(1, "run", id, &set(&[&settings[..], &[&time]].concat())).succeed();
        lab.phase(id, "training")["window_s"].as_f64().unwrap()
    };
    // One thread, 2 epochs of 12 samples; a sleep may last longer but never shorter.
    assert!(slept("constant", "0.02") >= 24.0 * 0.02);
    assert!(slept("uniform", "{type: uniform, min: 0.02, max: 0.03}") >= 24.0 * 0.02);
}

#[test]
fn the_required_utilization_is_that_of_the_file() {
    if !mpirun_is_there() {
        return;
    }
    let lab = Lab::new();
    lab.job(1, "datagen", "g", &[]).succeed();
    for (id, au, passes) in [("low", "0", true), ("high", "1", false)] {
        lab.job(1, "run", id, &set(&[&format!("metric.au={au}")])).succeed();
        assert_eq!(lab.phase(id, "training")["metrics"]["au_pass"], passes, "{id}");
    }
}

#[test]
fn progress_says_whose_it_is() {
    if !mpirun_is_there() {
        return;
    }
    let lab = Lab::new();
    let ended = lab.job(2, "datagen", "g", &[]).succeed();
    assert!(ended.err.contains("datagen (rank 0 of 2): "), "{ended}");
    let ended = lab.job(1, "run", "t", &[]).succeed();
    assert!(ended.err.contains("training: 12/12"), "{ended}");
}

/// They were not held to the cap at all.
#[test]
fn write_threads_beyond_the_cap_are_refused() {
    if !mpirun_is_there() {
        return;
    }
    let lab = Lab::new();
    let many = set(&["reader.write_threads=2000", "io.max_buffer_bytes=64MiB"]);
    let ended = lab.job(2, "datagen", "g", &many).fail_with(2);
    ended.one_error(&["reader.write_threads is 2000", "io.max_buffer_bytes", "give at most"]);
    assert!(!lab.path("data").exists());
}

/// It ended with 0 and the summary was lost.
#[test]
fn a_run_whose_summary_cannot_be_printed_says_where_its_results_are() {
    if !mpirun_is_there() {
        return;
    }
    let lab = Lab::new();
    lab.job(1, "datagen", "g", &[]).succeed();
    let words = lab.job(2, "run", "t", &[]).words();
    let program = words.iter().position(|word| word.ends_with("/rankio")).unwrap();
    let (launcher, command) = words.split_at(program);
    let shell = ["sh", "-c", "exec \"$0\" \"$@\" > /dev/full"].map(String::from);
    let words = [launcher, &shell[..], command].concat();
    let ended = lab.raw(words).fail_with(1);
    ended.one_error(&["standard output cannot be written", "results/t"]);
    assert_eq!(lab.result("t")["run"]["ranks"], 2);
}
