//! Removes a dataset: exactly the files that its marker's configuration names, then the marker,
//! then folders that became empty.

use super::dataset::{MARKER, Marker};
use super::session::local_path;
use super::small::connect_small;
use crate::config::{Config, Io};
use crate::plan::{FileSet, Split};
use crate::storage::Storage;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// What `rankio clean` did or would do.
#[derive(Debug, PartialEq, Eq)]
pub struct Cleaned {
    /// Files that the marker names and that are there.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// The command: removes the dataset at `root`, or only counts it.
pub fn run(root: &str, dry_run: bool) -> Result<Cleaned, String> {
    let path = local_path(root).ok_or_else(|| format!("{root}: has no files to remove"))?;
    crate::host::check_data_path(&path)?;
    let mut store = connect_small(root)?;
    let marker = Marker::read(store.as_mut(), root)?.ok_or_else(|| {
        format!("{root}: no {MARKER} there, so rankio did not make it; nothing was removed")
    })?;
    if dry_run {
        return each_file(store.as_mut(), &marker, &mut |_, _| Ok(()));
    }
    remove(store.as_mut(), Some(&path), &marker)
}

/// Removes the files of `marker`, the marker and emptied folders.
pub fn remove(
    store: &mut dyn Storage,
    path: Option<&Path>,
    marker: &Marker,
) -> Result<Cleaned, String> {
    let cleaned = each_file(store, marker, &mut |store, name| {
        store.remove(name).map_err(|error| error.to_string())
    })?;
    // Generation makes both, with or without files.
    let mut folders: BTreeSet<PathBuf> =
        [Split::Train, Split::Valid].map(|split| split.folder().into()).into();
    for files in file_sets(marker)? {
        let mut name = String::new();
        // Subfolders repeat with the file number, so the first files name them all.
        let subfolders = files.subfolders().max(1);
        for index in 0..subfolders.min(files.files()) {
            files.name(index, &mut name);
            folders.extend(Path::new(&name).ancestors().skip(1).map(Path::to_path_buf));
        }
        folders.insert(format!("index/{}", files.split().folder()).into());
    }
    folders.insert("index".into());
    store.remove(MARKER).map_err(|error| error.to_string())?;
    if let Some(root) = path {
        // Deepest first; a folder that holds anything else stays.
        for folder in folders.iter().rev().filter(|folder| !folder.as_os_str().is_empty()) {
            let _ = std::fs::remove_dir(root.join(folder));
        }
    }
    Ok(cleaned)
}

fn each_file(
    store: &mut dyn Storage,
    marker: &Marker,
    visit: &mut dyn FnMut(&mut dyn Storage, &str) -> Result<(), String>,
) -> Result<Cleaned, String> {
    let mut cleaned = Cleaned { files: 0, bytes: 0 };
    let mut name = String::new();
    for files in file_sets(marker)? {
        for index in 0..files.files() {
            files.name(index, &mut name);
            let shape = files.shape(index);
            let sides = files.format().sidecars(files.split().folder(), &name, &shape);
            let sides = sides.into_iter().map(|side| side.name);
            for name in std::iter::once(name.clone()).chain(sides) {
                for name in [format!("{name}.partial"), name] {
                    let Some(stat) = store.stat(&name).map_err(|error| error.to_string())? else {
                        continue;
                    };
                    visit(store, &name)?;
                    cleaned.files += 1;
                    cleaned.bytes += stat.size_bytes;
                }
            }
        }
    }
    Ok(cleaned)
}

fn file_sets(marker: &Marker) -> Result<Vec<FileSet>, String> {
    let io = Io { mode: marker.mode, ..Io::default() };
    let config = Config { dataset: marker.dataset.clone(), io, ..Config::default() };
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
