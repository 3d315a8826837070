//! The official formulas and the `mlperf/` files against what other tools wrote: a published MLPerf
//! Storage v1.0 run of 24 ranks and the output of DLIO 2.0.0. The fixtures lie beside the
//! repository (or where `RANKIO_SHARED` says); without them the tests say so and pass.

use rankio::host::HostFacts;
use rankio::report::dlio::{
    BlockLog, EpochLog, RankLog, RunFacts, data_gib_per_host, summary_json, write_summary,
};
use rankio::report::official::{
    EpochSums, EpochValue, Rules, RunFigures, Variant, block_value, epoch_value,
};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Steps of one epoch in the published run: 91,000 files over 24 ranks in batches of 7.
const PUBLISHED_STEPS: u64 = 541;
const PUBLISHED_RANKS: u64 = 24;
const PUBLISHED_RECORD_BYTES: f64 = 146_600_628.0;

fn fixtures() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared");
    let shared = std::env::var_os("RANKIO_SHARED").map_or(beside, PathBuf::from);
    let fixtures = shared.join("fixtures");
    if !fixtures.is_dir() {
        eprintln!("skipped: no fixtures in {}", fixtures.display());
        return None;
    }
    Some(fixtures)
}

fn read(path: &Path) -> Value {
    let text = std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_str(&text).unwrap()
}

/// The published run, unpacked.
fn published() -> Option<tempfile::TempDir> {
    let archive = fixtures()?.join("mlperf-v1.0/unet3d-a100-24-accelerators.tar.xz");
    let dir = tempfile::tempdir().unwrap();
    let status = Command::new("tar").arg("xJf").arg(&archive).arg("-C").arg(dir.path()).status();
    if !status.is_ok_and(|status| status.success()) {
        eprintln!("skipped: tar and xz cannot unpack {}", archive.display());
        return None;
    }
    Some(dir)
}

fn floats(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
}

/// A block as the other tool stored it. Its length is not stored (but for rank 0, rounded by the
/// time between two clock readings); it follows from the throughput, which is N batch / length.
fn stored_block(epoch: &Value, name: &str, batch_size: u64) -> (BlockLog, EpochValue) {
    let (load, proc) = (floats(&epoch["load"][name]), floats(&epoch["proc"][name]));
    let compute = floats(&epoch["compute"][name]);
    let samples_per_s = epoch["throughput"][name].as_f64().unwrap();
    let au_percent = epoch["au"][name].as_f64().unwrap();
    let steps = compute.len() as u64;
    let block = BlockLog {
        duration_s: (steps * batch_size) as f64 / samples_per_s,
        // These versions stored the configured compute time, but proc contains the measured one.
        load_s: proc.iter().zip(&compute).map(|(proc, compute)| proc - compute).collect(),
        compute_s: compute,
        samples: vec![batch_size; steps as usize],
        ..Default::default()
    };
    assert_eq!(load.len(), block.load_s.len());
    (block, EpochValue { au_percent, samples_per_s, steps })
}

fn rules(expected_steps: u64) -> Rules {
    Rules { variant: Variant::V1, exclude_start_steps: 1, exclude_end_steps: 0, expected_steps }
}

/// Seconds between the `start` and `end` of an entry of the per-epoch file (within one day).
fn stored_length_s(entry: &Value) -> f64 {
    let second_of_day = |key: &str| {
        let clock = entry[key].as_str().unwrap().split_once('T').unwrap().1;
        clock.split(':').fold(0.0, |sum, part| sum * 60.0 + part.parse::<f64>().unwrap())
    };
    second_of_day("end") - second_of_day("start")
}

fn close(found: f64, expected: f64, relative: f64) {
    let error = (found - expected).abs() / expected.abs().max(f64::MIN_POSITIVE);
    assert!(error <= relative, "{found} is not {expected} within {relative}: off by {error}");
}

