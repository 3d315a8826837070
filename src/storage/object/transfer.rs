//! Reads, writes and syncs: from the trait's operations to exchanges and back to completions.

use super::exchange::Asker;
use super::upload::{Object, PARTS_MAX, STAGED_BYTES_MAX, State, Way};
use super::{ObjectStore, calls, xml};
use crate::storage::clock::monotonic_ns;
use crate::storage::{Completion, Handle, IoBuffer, NamedOp, StorageError};

impl ObjectStore {
    /// Hands every exchange that has ended to whoever asked for it.
    pub(super) fn settle_done(&mut self) {
        while let Some(index) = self.client.next_done() {
            match self.client.exchange(index).asker {
                Asker::Caller => {
                    self.called = Some(index);
                    return;
                }
                Asker::Read(handle, tag) => self.settle(index, "read", handle, tag, None),
                Asker::Write(handle, tag, part) => {
                    self.settle(index, "write", handle, tag, Some(part));
                }
                Asker::Sync(handle, tag) => {
                    self.settle(index, "sync", handle, tag, None);
                }
                Asker::Named(op, tag) => self.settle_named(index, op, tag),
                Asker::Ahead(place) => self.settle_ahead(index, place),
                Asker::Creation(handle) => self.settle_creation(index, handle),
            }
        }
    }

    pub(super) fn settle(
        &mut self,
        index: usize,
        op: &'static str,
        handle: Handle,
        tag: u64,
        part: Option<u32>,
    ) {
        if op == "sync" && self.asks_for_object(index, handle, tag) {
            return;
        }
        let is_look = op == "sync" && self.client.exchange(index).verb == "HEAD";
        let looked = if is_look { self.judge_object(index, handle) } else { None };
        let exchange = self.client.exchange(index);
        let failure = exchange.failure.take().or(looked);
        let (status, etag) = (exchange.answer.status, exchange.answer.tag);
        let moved = match op {
            "read" => exchange.answer.received,
            "write" => exchange.len,
            _ => 0,
        };
        let (buffer, offset) = (exchange.buffer.take(), exchange.offset);
        let latency_ns = exchange.end_ns - exchange.start_ns;
        let first_byte_ns = exchange.first_ns.saturating_sub(exchange.start_ns);
        let trusted = exchange.size_bytes;
        let (len, text_bytes) = (exchange.len, exchange.answer.text.len());
        self.client.release(index);
        let failed = failure.is_some();
        debug_assert!(op != "read" || failed || (moved <= len && text_bytes == 0));
        let object = self.objects.get(handle).expect("close refuses objects in flight");
        object.in_flight -= 1;
        match (op, part) {
            ("write", Some(part)) => object.wrote(part, etag, moved, failed),
            ("sync", _) => {
                object.state = if failed { State::Failed } else { State::Committed };
            }
            _ => {}
        }
        let shorter = trusted.filter(|_| status == 416);
        let failure = failure.map(|what| match shorter {
            Some(wanted) => format!("{what}: it is shorter than the {wanted} bytes expected"),
            None => what,
        });
        let name = failure.as_ref().map(|_| object.name.clone()).unwrap_or_default();
        let error = failure.map(|what| Box::new(self.error(op, &name, offset, status, &what)));
        let bytes = if failed { 0 } else { moved };
        let completion = Completion {
            bytes,
            transferred: bytes,
            first_byte_ns,
            ..ended(tag, buffer, latency_ns, error)
        };
        self.push(completion);
        self.release_sync(handle);
    }

    /// Starts an operation on a name.
    pub(super) fn begin_named(
        &mut self,
        op: NamedOp,
        name: &str,
        tag: u64,
    ) -> Result<(), StorageError> {
        let (spare_name, path) = self.objects.spare();
        let path = match op {
            NamedOp::List => path,
            _ => self.key_path("submit", name, path)?,
        };
        let verb = match op {
            NamedOp::Head => "HEAD",
            NamedOp::Delete => "DELETE",
            NamedOp::List => "GET",
        };
        let index = self.client.slot(Asker::Named(op, tag), verb);
        let index = index.expect("there is a slot for every operation");
        let exchange = self.client.exchange(index);
        if op == NamedOp::List {
            exchange.path.extend_from_slice(self.bucket_path);
            calls::list_query([&self.place.prefix, name], None, exchange);
            if !name.is_empty() {
                exchange.query.extend_from_slice(b"%2F");
            }
        } else {
            exchange.path.extend_from_slice(&path);
        }
        self.objects.spare_back(spare_name, path);
        self.in_flight += 1;
        self.client.begin(index);
        Ok(())
    }

