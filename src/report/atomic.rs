//! Files that are there whole or not at all.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;

/// Writes a file under a temporary name beside `path`, makes it durable and moves it there,
/// replacing what was there. On an error `path` is as it was.
///
/// # Errors
/// What `content` or the file system said, with the path in front.
pub fn write_atomic(
    path: &Path,
    content: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
) -> io::Result<()> {
    let mut name = OsString::from(path);
    name.push(".partial");
    let partial = Path::new(&name);
    let written = write_durably(partial, content).and_then(|()| fs::rename(partial, path));
    written.map_err(|error| {
        // The file may not even exist; the error to report is the first one.
        let _ = fs::remove_file(partial);
        io::Error::new(error.kind(), format!("cannot write {}: {error}", path.display()))
    })
}

fn write_durably(
    path: &Path,
    content: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
) -> io::Result<()> {
    let mut writer = BufWriter::new(File::create(path)?);
    content(&mut writer)?;
    writer.flush()?;
    writer.get_ref().sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_write_leaves_the_old_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("result.json");
        write_atomic(&path, |writer| writer.write_all(b"old")).unwrap();
        let error = write_atomic(&path, |writer| {
            writer.write_all(b"half")?;
            Err(io::Error::other("no space"))
        });
        let message = error.unwrap_err().to_string();
        assert!(message.contains("result.json") && message.contains("no space"), "{message}");
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        write_atomic(&path, |writer| writer.write_all(b"new")).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
    }
}
