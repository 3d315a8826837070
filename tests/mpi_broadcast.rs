//! `checkpoint.restore: broadcast` and `reshard` of the real program under mpirun: what is read
//! from storage, what comes by MPI, and that both are what was written.

#![cfg(feature = "mpi")]

mod launch;

use launch::{Ended, Job, Lab, mpirun_is_there};
use serde_json::Value;

/// A sharded model of a few MiB with ragged tails and four blocks.
const MODEL: &str = "
model:
  type: transformer
  num_layers: 4
  model_datatype: fp16
  optimizer_datatype: fp32
  parallelism: {tensor: 1, pipeline: 1, zero_stage: 1}
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
io: {block_size: 64KiB, queue_depth: 4}
";

fn lab() -> Lab {
    let lab = Lab::new();
    std::fs::write(lab.path("model.yaml"), MODEL).unwrap();
    lab
}

/// A run with `settings` on the checkpoint folder `C`.
fn job(lab: &Lab, ranks: usize, id: &str, settings: &[&str], options: &[&str]) -> Job {
    let [model, folder, results] = ["model.yaml", "C", "results"].map(|name| lab.arg(name));
    let mut words = vec!["run", &model, "--checkpoint-dir", &folder, "--results-dir", &results];
    words.extend(["--run-id", id]);
    words.extend(settings.iter().flat_map(|set| ["--set", set]));
    words.extend(options);
    lab.command(ranks, &words)
}

/// The sections `checkpoint` of the plan.
fn planned(lab: &Lab, ranks: usize, settings: &[&str]) -> Value {
    let (model, ranks) = (lab.arg("model.yaml"), ranks.to_string());
    let mut words = vec!["plan", &model, "--json", "--ranks", &ranks];
    words.extend(settings.iter().flat_map(|set| ["--set", set]));
    let Ended { out, .. } = lab.command(1, &words).succeed();
    serde_json::from_str::<Value>(&out).unwrap()["checkpoint"].take()
}

fn number(value: &Value, key: &str) -> u64 {
    value[key].as_u64().unwrap_or_else(|| panic!("{key}: {value:#}"))
}

const FULL: [&str; 2] = ["--verify", "full"];
const BROADCAST: &str = "checkpoint.restore=broadcast";
const READ_ONLY: &str = "checkpoint.num_checkpoints_write=0";

/// Settings of a grid.
fn grid(tensor: u64, pipeline: u64, zero_stage: u64) -> [String; 3] {
    [("tensor", tensor), ("pipeline", pipeline), ("zero_stage", zero_stage)]
        .map(|(key, value)| format!("model.parallelism.{key}={value}"))
}

/// Runs `ranks` ranks on a grid and compares every count with the plan.
fn broadcast_on(ranks: usize, [tensor, pipeline, zero_stage]: [u64; 3], more: &[&str]) {
    let lab = lab();
    let given = grid(tensor, pipeline, zero_stage);
    let mut settings: Vec<&str> = given.iter().map(String::as_str).collect();
    settings.push(BROADCAST);
    settings.extend(more);
    job(&lab, ranks, "r", &settings, &FULL).succeed();
    let what = format!("{ranks} ranks, grid {tensor} x {pipeline}, ZeRO {zero_stage}, {more:?}");
    let plan = planned(&lab, ranks, &settings);
    let (model, optimizer) = (number(&plan, "model_bytes"), number(&plan, "optimizer_bytes"));
    let listeners = ranks as u64 / (tensor * pipeline) - 1;
    let sent = model + if zero_stage == 0 { optimizer } else { 0 };
    let phase = lab.phase("r", "checkpoint_restore");
    let metrics = &phase["metrics"];
    // From storage: the model once, and each optimizer shard once.
    assert_eq!(number(metrics, "bytes"), model + optimizer, "{what}");
    assert_eq!(number(metrics, "received_bytes"), listeners * sent, "{what}");
    for operation in metrics["operations"].as_array().unwrap() {
        assert_eq!(number(operation, "bytes"), model + optimizer, "{what}");
        assert_eq!(number(operation, "received_bytes"), listeners * sent, "{what}");
    }
    assert_eq!(number(&phase["bytes"], "requested"), 2 * (model + optimizer), "{what}");
    // Everything was compared where it was read and where it was received.
    let all = 2 * (model + optimizer + listeners * sent);
    assert_eq!(number(&phase["verify"], "bytes_checked"), all, "{what}");
    let rate = |key: &str| metrics[key].as_f64().unwrap();
    let ratio = rate("delivered_gib_per_s") / rate("strict_gib_per_s");
    let wanted = (model + optimizer + listeners * sent) as f64 / (model + optimizer) as f64;
    assert!((ratio / wanted - 1.0).abs() < 1e-9, "{what}: {ratio}, wanted {wanted}");
    let text = std::fs::read_to_string(lab.path("results/r/summary.txt")).unwrap();
    assert_eq!(text.contains("by MPI"), listeners * sent > 0, "{text}");
}

