//! GETs and PUTs of one process against one S3 server, on one machine-readable line, and a server
//! that does next to nothing. `benches/object_pairs.py` runs it in turn with other clients.
//!
//! * `raw` and `sdk` are rankio's clients, through its storage trait, on `--threads` I/O threads.
//! * `sockets` is what such a client can reach at best: a blocking socket and a thread for each
//!   request in flight, requests made beforehand, bodies read straight into one buffer.
//! * `hyper` is hyper's client on as many threads, each body copied into one buffer.
//!
//! The last two take URLs that are signed already, one a line, in `--urls`.

mod bare;
mod null_server;
mod ours;

use clap::{Parser, Subcommand, ValueEnum};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

#[derive(Parser)]
struct Options {
    #[command(subcommand)]
    command: Command,
    /// Passed by `cargo bench`.
    #[arg(long, hide = true, global = true)]
    bench: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Answers every GET with the same bytes, takes every PUT, keeps nothing, checks nothing.
    Null(null_server::Options),
    /// Moves objects for a while.
    Load(Load),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Client {
    Raw,
    Sdk,
    Sockets,
    Hyper,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Verb {
    Get,
    Put,
}

/// A load.
#[derive(clap::Args, Clone)]
struct Load {
    #[arg(long)]
    client: Client,
    #[arg(long)]
    verb: Verb,
    /// `http://HOST:PORT` or `https://HOST:PORT`.
    #[arg(long)]
    endpoint: String,
    #[arg(long, default_value = "bench")]
    bucket: String,
    /// Bytes of an object.
    #[arg(long)]
    size: usize,
    /// Objects, `o0`, `o1` and so on.
    #[arg(long, default_value_t = 64)]
    objects: usize,
    /// Requests in flight, over all threads.
    #[arg(long)]
    depth: usize,
    /// Threads of `raw`, `sdk` and `hyper`.
    #[arg(long, default_value_t = 2)]
    threads: usize,
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Signed URLs of the objects.
    #[arg(long)]
    urls: Option<PathBuf>,
}

impl Load {
    /// What one thread of it does.
    fn part(&self) -> Load {
        assert!(self.depth.is_multiple_of(self.threads), "--depth is no multiple of --threads");
        Load { depth: self.depth / self.threads, ..self.clone() }
    }
}

/// What a load has done; its clock starts after a warm-up.
struct Tally {
    requests: AtomicU64,
    running: AtomicBool,
}

/// Seconds before the clock starts.
const WARM_UP_S: f64 = 0.5;

impl Tally {
    fn new() -> Tally {
        Tally { requests: AtomicU64::new(0), running: AtomicBool::new(true) }
    }

    fn count(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    fn runs(&self) -> bool {
        self.running.load(Ordering::Relaxed)
    }

    /// Sleeps through warm-up and window on a thread of its own, prints, and ends the load.
    fn watch(&self, load: &Load) {
        std::thread::sleep(Duration::from_secs_f64(WARM_UP_S));
        let look = || (self.requests.load(Ordering::Relaxed), cpu_us(), Instant::now());
        let (requests, cpu, start) = look();
        std::thread::sleep(Duration::from_secs_f64(load.seconds));
        let (requests_then, cpu_then, end) = look();
        self.running.store(false, Ordering::Relaxed);
        let requests = requests_then - requests;
        println!(
            "{{\"client\":\"{:?}\",\"requests\":{requests},\"bytes\":{},\"seconds\":{:.4},\
             \"cpu_s\":{:.4}}}",
            load.client,
            requests * load.size as u64,
            (end - start).as_secs_f64(),
            (cpu_then - cpu) as f64 / 1e6,
        );
    }
}

fn cpu_us() -> i64 {
    let usage = getrusage(UsageWho::RUSAGE_SELF).expect("getrusage of this process");
    usage.user_time().num_microseconds() + usage.system_time().num_microseconds()
}

fn main() {
    match Options::parse().command {
        Command::Null(options) => null_server::serve(&options),
        Command::Load(load) => {
            let tally = Tally::new();
            std::thread::scope(|scope| {
                scope.spawn(|| tally.watch(&load));
                let run = match load.client {
                    Client::Raw | Client::Sdk => ours::run,
                    Client::Sockets => return bare::sockets(&load, &tally),
                    Client::Hyper => bare::hyper,
                };
                let (part, tally) = (load.part(), &tally);
                for _ in 0..load.threads {
                    let part = part.clone();
                    scope.spawn(move || run(&part, tally));
                }
            });
        }
    }
}
