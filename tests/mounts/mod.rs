//! File systems mounted for one test and unmounted after it. They need root.

use std::path::Path;
use std::process::Command;

/// A mounted file system, unmounted on drop.
pub struct Mount {
    dir: tempfile::TempDir,
    image: Option<tempfile::TempPath>,
    /// Of an overlay.
    layers: Option<tempfile::TempDir>,
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
        done.then(|| Mount { dir, image: None, layers: None })
    }

    /// ext4 on a loop device over a file in `images`, which the loop reads directly or through the
    /// page cache; None without mkfs.ext4 or the right to mount.
    #[allow(dead_code, reason = "each test program uses its own part")]
    pub fn ext4(images: &Path, direct: bool) -> Option<Mount> {
        let mount = Self::looped(images, &["mkfs.ext4", "-q", "-F"])?;
        let device = mount.device()?;
        let direct = if direct { "on" } else { "off" };
        Self::run("losetup", &[&format!("--direct-io={direct}"), &device]).then_some(mount)
    }

    /// btrfs on a loop device; None without mkfs.btrfs or the right to mount.
    #[allow(dead_code, reason = "each test program uses its own part")]
    pub fn btrfs(images: &Path) -> Option<Mount> {
        Self::looped(images, &["mkfs.btrfs", "-q"])
    }

    fn looped(images: &Path, make: &[&str]) -> Option<Mount> {
        let image = tempfile::NamedTempFile::new_in(images).ok()?;
        image.as_file().set_len(128 << 20).ok()?;
        let (dir, image) = (tempfile::tempdir().ok()?, image.into_temp_path());
        let (at, file) = (dir.path().to_str()?.to_string(), image.to_str()?.to_string());
        let done = Self::run(make[0], &[&make[1..], &[&file]].concat())
            && Self::run("mount", &["-o", "loop", &file, &at]);
        done.then(|| Mount { dir, image: Some(image), layers: None })
    }

    /// The loop device that is mounted.
    fn device(&self) -> Option<String> {
        let mut command = Command::new("findmnt");
        command.args(["-n", "-o", "SOURCE", "--mountpoint"]).arg(self.path());
        let out = command.output().ok()?;
        Some(String::from_utf8(out.stdout).ok()?.trim().to_string())
    }

    /// Makes it read-only; false if that failed.
    #[allow(dead_code, reason = "each test program uses its own part")]
    pub fn read_only(&self) -> bool {
        Self::run("mount", &["-o", "remount,ro", self.path().to_str().unwrap_or_default()])
    }

    /// An overlay whose layers lie in a new folder of `layers`; None without the right to mount.
    #[allow(dead_code, reason = "each test program uses its own part")]
    pub fn overlay(layers: &Path) -> Option<Mount> {
        let layers = tempfile::tempdir_in(layers).ok()?;
        let layer = |name: &str| {
            let path = layers.path().join(name);
            std::fs::create_dir(&path).ok()?;
            Some(path.display().to_string())
        };
        let (lower, upper, work) = (layer("lower")?, layer("upper")?, layer("work")?);
        let options = format!("lowerdir={lower},upperdir={upper},workdir={work}");
        // Elsewhere: mounted over the folder of its layers it would hide them.
        let dir = tempfile::tempdir().ok()?;
        let at = dir.path().to_str()?.to_string();
        let done = Self::run("mount", &["-t", "overlay", "-o", &options, "rankio-test", &at]);
        done.then(|| Mount { dir, image: None, layers: Some(layers) })
    }

    /// xfs on a loop device; None without mkfs.xfs or the right to mount.
    #[allow(dead_code, reason = "each test program uses its own part")]
    pub fn xfs() -> Option<Mount> {
        let image = tempfile::NamedTempFile::new_in(env!("CARGO_TARGET_TMPDIR")).ok()?;
        image.as_file().set_len(400 << 20).ok()?;
        let (dir, image) = (tempfile::tempdir().ok()?, image.into_temp_path());
        let (at, file) = (dir.path().to_str()?.to_string(), image.to_str()?.to_string());
        let done = Self::run("mkfs.xfs", &["-q", &file])
            && Self::run("mount", &["-o", "loop", &file, &at]);
        done.then(|| Mount { dir, image: Some(image), layers: None })
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let at = self.dir.path().to_str().unwrap_or_default().to_string();
        if !Self::run("umount", &[&at]) && !Self::run("umount", &["-l", &at]) {
            eprintln!("{at} is still mounted");
        }
        drop((self.image.take(), self.layers.take()));
    }
}
