//! Removes a dataset: exactly the files that its marker's configuration names, then the marker,
//! then folders that became empty.

use super::claim::Claim;
use super::dataset::{MARKER, Marker};
use super::partials;
use super::session::local_path;
use super::shared_folder;
use super::small::connect_small_by;
use crate::config::{Config, Io, ObjectOptions, is_object_root};
use crate::plan::{FileSet, Plan, Split, WorldShape};
use crate::storage::{PAGE_NAMES, Storage};
use crate::world::{Doing, look};
use std::path::Path;

/// What `rankio clean` did or would do.
#[derive(Debug, PartialEq, Eq)]
pub struct Cleaned {
    /// Files that the marker names and that are there.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Cleaned {
    /// One line for a terminal.
    pub fn line(&self, dry_run: bool) -> String {
        let verb = if dry_run { "would remove" } else { "removed" };
        format!("{verb} {} files, {}", self.files, crate::report::units::bytes(self.bytes))
    }
}

/// The command: removes the dataset or the checkpoints at `root`, or only counts them.
pub fn run(root: &str, object: &ObjectOptions, dry_run: bool) -> Result<Cleaned, String> {
    let path = local_path(root);
    match &path {
        Some(path) => crate::host::check_data_path(path)?,
        None if is_object_root(root) => crate::storage::check_object_root(root, object)?,
        None => return Err(format!("{root}: has no files to remove")),
    }
    if super::checkpoint::clean::is_root(root, object)? {
        return super::checkpoint::clean::run(root, object, dry_run);
    }
    if let Some(cleaned) = super::object::clean(root, object, dry_run)? {
        return Ok(cleaned);
    }
    let mut store = connect_small_by(root, object)?;
    let mut marker = || {
        Marker::read(store.as_mut(), root)?.ok_or_else(|| {
            let other = super::checkpoint::MARKER;
            format!(
                "{root}: no {MARKER} and no {other} there, so rankio did not make it; nothing was \
                 removed"
            )
        })
    };
    // A folder without a marker is not even claimed.
    let found = marker()?;
    if dry_run {
        return each_file(store.as_mut(), path.as_deref(), &found, &mut |_, _| Ok(()));
    }
    // An object store has no lock; see `datagen`.
    let _claim = path.as_deref().map(|path| Claim::take(path, "clean", "")).transpose()?;
    // Meanwhile it may have become another one.
    let found = marker()?;
    remove(store.as_mut(), path.as_deref(), &found)
}

/// Removes the files of `marker`, the marker and emptied folders. The folder must be claimed.
pub fn remove(
    store: &mut dyn Storage,
    path: Option<&Path>,
    marker: &Marker,
) -> Result<Cleaned, String> {
    let mut waiting: Vec<String> = Vec::with_capacity(PAGE_NAMES);
    let cleaned = each_file(store, path, marker, &mut |store, name| {
        waiting.push(name.to_string());
        if waiting.len() < PAGE_NAMES {
            return Ok(());
        }
        let removed = store.remove_many(&waiting);
        waiting.clear();
        removed.map_err(|error| error.to_string())
    })?;
    store.remove_many(&waiting).map_err(|error| error.to_string())?;
    store.remove(MARKER).map_err(|error| error.to_string())?;
    if let Some(root) = path {
        shared_folder::remove_leftovers(root)?;
        let sets = file_sets(marker)?;
        let folders = partials::folders(&sets.iter().collect::<Vec<_>>());
        // Deepest first; a folder that holds anything else stays.
        for folder in folders.iter().rev().filter(|folder| is_own_folder(root, folder)) {
            let _ = std::fs::remove_dir(root.join(folder));
        }
    }
    Ok(cleaned)
}

fn each_file(
    store: &mut dyn Storage,
    path: Option<&Path>,
    marker: &Marker,
    visit: &mut dyn FnMut(&mut dyn Storage, &str) -> Result<(), String>,
) -> Result<Cleaned, String> {
    let mut cleaned = Cleaned { files: 0, bytes: 0 };
    let mut name = String::new();
    let sets = file_sets(marker)?;
    for files in &sets {
        for index in 0..files.files() {
            files.name(index, &mut name);
            let shape = files.shape(index);
            let sides = files.format().sidecars(files.split().folder(), &name, &shape);
            let sides = sides.into_iter().map(|side| side.name);
            for name in std::iter::once(name.clone()).chain(sides) {
                count(store, &name, visit, &mut cleaned)?;
            }
        }
    }
    if let Some(path) = path {
        for name in partials::leftovers(path, &sets.iter().collect::<Vec<_>>())? {
            count(store, &name, visit, &mut cleaned)?;
        }
    }
    Ok(cleaned)
}

/// Visits the file `name` if it is there.
fn count(
    store: &mut dyn Storage,
    name: &str,
    visit: &mut dyn FnMut(&mut dyn Storage, &str) -> Result<(), String>,
    cleaned: &mut Cleaned,
) -> Result<(), String> {
    look(Doing::Work);
    if let Some(stat) = store.stat(name).map_err(|error| error.to_string())? {
        visit(store, name)?;
        cleaned.files += 1;
        cleaned.bytes += stat.size_bytes;
    }
    Ok(())
}

/// A folder that lies below the root itself, not behind a link in it.
fn is_own_folder(root: &Path, folder: &Path) -> bool {
    folder.ancestors().filter(|part| !part.as_os_str().is_empty()).all(|part| {
        let found = std::fs::symlink_metadata(root.join(part));
        found.is_ok_and(|found| found.is_dir())
    })
}

/// The files that the marker names. Refuses a marker whose settings are not those of its hash: it
/// would name other files than those that lie there.
fn file_sets(marker: &Marker) -> Result<Vec<FileSet>, String> {
    let io = Io { mode: marker.mode, ..Io::default() };
    let config = Config { dataset: marker.dataset.clone(), io, ..Config::default() };
    let world = WorldShape { ranks: 1, hosts: 1, memory_per_host_bytes: 0 };
    let plan = Plan::new(&config, world).map_err(|error| error.to_string())?;
    if plan.dataset_hash() != marker.dataset_hash {
        return Err(format!(
            "{MARKER}: its settings are not those of its hash; it was edited or made by another \
             version, so nothing was removed"
        ));
    }
    let mut sets = Vec::new();
    for split in [Split::Train, Split::Valid] {
        let files = match split {
            Split::Train => config.dataset.num_files_train,
            Split::Valid => config.dataset.num_files_eval,
        };
        if files > 0 {
            let format = crate::format::for_dataset(&config.dataset)?.into();
            let set = FileSet::new(&config, split, format).map_err(|error| error.to_string())?;
            sets.push(set);
        }
    }
    Ok(sets)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bug: 5 MiB were told as 0.00 GiB.
    #[test]
    fn small_datasets_have_a_size_too() {
        let cleaned = Cleaned { files: 7, bytes: 5 << 20 };
        assert_eq!(cleaned.line(false), "removed 7 files, 5.00 MiB");
        assert_eq!(cleaned.line(true), "would remove 7 files, 5.00 MiB");
    }
}
