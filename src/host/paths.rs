//! Which folders a dataset may live in: never the system's own, never a whole home.
//!
//! `datagen` fills a folder with files and `clean` removes them again, so a slip such as
//! `--data-dir /` or `--data-dir $HOME` has to end before the first write. Links and `..` are
//! resolved first, because `/scratch/link` may well be `/usr`.

use nix::unistd::{Uid, User};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

/// Folders that are the system's with everything below them.
const SYSTEM_TREES: &[&str] = &[
    "/bin",
    "/boot",
    "/dev",
    "/etc",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/lost+found",
    "/proc",
    "/sbin",
    "/sys",
    "/usr/bin",
    "/usr/games",
    "/usr/include",
    "/usr/lib",
    "/usr/lib32",
    "/usr/lib64",
    "/usr/libexec",
    "/usr/libx32",
    "/usr/sbin",
    "/usr/share",
    "/usr/src",
];

/// Folders that are shared by many: a folder of its own below them is fine.
const SHARED: &[&str] = &[
    "/",
    "/dev/shm",
    "/home",
    "/media",
    "/opt",
    "/root",
    "/run",
    "/run/user",
    "/tmp",
    "/usr",
    "/usr/local",
    "/var",
    "/var/cache",
    "/var/lib",
    "/var/lock",
    "/var/log",
    "/var/mail",
    "/var/opt",
    "/var/run",
    "/var/spool",
    "/var/tmp",
];

/// Says whether `path` may be the root of a dataset or the target of `clean`. The path need not
/// exist.
///
/// # Errors
/// One line for the user: which folder, why not, and what to give instead.
pub fn check_data_path(path: &Path) -> Result<(), String> {
    let refuse = |why: String| {
        Err(format!(
            "data path {}: {why}; give a folder of its own on the storage to be measured",
            path.display()
        ))
    };
    if path.as_os_str().is_empty() {
        return refuse("is empty".into());
    }
    let resolved = match resolve(path) {
        Ok(resolved) => resolved,
        Err(e) => return refuse(format!("cannot be resolved ({e})")),
    };
    match objection(&resolved, &homes()).or_else(|| home_of_owner(&resolved)) {
        Some(why) if resolved == path => refuse(why),
        Some(why) => refuse(format!("is really {} and {why}", resolved.display())),
        None => Ok(()),
    }
}

/// Why a resolved absolute path is refused; `homes` are the user's own.
fn objection(path: &Path, homes: &[PathBuf]) -> Option<String> {
    if SHARED.iter().any(|shared| path == Path::new(shared)) {
        return Some("is a folder that the whole system shares".into());
    }
    if homes.iter().any(|home| path == home) {
        return Some("is your home folder".into());
    }
    if homes.iter().any(|home| home.starts_with(path)) {
        return Some("contains your home folder".into());
    }
    if path.starts_with("/dev/shm") {
        return None;
    }
    let tree = SYSTEM_TREES.iter().find(|tree| path.starts_with(tree))?;
    Some(format!("belongs to the system ({tree})"))
}

/// The user's homes: what the environment says and what the user database says.
fn homes() -> Vec<PathBuf> {
    let from_database = User::from_uid(Uid::effective()).ok().flatten().map(|user| user.dir);
    let named = std::env::var_os("HOME").map(PathBuf::from).into_iter().chain(from_database);
    named
        .filter(|home| home.is_absolute())
        .flat_map(|home| [std::fs::canonicalize(&home).unwrap_or_else(|_| home.clone()), home])
        .collect()
}

/// Somebody else's home: root could fill or empty it.
fn home_of_owner(path: &Path) -> Option<String> {
    let owner = std::fs::metadata(path).ok()?.uid();
    let user = User::from_uid(Uid::from_raw(owner)).ok().flatten()?;
    (user.dir == path).then(|| format!("is the home folder of {}", user.name))
}

