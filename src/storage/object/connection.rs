//! A keep-alive HTTP/1.1 connection and how far the exchange on it has come.
//!
//! Bodies of reads go from the socket into the aligned buffer; only what comes along with the head
//! is copied.

use super::exchange::{Answer, Exchange, Tag};
use super::range::ContentRange;
use super::stream::{Stream, hint};
use std::io;

/// Room for the head of an answer, and for what comes by way of it.
const INBOX_BYTES: usize = 16 << 10;
/// First look at an answer whose body goes elsewhere: a usual head, little more.
const HEAD_BYTES: usize = 1024;
const HEADERS_MAX: usize = 64;

/// How far an exchange is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Connecting,
    Sending,
    Head,
    /// A body of known length; bytes that are missing.
    Sized(u64),
    /// A body in chunks.
    Chunk(Chunk),
    /// A body that ends with the connection.
    UntilClose,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Chunk {
    /// Before the line with a size.
    Size,
    /// Bytes of the chunk that are missing.
    Data(u64),
    /// Before the line end behind a chunk.
    End,
    /// In the lines behind the last chunk.
    Trailer,
}

/// What driving a connection led to.
#[derive(Debug)]
pub(super) enum Driven {
    /// The socket has to be waited for.
    Waits,
    /// The answer is whole.
    Answered,
    /// The connection is of no use any more.
    Broken(Broken),
}

/// How a connection broke.
#[derive(Debug)]
pub(super) enum Broken {
    /// It was kept from an earlier exchange and had been closed meanwhile.
    Stale,
    /// Why.
    Failed(String),
    /// The answer is not to what was asked, and will not be another one.
    Wrong(String),
}

/// A connection; closed while it has no stream.
#[derive(Debug)]
pub(super) struct Connection {
    pub stream: Option<Stream>,
    /// Number of the server.
    pub endpoint: usize,
    /// The exchange on it.
    pub exchange: Option<usize>,
    /// Head of the request.
    pub head: Vec<u8>,
    /// How long it may wait for a byte.
    pub patience_ns: u64,
    /// When it has waited too long; monotonic.
    pub deadline_ns: u64,
    /// When its last exchange ended, by the clock of the pool.
    pub used_at: u64,
    phase: Phase,
    sent: usize,
    inbox: Box<[u8]>,
    begin: usize,
    end: usize,
    /// An exchange ended on it before.
    used: bool,
    /// The server keeps it open after this exchange.
    keeps: bool,
    /// The request did not go out whole.
    cut: bool,
}

impl Connection {
    /// A closed one, which needs no memory before it is opened.
    pub fn new() -> Connection {
        Connection {
            stream: None,
            endpoint: 0,
            exchange: None,
            head: Vec::new(),
            patience_ns: 0,
            deadline_ns: 0,
            used_at: 0,
            phase: Phase::Connecting,
            sent: 0,
            inbox: Box::default(),
            begin: 0,
            end: 0,
            used: false,
            keeps: true,
            cut: false,
        }
    }

    /// Takes a stream that is being connected.
    pub fn connect(&mut self, stream: Stream, endpoint: usize) {
        (self.stream, self.endpoint, self.used) = (Some(stream), endpoint, false);
        if self.inbox.is_empty() {
            self.inbox = vec![0; INBOX_BYTES].into_boxed_slice();
        }
    }

    /// True while it is being connected.
    pub fn is_connecting(&self) -> bool {
        self.phase == Phase::Connecting
    }

    /// Begins an exchange; `head` is filled.
    pub fn begin(&mut self, exchange: usize) {
        self.exchange = Some(exchange);
        (self.sent, self.begin, self.end, self.keeps) = (0, 0, 0, true);
        self.cut = false;
        self.phase = if self.used { Phase::Sending } else { Phase::Connecting };
    }

    /// Ends the exchange; the stream is closed unless it can be used again.
    pub fn finish(&mut self, reusable: bool) {
        self.exchange = None;
        self.used = true;
        // Bytes behind the answer belong to nothing we asked for.
        if !reusable || self.cut || !self.keeps || self.begin < self.end {
            self.stream = None;
        }
    }

    /// Goes on as far as the socket lets it.
    pub fn drive(&mut self, exchange: &mut Exchange) -> Driven {
        let Some(mut stream) = self.stream.take() else { return Driven::Waits };
        let driven = loop {
            match self.step(&mut stream, exchange) {
                Ok(Some(answered)) => break answered,
                Ok(None) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break Driven::Waits,
                Err(error) => break Driven::Broken(self.broken(exchange, &error)),
            }
        };
        self.stream = Some(stream);
        driven
    }

