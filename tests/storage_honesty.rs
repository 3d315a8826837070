//! What a store says of itself must be what it did: direct or not, which file system, how much the
//! device moved; and what it says when a disk is full or a folder may not be written. Some of it
//! needs root for a mount and says so where it is left out.

mod mounts;

use mounts::Mount;
use rankio::config::{Engine, Io};
use rankio::storage::{Op, OpenMode, Storage, StorageError, StoreSpec, connect, proof};
use std::path::Path;

const BLOCK: usize = 256 << 10;

fn store(dir: &Path, engine: Engine, direct: bool) -> Box<dyn Storage> {
    let root = dir.to_str().unwrap().to_string();
    let io = Io { engine, direct, ..Io::default() };
    connect(&StoreSpec {
        root,
        io,
        object: Default::default(),
        rank: 0,
        buffers: 4,
        buffer_bytes: BLOCK,
    })
    .unwrap()
}

/// Writes a file; the first error ends it.
fn fill(s: &mut dyn Storage, name: &str, bytes: u64) -> Result<(), StorageError> {
    let handle = s.open(name, OpenMode::Create { final_bytes: bytes })?.handle;
    let (mut out, mut result) = (Vec::new(), Ok(()));
    let mut offset = 0;
    while offset < bytes && result.is_ok() {
        let buffer = s.take_buffer().unwrap();
        let len = BLOCK.min((bytes - offset) as usize);
        s.submit(handle, Op::Write { offset, len, buffer }, 0)?;
        s.reap(1, None, &mut out)?;
        for c in out.drain(..) {
            result = c.error.map_or(Ok(()), |e| Err(*e));
            s.give_buffer(c.buffer.unwrap());
        }
        offset += len as u64;
    }
    s.close(handle)?;
    result
}

/// Reads a file of `bytes` from its start; returns the transferred bytes.
fn read_all(s: &mut dyn Storage, name: &str) -> usize {
    let o = s.open(name, OpenMode::Read { expected_bytes: 0 }).unwrap();
    let (mut out, mut moved, mut offset) = (Vec::new(), 0, 0);
    while offset < o.size_bytes {
        let buffer = s.take_buffer().unwrap();
        s.submit(o.handle, Op::Read { offset, len: BLOCK, buffer }, 0).unwrap();
        s.reap(1, None, &mut out).unwrap();
        let c = out.pop().unwrap();
        moved += c.transferred;
        s.give_buffer(c.buffer.unwrap());
        offset += BLOCK as u64;
    }
    s.close(o.handle).unwrap();
    moved
}

#[test]
fn direct_reads_move_what_the_kernel_counts_and_leave_no_page_behind() {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let probe = proof::alignment_probe(dir.path()).unwrap();
    if !probe.enforced {
        eprintln!("skipped: {}", probe.verdict);
        return;
    }
    for engine in [Engine::Uring, Engine::Sync] {
        let mut s = store(dir.path(), engine, true);
        let name = format!("{engine:?}");
        fill(s.as_mut(), &name, 16 << 20 | 1).unwrap();
        let facts = s.facts();
        assert_eq!(facts.direct, Some(true), "{facts:?}");
        assert_eq!(Some(facts.alignment), probe.offset_alignment.or(Some(4096)));
        let before = proof::process_io();
        let moved = read_all(s.as_mut(), &name) as u64;
        if let (Some(before), Some(after)) = (before, proof::process_io()) {
            // Other tests of this process may read at the same time.
            let counted = after.read_bytes - before.read_bytes;
            assert!(counted >= moved - moved / 100, "claimed {moved}, the kernel saw {counted}");
        }
        let resident = proof::resident_fraction(&dir.path().join(&name), 1 << 20).unwrap();
        assert!(resident < 0.01, "{resident} of the file is cached");
    }
}

#[test]
fn buffered_stores_say_so() {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    for (engine, name) in [(Engine::Uring, "uring"), (Engine::Sync, "sync")] {
        let mut s = store(dir.path(), engine, false);
        assert_eq!(s.facts().direct, None, "nothing was opened yet");
        fill(s.as_mut(), name, 100_000).unwrap();
        let facts = s.facts();
        assert_eq!((facts.engine.as_str(), facts.direct, facts.alignment), (name, Some(false), 1));
    }
    let mut s = store(dir.path(), Engine::Mmap, true);
    read_all(s.as_mut(), "sync");
    let facts = s.facts();
    assert_eq!((facts.engine.as_str(), facts.direct), ("mmap", Some(false)));
    assert!(facts.fallbacks.iter().any(|f| f.contains("page cache")), "{facts:?}");
}

