//! The root of checkpoints, as rank 0 sees it: whose it is, which checkpoints are whole, and the
//! steps by which one comes into being or goes.
//!
//! A checkpoint is written into a folder with a token behind its name, and gets its name by one
//! rename after its files, its list and its manifest are there. So a name without a token is a
//! whole checkpoint whenever the job ends, and everything with one is on its way. Only names of
//! that form, in a root with our marker, are ever removed.

use super::manifest::{LATEST, Manifest};
use super::names::{State, is_ours, on_the_way, parse};
use crate::host::check_data_path;
use crate::plan::CheckpointPlan;
use crate::storage::{Storage, StorageError};
use crate::workload::claim::{CHECKPOINT, Claim, LOCK};
use crate::workload::dataset::first_difference;
use crate::workload::partials::token;
use crate::workload::session::local_path;
use crate::workload::small::{self, connect_small};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::cell::Cell;

/// Name of the marker in the root of checkpoints.
pub const MARKER: &str = ".rankio-checkpoints.json";
const SCHEMA: u32 = 1;
/// Names that are removed between two looks at a folder.
const BATCH: usize = 4096;

/// Whose checkpoints lie in a root.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Marker {
    schema: u32,
    created_by: String,
    /// Hash of `settings`.
    configuration: String,
    /// Everything that decides names, sizes and content.
    settings: Value,
}

/// What a root is opened for.
pub struct Purpose<'a> {
    /// Settings that decide names, sizes and content.
    pub settings: &'a Value,
    /// Their hash.
    pub configuration: &'a str,
    /// Token of the run.
    pub token: &'a str,
    /// Name of the run.
    pub run_id: &'a str,
    /// Checkpoints of another configuration may be removed.
    pub overwrite: bool,
    /// Everything is synced on the way.
    pub durable: bool,
}

/// A whole checkpoint in the root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Whole {
    /// Its folder.
    pub name: String,
    /// Its number.
    pub checkpoint: u64,
    /// Version of its content.
    pub version: u32,
}

/// The root.
pub struct Folder {
    store: Box<dyn Storage>,
    root: String,
    token: String,
    durable: bool,
    claim: Cell<Option<Claim>>,
    /// What a user should know of what was found.
    pub notes: Vec<String>,
}

fn text_of(error: StorageError) -> String {
    error.to_string()
}

impl Folder {
    /// Claims `root` for writing: leftovers of killed jobs go, checkpoints of this configuration
    /// stay.
    ///
    /// # Errors
    /// One line: a root that is somebody else's, of another configuration (unless `overwrite`), or
    /// claimed by a job at work.
    pub fn claim(root: &str, purpose: &Purpose<'_>) -> Result<Folder, String> {
        let mut folder = Folder::new(root, purpose)?;
        let Some(path) = local_path(root) else { return Ok(folder) };
        check_data_path(&path)?;
        // A folder that is refused is not even claimed.
        if !Claim::is_there(&path) {
            folder.existing(purpose)?;
        }
        folder.claim.set(Some(Claim::take(&path, CHECKPOINT, purpose.run_id)?));
        let same = folder.existing(purpose)?;
        folder.settle()?;
        if !same {
            for name in folder.names(|name, state| state.is_none().then(|| name.to_string()))? {
                if Manifest::read(folder.store.as_mut(), root, &name)?.is_some() {
                    folder.remove(&name)?;
                }
            }
            let marker = Marker {
                schema: SCHEMA,
                created_by: "rankio".into(),
                configuration: purpose.configuration.into(),
                settings: purpose.settings.clone(),
            };
            let text = serde_json::to_string_pretty(&marker).map_err(|error| error.to_string())?;
            small::write_text(folder.store.as_mut(), MARKER, text.as_bytes())?;
        }
        Ok(folder)
    }

    /// Opens `root` for reading; nothing is changed.
    ///
    /// # Errors
    /// One line: no checkpoints of rankio there, or of another configuration.
    pub fn look(root: &str, purpose: &Purpose<'_>) -> Result<Folder, String> {
        let mut folder = Folder::new(root, purpose)?;
        if local_path(root).is_none() {
            return Ok(folder);
        }
        if !folder.existing(&Purpose { overwrite: false, ..*purpose })? {
            return Err(format!(
                "{root}: holds no checkpoints of rankio; write some first \
                 (checkpoint.num_checkpoints_write), or check --checkpoint-dir"
            ));
        }
        let unfinished = folder.names(|name, state| state.map(|_| name.to_string()))?;
        if let Some(first) = unfinished.first() {
            let text = format!("note: {root} holds unfinished work of a killed job ({first})");
            folder.notes.push(text);
        }
        Ok(folder)
    }

