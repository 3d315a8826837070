//! Do all hosts see one folder? Each host writes a small file and looks for those of the others,
//! before anything else is written there. A folder that each host has for itself would hold a part
//! of the files on each of them.

use crate::world::World;
use std::fs::{File, OpenOptions};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Front of the names of those files; the run's token and the number of the host follow.
const PREFIX: &str = ".rankio-shared.";
const TOKEN_DIGITS: usize = 16;
/// How long a host looks for a file of another.
const PATIENCE: Duration = Duration::from_secs(5);
/// The same on NFS, whose clients remember for 30 s (acdirmin) that a folder was not there.
const NFS_PATIENCE: Duration = Duration::from_secs(40);
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Hosts that a message names.
const NAMED_HOSTS: usize = 3;

/// True for the name of a file by which hosts see each other; a killed job may leave one.
pub fn is_ours(name: &str) -> bool {
    let parts = name.strip_prefix(PREFIX).and_then(|rest| rest.split_once('.'));
    let is_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    parts.is_some_and(|(token, host)| {
        let digits = !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_digit());
        token.len() == TOKEN_DIGITS && token.bytes().all(is_hex) && digits
    })
}

/// Removes what killed jobs left of such files. The folder must be claimed.
///
/// # Errors
/// One line: what cannot be listed or removed.
pub fn remove_leftovers(folder: &Path) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("{}: {error}", folder.display());
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if entry.file_name().to_str().is_some_and(is_ours) {
            std::fs::remove_file(entry.path()).map_err(failed)?;
        }
    }
    Ok(())
}

/// Checks that the first rank of every host sees `folder`, which is there on rank 0, and that rank
/// 0 sees what they write there. `token` is the run's. Collective: fails on all ranks or on none,
/// and leaves nothing in the folder.
///
/// # Errors
/// On rank 0 one line, which names hosts; on the others an empty text.
pub fn check(world: &World, folder: Option<&Path>, token: &str) -> Result<(), String> {
    let Some(folder) = folder.filter(|_| world.hosts() > 1) else { return Ok(()) };
    let (mut own, mut trouble) = (None, String::new());
    if world.is_root() {
        match HostFile::create(folder, token, 0) {
            Ok(file) => own = Some(file),
            Err(error) => trouble = format!("{}: {error}", folder.display()),
        }
    }
    let first_host = world.broadcast(world.host().as_bytes().to_vec());
    let first_host = String::from_utf8_lossy(&first_host);
    let mut row = Vec::new();
    if world.rank_on_host() == 0 {
        if !world.is_root() {
            match answer(folder, token, world.host_index()) {
                Ok(file) => own = Some(file),
                Err(error) => trouble = complaint(world.host(), &first_host, &error),
            }
        }
        row = [world.host(), trouble.as_str()].join("\n").into_bytes();
    }
    let rows = world.gather(&row).unwrap_or_default();
    let outcome = match world.is_root() {
        true => judge(folder, token, &rows),
        false => Ok(()),
    };
    let is_fine = world.broadcast(vec![u8::from(outcome.is_ok())]) == [1];
    drop(own);
    // Whoever ends the job ends it after all files are gone.
    world.barrier();
    if is_fine { Ok(()) } else { outcome.and(Err(String::new())) }
}

/// What a host has to say that cannot take part.
fn complaint(host: &str, first_host: &str, error: &std::io::Error) -> String {
    match error.kind() {
        ErrorKind::NotFound => format!("{host} does not see what {first_host} wrote there"),
        _ => format!("{host} cannot write there: {error}"),
    }
}

/// Rank 0 hears the hosts, one row of each, and looks for their files.
fn judge(folder: &Path, token: &str, rows: &[Vec<u8>]) -> Result<(), String> {
    let rows = rows.iter().filter(|row| !row.is_empty()).map(|row| String::from_utf8_lossy(row));
    let rows: Vec<_> = rows.collect();
    let part = |row: &str, nth: usize| row.split('\n').nth(nth).unwrap_or_default().to_string();
    let mut complaints: Vec<String> = rows.iter().map(|row| part(row, 1)).collect();
    complaints.retain(|complaint| !complaint.is_empty());
    if complaints.is_empty() {
        let end = Instant::now() + patience(folder);
        let unseen = (1..rows.len()).filter(|host| {
            let path = folder.join(name_of(token, *host as u64));
            appears(&path, end).is_err()
        });
        let first_host = rows.first().map(|row| part(row, 0)).unwrap_or_default();
        let words = |host: usize| {
            format!("{first_host} does not see what {} wrote there", part(&rows[host], 0))
        };
        complaints = unseen.map(words).collect();
    }
    if complaints.is_empty() {
        return Ok(());
    }
    let more = complaints.len().saturating_sub(NAMED_HOSTS);
    complaints.truncate(NAMED_HOSTS);
    let more = if more > 0 { format!(", and {more} more") } else { String::new() };
    Err(format!(
        "{}: is not one folder on all hosts: {}{more}",
        folder.display(),
        complaints.join(", ")
    ))
}