#[test]
fn one_copy_reads_and_the_others_receive() {
    if !mpirun_is_there() {
        return;
    }
    for (ranks, grid) in [
        (2, [1, 1, 1]),
        (2, [2, 1, 1]),
        (3, [1, 1, 0]),
        (4, [2, 1, 1]),
        (4, [1, 2, 1]),
        (4, [1, 2, 0]),
        (4, [1, 1, 2]),
        (4, [2, 2, 1]),
    ] {
        broadcast_on(ranks, grid, &[]);
    }
}

#[test]
fn a_broadcast_goes_with_every_layout_order_and_engine() {
    if !mpirun_is_there() {
        return;
    }
    broadcast_on(4, [2, 1, 1], &["checkpoint.layout=safetensors"]);
    broadcast_on(4, [2, 1, 1], &["checkpoint.order=reference", "io.engine=sync"]);
    broadcast_on(2, [1, 1, 1], &["io.engine=mmap"]);
    broadcast_on(2, [1, 1, 1], &["io.queue_depth=1"]);
    // Blocks beyond what MPI sends eagerly, and with the whole file in one.
    broadcast_on(2, [1, 1, 1], &["io.block_size=8MiB"]);
}

#[test]
fn weights_alone_are_broadcast_alone() {
    if !mpirun_is_there() {
        return;
    }
    let lab = lab();
    job(&lab, 3, "w", &["checkpoint.num_checkpoints_read=0"], &[]).succeed();
    let settings = [BROADCAST, READ_ONLY, "checkpoint.weights_only=True"];
    job(&lab, 3, "r", &settings, &FULL).succeed();
    let model = number(&planned(&lab, 3, &[]), "model_bytes");
    let metrics = lab.phase("r", "checkpoint_restore")["metrics"].take();
    assert_eq!(number(&metrics, "bytes"), model);
    assert_eq!(number(&metrics, "received_bytes"), 2 * model);
}

#[test]
fn a_model_that_every_rank_wrote_is_not_sent() {
    if !mpirun_is_there() {
        return;
    }
    let lab = lab();
    let kind = ["model.type=cnn", "model.num_layers=-1", "model.model_size_bytes=300001"];
    for (id, ranks_write, read, received) in
        [("all", "all_ranks", 900_003, 0), ("zero", "rank_zero", 300_001, 600_002)]
    {
        let given = format!("checkpoint.type={ranks_write}");
        let zero = "model.parallelism.zero_stage=0";
        let settings = [&kind[..], &[BROADCAST, zero, &given]].concat();
        job(&lab, 3, id, &settings, &[&FULL[..], &["--overwrite"]].concat()).succeed();
        let metrics = lab.phase(id, "checkpoint_restore")["metrics"].take();
        assert_eq!(
            (number(&metrics, "bytes"), number(&metrics, "received_bytes")),
            (read, received),
            "{id}"
        );
    }
}

#[test]
fn the_time_of_a_broadcast_lasts_until_the_last_rank_has_all() {
    if !mpirun_is_there() {
        return;
    }
    let lab = lab();
    job(&lab, 2, "w", &["checkpoint.num_checkpoints_read=0"], &[]).succeed();
    // Rank 0 alone is slow, and with it whoever waits for what it reads.
    let slow = "io.delay={latency: 0.2, rank: 0}";
    let common = [READ_ONLY, "checkpoint.weights_only=True", slow];
    for (id, restore, least, most) in [("same", "same", 0.0, 0.75), ("sent", "broadcast", 0.9, 1.1)]
    {
        let restore = format!("checkpoint.restore={restore}");
        job(&lab, 2, id, &[&common[..], &[&restore]].concat(), &[]).succeed();
        let metrics = lab.phase(id, "checkpoint_restore")["metrics"].take();
        let operation = &metrics["operations"][0];
        let [mean, strict] = ["mean_s", "strict_s"].map(|key| operation[key].as_f64().unwrap());
        assert!(strict > 0.2, "{id}: {operation:#}");
        assert!((least..most).contains(&(mean / strict)), "{id}: {operation:#}");
    }
}

