//! What says that a checkpoint is whole: a manifest beside its files, written after them and
//! before the folder gets its name.
//!
//! `manifest.json` is small whatever the number of files; `files.jsonl` names them one a line, so
//! that neither writing nor removing holds the list of all ranks in memory.

use crate::plan::{CheckpointPlan, ShardKind};
use crate::storage::Storage;
use crate::workload::small::{self, TextWriter};
use serde::{Deserialize, Serialize};
use serde_json::json;

/// Name of the manifest in the folder of a checkpoint.
pub const MANIFEST: &str = "manifest.json";
/// Name of the list of files beside it.
pub const FILES: &str = "files.jsonl";
/// Name of the pointer to the newest checkpoint in the root.
pub const LATEST: &str = "latest";
const SCHEMA: u32 = 1;

/// The manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of this file's layout.
    pub schema: u32,
    /// Always `rankio`.
    pub created_by: String,
    /// Name of the checkpoint, and of the folder it belongs into.
    pub name: String,
    /// Number of the checkpoint in its run, from 1.
    pub checkpoint: u64,
    /// Version of the content: grows with every checkpoint in this root, so that bytes of an older
    /// one are known for what they are.
    pub version: u32,
    /// Hash of everything that decides names, sizes and content.
    pub configuration: String,
    /// Ranks that wrote it.
    pub ranks: u64,
    /// Files of all ranks.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Run that wrote it.
    pub run: String,
}

impl Manifest {
    /// The manifest of the checkpoint `name` of `plan`.
    pub fn new(
        plan: &CheckpointPlan,
        name: &str,
        (checkpoint, version): (u64, u32),
        configuration: &str,
        run: &str,
    ) -> Manifest {
        Manifest {
            schema: SCHEMA,
            created_by: "rankio".into(),
            name: name.into(),
            checkpoint,
            version,
            configuration: configuration.into(),
            ranks: plan.grid().ranks,
            files: plan.total_files(),
            bytes: plan.total_bytes(),
            run: run.into(),
        }
    }

    /// Reads the manifest of the checkpoint `name`; None where there is none.
    ///
    /// # Errors
    /// One line: a manifest that cannot be read, or that belongs to another checkpoint.
    pub fn read(
        store: &mut dyn Storage,
        root: &str,
        name: &str,
    ) -> Result<Option<Manifest>, String> {
        let path = format!("{name}/{MANIFEST}");
        let text = small::read_text(store, &path).map_err(|error| format!("{root}: {error}"))?;
        let Some(text) = text else { return Ok(None) };
        let damaged = |what: String| format!("{root}/{path}: {what}; remove {root}/{name}");
        let manifest: Manifest = serde_json::from_str(&text)
            .map_err(|error| damaged(format!("is no manifest of rankio ({error})")))?;
        if manifest.created_by != "rankio" || manifest.schema != SCHEMA {
            return Err(damaged("was not made by this version of rankio".into()));
        }
        if manifest.name != name {
            return Err(damaged(format!(
                "belongs to {}, so this folder was renamed or copied",
                manifest.name
            )));
        }
        Ok(Some(manifest))
    }

    /// Writes list and manifest into `folder`, durably if `sync`.
    pub fn write(
        &self,
        store: &mut dyn Storage,
        folder: &str,
        plan: &CheckpointPlan,
        sync: bool,
    ) -> Result<(), String> {
        let mut list = TextWriter::create(store, &format!("{folder}/{FILES}"))?;
        for rank in 0..self.ranks {
            for file in plan.files_of(rank) {
                let kind = match file.kind {
                    ShardKind::Model => "model",
                    ShardKind::Optimizer => "optimizer",
                };
                let line = json!({
                    "name": file.name,
                    "bytes": file.bytes,
                    "kind": kind,
                    "rank": rank,
                    "object": file.object_id,
                });
                list.push(format!("{line}\n").as_bytes())?;
            }
        }
        list.finish(sync)?;
        let text = serde_json::to_string_pretty(self).map_err(|error| error.to_string())?;
        let mut manifest = TextWriter::create(store, &format!("{folder}/{MANIFEST}"))?;
        manifest.push(text.as_bytes())?;
        manifest.finish(sync)
    }
}
