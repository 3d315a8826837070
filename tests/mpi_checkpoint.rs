//! Checkpoints of the real program under mpirun: what lies on disk is what was planned, it comes
//! back as it was written, and every kind of damage is found and named.

#![cfg(feature = "mpi")]

mod launch;

use launch::{Job, Lab, mpirun_is_there, shared};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A sharded model of a few MiB with ragged tails, two blocks and ZeRO stage 3.
const MODEL: &str = "
model:
  name: small
  type: transformer
  num_layers: 2
  model_datatype: fp16
  optimizer_datatype: fp32
  parallelism: {tensor: 1, pipeline: 1, zero_stage: 3}
  transformer:
    vocab_size: 499
    hidden_size: 128
    ffn_hidden_size: 500
    num_attention_heads: 4
    num_kv_heads: 2
framework: pytorch
workflow: {generate_data: False, train: False, checkpoint: True}
checkpoint:
  num_checkpoints_write: 2
  num_checkpoints_read: 2
  time_between_checkpoints: 0
  fsync: True
io: {block_size: 64KiB, queue_depth: 4}
";

fn lab() -> Lab {
    let lab = Lab::new();
    std::fs::write(lab.path("model.yaml"), MODEL).unwrap();
    lab
}

/// A run on `model.yaml` with the checkpoint folder `C`.
fn job(lab: &Lab, ranks: usize, id: &str, extra: &[&str]) -> Job {
    let mut arguments = vec!["run".to_string(), lab.arg("model.yaml")];
    for (option, value) in [
        ("--checkpoint-dir", lab.arg("C")),
        ("--results-dir", lab.arg("results")),
        ("--run-id", id.to_string()),
    ] {
        if !extra.contains(&option) {
            arguments.extend([option.to_string(), value]);
        }
    }
    arguments.extend(extra.iter().map(|text| text.to_string()));
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    lab.command(ranks, &arguments)
}

const READ_ONLY: [&str; 2] = ["--set", "checkpoint.num_checkpoints_write=0"];
const FULL: [&str; 2] = ["--verify", "full"];

/// Names and sizes of the files in a folder.
fn sizes(folder: &Path) -> BTreeMap<String, u64> {
    std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().into_string().unwrap(), entry.metadata().unwrap().len()))
        .collect()
}

fn names(folder: &Path) -> Vec<String> {
    sizes(folder).into_keys().collect()
}

fn json(path: PathBuf) -> Value {
    let text = std::fs::read_to_string(&path);
    serde_json::from_str(&text.unwrap_or_else(|e| panic!("{}: {e}", path.display()))).unwrap()
}

fn checkpoint(lab: &Lab, step: u64) -> PathBuf {
    lab.path("C").join(format!("global_epoch1_step{step}"))
}

/// One file of a checkpoint.
fn shard(lab: &Lab, step: u64, name: &str) -> PathBuf {
    checkpoint(lab, step).join(name)
}

