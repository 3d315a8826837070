//! The ranks as MPI sees them: with `mpi_post.rs` the only file that calls it.

use super::watchdog::{self, Host, Milestone, Wait};
use super::{Link, TOLD_AT_ONCE, World, rows};
use mpi::collective::SystemOperation;
use mpi::datatype::PartitionMut;
use mpi::environment::Universe;
use mpi::request::{Request, Scope};
use mpi::topology::SimpleCommunicator;
use mpi::traits::*;
use std::time::Duration;

/// Sleep between two looks at a collective: short at first, so that a step barrier stays cheap,
/// then up to `last`. A step barrier counts in AU, so its last sleep must be short however late the
/// others are.
fn poll_pause(polls: u32, last: Duration) {
    match polls {
        0..=200 => std::hint::spin_loop(),
        201..=300 => std::thread::sleep(Duration::from_micros(10)),
        301..=2000 => std::thread::sleep(Duration::from_micros(50)),
        _ => std::thread::sleep(last),
    }
}

/// Polls this often before the watchdog looks: about 100 ms.
const POLLS_UNWATCHED: u32 = 2000;

/// Waits for a collective, with sleeps of at most `last` between two looks.
fn finish<'a, D: ?Sized, S: Scope<'a>>(
    mut request: Request<'a, D, S>,
    last: Duration,
    mut wait: Wait,
) {
    let mut polls = 0u32;
    while let Err(pending) = request.test() {
        request = pending;
        poll_pause(polls, last);
        polls = polls.saturating_add(1);
        if polls > POLLS_UNWATCHED {
            wait.look();
        }
    }
}

const LAST_PAUSE: Duration = Duration::from_millis(1);

pub struct MpiLink {
    // Dropped last: MPI_Finalize.
    world: SimpleCommunicator,
    _universe: Universe,
}

pub fn sum() -> SystemOperation {
    SystemOperation::sum()
}

pub fn max() -> SystemOperation {
    SystemOperation::max()
}

pub fn min() -> SystemOperation {
    SystemOperation::min()
}

pub fn library() -> String {
    library_name(&mpi::environment::library_version().unwrap_or_default())
}

/// Name and version from what the library says of itself: the first line as far as a comma, and
/// `MPICH 4.2.0` for `MPICH Version: 4.2.0`.
fn library_name(text: &str) -> String {
    let line = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    let line = line.split(',').next().unwrap_or_default();
    let (name, version) = line.split_once(':').unwrap_or((line, ""));
    let name = name.trim().trim_end_matches("Version").trim();
    // Cray: `MPI VERSION : CRAY MPICH version 8.1`.
    let name = if name.eq_ignore_ascii_case("MPI VERSION") { "" } else { name };
    [name, version].join(" ").split_whitespace().collect::<Vec<_>>().join(" ")
}

pub fn abort(code: i32) {
    // SAFETY: MPI is initialized for as long as a world with an MPI link exists, and the call
    // does not return.
    unsafe {
        mpi::ffi::MPI_Abort(mpi::ffi::RSMPI_COMM_WORLD, code);
    }
}

pub fn start(host: String) -> Result<World, String> {
    let (universe, level) = mpi::initialize_with_threading(mpi::Threading::Funneled)
        .ok_or("MPI is already initialized")?;
    if level < mpi::Threading::Funneled {
        return Err(format!(
            "the MPI library grants thread level {level:?} only; rankio needs \
             MPI_THREAD_FUNNELED"
        ));
    }
    let world = universe.world();
    let (rank, size) = (world.rank() as u64, world.size() as u64);
    let node = world.split_shared(world.rank());
    let (rank_on_host, ranks_on_host) = (node.rank() as u64, node.size() as u64);
    let leader = u64::from(rank_on_host == 0);
    let mut hosts = 0u64;
    world.all_reduce_into(&leader, &mut hosts, SystemOperation::sum());
    let mut host_index = 0u64;
    world.exclusive_scan_into(&leader, &mut host_index, SystemOperation::sum());
    if rank == 0 {
        host_index = 0;
    }
    node.process_at_rank(0).broadcast_into(&mut host_index);
    let link = MpiLink { world, _universe: universe };
    if size > 1 {
        let label = format!("rank {rank} ({host}): ");
        watchdog::start(label, [rank, size, host_index, rank_on_host], link.hosts(&host));
    }
    let link = Link::Mpi(link);
    Ok(World { link, rank, size, host, host_index, hosts, rank_on_host, ranks_on_host })
}

