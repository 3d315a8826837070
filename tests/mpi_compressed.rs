//! Compressed and dictionary-encoded datasets under mpirun: the same bytes on any number of ranks,
//! found complete by another datagen, and read by what their footers say.

#![cfg(feature = "mpi")]

mod launch;

use launch::{Lab, fingerprint, mpirun_is_there};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

const PARQUET: &str = "
model: {name: compressed}
framework: pytorch
workflow: {generate_data: False, train: True}
dataset:
  data_folder: data
  format: parquet
  num_files_train: 6
  num_files_eval: 1
  num_samples_per_file: 700
  compress_ratio: 2.0
  parquet:
    row_group_size: 300
    columns:
      - {name: single, size: 20}
      - {name: text, dtype: string, size: 30}
      - {name: small, dtype: int8}
      - {name: unread, dtype: binary, size: 50, read: False}
reader: {batch_size: 50, read_threads: 2, file_shuffle: seed}
train: {epochs: 2, computation_time: 0.002}
metric: {au: 0.01}
";

const CSV: &str = "
model: {name: text}
framework: pytorch
workflow: {generate_data: False, train: True}
dataset:
  data_folder: data
  format: csv
  compression: gzip
  num_files_train: 4
  num_samples_per_file: 10
  record_length_bytes: 5000
reader: {batch_size: 5, read_threads: 1}
train: {epochs: 2, computation_time: 0.002}
metric: {au: 0.01}
";

/// What decides the lengths of files.
const SETS: [[&str; 2]; 5] = [
    ["dataset.compression=gzip", "dataset.compression_level=1"],
    ["dataset.compression=snappy", "dataset.parquet.encoding=plain"],
    ["dataset.compression=zstd", "dataset.compression_level=3"],
    ["dataset.compression=lz4", "dataset.parquet.encoding=dictionary"],
    ["dataset.compression=none", "dataset.parquet.encoding=dictionary"],
];

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is no number"))
}

fn data_bytes(files: &BTreeMap<String, Vec<u8>>, folder: &str) -> u64 {
    let data = files.iter().filter(|(name, _)| name.starts_with(folder));
    data.map(|(_, bytes)| bytes.len() as u64).sum()
}

/// Every data file with its bytes.
fn files(root: &Path) -> BTreeMap<String, Vec<u8>> {
    let names = fingerprint(root).into_keys().filter(|name| name.contains('/'));
    let read = |name: &str| std::fs::read(root.join(name)).unwrap();
    names.map(|name| (name.clone(), read(&name))).collect()
}

#[test]
fn every_rank_count_writes_the_same_compressed_bytes() {
    if !mpirun_is_there() {
        return;
    }
    let lab = Lab::new();
    std::fs::write(lab.path("tiny.yaml"), PARQUET).unwrap();
    for (index, set) in SETS.iter().enumerate() {
        let mut first = None;
        for ranks in [1, 2, 3, 5] {
            let folder = lab.arg(&format!("data-{index}-{ranks}"));
            let extra = ["--data-dir", &folder, "--set", set[0], "--set", set[1]];
            let id = format!("g{index}-{ranks}");
            lab.job(ranks, "datagen", &id, &extra).succeed();
            let found = files(Path::new(&folder));
            assert_eq!(found.len(), 7, "{:?}", found.keys());
            let generated = lab.phase(&id, "datagen");
            assert_eq!(number(&generated["metrics"]["file_bytes"]), data_bytes(&found, ""));
            let first = first.get_or_insert_with(|| found.clone());
            assert!(*first == found, "{set:?}: {ranks} ranks wrote other bytes");
        }
    }
}

#[test]
fn an_unfinished_compressed_dataset_is_finished_and_no_other_is_taken_for_it() {
    if !mpirun_is_there() {
        return;
    }
    let lab = Lab::new();
    std::fs::write(lab.path("tiny.yaml"), PARQUET).unwrap();
    let zstd = ["--set", "dataset.compression=zstd"];
    lab.job(2, "datagen", "g", &zstd).succeed();
    let whole = files(&lab.path("data"));
    std::fs::remove_file(lab.path("data/train/img_3_of_6.parquet")).unwrap();
    lab.job(3, "datagen", "again", &zstd).succeed();
    let metrics = &lab.phase("again", "datagen")["metrics"];
    assert_eq!((number(&metrics["files_written"]), number(&metrics["files_kept"])), (1, 6));
    assert!(whole == files(&lab.path("data")), "the file is the same again");
    let marker = std::fs::read_to_string(lab.path("data/.rankio-dataset.json")).unwrap();
    let marker: Value = serde_json::from_str(&marker).unwrap();
    assert_eq!(marker["bytes_are_estimated"], true);

    for other in ["dataset.compression=none", "dataset.compression=lz4"] {
        let told = lab.job(2, "run", other, &["--set", other]).fail_with(1);
        told.one_error(&["holds another dataset", "dataset.compression is \"zstd\""]);
    }
    let level = ["--set", "dataset.compression=zstd", "--set", "dataset.compression_level=9"];
    let told = lab.job(2, "datagen", "level", &level).fail_with(1);
    told.one_error(&["dataset.compression_level is null, wanted 9"]);
    let verify = [&zstd[..], &["--verify", "full"]].concat();
    let told = lab.job(2, "datagen", "verify", &verify).fail_with(2);
    told.one_error(&["verify.mode", "compressed", "give none"]);
    let cleaned = lab.command(1, &["clean", &lab.arg("data")]).plain().succeed();
    assert!(cleaned.out.contains('7'), "{cleaned}");
    assert!(!lab.path("data/train").exists());
}