#[test]
fn what_is_written_is_what_was_planned_and_comes_back() {
    if !mpirun_is_there() {
        return;
    }
    for ranks in [1, 2, 3, 5] {
        let lab = lab();
        job(&lab, ranks, "r", &FULL).succeed();
        let [saved, restored] =
            ["checkpoint_save", "checkpoint_restore"].map(|kind| lab.phase("r", kind));
        assert_eq!(
            names(&lab.path("C")),
            [".rankio-checkpoints.json", "global_epoch1_step1", "global_epoch1_step2", "latest"]
        );
        let latest = std::fs::read_to_string(lab.path("C").join("latest")).unwrap();
        assert_eq!(latest, "global_epoch1_step2\n");
        for step in [1, 2] {
            let manifest = json(shard(&lab, step, "manifest.json"));
            assert_eq!(
                (&manifest["ranks"], &manifest["checkpoint"]),
                (&ranks.into(), &step.into())
            );
            let mut found = sizes(&checkpoint(&lab, step));
            found.remove("manifest.json");
            let list = std::fs::read_to_string(shard(&lab, step, "files.jsonl")).unwrap();
            found.remove("files.jsonl");
            let listed: BTreeMap<String, u64> = list
                .lines()
                .map(|line| serde_json::from_str::<Value>(line).unwrap())
                .map(|line| {
                    (line["name"].as_str().unwrap().into(), line["bytes"].as_u64().unwrap())
                })
                .collect();
            assert_eq!(found, listed);
            assert_eq!(found.len(), 2 * ranks);
            let bytes: u64 = found.values().sum();
            assert_eq!(manifest["bytes"], bytes);
            assert_eq!(saved["metrics"]["bytes"], bytes);
            assert_eq!(restored["metrics"]["bytes"], bytes);
            assert_eq!(restored["metrics"]["operations"][step as usize - 1]["bytes"], bytes);
        }
        let both = 2 * saved["metrics"]["bytes"].as_u64().unwrap();
        assert_eq!(saved["bytes"]["requested"], both);
        assert_eq!(restored["verify"]["bytes_checked"], both);
        assert_eq!(restored["verify"]["mode"], "full");
        // One sync of each file.
        assert_eq!(saved["ops"]["sync"], 2 * 2 * ranks);
        // ranks.csv has a row for each rank and phase.
        let rows = std::fs::read_to_string(lab.path("results/r/ranks.csv")).unwrap();
        for kind in ["checkpoint_save", "checkpoint_restore"] {
            assert_eq!(rows.lines().filter(|row| row.contains(kind)).count(), ranks, "{rows}");
        }
    }
}

#[test]
fn the_figures_of_the_reference_are_there() {
    if !mpirun_is_there() {
        return;
    }
    let lab = lab();
    job(&lab, 2, "r", &[]).succeed();
    let summary = json(lab.path("results/r/mlperf/summary.json"));
    let metric = summary["metric"].as_object().unwrap();
    let keys: Vec<&str> = metric.keys().map(String::as_str).collect();
    assert_eq!(
        keys,
        [
            "save_checkpoint_io_mean_GB_per_second",
            "save_checkpoint_io_stdev_GB_per_second",
            "save_checkpoint_duration_mean_seconds",
            "save_checkpoint_duration_stdev_seconds",
            "load_checkpoint_io_mean_GB_per_second",
            "load_checkpoint_io_stdev_GB_per_second",
            "load_checkpoint_duration_mean_seconds",
            "load_checkpoint_duration_stdev_seconds",
            "checkpoint_size_GB",
        ]
    );
    let number = |name: &str| metric[name].as_f64().unwrap();
    for (kind, prefix) in [("checkpoint_save", "save"), ("checkpoint_restore", "load")] {
        let metrics = &lab.phase("r", kind)["metrics"];
        let figure = |name: &str| metrics[name].as_f64().unwrap();
        let mean = number(&format!("{prefix}_checkpoint_io_mean_GB_per_second"));
        assert_eq!(figure("official_gib_per_s_mean"), mean);
        let seconds = number(&format!("{prefix}_checkpoint_duration_mean_seconds"));
        assert_eq!(figure("official_duration_s_mean"), seconds);
        let gib = number("checkpoint_size_GB");
        assert_eq!(gib, figure("bytes") / (1u64 << 30) as f64);
        // Strict is all bytes over the times of the slowest ranks.
        let operations = metrics["operations"].as_array().unwrap();
        let slowest: f64 = operations.iter().map(|one| one["strict_s"].as_f64().unwrap()).sum();
        let strict = gib * operations.len() as f64 / slowest;
        assert!((figure("strict_gib_per_s") / strict - 1.0).abs() < 1e-9, "{metrics:#}");
    }
    for rank in 0..2 {
        let stats = json(lab.path(&format!("results/r/mlperf/{rank}_per_epoch_stats.json")));
        let epoch = stats["1"].as_object().unwrap();
        let keys: Vec<&str> = epoch.keys().map(String::as_str).collect();
        assert_eq!(keys, ["start", "save_ckpt1", "save_ckpt2", "load_ckpt1", "load_ckpt2", "end"]);
        assert!(epoch["save_ckpt1"]["throughput"].as_f64().unwrap() > 0.0);
    }
}

