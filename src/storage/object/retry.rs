//! What an answer that is none leads to, the same for every client: the exchanges of one I/O
//! thread, and which of them are free, wait for another attempt, or have ended.

use super::address::Endpoint;
use super::exchange::{Asker, Exchange};
use super::servers::Servers;
use crate::storage::clock::monotonic_ns;
use std::collections::VecDeque;

const BACKOFF_FIRST_NS: u64 = 50_000_000;
const BACKOFF_LONGEST_NS: u64 = 5_000_000_000;
const REDIRECTS_MAX: u32 = 4;

/// What an answer leads to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Judged {
    /// It is what was asked for.
    Fine,
    /// It is an error; true: another attempt may do better.
    Error(String, bool),
    /// It names another server.
    Elsewhere,
}

/// Judges an answer by its status, code and message.
pub(super) fn judge(
    status: u16,
    said: impl FnOnce() -> Option<(String, String)>,
    names_another: bool,
) -> Judged {
    match status {
        // Completion and copy answer at once and may fail later.
        200 => match said() {
            None => Judged::Fine,
            Some((code, message)) => {
                let passing = ["InternalError", "SlowDown", "ServiceUnavailable"];
                let again = passing.contains(&code.as_str());
                Judged::Error(format!("{code}: {message}"), again)
            }
        },
        201..=299 => Judged::Fine,
        301 | 302 | 307 | 308 if names_another => Judged::Elsewhere,
        408 | 429 | 500 | 502 | 503 | 504 => Judged::Error(describe(status, said()), true),
        _ => {
            let said = said();
            let again = said.as_ref().is_some_and(|(code, _)| code == "RequestTimeout");
            Judged::Error(describe(status, said), again)
        }
    }
}

/// `HTTP 403 AccessDenied: Access Denied`.
fn describe(status: u16, said: Option<(String, String)>) -> String {
    match said {
        Some((code, message)) if message.is_empty() => format!("HTTP {status} {code}"),
        Some((code, message)) => format!("HTTP {status} {code}: {message}"),
        None => format!("HTTP {status}"),
    }
}

/// Times between attempts.
#[derive(Debug)]
pub(super) struct Backoff(u64);

impl Backoff {
    /// One that differs from those of other threads and ranks.
    pub fn new() -> Backoff {
        Backoff(monotonic_ns() | 1)
    }

    /// Time before the next attempt, ns. Exponential with full jitter, at least a tenth, so that
    /// ranks do not come back together.
    pub fn next_ns(&mut self, attempts: u32) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        let longest = (BACKOFF_FIRST_NS << attempts.min(10)).min(BACKOFF_LONGEST_NS);
        longest / 10 + self.0 % (longest - longest / 10)
    }
}

/// The exchanges of a client.
#[derive(Debug)]
pub(super) struct Desk {
    /// All of them, by slot.
    pub exchanges: Vec<Exchange>,
    free: Vec<usize>,
    /// Those that wait for their next attempt, and when that is.
    waiting: Vec<(u64, usize)>,
    done: VecDeque<usize>,
    attempts_max: u64,
    /// Attempts beyond the first.
    pub retries: u64,
    backoff: Backoff,
}

impl Desk {
    /// With `slots` exchanges, each with at most so many attempts.
    pub fn new(slots: usize, attempts_max: u64) -> Desk {
        Desk {
            exchanges: std::iter::repeat_with(Exchange::new).take(slots).collect(),
            free: (0..slots).rev().collect(),
            waiting: Vec::with_capacity(slots),
            done: VecDeque::with_capacity(slots),
            attempts_max,
            retries: 0,
            backoff: Backoff::new(),
        }
    }

    /// A free slot, made a request of `verb`; None while all are taken.
    pub fn slot(&mut self, asker: Asker, verb: &'static str) -> Option<usize> {
        let index = self.free.pop()?;
        self.exchanges[index].reset(asker, verb);
        Some(index)
    }

    /// Gives a slot back.
    pub fn release(&mut self, index: usize) {
        self.free.push(index);
    }

    /// An exchange that has ended.
    pub fn next_done(&mut self) -> Option<usize> {
        self.done.pop_front()
    }

    /// The exchange has its result.
    pub fn end(&mut self, index: usize) {
        self.exchanges[index].end_ns = monotonic_ns();
        self.done.push_back(index);
    }