/// `path` as an absolute path without links, `.` and `..`; parts that do not exist yet are kept as
/// they stand.
///
/// # Errors
/// A link that leads nowhere (what it will be later cannot be known), a loop, a parent that may not
/// be entered or that is no folder.
pub(super) fn resolve(path: &Path) -> io::Result<PathBuf> {
    let absolute = std::path::absolute(path)?;
    let mut resolved = PathBuf::from("/");
    for part in absolute.components() {
        match part {
            Component::ParentDir => {
                resolved.pop();
            }
            Component::Normal(name) => {
                resolved.push(name);
                match resolved.symlink_metadata() {
                    Ok(meta) if meta.is_symlink() => resolved = follow(&resolved)?,
                    Ok(_) => {}
                    Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                    Err(e) => return Err(e),
                }
            }
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    Ok(resolved)
}

fn follow(link: &Path) -> io::Result<PathBuf> {
    std::fs::canonicalize(link).map_err(|e| {
        let what = format!("the link {} leads nowhere: {e}", link.display());
        io::Error::new(e.kind(), what)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn system_folders_are_refused() {
        let refused = [
            "/",
            "//",
            "/usr",
            "/usr/",
            "/etc",
            "/etc/ssl",
            "/home",
            "/dev",
            "/dev/pts",
            "/dev/shm",
            "/proc",
            "/proc/1",
            "/sys",
            "/boot",
            "/var",
            "/var/lib",
            "/root",
            "/bin",
            "/lib",
            "/tmp",
            "/usr/share/x",
            "/opt",
            "/run",
            "/usr/local",
        ];
        for path in refused {
            let said = check_data_path(Path::new(path)).unwrap_err();
            assert!(said.starts_with("data path /") && said.contains("; give a folder"), "{said}");
            assert!(!said.contains('\n'));
        }
    }

    #[test]
    fn folders_of_their_own_are_allowed() {
        let allowed = [
            "/scratch",
            "/mnt",
            "/mnt/x",
            "/dev/shm/x",
            "/srv/a/b",
            "/tmp/x",
            "/usrdata",
            "/opt/x",
        ];
        for path in allowed {
            assert_eq!(objection(Path::new(path), &[PathBuf::from("/people/ada")]), None, "{path}");
        }
        let dir = tempfile::tempdir().unwrap();
        check_data_path(dir.path()).unwrap();
        check_data_path(&dir.path().join("a/b/c")).unwrap();
    }

    #[test]
    fn a_home_and_what_contains_it_is_refused() {
        let homes = [PathBuf::from("/people/dept/ada")];
        let said = |path: &str| objection(Path::new(path), &homes);
        assert!(said("/people/dept/ada").unwrap().contains("is your home"));
        assert!(said("/people/dept").unwrap().contains("contains your home"));
        assert_eq!(said("/people/dept/ada/data"), None);
        assert_eq!(said("/people/dept/bob"), None);
        for home in super::homes() {
            assert!(check_data_path(&home).is_err(), "{}", home.display());
        }
    }

    #[test]
    fn dots_are_resolved_before_the_check() {
        let dir = tempfile::tempdir().unwrap();
        let up = "../".repeat(dir.path().components().count() + 3);
        let said = check_data_path(&dir.path().join(&up).join("usr")).unwrap_err();
        assert!(said.contains("is really /usr"), "{said}");
        assert!(check_data_path(&dir.path().join("new/../..").join(&up)).is_err());
        check_data_path(&dir.path().join("new/../other")).unwrap();
    }

    #[test]
    fn links_are_resolved_before_the_check() {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("link");
        symlink("/etc", &link).unwrap();
        assert!(check_data_path(&link).unwrap_err().contains("is really /etc"));
        assert!(check_data_path(&link.join("sub")).unwrap_err().contains("/etc"));
        // After a link, `..` is the parent of the link's target, as the kernel sees it.
        assert!(check_data_path(&link.join("..")).unwrap_err().contains("is really /"));
    }

    #[test]
    fn a_link_to_nowhere_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("dangling");
        symlink(dir.path().join("missing"), &link).unwrap();
        let said = check_data_path(&link).unwrap_err();
        assert!(said.contains("leads nowhere"), "{said}");
        let around = dir.path().join("loop");
        symlink(&around, &around).unwrap();
        assert!(check_data_path(&around.join("x")).is_err());
    }

    #[test]
    fn an_empty_path_and_a_file_as_parent_are_refused() {
        assert!(check_data_path(Path::new("")).unwrap_err().contains("is empty"));
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(check_data_path(&file.path().join("x")).is_err());
    }

    #[test]
    fn relative_paths_start_here() {
        let here = std::env::current_dir().unwrap().canonicalize().unwrap();
        assert_eq!(resolve(Path::new("./a/./b")).unwrap(), here.join("a/b"));
        check_data_path(Path::new("data/quick")).unwrap();
    }
}