#[test]
fn a_delayed_rank_moves_the_strict_figure_and_not_the_official_one() {
    if !mpirun_is_there() {
        return;
    }
    let lab = lab();
    let delay = "io.delay={latency: 0.2, rank: 1}";
    let one = "checkpoint.num_checkpoints_write=1";
    let extra = ["--set", delay, "--set", one, "--set", "checkpoint.num_checkpoints_read=1"];
    job(&lab, 2, "r", &extra).succeed();
    for kind in ["checkpoint_save", "checkpoint_restore"] {
        let phase = lab.phase("r", kind);
        let one = &phase["metrics"]["operations"][0];
        let [strict, rank0] = ["strict_s", "rank0_s"].map(|key| one[key].as_f64().unwrap());
        assert!(strict >= 0.2 && rank0 < strict, "{kind}: {one}");
        assert_eq!(one["slowest_rank"], 1);
        assert_eq!(phase["ranks"]["slowest"]["rank"], 1);
    }
    // With rank_sync rank 0 waits for the slowest.
    job(&lab, 2, "s", &[&extra[..], &["--set", "checkpoint.rank_sync=True"]].concat()).succeed();
    for kind in ["checkpoint_save", "checkpoint_restore"] {
        let one = &lab.phase("s", kind)["metrics"]["operations"][0];
        let [strict, rank0] = ["strict_s", "rank0_s"].map(|key| one[key].as_f64().unwrap());
        assert!(rank0 > 0.9 * strict, "{kind}: {one}");
    }
}

/// Damages a file of the second checkpoint, and expects the words in the one line of the error.
fn damaged(damage: impl Fn(&Lab), words: &[&str]) {
    let lab = lab();
    job(&lab, 2, "w", &["--set", "checkpoint.num_checkpoints_read=0"]).succeed();
    damage(&lab);
    let ended = job(&lab, 2, "r", &[READ_ONLY, FULL].concat()).end();
    assert!(!ended.status.success(), "{ended}");
    let lines: Vec<&str> = ended.err.lines().filter(|line| line.contains("error:")).collect();
    // Two ranks may find damage of theirs at once.
    assert!(!lines.is_empty(), "{ended}");
    for word in words {
        assert!(lines.iter().all(|line| line.contains(word)), "{word}: {ended}");
    }
}

const OPTIM: &str = "zero_pp_rank_1_mp_rank_0_optim_states.pt";

#[test]
fn a_flipped_bit_is_found() {
    if !mpirun_is_there() {
        return;
    }
    let flip = |lab: &Lab| {
        let path = shard(lab, 2, OPTIM);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[1_234_567] ^= 16;
        std::fs::write(&path, bytes).unwrap();
    };
    damaged(flip, &["rank 1", OPTIM, "byte 1234567", "flipped bits", "step2"]);
}

#[test]
fn a_truncated_file_is_found() {
    if !mpirun_is_there() {
        return;
    }
    let cut = |lab: &Lab| {
        let file = std::fs::OpenOptions::new().write(true).open(shard(lab, 2, OPTIM)).unwrap();
        file.set_len(file.metadata().unwrap().len() - 1).unwrap();
    };
    damaged(cut, &["rank 1", OPTIM, "truncated"]);
}

#[test]
fn swapped_files_are_found() {
    if !mpirun_is_there() {
        return;
    }
    let swap = |lab: &Lab| {
        let [one, other] = ["0", "1"]
            .map(|rank| shard(lab, 2, &format!("zero_pp_rank_{rank}_mp_rank_0_optim_states.pt")));
        let aside = lab.path("aside");
        std::fs::rename(&one, &aside).unwrap();
        std::fs::rename(&other, &one).unwrap();
        std::fs::rename(&aside, &other).unwrap();
    };
    damaged(swap, &["optim_states.pt", "byte 0", "another object"]);
}

