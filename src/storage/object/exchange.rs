//! One request and its answer, over however many attempts and connections.

use super::range::{ContentRange, Said, unfit};
use crate::storage::clock::monotonic_ns;
use crate::storage::{Handle, IoBuffer, NamedOp};

/// Longest text that is taken as an answer: a page of a listing has up to about 1 MiB.
pub(super) const TEXT_BYTES_MAX: usize = 4 << 20;
/// A request whose time is over may wait so long for the next byte.
const LAST_PATIENCE_NS: u64 = 1_000_000_000;
/// Room for an ETag.
const TAG_BYTES: usize = 80;

/// Who asked, and so who gets the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asker {
    /// Somebody who waits for it.
    Caller,
    /// A read that was submitted.
    Read(Handle, u64),
    /// A write that was submitted; the number of its part (from 1), 0 for a whole object.
    Write(Handle, u64, u32),
    /// A sync that was submitted.
    Sync(Handle, u64),
    /// An operation on a name that was submitted.
    Named(NamedOp, u64),
    /// Parts that were submitted and wait for their upload to be created.
    Creation(Handle),
    /// Whoever will open an object soon; a place in the list of these.
    Ahead(usize),
}

/// An ETag, as it came.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tag {
    bytes: [u8; TAG_BYTES],
    len: u8,
}

impl Default for Tag {
    fn default() -> Tag {
        Tag { bytes: [0; TAG_BYTES], len: 0 }
    }
}

impl Tag {
    /// A copy; one that is too long is cut and will not be accepted by the server.
    pub fn new(text: &[u8]) -> Tag {
        let mut tag = Tag::default();
        let len = text.len().min(TAG_BYTES);
        tag.bytes[..len].copy_from_slice(&text[..len]);
        tag.len = len as u8;
        tag
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..usize::from(self.len)]).unwrap_or("")
    }
}

/// A request and its answer. Slots are used again, so that their texts keep their room.
#[derive(Debug)]
pub(super) struct Exchange {
    pub asker: Asker,
    pub verb: &'static str,
    /// Encoded path below the bucket, with a slash in front.
    pub path: Vec<u8>,
    /// Encoded parameters in the order of their names.
    pub query: Vec<u8>,
    /// First byte and number of bytes of a ranged read.
    pub range: Option<(u64, u64)>,
    pub copy_source: Vec<u8>,
    /// Size that the object must have, where nobody has asked for it; another one is an error.
    pub size_bytes: Option<u64>,
    /// The body goes with its MD5, which servers want with removals of many.
    pub with_md5: bool,
    /// The body is a form for the service of tokens: nothing is signed.
    pub is_form: bool,
    /// Only if there is no such object.
    pub only_new: bool,
    /// Destination of a read, source of a write.
    pub buffer: Option<IoBuffer>,
    /// Bytes of the buffer that are wanted or sent.
    pub len: usize,
    /// Body of a request without a buffer.
    pub body: Vec<u8>,
    /// Offset for messages.
    pub offset: Option<u64>,
    /// When it was submitted; 0: not yet.
    pub start_ns: u64,
    pub end_ns: u64,
    /// When no other attempt may begin; monotonic.
    pub until_ns: u64,
    /// When the first byte of the body came that goes into the buffer; 0: none came.
    pub first_ns: u64,
    /// Attempts so far, the running one included.
    pub attempts: u32,
    /// How often it was sent, also on a connection that the server then closed without an answer.
    pub sends: u32,
    pub redirects: u32,
    /// The server is the one that a redirect named.
    pub redirected: bool,
    /// The server is given and is never another one.
    pub pinned: bool,
    /// Begin of the running attempt.
    pub attempt_ns: u64,
    /// Number of the server in the client's list.
    pub endpoint: usize,
    pub answer: Answer,
    /// Why there is no answer.
    pub failure: Option<String>,
}

/// What came back.
#[derive(Debug, Default)]
pub(super) struct Answer {
    pub status: u16,
    /// Bytes of the body that came.
    pub received: usize,
    /// `Content-Length`.
    pub content_length: Option<u64>,
    /// `Content-Range`.
    pub content_range: Option<ContentRange>,
    pub tag: Tag,
    pub location: String,
    /// Body, unless it went into the buffer.
    pub text: Vec<u8>,
}

impl Exchange {
    /// An empty slot.
    pub fn new() -> Exchange {
        Exchange {
            asker: Asker::Caller,
            verb: "GET",
            path: Vec::with_capacity(512),
            query: Vec::with_capacity(256),
            range: None,
            copy_source: Vec::new(),
            size_bytes: None,
            with_md5: false,
            is_form: false,
            only_new: false,
            buffer: None,
            len: 0,
            body: Vec::new(),
            offset: None,
            start_ns: 0,
            end_ns: 0,
            until_ns: 0,
            first_ns: 0,
            attempts: 0,
            sends: 0,
            redirects: 0,
            redirected: false,
            pinned: false,
            attempt_ns: 0,
            endpoint: 0,
            answer: Answer { text: Vec::with_capacity(1024), ..Answer::default() },
            failure: None,
        }
    }

