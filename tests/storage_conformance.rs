//! One suite for every store: what the storage contract promises is checked on each engine and
//! wrapper, on ext4 or whatever holds the target folder, on tmpfs, and on xfs where this process
//! may mount one; and on objects in a server of the test's own.

mod ground;

use ground::{BLOCK, DEPTH, fault, on_every_folder, on_every_store, store};
use rankio::config::{DelaySpec, Engine, FaultKind, FaultOp, FaultSpec, Io, ObjectOptions};
use rankio::storage::{
    Completion, Handle, NamedOp, Op, OpenMode, Storage, StoreSpec, SyncKind, connect,
};
use std::path::Path;
use std::time::{Duration, Instant};

/// Bytes that tell their own position.
fn content(offset: u64, len: usize, seed: u64) -> Vec<u8> {
    let byte = |i: u64| {
        let x = (i ^ seed << 40).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        (x >> 33) as u8 ^ (x >> 57) as u8
    };
    (offset..offset + len as u64).map(byte).collect()
}

/// A small generator for the order of things.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.0 >> 33) % limit.max(1)
    }
}

fn one(s: &mut dyn Storage, handle: Handle, op: Op, tag: u64) -> Completion {
    s.submit(handle, op, tag).unwrap();
    let mut out = Vec::new();
    assert_eq!(s.reap(1, None, &mut out).unwrap(), 1);
    assert_eq!(out[0].tag, tag);
    out.pop().unwrap()
}

fn ok(completion: Completion) -> Completion {
    assert!(completion.error.is_none(), "{}", completion.error.as_ref().unwrap());
    completion
}

/// Writes a whole file, several requests in flight, and closes it.
fn write_file(s: &mut dyn Storage, name: &str, len: usize, seed: u64) {
    let handle = s.open(name, OpenMode::Create { final_bytes: len as u64 }).unwrap().handle;
    let mut out = Vec::new();
    let mut offset = 0;
    while offset < len {
        let Some(mut buffer) = s.take_buffer() else {
            s.reap(1, None, &mut out).unwrap();
            settle(s, &mut out);
            continue;
        };
        let part = BLOCK.min(len - offset);
        buffer.as_mut_slice()[..part].copy_from_slice(&content(offset as u64, part, seed));
        s.submit(handle, Op::Write { offset: offset as u64, len: part, buffer }, 7).unwrap();
        offset += part;
    }
    s.submit(handle, Op::Sync, 8).unwrap();
    while s.reap(1, None, &mut out).unwrap() > 0 {
        settle(s, &mut out);
    }
    s.close(handle).unwrap();
}

fn settle(s: &mut dyn Storage, out: &mut Vec<Completion>) {
    for completion in out.drain(..) {
        let completion = ok(completion);
        assert!(completion.transferred >= completion.bytes);
        if let Some(buffer) = completion.buffer {
            s.give_buffer(buffer);
        }
    }
}

fn read_at(s: &mut dyn Storage, handle: Handle, offset: u64, len: usize) -> Vec<u8> {
    let buffer = s.take_buffer().unwrap();
    let c = ok(one(s, handle, Op::Read { offset, len, buffer }, offset));
    let buffer = c.buffer.unwrap();
    let data = buffer.as_slice()[c.data_start..][..c.bytes].to_vec();
    assert!(c.transferred >= c.bytes && c.data_start + c.bytes <= buffer.capacity());
    s.give_buffer(buffer);
    data
}

#[test]
fn files_of_every_size_come_back() {
    on_every_store(|s, ground| {
        let sizes = [0, 1, 511, 512, 4095, 4096, 4097, BLOCK, BLOCK + 1, 5 * BLOCK + 777];
        for (i, len) in sizes.into_iter().enumerate() {
            let name = format!("train/deep/f{i}");
            write_file(s, &name, len, i as u64);
            assert_eq!(s.stat(&name).unwrap().unwrap().size_bytes, len as u64);
            let whole = ground.bytes(&name);
            assert!(whole == content(0, len, i as u64), "{len} bytes differ on disk");
            let o = s.open(&name, OpenMode::Read { expected_bytes: 1 }).unwrap();
            assert_eq!(o.size_bytes, len as u64);
            for offset in (0..len.max(1)).step_by(BLOCK) {
                let want = content(offset as u64, BLOCK.min(len - offset.min(len)), i as u64);
                assert!(read_at(s, o.handle, offset as u64, BLOCK) == want, "{len} at {offset}");
            }
            s.close(o.handle).unwrap();
        }
    });
}