#[test]
fn a_file_of_an_older_checkpoint_is_found() {
    if !mpirun_is_there() {
        return;
    }
    let older = |lab: &Lab| {
        std::fs::copy(shard(lab, 1, OPTIM), shard(lab, 2, OPTIM)).unwrap();
    };
    damaged(older, &["rank 1", OPTIM, "byte 0", "stale content of version 1"]);
}

#[test]
fn an_older_checkpoint_under_a_newer_name_is_found() {
    if !mpirun_is_there() {
        return;
    }
    let older = |lab: &Lab| {
        std::fs::remove_dir_all(checkpoint(lab, 2)).unwrap();
        std::fs::rename(checkpoint(lab, 1), checkpoint(lab, 2)).unwrap();
    };
    damaged(older, &["step2/manifest.json", "belongs to global_epoch1_step1"]);
}

#[test]
fn a_checkpoint_is_written_again_and_the_last_ones_are_kept() {
    if !mpirun_is_there() {
        return;
    }
    let lab = lab();
    job(&lab, 2, "a", &FULL).succeed();
    let version = |step| json(shard(&lab, step, "manifest.json"))["version"].as_u64().unwrap();
    assert_eq!((version(1), version(2)), (1, 2));
    job(&lab, 2, "b", &FULL).succeed();
    assert_eq!((version(1), version(2)), (3, 4));
    let three = ["--set", "checkpoint.num_checkpoints_write=3", "--set", "checkpoint.keep_last=2"];
    job(&lab, 2, "c", &[&three[..], &FULL].concat()).succeed();
    let left = names(&lab.path("C"));
    let steps: Vec<_> = left.iter().filter(|name| name.starts_with("global")).collect();
    assert_eq!(steps, ["global_epoch1_step2", "global_epoch1_step3"]);
    let restored = &lab.phase("c", "checkpoint_restore")["metrics"]["operations"];
    assert_eq!((&restored[0]["checkpoint"], &restored[1]["checkpoint"]), (&2.into(), &3.into()));
}

#[test]
fn what_is_not_ours_is_left_alone() {
    if !mpirun_is_there() {
        return;
    }
    let lab = lab();
    std::fs::create_dir(lab.path("C")).unwrap();
    std::fs::write(lab.path("C").join("thesis.tex"), "precious").unwrap();
    let ended = job(&lab, 2, "a", &[]).end();
    assert!(!ended.status.success() && ended.err.contains("thesis.tex"), "{ended}");
    assert_eq!(names(&lab.path("C")), ["thesis.tex"]);
    std::fs::remove_file(lab.path("C").join("thesis.tex")).unwrap();
    // Another configuration is refused too, unless it may be removed.
    job(&lab, 2, "b", &[]).succeed();
    let other = ["--set", "model.transformer.vocab_size=300"];
    let ended = job(&lab, 2, "c", &other).end();
    for word in ["vocab_size is 499, wanted 300", "--overwrite"] {
        assert!(ended.err.contains(word), "{ended}");
    }
    job(&lab, 2, "d", &FULL).succeed();
    job(&lab, 2, "e", &[&other[..], &["--overwrite"], &FULL].concat()).succeed();
    let ended = job(&lab, 2, "f", &READ_ONLY).end();
    assert!(ended.err.contains("another configuration"), "{ended}");
    // Nothing to read at all.
    let ended = job(&lab, 2, "g", &[&READ_ONLY[..], &["--checkpoint-dir", &lab.arg("D")]].concat());
    let ended = ended.end();
    assert!(ended.err.contains("holds no checkpoints"), "{ended}");
    assert!(!lab.path("D").exists());
}

