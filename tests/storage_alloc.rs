//! The measured path must not allocate: submit and reap are run many times under an allocator that
//! counts what this thread asks for.

mod s3;

use rankio::config::{DelaySpec, Engine, FaultKind, FaultOp, FaultSpec, Io};
use rankio::storage::{Completion, Handle, NamedOp, Op, OpenMode, Storage, StoreSpec, connect};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

fn count() {
    // A thread that ends may allocate after its counter is gone.
    let _ = ALLOCATIONS.try_with(|n| n.set(n.get() + 1));
}

// SAFETY: every call is passed on unchanged to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: `at` came from `alloc` with this layout.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: `at` came from `alloc` with this layout.
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const DEPTH: usize = 8;
const BLOCK: usize = 4096;

/// Reads (and writes, where a handle for it is given) until `rounds` completions are seen.
fn turn(
    s: &mut dyn Storage,
    read: Handle,
    write: Handle,
    rounds: usize,
    out: &mut Vec<Completion>,
) {
    let (mut seen, mut sent) = (0, 0u64);
    while seen < rounds {
        while let Some(buffer) = s.take_buffer() {
            let offset = sent % 16 * BLOCK as u64;
            let (handle, op) = match sent % 4 {
                0 => (write, Op::Write { offset, len: BLOCK, buffer }),
                _ => (read, Op::Read { offset: offset + 100, len: BLOCK, buffer }),
            };
            s.submit(handle, op, sent).unwrap();
            sent += 1;
        }
        seen += s.reap(1, None, out).unwrap();
        for completion in out.drain(..) {
            assert!(completion.error.is_none());
            s.give_buffer(completion.buffer.unwrap());
        }
    }
    while s.reap(1, None, out).unwrap() > 0 {
        out.drain(..).for_each(|c| s.give_buffer(c.buffer.unwrap()));
    }
}

#[test]
fn submit_and_reap_allocate_nothing() {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    std::fs::write(dir.path().join("f"), vec![1u8; 32 * BLOCK]).unwrap();
    let base = || Io { huge_pages: false, ..Io::default() };
    let delay = Some(DelaySpec { latency: 1e-6, bandwidth: 1 << 40, rank: None });
    let flips = vec![FaultSpec {
        op: FaultOp::Read,
        kind: FaultKind::Flip,
        at: 1,
        every: 2,
        name_contains: "f".into(),
        rank: None,
    }];
    let ways = [
        ("uring", Io { engine: Engine::Uring, ..base() }),
        ("uring batch", Io { engine: Engine::Uring, submit_batch: 4, ..base() }),
        ("uring buffered", Io { engine: Engine::Uring, direct: false, ..base() }),
        ("sync", Io { engine: Engine::Sync, ..base() }),
        ("mmap", Io { engine: Engine::Mmap, ..base() }),
        ("null", Io { engine: Engine::Null, ..base() }),
        ("delay", Io { delay, ..base() }),
        ("fault", Io { fault: flips, ..base() }),
    ];
    for (i, (name, io)) in ways.into_iter().enumerate() {
        let root = dir.path().to_str().unwrap().to_string();
        check(name, root, io, &format!("w{i}"));
    }
}

#[test]
fn requests_to_an_object_store_allocate_nothing() {
    let server = s3::Server::start(0);
    for (name, value) in server.environment() {
        // SAFETY: everything in this program that reads the environment does it through std,
        // which locks it.
        unsafe { std::env::set_var(name, value) };
    }
    server.memory.put("data/f", vec![1u8; 32 * BLOCK]);
    let io = Io { huge_pages: false, ..Io::default() };
    check("s3-raw", format!("s3://{}/data", s3::BUCKET), io, "w");
}

#[test]
fn whole_objects_and_operations_on_names_allocate_nothing() {
    let server = s3::Server::start(0);
    let endpoint_url = server.url();
    let object = rankio::config::ObjectOptions { endpoint_url, ..Default::default() };
    for (name, value) in server.environment() {
        // SAFETY: as above.
        unsafe { std::env::set_var(name, value) };
    }
    let io = Io { huge_pages: false, ..Io::default() };
    let root = format!("s3://{}/data", s3::BUCKET);
    let spec = StoreSpec { root, io, object, rank: 0, buffers: DEPTH, buffer_bytes: BLOCK };
    let mut s = connect(&spec).unwrap();
    s.trust_sizes(true);
    let mut out = Vec::with_capacity(2 * DEPTH);
    let mut before = 0;
    for round in 0..60 {
        if round == 20 {
            before = ALLOCATIONS.get();
        }
        for name in ["a/x", "a/y"] {
            let mode = OpenMode::Replace { final_bytes: BLOCK as u64 };
            let handle = s.open(name, mode).unwrap().handle;
            let buffer = s.take_buffer().unwrap();
            s.submit(handle, Op::Write { offset: 0, len: BLOCK, buffer }, 1).unwrap();
            s.submit(handle, Op::Sync, 2).unwrap();
            wait_for(s.as_mut(), 2, &mut out);
            s.close(handle).unwrap();
            let mode = OpenMode::Read { expected_bytes: BLOCK as u64 };
            let handle = s.open(name, mode).unwrap().handle;
            let buffer = s.take_buffer().unwrap();
            s.submit(handle, Op::Read { offset: 7, len: 100, buffer }, 1).unwrap();
            wait_for(s.as_mut(), 1, &mut out);
            s.close(handle).unwrap();
        }
        s.submit_named(NamedOp::Head, "a/x", 1).unwrap();
        s.submit_named(NamedOp::List, "a", 2).unwrap();
        s.submit_named(NamedOp::Delete, "a/y", 3).unwrap();
        wait_for(s.as_mut(), 3, &mut out);
    }
    assert_eq!(ALLOCATIONS.get() - before, 0);
}

fn wait_for(s: &mut dyn Storage, mut count: usize, out: &mut Vec<Completion>) {
    while count > 0 {
        count -= s.reap(1, None, out).unwrap();
        for completion in out.drain(..) {
            assert!(completion.error.is_none());
            if let Some(buffer) = completion.buffer {
                s.give_buffer(buffer);
            }
        }
    }
}

/// Reads `f` below `root` and writes `new`, and counts.
fn check(name: &str, root: String, io: Io, new: &str) {
    let object = Default::default();
    let spec = StoreSpec { root, io, object, rank: 0, buffers: DEPTH, buffer_bytes: BLOCK };
    let mut s = connect(&spec).unwrap();
    let read = s.open("f", OpenMode::Read { expected_bytes: 1 << 20 }).unwrap().handle;
    let mode = OpenMode::Create { final_bytes: 16 * BLOCK as u64 };
    let write = s.open(new, mode).unwrap().handle;
    let mut out = Vec::with_capacity(2 * DEPTH);
    turn(s.as_mut(), read, write, 50, &mut out);
    let before = ALLOCATIONS.get();
    turn(s.as_mut(), read, write, 500, &mut out);
    assert_eq!(ALLOCATIONS.get() - before, 0, "{name} allocates");
    s.close(read).unwrap();
    s.close(write).unwrap();
}
