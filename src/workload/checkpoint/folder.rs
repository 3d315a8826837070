//! The root of checkpoints, as rank 0 sees it: whose it is, which checkpoints are whole, and what
//! comes and goes there. How it does so depends on the store ([`Steps`]). Only names of the form
//! that a checkpoint on its way has, in a root with our marker, are ever removed.

use super::manifest::{LATEST, MANIFEST, Manifest};
use super::names::{State, is_ours, parse};
use super::steps::{Steps, steps_of};
use super::writers::HostRanks;
use crate::config::ObjectOptions;
use crate::plan::CheckpointPlan;
use crate::storage::{PAGE_NAMES, Storage, StorageError};
use crate::workload::claim::{CHECKPOINT, LOCK};
use crate::workload::compute::unix_ns;
use crate::workload::dataset::first_difference;
use crate::workload::held::Held;
use crate::workload::partials::token;
use crate::workload::session::local_path;
use crate::workload::shared_folder;
use crate::workload::small::{self, connect_small_by};
use crate::world::{Doing, look};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::cell::Cell;
use std::time::{Duration, Instant};

/// Name of the marker in the root of checkpoints.
pub const MARKER: &str = ".rankio-checkpoints.json";
const SCHEMA: u32 = 1;
/// Names that are removed between two looks at a folder.
const BATCH: usize = 4096;
/// A client of a network file system may list a folder late that other hosts write into.
const COUNT_PATIENCE: Duration = Duration::from_secs(5);
const COUNT_EVERY: Duration = Duration::from_millis(50);

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
    /// How an object store is reached.
    pub object: &'a ObjectOptions,
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
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Whole {
    /// Its name.
    pub name: String,
    /// Folder of its files.
    pub folder: String,
    /// Its number.
    pub checkpoint: u64,
    /// Version of its content.
    pub version: u32,
    /// Where the ranks stood that wrote it; empty: not known.
    pub hosts: Vec<HostRanks>,
    /// Wall clock at its commit, nanoseconds since 1970; None: not known.
    pub committed_unix_ns: Option<u64>,
}

/// The root.
pub struct Folder {
    pub(super) store: Box<dyn Storage>,
    pub(super) root: String,
    /// Of the run.
    pub(super) token: String,
    /// Everything is synced on the way.
    pub(super) durable: bool,
    steps: &'static dyn Steps,
    claim: Cell<Option<Held>>,
    /// What a user should know of what was found.
    pub notes: Vec<String>,
}

/// What a job does in a root.
#[derive(Clone, Copy)]
enum Job {
    Writes,
    Reads,
}

/// What else helps a job that finds checkpoints with the settings `have` and wants others.
fn remedy(have: &Value, want: &Value, job: Job) -> String {
    if matches!(job, Job::Writes) {
        return "--overwrite to remove them".into();
    }
    let mut on_other_ranks = have.clone();
    on_other_ranks["ranks"] = want["ranks"].clone();
    match &have["ranks"] {
        ranks if on_other_ranks == *want => format!(
            "read what {ranks} ranks wrote by --set checkpoint.restore=reshard --set \
             checkpoint.reshard.written_ranks={ranks}"
        ),
        _ => "the settings with which they were written".into(),
    }
}

/// What a store says, as one line.
pub(super) fn text_of(error: StorageError) -> String {
    error.to_string()
}

/// True for a root behind which there is nothing.
pub(super) fn keeps_nothing(root: &str) -> bool {
    root.starts_with("null:")
}

impl Folder {
    /// Claims `root` for writing; nothing is changed but the claim.
    ///
    /// # Errors
    /// One line: a root that is somebody else's, of another configuration (unless `overwrite`), or
    /// claimed by a job at work.
    pub fn claim(root: &str, purpose: &Purpose<'_>) -> Result<Folder, String> {
        let mut folder = Folder::new(root, purpose)?;
        if keeps_nothing(root) {
            return Ok(folder);
        }
        // A folder that is refused is not even claimed.
        if !Held::is_there(root, folder.store.as_mut())? {
            folder.existing(purpose, Job::Writes)?;
        }
        let held = Held::take(root, purpose.object, (CHECKPOINT, purpose.run_id))?;
        folder.claim.set(Some(held));
        folder.existing(purpose, Job::Writes)?;
        Ok(folder)
    }