#[test]
fn every_manner_of_durability_and_order_comes_back() {
    if !mpirun_is_there() {
        return;
    }
    for (manner, syncs) in [("none", 0), ("fdatasync", 8), ("fsync", 8), ("dsync", 8)] {
        for order in ["parallel", "reference"] {
            let lab = lab();
            let manner = format!("checkpoint.durability={manner}");
            let order = format!("checkpoint.order={order}");
            let file = std::fs::read_to_string(lab.path("model.yaml")).unwrap();
            std::fs::write(lab.path("model.yaml"), file.replace("  fsync: True\n", "")).unwrap();
            let extra = ["--set", &manner, "--set", &order, "--verify", "full"];
            job(&lab, 2, "r", &extra).succeed();
            assert_eq!(lab.phase("r", "checkpoint_save")["ops"]["sync"], syncs, "{manner}");
        }
    }
}

#[test]
fn the_null_store_takes_a_model_of_any_size() {
    let Some(shared) = shared().filter(|_| mpirun_is_there()) else { return };
    let lab = lab();
    let file = shared.join("mlperf-configs/checkpointing/llama3_8b.yaml");
    let words = [
        "run",
        file.to_str().unwrap(),
        "--set",
        "checkpoint.num_checkpoints_write=1",
        "--set",
        "checkpoint.num_checkpoints_read=1",
        "--set",
        "checkpoint.time_between_checkpoints=0",
        "--checkpoint-dir",
        "null://",
        "--results-dir",
        &lab.arg("results"),
        "--run-id",
        "r",
    ];
    lab.command(4, &words).succeed();
    let phase = lab.phase("r", "checkpoint_save");
    // checkpointing, 8B on 4 ranks: 4 x (4,015,130,624 + 24,091,029,504).
    assert_eq!(phase["metrics"]["bytes"], 4 * (4_015_130_624u64 + 24_091_029_504));
    assert!(phase["client"]["peak_rss_bytes"].as_u64().unwrap() < 256 << 20, "{phase:#}");
    assert_eq!(lab.result("r")["verdict"]["status"], "CLIENT_BOUND");
}

#[test]
fn every_layout_and_every_mapping_comes_back() {
    if !mpirun_is_there() {
        return;
    }
    let total = |phase: &Value| phase["metrics"]["bytes"].as_u64().unwrap();
    for layout in ["raw", "safetensors"] {
        let lab = lab();
        let layout = format!("checkpoint.layout={layout}");
        let with = |more: &[&'static str]| {
            let mut words = vec!["--set".to_string(), layout.clone()];
            words.extend(more.iter().flat_map(|set| ["--set".into(), set.to_string()]));
            words.extend(FULL.map(String::from));
            words
        };
        let run = |ranks, id: &str, more: &[&'static str]| {
            let words = with(more);
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            job(&lab, ranks, id, &words)
        };
        run(4, "w", &[]).succeed();
        let bytes = total(&lab.phase("w", "checkpoint_save"));
        assert_eq!(total(&lab.phase("w", "checkpoint_restore")), bytes);
        let none = "checkpoint.num_checkpoints_write=0";
        run(4, "random", &[none, "checkpoint.restore=random"]).succeed();
        assert_eq!(total(&lab.phase("random", "checkpoint_restore")), bytes);
        // Two ranks read what four wrote, nothing twice and nothing not.
        let reshard = "checkpoint.restore=reshard";
        run(2, "two", &[none, reshard, "checkpoint.reshard.written_ranks=4"]).succeed();
        let read = total(&lab.phase("two", "checkpoint_restore"));
        // A header of safetensors is not read with the tensors.
        assert!(read <= bytes && read > bytes / 10 * 9, "{read} of {bytes}");
        run(4, "weights", &[none, "checkpoint.weights_only=True"]).succeed();
        let weights = total(&lab.phase("weights", "checkpoint_restore"));
        assert!(weights * 5 < bytes, "{weights} of {bytes}");
        // All ranks are on one host, so no other host has written anything.
        let ended = run(4, "ring", &[none, "checkpoint.restore=ring"]).end();
        assert!(!ended.status.success() && ended.errors().len() == 1, "{ended}");
        ended.one_error(&["ring"]);
    }
}

