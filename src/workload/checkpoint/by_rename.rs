//! Where folders can be renamed: a checkpoint is written into a folder with a token behind its
//! name, and gets its name by one rename after its files, its list and its manifest are there. So a
//! name without a token is a whole checkpoint whenever the job ends.

use super::folder::{Folder, text_of};
use super::manifest::{MANIFEST, Manifest};
use super::names::{State, on_the_way, parse};
use super::steps::Steps;

/// The steps of file systems.
pub struct ByRename;

impl Steps for ByRename {
    fn written_into(&self, name: &str, token: &str) -> String {
        on_the_way(name, token, State::Partial)
    }

    fn may_lie_in(&self, name: &str, folder: &str) -> bool {
        name == folder
    }

    fn publish(
        &self,
        folder: &mut Folder,
        written: &str,
        manifest: Manifest,
    ) -> Result<Option<String>, String> {
        let durable = folder.durable;
        folder.check_files(written, &manifest)?;
        manifest.create(folder.store.as_mut(), &format!("{written}/{MANIFEST}"), durable)?;
        if durable {
            folder.store.sync_folder(written).map_err(text_of)?;
        }
        let replaced = put_in_place(folder, written, &manifest.name)?;
        if durable {
            folder.store.sync_folder("").map_err(text_of)?;
        }
        Ok(replaced)
    }

    fn withdraw(&self, folder: &mut Folder, name: &str) -> Result<String, String> {
        let removed = on_the_way(name, &folder.token, State::Removed);
        folder.store.rename(name, &removed).map_err(text_of)?;
        Ok(removed)
    }

    fn unfinished(&self, folder: &mut Folder) -> Result<Vec<String>, String> {
        folder.names(|name, state| {
            state.filter(|state| *state != State::Version).map(|_| name.to_string())
        })
    }

    /// What was being written or removed goes, what had been pushed aside for a new one comes back
    /// if that never came.
    fn settle(&self, folder: &mut Folder) -> Result<(), String> {
        for found in self.unfinished(folder)? {
            let Some((name, state)) = parse(&found) else { continue };
            let is_replaced = state == State::Replaced;
            if is_replaced && folder.store.stat(name).map_err(text_of)?.is_none() {
                folder.store.rename(&found, name).map_err(text_of)?;
                let text = format!("note: {name} of a killed job was put back in its place");
                folder.notes.push(text);
                continue;
            }
            folder.remove_contents(&found)?;
            if state == State::Partial {
                let text = format!("note: {name} of a killed job was unfinished and is removed");
                folder.notes.push(text);
            }
        }
        Ok(())
    }
}

fn put_in_place(folder: &mut Folder, written: &str, name: &str) -> Result<Option<String>, String> {
    if folder.store.stat(name).map_err(text_of)?.is_none() {
        return folder.store.rename(written, name).map_err(text_of).map(|()| None);
    }
    if folder.manifest(name)?.is_none() {
        return Err(format!(
            "{}/{name}: is there without a manifest, so rankio did not finish it; remove it",
            folder.root
        ));
    }
    if folder.store.exchange(written, name).map_err(text_of)? {
        return Ok(Some(written.to_string()));
    }
    // Two steps: a job that is killed between them is settled by the next one.
    let aside = on_the_way(name, &folder.token, State::Replaced);
    folder.store.rename(name, &aside).map_err(text_of)?;
    folder.store.rename(written, name).map_err(text_of)?;
    Ok(Some(aside))
}
