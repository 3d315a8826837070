//! A checkpoint plan as JSON and as rows of the table for a terminal.

use super::super::show::{Table, binary, grouped};
use super::super::{WorldShape, large_checkpoint_buffers};
use super::{CheckpointPlan, HostBytes, Placement, RankClass, Schedule};
use crate::config::Config;
use serde_json::{Value, json};

/// Rows for classes of ranks; the others are counted.
const ROWS_MAX: usize = 12;
/// Memory of a host that must be written over between writing and reading (MLPerf rule 4.3.1).
const CACHE_FACTOR: u128 = 3;

/// Checkpoints that a run writes; a training's follow from its schedule, `steps` in an epoch.
fn written(config: &Config, steps: u64) -> u64 {
    let checkpoint = &config.checkpoint;
    match config.workflow.train {
        true => Schedule::of(checkpoint).count(config.train.epochs, steps),
        false => checkpoint.num_checkpoints_write,
    }
}

/// Checkpoints on storage at once: those that are kept and, while it is written, the next.
fn kept(config: &Config, steps: u64) -> u64 {
    let checkpoint = &config.checkpoint;
    let written = match written(config, steps) {
        0 => checkpoint.num_checkpoints_read,
        written => written,
    };
    match checkpoint.keep_last {
        0 => written,
        keep => written.min(keep.saturating_add(1)),
    }
}

/// The section `checkpoint` of `plan --json`; a training has `steps` in an epoch.
pub fn json(plan: &CheckpointPlan, config: &Config, (world, steps): (WorldShape, u64)) -> Value {
    let checkpoint = &config.checkpoint;
    let placed = |placement| json!(plan.host_bytes(placement, world.hosts));
    let kept = kept(config, steps);
    json!({
        "parameters": plan.parameters(),
        "files": plan.total_files(),
        "bytes_total": plan.total_bytes(),
        "model_bytes": plan.model_bytes(),
        "optimizer_bytes": plan.optimizer_bytes(),
        "grid": plan.grid(),
        "mode": checkpoint.mode,
        "layout": checkpoint.layout,
        "durability": checkpoint.durability,
        "restore": checkpoint.restore,
        "ranks": plan.classes(),
        "hosts": {
            "block": placed(Placement::Block),
            "round_robin": placed(Placement::RoundRobin),
        },
        "checkpoints_written": written(config, steps),
        "bytes_written": written(config, steps).saturating_mul(plan.total_bytes()),
        "checkpoints_read": checkpoint.num_checkpoints_read,
        "checkpoints_on_storage": kept,
        "bytes_on_storage": kept.saturating_mul(plan.total_bytes()),
        "notes": notes(plan, config, (world, steps)),
    })
}

/// Appends the rows of the section; a training has `steps` in an epoch.
pub fn rows(
    plan: &CheckpointPlan,
    config: &Config,
    (world, steps): (WorldShape, u64),
    table: &mut Table,
) {
    model_rows(plan, table);
    let classes = plan.classes();
    for class in classes.iter().take(ROWS_MAX) {
        let sizes = match (class.model_bytes, class.optimizer_bytes) {
            (0, 0) => "nothing".into(),
            (model, optimizer) => format!(
                "{}, {} ({}): {} model, {} optimizer",
                counted(class.files, "file"),
                grouped(class.bytes),
                binary(class.bytes as f64),
                binary(model as f64),
                binary(optimizer as f64)
            ),
        };
        table.row("", &span(class), sizes);
    }
    let rest = classes.len().saturating_sub(ROWS_MAX);
    if rest > 0 {
        let more = format!("and {} more (--json has all)", counted(rest as u64, "run"));
        table.row("", "", more);
    }
    let block = plan.host_bytes(Placement::Block, world.hosts);
    table.row("", "per host", format!("in blocks: {}", host_line(block)));
    let round_robin = plan.host_bytes(Placement::RoundRobin, world.hosts);
    table.row("", "", format!("round robin: {}", host_line(round_robin)));
    let (written, kept) = (written(config, steps), kept(config, steps));
    let (each, read) = (plan.total_bytes() as f64, config.checkpoint.num_checkpoints_read);
    let mut line = counted(written, "checkpoint");
    if config.workflow.train {
        line += &format!(" in {}", counted(config.train.epochs, "epoch"));
    }
    line += &format!(" ({}), {read} read back", binary(each * written as f64));
    table.row("", "written", line);
    table.row("", "on storage", format!("{} of {kept} at once", binary(each * kept as f64)));
    for note in notes(plan, config, (world, steps)) {
        table.row("", "note", note);
    }
}