    /// Opens `root` as whatever its marker says, for `clean`.
    ///
    /// # Errors
    /// One line: there is no marker of ours.
    pub fn of_marker(root: &str) -> Result<Folder, String> {
        let mut folder = Folder::with(root, &token(0), true)?;
        match folder.marker()? {
            Some(_) => Ok(folder),
            None => Err(format!(
                "{root}: no {MARKER} there, so rankio did not make it; nothing was removed"
            )),
        }
    }

    fn new(root: &str, purpose: &Purpose<'_>) -> Result<Folder, String> {
        Folder::with(root, purpose.token, purpose.durable)
    }

    fn with(root: &str, token: &str, durable: bool) -> Result<Folder, String> {
        Ok(Folder {
            store: connect_small(root)?,
            root: root.into(),
            token: token.into(),
            durable,
            claim: Cell::new(None),
            notes: Vec::new(),
        })
    }

    /// The marker, if there is one.
    fn marker(&mut self) -> Result<Option<Marker>, String> {
        let root = &self.root;
        let text = small::read_text(self.store.as_mut(), MARKER)
            .map_err(|error| format!("{root}: {error}"))?;
        let Some(text) = text else { return Ok(None) };
        let marker: Marker = serde_json::from_str(&text)
            .map_err(|error| format!("{root}/{MARKER}: cannot be read ({error})"))?;
        if marker.created_by != "rankio" || marker.schema != SCHEMA {
            return Err(format!("{root}/{MARKER}: was not made by this version of rankio"));
        }
        Ok(Some(marker))
    }

    /// All folders in the root.
    pub fn folders(&mut self) -> Result<Vec<String>, String> {
        self.names(|name, _| Some(name.to_string()))
    }

    /// Visits the names in a folder.
    pub fn list(&mut self, folder: &str, visit: &mut dyn FnMut(&str, bool)) -> Result<(), String> {
        self.store.list(folder, visit).map_err(text_of)
    }

    /// Bytes of a file; 0 where it is not there.
    pub fn size_of(&mut self, name: &str) -> Result<u64, String> {
        let stat = self.store.stat(name).map_err(text_of)?;
        Ok(stat.map_or(0, |stat| stat.size_bytes))
    }

    /// Removes a file of the root if it is there.
    pub fn remove_file(&mut self, name: &str) -> Result<(), String> {
        match self.store.stat(name).map_err(text_of)? {
            Some(_) => self.store.remove(name).map_err(text_of),
            None => Ok(()),
        }
    }

    /// Gives the claim back.
    pub fn release(&self) {
        drop(self.claim.take());
    }

    /// True if the root is ours and of this configuration, false if it is empty (or of another and
    /// may be overwritten).
    fn existing(&mut self, purpose: &Purpose<'_>) -> Result<bool, String> {
        let Some(marker) = self.marker()? else { return self.refuse_foreign().map(|()| false) };
        let root = &self.root;
        if marker.configuration == purpose.configuration {
            return Ok(true);
        }
        if purpose.overwrite {
            return Ok(false);
        }
        let differs = first_difference("", &marker.settings, purpose.settings);
        let differs = differs.unwrap_or_else(|| "its marker was edited".into());
        Err(format!(
            "{root}: holds checkpoints of another configuration ({}); give another \
             --checkpoint-dir, or --overwrite to remove them",
            differs.trim_start_matches('.')
        ))
    }

    /// A root with files but without our marker is somebody else's.
    fn refuse_foreign(&mut self) -> Result<(), String> {
        let mut foreign = None;
        let partial = format!("{MARKER}.partial");
        let own = [LOCK, "lost+found", partial.as_str()];
        self.store
            .list("", &mut |name, _| {
                if !own.contains(&name) && foreign.is_none() {
                    foreign = Some(name.to_string());
                }
            })
            .map_err(text_of)?;
        match foreign {
            None => Ok(()),
            Some(name) => Err(format!(
                "{}: holds {name}, which rankio did not make; give an empty or new folder as \
                 --checkpoint-dir",
                self.root
            )),
        }
    }

    /// Folders in the root for which `pick` gives something.
    fn names<T>(
        &mut self,
        pick: impl Fn(&str, Option<State>) -> Option<T>,
    ) -> Result<Vec<T>, String> {
        let mut picked = Vec::new();
        self.store
            .list("", &mut |name, is_folder| {
                if is_folder {
                    picked.extend(pick(name, parse(name).map(|(_, state)| state)));
                }
            })
            .map_err(text_of)?;
        Ok(picked)
    }