    fn settle_named(&mut self, index: usize, op: NamedOp, tag: u64) {
        let exchange = self.client.exchange(index);
        let (failure, status) = (exchange.failure.take(), exchange.answer.status);
        let latency_ns = exchange.end_ns - exchange.start_ns;
        let bytes = match op {
            _ if failure.is_some() => 0,
            NamedOp::Head => exchange.answer.content_length.unwrap_or(0) as usize,
            NamedOp::Delete => 0,
            NamedOp::List => xml::count_keys(&exchange.answer.text),
        };
        let path = failure.as_ref().map(|_| String::from_utf8_lossy(&exchange.path).into_owned());
        self.client.release(index);
        let error = failure.map(|what| {
            let word = match op {
                NamedOp::Head => "stat",
                NamedOp::Delete => "remove",
                NamedOp::List => "list",
            };
            let mut error = self.error(word, "", None, status, &what);
            let path = path.unwrap_or_default();
            let key = path.strip_prefix(self.client.base()).unwrap_or(&path);
            if op != NamedOp::List {
                error.path = self.place.uri(key.trim_start_matches('/'));
            }
            Box::new(error)
        });
        self.push(Completion { bytes, ..ended(tag, None, latency_ns, error) });
    }

    /// Starts a sync that waited for the writes before it.
    pub(super) fn release_sync(&mut self, handle: Handle) {
        let Some(object) = self.objects.get(handle).filter(|object| object.in_flight == 0) else {
            return;
        };
        let Some((tag, start_ns)) = object.sync.take() else { return };
        let nothing_to_do = match (&object.way, object.state) {
            (_, State::Committed) | (Way::Reading, _) => Some(None),
            (_, State::Failed) => Some(Some("a write before it failed")),
            _ if object.missing_part().is_some() => Some(Some("a part before the last is missing")),
            _ => None,
        };
        if let Some(why) = nothing_to_do {
            let name = why.map(|_| object.name.clone()).unwrap_or_default();
            let error = why.map(|what| Box::new(self.error("sync", &name, None, 0, what)));
            let latency_ns = monotonic_ns() - start_ns;
            self.push(ended(tag, None, latency_ns, error));
            return;
        }
        let verb = if matches!(object.way, Way::Parts { .. }) { "POST" } else { "PUT" };
        object.in_flight += 1;
        let index = self.client.slot(Asker::Sync(handle, tag), verb);
        let index = index.expect("there is a slot for every operation");
        let object = self.objects.get(handle).expect("it was just seen");
        let exchange = self.client.exchange(index);
        exchange.path.extend_from_slice(&object.path);
        calls::commit_body(object, exchange);
        self.client.begin(index);
    }

    /// Starts a read.
    pub(super) fn read(
        &mut self,
        handle: Handle,
        offset: u64,
        len: usize,
        buffer: IoBuffer,
        tag: u64,
    ) {
        let object = self.objects.get(handle).expect("submit has looked");
        let wanted = (len as u64).min(object.size_bytes.saturating_sub(offset)) as usize;
        if len > buffer.capacity() || wanted == 0 {
            let why = (len > buffer.capacity()).then_some("the buffer is smaller than the range");
            return self.end_now(handle, "read", offset, tag, buffer, why);
        }
        object.in_flight += 1;
        let whole = wanted as u64 == object.size_bytes;
        let index = self.client.slot(Asker::Read(handle, tag), "GET");
        let index = index.expect("there is a slot for every buffer");
        let exchange = self.client.exchange(index);
        let object = self.objects.get(handle).expect("submit has looked");
        exchange.path.extend_from_slice(&object.path);
        exchange.size_bytes = object.size_is_trusted.then_some(object.size_bytes);
        exchange.range = (!whole).then_some((offset, wanted as u64));
        (exchange.buffer, exchange.len) = (Some(buffer), wanted);
        exchange.offset = Some(offset);
        self.in_flight += 1;
        self.client.begin(index);
    }

