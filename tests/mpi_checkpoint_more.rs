//! Checkpoints of the real program under mpirun: stamped content, the client's ceiling, and what is
//! refused or told.

#![cfg(feature = "mpi")]

mod launch;

use launch::{Job, Lab, mpirun_is_there};
use std::path::PathBuf;

/// A model whose files are longer than a block and have ragged tails.
const MODEL: &str = "
model:
  name: middle
  type: transformer
  num_layers: 1
  parallelism: {tensor: 1, pipeline: 1, zero_stage: 3}
  transformer: {vocab_size: 2999, hidden_size: 128, ffn_hidden_size: 500, num_attention_heads: 4,
                num_kv_heads: 2}
framework: pytorch
workflow: {generate_data: False, train: False, checkpoint: True}
checkpoint: {num_checkpoints_write: 2, num_checkpoints_read: 2, time_between_checkpoints: 0}
io: {block_size: 1MiB, queue_depth: 2}
";

fn lab() -> Option<Lab> {
    let lab = mpirun_is_there().then(Lab::new)?;
    std::fs::write(lab.path("model.yaml"), MODEL).unwrap();
    Some(lab)
}

/// A run on `model.yaml` with the settings `more`.
fn job(lab: &Lab, id: &str, more: &[&str]) -> Job {
    let (file, folder, results) = (lab.arg("model.yaml"), lab.arg("C"), lab.arg("results"));
    let mut words = vec!["run", &file, "--checkpoint-dir", &folder, "--results-dir", &results];
    words.extend(["--run-id", id]);
    words.extend(more.iter().flat_map(|text| ["--set", *text]));
    lab.command(2, &words)
}

const STAMPED: &str = "checkpoint.content=stamped";
const FULL: &str = "verify.mode=full";

fn shard(lab: &Lab, step: u64, name: &str) -> PathBuf {
    lab.path("C").join(format!("global_epoch1_step{step}")).join(name)
}

const OPTIM: &str = "zero_pp_rank_1_mp_rank_0_optim_states.pt";

fn reasons(lab: &Lab, id: &str) -> String {
    let verdict = &lab.result(id)["verdict"];
    format!("{} {}", verdict["reasons"], verdict["held"])
}

#[test]
fn stamped_content_comes_back_and_is_named() {
    for layout in ["raw", "safetensors"] {
        let Some(lab) = lab() else { return };
        let layout = format!("checkpoint.layout={layout}");
        job(&lab, "r", &[STAMPED, FULL, &layout]).succeed();
        for kind in ["checkpoint_save", "checkpoint_restore"] {
            assert_eq!(lab.phase("r", kind)["metrics"]["content"], "stamped");
        }
        let checked = &lab.phase("r", "checkpoint_restore")["verify"]["bytes_checked"];
        let bytes = lab.phase("r", "checkpoint_save")["bytes"]["requested"].as_u64().unwrap();
        assert!(bytes > 8 << 20 && *checked == bytes, "{checked} of {bytes}");
        assert!(reasons(&lab, "r").contains("the content is stamped"));
        // Blocks of another size find the same bytes.
        let blocks = ["io.block_size=3MiB", "checkpoint.num_checkpoints_write=0"];
        job(&lab, "s", &[&[STAMPED, FULL, &layout][..], &blocks].concat()).succeed();
    }
}

#[test]
fn damage_of_stamped_content_is_found() {
    let Some(lab) = lab() else { return };
    job(&lab, "w", &[STAMPED, "checkpoint.num_checkpoints_read=0"]).succeed();
    let read = |id: &str, parts: &[&str]| {
        let ended = job(&lab, id, &[STAMPED, FULL, "checkpoint.num_checkpoints_write=0"]).end();
        assert!(!ended.status.success(), "{ended}");
        ended.error_of_a_rank(parts);
    };
    let good = std::fs::read(shard(&lab, 2, OPTIM)).unwrap();
    std::fs::copy(shard(&lab, 1, OPTIM), shard(&lab, 2, OPTIM)).unwrap();
    read("stale", &[OPTIM, "byte 0", "stale content of version 1"]);
    let mut flipped = good.clone();
    flipped[1_234_567] ^= 16;
    std::fs::write(shard(&lab, 2, OPTIM), &flipped).unwrap();
    read("flip", &[OPTIM, "byte 1234567", "flipped bits"]);
    let mut moved = good.clone();
    moved.copy_within(1 << 20..(1 << 20) + 4096, 0);
    std::fs::write(shard(&lab, 2, OPTIM), &moved).unwrap();
    read("moved", &[OPTIM, "byte 0", "another object or offset"]);
    // Content that is made anew is another configuration.
    let ended = job(&lab, "full", &["checkpoint.num_checkpoints_write=0"]).fail_with(1);
    ended.one_error(&["another configuration", "stamped"]);
}

