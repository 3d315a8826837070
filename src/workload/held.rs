//! Who is at work in a root of checkpoints, on file systems and on object stores.
//!
//! On an object store nothing goes away with the process that holds it. So the lock is an object
//! that names its holder, made only where there is none, and removed at the end. What a killed job
//! leaves is taken over where it can be seen that its process is gone: on the same host, in the
//! same space of process numbers. Anywhere else the user has to say so, by removing the object.

use super::claim::{Claim, Holder, LOCK, at_work, unknown};
use super::session::local_path;
use super::small::{self, TextWriter, connect_small_by};
use crate::config::ObjectOptions;
use crate::host::check_data_path;
use crate::storage::Storage;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A holder that ends while we look makes us look again, a few times.
const TRIES: u32 = 20;
/// Two that take over at once write one after the other; who comes later is seen after this.
const SETTLE: Duration = Duration::from_millis(200);

/// The sole right to change a root of checkpoints; given back when dropped.
pub enum Held {
    /// A file lock in a folder.
    Folder(#[expect(dead_code, reason = "it is held, not read")] Claim),
    /// An object that names its holder.
    Objects(#[expect(dead_code, reason = "it is held, not read")] Box<ObjectClaim>),
}

impl Held {
    /// True if somebody holds the root `root` of `store`, or died while holding it.
    ///
    /// # Errors
    /// One line: a path on which no data may lie, a store that does not answer.
    pub fn is_there(root: &str, store: &mut dyn Storage) -> Result<bool, String> {
        match local_path(root) {
            Some(path) => {
                check_data_path(&path)?;
                Ok(Claim::is_there(&path))
            }
            None => {
                let found = store.stat(LOCK).map_err(|error| error.to_string())?;
                Ok(found.is_some())
            }
        }
    }

    /// Claims `root` for `work` of the run `run` (may be empty).
    ///
    /// # Errors
    /// One line: who holds it and what to do, or why it cannot be claimed.
    pub fn take(
        root: &str,
        object: &ObjectOptions,
        (work, run): (&str, &str),
    ) -> Result<Held, String> {
        match local_path(root) {
            Some(path) => {
                check_data_path(&path)?;
                Claim::take(&path, work, run).map(Held::Folder)
            }
            None => {
                let store = connect_small_by(root, object)?;
                let owner = Owner::this_process(work, run);
                ObjectClaim::take(store, root, owner).map(|claim| Held::Objects(Box::new(claim)))
            }
        }
    }
}

/// What the object says of its holder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Owner {
    #[serde(flatten)]
    holder: Holder,
    /// The space that the process number belongs to: containers have their own.
    pid_space: String,
    /// When the process started, in ticks since the boot: numbers are used again.
    start_ticks: u64,
}

impl Owner {
    fn this_process(work: &str, run: &str) -> Owner {
        let holder = Holder::this_process(work, run);
        let space = std::fs::read_link("/proc/self/ns/pid").unwrap_or_default();
        let start_ticks = start_ticks(holder.pid).unwrap_or(0);
        Owner { holder, pid_space: space.display().to_string(), start_ticks }
    }

    /// True if its process would be seen by `other` were it alive, and is not.
    fn is_gone_for(&self, other: &Owner) -> bool {
        let known = |text: &str, with: &str| !text.is_empty() && text == with;
        known(&self.holder.boot, &other.holder.boot)
            && known(&self.pid_space, &other.pid_space)
            && start_ticks(self.holder.pid) != Some(self.start_ticks)
    }
}

/// When a process that is at work started; None if there is none of this number.
fn start_ticks(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name before it may hold anything.
    let fields: Vec<&str> = stat.rsplit(')').next()?.split_whitespace().collect();
    if matches!(*fields.first()?, "Z" | "X") {
        return None;
    }
    fields.get(19)?.parse().ok()
}

/// The object that names who holds a root.
pub struct ObjectClaim {
    store: Box<dyn Storage>,
    text: String,
}

impl ObjectClaim {
    fn take(mut store: Box<dyn Storage>, root: &str, owner: Owner) -> Result<ObjectClaim, String> {
        let text = serde_json::to_string_pretty(&owner).expect("a holder is plain data");
        for _ in 0..TRIES {
            let found = small::read_text(store.as_mut(), LOCK)
                .map_err(|error| format!("{root}: {error}"))?;
            let Some(found) = found else {
                match create(store.as_mut(), &text) {
                    Ok(()) => {}
                    // Somebody else may have been quicker.
                    Err(_) if store.stat(LOCK).is_ok_and(|stat| stat.is_some()) => continue,
                    Err(error) => return Err(format!("{root}: {error}")),
                }
                return held(store, text, root);
            };
            let Ok(other) = serde_json::from_str::<Owner>(&found) else {
                return Err(unknown(root, None));
            };
            if !other.is_gone_for(&owner) {
                let is_here =
                    other.holder.boot == owner.holder.boot && other.pid_space == owner.pid_space;
                return Err(match is_here {
                    true => at_work(root, Some(&other.holder), "--checkpoint-dir"),
                    false => unknown(root, Some(&other.holder)),
                });
            }
            small::write_text(store.as_mut(), LOCK, text.as_bytes())
                .map_err(|error| format!("{root}: {error}"))?;
            std::thread::sleep(SETTLE);
            return held(store, text, root);
        }
        Err(format!("{root}/{LOCK}: changes hands all the time; start one rankio at a time"))
    }
}

fn create(store: &mut dyn Storage, text: &str) -> Result<(), String> {
    let mut writer = TextWriter::create(store, LOCK)?;
    writer.push(text.as_bytes())?;
    writer.finish(true)
}

/// Believes that the object is ours when it is read back: not every store knows conditions.
fn held(mut store: Box<dyn Storage>, text: String, root: &str) -> Result<ObjectClaim, String> {
    let found = small::read_text(store.as_mut(), LOCK).map_err(|e| format!("{root}: {e}"))?;
    if found.as_deref() == Some(&text) {
        return Ok(ObjectClaim { store, text });
    }
    let other = found.and_then(|found| serde_json::from_str::<Owner>(&found).ok());
    Err(at_work(root, other.as_ref().map(|other| &other.holder), "--checkpoint-dir"))
}

impl Drop for ObjectClaim {
    fn drop(&mut self) {
        let store = self.store.as_mut();
        // One that somebody removed and made again is theirs.
        if small::read_text(store, LOCK).is_ok_and(|found| found.as_deref() == Some(&self.text)) {
            let _ = store.remove(LOCK);
        }
    }
}
