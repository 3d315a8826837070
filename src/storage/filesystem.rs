//! Names of file systems by their magic numbers (linux/magic.h), and which of them are memory.

/// `statfs` magic numbers and names; the ones a benchmark is likely to meet.
const NAMES: &[(u64, &str)] = &[
    (0xEF53, "ext4"),
    (0x5846_5342, "xfs"),
    (0x9123_683E, "btrfs"),
    (0x0102_1994, "tmpfs"),
    (0x8584_58F6, "ramfs"),
    (0x794C_7630, "overlayfs"),
    (0x6969, "nfs"),
    (0xFF53_4D42, "cifs"),
    (0xFE53_4D42, "smb2"),
    (0x6573_5546, "fuse"),
    (0x0BD0_0BD0, "lustre"),
    (0x4750_4653, "gpfs"),
    (0x00C3_6400, "ceph"),
    (0x1983_0326, "beegfs"),
    (0x2FC1_2FC1, "zfs"),
    (0xF2F5_2010, "f2fs"),
    (0x0102_1997, "9p"),
];

/// Name of a file system; the magic number in hex where it is not in the table.
pub(crate) fn name_of(magic: u64) -> String {
    match NAMES.iter().find(|(m, _)| *m == magic) {
        Some((_, name)) => (*name).to_string(),
        None => format!("file system {magic:#x}"),
    }
}

/// Files of this file system live in memory only, so direct I/O means nothing there.
pub(crate) fn is_memory(magic: u64) -> bool {
    matches!(magic, 0x0102_1994 | 0x8584_58F6)
}

/// The magic number in the width of the table (the C type differs between platforms).
pub(crate) fn magic_of(stat: &nix::sys::statfs::Statfs) -> u64 {
    // A 32-bit magic can arrive sign-extended.
    (stat.filesystem_type().0 as u64) & 0xFFFF_FFFF
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proc_is_unknown_and_no_memory_store() {
        let stat = nix::sys::statfs::statfs("/proc").unwrap();
        assert_eq!(name_of(magic_of(&stat)), "file system 0x9fa0");
        assert!(!is_memory(magic_of(&stat)));
        assert_eq!(name_of(0xEF53), "ext4");
        assert!(is_memory(0x0102_1994));
    }
}