#[test]
fn ranges_at_odd_offsets_and_over_the_end() {
    on_every_store(|s, _| {
        let len = 3 * BLOCK + 333;
        write_file(s, "f", len, 1);
        let h = s.open("f", OpenMode::Read { expected_bytes: len as u64 }).unwrap().handle;
        let mut random = Random(5);
        for _ in 0..200 {
            let offset = random.below(len as u64 + 5000);
            let ask = random.below(BLOCK as u64 + 1) as usize;
            let have = (len as u64).saturating_sub(offset).min(ask as u64) as usize;
            assert!(read_at(s, h, offset, ask) == content(offset, have, 1), "{ask} at {offset}");
        }
        assert!(read_at(s, h, len as u64, 10).is_empty());
        assert!(read_at(s, h, 1 << 40, BLOCK).is_empty());
        assert!(read_at(s, h, len as u64 - 1, 0).is_empty());
        s.close(h).unwrap();
    });
}

#[test]
fn deep_queues_over_two_files_lose_nothing() {
    on_every_store(|s, _| {
        let len = 20 * BLOCK + 99;
        write_file(s, "a", len, 0);
        write_file(s, "b", len, 1);
        let open = |s: &mut dyn Storage, n| s.open(n, OpenMode::Read { expected_bytes: 0 });
        let handles = [open(s, "a").unwrap().handle, open(s, "b").unwrap().handle];
        let mut random = Random(9);
        let (mut asked, mut wanted, mut seen) = (Vec::new(), 400usize, 0);
        let mut out = Vec::new();
        while seen < 400 {
            while wanted > 0 {
                let Some(buffer) = s.take_buffer() else { break };
                let (which, offset) = (random.below(2), random.below(len as u64));
                let ask = 1 + random.below(BLOCK as u64) as usize;
                let tag = asked.len() as u64;
                asked.push((which, offset, ask, false));
                wanted -= 1;
                let op = Op::Read { offset, len: ask, buffer };
                s.submit(handles[which as usize], op, tag).unwrap();
            }
            s.reap(1 + random.below(3) as usize, None, &mut out).unwrap();
            for c in out.drain(..).map(ok) {
                let (which, offset, ask, done) = &mut asked[c.tag as usize];
                assert!(!std::mem::replace(done, true), "a tag came twice");
                let have = (*ask).min(len - *offset as usize);
                let buffer = c.buffer.unwrap();
                let data = &buffer.as_slice()[c.data_start..][..c.bytes];
                assert!(data == content(*offset, have, *which), "{ask} at {offset} of {which}");
                s.give_buffer(buffer);
                seen += 1;
            }
        }
        assert_eq!(s.reap(5, None, &mut out).unwrap(), 0, "nothing in flight, so no waiting");
        handles.into_iter().for_each(|h| s.close(h).unwrap());
    });
}

#[test]
fn a_sync_waits_for_the_writes_before_it() {
    on_every_store(|s, ground| {
        let h = s.open("f", OpenMode::Create { final_bytes: 4 * BLOCK as u64 }).unwrap().handle;
        for i in 0..3u64 {
            let mut buffer = s.take_buffer().unwrap();
            buffer.as_mut_slice().fill(i as u8);
            let len = if i == 2 { 100 } else { BLOCK };
            let op = Op::Write { offset: i * BLOCK as u64, len, buffer };
            s.submit(h, op, i).unwrap();
        }
        s.submit(h, Op::Sync, 3).unwrap();
        let mut out = Vec::new();
        while out.len() < 4 {
            s.reap(4 - out.len(), None, &mut out).unwrap();
        }
        let at = out.iter().position(|c| c.tag == 3).unwrap();
        assert_eq!(at, 3, "the sync is the last");
        let len = ground.bytes("f").len();
        assert_eq!(len, 2 * BLOCK + 100, "padding and reserve are gone after a sync");
        settle(s, &mut out);
        s.close(h).unwrap();
    });
}

