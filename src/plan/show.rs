//! A plan as JSON and as a table for a terminal. Bytes are integers in JSON and binary units on a
//! screen.

use super::sizes::nominal_sample_bytes;
use super::{FileSet, Plan, checkpoint};
use crate::config::{IoMode, ReadType, Shuffle};
use serde_json::{Map, Value, json};
use std::fmt::Write;

/// The sections that apply.
pub fn json(plan: &Plan) -> Value {
    let mut sections = Map::new();
    if plan.has_dataset() {
        sections.insert("dataset".into(), dataset(plan));
    }
    if plan.config.workflow.train {
        sections.insert("training".into(), training(plan));
    }
    if let (true, Some(order)) = (plan.config.workflow.evaluation, plan.eval_order()) {
        let section = json!({
            "batch_size": plan.config.reader.batch_size_eval,
            "steps": order.steps(),
            "samples": order.samples(),
        });
        sections.insert("evaluation".into(), section);
    }
    if let Some(checkpoint) = &plan.checkpoint {
        let shape = (plan.world, plan.steps_per_epoch());
        let section = checkpoint::show::json(checkpoint, &plan.config, shape);
        sections.insert("checkpoint".into(), section);
    }
    if plan.has_objects() {
        sections.insert("object".into(), super::object::json(&plan.config, plan.world.ranks));
    }
    let memory = plan.memory();
    let mut section = json!({
        "buffers_bytes_per_rank": memory.buffers_bytes,
        "bytes_per_rank": memory.bytes_per_rank(),
        "bytes_per_host": ranks_per_host(plan).saturating_mul(memory.bytes_per_rank()),
    });
    if memory.decode_bytes > 0 {
        section["decode_bytes_per_rank"] = json!(memory.decode_bytes);
    }
    if memory.snapshot_bytes > 0 {
        section["snapshot_bytes_per_rank"] = json!(memory.snapshot_bytes);
    }
    sections.insert("memory".into(), section);
    sections.insert("world".into(), json!(plan.world));
    sections.insert("hash".into(), json!(plan.hash()));
    Value::Object(sections)
}

fn dataset(plan: &Plan) -> Value {
    let dataset = &plan.config.dataset;
    let minimum = plan.minimum();
    let mut section = Map::new();
    section.insert("hash".into(), json!(plan.dataset_hash()));
    section.insert("format".into(), json!(dataset.format));
    section.insert("mode".into(), json!(plan.config.io.mode));
    section.insert("nominal_bytes_per_sample".into(), json!(nominal_sample_bytes(dataset)));
    section
        .insert("nominal_stdev_bytes_per_sample".into(), json!(dataset.record_length_bytes_stdev));
    append_files(&plan.generated, &mut section);
    if !plan.train.is_exact() {
        section.insert("bytes_are_estimated".into(), json!(true));
    }
    let total = total_bytes(&plan.train);
    section.insert("bytes_per_rank".into(), json!(total.div_ceil(plan.world.ranks)));
    section.insert("bytes_per_host".into(), json!(total.div_ceil(plan.world.hosts)));
    section.insert("minimum_files".into(), json!(minimum.files));
    section.insert("minimum_files_by_memory".into(), json!(minimum.by_bytes));
    section.insert("minimum_files_by_steps".into(), json!(minimum.by_steps));
    section.insert("meets_minimum".into(), json!(minimum.meets));
    section.insert("reasons".into(), json!(minimum.reasons));
    section.insert("notes".into(), json!(notes(plan)));
    let valid = plan.valid.as_ref().map(|files| {
        let mut section = Map::new();
        append_files(files, &mut section);
        section
    });
    section.insert("valid".into(), json!(valid));
    Value::Object(section)
}

fn append_files(files: &FileSet, section: &mut Map<String, Value>) {
    let total = total_bytes(files);
    let (least, most) = files.sizes().range_bytes();
    let (mean, stdev) = files.sizes().sample_bytes();
    section.insert("files".into(), json!(files.files()));
    section.insert("subfolders".into(), json!(files.subfolders()));
    section.insert("samples_per_file".into(), json!(files.samples_per_file()));
    section.insert("samples".into(), json!(files.samples()));
    section.insert("bytes".into(), json!(total));
    section.insert("bytes_mean_per_file".into(), json!(thousandths(total, files.files())));
    section.insert("bytes_min_per_file".into(), json!(least));
    section.insert("bytes_max_per_file".into(), json!(most));
    section.insert("bytes_mean_per_sample".into(), json!(thousandths(total, files.samples())));
    section.insert("array_bytes_mean_per_sample".into(), json!(rounded(mean)));
    section.insert("array_bytes_stdev_per_sample".into(), json!(rounded(stdev)));
}

