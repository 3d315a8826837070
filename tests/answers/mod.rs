//! Answers that are not what they seem: to another range, to nothing any more, cut short.

use super::*;

of_every_client! {
    an_answer_of_200_with_the_range_asked_for_is_taken,
    a_server_that_ignores_ranges_is_named_and_the_dataset_is_not_blamed,
    a_completion_whose_answer_was_lost_is_done,
    an_upload_that_somebody_gave_up_is_not_done,
    a_text_answer_that_broke_off_is_asked_for_again,
    an_http_server_addressed_by_https_is_told,
    an_object_of_unknown_length_goes_up_in_parts_and_not_in_memory,
    an_object_that_is_discarded_does_not_appear,
}

fn an_answer_of_200_with_the_range_asked_for_is_taken(client: Client) {
    let server = server(client, 0);
    server.memory.put("data/x", bytes(5000));
    server.memory.inject(fault("get", Kind::RangeAs200, 99));
    for trusts in [false, true] {
        let mut s = store(&server, client);
        s.trust_sizes(trusts);
        let opened = s.open("x", OpenMode::Read { expected_bytes: 5000 }).unwrap();
        let buffer = s.take_buffer().unwrap();
        s.submit(opened.handle, Op::Read { offset: 100, len: 300, buffer }, 1).unwrap();
        let completion = one(s.as_mut());
        assert!(completion.error.is_none(), "{}", completion.error.unwrap());
        assert_eq!(completion.buffer.unwrap().as_slice()[..300], bytes(5000)[100..400]);
    }
}

fn a_server_that_ignores_ranges_is_named_and_the_dataset_is_not_blamed(client: Client) {
    let server = server(client, 0);
    server.memory.put("data/x", bytes(5000));
    server.memory.inject(fault("get", Kind::IgnoresRange, 99));
    let mut s = store(&server, client);
    let said = get(s.as_mut(), "x", 100, 300).error.unwrap().to_string();
    assert!(said.contains("ignores Range: it answers a read of bytes 100-399"), "{said}");
    assert!(said.contains(&server.url()) && !said.contains("datagen"), "{said}");
    assert_eq!(s.facts().retried_operations, 0, "the next answer would be the same");
}

fn a_completion_whose_answer_was_lost_is_done(client: Client) {
    let server = server(client, 0);
    server.memory.inject(fault("complete", Kind::LostAnswer, 1));
    let mut s = store(&server, client);
    assert_eq!(put(s.as_mut(), "one", 2 * BLOCK), None);
    assert_eq!(server.memory.get("data/one").unwrap(), bytes(2 * BLOCK));
    assert_eq!(s.facts().retried_operations, 1);
    // The same where it is closed without a sync.
    server.memory.inject(fault("complete", Kind::LostAnswer, 1));
    let mode = OpenMode::Create { final_bytes: (BLOCK + 5) as u64 };
    let handle = s.open("two", mode).unwrap().handle;
    for (offset, len) in [(0, BLOCK), (BLOCK as u64, 5)] {
        let buffer = s.take_buffer().unwrap();
        s.submit(handle, Op::Write { offset, len, buffer }, 1).unwrap();
        let buffer = one(s.as_mut()).buffer.unwrap();
        s.give_buffer(buffer);
    }
    s.close(handle).unwrap();
    assert_eq!(server.memory.get("data/two").unwrap().len(), BLOCK + 5);
}

fn an_upload_that_somebody_gave_up_is_not_done(client: Client) {
    let server = server(client, 0);
    // An object of another length is there already.
    server.memory.put("data/one", bytes(77));
    server.memory.inject(fault("complete", Kind::SlowDown, 1));
    let mut s = store(&server, client);
    let mode = OpenMode::Replace { final_bytes: (2 * BLOCK) as u64 };
    let handle = s.open("one", mode).unwrap().handle;
    for offset in [0, BLOCK as u64] {
        let buffer = s.take_buffer().unwrap();
        s.submit(handle, Op::Write { offset, len: BLOCK, buffer }, 1).unwrap();
        let buffer = one(s.as_mut()).buffer.unwrap();
        s.give_buffer(buffer);
    }
    assert_eq!(store(&server, client).abort_uploads(&|_| true).unwrap(), Some(1));
    s.submit(handle, Op::Sync, 3).unwrap();
    let said = one(s.as_mut()).error.unwrap().to_string();
    let sizes = format!("has 77 bytes where {} were written", 2 * BLOCK);
    assert!(said.contains("NoSuchUpload") && said.contains(&sizes), "{said}");
    assert_eq!(server.memory.get("data/one").unwrap().len(), 77);
}