#[test]
fn names_are_made_replaced_removed_and_missed() {
    on_every_store(|s, ground| {
        let missing = s.open("no/such", OpenMode::Read { expected_bytes: 1 }).unwrap_err();
        assert_eq!(missing.errno, libc::ENOENT);
        assert!(missing.to_string().contains(&format!("{}/no/such", ground.root())), "{missing}");
        assert!(missing.to_string().contains("rankio datagen"), "{missing}");
        write_file(s, "a/x.tmp", 5000, 1);
        write_file(s, "b/x", 10, 2);
        let exists = s.open("b/x", OpenMode::Create { final_bytes: 1 }).unwrap_err();
        assert_eq!(exists.errno, libc::EEXIST, "{exists}");
        assert_eq!(s.stat("b/x").unwrap().unwrap().size_bytes, 10);
        s.rename("a/x.tmp", "b/x").unwrap();
        assert_eq!(s.stat("a/x.tmp").unwrap(), None);
        assert_eq!(s.stat("b/x").unwrap().unwrap().size_bytes, 5000);
        s.remove("b/x").unwrap();
        assert_eq!(s.stat("b/x").unwrap(), None);
        assert_eq!(s.remove("b/x").unwrap_err().errno, libc::ENOENT);
        assert!(s.open("../out", OpenMode::Create { final_bytes: 1 }).is_err());
        write_file(s, "b/y", 10, 3);
        let folder = s.open("b", OpenMode::Read { expected_bytes: 0 }).unwrap_err().errno;
        // Objects have no folders.
        let none = if ground.is_objects() { libc::ENOENT } else { libc::EISDIR };
        assert_eq!(folder, none);
    });
}

/// The lock of a root of checkpoints stands on it.
#[test]
fn of_two_that_create_one_object_one_is_refused() {
    on_every_store(|s, ground| {
        if !ground.is_objects() {
            // There the second open is refused.
            return;
        }
        let mut other = ground.store(&Io { huge_pages: false, ..Io::default() });
        let mode = OpenMode::Create { final_bytes: 10 };
        let both = [s.open("lock", mode).unwrap(), other.open("lock", mode).unwrap()];
        let put = |s: &mut dyn Storage, handle, seed| {
            let mut buffer = s.take_buffer().unwrap();
            buffer.as_mut_slice()[..10].copy_from_slice(&content(0, 10, seed));
            let completion = one(s, handle, Op::Write { offset: 0, len: 10, buffer }, 1);
            s.give_buffer(completion.buffer.unwrap());
            completion.error
        };
        assert_eq!(put(s, both[0].handle, 1), None);
        let refused = put(other.as_mut(), both[1].handle, 2).expect("it is there already");
        assert_eq!(refused.errno, libc::EEXIST, "{refused}");
        assert_eq!(ground.bytes("lock"), content(0, 10, 1));
    });
}

#[test]
fn a_folder_lists_its_names_and_folders() {
    on_every_store(|s, _| {
        for name in ["d/one", "d/two", "d/deep/three", "other"] {
            write_file(s, name, 10, 1);
        }
        let mut seen = Vec::new();
        s.list("d", &mut |name, folder| seen.push((name.to_string(), folder))).unwrap();
        seen.sort();
        let named = |name: &str, folder| (name.to_string(), folder);
        assert_eq!(seen, [named("deep", true), named("one", false), named("two", false)]);
        let mut none = 0;
        s.list("absent", &mut |_, _| none += 1).unwrap();
        assert_eq!(none, 0);
        seen.clear();
        s.list("", &mut |name, folder| seen.push((name.to_string(), folder))).unwrap();
        seen.sort();
        assert_eq!(seen, [named("d", true), named("other", false)]);
    });
}