pub struct CircleLink(SimpleCommunicator);

impl CircleLink {
    pub fn tell<'a>(&self, mut parts: impl Iterator<Item = &'a mut [u8]>, look: &dyn Fn()) {
        let first = self.0.process_at_rank(0);
        mpi::request::scope(|scope| {
            let mut pending = [const { None }; TOLD_AT_ONCE];
            for (place, part) in pending.iter_mut().zip(&mut parts) {
                *place = Some(first.immediate_broadcast_into(scope, part));
            }
            assert!(parts.next().is_none(), "more parts than can be on their way");
            let (mut polls, mut wait) = (0u32, Wait::circle());
            for place in &mut pending {
                while let Some(Err(request)) = place.take().map(|request| request.test()) {
                    *place = Some(request);
                    look();
                    poll_pause(polls, LAST_PAUSE);
                    polls = polls.saturating_add(1);
                    if polls > POLLS_UNWATCHED {
                        wait.look();
                    }
                }
            }
        });
    }
}

impl MpiLink {
    pub fn circle(&self, color: u64) -> CircleLink {
        self.barrier();
        let color = mpi::topology::Color::with_value(color as i32);
        let ranks = self.world.split_by_color(color);
        CircleLink(ranks.expect("a rank with a color is in a circle"))
    }

    pub fn barrier(&self) {
        finish(self.world.immediate_barrier(), LAST_PAUSE, Wait::meeting());
    }

    pub fn max_polled(&self, value: u64) -> u64 {
        let mut result = 0u64;
        mpi::request::scope(|scope| {
            let request = self.world.immediate_all_reduce_into(
                scope,
                &value,
                &mut result,
                SystemOperation::max(),
            );
            finish(request, Duration::from_micros(50), Wait::meeting());
        });
        result
    }

    pub fn all_reduce<T: Equivalence + Clone>(&self, values: &mut [T], operation: SystemOperation) {
        let own = values.to_vec();
        mpi::request::scope(|scope| {
            let request = self.world.immediate_all_reduce_into(scope, &own[..], values, operation);
            finish(request, LAST_PAUSE, Wait::meeting());
        });
    }

    /// Rank 0 takes the row of each rank, in rank order.
    pub fn gather_each(&self, bytes: &[u8], take: &mut dyn FnMut(u64, &[u8])) {
        self.barrier();
        let root = self.world.process_at_rank(0);
        let length = bytes.len() as u64;
        assert!(length <= i32::MAX as u64, "a row of {length} bytes; 2 GiB are the most");
        // An empty slice points at address 1, which Open MPI takes for MPI_IN_PLACE: never send
        // one. A part without bytes of a vector that has room does not.
        let mut row = Vec::with_capacity(bytes.len() + 1);
        row.extend_from_slice(bytes);
        if self.world.rank() != 0 {
            root.gather_into(&length);
            let own = self.world.rank() as u64;
            let mut next = [0u64; 2];
            while next[1] < self.world.size() as u64 {
                // Rank 0 may be long at the rows before: this wait is polled.
                self.barrier();
                root.broadcast_into(&mut next[..]);
                let comes = (next[0]..next[1]).contains(&own);
                root.gather_varcount_into(if comes { &row[..] } else { &row[..0] });
            }
            return;
        }
        let mut lengths = vec![0u64; self.world.size() as usize];
        root.gather_into_root(&length, &mut lengths[..]);
        let mut end = 0;
        while end < lengths.len() {
            let ranks = rows::together(&lengths, end, rows::AT_ONCE_BYTES);
            end = ranks.end;
            self.barrier();
            root.broadcast_into(&mut [ranks.start as u64, ranks.end as u64][..]);
            self.take_rows(&row, &lengths, ranks, take);
        }
    }