/// A training that writes checkpoints; `more` are settings.
fn training(lab: &Lab, id: &str, more: &[&str]) -> Job {
    let settings = [
        "workflow.generate_data=True",
        "workflow.checkpoint=True",
        "model.type=cnn",
        "model.model_size_bytes=300001",
        "checkpoint.fsync=True",
    ];
    let settings = settings.iter().chain(more).flat_map(|text| ["--set", text]);
    let folder = lab.arg("C");
    let words: Vec<&str> = settings.chain(["--checkpoint-dir", &folder, "--quiet"]).collect();
    lab.job(2, "run", id, &words)
}

fn epoch_keys(lab: &Lab, id: &str, epoch: &str) -> Vec<String> {
    let stats = json(lab.path(&format!("results/{id}/mlperf/1_per_epoch_stats.json")));
    stats[epoch].as_object().unwrap().keys().cloned().collect()
}

#[test]
fn what_the_page_cache_served_is_called_cached() {
    if !mpirun_is_there() {
        return;
    }
    let lab = lab();
    job(&lab, 2, "r", &["--buffered"]).succeed();
    assert_eq!(lab.result("r")["verdict"]["status"], "CACHED");
    let restored = lab.phase("r", "checkpoint_restore");
    let Some(before) = restored["proof"]["resident_before"].as_f64() else {
        return eprintln!("skipped: residency cannot be seen here");
    };
    assert!(before > 0.9, "{restored:#}");
    assert_eq!(restored["metrics"]["operations"][0]["resident_before"], before);
}

#[test]
fn clean_removes_checkpoints_of_ours_only() {
    if !mpirun_is_there() {
        return;
    }
    let lab = lab();
    job(&lab, 2, "r", &[]).succeed();
    let root = lab.arg("C");
    std::fs::create_dir(lab.path("C/holiday")).unwrap();
    std::fs::write(lab.path("C/holiday/photo.jpeg"), "precious").unwrap();
    let dry = lab.command(1, &["clean", &root, "--dry-run"]).succeed();
    // Four shards, a list and a manifest for each of two.
    assert!(dry.out.contains("would remove 12 files"), "{dry}");
    lab.command(1, &["clean", &root]).succeed();
    assert_eq!(names(&lab.path("C")), ["holiday"]);
    assert_eq!(names(&lab.path("C/holiday")), ["photo.jpeg"]);
    let again = lab.command(1, &["clean", &root]).end();
    assert!(!again.status.success(), "{again}");
}

#[test]
fn a_command_runs_between_writing_and_reading() {
    if !mpirun_is_there() {
        return;
    }
    let lab = lab();
    // It damages what was written, so the restore that follows must notice.
    let damage = "printf x | dd of=C/global_epoch1_step1/zero_pp_rank_1_mp_rank_0_model_states.pt \
                  bs=1 seek=4000 conv=notrunc";
    let ended = job(&lab, 2, "r", &[&["--between", damage], &FULL[..]].concat()).fail_with(1);
    ended.one_error(&["rank 1", "step1", "byte 4000"]);
    let ended = job(&lab, 2, "s", &["--between", "exit 3"]).fail_with(1);
    ended.one_error(&["--between", "exit status: 3"]);
}

