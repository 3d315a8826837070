//! Whose dataset lies in a folder: the marker file that proves it is ours, and of which
//! configuration.
//!
//! The marker is the manifest: it fixes names and sizes of all files. A file appears under its
//! final name only after it was written whole and synced, so "there, with the planned size" means
//! complete, and an interrupted generation can go on on any number of ranks.

use super::small;
use crate::config::{Config, Dataset, IoMode};
use crate::plan::Plan;
use crate::storage::Storage;
use serde::{Deserialize, Serialize};

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
    /// Bytes of all files.
    pub bytes: u64,
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
            mode: config.io.mode,
            dataset: Dataset { data_folder: String::new(), ..config.dataset.clone() },
        }
    }

    /// Reads the marker of a dataset root; None where there is none.
    pub fn read(store: &mut dyn Storage, root: &str) -> Result<Option<Marker>, String> {
        let text = small::read_text(store, MARKER).map_err(|error| format!("{root}: {error}"))?;
        let Some(text) = text else { return Ok(None) };
        let marker: Marker = serde_json::from_str(&text).map_err(|error| {
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
        let differs = have.as_object().into_iter().flatten().find_map(|(key, value)| {
            let other = want.get(key)?;
            (other != value && !matches!(key.as_str(), "data_folder" | "keep_files"))
                .then(|| format!("dataset.{key} is {value}, wanted {other}"))
        });
        differs.unwrap_or_else(|| match self.mode == wanted.mode {
            true => "its marker's hash differs: it was edited or made by another version".into(),
            false => format!("io.mode is {:?}, wanted {:?}", self.mode, wanted.mode),
        })
    }
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
        check_names(store, root, config, plan)?;
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
    check_names(store, root, config, plan)?;
    Ok(Standing::Own)
}

/// Looks for the first, the last and every Nth file, as the reference does instead of a listing.
fn check_names(
    store: &mut dyn Storage,
    root: &str,
    config: &Config,
    plan: &Plan,
) -> Result<(), String> {
    let interval = config.dataset.listing_validation_interval;
    if config.dataset.skip_listing && interval == 0 {
        return Ok(());
    }
    let mut name = String::new();
    for files in std::iter::once(&plan.train).chain(plan.valid.as_ref()) {
        let count = files.files();
        let step = if interval == 0 { count.max(1) } else { interval };
        for index in (0..count).step_by(step as usize).chain(count.checked_sub(1)) {
            files.name(index, &mut name);
            if store.stat(&name).map_err(|error| error.to_string())?.is_none() {
                return Err(format!(
                    "{}/{name}: not found; run rankio datagen first, or check \
                     dataset.num_files_train ({}), \
                     num_subfolders and file_prefix",
                    root.trim_end_matches('/'),
                    plan.train.files(),
                ));
            }
        }
    }
    Ok(())
}
