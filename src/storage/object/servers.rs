//! The servers of a store: which one takes the next request, which are set aside, what each did.
//!
//! All of them are taken for doors of one store, so any of them may answer for any object. One that
//! breaks connections is set aside for a while that doubles; then one request tries it again. What
//! it would have been sent meanwhile goes to all the others in turn.

use super::address::Endpoint;
use crate::config::Balance;
use crate::storage::EndpointFacts;
use std::sync::atomic::{AtomicU64, Ordering};

const PAUSE_FIRST_NS: u64 = 1_000_000_000;
const PAUSE_LONGEST_NS: u64 = 30_000_000_000;
/// Servers that redirects may name, beside the configured ones.
const LEARNED_MAX: usize = 64;

#[derive(Debug)]
struct Server {
    endpoint: Endpoint,
    outstanding: u32,
    /// Not chosen before; monotonic.
    aside_until_ns: u64,
    /// How long it is set aside; 0: it works.
    pause_ns: u64,
    facts: EndpointFacts,
}

/// The list: configured servers first, then those that redirects named.
#[derive(Debug)]
pub(super) struct Servers {
    all: Vec<Server>,
    configured: usize,
    balance: Balance,
    home: usize,
    turns: Turns,
    /// Whose turn it is to stand in for a server that is set aside.
    stand_in: usize,
}

/// Rounds in which every server has one turn, in an order that is drawn anew for each. A fixed
/// order would keep time with requests that come in a pattern: where a large read and a small one
/// follow each other, one of two servers would send all the large ones.
#[derive(Debug)]
struct Turns {
    round: Vec<usize>,
    next: usize,
    draw: u64,
}

impl Turns {
    fn new(servers: usize, rank: u32) -> Turns {
        // Threads of a rank must not ask the same server at the same time.
        static THREADS: AtomicU64 = AtomicU64::new(0);
        let thread = THREADS.fetch_add(1, Ordering::Relaxed);
        let seed = (u64::from(rank) << 32 | thread).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        Turns { round: (0..servers).collect(), next: servers, draw: seed | 1 }
    }

    fn below(&mut self, limit: usize) -> usize {
        self.draw ^= self.draw << 13;
        self.draw ^= self.draw >> 7;
        self.draw ^= self.draw << 17;
        ((self.draw >> 11) % limit as u64) as usize
    }

    fn take(&mut self) -> usize {
        if self.next == self.round.len() {
            for place in (1..self.round.len()).rev() {
                let other = self.below(place + 1);
                self.round.swap(place, other);
            }
            self.next = 0;
        }
        self.next += 1;
        self.round[self.next - 1]
    }
}

impl Servers {
    /// `endpoints` must not be empty. `rank` has its home at `rank % endpoints`.
    pub fn new(endpoints: Vec<Endpoint>, balance: Balance, rank: u32) -> Servers {
        let configured = endpoints.len();
        let home = rank as usize % configured;
        let all = endpoints.into_iter().map(Server::new).collect();
        let turns = Turns::new(configured, rank);
        // Ranks that have the same home go to different servers when it is set aside.
        let stand_in = rank as usize / configured;
        Servers { all, configured, balance, home, turns, stand_in }
    }

    /// How many there are by configuration.
    pub fn count(&self) -> usize {
        self.configured
    }

    /// The server with a number.
    pub fn endpoint(&self, number: usize) -> &Endpoint {
        &self.all[number].endpoint
    }

    /// The server of the next request. Where all are set aside it is the one whose time is next.
    pub fn choose(&mut self, now_ns: u64) -> usize {
        let count = self.configured;
        if count == 1 {
            return 0;
        }
        let mut first = match self.balance {
            Balance::ByRank => self.home,
            Balance::RoundRobin | Balance::LeastOutstanding => self.turns.take(),
        };
        if self.all[first].aside_until_ns > now_ns {
            first = self.next_stand_in(now_ns);
        }
        let chosen = match self.balance {
            Balance::LeastOutstanding => {
                let in_order = (0..count).map(|step| (first + step) % count);
                let works = |number: &usize| self.all[*number].aside_until_ns <= now_ns;
                let least = in_order.filter(works).min_by_key(|n| self.all[*n].outstanding);
                least.unwrap_or(first)
            }
            _ => first,
        };
        let server = &mut self.all[chosen];
        // One request tries it; the others wait for what becomes of that.
        server.aside_until_ns = if server.pause_ns > 0 { now_ns + server.pause_ns } else { 0 };
        chosen
    }

