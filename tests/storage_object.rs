//! What an object store does when its server misbehaves: everything is tried again, counted, and
//! in the end told in one line without a key.

#[macro_use]
mod clients;
mod answers;
mod s3;

use clients::{CLIENTS, Client, by};
use rankio::config::{Balance, Io, ObjectOptions};
use rankio::storage::{
    Completion, NamedOp, Op, OpenMode, Storage, StorageError, StoreSpec, connect,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use s3::{Fault, Kind, Server};
use std::io::{BufRead, BufReader, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

const BLOCK: usize = 256 << 10;

macro_rules! of_every_store {
    ($($name:ident,)*) => {
        of_every_client! { $($name,)* }
        #[cfg(feature = "gcs")]
        of_client!(google, Google: $($name,)*);
    };
}

of_every_store! {
    what_passes_is_tried_again_and_counted,
    a_body_that_comes_slowly_comes_whole,
    an_object_that_was_cut_after_it_was_opened_gives_a_short_read,
    what_lasts_is_told_in_one_line_with_the_place_and_the_attempts,
    an_upload_in_parts_is_whole_or_not_at_all,
    a_completion_that_fails_after_its_200_is_an_error_and_one_that_passes_a_retry,
    parts_that_are_too_small_for_the_server_are_its_error,
    a_listing_of_many_pages_is_whole,
    connections_are_kept_and_one_that_the_server_closed_is_replaced,
    requests_are_dealt_to_all_doors_and_one_that_closes_is_left_out,
    redirects_are_followed_and_a_circle_ends,
    wrong_keys_buckets_and_servers_have_a_sentence_and_show_no_secret,
    a_trusted_size_costs_no_request_and_is_checked_against_the_first_answer,
    the_first_byte_is_timed_apart_from_the_last,
    operations_on_names_are_in_flight_together,
}

/// Google's interface removes names one by one.
mod of_s3 {
    use super::many_are_removed_by_one_request_and_one_that_stays_is_named;

    of_every_client! {
        many_are_removed_by_one_request_and_one_that_stays_is_named,
    }
}

/// A server of one test. Keys are the same in all of them, so the environment is set once.
fn server(client: Client, part_bytes_min: usize) -> Server {
    static KEYS: std::sync::Once = std::sync::Once::new();
    let server = client.server(part_bytes_min);
    KEYS.call_once(|| {
        let mut keys = Server::start(0).environment();
        keys.push(("GOOGLE_SKIP_SIGNATURE", "true".into()));
        for (name, value) in keys {
            // SAFETY: everything in this program that reads the environment does it through std,
            // which locks it.
            unsafe { std::env::set_var(name, value) };
        }
    });
    server
}

fn options(server: &Server, client: Client) -> ObjectOptions {
    ObjectOptions { endpoint_url: server.url(), ..by(client) }
}

fn open_store(root: &str, object: ObjectOptions) -> Result<Box<dyn Storage>, StorageError> {
    let io = Io { huge_pages: false, ..Io::default() };
    let root = root.to_string();
    connect(&StoreSpec { root, io, object, rank: 0, buffers: 4, buffer_bytes: BLOCK })
}

fn store(server: &Server, client: Client) -> Box<dyn Storage> {
    open_store(&client.root("bench"), options(server, client)).unwrap()
}

fn one(s: &mut dyn Storage) -> Completion {
    let mut out = Vec::new();
    assert_eq!(s.reap(1, None, &mut out).unwrap(), 1);
    out.pop().unwrap()
}

fn get(s: &mut dyn Storage, name: &str, offset: u64, len: usize) -> Completion {
    let opened = s.open(name, OpenMode::Read { expected_bytes: 0 }).unwrap();
    let buffer = s.take_buffer().unwrap();
    s.submit(opened.handle, Op::Read { offset, len, buffer }, 1).unwrap();
    let completion = one(s);
    s.close(opened.handle).unwrap();
    completion
}

fn bytes(len: usize) -> Vec<u8> {
    (0..len as u32)
        .flat_map(|word| word.wrapping_mul(2_654_435_761).to_le_bytes())
        .take(len)
        .collect()
}

/// Writes an object of `len` bytes in blocks and syncs it; the first error.
fn put(s: &mut dyn Storage, name: &str, len: usize) -> Option<String> {
    let handle = s.open(name, OpenMode::Create { final_bytes: len as u64 }).unwrap().handle;
    let content = bytes(len);
    let mut error = None;
    for (number, block) in content.chunks(BLOCK).enumerate() {
        let mut buffer = s.take_buffer().unwrap();
        buffer.as_mut_slice()[..block.len()].copy_from_slice(block);
        let op = Op::Write { offset: (number * BLOCK) as u64, len: block.len(), buffer };
        s.submit(handle, op, 2).unwrap();
        let completion = one(s);
        s.give_buffer(completion.buffer.unwrap());
        error = error.or(completion.error.map(|error| error.to_string()));
    }
    s.submit(handle, Op::Sync, 3).unwrap();
    error = error.or(one(s).error.map(|error| error.to_string()));
    s.close(handle).unwrap();
    error
}

fn fault(op: &'static str, kind: Kind, times: u64) -> Fault {
    Fault { op, kind, after: 0, times }
}

fn what_passes_is_tried_again_and_counted(client: Client) {
    let server = server(client, 0);
    server.memory.put("data/x", bytes(BLOCK));
    for kind in [Kind::SlowDown, Kind::Drop] {
        let mut s = store(&server, client);
        server.memory.inject(fault("get", kind, 2));
        let completion = get(s.as_mut(), "x", 0, BLOCK);
        assert!(completion.error.is_none(), "{kind:?}: {}", completion.error.unwrap());
        assert_eq!(completion.buffer.unwrap().as_slice()[..BLOCK], bytes(BLOCK), "{kind:?}");
        assert_eq!(s.facts().retried_operations, 2, "{kind:?}");
        // A first backoff is at least 10 ms, and belongs to the latency of the request.
        assert!(completion.latency_ns > 10_000_000, "{kind:?}");
    }
}

fn a_body_that_comes_slowly_comes_whole(client: Client) {
    let server = server(client, 0);
    server.memory.put("data/x", bytes(BLOCK));
    server.memory.inject(fault("get", Kind::SlowBody(20), 1));
    let mut s = store(&server, client);
    let completion = get(s.as_mut(), "x", 100, 5000);
    assert!(completion.error.is_none(), "{}", completion.error.unwrap());
    assert_eq!(completion.buffer.unwrap().as_slice()[..5000], bytes(BLOCK)[100..5100]);
    assert!(completion.latency_ns >= 60_000_000, "four pieces");
    assert_eq!(s.facts().retried_operations, 0);
}

fn an_object_that_was_cut_after_it_was_opened_gives_a_short_read(client: Client) {
    let server = server(client, 0);
    server.memory.put("data/x", bytes(5000));
    server.memory.inject(fault("get", Kind::Truncate, 1));
    let completion = get(store(&server, client).as_mut(), "x", 4096, 904);
    assert!(completion.error.is_none());
    assert_eq!(completion.bytes, 903);
}

fn what_lasts_is_told_in_one_line_with_the_place_and_the_attempts(client: Client) {
    let server = server(client, 0);
    server.memory.put("data/x", bytes(5000));
    for (kind, words) in [
        (Kind::SlowDown, "HTTP 503 SlowDown"),
        (Kind::Drop, "the answer broke off after"),
        (Kind::Denied, "HTTP 403 AccessDenied: Access Denied: check "),
    ] {
        server.memory.inject(fault("get", kind, 99));
        let object = ObjectOptions { s3_max_attempts: 2, ..options(&server, client) };
        let mut s = open_store(&client.root("bench"), object).unwrap();
        let error = get(s.as_mut(), "x", 0, 4096).error.unwrap().to_string();
        assert!(
            error.starts_with(&format!("read {}/x at offset 0: ", client.root("bench"))),
            "{error}"
        );
        assert!(error.contains(words) && !error.contains('\n'), "{error}");
        let again = kind != Kind::Denied;
        assert_eq!(error.contains("(2 attempts)"), again, "{error}");
        assert_eq!(s.facts().retried_operations, u64::from(again), "{error}");
        server.memory.clear_faults();
    }
}

fn an_upload_in_parts_is_whole_or_not_at_all(client: Client) {
    let server = server(client, 0);
    let len = 3 * BLOCK + 77;
    let mut s = store(&server, client);
    assert_eq!(put(s.as_mut(), "big", len), None);
    assert_eq!(server.memory.get("data/big").unwrap(), bytes(len));
    assert_eq!(server.memory.requests("part"), 4);
    // An upload is given up: nothing appears, and the server forgets its parts.
    let mode = OpenMode::Create { final_bytes: len as u64 };
    let handle = s.open("half", mode).unwrap().handle;
    let buffer = s.take_buffer().unwrap();
    s.submit(handle, Op::Write { offset: 0, len: BLOCK, buffer }, 1).unwrap();
    let buffer = one(s.as_mut()).buffer.unwrap();
    s.give_buffer(buffer);
    assert_eq!(server.memory.open_uploads(), 1);
    s.close(handle).unwrap();
    assert_eq!(server.memory.open_uploads(), 0);
    assert_eq!(server.memory.get("data/half"), None);
    // One that is dropped with its store.
    s.open("half", mode).unwrap();
    drop(s);
    assert_eq!(server.memory.open_uploads(), 0);
}

fn a_completion_that_fails_after_its_200_is_an_error_and_one_that_passes_a_retry(client: Client) {
    let server = server(client, 0);
    server.memory.inject(fault("complete", Kind::LateError, 1));
    let mut s = store(&server, client);
    assert_eq!(put(s.as_mut(), "one", 2 * BLOCK), None);
    assert_eq!(s.facts().retried_operations, 1);
    server.memory.inject(fault("complete", Kind::LateError, 99));
    let object = ObjectOptions { s3_max_attempts: 2, ..options(&server, client) };
    let mut s = open_store(&client.root("bench"), object).unwrap();
    let said = put(s.as_mut(), "two", 2 * BLOCK).expect("the error of the server");
    assert!(said.contains(&format!("sync {}/two: InternalError", client.root("bench"))), "{said}");
    assert_eq!(server.memory.get("data/two"), None);
    assert_eq!(server.memory.open_uploads(), 0, "given up");
}

fn parts_that_are_too_small_for_the_server_are_its_error(client: Client) {
    let server = server(client, 5 << 20);
    let said = put(store(&server, client).as_mut(), "x", 2 * BLOCK).unwrap();
    assert!(said.contains("HTTP 400 EntityTooSmall"), "{said}");
}

fn a_listing_of_many_pages_is_whole(client: Client) {
    let server = server(client, 0);
    for number in 0..2500 {
        server.memory.put(&format!("data/train/{number:05}&<"), vec![1]);
    }
    let mut names = Vec::new();
    let mut s = store(&server, client);
    s.list("train", &mut |name, folder| names.push((name.to_string(), folder))).unwrap();
    let want: Vec<_> = (0..2500).map(|number| (format!("{number:05}&<"), false)).collect();
    assert_eq!(names, want);
    assert_eq!(server.memory.requests("list"), 3);
}

fn connections_are_kept_and_one_that_the_server_closed_is_replaced(client: Client) {
    let server = server(client, 0);
    server.memory.put("data/x", bytes(5000));
    let mut s = store(&server, client);
    for _ in 0..20 {
        let completion = get(s.as_mut(), "x", 0, 5000);
        assert_eq!(completion.bytes, 5000);
        s.give_buffer(completion.buffer.unwrap());
    }
    let connections = server.memory.connections.load(Ordering::Relaxed);
    assert_eq!(connections, 1, "40 requests, one after the other");
}

fn requests_are_dealt_to_all_doors_and_one_that_closes_is_left_out(client: Client) {
    let first = server(client, 0);
    let second = first.door();
    first.memory.put("data/x", bytes(5000));
    for strategy in [Balance::RoundRobin, Balance::LeastOutstanding, Balance::ByRank] {
        let object = ObjectOptions {
            endpoint_uris: vec![first.url(), second.url()],
            load_balance_strategy: Some(strategy),
            ..by(client)
        };
        let mut s = open_store(&client.root("bench"), object).unwrap();
        for _ in 0..20 {
            let completion = get(s.as_mut(), "x", 0, 5000);
            s.give_buffer(completion.buffer.unwrap());
        }
        let facts = s.facts();
        let operations: Vec<u64> = facts.endpoints.iter().map(|e| e.operations).collect();
        let want = if strategy == Balance::ByRank { [40, 0] } else { [20, 20] };
        assert_eq!(operations, want, "{strategy:?}");
        let bytes_read: u64 = facts.endpoints.iter().map(|e| e.bytes_read).sum();
        assert_eq!((bytes_read, facts.retried_operations), (100_000, 0));
    }
    // The door of this rank closes.
    let object = ObjectOptions { endpoint_uris: vec![second.url(), first.url()], ..by(client) };
    let mut s = open_store(&client.root("bench"), object).unwrap();
    assert_eq!(get(s.as_mut(), "x", 0, 5000).bytes, 5000);
    drop(second);
    for _ in 0..20 {
        let completion = get(s.as_mut(), "x", 0, 5000);
        assert!(completion.error.is_none(), "{}", completion.error.unwrap());
        assert_eq!(completion.buffer.as_ref().unwrap().as_slice()[..5000], bytes(5000));
        s.give_buffer(completion.buffer.unwrap());
    }
    let endpoints = s.facts().endpoints;
    assert!(endpoints[0].errors > 0 && endpoints[0].set_aside == 1, "{endpoints:?}");
    assert!(endpoints[1].operations >= 40 && endpoints[1].errors == 0, "{endpoints:?}");
    assert!(s.facts().retried_operations > 0);
}

/// Answers one request on each connection and closes it when the next one comes, as a server does
/// whose patience with an idle connection ends just then.
fn impatient() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.unwrap());
            let mut line = String::new();
            while stream.read_line(&mut line).unwrap() > 2 {}
            let answer = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n";
            stream.get_mut().write_all(answer.as_bytes()).unwrap();
            if !line.starts_with("HEAD") {
                stream.get_mut().write_all(b"hello").unwrap();
            }
            // The next request is taken and not answered.
            let _ = stream.read_line(&mut line);
        }
    });
    url
}