    fn broken(&self, exchange: &Exchange, error: &io::Error) -> Broken {
        let begun = exchange.answer.status != 0 || self.end > 0;
        if self.used && !begun && closed(error) {
            return Broken::Stale;
        }
        let what = match self.phase {
            Phase::Connecting => "cannot connect",
            Phase::Sending => "the request could not be sent",
            Phase::Head => "no answer came",
            _ => "the answer broke off",
        };
        let got = exchange.answer.received;
        match (got, exchange.answer.content_length) {
            (0, _) => Broken::Failed(format!("{what} ({error}{})", hint(&error.to_string()))),
            (_, Some(all)) => Broken::Failed(format!("{what} after {got} of {all} bytes")),
            (_, None) => Broken::Failed(format!("{what} after {got} bytes")),
        }
    }

    fn step(&mut self, stream: &mut Stream, exchange: &mut Exchange) -> io::Result<Option<Driven>> {
        match self.phase {
            Phase::Connecting if stream.is_connected()? => self.phase = Phase::Sending,
            Phase::Connecting => return Err(io::ErrorKind::WouldBlock.into()),
            Phase::Sending => match self.send(stream, exchange) {
                // A server that refuses a body closes, and may have said why before.
                Err(error) if closed(&error) => (self.cut, self.phase) = (true, Phase::Head),
                other => other?,
            },
            Phase::Head => {
                if !self.parse_head(exchange)? {
                    let look = if exchange.buffer.is_some() { HEAD_BYTES } else { INBOX_BYTES };
                    self.fill(stream, look)?;
                    return Ok(None);
                }
                if let Some(what) = exchange.unfit() {
                    return Ok(Some(Driven::Broken(Broken::Wrong(what))));
                }
                self.check_length(exchange)?;
            }
            Phase::Sized(0) => return Ok(Some(Driven::Answered)),
            Phase::Sized(left) => self.sized(stream, exchange, left)?,
            Phase::Chunk(chunk) => {
                if self.chunked(exchange, chunk)? {
                    return Ok(Some(Driven::Answered));
                }
                if self.begin == self.end || self.phase == Phase::Chunk(chunk) {
                    self.fill(stream, INBOX_BYTES)?;
                }
            }
            Phase::UntilClose => {
                self.take(exchange, usize::MAX)?;
                match self.fill(stream, INBOX_BYTES) {
                    Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => {
                        return Ok(Some(Driven::Answered));
                    }
                    other => other?,
                }
            }
        }
        Ok(None)
    }