    /// Makes it a new request.
    pub fn reset(&mut self, asker: Asker, verb: &'static str) {
        (self.asker, self.verb) = (asker, verb);
        self.path.clear();
        self.query.clear();
        self.copy_source.clear();
        self.body.clear();
        (self.range, self.buffer, self.offset, self.failure) = (None, None, None, None);
        (self.only_new, self.len, self.attempts, self.redirects) = (false, 0, 0, 0);
        (self.redirected, self.with_md5, self.size_bytes) = (false, false, None);
        (self.is_form, self.pinned, self.start_ns, self.sends) = (false, false, 0, 0);
        self.clear_answer();
    }

    /// The server is chosen already.
    pub fn has_server(&self) -> bool {
        self.redirected || self.pinned
    }

    /// What is left of its time, ns; at least a second, for an attempt that still moves bytes.
    pub fn left_ns(&self, now_ns: u64) -> u64 {
        self.until_ns.saturating_sub(now_ns).max(LAST_PATIENCE_NS)
    }

    /// An attempt begins now; all of them together have `total_s`.
    pub fn begin_attempt(&mut self, total_s: f64) {
        self.attempt_ns = monotonic_ns();
        if self.attempts == 0 {
            self.until_ns = self.attempt_ns.saturating_add((total_s * 1e9) as u64);
        }
        (self.attempts, self.sends) = (self.attempts + 1, self.sends + 1);
        self.clear_answer();
    }

    /// Before another attempt.
    pub fn clear_answer(&mut self) {
        let answer = &mut self.answer;
        (answer.status, answer.received, answer.content_length) = (0, 0, None);
        (answer.content_range, self.first_ns) = (None, 0);
        answer.tag = Tag::default();
        answer.location.clear();
        answer.text.clear();
    }

    /// True if the answer's body goes into the buffer.
    pub fn fills_buffer(&self) -> bool {
        matches!(self.asker, Asker::Read(..)) && matches!(self.answer.status, 200 | 206)
    }

    /// Bytes of the body came. The first ones are timed.
    pub fn got(&mut self, bytes: usize) {
        if self.first_ns == 0 && bytes > 0 && self.fills_buffer() {
            self.first_ns = monotonic_ns();
        }
        self.answer.received += bytes;
    }

    /// Why the answer is not to the read that was asked for, by what stands before its body.
    pub fn unfit(&self) -> Option<String> {
        let answer = &self.answer;
        let (content_length, content_range) = (answer.content_length, answer.content_range);
        let said = Said { is_partial: answer.status == 206, content_length, content_range };
        self.fills_buffer().then(|| unfit(self.range, self.size_bytes, said)).flatten()
    }

    /// Bytes of objects that the answer stands for, read and written; Err: it is an error. A
    /// missing name is an answer too.
    pub fn moved(&self) -> Result<(u64, u64), ()> {
        let (received, sent) = (self.answer.received as u64, self.body().len() as u64);
        match (self.answer.status, self.asker) {
            (200..=299, Asker::Read(..)) => Ok((received, 0)),
            (200..=299, Asker::Write(..)) => Ok((0, sent)),
            (200..=399 | 404, _) => Ok((0, 0)),
            _ => Err(()),
        }
    }

    /// What is sent after the head.
    pub fn body(&self) -> &[u8] {
        match (&self.buffer, self.asker) {
            (Some(buffer), Asker::Write(..)) => &buffer.as_slice()[..self.len],
            _ => &self.body,
        }
    }

    /// Takes in bytes of the answer's body that came by way of another memory.
    ///
    /// # Errors
    /// More bytes than were asked for.
    pub fn take_in(&mut self, bytes: &[u8]) -> Result<(), &'static str> {
        let at = self.answer.received;
        if self.fills_buffer() {
            let room = self.buffer.as_mut().map(|buffer| &mut buffer.as_mut_slice()[..self.len]);
            let room = room.and_then(|room| room.get_mut(at..at + bytes.len()));
            room.ok_or("the server sent more bytes than were asked for")?.copy_from_slice(bytes);
        } else if at + bytes.len() > TEXT_BYTES_MAX {
            return Err("the answer is too long");
        } else {
            self.answer.text.extend_from_slice(bytes);
        }
        self.got(bytes.len());
        Ok(())
    }

    /// Where the next bytes of the answer's body may be read to directly; None: by way of
    /// [`Exchange::take_in`].
    pub fn direct_room(&mut self) -> Option<&mut [u8]> {
        if !self.fills_buffer() {
            return None;
        }
        let (at, end) = (self.answer.received, self.len);
        self.buffer.as_mut().map(|buffer| &mut buffer.as_mut_slice()[at..end])
    }
}
