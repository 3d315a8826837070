//! Names of files that are being written: final name, token of the run, `.partial`.
//!
//! The token keeps two runs from ever writing under one name. What an interrupted run left is found
//! by listing the planned folders, and only what is the planned name of a file with a token behind
//! it is taken for ours.

use crate::plan::{FileSet, Split};
use crate::world::{Doing, look};
use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

const SUFFIX: &str = ".partial";
const TOKEN_DIGITS: usize = 16;

/// Token of a run, from the seed that all its ranks share and no other run has.
pub fn token(run_seed: u64) -> String {
    format!("{run_seed:0TOKEN_DIGITS$x}")
}

/// Name of the file `name` while the run with `token` writes it.
pub fn partial_name(name: &str, token: &str) -> String {
    format!("{name}.{token}{SUFFIX}")
}

/// The final name behind a name of [`partial_name`].
fn final_name(partial: &str) -> Option<&str> {
    let (name, token) = partial.strip_suffix(SUFFIX)?.rsplit_once('.')?;
    let is_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    (token.len() == TOKEN_DIGITS && token.bytes().all(is_hex)).then_some(name)
}

/// Folders that a generation makes, relative to the root; a parent comes before its children.
pub fn folders(sets: &[&FileSet]) -> BTreeSet<PathBuf> {
    // Both splits have theirs, with or without files.
    let mut folders: BTreeSet<PathBuf> =
        [Split::Train, Split::Valid].map(|split| split.folder().into()).into();
    let mut name = String::new();
    for files in sets {
        // Subfolders repeat with the file number, so the first files name them all.
        let subfolders = files.subfolders().max(1);
        for index in 0..subfolders.min(files.files()) {
            files.name(index, &mut name);
            folders.extend(Path::new(&name).ancestors().skip(1).map(Path::to_path_buf));
        }
        folders.insert(index_folder(files).into());
    }
    folders.insert("index".into());
    folders.remove(Path::new(""));
    folders
}

fn index_folder(files: &FileSet) -> String {
    format!("index/{}", files.split().folder())
}

/// Unfinished files of any run below `root`, by name relative to it. The folder must be claimed:
/// else they may be somebody's who is at work.
pub fn leftovers(root: &Path, sets: &[&FileSet]) -> Result<Vec<String>, String> {
    let mut found = Vec::new();
    for folder in folders(sets) {
        let path = root.join(&folder);
        let failed = |error: std::io::Error| format!("{}: {error}", path.display());
        let entries = match std::fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => return Err(failed(error)),
        };
        for entry in entries {
            look(Doing::Work);
            let entry = entry.map_err(failed)?;
            let partial = folder.join(entry.file_name());
            let Some(partial) = partial.to_str() else { continue };
            let ours = |name: &str| sets.iter().any(|files| is_planned(files, name));
            if final_name(partial).is_some_and(ours) {
                found.push(partial.to_string());
            }
        }
    }
    Ok(found)
}

/// True if `name` is a file of this split or goes with one.
fn is_planned(files: &FileSet, name: &str) -> bool {
    let base = base_name(name);
    let number = base.rsplit_once("_of_").and_then(|(front, _)| front.rsplit('_').next());
    let Some(index) = number.and_then(|digits| digits.parse().ok()) else { return false };
    if index >= files.files() {
        return false;
    }
    let mut planned = String::new();
    files.name(index, &mut planned);
    let sides = || {
        let shape = files.shape(index);
        files.format().sidecars(files.split().folder(), &planned, &shape)
    };
    planned == name || sides().iter().any(|side| side.name == name)
}

/// The part of `name` behind its last folder.
pub fn base_name(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, FormatKind};

    fn sets(kind: FormatKind) -> Vec<FileSet> {
        let mut config = Config::default();
        config.dataset.format = kind;
        config.dataset.num_files_train = 12;
        config.dataset.num_files_eval = 3;
        config.dataset.num_subfolders_train = 3;
        config.dataset.record_length_bytes = 4096.0;
        let format = || crate::format::for_dataset(&config.dataset).unwrap().into();
        [Split::Train, Split::Valid].map(|s| FileSet::new(&config, s, format()).unwrap()).into()
    }

    #[test]
    fn the_token_is_behind_the_final_name() {
        let token = token(0xabc);
        let partial = partial_name("train/img_1_of_2.npz", &token);
        assert_eq!(partial, "train/img_1_of_2.npz.0000000000000abc.partial");
        assert_eq!(final_name(&partial), Some("train/img_1_of_2.npz"));
        for other in ["a.partial", "a.xyz.partial", "a.0000000000000ABC.partial", "a.npz"] {
            assert_eq!(final_name(other), None, "{other}");
        }
    }

    #[test]
    fn only_our_own_leftovers_are_found() {
        let dir = tempfile::tempdir().unwrap();
        let all = sets(FormatKind::Tfrecord);
        let mut name = String::new();
        all[0].name(4, &mut name);
        let ours = [
            partial_name(&name, &token(1)),
            partial_name(&name, &token(u64::MAX)),
            partial_name(&format!("index/train/{}.idx", base_name(&name)), &token(2)),
            partial_name("valid/img_2_of_3.tfrecord", &token(3)),
        ];
        let others = [
            name.clone(),
            format!("{name}.partial"),
            partial_name("train/img_04_of_12.tfrecord", &token(1)),
            partial_name("valid/img_3_of_3.tfrecord", &token(1)),
            partial_name("valid/thesis_2_of_3.tfrecord", &token(1)),
            partial_name("valid/thesis", &token(1)),
            partial_name("other/img_2_of_3.tfrecord", &token(1)),
        ];
        for path in ours.iter().chain(&others).map(|name| dir.path().join(name)) {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "half").unwrap();
        }
        let sets: Vec<&FileSet> = all.iter().collect();
        let found: BTreeSet<_> = leftovers(dir.path(), &sets).unwrap().into_iter().collect();
        assert_eq!(found, ours.into());
        assert_eq!(leftovers(&dir.path().join("missing"), &sets).unwrap(), [""; 0]);
    }
}