#[test]
fn tmpfs_is_never_called_direct() {
    let Ok(dir) = tempfile::tempdir_in("/dev/shm") else {
        eprintln!("skipped: no /dev/shm");
        return;
    };
    for engine in [Engine::Uring, Engine::Sync] {
        let mut s = store(dir.path(), engine, true);
        fill(s.as_mut(), &format!("{engine:?}"), 100_000).unwrap();
        let facts = s.facts();
        assert_eq!(facts.direct, Some(false));
        assert!(facts.fallbacks.iter().any(|f| f.contains("is memory")), "{facts:?}");
    }
}

#[test]
fn a_direct_uri_overrides_buffered_settings() {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let wanted = proof::alignment_probe(dir.path()).unwrap().enforced;
    for (scheme, direct) in [("direct://", wanted), ("file://", false), ("", false)] {
        let root = format!("{scheme}{}", dir.path().display());
        let io = Io { direct: false, ..Io::default() };
        let spec = StoreSpec {
            root,
            io,
            object: Default::default(),
            rank: 0,
            buffers: 1,
            buffer_bytes: BLOCK,
        };
        let mut s = connect(&spec).unwrap();
        fill(s.as_mut(), &format!("f{}", scheme.len()), 5000).unwrap();
        assert_eq!(s.facts().direct, Some(direct), "{scheme}");
    }
}

#[test]
fn no_permission_is_named() {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    // /proc refuses new files to everybody, root included.
    let mut s = store(Path::new("/proc/self"), Engine::Auto, true);
    let e = s.open("rankio-cannot", OpenMode::Create { final_bytes: 1 }).unwrap_err();
    assert!(e.to_string().starts_with("create /proc/self/rankio-cannot: "), "{e}");
    if nix::unistd::geteuid().is_root() {
        eprintln!("skipped: root may write everywhere");
        return;
    }
    let readonly = std::os::unix::fs::PermissionsExt::from_mode(0o555);
    std::fs::set_permissions(dir.path(), readonly).unwrap();
    let mut s = store(dir.path(), Engine::Auto, true);
    let e = s.open("f", OpenMode::Create { final_bytes: 1 }).unwrap_err();
    assert_eq!(e.errno, libc::EACCES);
    assert!(e.to_string().contains("owner and mode"), "{e}");
}

#[test]
fn a_full_disk_is_named_at_open_or_at_the_write() {
    let Some(mount) = Mount::tmpfs("4m") else {
        eprintln!("skipped: tmpfs of fixed size needs root for the mount");
        return;
    };
    for engine in [Engine::Uring, Engine::Sync] {
        let mut s = store(mount.path(), engine, true);
        let e = fill(s.as_mut(), "reserved", 64 << 20).unwrap_err();
        assert_eq!((e.op, e.errno), ("create", libc::ENOSPC), "{e}");
        assert!(!mount.path().join("reserved").exists(), "no useless file is left");
        let root = mount.path().to_str().unwrap().to_string();
        let io = Io { engine, fallocate: false, ..Io::default() };
        let spec = StoreSpec {
            root,
            io,
            object: Default::default(),
            rank: 0,
            buffers: 4,
            buffer_bytes: BLOCK,
        };
        let mut s = connect(&spec).unwrap();
        let e = fill(s.as_mut(), "growing", 64 << 20).unwrap_err();
        assert_eq!((e.op, e.errno), ("write", libc::ENOSPC), "{e}");
        assert!(e.offset.is_some() && e.to_string().contains("free space"), "{e}");
        s.remove("growing").unwrap();
    }
}

#[test]
fn xfs_is_direct_and_round_trips() {
    let Some(mount) = Mount::xfs() else {
        eprintln!("skipped: xfs on a loop device needs root and mkfs.xfs");
        return;
    };
    for engine in [Engine::Uring, Engine::Sync] {
        let mut s = store(mount.path(), engine, true);
        for (i, bytes) in [1u64, 4095, 4097, 3 * BLOCK as u64 + 1].into_iter().enumerate() {
            let name = format!("{engine:?}/{i}");
            fill(s.as_mut(), &name, bytes).unwrap();
            assert_eq!(s.stat(&name).unwrap().unwrap().size_bytes, bytes);
            assert!(read_all(s.as_mut(), &name) as u64 >= bytes);
        }
        let facts = s.facts();
        assert_eq!(facts.direct, Some(true), "{facts:?}");
    }
    assert!(proof::alignment_probe(mount.path()).unwrap().enforced);
}