/// It was called truncated.
#[test]
fn a_file_with_bytes_behind_its_end_is_not_called_truncated() {
    let Some(lab) = lab() else { return };
    job(&lab, "w", &["checkpoint.num_checkpoints_read=0"]).succeed();
    let file = std::fs::OpenOptions::new().write(true).open(shard(&lab, 2, OPTIM)).unwrap();
    file.set_len(file.metadata().unwrap().len() + 1).unwrap();
    let ended = job(&lab, "r", &["checkpoint.num_checkpoints_write=0"]).fail_with(1);
    let line = ended.error_of_a_rank(&[OPTIM, "of rank 1", "the plan says", "behind its end"]);
    assert!(!line.contains("truncated"), "{line}");
}

#[test]
fn what_stamped_content_cannot_be_is_refused() {
    let Some(lab) = lab() else { return };
    for (setting, part) in [
        ("io.block_size=64KiB", "1 MiB"),
        ("dataset.compress_ratio=2", "dataset.compress_ratio"),
        ("dataset.pattern=pcg", "dataset.pattern"),
    ] {
        let ended = job(&lab, "no", &[STAMPED, setting]).fail_with(2);
        ended.one_error(&["checkpoint.content", part]);
    }
}

/// A restore had no ceiling, so that it could not be called CLIENT_BOUND.
#[test]
fn writing_and_reading_have_a_ceiling_of_their_own() {
    let Some(lab) = lab() else { return };
    job(&lab, "r", &[]).succeed();
    let calibration = &lab.result("r")["calibration"];
    for kind in ["checkpoint_save", "checkpoint_restore"] {
        for key in ["requests_per_s_per_rank", "gib_per_s_per_rank"] {
            assert!(calibration[kind][key].as_f64().unwrap() > 0.0, "{calibration:#}");
        }
    }
}

/// It was VALID with no checkpoint, and nothing said so.
#[test]
fn a_training_whose_checkpoints_are_never_due_says_so() {
    let Some(lab) = lab() else { return };
    let settings = [
        "workflow.generate_data=True",
        "workflow.checkpoint=True",
        "model.type=cnn",
        "model.model_size_bytes=300001",
        "checkpoint.steps_between_checkpoints=1000",
        &format!("checkpoint.checkpoint_folder={}", lab.arg("C")),
    ];
    let words: Vec<&str> = settings.iter().flat_map(|text| ["--set", *text]).collect();
    let ended = lab.job(2, "run", "t", &words).succeed();
    assert!(ended.err.contains("note: no checkpoint is written"), "{ended}");
    let saved = lab.phase("t", "checkpoint_save");
    assert_eq!(saved["metrics"]["checkpoints"], 0);
    let reasons = reasons(&lab, "t");
    assert!(reasons.contains("no checkpoint was due"), "{reasons}");
}

/// The reason was that nothing had emptied the page cache, though io.cache asked for it.
#[test]
fn evict_says_that_it_holds_for_trainings() {
    let Some(lab) = lab() else { return };
    job(&lab, "r", &["io.cache=evict"]).succeed();
    let verdict = lab.result("r")["verdict"].clone();
    assert_eq!(verdict["status"], "CACHED");
    let reasons = reasons(&lab, "r");
    assert!(reasons.contains("empties the page cache for a training only"), "{reasons}");
    assert!(!reasons.contains("nothing emptied"), "{reasons}");
}

#[test]
fn dropping_the_cache_before_checkpoints_is_refused() {
    let Some(lab) = lab() else { return };
    let ended = job(&lab, "no", &["io.cache=drop"]).fail_with(2);
    ended.one_error(&["io.cache: drop", "checkpoints", "evict"]);
    job(&lab, "w", &["io.cache=drop", "checkpoint.num_checkpoints_read=0"]).succeed();
}

#[test]
fn a_real_folder_for_checkpoints_of_the_null_engine_is_refused() {
    let Some(lab) = lab() else { return };
    let file = lab.arg("model.yaml");
    let words = ["run", &file, "--data-dir", "null://", "--checkpoint-dir", &lab.arg("C")];
    lab.command(2, &words).fail_with(2).one_error(&["--checkpoint-dir", "null engine"]);
    assert!(!lab.path("C").exists());
}

/// Bug: a run that wrote 2 beside older checkpoints read 2 of the older ones back.
#[test]
fn a_run_beside_older_checkpoints_reads_its_own() {
    let Some(lab) = lab() else { return };
    let none = "checkpoint.num_checkpoints_read=0";
    job(&lab, "older", &["checkpoint.num_checkpoints_write=4", none]).succeed();
    let read = |id: &str| -> Vec<u64> {
        let phase = lab.phase(id, "checkpoint_restore");
        let operations = phase["metrics"]["operations"].as_array().unwrap().iter();
        operations.map(|one| one["checkpoint"].as_u64().unwrap()).collect()
    };
    job(&lab, "own", &[FULL]).succeed();
    assert_eq!(read("own"), [1, 2]);
    // The newest.
    job(&lab, "later", &[FULL, "checkpoint.num_checkpoints_write=0"]).succeed();
    assert_eq!(read("later"), [1, 2]);
}

