//! File systems mounted for one test and unmounted after it. They need root.

use std::path::Path;
use std::process::Command;

/// A mounted file system, unmounted on drop.
pub struct Mount {
    dir: tempfile::TempDir,
    image: Option<tempfile::TempPath>,
}

impl Mount {
    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    fn run(command: &str, args: &[&str]) -> bool {
        let status = Command::new(command).args(args).output();
        status.is_ok_and(|o| o.status.success())
    }

    /// tmpfs of a fixed size, `4m` for example; None without the right to mount.
    #[allow(dead_code, reason = "each test program uses its own part")]
    pub fn tmpfs(size: &str) -> Option<Mount> {
        let dir = tempfile::tempdir().ok()?;
        let options = format!("size={size}");
        let at = dir.path().to_str()?.to_string();
        let done = Self::run("mount", &["-t", "tmpfs", "-o", &options, "rankio-test", &at]);
        done.then_some(Mount { dir, image: None })
    }

    /// xfs on a loop device; None without mkfs.xfs or the right to mount.
    pub fn xfs() -> Option<Mount> {
        let image = tempfile::NamedTempFile::new_in(env!("CARGO_TARGET_TMPDIR")).ok()?;
        image.as_file().set_len(400 << 20).ok()?;
        let (dir, image) = (tempfile::tempdir().ok()?, image.into_temp_path());
        let (at, file) = (dir.path().to_str()?.to_string(), image.to_str()?.to_string());
        let done = Self::run("mkfs.xfs", &["-q", &file])
            && Self::run("mount", &["-o", "loop", &file, &at]);
        done.then_some(Mount { dir, image: Some(image) })
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let at = self.dir.path().to_str().unwrap_or_default().to_string();
        if !Self::run("umount", &[&at]) && !Self::run("umount", &["-l", &at]) {
            eprintln!("{at} is still mounted");
        }
        drop(self.image.take());
    }
}
