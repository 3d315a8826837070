//! Any asynchronous client of an object store, made a [`Carrier`]: a runtime of its own for each
//! I/O thread, whose requests go on in turns and in no other thread. Attempts are counted and
//! repeated here and not in the library, so that none is hidden.
//!
//! Requests and answers have the form that the own client gives them, so that one store serves
//! both. Unlike the own client these libraries allocate for every request.

use super::address::Endpoint;
use super::asked::Asked;
use super::carrier::Carrier;
use super::client::{LAST_WORD_S, LOOK_EVERY_NS};
use super::exchange::{Asker, Exchange, Tag};
use super::range::ContentRange;
use super::retry::{Desk, Judged, judge};
use super::servers::Servers;
use crate::config::ObjectOptions;
use crate::storage::clock::monotonic_ns;
use crate::storage::{EndpointFacts, IoBuffer};
use bytes::Bytes;
use std::error::Error;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tokio::task::{JoinError, JoinSet};

/// Longest sentence that is taken from a library.
const SENTENCE_CHARS_MAX: usize = 300;

/// One attempt at a request.
pub(super) type Attempt = Pin<Box<dyn Future<Output = Outcome> + Send>>;

/// An asynchronous client: makes one attempt, repeats nothing.
pub(super) trait Remote: Send {
    /// Its name in results.
    fn engine(&self) -> &'static str;
    /// `text` without secrets.
    fn hide(&self, text: &str) -> String;
    /// An attempt at server `number` of the list. It runs in the runtime of the caller.
    ///
    /// # Errors
    /// No client can be made for this server.
    fn attempt(
        &mut self,
        server: (usize, &Endpoint),
        asked: Asked,
        cargo: Cargo,
    ) -> Result<Attempt, (String, Cargo)>;
    /// Forgets every connection; from now on nothing may take longer than `patience_s`.
    fn renew(&mut self, patience_s: f64);
}

/// What a request takes along.
#[derive(Debug, Default)]
pub(super) struct Cargo {
    /// Destination of a read, source of a write.
    pub buffer: Option<IoBuffer>,
    /// Bytes of it that are wanted or sent.
    pub len: usize,
    /// Body of a write without a buffer.
    pub body: Vec<u8>,
    /// What is left of the time of all attempts.
    pub left: Duration,
}

/// What became of an attempt.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// HTTP status; 0: no answer.
    pub status: u16,
    /// Bytes that came into the buffer.
    pub received: usize,
    pub content_length: Option<u64>,
    /// Which bytes the answer holds, where it says so.
    pub content_range: Option<ContentRange>,
    /// When the first bytes came into the buffer; 0: none did.
    pub first_ns: u64,
    pub tag: Tag,
    pub location: String,
    /// An answer that S3 gives as XML.
    pub text: Vec<u8>,
    /// The buffer that the request took along.
    pub buffer: Option<IoBuffer>,
    /// Code and message of an error.
    pub said: Option<(String, String)>,
    /// Why there is no answer.
    pub broken: Option<String>,
    /// HTTP requests that the server was sent for it, where it was not one.
    pub requests: Option<u64>,
}

impl Outcome {
    /// An attempt without an answer.
    pub fn broken(what: impl Into<String>) -> Outcome {
        Outcome { broken: Some(what.into()), ..Outcome::default() }
    }

    /// An answer without content.
    pub fn done(status: u16) -> Outcome {
        Outcome { status, ..Outcome::default() }
    }
}

/// A buffer on loan to a library, which gives it back by dropping the bytes made of it.
struct Lent {
    buffer: Option<IoBuffer>,
    len: usize,
    home: Option<oneshot::Sender<IoBuffer>>,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        self.buffer.as_ref().map_or(&[], |buffer| &buffer.as_slice()[..self.len])
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let (Some(buffer), Some(home)) = (self.buffer.take(), self.home.take()) {
            // Nobody waits for it any more when the store is given up.
            let _ = home.send(buffer);
        }
    }
}

/// The bytes to send, and where the buffer comes back once nobody holds them.
pub(super) fn lend(cargo: Cargo) -> (Bytes, Option<oneshot::Receiver<IoBuffer>>) {
    let Some(buffer) = cargo.buffer else { return (cargo.body.into(), None) };
    let (home, back) = oneshot::channel();
    let lent = Lent { buffer: Some(buffer), len: cargo.len, home: Some(home) };
    (Bytes::from_owner(lent), Some(back))
}

/// Waits for a lent buffer, for at most `limit`.
pub(super) async fn comes_back(
    back: Option<oneshot::Receiver<IoBuffer>>,
    limit: Duration,
) -> Option<IoBuffer> {
    tokio::time::timeout(limit, back?).await.ok()?.ok()
}

/// The end of `what`, or a sentence after `limit`.
pub(super) async fn within<T>(
    limit: Duration,
    what: impl Future<Output = T>,
) -> Result<T, Outcome> {
    let late = |_| Outcome::broken(format!("nothing came for {} s", limit.as_secs_f64()));
    tokio::time::timeout(limit, what).await.map_err(late)
}