    /// Makes the claimed root ready: leftovers of killed jobs go, checkpoints of this
    /// configuration stay.
    ///
    /// # Errors
    /// One line of the store.
    pub fn prepare(&mut self, purpose: &Purpose<'_>) -> Result<(), String> {
        if keeps_nothing(&self.root) {
            return Ok(());
        }
        self.clear_host_files()?;
        let same = self.existing(purpose, Job::Writes)?;
        let steps = self.steps;
        steps.settle(self)?;
        if !same {
            for found in self.whole()? {
                self.remove(&found.name)?;
            }
            let marker = Marker {
                schema: SCHEMA,
                created_by: "rankio".into(),
                configuration: purpose.configuration.into(),
                settings: purpose.settings.clone(),
            };
            let text = serde_json::to_string_pretty(&marker).map_err(|error| error.to_string())?;
            small::write_text(self.store.as_mut(), MARKER, text.as_bytes())?;
        }
        Ok(())
    }

    /// Opens `root` for reading; nothing is changed.
    ///
    /// # Errors
    /// One line: no checkpoints of rankio there, or of another configuration.
    pub fn look(root: &str, purpose: &Purpose<'_>) -> Result<Folder, String> {
        let mut folder = Folder::new(root, purpose)?;
        if keeps_nothing(root) {
            return Ok(folder);
        }
        if !folder.existing(&Purpose { overwrite: false, ..*purpose }, Job::Reads)? {
            return Err(format!(
                "{root}: holds no checkpoints of rankio; write some first \
                 (checkpoint.num_checkpoints_write), or check --checkpoint-dir"
            ));
        }
        let unfinished = folder.unfinished()?;
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
    pub fn of_marker(root: &str, object: &ObjectOptions) -> Result<Folder, String> {
        let mut folder = Folder::with(root, object, &token(0), true)?;
        match folder.marker()? {
            Some(_) => Ok(folder),
            None => Err(format!(
                "{root}: no {MARKER} there, so rankio did not make it; nothing was removed"
            )),
        }
    }

    fn new(root: &str, purpose: &Purpose<'_>) -> Result<Folder, String> {
        Folder::with(root, purpose.object, purpose.token, purpose.durable)
    }

    fn with(
        root: &str,
        object: &ObjectOptions,
        token: &str,
        durable: bool,
    ) -> Result<Folder, String> {
        Ok(Folder {
            store: connect_small_by(root, object)?,
            steps: steps_of(root),
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

    /// Folders that are no checkpoint: on their way, or left so by a killed job.
    pub fn unfinished(&mut self) -> Result<Vec<String>, String> {
        let steps = self.steps;
        steps.unfinished(self)
    }

    /// Gives up what was sent of unfinished files and lies in no folder.
    pub fn clear_uploads(&mut self) -> Result<(), String> {
        let steps = self.steps;
        steps.clear_uploads(self)
    }

    /// Removes the files by which hosts of killed jobs saw each other.
    pub fn clear_host_files(&mut self) -> Result<(), String> {
        local_path(&self.root).map_or(Ok(()), |path| shared_folder::remove_leftovers(&path))
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
    fn existing(&mut self, purpose: &Purpose<'_>, job: Job) -> Result<bool, String> {
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
             --checkpoint-dir, or {}",
            differs.trim_start_matches('.'),
            remedy(&marker.settings, purpose.settings, job)
        ))
    }

    /// A root with files but without our marker is somebody else's.
    fn refuse_foreign(&mut self) -> Result<(), String> {
        let partial = format!("{MARKER}.partial");
        let is_foreign = |name: &str| {
            ![LOCK, "lost+found", partial.as_str()].contains(&name) && !shared_folder::is_ours(name)
        };
        let mut foreign = None;
        if self.store.puts_are_atomic() {
            foreign = small::any_object(self.store.as_mut(), "", &is_foreign)?;
        } else {
            self.list("", &mut |name, _| {
                if is_foreign(name) && foreign.is_none() {
                    foreign = Some(name.to_string());
                }
            })?;
        }
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
    pub(super) fn names<T>(
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

    /// The whole checkpoints in the root, oldest first.
    pub fn whole(&mut self) -> Result<Vec<Whole>, String> {
        let mut whole = Vec::new();
        for name in self.names(|name, state| state.is_none().then(|| name.to_string()))? {
            if let Some(manifest) = self.manifest(&name)? {
                let Manifest { folder, checkpoint, version, .. } = manifest;
                let (hosts, committed_unix_ns) = (manifest.hosts, manifest.committed_unix_ns);
                whole.push(Whole { name, folder, checkpoint, version, hosts, committed_unix_ns });
            }
        }
        whole.sort_by_key(|found| found.version);
        Ok(whole)
    }

    /// The manifest of a checkpoint; None where it is not there.
    pub fn manifest(&mut self, name: &str) -> Result<Option<Manifest>, String> {
        let manifest = Manifest::read(self.store.as_mut(), &self.root, name)?;
        let place = manifest.as_ref().map_or(name, |manifest| &manifest.folder);
        if manifest.is_none() || self.steps.may_lie_in(name, place) {
            return Ok(manifest);
        }
        let path = format!("{}/{name}", self.root);
        Err(format!(
            "{path}/{MANIFEST}: its files lie in {place}, which is no place of theirs here, so it \
             was edited or copied from another kind of store; remove {path}"
        ))
    }

    /// Compares the list of files of a checkpoint with its manifest.
    pub fn check_list(&mut self, manifest: &Manifest) -> Result<(), String> {
        manifest.check_list(self.store.as_mut(), &self.root)
    }

    /// Checks that the files of `manifest` and their list are in the folder `written`. Every file
    /// was answered for by the store, but on another host it may have gone to another folder, and
    /// somebody may have removed one since, because he believed this job dead.
    pub(super) fn check_files(&mut self, written: &str, manifest: &Manifest) -> Result<(), String> {
        if keeps_nothing(&self.root) {
            return Ok(());
        }
        // The list lies beside them.
        let wanted = manifest.files + 1;
        let is_folder = !self.store.puts_are_atomic();
        let end = Instant::now() + if is_folder { COUNT_PATIENCE } else { Duration::ZERO };
        loop {
            let mut found = 0;
            self.list(written, &mut |name, is_folder| {
                found += u64::from(!is_folder && is_ours(name));
            })?;
            if found == wanted {
                return Ok(());
            }
            if found > wanted || Instant::now() >= end {
                let (things, doubt) = match is_folder {
                    true => ("files", "do all hosts see this folder, and is no other job"),
                    false => ("objects", "is another job"),
                };
                return Err(format!(
                    "{}/{written}: holds {found} {things}, {wanted} were written; {doubt} at \
                     work there?",
                    self.root
                ));
            }
            std::thread::sleep(COUNT_EVERY);
        }
    }

    /// Makes the folder into which `name` is written.
    pub fn begin(&mut self, name: &str) -> Result<(), String> {
        let written = self.steps.written_into(name, &self.token);
        self.store.make_folder(&written).map_err(text_of)
    }

    /// Removes what was written of `name`.
    pub fn abandon(&mut self, name: &str) -> Result<(), String> {
        let written = self.steps.written_into(name, &self.token);
        self.remove_contents(&written)
    }

    /// Makes the written files a checkpoint: list, manifest, its name, pointer. Every rank has
    /// written and synced its files before. What had the name before is then in the folder that is
    /// returned.
    pub fn commit(
        &mut self,
        plan: &CheckpointPlan,
        mut manifest: Manifest,
    ) -> Result<Option<String>, String> {
        let (name, durable, steps) = (manifest.name.clone(), self.durable, self.steps);
        let written = steps.written_into(&name, &self.token);
        manifest.write_list(self.store.as_mut(), &written, plan, durable)?;
        manifest.committed_unix_ns = Some(unix_ns());
        let replaced = steps.publish(self, &written, manifest)?;
        let latest = format!("{name}\n");
        small::replace_text(self.store.as_mut(), LATEST, latest.as_bytes(), durable)?;
        Ok(replaced)
    }

    /// Removes a whole checkpoint.
    pub fn remove(&mut self, name: &str) -> Result<(), String> {
        let steps = self.steps;
        let removed = steps.withdraw(self, name)?;
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
            for names in batch.chunks(PAGE_NAMES) {
                self.store.remove_many(names).map_err(text_of)?;
                look(Doing::Work);
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
