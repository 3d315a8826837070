//! The ranks of a run; only this file and those below `world/` name MPI.
//!
//! Everything else sees ranks, barriers and reductions. Without the `mpi` feature, and in unit
//! tests, the world is one rank. MPI stays on the main thread (funneled). Every wait that can last
//! polls a non-blocking collective with short sleeps: a rank that spins takes the CPU away from its
//! own I/O threads, and its CPU seconds would then be lies.

mod first;
mod interrupt;
mod launcher;
#[cfg(feature = "mpi")]
mod mpi_link;
#[cfg(feature = "mpi")]
mod mpi_post;
#[cfg(feature = "mpi")]
mod roll_call;
#[cfg(feature = "mpi")]
mod rows;
mod same;
mod watchdog;

pub use interrupt::interrupted;
pub use launcher::launcher_rank;
pub use watchdog::{Doing, IoWait, Milestone, STALL_TIMEOUT_S};
pub use watchdog::{count_io, look, set_milestone, set_stall_timeout};

use interrupt::install_signal_handlers;
use launcher::{Started, variable};
use std::io::IsTerminal;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Parts that [`Circle::tell`] can have on their way at once.
pub const TOLD_AT_ONCE: usize = 4;

/// Exit status of a failed run.
pub const EXIT_FAILED: i32 = 1;
/// Exit status of a job that was started in a wrong way.
pub const EXIT_USAGE: i32 = 2;
/// Exit status of an interrupted run.
pub const EXIT_INTERRUPTED: i32 = 130;

/// What is done before a job is ended early.
static BEFORE_ABORT: Mutex<Option<Box<dyn FnOnce() + Send>>> = Mutex::new(None);
/// It may hang (a file system that does not answer): the job ends all the same.
const BEFORE_ABORT_LIMIT: Duration = Duration::from_secs(1);

/// Has `act` done on this rank before a failure of this rank ends the job; replaces what was asked
/// for before.
pub fn before_abort(act: impl FnOnce() + Send + 'static) {
    *BEFORE_ABORT.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(act));
}

fn act_before_abort() {
    let Ok(mut act) = BEFORE_ABORT.try_lock() else { return };
    let Some(act) = act.take() else { return };
    let (done, waits) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        act();
        // Nobody waits any more where it took too long.
        let _ = done.send(());
    });
    let _ = waits.recv_timeout(BEFORE_ABORT_LIMIT);
}

/// All ranks of the run and this one's place among them.
pub struct World {
    link: Link,
    rank: u64,
    size: u64,
    host: String,
    host_index: u64,
    hosts: u64,
    rank_on_host: u64,
    ranks_on_host: u64,
}

/// Why this process joins no world.
#[derive(Debug)]
pub struct NoWorld {
    /// What is wrong and what to do.
    pub message: String,
    /// Exit status.
    pub exit_code: i32,
    /// True on the process that has to say so; the others should let it speak first.
    pub speaks: bool,
}

impl NoWorld {
    fn failed(message: String) -> NoWorld {
        NoWorld { message, exit_code: EXIT_FAILED, speaks: true }
    }
}

/// Ends the job with a message, see [`World::fail`]. Only the main thread may do so.
#[derive(Debug, Clone)]
pub struct LastWords {
    label: String,
    solo: bool,
}

impl LastWords {
    /// Says what went wrong on this rank and ends the whole job at once.
    pub fn fail(&self, message: &str) -> ! {
        let _first = (!self.solo).then(first::be_first);
        say(&format!("rankio: error: {}{message}", self.label));
        abort_all(EXIT_FAILED, self.solo)
    }
}

/// Ranks of the world that hear what the first of them says.
pub struct Circle {
    /// None: this rank is alone.
    #[cfg(feature = "mpi")]
    link: Option<mpi_link::CircleLink>,
}

impl Circle {
    /// Sends `parts`, none empty and at most [`TOLD_AT_ONCE`], from the first rank to all others,
    /// whose parts have the same lengths; `look` is called again and again meanwhile. Collective
    /// over the circle.
    pub fn tell<'a>(&self, parts: impl Iterator<Item = &'a mut [u8]>, look: &dyn Fn()) {
        #[cfg(feature = "mpi")]
        if let Some(link) = &self.link {
            return link.tell(parts, look);
        }
        let _ = (parts, look);
    }
}

enum Link {
    Solo,
    #[cfg(feature = "mpi")]
    Mpi(mpi_link::MpiLink),
}