#[test]
fn a_kept_connection_that_was_closed_is_opened_again_and_is_no_retry() {
    drop(server(Client::Raw, 0));
    let object = ObjectOptions { endpoint_url: impatient(), ..ObjectOptions::default() };
    let mut s = open_store(&Client::Raw.root("bench"), object).unwrap();
    for _ in 0..5 {
        let completion = get(s.as_mut(), "x", 0, 5);
        assert!(completion.error.is_none(), "{}", completion.error.unwrap());
        let buffer = completion.buffer.unwrap();
        assert_eq!(&buffer.as_slice()[..5], b"hello");
        s.give_buffer(buffer);
    }
    let facts = s.facts();
    assert_eq!((facts.retried_operations, facts.endpoints[0].errors), (0, 0));
    assert_eq!(facts.endpoints[0].operations, 10, "a HEAD and a GET each");
}

fn a_trusted_size_costs_no_request_and_is_checked_against_the_first_answer(client: Client) {
    let server = server(client, 0);
    server.memory.put("data/x", bytes(5000));
    let mut s = store(&server, client);
    s.trust_sizes(true);
    let mut read = |expected_bytes, offset, len| {
        let opened = s.open("x", OpenMode::Read { expected_bytes }).unwrap();
        assert_eq!(opened.size_bytes, expected_bytes);
        let buffer = s.take_buffer().unwrap();
        s.submit(opened.handle, Op::Read { offset, len, buffer }, 1).unwrap();
        let mut completion = one(s.as_mut());
        s.close(opened.handle).unwrap();
        s.give_buffer(completion.buffer.take().unwrap());
        completion
    };
    for (offset, len) in [(0, 5000), (100, 300)] {
        let completion = read(5000, offset, len);
        assert!(completion.error.is_none(), "{}", completion.error.unwrap());
        assert_eq!(completion.bytes, len);
    }
    assert_eq!((server.memory.requests("get"), server.memory.requests("head")), (2, 0));
    // Larger and smaller objects, whole and in part.
    for (expected, offset, len) in [(4999, 0, 4999), (5001, 0, 5001), (4999, 10, 9), (9000, 10, 9)]
    {
        let said = read(expected, offset, len).error.unwrap().to_string();
        let both = format!("the object has 5000 bytes where {expected} were expected");
        assert!(
            said.starts_with(&format!("read {}/x", client.root("bench"))) && said.contains(&both),
            "{said}"
        );
    }
    let said = read(9000, 8000, 100).error.unwrap().to_string();
    assert!(said.contains("shorter than the 9000 bytes expected"), "{said}");
    assert_eq!(server.memory.requests("get"), 7, "nothing of it is tried again");
    assert_eq!(server.memory.requests("head"), 0);
    let opened = s.open("absent", OpenMode::Read { expected_bytes: 5 }).unwrap();
    let buffer = s.take_buffer().unwrap();
    s.submit(opened.handle, Op::Read { offset: 0, len: 5, buffer }, 1).unwrap();
    let said = one(s.as_mut()).error.unwrap().to_string();
    assert!(said.contains("NoSuchKey") && said.contains("rankio datagen"), "{said}");
}

