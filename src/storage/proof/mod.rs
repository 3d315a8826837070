//! Evidence that bytes came from the device: an alignment probe, the kernel's own byte counters
//! of this process and of the devices, what those devices are, and what the page cache holds.

mod cache;
mod device;
mod mount;
mod probe;
mod watch;

pub(in crate::storage) use cache::{DROP_CACHE, forget_pages};
pub use cache::{drop_cache, drop_clean_cache, resident_fraction};
pub use device::{DeviceId, device_counters, devices_of, memory_device};
pub use probe::{AlignmentProbe, alignment_probe, alignment_probe_of};
pub use watch::{DeviceCounts, DeviceWatch, device_names};

/// Bytes moved to and from storage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct IoCounters {
    /// Read, bytes.
    pub read_bytes: u64,
    /// Written, bytes.
    pub write_bytes: u64,
}

/// What the kernel caused to be fetched from and sent to the storage layer for this process, all
/// threads (`read_bytes` and `write_bytes` of /proc/self/io; page cache hits do not count). None
/// where the kernel does not account.
pub fn process_io() -> Option<IoCounters> {
    parse_process_io(&std::fs::read_to_string("/proc/self/io").ok()?)
}

/// The same for the calling thread alone.
fn thread_io() -> Option<IoCounters> {
    parse_process_io(&std::fs::read_to_string("/proc/thread-self/io").ok()?)
}

fn parse_process_io(text: &str) -> Option<IoCounters> {
    let value = |key: &str| {
        text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(": ")?.parse().ok())
    };
    Some(IoCounters { read_bytes: value("read_bytes")?, write_bytes: value("write_bytes")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_counters_are_parsed() {
        let text = "rchar: 1\nwchar: 2\nsyscr: 3\nsyscw: 4\nread_bytes: 4096\n\
                    write_bytes: 8192\ncancelled_write_bytes: 0\n";
        assert_eq!(
            parse_process_io(text),
            Some(IoCounters { read_bytes: 4096, write_bytes: 8192 })
        );
        assert_eq!(parse_process_io("rchar: 1\n"), None);
    }
}