    /// The next of those that work; where none does, the one whose time is next.
    fn next_stand_in(&mut self, now_ns: u64) -> usize {
        let configured = || self.all[..self.configured].iter().enumerate();
        let mut working = configured().filter(|(_, server)| server.aside_until_ns <= now_ns);
        let count = working.clone().count();
        if count == 0 {
            let soonest = configured().min_by_key(|(_, server)| server.aside_until_ns);
            return soonest.map_or(0, |(number, _)| number);
        }
        let number = working.nth(self.stand_in % count).map_or(0, |(number, _)| number);
        self.stand_in = self.stand_in.wrapping_add(1);
        number
    }

    /// A server that a redirect named; None if there are too many.
    pub fn learn(&mut self, endpoint: Endpoint) -> Option<usize> {
        let known = self.all.iter().position(|server| server.endpoint == endpoint);
        if known.is_none() && self.all.len() < self.configured + LEARNED_MAX {
            self.all.push(Server::new(endpoint));
            return Some(self.all.len() - 1);
        }
        known
    }

    /// A request goes to it.
    pub fn began(&mut self, number: usize) {
        self.all[number].outstanding += 1;
    }

    /// It answered after `took_ns`, with bytes of an object or for one, or with an error.
    pub fn answered(&mut self, number: usize, took_ns: u64, moved: Result<(u64, u64), ()>) {
        let server = &mut self.all[number];
        server.outstanding -= 1;
        (server.pause_ns, server.aside_until_ns) = (0, 0);
        let facts = &mut server.facts;
        facts.operations += 1;
        facts.busy_ns += took_ns;
        match moved {
            Ok((read, written)) => {
                facts.bytes_read += read;
                facts.bytes_written += written;
            }
            Err(()) => facts.errors += 1,
        }
    }

    /// Nothing is known of the server: a connection that had been idle was closed, or there was no
    /// need of a request.
    pub fn forgot(&mut self, number: usize) {
        self.all[number].outstanding -= 1;
    }

    /// More requests went to it for the same answer.
    #[cfg(feature = "remote")]
    pub fn sent_besides(&mut self, number: usize, requests: u64) {
        self.all[number].facts.operations += requests;
    }

    /// It did not answer.
    pub fn broke(&mut self, number: usize, now_ns: u64) {
        let server = &mut self.all[number];
        server.outstanding -= 1;
        server.facts.operations += 1;
        server.facts.errors += 1;
        if server.aside_until_ns <= now_ns || server.pause_ns == 0 {
            server.facts.set_aside += 1;
        }
        let longer = (2 * server.pause_ns).clamp(PAUSE_FIRST_NS, PAUSE_LONGEST_NS);
        // Requests that were on their way together break together, and count once.
        if server.outstanding == 0 || server.pause_ns == 0 {
            server.pause_ns = longer;
        }
        server.aside_until_ns = now_ns + server.pause_ns;
    }

    /// What each did.
    pub fn facts(&self) -> Vec<EndpointFacts> {
        self.all.iter().map(|server| server.facts.clone()).collect()
    }
}