    /// Starts a write.
    pub(super) fn write(
        &mut self,
        handle: Handle,
        offset: u64,
        len: usize,
        buffer: IoBuffer,
        tag: u64,
    ) {
        let object = self.objects.get(handle).expect("submit has looked");
        let part = match check_write(object, self.part_bytes as u64, offset, len) {
            Ok(part) if len <= buffer.capacity() => part,
            Ok(_) => {
                let why = Some("the buffer is smaller than the bytes to write");
                return self.end_now(handle, "write", offset, tag, buffer, why);
            }
            Err(why) => return self.end_now(handle, "write", offset, tag, buffer, Some(why)),
        };
        if let Way::Staged(bytes) = &mut object.way {
            if offset == 0 && len == self.part_bytes && self.parts_are_large && bytes.is_empty() {
                // An object of unknown length whose first block is a whole part is no small text,
                // and memory is not to grow with it.
                object.way = Way::Parts { id: String::new(), tags: Vec::new() };
                return self.write(handle, offset, len, buffer, tag);
            }
            let end = offset as usize + len;
            if bytes.len() < end {
                bytes.resize(end, 0);
            }
            bytes[offset as usize..end].copy_from_slice(&buffer.as_slice()[..len]);
            object.written_bytes += len as u64;
            let mut completion = ended(tag, Some(buffer), 0, None);
            (completion.bytes, completion.transferred) = (len, len);
            self.in_flight += 1;
            self.push(completion);
            return;
        }
        object.in_flight += 1;
        if part > 0 && len < self.part_bytes {
            object.short_part = part;
        }
        let index = self.client.slot(Asker::Write(handle, tag, part), "PUT");
        let index = index.expect("there is a slot for every buffer");
        let exchange = self.client.exchange(index);
        exchange.path.extend_from_slice(&object.path);
        exchange.only_new = object.only_new && part == 0;
        (exchange.buffer, exchange.len) = (Some(buffer), len);
        exchange.offset = Some(offset);
        self.in_flight += 1;
        match part {
            0 => self.client.begin(index),
            _ => self.begin_part(handle, index),
        }
    }

    fn push(&mut self, completion: Completion) {
        self.in_flight -= 1;
        self.ready.push_back(completion);
    }

    /// The end of an operation that needs no request, or that cannot be.
    fn end_now(
        &mut self,
        handle: Handle,
        op: &'static str,
        offset: u64,
        tag: u64,
        buffer: IoBuffer,
        why: Option<&str>,
    ) {
        let error = why.map(|what| {
            let name = self.objects.get(handle).map(|object| object.name.clone());
            let mut error = self.error(op, &name.unwrap_or_default(), Some(offset), 0, what);
            error.errno = libc::EINVAL;
            Box::new(error)
        });
        self.in_flight += 1;
        self.push(ended(tag, Some(buffer), 0, error));
    }
}

/// The completion of an operation that moved nothing.
fn ended(
    tag: u64,
    buffer: Option<IoBuffer>,
    latency_ns: u64,
    error: Option<Box<StorageError>>,
) -> Completion {
    let (data_start, bytes, transferred, first_byte_ns) = (0, 0, 0, 0);
    Completion { tag, buffer, data_start, bytes, transferred, latency_ns, first_byte_ns, error }
}

/// Why this write cannot be, else the number of its part (0: no part).
fn check_write(
    object: &Object,
    part_bytes: u64,
    offset: u64,
    len: usize,
) -> Result<u32, &'static str> {
    let end = offset.saturating_add(len as u64);
    if !offset.is_multiple_of(4096) {
        return Err("the offset of a write must be a multiple of 4096");
    }
    if object.state == State::Committed {
        return Err("an object cannot be changed after its end was written");
    }
    match &object.way {
        Way::Reading => Err("the object is open for reading"),
        Way::Whole if offset != 0 || len as u64 != object.final_bytes => {
            Err("an object that fits into a buffer is written at once, with its whole length")
        }
        Way::Staged(_) if end > STAGED_BYTES_MAX as u64 => {
            Err("an object of unknown length must not be larger than 256 MiB")
        }
        Way::Whole | Way::Staged(_) => Ok(0),
        Way::Parts { tags, .. } => {
            let part = (offset / part_bytes) as u32 + 1;
            let is_short = (len as u64) < part_bytes;
            let behind = is_short && tags.len() as u32 > part;
            let last = object.short_part;
            if !offset.is_multiple_of(part_bytes) || len as u64 > part_bytes {
                return Err("an object is written in parts of a whole buffer");
            }
            if u64::from(part) > PARTS_MAX {
                return Err("an upload has 10000 parts at most: raise \
                            storage.storage_options.part_size");
            }
            if behind || (last > 0 && (part > last || is_short != (part == last))) {
                return Err("only the last part of an object may be shorter than a buffer");
            }
            Ok(part)
        }
    }
}