#[test]
fn a_compressed_dataset_is_read_by_its_footers() {
    if !mpirun_is_there() {
        return;
    }
    let lab = Lab::new();
    std::fs::write(lab.path("tiny.yaml"), PARQUET).unwrap();
    let read_with = |id: &str, set: &[&str]| {
        let folder = lab.arg(&format!("data-{id}"));
        let made = [&["--data-dir", &*folder], set].concat();
        lab.job(2, "datagen", &format!("g-{id}"), &made).succeed();
        let ended = lab.job(3, "run", id, &made).succeed();
        assert!(!ended.err.contains("not made by rankio"), "{ended}");
        let phase = lab.phase(id, "training");
        assert_eq!(phase["metrics"]["samples"], 2 * 4200, "{id}: {:#}", phase["metrics"]);
        number(&phase["bytes"]["requested"])
    };
    // Each row group once in each of two epochs, with no byte between the selected chunks: of files
    // without compression that is what the plan says.
    let gap = "dataset.parquet.coalesce_gap=0";
    let plain = read_with("plain", &["--set", gap]);
    let plan = ["plan", &lab.arg("tiny.yaml"), "--json", "--set", gap].map(String::from);
    let plan = lab.command(1, &plan.each_ref().map(|text| &**text)).plain().succeed();
    let plan: Value = serde_json::from_str(&plan.out).unwrap();
    assert_eq!(plain, 2 * number(&plan["training"]["bytes_read_per_epoch"]));
    for (index, set) in SETS.iter().enumerate() {
        let id = format!("set{index}");
        let set = ["--set", gap, "--set", set[0], "--set", set[1]];
        let bytes = read_with(&id, &set);
        let all = data_bytes(&files(&lab.path(&format!("data-{id}"))), "train");
        assert!(bytes < 2 * all, "{id}: {bytes}: the unread column is not read");
        if id == "set2" {
            assert!(3 * bytes < 2 * plain, "{id}: {bytes} of {plain} after zstd");
        }
    }
    let plan = ["plan", &lab.arg("tiny.yaml"), "--json", "--set", SETS[2][0]].map(String::from);
    let plan = lab.command(1, &plan.each_ref().map(|text| &**text)).plain().succeed();
    let plan: Value = serde_json::from_str(&plan.out).unwrap();
    assert_eq!(plan["dataset"]["bytes_are_estimated"], true);
    assert!(plan["dataset"]["notes"].to_string().contains("estimated"), "{plan:#}");
}

#[test]
fn gzipped_text_is_read_whole_and_once() {
    if !mpirun_is_there() {
        return;
    }
    let lab = Lab::new();
    std::fs::write(lab.path("tiny.yaml"), CSV).unwrap();
    lab.job(1, "datagen", "one", &["--data-dir", &lab.arg("one")]).succeed();
    lab.job(3, "datagen", "g", &[]).succeed();
    let made = files(&lab.path("data"));
    assert!(made == files(&lab.path("one")), "3 ranks wrote other bytes than 1");
    assert!(made.keys().all(|name| name.ends_with(".csv.gz")), "{:?}", made.keys());
    lab.job(2, "run", "t", &[]).succeed();
    let phase = lab.phase("t", "training");
    assert_eq!(phase["metrics"]["samples"], 2 * 40);
    assert_eq!(number(&phase["bytes"]["requested"]), 2 * data_bytes(&made, ""));
}

#[test]
fn what_was_read_is_decoded_and_the_time_is_told_apart() {
    if !mpirun_is_there() {
        return;
    }
    let lab = Lab::new();
    std::fs::write(lab.path("tiny.yaml"), PARQUET).unwrap();
    for (id, set) in [("plain", "dataset.compression=none"), ("zstd", "dataset.compression=zstd")] {
        let folder = lab.arg(&format!("data-{id}"));
        let made = ["--data-dir", &*folder, "--set", set];
        lab.job(2, "datagen", &format!("g-{id}"), &made).succeed();
        lab.job(2, "run", &format!("r-{id}"), &made).succeed();
        let raw = lab.phase(&format!("r-{id}"), "training");
        assert!(raw["metrics"].get("decode_ns").is_none(), "{:#}", raw["metrics"]);
        let decode = [&made[..], &["--set", "io.decode=True"]].concat();
        lab.job(2, "run", &format!("d-{id}"), &decode).succeed();
        let phase = lab.phase(&format!("d-{id}"), "training");
        assert_eq!(phase["metrics"]["samples"], 2 * 4200, "{id}");
        assert_eq!(phase["bytes"]["requested"], raw["bytes"]["requested"], "{id}");
        // Six files of three row groups in each epoch; where ranks share a group both decode it.
        let decoded = number(&phase["metrics"]["decode_ns"]["count"]);
        assert!((36..=38).contains(&decoded), "{id}: {decoded} row groups");
        assert!(phase["metrics"]["decode_ns"]["mean"].as_f64().unwrap() > 0.0, "{id}");
    }
    // A page that is damaged: nobody sees it who does not decode.
    let name = "train/img_0_of_6.parquet";
    let path = lab.path("data-zstd").join(name);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[4..200].fill(0xff);
    std::fs::write(&path, bytes).unwrap();
    let made = ["--data-dir", &*lab.arg("data-zstd"), "--set", "dataset.compression=zstd"];
    lab.job(1, "run", "unseen", &made).succeed();
    let decode = [&made[..], &["--set", "io.decode=True"]].concat();
    let told = lab.job(1, "run", "seen", &decode).fail_with(1);
    told.one_error(&["decode", name, "column single", "cannot be decoded"]);
}
