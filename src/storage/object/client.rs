//! The client of one I/O thread: connections, what waits for one, what waits to be tried again,
//! and one epoll over all of them. Nothing here knows what an exchange is for.

use super::address::Endpoint;
use super::carrier::Carrier;
use super::connection::{Broken, Driven};
use super::connections::Connections;
use super::exchange::{Asker, Exchange};
use super::retry::{Desk, Judged, judge};
use super::servers::Servers;
use super::sign::{Signed, Signer};
use super::stream::{Stream, tls_config};
use super::xml;
use crate::config::ObjectOptions;
use crate::storage::EndpointFacts;
use crate::storage::clock::monotonic_ns;
use base64::Engine as _;
use md5::{Digest, Md5};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use rustls::ClientConfig;
use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A turn looks at deadlines at least this often.
pub(super) const LOOK_EVERY_NS: u64 = 250_000_000;
/// Patience of a client that only tidies up.
pub(super) const LAST_WORD_S: f64 = 2.0;

/// The client.
#[derive(Debug)]
pub(super) struct Client {
    /// In front of every path: `/bucket` with path style, else nothing.
    base: String,
    servers: Servers,
    signer: Signer,
    tls: Option<Arc<ClientConfig>>,
    options: ObjectOptions,
    epoll: Epoll,
    events: Vec<EpollEvent>,
    connections: Connections,
    desk: Desk,
    /// Exchanges that wait for a connection.
    queue: VecDeque<usize>,
    /// Which of a server's addresses is tried.
    address: usize,
    /// When deadlines are looked at again.
    next_look_ns: u64,
}

impl Client {
    /// With room for `slots` exchanges, so many of them on `connections` at a time.
    ///
    /// # Errors
    /// One line: TLS without certificates, no epoll.
    pub fn new(
        bucket: &str,
        servers: Servers,
        signer: Signer,
        options: ObjectOptions,
        (slots, connections): (usize, usize),
    ) -> Result<Client, String> {
        let home = servers.endpoint(0);
        let tls = if home.tls { Some(tls_config()?) } else { None };
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)
            .map_err(|error| format!("no epoll: {error}"))?;
        let mut base = Vec::new();
        if home.path_style {
            base.push(b'/');
            super::sign::encode(bucket, false, &mut base);
        }
        let desk = Desk::new(slots, options.s3_max_attempts);
        let connections = Connections::new(connections, servers.count());
        Ok(Client {
            base: String::from_utf8(base).expect("an encoded path is ASCII"),
            servers,
            signer,
            tls,
            options,
            epoll,
            events: vec![EpollEvent::empty(); connections.places().len().min(1024)],
            connections,
            desk,
            queue: VecDeque::with_capacity(slots),
            address: 0,
            next_look_ns: 0,
        })
    }

    /// Where the objects of this bucket lie for a copy: `/bucket`.
    pub fn copy_base(bucket: &str) -> Vec<u8> {
        let mut base = vec![b'/'];
        super::sign::encode(bucket, false, &mut base);
        base
    }
}

impl Carrier for Client {
    fn engine(&self) -> &'static str {
        "s3-raw"
    }

    fn slot(&mut self, asker: Asker, verb: &'static str) -> Option<usize> {
        let index = self.desk.slot(asker, verb)?;
        self.desk.exchanges[index].path.extend_from_slice(self.base.as_bytes());
        Some(index)
    }

    fn exchange(&mut self, index: usize) -> &mut Exchange {
        &mut self.desk.exchanges[index]
    }

    fn release(&mut self, index: usize) {
        self.desk.release(index);
    }

    fn hide(&self, text: &str) -> String {
        self.signer.hide(text)
    }

    fn base(&self) -> &str {
        &self.base
    }

    fn begin(&mut self, index: usize) {
        let exchange = &mut self.desk.exchanges[index];
        if exchange.start_ns == 0 {
            exchange.start_ns = monotonic_ns();
        }
        self.queue.push_back(index);
        self.pump();
    }

    fn give_up(&mut self) {
        (self.options.connect_timeout, self.options.timeout) = (LAST_WORD_S, LAST_WORD_S);
        self.queue.clear();
        self.desk.give_up();
        self.connections.close_all();
    }

    fn next_done(&mut self) -> Option<usize> {
        self.desk.next_done()
    }

    fn turn(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        let wait_ns = self.wait_ns(timeout);
        // Rounded up, so that a wait for a deadline does not spin before it.
        let wait_ms = wait_ns.div_ceil(1_000_000).min(60_000) as u16;
        let mut events = std::mem::take(&mut self.events);
        let waited = self.epoll.wait(&mut events, EpollTimeout::from(wait_ms));
        let count = match waited {
            Ok(count) => count,
            Err(nix::errno::Errno::EINTR) => 0,
            Err(error) => return Err(error.into()),
        };
        let closed = EpollFlags::EPOLLRDHUP | EpollFlags::EPOLLHUP | EpollFlags::EPOLLERR;
        for event in &events[..count] {
            let place = event.data() as usize;
            if self.connections.at(place).exchange.is_some() {
                self.drive(place);
            } else if event.events().intersects(closed) {
                self.connections.closed_by_server(place);
            }
        }
        self.events = events;
        self.look_at_the_clock();
        self.pump();
        Ok(())
    }

    fn endpoints(&self) -> Vec<EndpointFacts> {
        self.servers.facts()
    }

    fn retries(&self) -> u64 {
        self.desk.retries
    }
}

