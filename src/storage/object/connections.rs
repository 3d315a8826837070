//! The connections of a client: a pool for each server, so that one that is used again is one to
//! the right server, and one bound on all of them together.

use super::connection::Connection;

/// Connections by place.
#[derive(Debug)]
pub(super) struct Connections {
    all: Vec<Connection>,
    /// Open ones without an exchange, by number of the server; the one used last is at the end.
    idle: Vec<Vec<usize>>,
    closed: Vec<usize>,
    busy: usize,
    busy_max: usize,
    /// Counts the exchanges that ended: how long ago a connection was used.
    clock: u64,
}

impl Connections {
    /// For `busy_max` exchanges at a time with so many servers. More connections than that may
    /// be open, because the next exchange is often for another server; how many more has a limit.
    pub fn new(busy_max: usize, servers: usize) -> Connections {
        let count = 4 * busy_max + 2 * servers;
        let room = || Vec::with_capacity(busy_max);
        Connections {
            all: std::iter::repeat_with(Connection::new).take(count).collect(),
            idle: std::iter::repeat_with(room).take(servers).collect(),
            closed: (0..count).rev().collect(),
            busy: 0,
            busy_max,
            clock: 0,
        }
    }

    /// Another exchange may begin.
    pub fn has_room(&self) -> bool {
        self.busy < self.busy_max
    }

    /// The connection at a place.
    pub fn at(&mut self, place: usize) -> &mut Connection {
        &mut self.all[place]
    }

    /// Every place.
    pub fn places(&self) -> std::ops::Range<usize> {
        0..self.all.len()
    }

    /// A connection for an exchange with `server`: an open one to it, else a closed one, else the
    /// one to another server that was not used for the longest time, which is closed.
    pub fn take(&mut self, server: usize) -> usize {
        debug_assert!(self.has_room());
        self.busy += 1;
        let kept = self.idle.get_mut(server).and_then(Vec::pop);
        if let Some(place) = kept.or_else(|| self.closed.pop()) {
            return place;
        }
        self.close_oldest();
        self.closed.pop().expect("there are more connections than exchanges")
    }

    /// Closes the connection without an exchange that was not used for the longest time; false:
    /// there is none.
    pub fn close_oldest(&mut self) -> bool {
        let oldest_of = self.idle.iter().enumerate();
        let oldest = oldest_of
            .filter_map(|(server, places)| Some((self.all[*places.first()?].used_at, server)))
            .min();
        let Some((_, server)) = oldest else { return false };
        let place = self.idle[server].remove(0);
        self.all[place].stream = None;
        self.closed.push(place);
        true
    }

    /// The exchange on a connection has ended; `reusable`: it need not be closed.
    pub fn finish(&mut self, place: usize, reusable: bool) {
        self.busy -= 1;
        self.clock += 1;
        let connection = &mut self.all[place];
        connection.finish(reusable);
        connection.used_at = self.clock;
        if connection.stream.is_none() {
            return self.closed.push(place);
        }
        let server = connection.endpoint;
        if self.idle.len() <= server {
            self.idle.resize_with(server + 1, Vec::new);
        }
        self.idle[server].push(place);
    }

    /// The server has closed a connection that has no exchange.
    pub fn closed_by_server(&mut self, place: usize) {
        let connection = &mut self.all[place];
        if connection.stream.take().is_some() {
            self.idle[connection.endpoint].retain(|idle| *idle != place);
            self.closed.push(place);
        }
    }

    /// Closes all of them.
    pub fn close_all(&mut self) {
        self.idle.iter_mut().for_each(Vec::clear);
        for connection in &mut self.all {
            connection.finish(false);
        }
        self.closed.clear();
        self.closed.extend(0..self.all.len());
        self.busy = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::super::address::Endpoint;
    use super::super::stream::Stream;
    use super::*;

    /// A stream to a listener of this process.
    fn stream(listener: &std::net::TcpListener) -> Stream {
        let url = format!("http://{}", listener.local_addr().unwrap());
        Stream::open(&Endpoint::parse(&url, true).unwrap(), None, 0).unwrap()
    }

    fn open(all: &mut Connections, listener: &std::net::TcpListener, server: usize) -> usize {
        let place = all.take(server);
        if all.at(place).stream.is_none() {
            all.at(place).connect(stream(listener), server);
        }
        place
    }

    #[test]
    fn each_server_has_connections_of_its_own_and_all_have_one_bound() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut all = Connections::new(2, 3);
        // One after the other: each server gets its own back.
        let mut first = Vec::new();
        for server in [0, 1, 2, 0, 1, 2, 2, 1, 0] {
            let place = open(&mut all, &listener, server);
            all.finish(place, true);
            first.push((server, place));
        }
        for (server, place) in &first[3..] {
            assert!(first[..3].contains(&(*server, *place)), "{first:?}");
        }
        // Many servers, of which nobody knew: the oldest make room, and no place is lost.
        let bound = all.places().len();
        for server in 3..40 {
            let place = open(&mut all, &listener, server);
            all.finish(place, true);
        }
        let open_now = |all: &Connections| {
            all.all.iter().filter(|connection| connection.stream.is_some()).count()
        };
        assert_eq!(open_now(&all), bound);
        let place = all.take(39);
        assert!(all.at(place).stream.is_some(), "the newest was kept");
        all.finish(place, false);
        all.closed_by_server(*all.idle[38].last().unwrap());
        assert_eq!((open_now(&all), all.closed.len()), (bound - 2, 2));
        let two = [all.take(0), all.take(0)];
        assert!(!all.has_room() && two[0] != two[1]);
        all.close_all();
        assert!(all.has_room() && open_now(&all) == 0 && all.closed.len() == bound);
    }
}
