//! The steps by which a checkpoint comes into being and goes. They differ where a store can move a
//! folder to another name in one step and where it cannot; everything else about a root of
//! checkpoints is the same.

use super::by_manifest::ByManifest;
use super::by_rename::ByRename;
use super::folder::Folder;
use super::manifest::Manifest;
use crate::config::is_object_root;

/// The steps of one kind of store.
pub trait Steps: Sync {
    /// Folder into which the run with `token` writes the files of `name`.
    fn written_into(&self, name: &str, token: &str) -> String;

    /// True if a whole checkpoint `name` may have its files in `folder`.
    fn may_lie_in(&self, name: &str, folder: &str) -> bool;

    /// Makes what is in the folder `written` the checkpoint of `manifest`, in one step at the end.
    /// What had the name before is then in the folder that is returned, to be removed.
    ///
    /// # Errors
    /// One line of the store, or what is there in place of what should be.
    fn publish(
        &self,
        folder: &mut Folder,
        written: &str,
        manifest: Manifest,
    ) -> Result<Option<String>, String>;

    /// Takes the checkpoint `name` away in one step. Its files are then in the folder that is
    /// returned, to be removed.
    ///
    /// # Errors
    /// One line of the store.
    fn withdraw(&self, folder: &mut Folder, name: &str) -> Result<String, String>;

    /// Folders that are no checkpoint: on their way in or out, or left so by a killed job.
    ///
    /// # Errors
    /// One line of the store.
    fn unfinished(&self, folder: &mut Folder) -> Result<Vec<String>, String>;

    /// Ends what a killed job was doing, and notes it.
    ///
    /// # Errors
    /// One line of the store.
    fn settle(&self, folder: &mut Folder) -> Result<(), String>;

    /// Gives up what was sent of unfinished files and lies in no folder.
    ///
    /// # Errors
    /// One line of the store.
    fn clear_uploads(&self, _folder: &mut Folder) -> Result<(), String> {
        Ok(())
    }
}

/// The steps of the store behind `root`.
pub fn steps_of(root: &str) -> &'static dyn Steps {
    match is_object_root(root) {
        true => &ByManifest,
        false => &ByRename,
    }
}
