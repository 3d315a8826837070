//! What an object store keeps in flight: creations of uploads, sizes, connections to many servers,
//! and how long a request may take in all.

#[macro_use]
mod clients;
mod s3;

use clients::{Client, by};
use rankio::config::{Balance, Io, ObjectOptions};
use rankio::storage::{Completion, Handle, Op, OpenMode, Storage, StoreSpec, connect};
use s3::{Fault, Kind, Server};
use std::net::TcpListener;
use std::sync::atomic::Ordering;

const BLOCK: usize = 64 << 10;
const LEN: usize = BLOCK + 100;

of_every_client! {
    sixteen_uploads_are_created_together_and_not_one_after_the_other,
    an_upload_that_cannot_be_created_fails_its_parts_and_leaves_nothing,
    eight_sizes_are_asked_for_together_before_their_objects_are_opened,
    servers_that_hang_end_a_request_when_the_time_of_all_attempts_is_over,
}

/// The keys of every test server are the same, so the environment is set once.
fn server() -> Server {
    static KEYS: std::sync::Once = std::sync::Once::new();
    let server = Server::start(0);
    KEYS.call_once(|| {
        for (name, value) in server.environment() {
            // SAFETY: everything in this program that reads the environment does it through std,
            // which locks it.
            unsafe { std::env::set_var(name, value) };
        }
    });
    server
}

fn open_store(object: ObjectOptions, buffers: usize) -> Box<dyn Storage> {
    let io = Io { huge_pages: false, ..Io::default() };
    let root = "s3://bench/data".to_string();
    connect(&StoreSpec { root, io, object, rank: 0, buffers, buffer_bytes: BLOCK }).unwrap()
}

fn write(s: &mut dyn Storage, handle: Handle, offset: usize, len: usize) {
    let mut buffer = s.take_buffer().unwrap();
    buffer.as_mut_slice()[..len].fill(offset as u8 + 1);
    let op = Op::Write { offset: offset as u64, len, buffer };
    s.submit(handle, op, handle.0.into()).unwrap();
}

/// The next `count` completions; their buffers are given back.
fn completions(s: &mut dyn Storage, count: usize) -> Vec<Completion> {
    let mut out = Vec::new();
    while out.len() < count {
        s.reap(1, None, &mut out).unwrap();
    }
    for completion in &mut out {
        if let Some(buffer) = completion.buffer.take() {
            s.give_buffer(buffer);
        }
    }
    out
}

fn all_well(s: &mut dyn Storage, count: usize) {
    for completion in completions(s, count) {
        assert!(completion.error.is_none(), "{}", completion.error.unwrap());
    }
}

fn sixteen_uploads_are_created_together_and_not_one_after_the_other(client: Client) {
    let server = server();
    server.memory.pace.keep_together("create", 16);
    let mut s = open_store(ObjectOptions { endpoint_url: server.url(), ..by(client) }, 16);
    let mode = OpenMode::Replace { final_bytes: LEN as u64 };
    let mut handles = Vec::new();
    for number in 0..16 {
        let handle = s.open(&format!("big/{number}"), mode).unwrap().handle;
        write(s.as_mut(), handle, 0, BLOCK);
        handles.push(handle);
    }
    all_well(s.as_mut(), 16);
    assert_eq!(server.memory.pace.waited_in_vain(), 0);
    for handle in &handles {
        write(s.as_mut(), *handle, BLOCK, LEN - BLOCK);
    }
    all_well(s.as_mut(), 16);
    for handle in &handles {
        s.submit(*handle, Op::Sync, 0).unwrap();
    }
    all_well(s.as_mut(), 16);
    for (number, handle) in handles.into_iter().enumerate() {
        s.close(handle).unwrap();
        let found = server.memory.get(&format!("data/big/{number}")).unwrap();
        assert!(found.len() == LEN && found[0] == 1, "{}", found.len());
    }
    assert_eq!((server.memory.requests("create"), server.memory.open_uploads()), (16, 0));
    // Two parts that wait for one creation.
    server.memory.pace.keep_together("create", 1);
    let handle = s.open("two", mode).unwrap().handle;
    write(s.as_mut(), handle, 0, BLOCK);
    write(s.as_mut(), handle, BLOCK, LEN - BLOCK);
    // A sync waits for the writes before it.
    s.submit(handle, Op::Sync, 0).unwrap();
    all_well(s.as_mut(), 3);
    s.close(handle).unwrap();
    assert_eq!(server.memory.get("data/two").unwrap().len(), LEN);
    assert_eq!(server.memory.requests("create"), 17);
    // A store that goes while an upload is being created gives that up too.
    let handle = s.open("left", mode).unwrap().handle;
    write(s.as_mut(), handle, 0, BLOCK);
    drop(s);
    assert_eq!((server.memory.requests("create"), server.memory.open_uploads()), (18, 0));
}