#[test]
fn folders_are_made_listed_swapped_and_removed() {
    // Objects have none.
    on_every_folder(|s, ground| {
        let list = |s: &mut dyn Storage, folder: &str| {
            let mut names = Vec::new();
            s.list(folder, &mut |name, is_folder| names.push((name.to_string(), is_folder)))
                .unwrap();
            names.sort();
            names
        };
        let pair = |name: &str, is_folder| (name.to_string(), is_folder);
        assert_eq!(list(s, "none"), []);
        s.make_folder("a/b").unwrap();
        s.make_folder("a/b").unwrap();
        write_file(s, "a/x", 5000, 1);
        write_file(s, "a/b/y", 10, 2);
        assert_eq!(list(s, ""), [pair("a", true)]);
        assert_eq!(list(s, "a"), [pair("b", true), pair("x", false)]);
        // A folder moves with what is in it, and only to a name that is free.
        s.rename("a", "c").unwrap();
        assert_eq!(s.stat("c/b/y").unwrap().unwrap().size_bytes, 10);
        write_file(s, "a/z", 7, 3);
        assert!(s.rename("a", "c").is_err());
        if s.exchange("a", "c").unwrap() {
            assert_eq!(list(s, "a"), [pair("b", true), pair("x", false)]);
            assert_eq!(list(s, "c"), [pair("z", false)]);
        } else {
            eprintln!("no exchange of names on {}", ground.root());
        }
        assert!(s.exchange("a", "missing").is_err());
        let full = s.remove_folder("a").unwrap_err();
        assert!(full.to_string().contains("remove folder"), "{full}");
        s.make_folder("empty").unwrap();
        s.remove_folder("empty").unwrap();
        assert!(!Path::new(&ground.root()).join("empty").exists());
        assert!(s.make_folder("../out").is_err() && s.remove_folder("/tmp").is_err());
    });
}

#[test]
fn files_of_every_manner_of_sync_come_back() {
    for kind in [SyncKind::Full, SyncKind::Data, SyncKind::EachWrite] {
        on_every_store(|s, ground| {
            s.set_sync(kind);
            write_file(s, "f", 3 * BLOCK + 100, 5);
            let found = ground.bytes("f");
            assert_eq!(found, content(0, 3 * BLOCK + 100, 5), "{kind:?}");
        });
    }
}

#[test]
fn misuse_is_refused_and_costs_no_buffer() {
    on_every_store(|s, _| {
        write_file(s, "f", 100, 1);
        let h = s.open("f", OpenMode::Read { expected_bytes: 100 }).unwrap().handle;
        let buffer = s.take_buffer().unwrap();
        let len = buffer.capacity() + 1;
        let c = one(s, h, Op::Read { offset: 4096, len, buffer }, 1);
        let error = c.error.unwrap();
        assert_eq!((error.op, error.offset, error.errno), ("read", Some(4096), libc::EINVAL));
        s.give_buffer(c.buffer.unwrap());
        s.close(h).unwrap();
        let w = s.open("w", OpenMode::Create { final_bytes: 0 }).unwrap().handle;
        let buffer = s.take_buffer().unwrap();
        let c = one(s, w, Op::Write { offset: 100, len: 1, buffer }, 2);
        assert!(c.error.unwrap().to_string().contains("multiple of 4096"));
        s.give_buffer(c.buffer.unwrap());
        s.close(w).unwrap();
        assert!(s.close(w).is_err());
        let buffer = s.take_buffer().unwrap();
        assert!(s.submit(h, Op::Read { offset: 0, len: 1, buffer }, 1).is_err());
        let all: Vec<_> = std::iter::from_fn(|| s.take_buffer()).collect();
        assert_eq!(all.len(), DEPTH);
        all.into_iter().for_each(|b| s.give_buffer(b));
    });
}

#[test]
fn closing_with_operations_in_flight_is_refused() {
    on_every_store(|s, _| {
        write_file(s, "f", 3 * BLOCK, 1);
        let h = s.open("f", OpenMode::Read { expected_bytes: 0 }).unwrap().handle;
        let buffer = s.take_buffer().unwrap();
        s.submit(h, Op::Read { offset: 0, len: BLOCK, buffer }, 1).unwrap();
        // An engine that works within `submit` has nothing in flight any more.
        let asynchronous =
            ["uring", "s3", "object_store"].iter().any(|name| s.facts().engine.contains(name));
        if asynchronous {
            let e = s.close(h).unwrap_err();
            assert!(e.to_string().contains("in flight"), "{e}");
        }
        let mut out = Vec::new();
        s.reap(1, None, &mut out).unwrap();
        settle(s, &mut out);
        s.close(h).unwrap();
    });
}