fn the_first_byte_is_timed_apart_from_the_last(client: Client) {
    let server = server(client, 0);
    server.memory.put("data/x", bytes(BLOCK));
    server.memory.inject(fault("get", Kind::SlowBody(20), 1));
    let completion = get(store(&server, client).as_mut(), "x", 0, BLOCK);
    // A pause before each of four pieces: three of them come after the first byte.
    let (first, last) = (completion.first_byte_ns, completion.latency_ns);
    assert!(first > 0 && first + 40_000_000 < last, "{first} {last}");
}

fn many_are_removed_by_one_request_and_one_that_stays_is_named(client: Client) {
    let server = server(client, 0);
    let names: Vec<String> = (0..1000).map(|number| format!("train/{number}&<")).collect();
    for name in names.iter().take(700) {
        server.memory.put(&format!("data/{name}"), vec![1]);
    }
    server.memory.put("data/other", vec![1]);
    let mut s = store(&server, client);
    s.remove_many(&names).unwrap();
    assert_eq!(server.memory.keys(), ["data/other"]);
    assert_eq!((server.memory.requests("delete_many"), server.memory.requests("delete")), (1, 0));
    s.remove_many(&[]).unwrap();
    let two = ["other".to_string(), "train/locked".to_string()];
    let said = s.remove_many(&two).unwrap_err().to_string();
    assert!(said.starts_with("remove s3://bench/data/train/locked: AccessDenied"), "{said}");
    assert!(s.remove_many(&["../x".to_string()]).is_err(), "a name outside");
}

