//! Name, seed and results folder of a run.
//!
//! A name belongs to one run at a time: rank 0 holds a file lock in the folder while it works, and
//! an existing result is never overwritten. What a failed run left may be used again.

use super::run::Request;
use super::{partials, shared_folder};
use crate::config::Config;
use crate::report::timestamp;
use crate::world::World;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Folder of the step logs of ranks.
pub(super) const MLPERF: &str = "mlperf";
/// Held by the run that is at work in the folder.
const RUNNING: &str = ".running";

/// What a finished run or series leaves.
const RESULTS: [&str; 4] = ["result.json", "repeat.json", "capacity.json", "compare.json"];

/// The results folder of this run, given back when dropped.
pub(super) struct RunFolder {
    /// Name of the run.
    pub name: String,
    /// Seed of `random` shuffles, the same on all ranks.
    pub seed: u64,
    /// The folder.
    pub path: PathBuf,
    /// The lock; on rank 0 only.
    claim: Option<File>,
}

/// What rank 0 tells the others: seed (8 bytes), whether the folder is new (1 byte), name.
const NAME_AT: usize = 9;

impl RunFolder {
    /// Chooses and makes the folder on rank 0. Collective; an error of rank 0 ends the job.
    pub fn claim(
        world: &World,
        config: &Config,
        request: &Request,
        unix_ns: u64,
    ) -> Result<RunFolder, String> {
        let from_file = config.output.folder.as_ref().map(PathBuf::from);
        let root = request.results_root.clone().or(from_file).unwrap_or_else(|| "results".into());
        let seed = unix_ns.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ u64::from(std::process::id());
        let mut bytes = seed.to_le_bytes().to_vec();
        let mut claim = None;
        bytes.push(0);
        if world.is_root() {
            // Another host must not look there before the folder is made: a client of NFS would
            // remember for some time that it is not there.
            let known = request.run_id.as_ref().is_some_and(|name| root.join(name).exists());
            bytes[NAME_AT - 1] = u8::from(!known);
            let claimed = match &request.run_id {
                Some(name) => claim_folder(&root, name),
                None => claim_new_folder(&root, unix_ns),
            };
            match claimed {
                Ok((name, file)) => {
                    bytes.extend(name.into_bytes());
                    claim = Some(file);
                }
                Err(message) => world.fail(&message),
            }
        }
        let bytes = world.broadcast(bytes);
        let seed = u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes were sent"));
        let name = String::from_utf8_lossy(&bytes[NAME_AT..]).into_owned();
        let path = root.join(&name);
        if bytes[NAME_AT - 1] == 1 {
            let path = path.clone();
            crate::world::before_abort(move || remove_if_empty(&path));
        }
        Ok(RunFolder { name, seed, path, claim })
    }

    /// Checks that all hosts see the folder. Collective.
    ///
    /// # Errors
    /// On rank 0 one line, on the others an empty one.
    pub fn check_shared(&self, world: &World) -> Result<(), String> {
        shared_folder::check(world, Some(&self.path), &partials::token(self.seed))
    }

    /// Makes the folder of the step logs. On a second host the whole folder may be another one;
    /// each rank writes its own log there.
    pub fn make_log_folder(&self) -> Result<(), String> {
        std::fs::create_dir_all(self.path.join(MLPERF))
            .map_err(|error| format!("{}: {error}", self.path.display()))
    }
}

impl Drop for RunFolder {
    fn drop(&mut self) {
        if self.claim.is_some() {
            // Before the lock goes; nothing is lost if it stays.
            let _ = std::fs::remove_file(self.path.join(RUNNING));
        }
    }
}

/// Removes the folder of a run that failed before it had anything to say. What holds more than this
/// run's lock and its empty folder stays.
fn remove_if_empty(folder: &Path) {
    let _ = std::fs::remove_dir(folder.join(MLPERF));
    let names = std::fs::read_dir(folder).into_iter().flatten().flatten();
    if names.map(|entry| entry.file_name()).all(|name| name == RUNNING) {
        let _ = std::fs::remove_file(folder.join(RUNNING));
        let _ = std::fs::remove_dir(folder);
    }
}

/// A folder of the user's choice.
fn claim_folder(root: &Path, name: &str) -> Result<(String, File), String> {
    let folder = root.join(name);
    std::fs::create_dir_all(&folder).map_err(|error| cannot_make(&folder, &error))?;
    let file = lock(&folder)?;
    if RESULTS.iter().any(|name| folder.join(name).exists()) {
        return Err(format!(
            "{}: already holds a result; give another --run-id{}",
            folder.display(),
            after_requeue(std::env::var("SLURM_RESTART_COUNT").ok().as_deref())
        ));
    }
    Ok((name.to_string(), file))
}

/// What to do in a job that Slurm started again with the same command.
fn after_requeue(restarts: Option<&str>) -> &'static str {
    match restarts {
        None | Some("" | "0") => "",
        _ => {
            ": Slurm requeued this job, so let its script add $SLURM_RESTART_COUNT to the name, as \
             slurm/train.sbatch does"
        }
    }
}

/// Date and time as `YYYYMMDD_HHMMSS`, UTC.
pub(super) fn stamp(unix_ns: u64) -> String {
    let text = timestamp::iso_utc(unix_ns);
    let digits: String = text.chars().filter(char::is_ascii_digit).take(14).collect();
    format!("{}_{}", &digits[..8], &digits[8..])
}

/// A folder by date and time; a number follows where another run began in the same second.
fn claim_new_folder(root: &Path, unix_ns: u64) -> Result<(String, File), String> {
    std::fs::create_dir_all(root).map_err(|error| cannot_make(root, &error))?;
    let first = stamp(unix_ns);
    let mut name = first.clone();
    for number in 2.. {
        let folder = root.join(&name);
        match std::fs::create_dir(&folder) {
            Ok(()) => break,
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                name = format!("{first}_{number}");
            }
            Err(error) => return Err(cannot_make(&folder, &error)),
        }
    }
    let file = lock(&root.join(&name))?;
    Ok((name, file))
}

/// Takes the folder's lock. Where the file system has none, only an existing result protects a
/// name.
fn lock(folder: &Path) -> Result<File, String> {
    let path = folder.join(RUNNING);
    let options = OpenOptions::new().create(true).truncate(false).write(true).to_owned();
    let file = options.open(&path).map_err(|error| cannot_make(&path, &error))?;
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => Err(format!(
            "{}: another run of this name is at work; give another --run-id",
            folder.display()
        )),
        Ok(()) | Err(TryLockError::Error(_)) => Ok(file),
    }
}

fn cannot_make(folder: &Path, error: &std::io::Error) -> String {
    format!("{}: {error}; give a writable --results-dir", folder.display())
}