#[test]
fn a_store_dropped_with_reads_in_flight_lets_go() {
    on_every_store(|s, ground| {
        write_file(s, "f", 8 * BLOCK, 1);
        let io = Io { huge_pages: false, ..Io::default() };
        let mut other = ground.store(&io);
        let h = other.open("f", OpenMode::Read { expected_bytes: 0 }).unwrap().handle;
        for i in 0..DEPTH as u64 {
            let buffer = other.take_buffer().unwrap();
            let op = Op::Read { offset: i * BLOCK as u64, len: BLOCK, buffer };
            other.submit(h, op, i).unwrap();
        }
        drop(other);
    });
}

#[test]
fn a_store_made_on_one_thread_works_on_another() {
    on_every_store(|s, ground| {
        write_file(s, "f", 3 * BLOCK, 4);
        let io = Io { huge_pages: false, engine: Engine::Uring, ..Io::default() };
        let mut moved = ground.store(&io);
        let h = moved.open("f", OpenMode::Read { expected_bytes: 0 }).unwrap().handle;
        let worker = std::thread::spawn(move || {
            assert!(read_at(moved.as_mut(), h, 5, BLOCK) == content(5, BLOCK, 4));
            moved.close(h).unwrap();
        });
        worker.join().unwrap();
    });
}

#[test]
fn a_wait_ends_with_its_timeout() {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let delay = Some(DelaySpec { latency: 0.05, bandwidth: 0, rank: None });
    let mut s = store(dir.path(), &Io { huge_pages: false, delay, ..Io::default() });
    write_file(s.as_mut(), "f", 4096, 1);
    let h = s.open("f", OpenMode::Read { expected_bytes: 0 }).unwrap().handle;
    let start = Instant::now();
    for tag in 0..4 {
        let buffer = s.take_buffer().unwrap();
        s.submit(h, Op::Read { offset: 0, len: 4096, buffer }, tag).unwrap();
    }
    let mut out = Vec::new();
    assert_eq!(s.reap(0, None, &mut out).unwrap(), 0);
    assert_eq!(s.reap(1, Some(Duration::ZERO), &mut out).unwrap(), 0);
    while out.len() < 4 {
        s.reap(4, Some(Duration::from_millis(1)), &mut out).unwrap();
    }
    assert!(start.elapsed() >= Duration::from_millis(50));
    assert!(out.iter().all(|c| c.latency_ns >= 50_000_000));
    settle(s.as_mut(), &mut out);
    s.close(h).unwrap();
}

#[test]
fn a_narrow_pipe_takes_its_time() {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let delay = Some(DelaySpec { latency: 0.0, bandwidth: 4 << 20, rank: None });
    let mut s = store(dir.path(), &Io { huge_pages: false, delay, ..Io::default() });
    let start = Instant::now();
    write_file(s.as_mut(), "f", 4 * BLOCK, 1);
    let least = Duration::from_secs_f64((4 * BLOCK) as f64 / (4 << 20) as f64);
    assert!(start.elapsed() >= least);
    assert!(s.facts().engine.starts_with("delay("));
}

