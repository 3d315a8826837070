//! The ranks as MPI sees them: with `mpi_post.rs` the only file that calls it.

use super::watchdog::{self, Host, Milestone, Wait};
use super::{Link, TOLD_AT_ONCE, World};
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
    let text = mpi::environment::library_version().unwrap_or_default();
    text.split(',').next().unwrap_or_default().trim().to_string()
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

    pub fn max_polled(&self, values: [u64; 2]) -> [u64; 2] {
        let mut results = [0u64; 2];
        mpi::request::scope(|scope| {
            let request = self.world.immediate_all_reduce_into(
                scope,
                &values[..],
                &mut results[..],
                SystemOperation::max(),
            );
            finish(request, Duration::from_micros(50), Wait::meeting());
        });
        results
    }

    pub fn all_reduce<T: Equivalence + Clone>(&self, values: &mut [T], operation: SystemOperation) {
        let own = values.to_vec();
        mpi::request::scope(|scope| {
            let request = self.world.immediate_all_reduce_into(scope, &own[..], values, operation);
            finish(request, LAST_PAUSE, Wait::meeting());
        });
    }

    pub fn gather(&self, bytes: &[u8]) -> Option<Vec<Vec<u8>>> {
        self.barrier();
        let root = self.world.process_at_rank(0);
        // An empty slice points at address 1, which Open MPI takes for MPI_IN_PLACE: never send
        // one.
        let mut row = Vec::with_capacity(bytes.len() + 1);
        row.extend_from_slice(bytes);
        row.push(0);
        let bytes = &row[..];
        let length = bytes.len() as i32;
        if self.world.rank() != 0 {
            root.gather_into(&length);
            root.gather_varcount_into(bytes);
            return None;
        }
        let mut lengths = vec![0i32; self.world.size() as usize];
        root.gather_into_root(&length, &mut lengths[..]);
        let starts: Vec<i32> = lengths
            .iter()
            .scan(0i32, |end, length| {
                let start = *end;
                *end = end.checked_add(*length).expect("gathered rows stay below 2 GiB");
                Some(start)
            })
            .collect();
        let total = lengths.iter().map(|length| *length as usize).sum();
        let mut all = vec![0u8; total];
        {
            let mut partition = PartitionMut::new(&mut all[..], &lengths[..], &starts[..]);
            root.gather_varcount_into_root(bytes, &mut partition);
        }
        let part = |(start, length): (&i32, &i32)| {
            all[*start as usize..(*start + *length - 1) as usize].to_vec()
        };
        Some(starts.iter().zip(&lengths).map(part).collect())
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
        let rows = self.gather(own.as_bytes());
        let first = self.broadcast(own.as_bytes().to_vec());
        let mut hosts: Vec<Host> = Vec::new();
        for (rank, name) in (0..).zip(rows.unwrap_or_else(|| vec![first])) {
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