/// An error with its causes, in one line.
pub(super) fn sentence(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let words = cause.to_string();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        next = cause.source();
    }
    let plain = |letter: char| if letter.is_control() { ' ' } else { letter };
    text.chars().map(plain).take(SENTENCE_CHARS_MAX).collect()
}

/// Copies the next piece of a body behind what has come, and notes when the first one came.
///
/// # Errors
/// The body broke off, or has more bytes than were asked for.
pub(super) fn take_in<E: Error + 'static>(
    cargo: &mut Cargo,
    (received, first_ns): (&mut usize, &mut u64),
    piece: Result<Bytes, E>,
) -> Result<(), String> {
    let piece = piece.map_err(|error| {
        format!("the answer broke off after {received} bytes ({})", sentence(&error))
    })?;
    if *first_ns == 0 && !piece.is_empty() {
        *first_ns = monotonic_ns();
    }
    let end = *received + piece.len();
    let len = cargo.len;
    let room = cargo.buffer.as_mut().map(|buffer| &mut buffer.as_mut_slice()[..len]);
    match room.and_then(|room| room.get_mut(*received..end)) {
        Some(room) => room.copy_from_slice(&piece),
        None => return Err("the server sent more bytes than were asked for".into()),
    }
    *received = end;
    Ok(())
}

/// The client of one I/O thread.
pub(super) struct RemoteClient {
    // Dropped before the runtime, whose end drops what it still holds.
    attempts: JoinSet<(usize, Outcome)>,
    remote: Box<dyn Remote>,
    runtime: Runtime,
    servers: Servers,
    desk: Desk,
    /// Seconds for all attempts at a request.
    total_s: f64,
    ended: Vec<Result<(usize, Outcome), JoinError>>,
}

fn runtime() -> io::Result<Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

impl RemoteClient {
    /// With room for `slots` exchanges.
    ///
    /// # Errors
    /// One line: the system gives no epoll.
    pub fn new(
        remote: Box<dyn Remote>,
        servers: Servers,
        options: &ObjectOptions,
        slots: usize,
    ) -> Result<RemoteClient, String> {
        Ok(RemoteClient {
            attempts: JoinSet::new(),
            remote,
            runtime: runtime().map_err(|error| format!("no runtime: {error}"))?,
            servers,
            desk: Desk::new(slots, options.s3_max_attempts),
            total_s: options.total_timeout,
            ended: Vec::with_capacity(slots),
        })
    }

    /// Makes the next attempt at an exchange.
    fn start(&mut self, index: usize) {
        let exchange = &mut self.desk.exchanges[index];
        if !exchange.has_server() {
            exchange.endpoint = self.servers.choose(monotonic_ns());
        }
        exchange.begin_attempt(self.total_s);
        let Some(asked) = Asked::of(exchange) else {
            exchange.failure = Some("this client does not know this request".into());
            return self.desk.end(index);
        };
        let is_write = matches!(asked, Asked::Put { .. } | Asked::Part { .. });
        let body = if is_write { exchange.body.clone() } else { Vec::new() };
        let left = Duration::from_nanos(exchange.left_ns(exchange.attempt_ns));
        let cargo = Cargo { buffer: exchange.buffer.take(), len: exchange.len, body, left };
        let number = exchange.endpoint;
        let server = (number, self.servers.endpoint(number));
        match self.remote.attempt(server, asked, cargo) {
            Ok(attempt) => {
                self.servers.began(number);
                let task = async move { (index, attempt.await) };
                self.attempts.spawn_on(task, self.runtime.handle());
            }
            Err((what, cargo)) => {
                exchange.buffer = cargo.buffer;
                exchange.failure = Some(self.remote.hide(&what));
                self.desk.end(index);
            }
        }
    }

    /// Lets the runtime go on until an attempt has ended or `wait` is over.
    fn run(&mut self, wait: Duration) {
        let RemoteClient { runtime, attempts, ended, .. } = self;
        runtime.block_on(async {
            if wait.is_zero() {
                // Looks at the sockets once.
                tokio::task::yield_now().await;
            } else if attempts.is_empty() {
                tokio::time::sleep(wait).await;
            } else if let Ok(Some(first)) = tokio::time::timeout(wait, attempts.join_next()).await {
                ended.push(first);
            }
            while let Some(next) = attempts.try_join_next() {
                ended.push(next);
            }
        });
    }