/// Of a library that needs several requests for one answer, or none.
#[cfg(feature = "gcs")]
#[test]
fn requests_of_a_library_are_counted_as_the_server_sees_them() {
    let server = server(Client::Google, 0);
    let mut s = store(&server, Client::Google);
    let names: Vec<String> = (0..12).map(|number| format!("d/{number}")).collect();
    s.remove_many(&names).unwrap();
    assert_eq!(s.abort_uploads(&|_| true).unwrap(), None, "it does not list them");
    assert_eq!(put(s.as_mut(), "big", 3 * BLOCK), None);
    assert_eq!(server.memory.requests("delete"), 12);
    // HEAD, begin, three parts, completion.
    assert_eq!(s.facts().endpoints[0].operations, 12 + 6);
    assert_eq!(s.facts().endpoints[0].errors, 0);
}

fn operations_on_names_are_in_flight_together(client: Client) {
    let server = server(client, 0);
    for number in 0..1200 {
        server.memory.put(&format!("data/d/{number:04}"), bytes(100 + number));
    }
    let mut s = store(&server, client);
    for (tag, (op, name)) in
        [(NamedOp::Head, "d/0005"), (NamedOp::Delete, "d/0007"), (NamedOp::List, "d")]
            .into_iter()
            .enumerate()
    {
        s.submit_named(op, name, tag as u64).unwrap();
    }
    s.submit_named(NamedOp::Head, "d/absent", 3).unwrap();
    let mut out = Vec::new();
    while out.len() < 4 {
        s.reap(1, None, &mut out).unwrap();
    }
    out.sort_by_key(|completion| completion.tag);
    assert!(
        out[..3].iter().all(|completion| completion.error.is_none() && completion.latency_ns > 0)
    );
    assert_eq!([out[0].bytes, out[1].bytes, out[2].bytes], [105, 0, 1000]);
    let error = out[3].error.as_ref().unwrap();
    let absent = format!("{}/d/absent", client.root("bench"));
    assert_eq!((error.errno, error.path.as_str()), (libc::ENOENT, absent.as_str()));
    assert_eq!(server.memory.get("data/d/0007"), None);
}