    /// An attempt has failed: the exchange waits for the next one, or has ended with `what`, which
    /// is `hide`d then. `again`: another attempt may do better, if there is time for it.
    pub fn failed(
        &mut self,
        index: usize,
        what: &str,
        again: bool,
        hide: impl FnOnce(&str) -> String,
    ) {
        let exchange = &mut self.exchanges[index];
        let attempts = exchange.attempts;
        let mut late = "";
        if again && u64::from(attempts) < self.attempts_max {
            let due_ns = monotonic_ns() + self.backoff.next_ns(attempts);
            if due_ns < exchange.until_ns {
                self.retries += 1;
                exchange.redirected = false;
                self.waiting.push((due_ns, index));
                return;
            }
            late = ", and total_timeout is over";
        }
        let tries = match attempts {
            0 | 1 if late.is_empty() => String::new(),
            1 => format!(" (1 attempt{late})"),
            _ => format!(" ({attempts} attempts{late})"),
        };
        exchange.failure = Some(format!("{}{tries}", hide(what)));
        self.end(index);
    }

    /// Sends an exchange to the server that its answer names.
    ///
    /// # Errors
    /// Why it cannot go there.
    pub fn redirect(&mut self, index: usize, servers: &mut Servers) -> Result<(), &'static str> {
        let exchange = &mut self.exchanges[index];
        let location = std::mem::take(&mut exchange.answer.location);
        let server = server_of(&location, servers.endpoint(0));
        exchange.redirects += 1;
        if exchange.redirects > REDIRECTS_MAX {
            return Err("redirected in a circle");
        }
        let number = server.ok().and_then(|server| servers.learn(server));
        let number = number.ok_or("redirected to what is no endpoint")?;
        (exchange.endpoint, exchange.redirected) = (number, true);
        Ok(())
    }

    /// When the next attempt is due.
    pub fn next_due_ns(&self) -> Option<u64> {
        self.waiting.iter().map(|(due_ns, _)| *due_ns).min()
    }

    /// An exchange whose next attempt is due.
    pub fn take_due(&mut self, now_ns: u64) -> Option<usize> {
        let place = self.waiting.iter().position(|(due_ns, _)| *due_ns <= now_ns)?;
        Some(self.waiting.swap_remove(place).1)
    }

    /// Drops everything that is on its way; what comes now has one attempt.
    pub fn give_up(&mut self) {
        self.attempts_max = 1;
        self.waiting.clear();
        self.done.clear();
        self.free = (0..self.exchanges.len()).collect();
    }
}

/// The server that a `Location` names.
fn server_of(location: &str, home: &Endpoint) -> Result<Endpoint, String> {
    let (scheme, rest) = location.split_once("://").ok_or("a relative location")?;
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    let server = Endpoint::parse(&format!("{scheme}://{authority}"), home.path_style)?;
    // What was to be encrypted stays so, and the other way round there is no TLS set up.
    if server.tls == home.tls { Ok(server) } else { Err("another scheme".into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_names_a_server_of_the_same_kind() {
        let home = Endpoint::parse("http://a:9000", true).unwrap();
        let server = server_of("http://b:9001/bench/x?y", &home).unwrap();
        assert_eq!((server.host.as_str(), server.port), ("b", 9001));
        assert!(server_of("https://b/x", &home).is_err());
        assert!(server_of("/bench/x", &home).is_err());
    }

    #[test]
    fn answers_are_fine_errors_or_elsewhere() {
        let said = |code: &str| Some((code.to_string(), "why".to_string()));
        assert_eq!(judge(206, || None, false), Judged::Fine);
        assert_eq!(judge(307, || None, true), Judged::Elsewhere);
        let error = |status, code: &str| match judge(status, || said(code), false) {
            Judged::Error(what, again) => (what, again),
            other => panic!("{other:?}"),
        };
        assert_eq!(error(200, "InternalError"), ("InternalError: why".into(), true));
        assert!(!error(200, "AccessDenied").1);
        assert_eq!(error(503, "SlowDown"), ("HTTP 503 SlowDown: why".into(), true));
        assert_eq!(error(403, "AccessDenied"), ("HTTP 403 AccessDenied: why".into(), false));
        assert!(error(400, "RequestTimeout").1);
    }

    #[test]
    fn waits_grow_and_stay_within_their_bounds() {
        let mut backoff = Backoff::new();
        for attempts in 1..40 {
            let wait_ns = backoff.next_ns(attempts);
            let longest = (BACKOFF_FIRST_NS << attempts.min(10)).min(BACKOFF_LONGEST_NS);
            assert!(wait_ns >= longest / 10 && wait_ns <= longest, "{wait_ns}");
        }
    }
}
