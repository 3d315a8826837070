//! Counters of one block device, read again and again.

use super::device::devices_of;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Longer than any line of counters.
const LINE_BYTES: usize = 512;
/// Sectors in these counters have 512 bytes, whatever the device has.
const SECTOR_BYTES: u64 = 512;

/// What a block device has done since boot, for all its users.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DeviceCounts {
    /// Bytes read.
    pub read_bytes: u64,
    /// Bytes written.
    pub write_bytes: u64,
    /// Finished reads.
    pub reads: u64,
    /// Finished writes.
    pub writes: u64,
    /// Time with at least one request at the device, milliseconds.
    pub io_ms: u64,
}

impl DeviceCounts {
    /// What came on top of `earlier`.
    pub fn since(&self, earlier: &DeviceCounts) -> DeviceCounts {
        DeviceCounts {
            read_bytes: self.read_bytes.saturating_sub(earlier.read_bytes),
            write_bytes: self.write_bytes.saturating_sub(earlier.write_bytes),
            reads: self.reads.saturating_sub(earlier.reads),
            writes: self.writes.saturating_sub(earlier.writes),
            io_ms: self.io_ms.saturating_sub(earlier.io_ms),
        }
    }

    /// Fields 1, 3, 5, 7 and 10 of Documentation/block/stat.rst.
    fn parse(text: &str) -> Option<DeviceCounts> {
        let mut fields = [0; 10];
        let mut words = text.split_ascii_whitespace();
        for field in &mut fields {
            *field = words.next()?.parse().ok()?;
        }
        let [reads, _, read, _, writes, _, written, _, _, io_ms] = fields;
        let (read_bytes, write_bytes) = (read * SECTOR_BYTES, written * SECTOR_BYTES);
        Some(DeviceCounts { read_bytes, write_bytes, reads, writes, io_ms })
    }
}

/// A device whose counters are kept open.
#[derive(Debug)]
pub struct DeviceWatch {
    name: String,
    file: File,
}

impl DeviceWatch {
    /// The device `name` (`sda`, `nvme0n1`, `nvme0n1p2`) of this host.
    ///
    /// # Errors
    /// One line: there is no such device, or it has no counters.
    pub fn open(name: &str) -> Result<DeviceWatch, String> {
        let stat = PathBuf::from("/sys/class/block").join(name).join("stat");
        let file = File::open(&stat).map_err(|error| {
            format!("{name}: no counters of such a block device ({}: {error})", stat.display())
        })?;
        let watch = DeviceWatch { name: name.to_string(), file };
        match watch.counts() {
            Some(_) => Ok(watch),
            None => Err(format!("{name}: {} cannot be understood", stat.display())),
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The counters now; None if the device went away. Allocates nothing.
    pub fn counts(&self) -> Option<DeviceCounts> {
        let mut line = [0; LINE_BYTES];
        let bytes = self.file.read_at(&mut line, 0).ok()?;
        DeviceCounts::parse(std::str::from_utf8(&line[..bytes]).ok()?)
    }
}

/// Names of the block devices that hold `path`, or its nearest parent that exists; none for file
/// systems without one.
pub fn device_names(path: &Path) -> Vec<String> {
    let name =
        |folder: PathBuf| folder.canonicalize().ok()?.file_name()?.to_str().map(String::from);
    devices_of(path).into_iter().filter_map(|device| name(device.folder())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_parsed() {
        let text = "  10 1 16 2 20 3 32 4 0 5 6 0 0 0 0\n";
        let counts = DeviceCounts {
            read_bytes: 16 * 512,
            write_bytes: 32 * 512,
            reads: 10,
            writes: 20,
            io_ms: 5,
        };
        assert_eq!(DeviceCounts::parse(text), Some(counts));
        assert_eq!(DeviceCounts::parse("1 2 3"), None);
        assert_eq!(counts.since(&DeviceCounts { reads: 4, ..counts }).reads, 6);
    }

    #[test]
    fn a_device_that_is_not_there_is_named() {
        let error = DeviceWatch::open("nosuchdisk7").unwrap_err();
        assert!(error.starts_with("nosuchdisk7: no counters"), "{error}");
    }

    #[test]
    fn devices_below_a_path_can_be_watched() {
        let names = device_names(Path::new(env!("CARGO_MANIFEST_DIR")));
        if names.is_empty() {
            eprintln!("skipped: no block device below the sources");
        }
        for name in names {
            let watch = DeviceWatch::open(&name).unwrap();
            assert!(watch.counts().is_some());
            assert_eq!(watch.name(), name);
        }
    }
}
