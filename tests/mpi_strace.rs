//! What the kernel sees of a run: O_DIRECT on every data file, io_uring for their bytes, and no
//! read() or pread() of them.

#![cfg(feature = "mpi")]

mod launch;

use launch::{Lab, is_there, mpirun_is_there};
use std::collections::BTreeSet;

#[test]
fn data_moves_through_io_uring_and_o_direct_only() {
    if !mpirun_is_there() {
        return;
    }
    if !is_there("strace") {
        return eprintln!("skipped: no strace on this machine");
    }
    let lab = Lab::new();
    lab.job(2, "datagen", "g", &[]).succeed();
    let calls =
        "trace=openat,openat2,open,read,pread64,readv,preadv,preadv2,mmap,mincore,io_uring_enter";
    // -y: file descriptors with their paths. One file for each rank and thread.
    let trace = ["strace", "-f", "-ff", "-y", "-qq", "-e", calls, "-o", "trace"];
    let run = lab.job(2, "run", "t", &[]).words();
    let program = run.iter().position(|word| word == env!("CARGO_BIN_EXE_rankio")).unwrap();
    let (launcher, command) = run.split_at(program);
    let trace = trace.map(String::from);
    let ended = lab.raw([launcher, &trace, command].concat()).end();
    if ended.err.contains("strace: ") {
        return eprintln!("skipped: strace may not trace here\n{ended}");
    }
    assert!(ended.status.success(), "{ended}");
    let phase = lab.phase("t", "training");
    if !phase["storage"]["engine"].as_str().unwrap().contains("uring") {
        return eprintln!("skipped: no io_uring here: {}", phase["storage"]);
    }
    let mut seen = Seen::default();
    for entry in std::fs::read_dir(lab.path("")).unwrap().flatten() {
        if entry.file_name().to_str().unwrap().starts_with("trace.") {
            let text = std::fs::read(entry.path()).unwrap();
            seen.thread(&String::from_utf8_lossy(&text));
        }
    }
    assert!(seen.rings > 0, "no io_uring_enter was seen");
    // Two ranks read 12 of 13 files in each of two epochs.
    assert!(seen.direct.len() >= 12, "opened with O_DIRECT: {:?}", seen.direct);
    // Looking which pages are in memory maps a file and asks, but touches no page.
    assert_eq!(seen.mapped, seen.looks, "mapped for more than a look at residency");
    // Each look maps twice: once far beyond the end, to see whether the kernel tells the truth.
    assert_eq!(seen.mapped, 2 * seen.cached, "opened without O_DIRECT for more than a look");
}

#[derive(Default)]
struct Seen {
    rings: usize,
    direct: BTreeSet<String>,
    cached: usize,
    mapped: usize,
    looks: usize,
}

impl Seen {
    /// The calls of one thread; descriptors are shown with their paths.
    fn thread(&mut self, text: &str) {
        for line in text.lines() {
            self.rings += usize::from(line.starts_with("io_uring_enter("));
            self.looks += usize::from(line.starts_with("mincore("));
            let Some(at) = line.find("img_") else { continue };
            if line.starts_with("mmap(") {
                self.mapped += 1;
            } else if line.starts_with("open") && line.contains("O_DIRECT") {
                self.direct.insert(line[at..].split('"').next().unwrap().to_string());
            } else {
                assert!(line.starts_with("open"), "bytes of a data file by another way: {line}");
                self.cached += 1;
            }
        }
    }
}

/// A model of a few MiB; two ranks write two files each, twice.
const MODEL: &str = "
model:
  name: small
  type: transformer
  num_layers: 2
  parallelism: {tensor: 1, pipeline: 1, zero_stage: 3}
  transformer: {vocab_size: 499, hidden_size: 128, ffn_hidden_size: 500, num_attention_heads: 4,
                num_kv_heads: 2}
framework: pytorch
workflow: {generate_data: False, train: False, checkpoint: True}
checkpoint: {num_checkpoints_write: 2, num_checkpoints_read: 0}
io: {block_size: 64KiB, queue_depth: 4}
";

/// Calls to fsync and fdatasync below the checkpoint folder, by what they sync: shards, folders of
/// checkpoints, all else (manifest, list, root, pointer). None where strace does not work.
fn syncs(durability: &str) -> Option<[usize; 3]> {
    let lab = Lab::new();
    std::fs::write(lab.path("model.yaml"), MODEL).unwrap();
    let manner = format!("checkpoint.durability={durability}");
    let (file, root, results) = (lab.arg("model.yaml"), lab.arg("C"), lab.arg("results"));
    let words = ["run", &file, "--checkpoint-dir", &root, "--results-dir", &results];
    let run = lab.command(2, &[&words[..], &["--engine", "sync", "--set", &manner]].concat());
    let run = run.words();
    let program = run.iter().position(|word| word == env!("CARGO_BIN_EXE_rankio")).unwrap();
    let (launcher, command) = run.split_at(program);
    let trace = ["strace", "-f", "-ff", "-y", "-qq", "-e", "trace=fsync,fdatasync", "-o", "trace"];
    let ended = lab.raw([launcher, &trace.map(String::from), command].concat()).end();
    if ended.err.contains("strace: ") {
        eprintln!("skipped: strace may not trace here\n{ended}");
        return None;
    }
    assert!(ended.status.success(), "{ended}");
    let mut counts = [0; 3];
    for entry in std::fs::read_dir(lab.path("")).unwrap().flatten() {
        if !entry.file_name().to_str().unwrap().starts_with("trace.") {
            continue;
        }
        let text = std::fs::read(entry.path()).unwrap();
        for line in String::from_utf8_lossy(&text).lines() {
            let Some((_, path)) = line.split_once(&format!("<{root}")) else { continue };
            let path = path.split('>').next().unwrap();
            let folder = path.starts_with("/global_") && path.ends_with(".partial");
            let is_shard = path.contains("_states");
            let index = if is_shard { 0 } else { 2 - usize::from(folder) };
            counts[index] += 1;
            if is_shard {
                let call = if durability == "fsync" { "fsync(" } else { "fdatasync(" };
                assert!(line.starts_with(call), "{durability}: {line}");
            }
        }
    }
    Some(counts)
}

#[test]
fn a_checkpoint_is_synced_as_often_as_its_file_says() {
    if !mpirun_is_there() {
        return;
    }
    if !is_there("strace") {
        return eprintln!("skipped: no strace on this machine");
    }
    let Some([shards, folders, others]) = syncs("fsync") else { return };
    assert_eq!((shards, folders), (8, 2), "one for each file, one for each folder");
    // Each commit: list, manifest, root after the rename, pointer, root again.
    assert!(others >= 10, "{others}");
    let [shards, folders, _] = syncs("fdatasync").unwrap();
    assert_eq!((shards, folders), (8, 2));
    // The marker of the root and the results are synced in any case.
    let [shards, folders, others] = syncs("none").unwrap();
    assert_eq!((shards, folders), (0, 0));
    assert!(others <= 3, "only the marker and its folder: {others}");
}