impl Server {
    fn new(endpoint: Endpoint) -> Server {
        let facts = EndpointFacts { url: endpoint.url(), ..EndpointFacts::default() };
        Server { endpoint, outstanding: 0, aside_until_ns: 0, pause_ns: 0, facts }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn servers(count: usize, balance: Balance, rank: u32) -> Servers {
        let endpoint = |n| Endpoint::parse(&format!("http://s{n}:9000"), true).unwrap();
        Servers::new((0..count).map(endpoint).collect(), balance, rank)
    }

    #[test]
    fn ranks_have_their_homes_and_requests_take_turns() {
        for rank in 0..7 {
            let mut all = servers(3, Balance::ByRank, rank);
            assert!((0..9).all(|_| all.choose(0) == rank as usize % 3));
        }
        let mut all = servers(3, Balance::RoundRobin, 1);
        for _ in 0..20 {
            let mut round: Vec<usize> = (0..3).map(|_| all.choose(0)).collect();
            round.sort_unstable();
            assert_eq!(round, [0, 1, 2]);
        }
    }

    #[test]
    fn objects_of_a_large_and_a_small_read_do_not_put_all_bytes_on_one_of_two_servers() {
        for balance in [Balance::RoundRobin, Balance::LeastOutstanding] {
            let mut all = servers(2, balance, 0);
            for _ in 0..2000 {
                for bytes in [1 << 20, 100] {
                    let chosen = all.choose(0);
                    all.began(chosen);
                    all.answered(chosen, 1, Ok((bytes, 0)));
                }
            }
            let bytes: Vec<u64> = all.facts().iter().map(|facts| facts.bytes_read).collect();
            let share = bytes[0] as f64 / (bytes[0] + bytes[1]) as f64;
            // Twenty standard deviations.
            assert!((0.3..0.7).contains(&share), "{balance:?}: {bytes:?}");
        }
    }

    #[test]
    fn the_share_of_a_dead_server_goes_to_all_that_live_and_not_to_one() {
        for balance in [Balance::ByRank, Balance::RoundRobin, Balance::LeastOutstanding] {
            // Four ranks that have the same home, of five servers.
            let mut chosen = [0u32; 5];
            for rank in [2, 7, 12, 17] {
                let mut all = servers(5, balance, rank);
                all.began(2);
                all.broke(2, 0);
                for _ in 0..300 {
                    chosen[all.choose(1)] += 1;
                }
            }
            assert_eq!(chosen[2], 0, "{balance:?}: {chosen:?}");
            for number in [0, 1, 3, 4] {
                assert!((270..=330).contains(&chosen[number]), "{balance:?}: {chosen:?}");
            }
        }
        // Their first requests go to different ones.
        let first = [0, 5, 10, 15].map(|rank| {
            let mut all = servers(5, Balance::ByRank, rank);
            all.began(0);
            all.broke(0, 0);
            all.choose(1)
        });
        assert_eq!(first, [1, 2, 3, 4]);
    }

    #[test]
    fn the_one_with_the_fewest_requests_is_next() {
        let mut all = servers(3, Balance::LeastOutstanding, 0);
        for _ in 0..30 {
            let chosen = all.choose(0);
            all.began(chosen);
        }
        assert!(all.all.iter().all(|server| server.outstanding == 10));
        all.answered(2, 5, Ok((1, 0)));
        assert_eq!(all.choose(0), 2);
    }

    #[test]
    fn a_broken_server_is_set_aside_tried_by_one_and_comes_back() {
        let mut all = servers(2, Balance::ByRank, 0);
        for _ in 0..3 {
            all.began(0);
        }
        for _ in 0..3 {
            all.broke(0, 100);
        }
        assert_eq!(all.facts()[0].set_aside, 1, "they broke together");
        assert_eq!(all.choose(SECOND), 1);
        let later = 100 + 2 * SECOND;
        assert_eq!((all.choose(later), all.choose(later)), (0, 1), "one tries it");
        all.began(0);
        all.broke(0, later + 1);
        assert_eq!(all.choose(later + 2 * SECOND), 1, "for longer now");
        let latest = later + 5 * SECOND;
        assert_eq!(all.choose(latest), 0);
        all.began(0);
        all.answered(0, 7, Ok((10, 0)));
        assert_eq!((all.choose(latest), all.choose(latest)), (0, 0));
        let facts = &all.facts()[0];
        assert_eq!((facts.operations, facts.errors, facts.bytes_read), (5, 4, 10));
        // Where none works something is tried nevertheless.
        for number in [0, 1] {
            all.began(number);
            all.broke(number, latest);
        }
        assert!(all.choose(latest) < 2);
    }

    #[test]
    fn redirects_name_servers_that_nobody_chooses() {
        let mut all = servers(2, Balance::RoundRobin, 0);
        let other = Endpoint::parse("http://other:1", true).unwrap();
        assert_eq!(all.learn(other.clone()), Some(2));
        assert_eq!(all.learn(other), Some(2));
        assert!((0..10).all(|_| all.choose(0) < 2));
    }
}
