//! The proof of directness where it is easily wrong: files of other users, file systems without
//! counts, block devices that are memory, and a dataset that must not be written by a probe. Most
//! of it needs root for mounts and says so where it is left out.

mod mounts;

use mounts::Mount;
use rankio::report::result::{Phase, Status};
use rankio::report::verdict::{Evidence, judge};
use rankio::storage::proof;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

const NOBODY: u32 = 65_534;

fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

fn write_synced(path: &Path, bytes: usize) {
    std::fs::write(path, vec![3u8; bytes]).unwrap();
    std::fs::File::open(path).unwrap().sync_all().unwrap();
}

/// The calling thread does file access as `user`, without root's capabilities for files.
fn become_for_files(user: u32) {
    nix::unistd::setfsuid(nix::unistd::Uid::from_raw(user));
}

#[test]
fn residency_of_a_file_that_is_neither_owned_nor_writable_is_unknown() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: only root can act as another user");
        return;
    }
    let dir = folder();
    std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let path = dir.path().join("f");
    let look = |user: u32| {
        let path = path.clone();
        // Of this thread alone, so that other tests remain root.
        let thread = std::thread::spawn(move || {
            become_for_files(user);
            let readable = std::fs::File::open(&path).is_ok();
            (readable, proof::resident_fraction(&path, 1 << 20))
        });
        thread.join().unwrap()
    };
    write_synced(&path, 1 << 20);
    proof::drop_cache(&path).unwrap();
    let owner = look(0).1.expect("the owner is told");
    assert!(owner < 0.5, "{owner} of a dropped file is resident");
    let (readable, seen) = look(NOBODY);
    if !readable {
        eprintln!("skipped: the build folder cannot be searched by other users");
        return;
    }
    assert_eq!(seen, None, "the kernel calls every page resident");
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o666)).unwrap();
    assert!(look(NOBODY).1.is_some(), "who may write it is told");
}

#[test]
fn a_probe_neither_follows_nor_replaces_what_is_there() {
    let dir = folder();
    let precious = dir.path().join("precious");
    std::fs::write(&precious, b"precious").unwrap();
    let data = dir.path().join("data");
    std::fs::create_dir(&data).unwrap();
    let old_name = data.join(format!(".rankio-probe-{}", std::process::id()));
    symlink(&precious, &old_name).unwrap();
    proof::alignment_probe(&data).unwrap();
    assert_eq!(std::fs::read(&precious).unwrap(), b"precious");
    assert!(old_name.is_symlink(), "a foreign file was removed");
    assert_eq!(std::fs::read_dir(&data).unwrap().count(), 1);
}

#[test]
fn a_read_only_dataset_is_probed_by_one_of_its_files() {
    let Some(mount) = Mount::ext4(Path::new(env!("CARGO_TARGET_TMPDIR")), true) else {
        eprintln!("skipped: ext4 on a loop device needs root and mkfs.ext4");
        return;
    };
    write_synced(&mount.path().join("f"), 100_000);
    let by_writing = proof::alignment_probe(mount.path()).unwrap();
    assert!(mount.read_only());
    assert!(proof::alignment_probe(mount.path()).is_err());
    let probe = proof::alignment_probe_of(&mount.path().join("f")).unwrap();
    assert!(probe.enforced && by_writing.enforced, "{probe:?}");
    assert_eq!((by_writing.counts_writes, probe.counts_writes), (Some(true), None));
    assert_eq!(probe.counts_reads, Some(true));
}

/// What a run would be called whose files lie in `dir` and whose counts all match.
fn judged(dir: &Path) -> (Status, Vec<String>) {
    let claimed = 1 << 30;
    let probe = proof::alignment_probe(dir).unwrap();
    let counted = if probe.counts_reads == Some(false) { None } else { Some(claimed) };
    let phase: Phase = serde_json::from_value(serde_json::json!({
        "kind": "readback", "name": "readback", "window_s": 1.0,
        "bytes": rankio::metrics::ByteCounts::default(),
        "ops": rankio::metrics::OpCounts::default(),
        "rate": rankio::report::result::Rate::default(),
        "client": rankio::report::result::Client::default(),
        "storage": {"engine": "uring", "direct": probe.accepted && !probe.memory,
            "registered_buffers": true, "page_size": "4KiB", "alignment": 4096, "fallbacks": []},
        "proof": {
            "claimed_bytes": claimed, "process_io_bytes": counted,
            "device_bytes": proof::device_counters(dir).map(|_| claimed),
            "resident_before": 0.0, "resident_after": 0.0, "alignment_probe": probe,
            "not_probed": null, "memory_device": proof::memory_device(dir),
        },
        "latency_ns": {}, "ranks": rankio::report::result::Ranks::default(),
        "verify": rankio::report::result::VerifyOutcome::default(), "metrics": {},
    }))
    .unwrap();
    let verdict = judge(&Evidence {
        phases: &[phase],
        calibration: None,
        ranks: 1,
        partial: false,
        foreign: None,
    });
    (verdict.status, verdict.reasons)
}

