//! The begin of a job: all ranks are there, are the same program and have the same workload files.

use super::{LET_RANK_0_SPEAK, USAGE};
use crate::config::{self, WorkloadText};
use crate::world::{World, say};
use std::path::PathBuf;
use std::process::ExitCode;

/// Options that each rank may have for itself, and whether a value follows: they change neither
/// what is measured nor how often ranks meet.
const OF_A_RANK: [(&str, bool); 4] =
    [("--results-dir", true), ("--run-id", true), ("--quiet", false), ("--strict", false)];

/// Joins the world and makes sure that all ranks run this program with these options. Collective.
/// An error was told; its exit code is the program's.
pub fn join() -> Result<World, ExitCode> {
    let world = World::start().map_err(|refused| {
        match refused.speaks {
            true => say(&format!("rankio: error: {}", refused.message)),
            // A launcher ends all processes as soon as one fails.
            false => std::thread::sleep(LET_RANK_0_SPEAK),
        }
        ExitCode::from(refused.exit_code as u8)
    })?;
    let words = std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned());
    let options = shared_options(words);
    match world.same_start(&build(), &options) {
        Ok(()) => Ok(world),
        Err(refused) => Err(refuse_all(&world, refused)),
    }
}

/// Says why all ranks end, on the one that speaks.
pub fn refuse_all(world: &World, (message, speaks): (String, bool)) -> ExitCode {
    if speaks {
        // What is wrong may be wrong on one host only.
        let label = if world.is_root() { String::new() } else { world.label() };
        say(&format!("rankio: error: {label}{message}"));
    }
    ExitCode::from(USAGE)
}

/// The workload files, read by rank 0 and told to the others. Collective; an error is everybody's,
/// and rank 0 has it.
pub fn read_files(world: &World, files: &[PathBuf]) -> Result<Vec<WorkloadText>, (String, bool)> {
    let mut message = String::new();
    let mut told = Vec::new();
    if world.is_root() {
        match config::read_files(files) {
            Ok(texts) => told = serde_json::to_vec(&texts).expect("texts are plain data"),
            Err(error) => message = error.to_string(),
        }
    }
    match world.broadcast(told) {
        told if told.is_empty() => Err((message, world.is_root())),
        told => Ok(serde_json::from_slice(&told).expect("all ranks run the same program")),
    }
}

/// What this program is, for people.
fn build() -> String {
    let tool = crate::workload::tool();
    format!("rankio {} ({}; {})", tool.version, tool.commit, tool.features.join(", "))
}

/// The words of a command line without the options of a rank, nor a secret.
fn shared_options(words: impl Iterator<Item = String>) -> Vec<String> {
    let mut shared = Vec::new();
    let mut words = words.peekable();
    while let Some(word) = words.next() {
        let name = word.split('=').next().unwrap_or_default();
        match OF_A_RANK.iter().find(|(own, _)| *own == name) {
            Some((_, true)) if !word.contains('=') => {
                words.next();
            }
            Some(_) => {}
            None => shared.push(super::without_secret(word)),
        }
    }
    shared
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_may_have_results_folders_of_their_own_but_no_other_work() {
        let shared = |text: &str| shared_options(text.split(' ').map(String::from)).join(" ");
        let own = "run a.yaml --results-dir /r1 --quiet --repeat 2 --run-id=x --strict";
        assert_eq!(shared(own), "run a.yaml --repeat 2");
        let secret = "run a.yaml --set storage.storage_options.secret_access_key=abc";
        assert!(!shared(secret).contains("abc"));
    }
}