    /// Rank 0's part for the rows of `ranks`.
    fn take_rows(
        &self,
        own: &[u8],
        lengths: &[u64],
        ranks: std::ops::Range<usize>,
        take: &mut dyn FnMut(u64, &[u8]),
    ) {
        let comes = |rank: usize| if ranks.contains(&rank) { lengths[rank] as i32 } else { 0 };
        let counts: Vec<i32> = (0..lengths.len()).map(comes).collect();
        let starts: Vec<i32> = counts
            .iter()
            .scan(0i32, |end, count| Some(std::mem::replace(end, *end + count)))
            .collect();
        let total: usize = lengths[ranks.clone()].iter().map(|length| *length as usize).sum();
        // Not empty, see above.
        let mut all = vec![0u8; total + 1];
        let mut partition = PartitionMut::new(&mut all[..], &counts[..], &starts[..]);
        let own = if ranks.contains(&0) { own } else { &own[..0] };
        let root = self.world.process_at_rank(0);
        root.gather_varcount_into_root(own, &mut partition);
        for rank in ranks {
            let start = starts[rank] as usize;
            take(rank as u64, &all[start..start + counts[rank] as usize]);
        }
    }

    pub fn broadcast(&self, mut bytes: Vec<u8>) -> Vec<u8> {
        self.barrier();
        let mut length = bytes.len() as u64;
        self.broadcast_polled(std::slice::from_mut(&mut length));
        bytes.resize(length as usize, 0);
        if length > 0 {
            self.broadcast_polled(&mut bytes[..]);
        }
        bytes
    }

    fn broadcast_polled<T: Equivalence>(&self, values: &mut [T]) {
        mpi::request::scope(|scope| {
            let root = self.world.process_at_rank(0);
            let request = root.immediate_broadcast_into(scope, values);
            finish(request, LAST_PAUSE, Wait::meeting());
        });
    }

    /// The hosts of all ranks, on rank 0; elsewhere that of rank 0.
    fn hosts(&self, own: &str) -> Vec<Host> {
        let mut names = Vec::new();
        self.gather_each(own.as_bytes(), &mut |_, name| names.push(name.to_vec()));
        let first = self.broadcast(own.as_bytes().to_vec());
        if names.is_empty() {
            names.push(first);
        }
        let mut hosts: Vec<Host> = Vec::new();
        for (rank, name) in (0..).zip(names) {
            let name = String::from_utf8_lossy(&name);
            if hosts.last().is_none_or(|last| *last.name != *name) {
                let known =
                    hosts.iter().rev().take(HOSTS_COMPARED).find(|host| *host.name == *name);
                let name = known.map_or_else(|| (&*name).into(), |host| host.name.clone());
                hosts.push(Host { first: rank, name });
            }
        }
        hosts
    }
}

/// Names that are looked at for one that is already kept.
const HOSTS_COMPARED: usize = 64;

impl Drop for MpiLink {
    fn drop(&mut self) {
        watchdog::set_milestone(Milestone::Part("the end of the run"));
        // After it nobody asks any more.
        self.barrier();
        watchdog::close(&|numbers| self.all_reduce(numbers, SystemOperation::sum()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bug: every record of the environment held the 20 lines that MPICH tells of itself.
    #[test]
    fn a_library_is_named_in_one_line() {
        for (text, name) in [
            ("Open MPI v4.1.6, package: Debian OpenMPI, ident: 4.1.6", "Open MPI v4.1.6"),
            (
                "MPICH Version:      4.0.2\nMPICH Release date: Thu Apr  7\nMPICH ABI: 14:2:2\n",
                "MPICH 4.0.2",
            ),
            ("MVAPICH2 Version      :\t2.3.7\nMVAPICH2 Release\n", "MVAPICH2 2.3.7"),
            (
                "Intel(R) MPI Library 2021.10 for Linux* OS\n\0",
                "Intel(R) MPI Library 2021.10 for Linux* OS",
            ),
            (
                "MPI VERSION    : CRAY MPICH version 8.1.25.17 (ANL base 3.4a2)\nMPI BUILD INFO",
                "CRAY MPICH version 8.1.25.17 (ANL base 3.4a2)",
            ),
            ("", ""),
        ] {
            assert_eq!(library_name(text), name);
        }
    }
}