fn training(plan: &Plan) -> Value {
    let demand = plan.demand();
    let config = &plan.config;
    let mut section = json!({
        "epochs": config.train.epochs,
        "batch_size": config.reader.batch_size,
        "file_shuffle": config.reader.file_shuffle,
        "sample_shuffle": config.reader.sample_shuffle,
        "steps_per_epoch": plan.steps_per_epoch(),
        "samples_per_epoch": plan.samples_per_epoch(),
        "samples_dropped_per_epoch": plan.train.samples().saturating_sub(plan.samples_per_epoch()),
        "demand_gib_per_s_per_rank": demand.map(|d| d.nominal_gib_per_s_per_rank),
        "demand_real_gib_per_s_per_rank": demand.map(|d| d.real_gib_per_s_per_rank),
        "demand_gib_per_s_total": demand.map(|d| d.total_gib_per_s),
    });
    if plan.accelerators_per_rank() > 1 {
        section["accelerators_per_rank"] = json!(plan.accelerators_per_rank());
        section["accelerators"] = json!(plan.accelerators());
    }
    if let Some(files) = part(plan) {
        section["files"] = json!(files);
    }
    if reads_other_bytes(plan) {
        section["bytes_read_per_epoch"] = json!(plan.bytes_read_per_epoch());
    }
    section
}

/// Files that are trained on, where they are not all.
fn part(plan: &Plan) -> Option<u64> {
    let files = plan.train.files();
    (files != plan.generated.files()).then_some(files)
}

/// Whether reading all samples is not reading all bytes.
fn reads_other_bytes(plan: &Plan) -> bool {
    plan.train.sizes().read_bytes() != plan.train.total_bytes()
}

/// Samples that can only be read together cost more where they are not used together.
fn amplification(plan: &Plan) -> Option<String> {
    let config = &plan.config;
    let group = plan.train.format().group_samples(&plan.train.shape(0));
    let apart = match config.io.mode {
        IoMode::Native => config.reader.sample_shuffle != Shuffle::Off,
        IoMode::Reference => config.reader.read_type != ReadType::Memory,
    };
    (config.workflow.train && group > 1 && apart).then(|| {
        format!(
            "{group} samples of this format can only be read together, and each is read by itself: \
             about {group} times the nominal bytes are read; reader.sample_shuffle: off with \
             io.mode: native reads them once"
        )
    })
}

/// What a reader of the figures should know and would not guess.
fn notes(plan: &Plan) -> Vec<String> {
    let dataset = &plan.config.dataset;
    let mut notes = Vec::new();
    if let Err(shortage) = plan.check_runnable() {
        notes.push(format!("cannot run: {shortage}"));
    }
    notes.extend(amplification(plan));
    if !plan.train.is_exact() {
        notes.push(
            "bytes of files and reads are estimated: they are those of the same data neither \
             compressed nor behind dictionaries; the files tell the real ones"
                .into(),
        );
    }
    let configured = dataset.record_length_bytes_stdev;
    let (mean, real) = plan.train.sizes().sample_bytes();
    if (real - configured).abs() > 0.01 * configured {
        let why = match plan.config.io.mode {
            IoMode::Reference => "two sides drawn independently, as the reference does",
            IoMode::Native if plan.train.files() == 1 => "one file has the mean size",
            IoMode::Native => "sizes must stay positive and whole",
        };
        notes.push(format!(
            "sample sizes deviate by {}, not by the configured {}: {why}",
            binary(real),
            binary(configured)
        ));
    }
    let nominal = nominal_sample_bytes(dataset);
    if (mean - nominal).abs() > 0.01 * nominal {
        notes.push(format!(
            "samples are {} on average, not the configured {}: arrays are close to square",
            binary(mean),
            binary(nominal)
        ));
    }
    if plan.config.io.mode == IoMode::Reference && plan.config.reader.sample_shuffle != Shuffle::Off
    {
        notes.push(
            "reader.sample_shuffle has no effect with io.mode: reference, as in the reference"
                .into(),
        );
    }
    notes.extend(dealt_twice(plan));
    notes
}

/// What is read of TFRecord files that are dealt twice.
fn dealt_twice(plan: &Plan) -> Option<String> {
    let (ranks, files) = (plan.accelerators(), plan.train.files());
    let dealt = files / ranks;
    if !super::deals_twice(&plan.config) || ranks == 1 {
        return None;
    }
    Some(match dealt >= ranks {
        true => format!(
            "io.mode: reference deals TFRecord files twice, as in the reference: {} of {} files \
             are read, again and again",
            grouped(dealt),
            grouped(files)
        ),
        false => format!(
            "io.mode: reference deals TFRecord files twice, as in the reference: each rank uses \
             every {}th sample of its {}, again and again",
            grouped(ranks),
            grouped(dealt)
        ),
    })
}