#[test]
fn the_published_run_is_recomputed() {
    let Some(dir) = published() else { return };
    let run = dir.path().join("run1");
    let summary = read(&run.join("summary.json"));
    let mut sums = vec![EpochSums::default(); 5];
    for rank in 0..PUBLISHED_RANKS {
        let output = read(&run.join(format!("{rank}_output.json")));
        for (index, sum) in sums.iter_mut().enumerate() {
            let (block, stored) = stored_block(&output[(index + 1).to_string()], "block1", 7);
            assert_eq!(stored.steps, PUBLISHED_STEPS);
            let value = block_value(&block, &rules(PUBLISHED_STEPS));
            // AU and throughput used the same block length.
            close(value.au_percent, stored.au_percent, 1e-9);
            close(value.samples_per_s, stored.samples_per_s, 1e-12);
            sum.add(&EpochSums::of(&epoch_value(&[value])));
        }
    }
    let figures = RunFigures::new(&sums);
    let metric = &summary["metric"];
    let published_au = floats(&metric["train_au_percentage"]);
    let published_rate = floats(&metric["train_throughput_samples_per_second"]);
    for epoch in 0..5 {
        close(figures.au_percent_per_epoch[epoch], published_au[epoch], 1e-9);
        close(figures.samples_per_s_per_epoch[epoch], published_rate[epoch], 1e-12);
    }
    let number = |key: &str| metric[key].as_f64().unwrap();
    close(figures.au_percent.mean, number("train_au_mean_percentage"), 1e-9);
    close(figures.au_percent.stdev, number("train_au_stdev_percentage"), 1e-4);
    close(figures.samples_per_s.mean, number("train_throughput_mean_samples_per_second"), 1e-9);
    close(figures.samples_per_s.stdev, number("train_throughput_stdev_samples_per_second"), 1e-9);
    let mib = figures.mib_per_s(PUBLISHED_RECORD_BYTES);
    close(mib.mean, number("train_io_mean_MB_per_second"), 1e-9);
    close(mib.stdev, number("train_io_stdev_MB_per_second"), 1e-9);
    assert!(figures.au_pass(0.90));
    assert_eq!(metric["train_au_meet_expectation"], "success");
}

#[test]
fn rank_0_of_the_published_run_agrees_with_its_stored_block_lengths() {
    let Some(dir) = published() else { return };
    let run = dir.path().join("run1");
    let (output, stats) =
        (read(&run.join("0_output.json")), read(&run.join("per_epoch_stats.json")));
    for epoch in ["1", "2", "3", "4", "5"] {
        let (block, stored) = stored_block(&output[epoch], "block1", 7);
        let duration_s = stored_length_s(&stats[epoch]["block1"]);
        let value = block_value(&BlockLog { duration_s, ..block }, &rules(PUBLISHED_STEPS));
        // The stored times were read a little after those that the formulas used.
        close(value.au_percent, stored.au_percent, 1e-4);
        close(value.samples_per_s, stored.samples_per_s, 1e-4);
    }
}

#[test]
fn later_formulas_differ_from_the_published_one_as_they_must() {
    let Some(dir) = published() else { return };
    let output = read(&dir.path().join("run1/0_output.json"));
    let (block, stored) = stored_block(&output["1"], "block1", 7);
    let value = |variant| block_value(&block, &Rules { variant, ..rules(PUBLISHED_STEPS) });
    let (v3, v2) = (value(Variant::V3), value(Variant::V2));
    assert_eq!(v3.au_percent, v2.au_percent);
    close(v3.samples_per_s / v2.samples_per_s, 540.0 / 539.0, 1e-12);
    // The first load of 40 s counts in v1.0 and is left out later.
    assert!(v2.samples_per_s > 1.08 * stored.samples_per_s);
}

#[test]
fn dlio_2_0_0_used_the_whole_block_for_throughput() {
    let Some(output_dir) = fixtures().map(|f| f.join("dlio-2.0.0/output")) else { return };
    let (summary, stats) =
        (read(&output_dir.join("summary.json")), read(&output_dir.join("per_epoch_stats.json")));
    let mut train = vec![EpochSums::default(); 2];
    for rank in 0..2 {
        let output = read(&output_dir.join(format!("{rank}_output.json")));
        for (index, sum) in train.iter_mut().enumerate() {
            let epoch = (index + 1).to_string();
            for (name, batch_size) in [("block1", 2), ("eval", 1)] {
                let (block, stored) = stored_block(&output[&epoch], name, batch_size);
                let value = block_value(&block, &rules(3));
                // AU and throughput use the same block length, so the lists give AU exactly.
                close(value.au_percent, stored.au_percent, 1e-9);
                if rank == 0 {
                    // The stored times are read up to 0.2 ms later, in a window of 23 ms or more.
                    close(block.duration_s, stored_length_s(&stats[&epoch][name]), 5e-3);
                }
                if name == "block1" {
                    sum.add(&EpochSums::of(&epoch_value(&[value])));
                }
            }
        }
    }
    let figures = RunFigures::new(&train);
    let metric = &summary["metric"];
    let stored_au = floats(&metric["train_au_percentage"]);
    let stored_rate = floats(&metric["train_throughput_samples_per_second"]);
    for epoch in 0..2 {
        close(figures.au_percent_per_epoch[epoch], stored_au[epoch], 1e-9);
        close(figures.samples_per_s_per_epoch[epoch], stored_rate[epoch], 1e-9);
    }
    close(figures.au_percent.mean, metric["train_au_mean_percentage"].as_f64().unwrap(), 1e-9);
    close(figures.au_percent.stdev, metric["train_au_stdev_percentage"].as_f64().unwrap(), 1e-9);
    assert!(!figures.au_pass(0.90));
    let mib = figures.mib_per_s(4096.0);
    close(mib.mean, metric["train_io_mean_MB_per_second"].as_f64().unwrap(), 1e-9);
    let host = HostFacts { ranks: 2, ..Default::default() };
    let data_gib = data_gib_per_host(host.ranks, 2, 4, 3, 4096.0);
    close(data_gib, summary["data_size_per_host_GB"].as_f64().unwrap(), 1e-12);
}

