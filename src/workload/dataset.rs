//! Whose dataset lies in a folder: the marker file that proves it is ours, and of which
//! configuration.
//!
//! The marker is the manifest: it fixes names and sizes of all files. A file appears under its
//! final name only after it was written whole and synced, so "there, with the planned size" means
//! complete (of compressed files: "there"), and an interrupted generation can go on on any number
//! of ranks.

use super::session::root_of;
use super::small;
use crate::config::{Config, Dataset, FormatKind, IoMode, Parquet};
use crate::plan::Plan;
use crate::storage::Storage;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Name of the marker in the dataset root.
pub const MARKER: &str = ".rankio-dataset.json";
const SCHEMA: u32 = 1;

/// State of a dataset of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Progress {
    /// Being generated, or interrupted.
    Generating,
    /// Every file is there.
    Complete,
}

/// What the marker says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Marker {
    /// Version of this file's layout.
    pub schema: u32,
    /// Always `rankio`: the proof of ownership.
    pub created_by: String,
    /// Identity of names, sizes and content.
    pub dataset_hash: String,
    /// State.
    pub state: Progress,
    /// Bytes of all files, as planned: see `bytes_are_estimated`.
    pub bytes: u64,
    /// Compression or dictionaries decide the lengths of the files, so a file that is there under
    /// its name is complete whatever its length.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub bytes_are_estimated: bool,
    /// Manner that decided the sizes.
    pub mode: IoMode,
    /// The dataset section that made it.
    pub dataset: Dataset,
}

impl Marker {
    /// The marker of this plan's dataset.
    pub fn new(config: &Config, plan: &Plan, state: Progress) -> Marker {
        Marker {
            schema: SCHEMA,
            created_by: "rankio".into(),
            dataset_hash: plan.dataset_hash(),
            state,
            bytes: total_bytes(plan),
            bytes_are_estimated: !plan.train.is_exact(),
            mode: config.io.mode,
            // Which part of it a run trains on is no property of the dataset.
            dataset: Dataset {
                data_folder: String::new(),
                num_files_train: config.dataset.generated_files(),
                num_files_generated: None,
                ..config.dataset.clone()
            },
        }
    }

    /// Reads the marker of a dataset root; None where there is none.
    pub fn read(store: &mut dyn Storage, root: &str) -> Result<Option<Marker>, String> {
        let text = small::read_text(store, MARKER).map_err(|error| format!("{root}: {error}"))?;
        let Some(text) = text else { return Ok(None) };
        let marker = parse(&text).map_err(|error| {
            format!("{root}/{MARKER}: cannot be read ({error}); was it made by another version?")
        })?;
        if marker.created_by != "rankio" {
            return Err(format!(
                "{root}/{MARKER}: was created by `{}`, not by rankio; nothing was touched",
                marker.created_by
            ));
        }
        if marker.schema != SCHEMA {
            return Err(format!(
                "{root}/{MARKER}: schema {} is not that of this version ({SCHEMA})",
                marker.schema
            ));
        }
        Ok(Some(marker))
    }

    /// Writes it, atomically and durably.
    pub fn write(&self, store: &mut dyn Storage) -> Result<(), String> {
        let text = serde_json::to_string_pretty(self).map_err(|error| error.to_string())?;
        small::write_text(store, MARKER, text.as_bytes())
    }

    /// The first setting in which this dataset differs from the one wanted, as `key is A, wanted
    /// B`.
    pub fn difference(&self, wanted: &Marker) -> String {
        let (Ok(have), Ok(want)) =
            (serde_json::to_value(&self.dataset), serde_json::to_value(&wanted.dataset))
        else {
            return String::new();
        };
        let differs = first_difference("dataset", &have, &want);
        differs.unwrap_or_else(|| match self.mode == wanted.mode {
            true => "its marker's hash differs: it was edited or made by another version".into(),
            false => format!("io.mode is {:?}, wanted {:?}", self.mode, wanted.mode),
        })
    }
}

/// A marker may hold a size of tensors, which was never a property of the files.
fn parse(text: &str) -> Result<Marker, serde_json::Error> {
    let mut marker: Value = serde_json::from_str(text)?;
    if let Some(dataset) = marker.get_mut("dataset").and_then(Value::as_object_mut) {
        dataset.remove("record_length_bytes_resize");
    }
    serde_json::from_value(marker)
}

/// Settings of a dataset that leave its files as they are.
const NOT_IN_FILES: [&str; 6] = [
    "data_folder",
    "keep_files",
    "skip_listing",
    "listing_validation_interval",
    "coalesce_gap",
    "read",
];

/// The first setting below `path` that differs and shapes files.
pub(super) fn first_difference(path: &str, have: &Value, want: &Value) -> Option<String> {
    let below = |key: &str, one: &Value, other: &Value| {
        let shapes_files = !NOT_IN_FILES.contains(&key);
        shapes_files.then(|| first_difference(&format!("{path}.{key}"), one, other)).flatten()
    };
    match (have, want) {
        (Value::Object(have), Value::Object(want)) => {
            have.iter().find_map(|(key, one)| below(key, one, want.get(key)?))
        }
        (Value::Array(have), Value::Array(want)) if have.iter().any(Value::is_object) => {
            if have.len() != want.len() {
                return Some(format!("{path} has {} entries, wanted {}", have.len(), want.len()));
            }
            let pairs = have.iter().zip(want).enumerate();
            pairs
                .into_iter()
                .find_map(|(index, (one, other))| below(&index.to_string(), one, other))
        }
        _ => (have != want).then(|| format!("{path} is {have}, wanted {want}")),
    }
}

/// How the parquet files of the dataset of `config` were made, if rankio made them. What cannot be
/// read is an error later, where the dataset is looked at.
pub fn made_parquet(config: &Config) -> Option<Parquet> {
    let root = root_of(config);
    if config.dataset.format != FormatKind::Parquet || root.starts_with("null:") {
        return None;
    }
    let mut store = small::connect_small_by(&root, &config.storage.storage_options).ok()?;
    let marker = Marker::read(store.as_mut(), &root).ok()??;
    (marker.dataset.format == FormatKind::Parquet).then_some(marker.dataset.parquet)
}

/// Bytes of training and evaluation files together.
pub fn total_bytes(plan: &Plan) -> u64 {
    let valid = plan.valid.as_ref().map(|files| files.total_bytes()).unwrap_or(0);
    u64::try_from(plan.train.total_bytes() + valid).unwrap_or(u64::MAX)
}

/// What lies in the folder, as far as a run is concerned.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Standing {
    /// Made by rankio with this very configuration.
    Own,
    /// No marker: sizes are looked up, content cannot be checked.
    Foreign,
}

/// Decides what a run may do with the dataset at `root`. Called on rank 0.
pub fn standing(
    store: &mut dyn Storage,
    root: &str,
    config: &Config,
    plan: &Plan,
) -> Result<Standing, String> {
    let wanted = Marker::new(config, plan, Progress::Complete);
    let Some(marker) = Marker::read(store, root)? else {
        return Ok(Standing::Foreign);
    };
    if marker.dataset_hash != wanted.dataset_hash {
        return Err(format!(
            "{root}: holds another dataset ({}); give another --data-dir, or generate this \
             one there with \
             datagen --overwrite",
            marker.difference(&wanted)
        ));
    }
    if marker.state != Progress::Complete {
        return Err(format!(
            "{root}: the dataset is incomplete (its generation was interrupted); run rankio \
             datagen again to finish it"
        ));
    }
    Ok(Standing::Own)
}