#[test]
fn an_interrupted_broadcast_ends_without_a_figure() {
    if !mpirun_is_there() {
        return;
    }
    let lab = lab();
    job(&lab, 2, "w", &["checkpoint.num_checkpoints_read=0"], &[]).succeed();
    let settings = [BROADCAST, READ_ONLY, "io.delay={latency: 0.2, rank: 0}", "io.queue_depth=1"];
    let begun = lab.path("begun");
    let touch = format!("touch {}", begun.display());
    let mut running = job(&lab, 2, "r", &settings, &["--between", &touch]).start();
    running.wait_until("the restore begins", || begun.exists());
    std::thread::sleep(std::time::Duration::from_millis(500));
    running.signal(nix::sys::signal::Signal::SIGINT);
    let ended = running.end();
    assert!(!ended.status.success(), "{ended}");
    assert_eq!(ended.errors(), [""; 0], "{ended}");
    assert_eq!(lab.phase("r", "checkpoint_restore")["metrics"]["checkpoints"], 0);
}

#[test]
fn a_damaged_file_ends_a_broadcast_with_one_line() {
    if !mpirun_is_there() {
        return;
    }
    for (file, rank) in [
        // The rank that sends, and one that receives while it reads its own.
        ("model_0_model_states.pt", "rank 0"),
        ("zero_pp_rank_1_mp_rank_0_optim_states.pt", "rank 1"),
    ] {
        let lab = lab();
        job(&lab, 2, "w", &["checkpoint.num_checkpoints_read=0"], &[]).succeed();
        let path = lab.path("C/global_epoch1_step1").join(file);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[123_456] ^= 16;
        std::fs::write(&path, bytes).unwrap();
        let ended = job(&lab, 2, "r", &[BROADCAST, READ_ONLY], &FULL).fail_with(1);
        ended.one_error(&[rank, file, "byte 123456", "flipped bits"]);
    }
}

#[test]
fn a_broadcast_of_weights_that_no_copy_shares_is_refused() {
    if !mpirun_is_there() {
        return;
    }
    let lab = lab();
    let ended = job(&lab, 2, "r", &[BROADCAST, "model.parallelism.zero_stage=3"], &[]).end();
    assert_eq!(ended.status.code(), Some(2), "{ended}");
    ended.one_error(&["checkpoint.restore", "zero_stage 3", "give same"]);
    assert!(!lab.path("C").exists());
}

#[test]
fn four_ranks_wrote_and_two_or_eight_read() {
    if !mpirun_is_there() {
        return;
    }
    let lab = lab();
    let written = grid(2, 2, 1);
    let written: Vec<&str> = written.iter().map(String::as_str).collect();
    let write = [&written[..], &["checkpoint.num_checkpoints_read=0"]].concat();
    job(&lab, 4, "w", &write, &[]).succeed();
    let plan = planned(&lab, 4, &written);
    let (model, optimizer) = (number(&plan, "model_bytes"), number(&plan, "optimizer_bytes"));
    let read = [READ_ONLY, "checkpoint.restore=reshard", "checkpoint.reshard.written_ranks=4"];
    for (ranks, tensor, pipeline) in [(2, 2, 1), (2, 1, 2), (8, 2, 2), (8, 4, 1), (8, 1, 1)] {
        let target = [("tensor", tensor), ("pipeline", pipeline)]
            .map(|(key, value)| format!("checkpoint.reshard.{key}={value}"));
        let target = target.iter().map(String::as_str);
        let settings: Vec<&str> = written.iter().copied().chain(read).chain(target).collect();
        let id = format!("r{ranks}-{tensor}-{pipeline}");
        job(&lab, ranks, &id, &settings, &FULL).succeed();
        let phase = lab.phase(&id, "checkpoint_restore");
        let copies = ranks as u64 / (tensor * pipeline);
        let bytes = number(&phase["metrics"], "bytes");
        // Each copy reads the model, and all ranks together the optimizer. What every tensor
        // parallel rank holds whole was written twice and is read by as many as there are.
        let most = copies * model + optimizer;
        if tensor == 2 {
            assert_eq!(bytes, most, "{id}");
        }
        assert!(bytes > most / 10 * 9 && bytes < most / 10 * 11, "{id}: {bytes} of {most}");
        assert_eq!(number(&phase["verify"], "bytes_checked"), 2 * bytes, "{id}");
    }
    // Another number than wrote it, and none at all, are told apart from damage.
    let other = [READ_ONLY, "checkpoint.restore=reshard", "checkpoint.reshard.written_ranks=8"];
    let ended = job(&lab, 2, "other", &[&written[..], &other].concat(), &[]).end();
    assert!(!ended.status.success(), "{ended}");
    ended.one_error(&["ranks"]);
}