/// Key paths with the type of each value; lists are one `[]` entry, `/proc` texts one `*` entry.
fn structure(value: &Value, path: &str, into: &mut BTreeMap<String, &'static str>) {
    match value {
        Value::Object(map) => {
            into.insert(path.to_owned(), "object");
            let is_proc_text = path.ends_with("cpuinfo") || path.ends_with("meminfo");
            for (key, value) in map {
                let key = if is_proc_text { "*" } else { key };
                structure(value, &format!("{path}/{key}"), into);
            }
        }
        Value::Array(list) => {
            into.insert(path.to_owned(), "list");
            list.iter().for_each(|value| structure(value, &format!("{path}/[]"), into));
        }
        Value::Number(number) => {
            into.insert(path.to_owned(), if number.is_f64() { "float" } else { "integer" });
        }
        Value::String(text) => {
            let is_time = text.len() == 26 && text.as_bytes()[10] == b'T';
            into.insert(path.to_owned(), if is_time { "time" } else { "text" });
        }
        Value::Bool(_) => drop(into.insert(path.to_owned(), "bool")),
        Value::Null => drop(into.insert(path.to_owned(), "null")),
    }
}

fn same_structure(ours: &Value, theirs: &Value) {
    let (mut mine, mut reference) = (BTreeMap::new(), BTreeMap::new());
    structure(ours, "", &mut mine);
    structure(theirs, "", &mut reference);
    assert_eq!(mine, reference);
}

fn our_host() -> HostFacts {
    let text = |key: &str| BTreeMap::from([(key.to_owned(), "1".to_owned())]);
    HostFacts {
        host: "node1".into(),
        ranks: 2,
        cpus: 2,
        memory_bytes: 25_276_063_744,
        cpuinfo: text("model name"),
        meminfo: text("MemTotal"),
        ..Default::default()
    }
}

/// Three steps with figures that are no whole numbers.
fn our_block() -> (BlockLog, EpochValue) {
    let block = BlockLog {
        start_unix_ns: 1_700_000_000_123_456_789,
        end_unix_ns: 1_700_000_000_323_456_789,
        duration_s: 0.2,
        load_s: vec![0.1, 0.001, 0.001],
        compute_s: vec![0.0101; 3],
        barrier_s: vec![0.0; 3],
        samples: vec![2; 3],
    };
    let value = block_value(&block, &Rules { variant: Variant::V3, ..rules(3) });
    (block, value)
}

#[test]
fn our_mlperf_files_have_the_keys_and_types_of_dlio() {
    let Some(theirs) = fixtures().map(|f| f.join("dlio-2.0.0/output")) else { return };
    let dir = tempfile::tempdir().unwrap();
    let host = our_host();
    let (blocks, eval) = ([our_block()], our_block());
    let mut log = RankLog::create(dir.path(), 0, &host, 4.6e-5).unwrap();
    let mut sums = Vec::new();
    for epoch in [1, 2] {
        log.epoch(&EpochLog {
            epoch,
            start_unix_ns: blocks[0].0.start_unix_ns,
            end_unix_ns: eval.0.end_unix_ns,
            train_duration_s: 0.2,
            blocks: &blocks,
            checkpoints: &[],
            eval: Some(&eval),
            meminfo: &host.meminfo,
        })
        .unwrap();
        sums.push(EpochSums::of(&epoch_value(&[blocks[0].1])));
    }
    log.finish().unwrap();
    let figures = RunFigures::new(&sums);
    let hosts = [host];
    let facts = RunFacts {
        start_unix_ns: 1_700_000_000_123_456_789,
        end_unix_ns: 1_700_000_001_123_456_789,
        hosts: &hosts,
        accelerators: 2,
        accelerators_per_rank: 1,
        files_train: 4,
        files_eval: 2,
        samples_per_file: 3,
        record_length_bytes: 4096.0,
        epochs: 2,
        required_au: 0.9,
        train: Some(&figures),
        eval: Some(&figures),
        save: None,
        load: None,
        checkpoint_bytes: None,
    };
    write_summary(dir.path(), &facts).unwrap();
    let ours = |name: &str| read(&dir.path().join(name));
    assert_eq!(ours("summary.json"), summary_json(&facts));
    same_structure(&ours("summary.json"), &read(&theirs.join("summary.json")));
    let mut output = read(&theirs.join("0_output.json"));
    for epoch in ["1", "2"] {
        // The MLCommons version of DLIO says when an epoch ended there too; 2.0.0 did not.
        output[epoch]["end"] = read(&theirs.join("per_epoch_stats.json"))[epoch]["end"].clone();
    }
    same_structure(&ours("0_output.json"), &output);
    same_structure(&ours("0_per_epoch_stats.json"), &read(&theirs.join("per_epoch_stats.json")));
}