/// The plan as an aligned table.
pub fn text(plan: &Plan) -> String {
    let mut table = Table::default();
    if plan.has_dataset() {
        dataset_rows(plan, &mut table);
    }
    if plan.config.workflow.train {
        training_rows(plan, &mut table);
    }
    if let (true, Some(order)) = (plan.config.workflow.evaluation, plan.eval_order()) {
        let steps = format!(
            "{} of {} samples",
            grouped(order.steps()),
            grouped(plan.config.reader.batch_size_eval)
        );
        table.row("evaluation", "steps", steps);
    }
    if let Some(checkpoint) = &plan.checkpoint {
        let shape = (plan.world, plan.steps_per_epoch());
        checkpoint::show::rows(checkpoint, &plan.config, shape, &mut table);
    }
    if plan.has_objects() {
        let rows = super::object::rows(&plan.config, plan.world.ranks);
        for (place, (name, value)) in rows.into_iter().enumerate() {
            table.row(if place == 0 { "object" } else { "" }, name, value);
        }
    }
    let memory = plan.memory().bytes_per_rank();
    let mut per_rank = binary(memory as f64);
    if plan.memory().snapshot_bytes > 0 {
        let snapshot = binary(plan.memory().snapshot_bytes as f64);
        per_rank += &format!(", {snapshot} of it the snapshot of checkpoint.async");
    }
    table.row("memory", "per rank", per_rank);
    let per_host = ranks_per_host(plan).saturating_mul(memory);
    table.row("", "per host", binary(per_host as f64));
    let world = plan.world;
    table.row("world", "ranks", grouped(world.ranks));
    table.row("", "hosts", grouped(world.hosts));
    table.row(
        "",
        "host memory",
        match world.memory_per_host_bytes {
            0 => "unknown".into(),
            bytes => binary(bytes as f64),
        },
    );
    table.row("plan", "hash", plan.hash());
    table.out
}

fn dataset_rows(plan: &Plan, table: &mut Table) {
    let files = &plan.generated;
    let total = total_bytes(files);
    let (least, most) = files.sizes().range_bytes();
    let format = json!(plan.config.dataset.format);
    table.row("dataset", "format", format.as_str().unwrap_or_default().into());
    table.row("", "files", files_line(files));
    let about = if files.is_exact() { "" } else { "about " };
    table.row("", "bytes", format!("{about}{} ({})", grouped(total), binary(total as f64)));
    let mean = binary(total as f64 / files.files() as f64);
    let size = if least == most {
        mean
    } else {
        format!("{mean} mean, {} to {}", binary(least as f64), binary(most as f64))
    };
    table.row("", "file size", size);
    table.row("", "per rank", binary(total as f64 / plan.world.ranks as f64));
    table.row("", "per host", binary(total as f64 / plan.world.hosts as f64));
    if let Some(valid) = &plan.valid {
        let bytes = binary(total_bytes(valid) as f64);
        table.row("", "evaluation", format!("{}, {bytes}", files_line(valid)));
    }
    table.row("", "hash", plan.dataset_hash());
    for (index, reason) in plan.minimum().reasons.iter().enumerate() {
        table.row("", if index == 0 { "MLPerf rules" } else { "" }, reason.clone());
    }
    for note in notes(plan) {
        table.row("", "note", note);
    }
}

fn files_line(files: &FileSet) -> String {
    let mut line = grouped(files.files());
    if files.samples_per_file() > 1 {
        let (each, all) = (grouped(files.samples_per_file()), grouped(files.samples()));
        line = format!("{line} x {each} samples = {all} samples");
    }
    if files.subfolders() > 0 {
        line = format!("{line} in {} subfolders", grouped(files.subfolders()));
    }
    line
}