#[test]
fn a_training_writes_checkpoints_between_blocks() {
    if !mpirun_is_there() {
        return;
    }
    let lab = lab();
    // Three steps in each of two epochs.
    training(&lab, "plain", &["workflow.checkpoint=False"]).succeed();
    training(&lab, "steps", &["checkpoint.steps_between_checkpoints=2"]).succeed();
    let steps = names(&lab.path("C"));
    assert_eq!(steps[1..3], ["global_epoch1_step2", "global_epoch2_step2"]);
    let keys = ["start", "block1", "save_ckpt1", "block2", "end", "duration"];
    assert_eq!(epoch_keys(&lab, "steps", "1"), keys);
    assert_eq!(epoch_keys(&lab, "steps", "2"), keys);
    let [plain, cut] = ["plain", "steps"].map(|id| lab.phase(id, "training"));
    for key in ["steps", "samples", "epochs"] {
        assert_eq!(plain["metrics"][key], cut["metrics"][key], "{key}");
    }
    assert_eq!(plain["bytes"], cut["bytes"]);
    for phase in [&plain, &cut] {
        let blocks = phase["metrics"]["blocks"].as_array().unwrap();
        let bytes: u64 = blocks.iter().map(|one| one["requested_bytes"].as_u64().unwrap()).sum();
        assert_eq!(phase["bytes"]["requested"], bytes);
        assert_eq!(blocks.len(), 2);
    }
    assert_eq!(plain["metrics"]["blocks"][0]["blocks"], 1);
    assert_eq!(cut["metrics"]["blocks"][0]["blocks"], 2);
    let saved = lab.phase("steps", "checkpoint_save");
    assert_eq!(saved["metrics"]["checkpoints"], 2);
    assert_eq!(saved["bytes"]["requested"], 2 * saved["metrics"]["bytes"].as_u64().unwrap());
    let summary = json(lab.path("results/steps/mlperf/summary.json"));
    let metric = summary["metric"].as_object().unwrap();
    for key in ["train_au_mean_percentage", "save_checkpoint_io_mean_GB_per_second"] {
        assert!(metric[key].as_f64().unwrap() > 0.0, "{key}");
    }
    assert!(!metric.contains_key("load_checkpoint_io_mean_GB_per_second"));
}

#[test]
fn a_training_writes_checkpoints_after_epochs() {
    if !mpirun_is_there() {
        return;
    }
    let lab = lab();
    training(&lab, "r", &["checkpoint.checkpoint_after_epoch=2"]).succeed();
    assert_eq!(names(&lab.path("C"))[1..2], ["global_epoch2_step3"]);
    assert_eq!(epoch_keys(&lab, "r", "1"), ["start", "block1", "end", "duration"]);
    assert_eq!(epoch_keys(&lab, "r", "2"), ["start", "block1", "save_ckpt1", "end", "duration"]);
    // Rank 0 alone by default; each rank its own where asked for.
    assert_eq!(lab.phase("r", "checkpoint_save")["metrics"]["bytes"], 300_001);
    let folder = lab.arg("all");
    let sets = [
        "workflow.checkpoint=True",
        "model.type=cnn",
        "model.model_size_bytes=300001",
        "checkpoint.type=all_ranks",
    ];
    let sets = sets.iter().flat_map(|set| ["--set", set]);
    let words: Vec<&str> = sets.chain(["--checkpoint-dir", &folder]).collect();
    lab.job(2, "run", "all", &words).succeed();
    assert_eq!(lab.phase("all", "checkpoint_save")["metrics"]["bytes"], 600_002);
    assert_eq!(lab.phase("all", "checkpoint_save")["metrics"]["files"], 2);
}

#[test]
fn an_interrupted_training_leaves_whole_checkpoints_only() {
    if !mpirun_is_there() {
        return;
    }
    let lab = lab();
    let many = ["checkpoint.steps_between_checkpoints=1", "train.epochs=2000"];
    let mut running = training(&lab, "r", &many).start();
    let first = lab.path("C/global_epoch1_step1");
    running.wait_until("a checkpoint", || first.is_dir());
    running.signal(nix::sys::signal::Signal::SIGINT);
    running.end();
    let left = names(&lab.path("C"));
    assert!(left.iter().all(|name| !name.ends_with(".removed")), "{left:?}");
    for name in left.iter().filter(|name| name.starts_with("global") && !name.contains(".0")) {
        if name.matches('.').count() == 0 {
            assert!(lab.path("C").join(name).join("manifest.json").is_file(), "{name}");
        }
    }
}