fn an_upload_that_cannot_be_created_fails_its_parts_and_leaves_nothing(client: Client) {
    let server = server();
    let denied = Fault { op: "create", kind: Kind::Denied, after: 0, times: 1 };
    server.memory.inject(denied);
    let mut s = open_store(ObjectOptions { endpoint_url: server.url(), ..by(client) }, 4);
    let mode = OpenMode::Replace { final_bytes: LEN as u64 };
    let handle = s.open("x", mode).unwrap().handle;
    write(s.as_mut(), handle, 0, BLOCK);
    write(s.as_mut(), handle, BLOCK, LEN - BLOCK);
    for completion in completions(s.as_mut(), 2) {
        let said = completion.error.unwrap().to_string();
        assert!(said.starts_with("write s3://bench/data/x at offset "), "{said}");
        let why = "the upload cannot be created: HTTP 403 AccessDenied: Access Denied: check ";
        assert!(said.contains(why), "{said}");
    }
    s.submit(handle, Op::Sync, 0).unwrap();
    let said = completions(s.as_mut(), 1).remove(0).error.unwrap().to_string();
    assert!(said.contains("a write before it failed"), "{said}");
    s.close(handle).unwrap();
    assert_eq!((server.memory.open_uploads(), server.memory.get("data/x")), (0, None));
}

fn eight_sizes_are_asked_for_together_before_their_objects_are_opened(client: Client) {
    let server = server();
    for number in 0..8 {
        server.memory.put(&format!("data/{number}"), vec![number; 100 + usize::from(number)]);
    }
    server.memory.pace.keep_together("head", 8);
    let mut s = open_store(ObjectOptions { endpoint_url: server.url(), ..by(client) }, 8);
    let mut names: Vec<String> = (0..7).map(|number| number.to_string()).collect();
    names.push("absent".into());
    names.iter().for_each(|name| s.ask_ahead(name));
    for (number, name) in names.iter().enumerate() {
        let opened = s.open(name, OpenMode::Read { expected_bytes: 0 });
        match (opened, name.as_str()) {
            (Err(error), "absent") => assert_eq!(error.errno, libc::ENOENT, "{error}"),
            (opened, _) => assert_eq!(opened.unwrap().size_bytes, 100 + number as u64),
        }
    }
    let memory = &server.memory;
    assert_eq!((memory.pace.waited_in_vain(), memory.requests("head")), (0, 8));
    // An answer is used once; more names than fit are asked for when they are opened.
    memory.pace.keep_together("head", 1);
    for number in (0..8).chain(0..8) {
        s.ask_ahead(&number.to_string());
    }
    s.ask_ahead("7/none");
    for number in 0..8u8 {
        let mode = OpenMode::Read { expected_bytes: 0 };
        let size_bytes = s.open(&number.to_string(), mode).unwrap().size_bytes;
        assert_eq!(size_bytes, 100 + u64::from(number));
    }
    assert_eq!(memory.requests("head"), 16);
}

#[test]
fn eight_servers_do_not_take_connections_from_each_other() {
    let first = server();
    let mut doors: Vec<Server> = (1..8).map(|_| first.door()).collect();
    doors.push(first);
    let memory = doors[0].memory.clone();
    memory.put("data/x", vec![7; BLOCK]);
    let object = ObjectOptions {
        endpoint_uris: doors.iter().map(Server::url).collect(),
        load_balance_strategy: Some(Balance::RoundRobin),
        ..by(Client::Raw)
    };
    let mut s = open_store(object, 4);
    s.trust_sizes(true);
    let mode = OpenMode::Read { expected_bytes: BLOCK as u64 };
    let handle = s.open("x", mode).unwrap().handle;
    for _ in 0..400 {
        while let Some(buffer) = s.take_buffer() {
            s.submit(handle, Op::Read { offset: 0, len: BLOCK, buffer }, 0).unwrap();
        }
        all_well(s.as_mut(), 1);
    }
    // At most four requests are in flight, so no server needs more than four connections.
    let connections = memory.connections.load(Ordering::Relaxed);
    assert!(memory.requests("get") >= 400 && connections <= 32, "{connections} connections");
}

fn servers_that_hang_end_a_request_when_the_time_of_all_attempts_is_over(client: Client) {
    drop(server());
    // The system takes connections for them, and nobody answers.
    let hanging = [0, 1].map(|_| TcpListener::bind("127.0.0.1:0").unwrap());
    let url = |one: &TcpListener| format!("http://{}", one.local_addr().unwrap());
    let object = ObjectOptions {
        endpoint_uris: hanging.iter().map(url).collect(),
        total_timeout: 1.5,
        ..by(client)
    };
    let mut s = open_store(object.clone(), 4);
    let said = s.stat("x").unwrap_err().to_string();
    // 1.5 s, or a little less.
    assert!(
        said.contains("nothing came for 1") && said.contains(" s (server http://127"),
        "{said}"
    );
    assert!(said.ends_with("(1 attempt, and total_timeout is over)"), "{said}");
    let mut s = open_store(ObjectOptions { timeout: 0.4, ..object }, 4);
    let said = s.stat("x").unwrap_err().to_string();
    assert!(said.contains(", and total_timeout is over)"), "{said}");
}