/// On another host than that of rank 0: looks for the file of rank 0, and writes its own only
/// where that one is.
fn answer(folder: &Path, token: &str, host: u64) -> std::io::Result<HostFile> {
    appears(&folder.join(name_of(token, 0)), Instant::now() + patience(folder))?;
    HostFile::create(folder, token, host)
}

fn name_of(token: &str, host: u64) -> String {
    format!("{PREFIX}{token}.{host}")
}

/// How long it makes sense to look in `folder`, which may not be there.
fn patience(folder: &Path) -> Duration {
    let found = folder.ancestors().find_map(|part| nix::sys::statfs::statfs(part).ok());
    match found.map(|stat| stat.filesystem_type()) {
        Some(nix::sys::statfs::NFS_SUPER_MAGIC) => NFS_PATIENCE,
        _ => PATIENCE,
    }
}

/// Waits for a file.
fn appears(path: &Path, end: Instant) -> std::io::Result<()> {
    loop {
        match File::open(path) {
            Ok(_) => return Ok(()),
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            Err(error) if Instant::now() >= end => return Err(error),
            Err(_) => std::thread::sleep(LOOK_EVERY),
        }
    }
}

/// The file of this host, removed when dropped.
#[derive(Debug)]
struct HostFile(PathBuf);

impl HostFile {
    fn create(folder: &Path, token: &str, host: u64) -> std::io::Result<HostFile> {
        let path = folder.join(name_of(token, host));
        OpenOptions::new().write(true).create_new(true).open(&path)?;
        Ok(HostFile(path))
    }
}

impl Drop for HostFile {
    fn drop(&mut self) {
        // What stays is known as ours by its name.
        let _ = std::fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "00000000000000ab";

    fn row(host: &str, trouble: &str) -> Vec<u8> {
        format!("{host}\n{trouble}").into_bytes()
    }

    #[test]
    fn only_names_that_we_give_are_ours() {
        assert!(is_ours(&name_of(TOKEN, 0)) && is_ours(&name_of(TOKEN, 12_345)));
        let others = ["", ".rankio-shared.", ".rankio-shared.00000000000000ab", "a.b"];
        let more = [".rankio-shared.00000000000000ab.", ".rankio-shared.00000000000000AB.1"];
        for other in others.iter().chain(&more) {
            assert!(!is_ours(other), "{other}");
        }
        let dir = tempfile::tempdir().unwrap();
        for name in [name_of(TOKEN, 3), "thesis.tex".into()] {
            std::fs::write(dir.path().join(name), "").unwrap();
        }
        remove_leftovers(dir.path()).unwrap();
        let left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().flatten().collect();
        assert_eq!(left.len(), 1);
    }

    #[test]
    fn rank_0_looks_for_what_every_host_wrote() {
        let dir = tempfile::tempdir().unwrap();
        let rows = [row("a", ""), Vec::new(), row("b", "")];
        let file = HostFile::create(dir.path(), TOKEN, 1).unwrap();
        assert_eq!(judge(dir.path(), TOKEN, &rows), Ok(()));
        drop(file);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        // An overlay shows what others wrote, and keeps to itself what is written there.
        let said = judge(dir.path(), TOKEN, &rows).unwrap_err();
        assert!(said.ends_with("all hosts: a does not see what b wrote there"), "{said}");
    }

    #[test]
    fn a_message_names_few_hosts_of_many() {
        let trouble = |host: &str| complaint(host, "a", &ErrorKind::NotFound.into());
        let rows: Vec<_> = ["b", "c", "d", "e", "f"].map(|host| row(host, &trouble(host))).into();
        let said = judge(Path::new("/data"), TOKEN, &rows).unwrap_err();
        assert!(
            said.starts_with("/data: is not one folder on all hosts: b does not see"),
            "{said}"
        );
        assert!(said.ends_with("d does not see what a wrote there, and 2 more"), "{said}");
        let denied = complaint("b", "a", &ErrorKind::PermissionDenied.into());
        assert!(denied.starts_with("b cannot write there: "), "{denied}");
    }
}