/// Answers every request with a redirect to `target`; how many it answered.
fn redirector(target: String) -> (String, Arc<AtomicU64>) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let count = Arc::new(AtomicU64::new(0));
    let counter = count.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.unwrap());
            let mut head = String::new();
            while stream.read_line(&mut head).unwrap() > 2 {}
            let path = head.split(' ').nth(1).unwrap().to_string();
            counter.fetch_add(1, Ordering::Relaxed);
            let answer = format!(
                "HTTP/1.1 307 Temporary Redirect\r\nLocation: {target}{path}\r\n\
                 Content-Length: 0\r\nConnection: close\r\n\r\n"
            );
            let _ = stream.get_mut().write_all(answer.as_bytes());
        }
    });
    (url, count)
}

fn redirects_are_followed_and_a_circle_ends(client: Client) {
    let server = server(client, 0);
    server.memory.put("data/x", bytes(5000));
    let (url, count) = redirector(server.url());
    let object = ObjectOptions { endpoint_url: url, ..by(client) };
    let mut s = open_store(&client.root("bench"), object).unwrap();
    let completion = get(s.as_mut(), "x", 100, 4000);
    assert!(completion.error.is_none(), "{}", completion.error.unwrap());
    assert_eq!(completion.buffer.unwrap().as_slice()[..4000], bytes(5000)[100..4100]);
    assert_eq!(count.load(Ordering::Relaxed), 2, "size and content");
    assert_eq!(s.facts().endpoints.len(), 2, "the one that answers is told too");
    let (last, _) = redirector("http://127.0.0.1:9".into());
    let (first, _) = redirector(last);
    let object = ObjectOptions { endpoint_url: first, s3_max_attempts: 1, ..by(client) };
    let mut s = open_store(&client.root("bench"), object).unwrap();
    let said = s.stat("x").unwrap_err().to_string();
    assert!(said.contains("cannot connect") && said.contains("127.0.0.1:9"), "{said}");
}