#[test]
fn faults_hit_exactly_and_do_what_they_say() {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let plain = Io { huge_pages: false, ..Io::default() };
    write_file(store(dir.path(), &plain).as_mut(), "good", BLOCK, 3);
    let with = |fault: Vec<FaultSpec>| store(dir.path(), &Io { fault, ..plain.clone() });
    let every = FaultSpec { every: 3, ..fault(FaultOp::Read, FaultKind::Eio, 2) };
    let mut s = with(vec![every]);
    let h = s.open("good", OpenMode::Read { expected_bytes: 0 }).unwrap().handle;
    let read = |s: &mut dyn Storage| {
        let buffer = s.take_buffer().unwrap();
        let c = one(s, h, Op::Read { offset: 4096, len: 1000, buffer }, 1);
        let buffer = c.buffer.unwrap();
        let data = buffer.as_slice()[c.data_start..][..c.bytes].to_vec();
        s.give_buffer(buffer);
        (c.error, data)
    };
    let hits: Vec<usize> = (1..=9).filter(|_| read(s.as_mut()).0.is_some()).collect();
    assert_eq!(hits, [2, 5, 8]);
    let (errno, text) = (1..=3)
        .find_map(|_| read(s.as_mut()).0.map(|e| (e.errno, e.to_string())))
        .expect("one of three");
    assert_eq!(errno, libc::EIO);
    assert!(text.contains("/good at offset 4096: Input/output error"), "{text}");
    assert!(text.contains("injected by io.fault[0]"), "{text}");
    let want = content(4096, 1000, 3);
    for (kind, differing) in [(FaultKind::Flip, 1), (FaultKind::Zeros, 900), (FaultKind::Short, 0)]
    {
        let mut s = with(vec![fault(FaultOp::Read, kind, 1)]);
        let opened = s.open("good", OpenMode::Read { expected_bytes: 0 }).unwrap();
        assert_eq!(opened.handle, h, "a fresh store numbers its handles the same way");
        let (error, data) = read(s.as_mut());
        assert!(error.is_none());
        let differ = data.iter().zip(&want).filter(|(a, b)| a != b).count();
        match kind {
            FaultKind::Short => assert_eq!((data.len(), differ), (500, 0)),
            FaultKind::Zeros => assert!(differ >= differing && data.iter().all(|b| *b == 0)),
            _ => assert_eq!((data.len(), differ), (1000, differing)),
        }
        assert_eq!(read(s.as_mut()).1, want, "only once");
    }
}

#[test]
fn faults_of_writes_opens_and_syncs() {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let with = |fault: Vec<FaultSpec>| {
        store(dir.path(), &Io { huge_pages: false, fault, ..Io::default() })
    };
    let only_b =
        FaultSpec { name_contains: "b".into(), ..fault(FaultOp::Open, FaultKind::Enospc, 1) };
    let mut s = with(vec![only_b, fault(FaultOp::Sync, FaultKind::Eio, 1)]);
    let a = s.open("a", OpenMode::Create { final_bytes: 0 }).unwrap().handle;
    let e = s.open("b", OpenMode::Create { final_bytes: 0 }).unwrap_err();
    assert!(e.errno == libc::ENOSPC && e.to_string().contains("free space"), "{e}");
    assert_eq!(one(s.as_mut(), a, Op::Sync, 5).error.unwrap().op, "sync");
    assert!(one(s.as_mut(), a, Op::Sync, 6).error.is_none());
    for (name, kind) in [("flip", FaultKind::Flip), ("short", FaultKind::Short)] {
        let mut s = with(vec![fault(FaultOp::Write, kind, 1)]);
        let h = s.open(name, OpenMode::Create { final_bytes: 0 }).unwrap().handle;
        let mut buffer = s.take_buffer().unwrap();
        buffer.as_mut_slice()[..BLOCK].copy_from_slice(&content(0, BLOCK, 1));
        let c = ok(one(s.as_mut(), h, Op::Write { offset: 0, len: BLOCK, buffer }, 1));
        let buffer = c.buffer.unwrap();
        assert_eq!(&buffer.as_slice()[..BLOCK], content(0, BLOCK, 1), "the caller keeps its data");
        s.give_buffer(buffer);
        s.close(h).unwrap();
        let written = std::fs::read(dir.path().join(name)).unwrap();
        let differ = written.iter().zip(content(0, BLOCK, 1)).filter(|(a, b)| **a != *b).count();
        match kind {
            FaultKind::Short => assert_eq!((written.len(), c.bytes), (BLOCK / 2, BLOCK / 2)),
            _ => assert_eq!((written.len(), differ), (BLOCK, 1)),
        }
    }
    let bad = Io { fault: vec![fault(FaultOp::Sync, FaultKind::Flip, 1)], ..Io::default() };
    let root = dir.path().to_str().unwrap().to_string();
    let object = ObjectOptions::default();
    let spec = StoreSpec { root, io: bad, object, rank: 0, buffers: 1, buffer_bytes: 1 };
    assert!(connect(&spec).err().unwrap().to_string().contains("io.fault[0]"));
}

