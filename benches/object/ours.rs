//! rankio's clients, through the trait that its workloads use.

use super::{Client, Load, Tally, Verb};
use rankio::config::{Io, ObjectClient, ObjectOptions};
use rankio::storage::{Completion, Handle, Op, OpenMode, Storage, StoreSpec, connect};

/// Runs until the clock says so.
pub fn run(load: &Load, tally: &Tally) {
    let client = match load.client {
        Client::Raw => ObjectClient::Raw,
        Client::Sdk => ObjectClient::Sdk,
        Client::Sockets | Client::Hyper => panic!("{:?} is no client of rankio", load.client),
    };
    let endpoint_url = load.endpoint.clone();
    let object = ObjectOptions { client, endpoint_url, ..ObjectOptions::default() };
    let spec = StoreSpec {
        root: format!("s3://{}", load.bucket),
        io: Io::default(),
        object,
        rank: 0,
        buffers: load.depth,
        buffer_bytes: load.size,
    };
    let mut store = connect(&spec).expect("connect");
    let engine = store.facts().engine;
    assert_eq!(engine, format!("s3-{}", client.name()), "another client than asked for");
    match load.verb {
        Verb::Get => get(store.as_mut(), load, tally),
        Verb::Put => put(store.as_mut(), load, tally),
    }
}

fn name(index: usize, load: &Load) -> String {
    format!("o{}", index % load.objects)
}

fn finish(store: &mut dyn Storage, completion: Completion) {
    assert!(completion.error.is_none(), "{:?}", completion.error);
    completion.buffer.into_iter().for_each(|buffer| store.give_buffer(buffer));
}

fn get(store: &mut dyn Storage, load: &Load, tally: &Tally) {
    let expected_bytes = load.size as u64;
    let handles: Vec<Handle> = (0..load.objects)
        .map(|index| store.open(&name(index, load), OpenMode::Read { expected_bytes }))
        .map(|opened| opened.expect("open").handle)
        .collect();
    let mut out: Vec<Completion> = Vec::with_capacity(2 * load.depth);
    let mut next = 0;
    loop {
        while tally.runs()
            && let Some(buffer) = store.take_buffer()
        {
            let op = Op::Read { offset: 0, len: load.size, buffer };
            store.submit(handles[next % handles.len()], op, 0).expect("submit");
            next += 1;
        }
        if store.reap(1, None, &mut out).expect("reap") == 0 {
            return;
        }
        for completion in out.drain(..) {
            assert!(completion.error.is_some() || completion.bytes == load.size, "a short read");
            finish(store, completion);
            tally.count();
        }
    }
}

/// An object that is written: its handle, and whether its sync has been asked for.
fn put(store: &mut dyn Storage, load: &Load, tally: &Tally) {
    let mut handles: Vec<Option<Handle>> = vec![None; load.depth];
    let content: Vec<u8> = (0..load.size).map(|index| (index * 31 + index / 251) as u8).collect();
    let mut out: Vec<Completion> = Vec::with_capacity(2 * load.depth);
    let (mut next, mut open) = (0, 0);
    loop {
        for (lane, slot) in handles.iter_mut().enumerate() {
            if !tally.runs() || slot.is_some() {
                continue;
            }
            let mode = OpenMode::Replace { final_bytes: load.size as u64 };
            let handle = store.open(&name(next, load), mode).expect("open").handle;
            next += 1;
            let mut buffer = store.take_buffer().expect("as many buffers as lanes");
            // The workloads fill it for every object, so that belongs to what a PUT costs.
            buffer.as_mut_slice()[..load.size].copy_from_slice(&content);
            let op = Op::Write { offset: 0, len: load.size, buffer };
            store.submit(handle, op, 2 * lane as u64).expect("submit");
            store.submit(handle, Op::Sync, 2 * lane as u64 + 1).expect("submit");
            *slot = Some(handle);
            open += 1;
        }
        if open == 0 {
            return;
        }
        store.reap(1, None, &mut out).expect("reap");
        for completion in out.drain(..) {
            let (lane, synced) = (completion.tag as usize / 2, completion.tag % 2 == 1);
            finish(store, completion);
            if synced {
                let handle = handles[lane].take().expect("this lane has an object");
                store.close(handle).expect("close");
                tally.count();
                open -= 1;
            }
        }
    }
}
