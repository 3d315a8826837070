//! `rankio clean` on a root of checkpoints: removes the checkpoints that rankio made there, whole
//! and unfinished ones, then the pointer and the marker, and nothing else.

use super::folder::{Folder, MARKER};
use super::manifest::LATEST;
use super::names::{is_ours, parse};
use crate::host::check_data_path;
use crate::workload::claim::{CHECKPOINT, Claim};
use crate::workload::clean::Cleaned;
use crate::workload::session::local_path;

/// True if the marker of checkpoints lies in `root`.
pub fn is_root(root: &str) -> bool {
    local_path(root).is_some_and(|path| path.join(MARKER).is_file())
}

/// Removes the checkpoints at `root`, or only counts their files.
///
/// # Errors
/// One line: a root that is not ours, or at which a job is at work.
pub fn run(root: &str, dry_run: bool) -> Result<Cleaned, String> {
    let path = local_path(root).ok_or_else(|| format!("{root}: has no files to remove"))?;
    check_data_path(&path)?;
    let _claim = if dry_run { None } else { Some(Claim::take(&path, CHECKPOINT, "clean")?) };
    let mut folder = Folder::of_marker(root)?;
    let mut cleaned = Cleaned { files: 0, bytes: 0 };
    for name in folder.folders()? {
        let whole = parse(&name).is_none();
        if whole && folder.manifest(&name)?.is_none() {
            continue;
        }
        count(&mut folder, &name, &mut cleaned)?;
        match (dry_run, whole) {
            (true, _) => {}
            (false, true) => folder.remove(&name)?,
            (false, false) => folder.remove_contents(&name)?,
        }
    }
    if !dry_run {
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