    /// Ends what a killed job was doing: what was being written or removed goes, what had been
    /// pushed aside for a new one comes back if that never came.
    fn settle(&mut self) -> Result<(), String> {
        for folder in self.names(|name, state| state.map(|_| name.to_string()))? {
            let Some((name, state)) = parse(&folder) else { continue };
            if state == State::Replaced && self.store.stat(name).map_err(text_of)?.is_none() {
                self.store.rename(&folder, name).map_err(text_of)?;
                self.notes.push(format!("note: {name} of a killed job was put back in its place"));
                continue;
            }
            self.remove_contents(&folder)?;
            if state == State::Partial {
                let text = format!("note: {name} of a killed job was unfinished and is removed");
                self.notes.push(text);
            }
        }
        Ok(())
    }

    /// The whole checkpoints in the root, oldest first.
    pub fn whole(&mut self) -> Result<Vec<Whole>, String> {
        let mut whole = Vec::new();
        for name in self.names(|name, state| state.is_none().then(|| name.to_string()))? {
            if let Some(manifest) = Manifest::read(self.store.as_mut(), &self.root, &name)? {
                let Manifest { checkpoint, version, .. } = manifest;
                whole.push(Whole { name, checkpoint, version });
            }
        }
        whole.sort_by_key(|found| found.version);
        Ok(whole)
    }

    /// The manifest of a checkpoint; None where it is not there.
    pub fn manifest(&mut self, name: &str) -> Result<Option<Manifest>, String> {
        Manifest::read(self.store.as_mut(), &self.root, name)
    }

    /// Makes the folder into which `name` is written.
    pub fn begin(&mut self, name: &str) -> Result<(), String> {
        let partial = on_the_way(name, &self.token, State::Partial);
        self.store.make_folder(&partial).map_err(text_of)
    }

    /// Removes what was written of `name`.
    pub fn abandon(&mut self, name: &str) -> Result<(), String> {
        let partial = on_the_way(name, &self.token, State::Partial);
        self.remove_contents(&partial)
    }

    /// Makes the written files a checkpoint: manifest, rename, pointer. Every rank has written and
    /// synced its files before. What had the name before is then still there under another one,
    /// which is returned.
    pub fn commit(
        &mut self,
        plan: &CheckpointPlan,
        manifest: &Manifest,
    ) -> Result<Option<String>, String> {
        let (name, durable) = (&manifest.name, self.durable);
        let partial = on_the_way(name, &self.token, State::Partial);
        manifest.write(self.store.as_mut(), &partial, plan, durable)?;
        if durable {
            self.store.sync_folder(&partial).map_err(text_of)?;
        }
        let replaced = self.put_in_place(&partial, name)?;
        if durable {
            self.store.sync_folder("").map_err(text_of)?;
        }
        let latest = format!("{name}\n");
        small::replace_text(self.store.as_mut(), LATEST, latest.as_bytes(), durable)?;
        Ok(replaced)
    }

    fn put_in_place(&mut self, partial: &str, name: &str) -> Result<Option<String>, String> {
        if self.store.stat(name).map_err(text_of)?.is_none() {
            return self.store.rename(partial, name).map_err(text_of).map(|()| None);
        }
        if Manifest::read(self.store.as_mut(), &self.root, name)?.is_none() {
            return Err(format!(
                "{}/{name}: is there without a manifest, so rankio did not finish it; remove it",
                self.root
            ));
        }
        if self.store.exchange(partial, name).map_err(text_of)? {
            return Ok(Some(partial.to_string()));
        }
        // Two steps: a job that is killed between them is settled by the next one.
        let aside = on_the_way(name, &self.token, State::Replaced);
        self.store.rename(name, &aside).map_err(text_of)?;
        self.store.rename(partial, name).map_err(text_of)?;
        Ok(Some(aside))
    }

    /// Removes a whole checkpoint.
    pub fn remove(&mut self, name: &str) -> Result<(), String> {
        let removed = on_the_way(name, &self.token, State::Removed);
        self.store.rename(name, &removed).map_err(text_of)?;
        self.remove_contents(&removed)
    }

    /// Removes a folder that is on its way, and in it only names that we give.
    pub fn remove_contents(&mut self, folder: &str) -> Result<(), String> {
        loop {
            let (mut batch, mut foreign) = (Vec::new(), None);
            self.store
                .list(folder, &mut |name, is_folder| {
                    if is_folder || !is_ours(name) {
                        foreign = Some(name.to_string());
                    } else if batch.len() < BATCH {
                        batch.push(format!("{folder}/{name}"));
                    }
                })
                .map_err(text_of)?;
            for name in &batch {
                self.store.remove(name).map_err(text_of)?;
            }
            match (batch.is_empty(), foreign) {
                (false, _) => {}
                (true, None) => return self.store.remove_folder(folder).map_err(text_of),
                (true, Some(name)) => {
                    self.notes.push(format!(
                        "note: {}/{folder} is left, because it holds {name}, which rankio did \
                         not make",
                        self.root
                    ));
                    return Ok(());
                }
            }
        }
    }
}

#[cfg(test)]
#[path = "folder_tests.rs"]
mod tests;