#[test]
fn the_null_store_believes_the_plan() {
    let mut s = store(Path::new("/nowhere"), &Io { engine: Engine::Null, ..Io::default() });
    let o = s.open("x", OpenMode::Read { expected_bytes: 1000 }).unwrap();
    assert_eq!((o.size_bytes, o.direct), (1000, false));
    let buffer = s.take_buffer().unwrap();
    let c = one(s.as_mut(), o.handle, Op::Read { offset: 900, len: 500, buffer }, 3);
    assert_eq!((c.bytes, c.transferred), (100, 0));
    s.give_buffer(c.buffer.unwrap());
    let w = s.open("y", OpenMode::Create { final_bytes: 9 }).unwrap();
    let buffer = s.take_buffer().unwrap();
    let c = one(s.as_mut(), w.handle, Op::Write { offset: 0, len: 9, buffer }, 4);
    assert_eq!(c.bytes, 9);
    s.give_buffer(c.buffer.unwrap());
    assert!(one(s.as_mut(), w.handle, Op::Sync, 5).error.is_none());
    s.close(w.handle).unwrap();
    assert!(s.close(w.handle).is_err());
    assert!(s.submit(w.handle, Op::Sync, 1).is_err());
    assert_eq!(s.facts().engine, "null");
}

#[test]
fn names_are_asked_for_removed_and_counted_as_operations() {
    on_every_store(|s, ground| {
        for number in 0..3u32 {
            write_file(s, &format!("d/{number}"), 5000 + number as usize, 1);
        }
        let done = |s: &mut dyn Storage, op: NamedOp, name: &str| {
            s.submit_named(op, name, 40).unwrap();
            let mut out = Vec::new();
            assert_eq!(s.reap(1, None, &mut out).unwrap(), 1);
            assert_eq!((out[0].tag, out[0].buffer.is_none()), (40, true));
            out.pop().unwrap()
        };
        assert_eq!(ok(done(s, NamedOp::List, "d")).bytes, 3);
        assert_eq!(ok(done(s, NamedOp::Head, "d/2")).bytes, 5002);
        ok(done(s, NamedOp::Delete, "d/1"));
        let gone = done(s, NamedOp::Head, "d/1").error.unwrap();
        assert_eq!(gone.errno, libc::ENOENT);
        assert!(gone.path.ends_with("d/1"), "{gone}");
        assert_eq!(ok(done(s, NamedOp::List, "d")).bytes, 2);
        // As many as buffers, beside a read, and not one more without an end.
        let opened = s.open("d/0", OpenMode::Read { expected_bytes: 5000 }).unwrap();
        let buffer = s.take_buffer().unwrap();
        s.submit(opened.handle, Op::Read { offset: 0, len: 100, buffer }, 0).unwrap();
        for tag in 1..=DEPTH as u64 {
            s.submit_named(NamedOp::Head, "d/0", tag).unwrap();
        }
        let refused = (0..=DEPTH).any(|_| s.submit_named(NamedOp::Head, "d/0", 9).is_err());
        assert!(refused, "the queue is bounded");
        let mut out = Vec::new();
        while s.reap(1, None, &mut out).unwrap() > 0 {}
        for tag in 1..=DEPTH as u64 {
            assert_eq!(out.iter().filter(|done| done.tag == tag && done.bytes == 5000).count(), 1);
        }
        let buffers = out.into_iter().filter_map(|done| ok(done).buffer);
        buffers.for_each(|buffer| s.give_buffer(buffer));
        s.close(opened.handle).unwrap();
        let names: Vec<String> = (0..5).map(|number| format!("d/{number}")).collect();
        s.remove_many(&names).unwrap();
        assert_eq!(s.stat("d/0").unwrap(), None, "{}", ground.root());
    });
}