/// Answers requests by `answer`, which is told their first line and their number.
fn fake(answer: impl Fn(&str, u64) -> String + Send + 'static) -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for (number, stream) in listener.incoming().enumerate() {
            let mut stream = BufReader::new(stream.unwrap());
            let (mut first, mut line) = (String::new(), String::new());
            let _ = stream.read_line(&mut first);
            while stream.read_line(&mut line).unwrap_or(0) > 2 {
                line.clear();
            }
            let _ = stream.get_mut().write_all(answer(&first, number as u64).as_bytes());
        }
    });
    url
}

fn a_text_answer_that_broke_off_is_asked_for_again(client: Client) {
    drop(server(client, 0));
    let page = "<?xml version=\"1.0\"?><ListBucketResult><IsTruncated>false</IsTruncated>\
                <Contents><Key>data/x</Key><Size>1</Size></Contents></ListBucketResult>";
    let url = fake(move |_, number| {
        let sent = if number == 0 { &page[..60] } else { page };
        let length = page.len();
        format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/xml\r\nContent-Length: {length}\r\n\
             Connection: close\r\n\r\n{sent}"
        )
    });
    let object = ObjectOptions { endpoint_url: url, ..by(client) };
    let mut s = open_store(&client.root("bench"), object).unwrap();
    let mut names = Vec::new();
    s.list("", &mut |name, _| names.push(name.to_string())).unwrap();
    assert_eq!(names, ["x"]);
    assert_eq!(s.facts().retried_operations, 1);
}

fn an_http_server_addressed_by_https_is_told(client: Client) {
    let server = server(client, 0);
    let url = server.url().replacen("http://", "https://", 1);
    let object = ObjectOptions { endpoint_url: url, s3_max_attempts: 1, ..by(client) };
    let mut s = match open_store(&client.root("bench"), object) {
        Ok(store) => store,
        Err(error) => return eprintln!("skipped: no certificates here ({error})"),
    };
    let said = s.stat("x").unwrap_err().to_string();
    assert!(said.contains("does not speak TLS there: is its URL http://"), "{said}");
}

fn an_object_of_unknown_length_goes_up_in_parts_and_not_in_memory(client: Client) {
    let server = server(client, 0);
    let len = 3 * BLOCK + 77;
    let object = ObjectOptions { part_size: BLOCK as u64, ..options(&server, client) };
    let mut s = open_store(&client.root("bench"), object).unwrap();
    let handle = s.open("x", OpenMode::Replace { final_bytes: 0 }).unwrap().handle;
    for (number, block) in bytes(len).chunks(BLOCK).enumerate() {
        let mut buffer = s.take_buffer().unwrap();
        buffer.as_mut_slice()[..block.len()].copy_from_slice(block);
        let op = Op::Write { offset: (number * BLOCK) as u64, len: block.len(), buffer };
        s.submit(handle, op, 2).unwrap();
        let completion = one(s.as_mut());
        assert!(completion.error.is_none(), "{}", completion.error.unwrap());
        s.give_buffer(completion.buffer.unwrap());
        assert_eq!(server.memory.requests("part"), number as u64 + 1, "it is sent at once");
    }
    s.submit(handle, Op::Sync, 3).unwrap();
    assert!(one(s.as_mut()).error.is_none());
    s.close(handle).unwrap();
    assert_eq!(server.memory.get("data/x").unwrap(), bytes(len));
    assert_eq!(server.memory.requests("put"), 0);
}

fn an_object_that_is_discarded_does_not_appear(client: Client) {
    let server = server(client, 0);
    let object = ObjectOptions { part_size: BLOCK as u64, ..options(&server, client) };
    let mut s = open_store(&client.root("bench"), object).unwrap();
    for len in [100, BLOCK] {
        let handle = s.open("x", OpenMode::Replace { final_bytes: 0 }).unwrap().handle;
        let buffer = s.take_buffer().unwrap();
        s.submit(handle, Op::Write { offset: 0, len, buffer }, 1).unwrap();
        let buffer = one(s.as_mut()).buffer.unwrap();
        s.give_buffer(buffer);
        s.discard(handle).unwrap();
    }
    assert_eq!(server.memory.keys(), Vec::<String>::new());
    assert_eq!(server.memory.open_uploads(), 0);
}