fn training_rows(plan: &Plan, table: &mut Table) {
    let config = &plan.config;
    table.row("training", "epochs", grouped(config.train.epochs));
    let each = plan.accelerators_per_rank();
    if each > 1 {
        let all = grouped(plan.accelerators());
        table.row("", "accelerators", format!("{all}, {} for each rank", grouped(each)));
    }
    let who = if each > 1 { "accelerator" } else { "rank" };
    if let Some(files) = part(plan) {
        let of = grouped(plan.generated.files());
        table.row("", "files", format!("{} of the {of}, evenly spread", grouped(files)));
    }
    let batch = grouped(config.reader.batch_size);
    let steps = format!("{} of {batch} samples", grouped(plan.steps_per_epoch()));
    table.row("", "steps", format!("{steps} for each epoch and {who}"));
    let read = plan.samples_per_epoch();
    let left = plan.train.samples().saturating_sub(read);
    table.row(
        "",
        "samples",
        format!("{} for each epoch, {} left out", grouped(read), grouped(left)),
    );
    if reads_other_bytes(plan) {
        let bytes = plan.bytes_read_per_epoch();
        let line = format!("{} ({}) for each epoch", grouped(bytes), binary(bytes as f64));
        table.row("", "bytes read", line);
    }
    let Some(demand) = plan.demand() else {
        table.row("", "demand", "unbounded: a step takes no computation time".into());
        return;
    };
    let (nominal, real) = (demand.nominal_gib_per_s_per_rank, demand.real_gib_per_s_per_rank);
    let counted = if reads_other_bytes(plan) { "of bytes read" } else { "with containers" };
    table.row(
        "",
        "demand",
        format!(
            "{} for each rank at 100 % AU ({} {counted})",
            per_second(nominal),
            per_second(real)
        ),
    );
    table.row("", "", format!("{} for all ranks", per_second(demand.total_gib_per_s)));
}

/// A rate in GiB/s; small ones in a unit in which they can be read.
fn per_second(gib_per_s: f64) -> String {
    if gib_per_s >= 0.01 {
        return format!("{gib_per_s:.3} GiB/s");
    }
    format!("{}/s", binary(gib_per_s * f64::from(1 << 30)))
}

/// Columns of the names in a table.
const NAME_WIDTH: usize = 14;

/// Three columns: section, name, value.
#[derive(Default)]
pub struct Table {
    out: String,
}

impl Table {
    /// Appends a line; an empty section or name means that of the line above.
    pub fn row(&mut self, section: &str, name: &str, value: String) {
        // A name that fills its column still ends before the value.
        let line = match name.len() < NAME_WIDTH || value.is_empty() {
            true => format!("{section:<12}{name:<NAME_WIDTH$}{value}"),
            false => format!("{section:<12}{name} {value}"),
        };
        writeln!(self.out, "{}", line.trim_end()).expect("a String takes any text");
    }
}

fn ranks_per_host(plan: &Plan) -> u64 {
    plan.world.ranks.div_ceil(plan.world.hosts)
}

fn total_bytes(files: &FileSet) -> u64 {
    u64::try_from(files.total_bytes()).expect("a size table of more than 2^64 bytes is refused")
}

fn thousandths(total: u64, count: u64) -> f64 {
    rounded(total as f64 / count as f64)
}

fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

/// Bytes in the largest binary unit that leaves at least 1, with one decimal: `139.8 MiB`.
pub fn binary(bytes: f64) -> String {
    let mut value = bytes;
    let mut units = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"].into_iter();
    let mut unit = "B";
    while value >= 1023.95 {
        let Some(next) = units.next() else { break };
        unit = next;
        value /= 1024.0;
    }
    if unit == "B" { format!("{value:.0} B") } else { format!("{value:.1} {unit}") }
}

/// A whole number with a comma after every three digits.
pub fn grouped(value: u64) -> String {
    let digits = value.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bug: `ranks 512-10231 file` lacked a space before the number of files.
    #[test]
    fn a_long_name_does_not_touch_its_value() {
        let mut table = Table { out: String::new() };
        table.row("", "ranks 512-1023", "1 file".into());
        table.row("", "ranks 0-3", "1 file".into());
        let lines: Vec<&str> = table.out.lines().map(str::trim_start).collect();
        assert_eq!(lines, ["ranks 512-1023 1 file", "ranks 0-3     1 file"]);
    }

    #[test]
    fn numbers_for_a_screen() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1000), "1,000");
        assert_eq!(grouped(12_345_678), "12,345,678");
        assert_eq!(binary(0.0), "0 B");
        assert_eq!(binary(1023.0), "1023 B");
        assert_eq!(binary(1024.0), "1.0 KiB");
        assert_eq!(binary(146_600_628.0), "139.8 MiB");
        assert_eq!(binary((1u64 << 30) as f64 - 1.0), "1.0 GiB");
        assert_eq!(binary(u64::MAX as f64), "16.0 EiB");
        assert_eq!(per_second(5.9), "5.900 GiB/s");
        assert_eq!(per_second(0.0000125), "13.1 KiB/s");
    }
}