impl Client {
    fn wait_ns(&self, timeout: Option<Duration>) -> u64 {
        let asked =
            timeout.map_or(LOOK_EVERY_NS, |t| t.as_nanos().min(u128::from(u64::MAX)) as u64);
        let next = self.desk.next_due_ns();
        let next = next.map_or(LOOK_EVERY_NS, |due_ns| due_ns.saturating_sub(monotonic_ns()));
        asked.min(next).min(LOOK_EVERY_NS)
    }

    fn look_at_the_clock(&mut self) {
        let now_ns = monotonic_ns();
        while let Some(index) = self.desk.take_due(now_ns) {
            self.queue.push_back(index);
        }
        if now_ns < self.next_look_ns {
            return;
        }
        self.next_look_ns = now_ns + LOOK_EVERY_NS;
        for place in self.connections.places() {
            let connection = self.connections.at(place);
            if connection.exchange.is_some() && connection.deadline_ns < now_ns {
                let patience_s = (connection.patience_ns as f64 / 1e8).round() / 10.0;
                let what = match connection.is_connecting() {
                    true => format!("cannot connect within {patience_s} s"),
                    false => format!("nothing came for {patience_s} s"),
                };
                self.broke(place, Broken::Failed(what));
            }
        }
    }

    /// Gives connections to exchanges that wait for one.
    fn pump(&mut self) {
        while self.connections.has_room()
            && let Some(index) = self.queue.pop_front()
        {
            if !self.desk.exchanges[index].has_server() {
                self.desk.exchanges[index].endpoint = self.servers.choose(monotonic_ns());
            }
            let place = self.connections.take(self.desk.exchanges[index].endpoint);
            self.start(index, place);
        }
    }

    fn start(&mut self, index: usize, place: usize) {
        let exchange = &mut self.desk.exchanges[index];
        exchange.begin_attempt(self.options.total_timeout);
        self.servers.began(exchange.endpoint);
        let server = self.servers.endpoint(exchange.endpoint);
        let connection = self.connections.at(place);
        compose(exchange, server, &mut self.signer, &mut connection.head);
        if connection.stream.is_none()
            && let Err(error) = self.connect(index, place)
        {
            self.connections.at(place).begin(index);
            let url = self.servers.endpoint(self.desk.exchanges[index].endpoint).url();
            let what = format!("cannot connect to {url} ({error})");
            return self.broke(place, Broken::Failed(what));
        }
        self.connections.at(place).begin(index);
        self.drive(place);
    }

    /// Begins to connect to the server of an exchange.
    fn connect(&mut self, index: usize, place: usize) -> io::Result<()> {
        let number = self.desk.exchanges[index].endpoint;
        let server = self.servers.endpoint(number);
        let open = || Stream::open(server, self.tls.as_ref(), self.address);
        let mut opened = open();
        // Connections that nobody uses must not be the reason.
        while matches!(&opened, Err(error) if no_more_files(error))
            && self.connections.close_oldest()
        {
            opened = open();
        }
        let stream = opened?;
        let flags = EpollFlags::EPOLLIN
            | EpollFlags::EPOLLOUT
            | EpollFlags::EPOLLRDHUP
            | EpollFlags::EPOLLET;
        self.epoll.add(stream.fd(), EpollEvent::new(flags, place as u64))?;
        self.connections.at(place).connect(stream, number);
        Ok(())
    }

    fn drive(&mut self, place: usize) {
        let connection = self.connections.at(place);
        let Some(index) = connection.exchange else { return };
        let exchange = &mut self.desk.exchanges[index];
        let driven = connection.drive(exchange);
        let patience_s = match connection.is_connecting() {
            true => self.options.connect_timeout,
            false => self.options.timeout,
        };
        let now_ns = monotonic_ns();
        connection.patience_ns = ((patience_s * 1e9) as u64).min(exchange.left_ns(now_ns));
        connection.deadline_ns = now_ns + connection.patience_ns;
        match driven {
            Driven::Waits => {}
            Driven::Answered => self.answered(place, index),
            Driven::Broken(broken) => self.broke(place, broken),
        }
    }

