//! A run as the reference's command would have been told to do it: which benchmark, which model,
//! the settings, and which of them are not the benchmark's own.

use crate::config::{
    CacheMode, Config, Durability, Engine, accelerator_of, benchmark, benchmark_model,
    is_object_root,
};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// What the reference would call a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind {
    /// `training` or `checkpointing`.
    pub benchmark: &'static str,
    /// `run` or `datagen`.
    pub command: &'static str,
}

impl Kind {
    /// The kind of a run; None for what the reference has not (the object micro-benchmark).
    pub fn of(config: &Config, generates_only: bool) -> Option<Kind> {
        let workflow = &config.workflow;
        let (benchmark, command) = match (generates_only, workflow.train, workflow.checkpoint) {
            (true, ..) if !workflow.object => ("training", "datagen"),
            (true, ..) => return None,
            (_, true, _) => ("training", "run"),
            (.., true) => ("checkpointing", "run"),
            _ if workflow.generate_data => ("training", "datagen"),
            _ => return None,
        };
        Some(Kind { benchmark, command })
    }

    /// Only a dataset is made.
    pub fn generates(self) -> bool {
        self.command == "datagen"
    }

    fn trains(self) -> bool {
        self.benchmark == "training" && !self.generates()
    }

    /// Name of the file with what the program wrote to `stream`.
    pub fn log_name(self, stream: &str) -> String {
        format!("{}_{}.{stream}.log", self.benchmark, self.command)
    }
}

/// One run in the reference's words.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    /// Benchmark and command.
    pub kind: Kind,
    /// The model as the reference spells it.
    pub model: String,
    /// The accelerator whose batch and compute time the run has; None without a training.
    pub accelerator: Option<String>,
    /// Every setting, with the reference's spelling of those that rankio calls otherwise.
    pub parameters: Value,
    /// Settings that are not those of the benchmark, by key.
    pub overrides: BTreeMap<String, String>,
    /// `dataset.data_folder`.
    pub data_folder: String,
    /// `checkpoint.checkpoint_folder`, checkpoints written, checkpoints read.
    pub checkpoints: (String, u64, u64),
}

impl Job {
    /// The job that `config` asks for. `sample_bytes` is the configured size of a sample.
    pub fn of(config: &Config, kind: Kind, sample_bytes: f64) -> Job {
        let checkpoint = &config.checkpoint;
        let accelerator = if kind.trains() { accelerator_of(config) } else { None };
        Job {
            kind,
            model: benchmark_model(&config.model.name),
            parameters: parameters(config, kind, sample_bytes),
            overrides: overrides(config, kind, accelerator.as_deref()),
            accelerator,
            data_folder: config.dataset.data_folder.clone(),
            checkpoints: (
                checkpoint.checkpoint_folder.clone(),
                checkpoint.num_checkpoints_write,
                checkpoint.num_checkpoints_read,
            ),
        }
    }

    /// Name of the reference's workload file: `unet3d_h100`, `unet3d_datagen`, `llama3_8b`.
    pub fn workload(&self) -> String {
        let model = self.model.replace('-', "_");
        match (&self.accelerator, self.kind.generates()) {
            (_, true) => format!("{model}_datagen"),
            (Some(accelerator), _) => format!("{model}_{accelerator}"),
            (None, _) => model,
        }
    }
}

/// A training reads its files past the page cache.
fn reads_directly(config: &Config, kind: Kind) -> bool {
    let of_files = !is_object_root(&config.dataset.data_folder);
    let direct = config.io.cache == CacheMode::Direct && config.io.engine != Engine::Null;
    kind.trains() && direct && of_files
}

/// The scheme of an object store, as `storage.storage_type`.
fn storage_type(config: &Config) -> &str {
    let root = config.dataset.data_folder.as_str();
    match root.split_once("://") {
        Some((scheme, _)) if is_object_root(root) => scheme,
        _ => "local_fs",
    }
}