#[test]
fn loop_devices_over_memory_or_the_page_cache_are_cached() {
    let disk = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let memory = Path::new("/dev/shm");
    let storage = proof::memory_device(disk).is_none() && judged(disk).0 == Status::Valid;
    for (images, direct, word) in
        [(memory, true, "is memory"), (disk, false, "dio=0"), (disk, true, "")]
    {
        let Some(mount) = Mount::ext4(images, direct) else {
            eprintln!("skipped: ext4 on a loop device needs root and mkfs.ext4");
            return;
        };
        let (status, reasons) = judged(mount.path());
        if word.is_empty() {
            let wanted = if storage { Status::Valid } else { Status::Cached };
            assert_eq!(status, wanted, "{reasons:?}");
            continue;
        }
        assert_eq!(status, Status::Cached, "{word}");
        let text = reasons.join(" ");
        assert!(text.contains("come from memory: loop") && text.contains(word), "{text}");
    }
}

#[test]
fn an_overlay_over_memory_is_not_judged_by_counts_that_do_not_move() {
    let Some(mount) = Mount::overlay(Path::new("/dev/shm")) else {
        eprintln!("skipped: an overlay over /dev/shm needs root");
        return;
    };
    let probe = proof::alignment_probe(mount.path()).unwrap();
    if !probe.accepted {
        eprintln!("skipped: this kernel's tmpfs does not take O_DIRECT");
        return;
    }
    assert!(!probe.enforced, "{probe:?}");
    assert_eq!((probe.counts_reads, probe.counts_writes), (Some(false), Some(false)));
    let (status, reasons) = judged(mount.path());
    assert_eq!((status, reasons.len()), (Status::Cached, 2), "{reasons:?}");
    assert!(reasons[0].contains("come from memory: the overlay's layer /dev/shm"), "{reasons:?}");
    assert!(reasons[1].contains("could not be proved on overlay"), "{reasons:?}");
}

/// Bug: an overlay over a loop device that reads its file through the page cache was VALID, since
/// an overlay has no device of its own to look at.
#[test]
fn an_overlay_is_looked_through_to_the_devices_of_its_layers() {
    let disk = Path::new(env!("CARGO_TARGET_TMPDIR"));
    for direct in [false, true] {
        let Some(image) = Mount::ext4(disk, direct) else {
            eprintln!("skipped: ext4 on a loop device needs root and mkfs.ext4");
            return;
        };
        let Some(mount) = Mount::overlay(image.path()) else {
            eprintln!("skipped: an overlay needs the right to mount");
            return;
        };
        let data = mount.path().join("data");
        std::fs::create_dir(&data).unwrap();
        assert_eq!(proof::devices_of(&data), proof::devices_of(image.path()));
        let below = proof::memory_device(image.path());
        assert!(direct || below.is_some());
        let through = proof::memory_device(&data);
        assert_eq!(through.is_some(), below.is_some(), "{through:?}");
        let Some(below) = below else { continue };
        assert!(through.unwrap().ends_with(&below));
        let (status, reasons) = judged(&data);
        assert_eq!(status, Status::Cached, "{reasons:?}");
        assert!(reasons[0].contains("come from memory: the overlay's layer"), "{reasons:?}");
    }
}

#[test]
fn btrfs_is_judged_by_the_counts_of_all_its_devices() {
    let Some(mount) = Mount::btrfs(Path::new(env!("CARGO_TARGET_TMPDIR"))) else {
        eprintln!("skipped: btrfs on a loop device needs root and mkfs.btrfs");
        return;
    };
    assert!(!proof::devices_of(mount.path()).is_empty());
    assert!(proof::device_counters(mount.path()).is_some());
}
