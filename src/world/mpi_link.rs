//! The ranks as MPI sees them: the only file that calls it.

use super::{Link, TOLD_AT_ONCE, World};
use mpi::collective::SystemOperation;
use mpi::datatype::PartitionMut;
use mpi::environment::Universe;
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
    let link = Link::Mpi(MpiLink { world, _universe: universe });
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
            let mut polls = 0;
            for place in &mut pending {
                while let Some(Err(request)) = place.take().map(|request| request.test()) {
                    *place = Some(request);
                    look();
                    poll_pause(polls, Duration::from_millis(1));
                    polls = polls.saturating_add(1);
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
        let mut request = self.world.immediate_barrier();
        let mut polls = 0;
        while let Err(pending) = request.test() {
            request = pending;
            poll_pause(polls, Duration::from_millis(1));
            polls = polls.saturating_add(1);
        }
    }

    pub fn max_polled(&self, values: [u64; 2]) -> [u64; 2] {
        let mut results = [0u64; 2];
        mpi::request::scope(|scope| {
            let mut request = self.world.immediate_all_reduce_into(
                scope,
                &values[..],
                &mut results[..],
                SystemOperation::max(),
            );
            let mut polls = 0;
            while let Err(pending) = request.test() {
                request = pending;
                poll_pause(polls, Duration::from_micros(50));
                polls = polls.saturating_add(1);
            }
        });
        results
    }

    pub fn all_reduce<T: Equivalence + Clone>(&self, values: &mut [T], operation: SystemOperation) {
        // The polled barrier takes the waiting, so that the blocking collective is short.
        self.barrier();
        let own = values.to_vec();
        self.world.all_reduce_into(&own[..], values, operation);
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
        let root = self.world.process_at_rank(0);
        let mut length = bytes.len() as u64;
        root.broadcast_into(&mut length);
        bytes.resize(length as usize, 0);
        if length == 0 {
            return bytes;
        }
        root.broadcast_into(&mut bytes[..]);
        bytes
    }
}