#[cfg_attr(not(feature = "mpi"), allow(unused_variables))]
impl World {
    /// Joins the world: starts MPI if this build has it, installs the panic hook and the signal
    /// handlers.
    ///
    /// # Errors
    /// MPI does not start, or the launcher started more processes than MPI knows of.
    pub fn start() -> Result<World, NoWorld> {
        let started = Started::of(&variable, std::io::stdin().is_terminal());
        let world = World::join().map_err(NoWorld::failed)?;
        match started.stray(world.size, &world.library()) {
            Some(stray) => {
                Err(NoWorld { message: stray.message, exit_code: EXIT_USAGE, speaks: stray.speaks })
            }
            None => Ok(world),
        }
    }

    fn join() -> Result<World, String> {
        install_signal_handlers()?;
        let host = nix::unistd::gethostname()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_else(|_| "unknown".into());
        #[cfg(feature = "mpi")]
        let world = mpi_link::start(host)?;
        #[cfg(not(feature = "mpi"))]
        let world = World::solo(host);
        world.install_panic_hook();
        Ok(world)
    }

    /// A world of one rank.
    pub fn solo(host: String) -> World {
        World {
            link: Link::Solo,
            rank: 0,
            size: 1,
            host,
            host_index: 0,
            hosts: 1,
            rank_on_host: 0,
            ranks_on_host: 1,
        }
    }

    /// This rank.
    pub fn rank(&self) -> u64 {
        self.rank
    }

    /// Ranks in all.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// True on rank 0, which speaks for all.
    pub fn is_root(&self) -> bool {
        self.rank == 0
    }

    /// Name of this host.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Number of hosts.
    pub fn hosts(&self) -> u64 {
        self.hosts
    }

    /// This host's number, in order of its lowest rank.
    pub fn host_index(&self) -> u64 {
        self.host_index
    }

    /// This rank's place on its host; 0 speaks for the host.
    pub fn rank_on_host(&self) -> u64 {
        self.rank_on_host
    }

    /// Ranks on this host.
    pub fn ranks_on_host(&self) -> u64 {
        self.ranks_on_host
    }

    /// The MPI library, or `none`.
    pub fn library(&self) -> String {
        match &self.link {
            Link::Solo => "none".into(),
            #[cfg(feature = "mpi")]
            Link::Mpi(_) => mpi_link::library(),
        }
    }

    /// Waits for all ranks; polls, so that a long wait costs no CPU.
    pub fn barrier(&self) {
        match &self.link {
            Link::Solo => {}
            #[cfg(feature = "mpi")]
            Link::Mpi(link) => link.barrier(),
        }
    }

    /// The barrier of a training step, and with it the largest `flag` of all ranks (for "stop after
    /// this step").
    pub fn step_barrier(&self, flag: u64) -> u64 {
        if self.size == 1 {
            return flag;
        }
        match &self.link {
            Link::Solo => flag,
            #[cfg(feature = "mpi")]
            Link::Mpi(link) => link.max_polled(flag),
        }
    }

    /// Adds `words` of all ranks element by element; every rank gets the sums.
    pub fn sum(&self, words: &mut [u64]) {
        match &self.link {
            Link::Solo => {}
            #[cfg(feature = "mpi")]
            Link::Mpi(link) => link.all_reduce(words, mpi_link::sum()),
        }
    }

    /// Largest of each word over all ranks.
    pub fn max(&self, words: &mut [u64]) {
        match &self.link {
            Link::Solo => {}
            #[cfg(feature = "mpi")]
            Link::Mpi(link) => link.all_reduce(words, mpi_link::max()),
        }
    }

    /// Smallest of each word over all ranks.
    pub fn min(&self, words: &mut [u64]) {
        match &self.link {
            Link::Solo => {}
            #[cfg(feature = "mpi")]
            Link::Mpi(link) => link.all_reduce(words, mpi_link::min()),
        }
    }

    /// Adds numbers of all ranks; every rank gets the sums.
    pub fn sum_f64(&self, values: &mut [f64]) {
        match &self.link {
            Link::Solo => {}
            #[cfg(feature = "mpi")]
            Link::Mpi(link) => link.all_reduce(values, mpi_link::sum()),
        }
    }

    /// Collects a byte string of each rank; only rank 0 gets them, in rank order. For what is small
    /// on each rank, see [`World::gather_each`].
    pub fn gather(&self, bytes: &[u8]) -> Option<Vec<Vec<u8>>> {
        let mut rows = Vec::new();
        self.gather_each(bytes, &mut |_, row| rows.push(row.to_vec()));
        self.is_root().then_some(rows)
    }