fn model_rows(plan: &CheckpointPlan, table: &mut Table) {
    let grid = plan.grid();
    if plan.parameters() > 0 {
        let types = [plan.model().weights, plan.model().optimizer].map(|datatype| {
            let name = json!(datatype);
            name.as_str().unwrap_or_default().to_string()
        });
        let parameters = grouped(plan.parameters());
        let line = format!("{parameters} parameters, {} weights, {} optimizer", types[0], types[1]);
        table.row("checkpoint", "model", line);
    } else {
        table.row("checkpoint", "model", "of given size".into());
    }
    let mut line = format!(
        "{} tensor x {} pipeline x {} data, ZeRO {}",
        grid.tensor, grid.pipeline, grid.data, grid.zero_stage
    );
    let places = grid.model_ranks() * grid.data;
    if grid.ranks < places {
        line += &format!("; a subset, {} of {}", grouped(grid.ranks), counted(places, "rank"));
    }
    table.row("", "grid", line);
    let total = plan.total_bytes();
    table.row("", "bytes", format!("{} ({})", grouped(total), binary(total as f64)));
    let model = binary(plan.model_bytes() as f64);
    table.row(
        "",
        "",
        format!("{model} model, {} optimizer", binary(plan.optimizer_bytes() as f64)),
    );
    table.row("", "files", grouped(plan.total_files()));
}

/// What a reader of the figures should know and would not guess.
fn notes(plan: &CheckpointPlan, config: &Config, (world, steps): (WorldShape, u64)) -> Vec<String> {
    let mut notes = Vec::new();
    if config.workflow.train {
        notes.extend(Schedule::of(&config.checkpoint).never_due(config.train.epochs, steps));
    }
    notes.extend(large_checkpoint_buffers(config));
    let most = plan.host_bytes(Placement::Block, world.hosts).max_bytes;
    notes.push(format!(
        "a job keeps up to {} of state on a host; rankio {}",
        binary(most as f64),
        match config.checkpoint.is_async {
            true => "holds a snapshot of it (checkpoint.async)",
            false => "makes it as it writes and holds its buffers only",
        }
    ));
    let checkpoint = &config.checkpoint;
    let memory = u128::from(world.memory_per_host_bytes) * u128::from(world.hosts);
    if !config.workflow.train && checkpoint.num_checkpoints_read > 0 && memory > 0 {
        let all = u128::from(plan.total_bytes()) * u128::from(checkpoint.num_checkpoints_write);
        let (each, host) = (all as f64 / world.hosts as f64, world.memory_per_host_bytes as f64);
        let verdict = if all > CACHE_FACTOR * memory { "more" } else { "no more" };
        let mut note = format!(
            "MLPerf rules: a host writes {} before reading, {verdict} than {CACHE_FACTOR} x its \
             {}",
            binary(each),
            binary(host)
        );
        if all <= CACHE_FACTOR * memory {
            note += ": its caches must be cleared in between";
        }
        notes.push(note);
    }
    notes
}

fn host_line(bytes: HostBytes) -> String {
    let (least, most) = (binary(bytes.min_bytes as f64), binary(bytes.max_bytes as f64));
    if bytes.min_bytes == bytes.max_bytes {
        return format!("{most} each");
    }
    format!("{least} to {most}, the largest {:.2} x the mean", bytes.max_to_mean)
}

fn span(class: &RankClass) -> String {
    match class.first_rank == class.last_rank {
        true => format!("rank {}", class.first_rank),
        false => format!("ranks {}-{}", class.first_rank, class.last_rank),
    }
}

fn counted(count: u64, noun: &str) -> String {
    format!("{} {noun}{}", grouped(count), if count == 1 { "" } else { "s" })
}