fn parameters(config: &Config, kind: Kind, sample_bytes: f64) -> Value {
    let mut all = serde_json::to_value(config).unwrap_or_default();
    let mut set = |section: &str, key: &str, value: Value| {
        if let Some(section) = all.get_mut(section).and_then(Value::as_object_mut) {
            section.insert(key.into(), value);
        }
    };
    if kind.generates() {
        // The workflow of the file may go on; this run did not.
        set("workflow", "generate_data", json!(true));
        set("workflow", "train", json!(false));
        set("workflow", "checkpoint", json!(false));
    }
    // Of columns the reference knows no other size.
    if !config.dataset.parquet.columns.is_empty() {
        set("dataset", "record_length_bytes", json!(sample_bytes));
    }
    set("reader", "odirect", json!(reads_directly(config, kind)));
    set("storage", "storage_type", json!(storage_type(config)));
    set("checkpoint", "fsync", json!(config.checkpoint.durability == Durability::Fsync));
    all
}

/// Settings that differ from the benchmark's. One of the client (`io`, `storage`, `verify`) counts
/// only where it changes what is done, not how.
fn overrides(config: &Config, kind: Kind, accelerator: Option<&str>) -> BTreeMap<String, String> {
    let model = benchmark_model(&config.model.name);
    let base = benchmark(&model, accelerator).unwrap_or_default();
    let checkpoints = config.workflow.checkpoint && !kind.generates();
    let (own, theirs) = (leaves(config, kind), leaves(&base, kind));
    let mut found: BTreeMap<String, String> = own
        .iter()
        .filter(|(key, value)| counts(key, kind, checkpoints) && theirs.get(*key) != Some(*value))
        .map(|(key, value)| (key.clone(), text_of(value)))
        .collect();
    if !config.dataset.parquet.columns.is_empty() {
        // The columns say how large a sample is.
        found.retain(|key, _| !key.starts_with("dataset.record_length_bytes"));
    }
    let mut add = |key: &str, value: &str| found.insert(key.into(), value.into());
    if kind.benchmark == "training" {
        add("dataset.data_folder", &config.dataset.data_folder);
    }
    if checkpoints {
        add("checkpoint.checkpoint_folder", &config.checkpoint.checkpoint_folder);
    }
    if reads_directly(config, kind) {
        add("reader.odirect", "True");
    }
    if is_object_root(&config.dataset.data_folder) && kind.benchmark == "training" {
        add("storage.storage_type", storage_type(config));
    }
    if config.io.engine == Engine::Null {
        add("io.engine", "null");
    }
    found
}

/// Whether `key` is part of what a run of this kind does.
fn counts(key: &str, kind: Kind, checkpoints: bool) -> bool {
    let is_below = |section: &str| key.strip_prefix(section).is_some_and(|k| k.starts_with('.'));
    // Content and order: the rules ask for another seed in each run.
    let seed = ["dataset.seed", "train.seed"].contains(&key);
    let place = ["output.folder", "output.log_file", "model.name", "model.type"].contains(&key);
    // A training reads the groups that there are.
    let groups = key == "dataset.parquet.row_group_size" && kind.trains();
    if seed || place || groups {
        return false;
    }
    match key.split('.').next().unwrap_or_default() {
        "framework" => true,
        "model" | "checkpoint" => checkpoints,
        "dataset" => kind.benchmark == "training",
        "reader" | "train" | "evaluation" | "metric" | "output" => kind.trains(),
        "io" => {
            ["io.delay", "io.fault"].iter().any(|section| key == *section || is_below(section))
                || (key == "io.drop_last" && kind.trains())
        }
        _ => false,
    }
}

/// Every value of `config` by its dotted key. Columns that are not read are alike, whether that is
/// written or not; a datagen reads none.
fn leaves(config: &Config, kind: Kind) -> BTreeMap<String, Value> {
    fn walk(path: &str, value: &Value, into: &mut BTreeMap<String, Value>) {
        match value {
            Value::Object(map) => {
                for (key, value) in map {
                    let dot = if path.is_empty() { "" } else { "." };
                    walk(&format!("{path}{dot}{key}"), value, into);
                }
            }
            _ => drop(into.insert(path.into(), value.clone())),
        }
    }
    let mut config = config.clone();
    for column in &mut config.dataset.parquet.columns {
        column.read = column.read.filter(|read| *read && kind.trains());
    }
    let mut into = BTreeMap::new();
    walk("", &serde_json::to_value(config).unwrap_or(Value::Object(Map::new())), &mut into);
    into
}