    /// Has rank 0 `take` a byte string of each rank, in rank order. They come in pieces of bounded
    /// size, so rank 0 needs no memory for all of them.
    pub fn gather_each(&self, bytes: &[u8], take: &mut dyn FnMut(u64, &[u8])) {
        match &self.link {
            Link::Solo => take(0, bytes),
            #[cfg(feature = "mpi")]
            Link::Mpi(link) => link.gather_each(bytes, take),
        }
    }

    /// Rank 0's bytes, on every rank.
    pub fn broadcast(&self, bytes: Vec<u8>) -> Vec<u8> {
        match &self.link {
            Link::Solo => bytes,
            #[cfg(feature = "mpi")]
            Link::Mpi(link) => link.broadcast(bytes),
        }
    }

    /// All ranks that give the same `color` (below 2^31), in the order of the world. Collective.
    pub fn circle(&self, color: u64) -> Circle {
        match &self.link {
            #[cfg(feature = "mpi")]
            Link::Mpi(link) => Circle { link: Some(link.circle(color)) },
            _ => {
                let _ = color;
                Circle {
                    #[cfg(feature = "mpi")]
                    link: None,
                }
            }
        }
    }

    /// Either every rank is well and keeps its value, or every rank gets the message of the lowest
    /// rank that is not. Collective. The second part of the error is true on the one rank that has
    /// to speak.
    pub fn agree<T>(&self, outcome: Result<T, String>) -> Result<T, (String, bool)> {
        let mut lowest = [if outcome.is_err() { self.rank } else { u64::MAX }];
        self.min(&mut lowest);
        match outcome {
            Ok(value) if lowest[0] == u64::MAX => Ok(value),
            Ok(_) => Err((String::new(), false)),
            Err(message) => Err((message, lowest[0] == self.rank)),
        }
    }

    /// `rank 3 (node7)`, for messages; empty in a world of one.
    pub fn label(&self) -> String {
        if self.size == 1 { String::new() } else { format!("rank {} ({}): ", self.rank, self.host) }
    }

    /// Says what went wrong on this rank and ends the whole job at once, whatever the others are
    /// doing.
    pub fn fail(&self, message: &str) -> ! {
        self.last_words().fail(message)
    }

    /// What is needed to do so from a place that has no world.
    pub fn last_words(&self) -> LastWords {
        LastWords { label: self.label(), solo: matches!(self.link, Link::Solo) }
    }

    /// Ends all ranks with this status.
    pub fn abort(&self, code: i32) -> ! {
        abort_all(code, matches!(self.link, Link::Solo))
    }

    fn install_panic_hook(&self) {
        let label = self.label();
        let solo = matches!(self.link, Link::Solo);
        let spoken = AtomicBool::new(false);
        std::panic::set_hook(Box::new(move |info| {
            while spoken.swap(true, Ordering::SeqCst) {
                // Another thread panicked first and is ending this process; one line is enough.
                std::thread::sleep(Duration::from_secs(1));
            }
            // One line, as all errors: the place, then what was said there.
            let place = info.location().map(|place| format!(" at {place}")).unwrap_or_default();
            let payload = info.payload();
            let text = payload.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| payload.downcast_ref::<&str>().copied());
            let what = text.unwrap_or("no message").replace('\n', " ");
            say(&format!("rankio: error: {label}internal error{place}, please report: {what}"));
            if std::env::var_os("RUST_BACKTRACE").is_some_and(|v| v == "full") {
                say(&format!("{}", std::backtrace::Backtrace::force_capture()));
            }
            abort_all(EXIT_FAILED, solo)
        }));
    }
}

/// The last words of a rank; a standard error that is closed must not keep it from ending the job.
pub fn say(words: &str) {
    use std::io::Write;
    // One write, so that the launcher does not mix the lines of several ranks.
    let _ = std::io::stderr().write_all(format!("{words}\n").as_bytes());
}

fn abort_all(code: i32, solo: bool) -> ! {
    use std::io::Write;
    let _ = std::io::stdout().flush();
    let _ = std::io::stderr().flush();
    act_before_abort();
    #[cfg(feature = "mpi")]
    if !solo {
        mpi_link::abort(code);
    }
    let _ = solo;
    std::process::exit(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_world_of_one_agrees_with_itself() {
        let world = World::solo("here".into());
        assert_eq!(world.agree(Ok(7)), Ok(7));
        assert_eq!(world.agree::<()>(Err("no".into())), Err(("no".into(), true)));
        assert_eq!(world.step_barrier(3), 3);
        assert_eq!(world.gather(b"x"), Some(vec![b"x".to_vec()]));
        assert_eq!(world.label(), "");
    }
}
