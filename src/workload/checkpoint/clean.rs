//! `rankio clean` on a root of checkpoints: removes the checkpoints that rankio made there, whole
//! and unfinished ones, then the pointer and the marker, and nothing else.

use super::folder::{Folder, MARKER, keeps_nothing};
use super::manifest::{LATEST, MANIFEST};
use super::names::is_ours;
use crate::config::ObjectOptions;
use crate::workload::claim::CHECKPOINT;
use crate::workload::clean::Cleaned;
use crate::workload::held::Held;
use crate::workload::small::connect_small_by;

/// True if the marker of checkpoints lies in `root`.
///
/// # Errors
/// One line: a store that does not answer.
pub fn is_root(root: &str, object: &ObjectOptions) -> Result<bool, String> {
    if keeps_nothing(root) {
        return Ok(false);
    }
    let mut store = connect_small_by(root, object)?;
    let stat = store.stat(MARKER).map_err(|error| error.to_string())?;
    Ok(stat.is_some())
}

/// Removes the checkpoints at `root`, or only counts their files.
///
/// # Errors
/// One line: a root that is not ours, or at which a job is at work.
pub fn run(root: &str, object: &ObjectOptions, dry_run: bool) -> Result<Cleaned, String> {
    let _held = match dry_run {
        true => None,
        false => Some(Held::take(root, object, (CHECKPOINT, "clean"))?),
    };
    let mut folder = Folder::of_marker(root, object)?;
    let mut cleaned = Cleaned::new();
    for found in folder.whole()? {
        count(&mut folder, &found.folder, &mut cleaned)?;
        if found.folder != found.name {
            cleaned.files += 1;
            cleaned.bytes += folder.size_of(&format!("{}/{MANIFEST}", found.name))?;
        }
        if !dry_run {
            folder.remove(&found.name)?;
        }
    }
    for name in folder.unfinished()? {
        count(&mut folder, &name, &mut cleaned)?;
        if !dry_run {
            folder.remove_contents(&name)?;
        }
    }
    if !dry_run {
        folder.clear_uploads()?;
        folder.clear_host_files()?;
        for name in [LATEST, MARKER] {
            folder.remove_file(name)?;
        }
    }
    Ok(cleaned)
}

/// Adds the files of a checkpoint.
fn count(folder: &mut Folder, name: &str, cleaned: &mut Cleaned) -> Result<(), String> {
    let mut files = Vec::new();
    folder.list(name, &mut |file, is_folder| {
        if !is_folder && is_ours(file) {
            files.push(format!("{name}/{file}"));
        }
    })?;
    for file in files {
        cleaned.files += 1;
        cleaned.bytes += folder.size_of(&file)?;
    }
    Ok(())
}