    fn send(&mut self, stream: &mut Stream, exchange: &Exchange) -> io::Result<()> {
        let body = exchange.body();
        let all = self.head.len() + body.len();
        while self.sent < all {
            let first = self.head.get(self.sent..).unwrap_or_default();
            let second = &body[self.sent.saturating_sub(self.head.len())..];
            match stream.write(first, second)? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                sent => self.sent += sent,
            }
        }
        self.phase = Phase::Head;
        Ok(())
    }

    /// Reads into the inbox, up to `limit` bytes of it.
    fn fill(&mut self, stream: &mut Stream, limit: usize) -> io::Result<()> {
        if self.begin == self.end {
            (self.begin, self.end) = (0, 0);
        } else if self.end == INBOX_BYTES {
            self.inbox.copy_within(self.begin..self.end, 0);
            (self.begin, self.end) = (0, self.end - self.begin);
        }
        let limit = if self.end < limit { limit } else { INBOX_BYTES };
        if self.end == limit {
            return Err(invalid("the head of the answer is too long"));
        }
        match stream.read(&mut self.inbox[self.end..limit])? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            got => {
                self.end += got;
                Ok(())
            }
        }
    }

    /// Takes the head out of the inbox; false while it is not whole.
    fn parse_head(&mut self, exchange: &mut Exchange) -> io::Result<bool> {
        let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut head = httparse::Response::new(&mut headers);
        let parsed = head.parse(&self.inbox[self.begin..self.end]);
        let length = match parsed.map_err(|error| invalid(&format!("no HTTP/1.1: {error}")))? {
            httparse::Status::Partial => return Ok(false),
            httparse::Status::Complete(length) => length,
        };
        let status = head.code.unwrap_or(0);
        if (100..200).contains(&status) {
            self.begin += length;
            return Ok(self.begin < self.end && self.parse_head(exchange)?);
        }
        let answer = &mut exchange.answer;
        answer.status = status;
        let mut chunked = false;
        self.keeps = head.version == Some(1);
        for header in head.headers.iter() {
            let (name, value) = (header.name, header.value);
            if name.eq_ignore_ascii_case("content-length") {
                answer.content_length =
                    std::str::from_utf8(value).ok().and_then(|v| v.parse().ok());
            } else if name.eq_ignore_ascii_case("transfer-encoding") {
                let last = &value[value.len().saturating_sub(7)..];
                chunked = last.eq_ignore_ascii_case(b"chunked");
            } else if name.eq_ignore_ascii_case("connection") {
                self.keeps &= !value.eq_ignore_ascii_case(b"close");
            } else {
                keep_header(answer, name, value);
            }
        }
        self.begin += length;
        let bodiless = exchange.verb == "HEAD" || matches!(status, 204 | 304);
        self.phase = match (bodiless, chunked, exchange.answer.content_length) {
            (true, ..) => Phase::Sized(0),
            (_, true, _) => Phase::Chunk(Chunk::Size),
            (_, _, Some(length)) => Phase::Sized(length),
            _ => {
                self.keeps = false;
                Phase::UntilClose
            }
        };
        Ok(true)
    }

    fn check_length(&self, exchange: &Exchange) -> io::Result<()> {
        match self.phase {
            Phase::Sized(length) if exchange.fills_buffer() && length > exchange.len as u64 => {
                Err(invalid(&format!(
                    "the server answers {} with {length} bytes where {} were asked for; does it \
                     know ranges?",
                    exchange.answer.status, exchange.len
                )))
            }
            _ => Ok(()),
        }
    }

    fn sized(&mut self, stream: &mut Stream, exchange: &mut Exchange, left: u64) -> io::Result<()> {
        if self.begin < self.end {
            let taken = self.take(exchange, left.min(usize::MAX as u64) as usize)?;
            self.phase = Phase::Sized(left - taken as u64);
            return Ok(());
        }
        let Some(room) = exchange.direct_room() else { return self.fill(stream, INBOX_BYTES) };
        let room_bytes = room.len().min(left as usize);
        match stream.read(&mut room[..room_bytes])? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            got => {
                exchange.got(got);
                self.phase = Phase::Sized(left - got as u64);
                Ok(())
            }
        }
    }

    /// Hands up to `limit` bytes of the inbox to the exchange; how many.
    fn take(&mut self, exchange: &mut Exchange, limit: usize) -> io::Result<usize> {
        let part = (self.end - self.begin).min(limit);
        let bytes = &self.inbox[self.begin..self.begin + part];
        exchange.take_in(bytes).map_err(invalid)?;
        self.begin += part;
        Ok(part)
    }

    /// Takes chunks out of the inbox; true after the last.
    fn chunked(&mut self, exchange: &mut Exchange, chunk: Chunk) -> io::Result<bool> {
        let found = &self.inbox[self.begin..self.end];
        let next = match chunk {
            Chunk::Size => match httparse::parse_chunk_size(found) {
                Ok(httparse::Status::Complete((length, size))) => {
                    self.begin += length;
                    if size == 0 { Chunk::Trailer } else { Chunk::Data(size) }
                }
                Ok(httparse::Status::Partial) => Chunk::Size,
                Err(_) => return Err(invalid("a chunk without a size")),
            },
            Chunk::Data(left) => {
                let taken = self.take(exchange, left.min(usize::MAX as u64) as usize)? as u64;
                if taken == left { Chunk::End } else { Chunk::Data(left - taken) }
            }
            Chunk::End if found.len() >= 2 => {
                self.begin += 2;
                Chunk::Size
            }
            Chunk::Trailer => match found.windows(2).position(|pair| pair == b"\r\n") {
                Some(0) => {
                    self.begin += 2;
                    return Ok(true);
                }
                Some(line) => {
                    self.begin += line + 2;
                    return self.chunked(exchange, Chunk::Trailer);
                }
                None => Chunk::Trailer,
            },
            Chunk::End => Chunk::End,
        };
        self.phase = Phase::Chunk(next);
        Ok(false)
    }
}

fn closed(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::UnexpectedEof
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::ConnectionAborted
    )
}

fn keep_header(answer: &mut Answer, name: &str, value: &[u8]) {
    if name.eq_ignore_ascii_case("etag") {
        answer.tag = Tag::new(value);
    } else if name.eq_ignore_ascii_case("content-range") {
        answer.content_range = std::str::from_utf8(value).ok().and_then(ContentRange::parse);
    } else if name.eq_ignore_ascii_case("location") {
        answer.location.push_str(std::str::from_utf8(value).unwrap_or_default());
    }
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_string())
}
