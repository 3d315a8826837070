//! Where nothing can be renamed but each object appears whole: the files of a checkpoint are
//! written under names that no other run has, `NAME.TOKEN.version/FILE`, and stay there.
//! `NAME/manifest.json` says in which folder the files of `NAME` lie. It is written last, by one
//! request, so at every moment there is the old checkpoint or the new one, and a folder that no
//! manifest names is nothing. To remove a checkpoint its manifest goes first.

use super::folder::{Folder, text_of};
use super::manifest::{MANIFEST, Manifest};
use super::names::{State, is_ours, on_the_way, parse};
use super::steps::Steps;
use crate::workload::clean::unlisted_uploads;
use crate::workload::small;

/// The steps of object stores.
pub struct ByManifest;

impl Steps for ByManifest {
    fn written_into(&self, name: &str, token: &str) -> String {
        on_the_way(name, token, State::Version)
    }

    fn may_lie_in(&self, name: &str, folder: &str) -> bool {
        parse(folder) == Some((name, State::Version))
    }

    fn publish(
        &self,
        folder: &mut Folder,
        written: &str,
        manifest: Manifest,
    ) -> Result<Option<String>, String> {
        let name = manifest.name.clone();
        folder.check_files(written, &manifest)?;
        let replaced = folder.manifest(&name)?.map(|old| old.folder);
        let text = Manifest { folder: written.into(), ..manifest }.to_text()?;
        let path = format!("{name}/{MANIFEST}");
        small::replace_text(folder.store.as_mut(), &path, text.as_bytes(), folder.durable)?;
        Ok(replaced.filter(|old| old != written))
    }

    fn withdraw(&self, folder: &mut Folder, name: &str) -> Result<String, String> {
        let manifest = folder.manifest(name)?;
        let manifest = manifest.ok_or_else(|| {
            format!("{}/{name}/{MANIFEST}: is gone; another job is at work there", folder.root)
        })?;
        folder.store.remove(&format!("{name}/{MANIFEST}")).map_err(text_of)?;
        Ok(manifest.folder)
    }

    fn unfinished(&self, folder: &mut Folder) -> Result<Vec<String>, String> {
        let versions = folder.names(|name, state| {
            state.filter(|state| *state == State::Version).map(|_| name.to_string())
        })?;
        let mut unfinished = Vec::new();
        for version in versions {
            let named = is_named(folder, &version)?;
            if !named && small::any_object(folder.store.as_mut(), &version, &|_| true)?.is_some() {
                unfinished.push(version);
            }
        }
        Ok(unfinished)
    }

    fn settle(&self, folder: &mut Folder) -> Result<(), String> {
        for version in self.unfinished(folder)? {
            folder.remove_contents(&version)?;
            folder.notes.push(format!(
                "note: {version} of a killed job is no whole checkpoint and is removed"
            ));
        }
        self.clear_uploads(folder)
    }

    fn clear_uploads(&self, folder: &mut Folder) -> Result<(), String> {
        // An upload below a folder that a manifest names cannot be: all its files were whole.
        let ours = |name: &str| {
            name.split_once('/').is_some_and(|(version, file)| {
                matches!(parse(version), Some((_, State::Version))) && is_ours(file)
            })
        };
        match folder.store.abort_uploads(&ours).map_err(text_of)? {
            Some(0) => {}
            Some(uploads) => folder
                .notes
                .push(format!("note: {uploads} unfinished upload(s) of a killed job are given up")),
            None => folder.notes.push(unlisted_uploads(&folder.root)),
        }
        Ok(())
    }
}

/// True if the manifest of its checkpoint says that the files lie in `version`.
fn is_named(folder: &mut Folder, version: &str) -> Result<bool, String> {
    let Some((name, _)) = parse(version) else { return Ok(false) };
    let manifest = folder.manifest(name)?;
    Ok(manifest.is_some_and(|manifest| manifest.folder == version))
}
