//! What says that a checkpoint is whole: a manifest, written after its files.
//!
//! `manifest.json` is small whatever the number of files; `files.jsonl` names them one a line, so
//! that neither writing nor removing holds the list of all ranks in memory. The manifest has the
//! digest of the list, so that a list that was cut is found.

use super::writers::HostRanks;
use crate::plan::{CheckpointPlan, ShardKind};
use crate::storage::Storage;
use crate::workload::small::{self, TextWriter};
use crate::world::{Doing, look};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest, Sha256};

/// Name of the manifest in the folder of a checkpoint.
pub const MANIFEST: &str = "manifest.json";
/// Name of the list of files beside it.
pub const FILES: &str = "files.jsonl";
/// Name of the pointer to the newest checkpoint in the root.
pub const LATEST: &str = "latest";
const SCHEMA: u32 = 2;

/// The manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of this file's layout.
    pub schema: u32,
    /// Always `rankio`.
    pub created_by: String,
    /// Name of the checkpoint, and of the folder that this file belongs into.
    pub name: String,
    /// Folder of its files and their list, below the root.
    pub folder: String,
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
    /// SHA-256 of the list of files, hexadecimal.
    pub list_sha256: String,
    /// Run that wrote it.
    pub run: String,
    /// Where its ranks stood. Empty: not known, as with manifests of older builds.
    #[serde(default)]
    pub hosts: Vec<HostRanks>,
    /// Wall clock of rank 0 when it wrote this, nanoseconds since 1970; None: an older build.
    #[serde(default)]
    pub committed_unix_ns: Option<u64>,
}

impl Manifest {
    /// The manifest of the checkpoint `name` of `plan`, as long as its list is not written.
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
            folder: name.into(),
            checkpoint,
            version,
            configuration: configuration.into(),
            ranks: plan.grid().ranks,
            files: plan.total_files(),
            bytes: plan.total_bytes(),
            list_sha256: String::new(),
            run: run.into(),
            hosts: Vec::new(),
            committed_unix_ns: None,
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

    /// Writes the list of files into `folder`, durably if `sync`, and notes its digest.
    ///
    /// # Errors
    /// One line of the store.
    pub fn write_list(
        &mut self,
        store: &mut dyn Storage,
        folder: &str,
        plan: &CheckpointPlan,
        sync: bool,
    ) -> Result<(), String> {
        let mut list = TextWriter::create(store, &format!("{folder}/{FILES}"))?;
        let mut digest = Sha256::new();
        for rank in 0..self.ranks {
            look(Doing::Work);
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
                let line = format!("{line}\n");
                digest.update(&line);
                list.push(line.as_bytes())?;
            }
        }
        list.finish(sync)?;
        self.list_sha256 = hexadecimal(digest);
        Ok(())
    }

    /// Compares the list of files with the manifest's digest.
    ///
    /// # Errors
    /// One line: a list that is missing, was cut or was changed.
    pub fn check_list(&self, store: &mut dyn Storage, root: &str) -> Result<(), String> {
        let path = format!("{}/{FILES}", self.folder);
        let mut digest = Sha256::new();
        let found = small::each_block(store, &path, &mut |block| digest.update(block));
        let damage = match found.map_err(|error| format!("{root}: {error}"))? {
            false => "is missing",
            true if hexadecimal(digest) == self.list_sha256 => return Ok(()),
            true => "is not the list that its manifest was made for: truncated or damaged",
        };
        Err(format!(
            "{root}/{path}: {damage}; this checkpoint is damaged, remove {root}/{}",
            self.name
        ))
    }

    /// As it stands in its file.
    ///
    /// # Errors
    /// Never for a manifest of [`Manifest::new`].
    pub fn to_text(&self) -> Result<String, String> {
        serde_json::to_string_pretty(self).map_err(|error| error.to_string())
    }

    /// Writes the manifest as the new file `path`, durably if `sync`.
    ///
    /// # Errors
    /// One line of the store.
    pub fn create(&self, store: &mut dyn Storage, path: &str, sync: bool) -> Result<(), String> {
        let mut manifest = TextWriter::create(store, path)?;
        manifest.push(self.to_text()?.as_bytes())?;
        manifest.finish(sync)
    }
}

fn hexadecimal(digest: Sha256) -> String {
    digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}