/// A value as one writes it on the reference's command line.
fn text_of(value: &Value) -> String {
    match value {
        Value::Bool(true) => "True".into(),
        Value::Bool(false) => "False".into(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(config: &Config, generates: bool) -> Job {
        let kind = Kind::of(config, generates).unwrap();
        Job::of(config, kind, crate::plan::nominal_sample_bytes(&config.dataset))
    }

    fn keys(job: &Job) -> Vec<&str> {
        job.overrides.keys().map(String::as_str).collect()
    }

    /// Bug: objects that were made for later runs were told as a dataset of the reference.
    #[test]
    fn prepared_objects_are_no_dataset_of_the_reference() {
        let mut config = benchmark("unet3d", Some("h100")).unwrap();
        assert!(Kind::of(&config, true).is_some_and(Kind::generates));
        config.workflow.object = true;
        assert_eq!(Kind::of(&config, true), None);
    }

    #[test]
    fn the_benchmarks_own_settings_are_no_overrides() {
        let mut config = benchmark("unet3d", Some("h100")).unwrap();
        config.io.cache = CacheMode::Keep;
        config.io.queue_depth *= 2;
        config.train.seed += 1;
        let own = job(&config, false);
        assert_eq!(keys(&own), ["dataset.data_folder"]);
        assert_eq!(own.workload(), "unet3d_h100");
        assert_eq!(own.parameters["reader"]["odirect"], false);
        let config = benchmark("llama3-8b", None).unwrap();
        let own = job(&config, false);
        assert_eq!(keys(&own), ["checkpoint.checkpoint_folder"]);
        assert_eq!((own.workload().as_str(), own.model.as_str()), ("llama3_8b", "llama3-8b"));
        assert_eq!(own.parameters["checkpoint"]["fsync"], true);
    }

    #[test]
    fn what_the_user_changed_is_an_override_whether_by_file_or_option() {
        let mut config = benchmark("unet3d", Some("b200")).unwrap();
        config.dataset.num_files_train = 7;
        config.reader.batch_size = 1;
        config.metric.au = 0.1;
        config.io.drop_last = false;
        let own = job(&config, false);
        assert_eq!(
            keys(&own),
            [
                "dataset.data_folder",
                "dataset.num_files_train",
                "io.drop_last",
                "metric.au",
                "reader.batch_size",
                "reader.odirect",
            ]
        );
        assert_eq!(own.overrides["io.drop_last"], "False");
        assert_eq!(own.overrides["dataset.num_files_train"], "7");
        // The step of the file is still that of one accelerator.
        assert_eq!(own.workload(), "unet3d_b200");
        // A datagen reads nothing and has no steps.
        let made = job(&config, true);
        assert_eq!(keys(&made), ["dataset.data_folder", "dataset.num_files_train"]);
        assert_eq!(made.parameters["workflow"]["train"], false);
        assert_eq!(made.workload(), "unet3d_datagen");
    }

    #[test]
    fn a_run_without_storage_or_with_faults_cannot_pass_for_the_benchmark() {
        let mut config = benchmark("resnet50", Some("h100")).unwrap();
        config.io.engine = Engine::Null;
        assert_eq!(job(&config, false).overrides["io.engine"], "null");
        config.io.delay = Some(Default::default());
        assert!(keys(&job(&config, false)).iter().any(|key| key.starts_with("io.delay.")));
        let mut config = benchmark("llama3-70b", None).unwrap();
        config.model.num_layers = 1;
        assert_eq!(job(&config, false).overrides["model.num_layers"], "1");
    }

    #[test]
    fn columns_have_the_size_of_their_sample() {
        let config = benchmark("flux", Some("b200")).unwrap();
        let own = job(&config, false);
        let bytes = own.parameters["dataset"]["record_length_bytes"].as_f64().unwrap();
        assert_eq!(bytes, 4.0 * f64::from(524_328 + 409 + 2 * 8232 + 7));
    }

    #[test]
    fn the_object_benchmark_is_none_of_theirs() {
        let mut config = Config::default();
        config.workflow.train = false;
        config.workflow.object = true;
        assert_eq!(Kind::of(&config, false), None);
    }
}
