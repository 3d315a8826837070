//! Build-time facts and files: commit, target features and profile for the results, shell
//! completions and man pages from the command line's own definition.
//!
//! `src/cli.rs` is compiled here a second time. It therefore may use nothing of the crate, and none
//! of the `RANKIO_` variables, which are only set for what is built after this script.

use clap::{CommandFactory, ValueEnum};
use std::path::{Path, PathBuf};
use std::process::Command;

#[allow(dead_code)]
#[path = "src/cli.rs"]
mod cli;

/// Everything that decides what the binary is; a change elsewhere does not make a commit dirty.
const INPUTS: &[&str] = &["src", "build.rs", "Cargo.toml", "Cargo.lock"];

fn main() -> std::io::Result<()> {
    for input in INPUTS {
        println!("cargo::rerun-if-changed={input}");
    }
    let root = PathBuf::from(variable("CARGO_MANIFEST_DIR"));
    println!("cargo::rustc-env=RANKIO_COMMIT={}", commit(&root));
    println!("cargo::rustc-env=RANKIO_TARGET_FEATURES={}", variable("CARGO_CFG_TARGET_FEATURE"));
    println!("cargo::rustc-env=RANKIO_PROFILE={}", variable("PROFILE"));
    let out = PathBuf::from(variable("OUT_DIR"));
    write_completions(&out.join("completions"))?;
    write_man_pages(&out.join("man"))
}

/// A variable that cargo sets; "" where it leaves it out.
fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_default()
}

/// The commit in 12 digits, `-dirty` behind it if an input differs from it; `unknown` outside a
/// repository of our own (an unpacked archive, a copy inside another project).
fn commit(root: &Path) -> String {
    let ours = git(root, &["rev-parse", "--show-toplevel"])
        .and_then(|top| Path::new(&top).canonicalize().ok())
        .is_some_and(|top| root.canonicalize().is_ok_and(|root| root == top));
    let Some(commit) = git(root, &["rev-parse", "--short=12", "HEAD"]).filter(|_| ours) else {
        return "unknown".to_string();
    };
    watch_head(root);
    let mut status = vec!["status", "--porcelain", "--"];
    status.extend(INPUTS);
    match git(root, &status) {
        Some(changes) if changes.is_empty() => commit,
        _ => format!("{commit}-dirty"),
    }
}

/// Has this script run again when HEAD names another commit. The branch may be a file of its own or
/// a line in `packed-refs`, and a worktree keeps HEAD apart from both; git says where they are.
/// Where the branch has no file yet, the folder in which it would appear is watched.
fn watch_head(root: &Path) {
    let branch = git(root, &["symbolic-ref", "--quiet", "HEAD"]);
    for name in ["HEAD", "packed-refs"].into_iter().chain(branch.as_deref()) {
        let Some(path) = git(root, &["rev-parse", "--git-path", name]) else { continue };
        let path = root.join(path);
        let existing = path.ancestors().find(|p| p.exists()).unwrap_or(root);
        // packed-refs would appear in the repository's top folder, which changes with every
        // command.
        if name != "packed-refs" || existing == path {
            println!("cargo::rerun-if-changed={}", existing.display());
        }
    }
}

/// Trimmed output of git; None if it is missing or refuses. Takes no locks, so that a build beside
/// another git command disturbs neither.
fn git(root: &Path, arguments: &[&str]) -> Option<String> {
    let run = Command::new("git")
        .args(arguments)
        .current_dir(root)
        .env("GIT_OPTIONAL_LOCKS", "0")
        .output()
        .ok()?;
    let text = String::from_utf8(run.stdout).ok()?;
    run.status.success().then(|| text.trim().to_string())
}

/// One file for each shell: `rankio.bash`, `_rankio`, `rankio.fish`, `rankio.elv`, `_rankio.ps1`.
fn write_completions(folder: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    for shell in clap_complete::Shell::value_variants() {
        clap_complete::generate_to(*shell, &mut cli::Cli::command(), "rankio", folder)?;
    }
    Ok(())
}

/// `rankio.1` and one page for each subcommand (`rankio-run.1`).
fn write_man_pages(folder: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    clap_mangen::generate_to(cli::Cli::command(), folder)
}