/// Bug: nothing told how long a checkpoint had been there when another job read it.
#[test]
fn a_restore_tells_the_time_since_the_commit() {
    let Some(lab) = lab() else { return };
    let gaps = |id: &str| {
        let phase = lab.phase(id, "checkpoint_restore");
        let operations = phase["metrics"]["operations"].as_array().unwrap().clone();
        let gaps: Vec<f64> = operations.iter().filter_map(|one| one["gap_s"].as_f64()).collect();
        assert_eq!(gaps.len(), 2, "{phase:#}");
        (gaps, phase["metrics"]["between_s"].as_f64())
    };
    let (file, folder, results) = (lab.arg("model.yaml"), lab.arg("C"), lab.arg("results"));
    let words = ["run", &file, "--checkpoint-dir", &folder, "--results-dir", &results];
    let more = ["--run-id", "one", "--between", "sleep 0.3"];
    lab.command(2, &[&words[..], &more].concat()).succeed();
    let (one, between_s) = gaps("one");
    assert!(between_s.unwrap() >= 0.3, "{between_s:?}");
    assert!(one.iter().all(|gap| *gap >= 0.3), "{one:?}");
    let saved = lab.phase("one", "checkpoint_save");
    assert!(saved["metrics"]["operations"][0]["gap_s"].is_null(), "{saved:#}");
    // The same checkpoints, later.
    job(&lab, "two", &["checkpoint.num_checkpoints_write=0"]).succeed();
    let (two, between_s) = gaps("two");
    assert_eq!(between_s, None);
    assert!(two.iter().zip(&one).all(|(two, one)| two > one), "{two:?} {one:?}");
}

/// Bug: these were refused after all had been written.
#[test]
fn a_restore_that_cannot_work_is_refused_before_the_first_write() {
    let Some(lab) = lab() else { return };
    let ring = job(&lab, "ring", &["checkpoint.restore=ring"]).fail_with(2);
    ring.one_error(&["checkpoint.restore: ring", "2 of 2 ranks stand on one"]);
    let tensor = ["checkpoint.restore=reshard", "checkpoint.reshard.tensor=3"];
    let reshard = job(&lab, "reshard", &tensor).fail_with(2);
    reshard.one_error(&["2 ranks are no multiple", "checkpoint.reshard.tensor"]);
    assert!(!lab.path("C").exists());
    let file = lab.arg("model.yaml");
    let plan = ["plan", &file, "--ranks", "4", "--set", "checkpoint.restore=ring"];
    let hosts = |hosts: &str| lab.command(1, &[&plan[..], &["--hosts", hosts]].concat()).plain();
    hosts("1").fail_with(2).one_error(&["4 of 4 ranks stand on one"]);
    hosts("2").succeed();
    lab.command(1, &plan).plain().succeed();
}

#[test]
fn runs_of_checkpoints_alone_are_repeated() {
    let Some(lab) = lab() else { return };
    let (file, folder, results) = (lab.arg("model.yaml"), lab.arg("C"), lab.arg("results"));
    let words = ["run", &file, "--checkpoint-dir", &folder, "--results-dir", &results];
    let repeated = ["--run-id", "s", "--repeat", "2", "--warmup-runs", "1", "--set", FULL];
    let ended = lab.command(2, &[&words[..], &repeated].concat()).succeed();
    let text = std::fs::read_to_string(lab.path("results/s/repeat.json")).unwrap();
    let report: serde_json::Value = serde_json::from_str(&text).unwrap();
    let runs = report["runs"].as_array().unwrap();
    assert_eq!(runs.len(), 3, "{report:#}");
    for (index, run) in runs.iter().enumerate() {
        assert_eq!((&run["warmup"], &run["partial"]), (&(index == 0).into(), &false.into()));
        let folder = run["folder"].as_str().unwrap();
        assert!(folder.starts_with("checkpointing/middle/run/"), "{folder}");
        assert!(lab.path(&format!("results/s/{folder}/result.json")).exists());
    }
    let joined = lab.path("results/s/checkpointing/middle/run/results.json");
    let joined = std::fs::read_to_string(joined).unwrap();
    let joined: serde_json::Value = serde_json::from_str(&joined).unwrap();
    assert_eq!(joined.as_array().map(Vec::len), Some(3), "{joined:#}");
    let rate = |run: usize| runs[run]["rates"][0]["value"].as_f64().unwrap();
    let mean = report["rates"][0]["over_runs"]["mean"].as_f64().unwrap();
    let expected = (rate(1) + rate(2)) / 2.0;
    assert!((mean - expected).abs() < 1e-6 * expected, "{report:#}");
    let names: Vec<_> = report["rates"].as_array().unwrap().iter().map(|r| &r["name"]).collect();
    let (strict, official) = ("strict_gib_per_s", "official_gib_per_s_mean");
    assert_eq!(names, [strict, "committed_gib_per_s", official, strict, official]);
    assert!(ended.out.contains("coefficient"), "{ended}");
}