    /// The answer is whole: a result, a redirect, or a reason to try again.
    fn answered(&mut self, place: usize, index: usize) {
        self.connections.finish(place, true);
        let exchange = &mut self.desk.exchanges[index];
        let answer = &exchange.answer;
        let took_ns = monotonic_ns() - exchange.attempt_ns;
        self.servers.answered(exchange.endpoint, took_ns, exchange.moved());
        let said = || xml::error_of(&answer.text);
        match judge(answer.status, said, !answer.location.is_empty()) {
            Judged::Fine => self.desk.end(index),
            Judged::Elsewhere if exchange.is_form => {
                self.failed(index, "redirected, and a token goes nowhere else", false);
            }
            Judged::Elsewhere => self.redirect(index),
            Judged::Error(what, again) => self.failed(index, &what, again),
        }
    }

    fn broke(&mut self, place: usize, broken: Broken) {
        let connection = self.connections.at(place);
        let Some(index) = connection.exchange else { return };
        if connection.is_connecting() {
            // A name may have several addresses, of which one is of no use.
            self.address += 1;
        }
        self.connections.finish(place, false);
        match broken {
            // No attempt of the server's: it only ended what had been idle. Nothing was refused, so
            // it is no retry.
            Broken::Stale => {
                self.desk.exchanges[index].attempts -= 1;
                self.servers.forgot(self.desk.exchanges[index].endpoint);
                self.queue.push_front(index);
            }
            Broken::Wrong(what) => {
                let exchange = &self.desk.exchanges[index];
                let took_ns = monotonic_ns() - exchange.attempt_ns;
                self.servers.answered(exchange.endpoint, took_ns, Ok((0, 0)));
                let url = self.servers.endpoint(exchange.endpoint).url();
                self.failed(index, &format!("{what} (server {url})"), false);
            }
            Broken::Failed(what) => {
                let server = self.desk.exchanges[index].endpoint;
                self.servers.broke(server, monotonic_ns());
                let url = self.servers.endpoint(server).url();
                self.desk.exchanges[index].answer.status = 0;
                self.failed(index, &format!("{what} (server {url})"), true);
            }
        }
    }

    fn redirect(&mut self, index: usize) {
        match self.desk.redirect(index, &mut self.servers) {
            Ok(()) => self.queue.push_back(index),
            Err(what) => self.failed(index, what, false),
        }
    }

    fn failed(&mut self, index: usize, what: &str, again: bool) {
        self.desk.failed(index, what, again, |what| self.signer.hide(what));
    }
}

/// The process or the host has as many files open as it may.
fn no_more_files(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE))
}

/// Writes the head of a request.
fn compose(exchange: &Exchange, server: &Endpoint, signer: &mut Signer, head: &mut Vec<u8>) {
    head.clear();
    for part in [exchange.verb.as_bytes(), b" ", &exchange.path] {
        head.extend_from_slice(part);
    }
    if !exchange.query.is_empty() {
        head.push(b'?');
        head.extend_from_slice(&exchange.query);
    }
    head.extend_from_slice(b" HTTP/1.1\r\nhost: ");
    head.extend_from_slice(server.authority.as_bytes());
    head.extend_from_slice(b"\r\n");
    let body_bytes = exchange.body().len();
    if matches!(exchange.verb, "PUT" | "POST") {
        write!(head, "content-length: {body_bytes}\r\n").expect("a Vec takes everything");
    }
    if let Some((first, count)) = exchange.range {
        let last = first + count - 1;
        write!(head, "range: bytes={first}-{last}\r\n").expect("a Vec takes everything");
    }
    if exchange.with_md5 {
        let sum = base64::engine::general_purpose::STANDARD.encode(Md5::digest(exchange.body()));
        write!(head, "content-md5: {sum}\r\n").expect("a Vec takes everything");
    }
    if exchange.is_form {
        return head.extend_from_slice(
            b"content-type: application/x-www-form-urlencoded\r\naccept: text/xml\r\n\r\n",
        );
    }
    if exchange.only_new {
        head.extend_from_slice(b"if-none-match: *\r\n");
    }
    let signed = Signed {
        verb: exchange.verb,
        path: &exchange.path,
        query: &exchange.query,
        host: &server.authority,
        copy_source: &exchange.copy_source,
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    signer.append(&signed, now.map_or(0, |since| since.as_secs()), head);
    head.extend_from_slice(b"\r\n");
}