    fn settle(&mut self, index: usize, outcome: Outcome) {
        let exchange = &mut self.desk.exchanges[index];
        match outcome.requests {
            Some(0) => return self.settle_unsent(index, outcome),
            Some(several) => self.servers.sent_besides(exchange.endpoint, several - 1),
            None => {}
        }
        let had_buffer = matches!(exchange.asker, Asker::Read(..) | Asker::Write(..));
        exchange.buffer = outcome.buffer;
        let lost = had_buffer && exchange.buffer.is_none();
        let answer = &mut exchange.answer;
        (answer.status, answer.received) = (outcome.status, outcome.received);
        (answer.content_length, answer.tag) = (outcome.content_length, outcome.tag);
        (answer.location, answer.text) = (outcome.location, outcome.text);
        (answer.content_range, exchange.first_ns) = (outcome.content_range, outcome.first_ns);
        let number = exchange.endpoint;
        let took_ns = monotonic_ns() - exchange.attempt_ns;
        if let Some(what) = exchange.unfit() {
            self.servers.answered(number, took_ns, Ok((0, 0)));
            let url = self.servers.endpoint(number).url();
            return self.failed(index, &format!("{what} (server {url})"), false);
        }
        let answer = &mut exchange.answer;
        if let Some(what) = outcome.broken {
            answer.status = 0;
            self.servers.broke(number, monotonic_ns());
            let url = self.servers.endpoint(number).url();
            return self.failed(index, &format!("{what} (server {url})"), !lost);
        }
        let names_another = !answer.location.is_empty();
        let status = answer.status;
        self.servers.answered(number, took_ns, exchange.moved());
        match judge(status, || outcome.said, names_another) {
            Judged::Fine if lost => self.failed(index, "the client kept the buffer", false),
            Judged::Fine => self.desk.end(index),
            Judged::Elsewhere => self.redirect(index),
            Judged::Error(what, again) => self.failed(index, &what, again && !lost),
        }
    }

    /// The end of what the server was not asked for.
    fn settle_unsent(&mut self, index: usize, outcome: Outcome) {
        let exchange = &mut self.desk.exchanges[index];
        let had_buffer = matches!(exchange.asker, Asker::Read(..) | Asker::Write(..));
        exchange.buffer = outcome.buffer;
        let lost = had_buffer && exchange.buffer.is_none();
        (exchange.answer.status, exchange.answer.text) = (outcome.status, outcome.text);
        self.servers.forgot(exchange.endpoint);
        match (outcome.broken, judge(outcome.status, || outcome.said, false)) {
            (Some(what), _) => self.failed(index, &what, !lost),
            (None, Judged::Error(what, _)) => self.failed(index, &what, false),
            _ => self.desk.end(index),
        }
    }

    fn redirect(&mut self, index: usize) {
        match self.desk.redirect(index, &mut self.servers) {
            Ok(()) => self.start(index),
            Err(what) => self.failed(index, what, false),
        }
    }

    fn failed(&mut self, index: usize, what: &str, again: bool) {
        self.desk.failed(index, what, again, |what| self.remote.hide(what));
    }
}

impl Carrier for RemoteClient {
    fn engine(&self) -> &'static str {
        self.remote.engine()
    }

    fn slot(&mut self, asker: Asker, verb: &'static str) -> Option<usize> {
        self.desk.slot(asker, verb)
    }

    fn exchange(&mut self, index: usize) -> &mut Exchange {
        &mut self.desk.exchanges[index]
    }

    fn release(&mut self, index: usize) {
        self.desk.release(index);
    }

    fn hide(&self, text: &str) -> String {
        self.remote.hide(text)
    }

    fn base(&self) -> &str {
        ""
    }

    fn begin(&mut self, index: usize) {
        let exchange = &mut self.desk.exchanges[index];
        if exchange.start_ns == 0 {
            exchange.start_ns = monotonic_ns();
        }
        self.start(index);
        // So that it is on its way while the caller does something else.
        self.run(Duration::ZERO);
    }

    fn give_up(&mut self) {
        self.desk.give_up();
        self.attempts = JoinSet::new();
        self.remote.renew(LAST_WORD_S);
        if let Ok(fresh) = runtime() {
            std::mem::replace(&mut self.runtime, fresh).shutdown_background();
        }
        self.ended.clear();
    }

    fn next_done(&mut self) -> Option<usize> {
        self.desk.next_done()
    }

    fn turn(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        let due = self.desk.next_due_ns().map(|due_ns| due_ns.saturating_sub(monotonic_ns()));
        let wait_ns = due.unwrap_or(LOOK_EVERY_NS).min(LOOK_EVERY_NS);
        let wait = Duration::from_nanos(wait_ns);
        // What has ended while a request was begun is not waited for.
        let wait = if self.ended.is_empty() { wait } else { Duration::ZERO };
        self.run(timeout.map_or(wait, |timeout| timeout.min(wait)));
        let mut ended = std::mem::take(&mut self.ended);
        for attempt in ended.drain(..) {
            let (index, outcome) = attempt.map_err(io::Error::other)?;
            self.settle(index, outcome);
        }
        self.ended = ended;
        let now_ns = monotonic_ns();
        while let Some(index) = self.desk.take_due(now_ns) {
            self.start(index);
        }
        Ok(())
    }

    fn endpoints(&self) -> Vec<EndpointFacts> {
        self.servers.facts()
    }

    fn retries(&self) -> u64 {
        self.desk.retries
    }
}