fn check_https(client: Client, tls: rustls::ServerConfig, certificate: &str) {
    let server = Server::start_tls(tls);
    let len = 3 * BLOCK + 77;
    let object = ObjectOptions { s3_max_attempts: 1, ..options(&server, client) };
    // Who does not know the authority does not trust it.
    if let Ok(mut s) = open_store(&client.root("bench"), object.clone()) {
        let said = s.stat("x").unwrap_err().to_string();
        assert!(said.contains("certificate"), "{said}");
    }
    // SAFETY: everything in this program that reads the environment does it through std, which
    // locks it; the other tests use no TLS.
    unsafe { std::env::set_var("AWS_CA_BUNDLE", certificate) };
    let mut s = open_store(&client.root("bench"), object).unwrap();
    assert_eq!(put(s.as_mut(), "big", len), None);
    assert_eq!(server.memory.get("data/big").unwrap(), bytes(len));
    for offset in [0, 1000, len - BLOCK] {
        let completion = get(s.as_mut(), "big", offset as u64, BLOCK);
        let buffer = completion.buffer.unwrap();
        assert_eq!(buffer.as_slice()[..BLOCK], bytes(len)[offset..offset + BLOCK]);
        s.give_buffer(buffer);
    }
    assert_eq!(s.facts().retried_operations, 0);
}

#[test]
fn https_works_with_a_ca_of_ones_own_and_not_without() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_string();
    let (key, certificate) = (path("key.pem"), path("certificate.pem"));
    let made = std::process::Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"])
        .args(["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .args(["-keyout", &key, "-out", &certificate])
        .output();
    if !made.is_ok_and(|made| made.status.success()) {
        return eprintln!("skipped: no openssl that makes certificates");
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![CertificateDer::from_pem_file(&certificate).unwrap()],
            PrivateKeyDer::from_pem_file(&key).unwrap(),
        )
        .unwrap();
    drop(server(Client::Raw, 0));
    for client in CLIENTS {
        // SAFETY: everything in this program that reads the environment does it through std, which
        // locks it; the other tests use no TLS.
        unsafe { std::env::remove_var("AWS_CA_BUNDLE") };
        check_https(*client, tls.clone(), &certificate);
    }
}

fn wrong_keys_buckets_and_servers_have_a_sentence_and_show_no_secret(client: Client) {
    let server = server(client, 0);
    let said = |root: &str, object: ObjectOptions| {
        let mut s = open_store(root, object).unwrap();
        s.list("", &mut |_, _| ()).unwrap_err().to_string()
    };
    let text = said(&client.root("absent"), options(&server, client));
    assert!(text.contains("HTTP 404 NoSuchBucket") && text.contains("create the bucket"), "{text}");
    let nobody = ObjectOptions {
        endpoint_url: "http://127.0.0.1:9".into(),
        s3_max_attempts: 2,
        ..by(client)
    };
    let text = said(&client.root("bench"), nobody);
    assert!(text.contains("cannot connect") && text.contains("http://127.0.0.1:9"), "{text}");
    let other_region = ObjectOptions { region: "nowhere".into(), ..options(&server, client) };
    let mut s = open_store(&client.root("bench"), other_region).unwrap();
    assert!(s.stat("x").unwrap().is_none(), "the region is only signed for");
    for root in ["s3://key:hunter2@bench/x", "s3://bench/x?secret=hunter2", "s3://B/x"] {
        let error = open_store(root, options(&server, client)).err().unwrap().to_string();
        assert!(!error.contains("hunter2") && error.starts_with("connect s3://: "), "{error}");
    }
}
