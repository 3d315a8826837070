//! A look at every endpoint of a store before it is used: one that is silent from the start would
//! only make the others slower, and nobody would notice.

use super::address::{self, Endpoint};
use super::exchange::Asker;
use super::servers::Servers;
use super::{Service, carrier, sign};
use crate::config::{Balance, ObjectOptions};
use std::time::{Duration, Instant};

/// A name that nobody has: what is asked for is an answer, whichever.
const NAME: &str = ".rankio-look";
/// Longest wait for an endpoint, all attempts together.
const LONGEST_S: f64 = 15.0;
const ATTEMPTS: u64 = 3;
/// Connections of one rank at a time.
const TOGETHER: usize = 128;

/// What the endpoints of a store are like.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Look {
    /// How many there are.
    pub endpoints: usize,
    /// Those that do not answer, of those that this rank asked, and why not.
    pub silent: Vec<(String, String)>,
    /// Those that no rank has as its own.
    pub unused: Vec<String>,
}

/// Asks the endpoints of `root` that are this rank's share for something harmless, all at the same
/// time; none where there is only one, which tells by itself that it does not answer.
///
/// # Errors
/// One line: a root or options that are none, keys that are missing.
pub fn look_at_endpoints(
    root: &str,
    options: &ObjectOptions,
    (rank, ranks): (u64, u64),
) -> Result<Look, String> {
    let Some((service, rest)) = Service::of(root) else { return Ok(Look::default()) };
    service.is_built()?;
    let place = address::Place::parse(service, rest)?;
    let all = address::endpoints(options, &place)?;
    let by_rank = address::balance(options)? == Balance::ByRank;
    let mut look = Look { endpoints: all.len(), ..Look::default() };
    if all.len() == 1 {
        return Ok(look);
    }
    if by_rank {
        let unused = all.iter().skip(usize::try_from(ranks).unwrap_or(usize::MAX));
        look.unused = unused.map(Endpoint::url).collect();
    }
    let own = all.into_iter().zip(0u64..).filter(|(_, number)| number % ranks == rank);
    let own: Vec<Endpoint> = own.map(|(endpoint, _)| endpoint).collect();
    if !own.is_empty() {
        look.silent = silent(&place, options, own)?;
    }
    Ok(look)
}

/// Those of `endpoints` that do not answer, and why not.
fn silent(
    place: &address::Place,
    options: &ObjectOptions,
    endpoints: Vec<Endpoint>,
) -> Result<Vec<(String, String)>, String> {
    let options = ObjectOptions {
        s3_max_attempts: options.s3_max_attempts.min(ATTEMPTS),
        total_timeout: options.total_timeout.min(LONGEST_S),
        ..options.clone()
    };
    let urls: Vec<String> = endpoints.iter().map(Endpoint::url).collect();
    let count = urls.len();
    let servers = Servers::new(endpoints, Balance::ByRank, 0);
    let mut client = carrier(&options, place, servers, (count, count.min(TOGETHER)))?;
    let mut numbers = vec![0; count];
    for number in 0..count {
        let index = client.slot(Asker::Caller, "HEAD").expect("there is a slot for each endpoint");
        let exchange = client.exchange(index);
        exchange.path.push(b'/');
        sign::encode(&place.prefix, true, &mut exchange.path);
        sign::encode(NAME, true, &mut exchange.path);
        (exchange.endpoint, exchange.pinned) = (number, true);
        numbers[index] = number;
        client.begin(index);
    }
    let mut whys: Vec<Option<String>> = vec![None; count];
    let mut answered = 0;
    // As many rounds as there are connections for, and a second for the system.
    let rounds = count.div_ceil(TOGETHER) as f64;
    let end = Instant::now() + Duration::from_secs_f64(rounds * (options.total_timeout + 1.0));
    while answered < count && Instant::now() < end {
        client.turn(Some(Duration::from_millis(100))).map_err(|error| error.to_string())?;
        while let Some(index) = client.next_done() {
            answered += 1;
            let number = numbers[index];
            let exchange = client.exchange(index);
            let failure = exchange.failure.take();
            let is_silent = matches!(exchange.answer.status, 0 | 500..);
            let why = failure.filter(|_| is_silent).unwrap_or_default();
            // Whoever reads this is told the server in front of it.
            whys[number] = Some(why.replace(&format!(" (server {})", urls[number]), ""));
        }
    }
    let late = || format!("no answer came within {} s", options.total_timeout);
    let whys = whys.into_iter().map(|why| why.unwrap_or_else(late));
    Ok(urls.into_iter().zip(whys).filter(|(_, why)| !why.is_empty()).collect())
}
