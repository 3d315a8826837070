//! Bytes of a host, for the two ways in which launchers place ranks.

use super::CheckpointPlan;
use serde::Serialize;
use std::ops::Range;

/// How ranks are placed on hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placement {
    /// Neighbouring ranks share a host, as Slurm and `--map-by slot` do; the first hosts have one
    /// rank more where they do not divide.
    Block,
    /// Rank r stands on host r mod hosts, as `--map-by node` does.
    RoundRobin,
}

/// The least and most that a host writes for a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct HostBytes {
    /// Of the host with least.
    pub min_bytes: u64,
    /// Of the host with most.
    pub max_bytes: u64,
    /// Of all hosts on average.
    pub mean_bytes: f64,
    /// Most over mean, rounded to a thousandth: the time that imbalance costs where hosts are the
    /// limit.
    pub max_to_mean: f64,
}

impl CheckpointPlan {
    /// The range of what `hosts` hosts (at least 1) write. Looks at a few hosts for each class of
    /// ranks, not at each host.
    pub fn host_bytes(&self, placement: Placement, hosts: u64) -> HostBytes {
        let hosts = hosts.clamp(1, self.grid.ranks);
        let table = Prefix::new(self);
        let mut candidates = self.telling_hosts(placement, hosts);
        candidates.retain(|&host| host < hosts);
        candidates.sort_unstable();
        candidates.dedup();
        let bytes = candidates.iter().map(|&host| match placement {
            Placement::Block => table.of(block(self.grid.ranks, hosts, host)),
            Placement::RoundRobin => table.of_every(hosts, host),
        });
        let (min_bytes, max_bytes) =
            bytes.fold((u64::MAX, 0), |(least, most), bytes| (bytes.min(least), bytes.max(most)));
        let mean_bytes = self.total_bytes() as f64 / hosts as f64;
        let max_to_mean = (max_bytes as f64 / mean_bytes * 1000.0).round() / 1000.0;
        HostBytes { min_bytes, max_bytes, mean_bytes, max_to_mean }
    }

    /// Hosts among which are one with least and one with most: bytes change from host to host only
    /// where a class of ranks begins or ends, or where hosts begin to have one rank less.
    fn telling_hosts(&self, placement: Placement, hosts: u64) -> Vec<u64> {
        let ranks = self.grid.ranks;
        let around = |host: u64| [host.saturating_sub(1), host, host + 1];
        let borders = self.classes().into_iter().flat_map(|class| {
            let (first, end) = (class.first_rank, class.last_rank + 1);
            match placement {
                Placement::Block => [first, class.last_rank].map(|r| host_of(ranks, hosts, r)),
                Placement::RoundRobin => [first % hosts, end % hosts],
            }
        });
        let ends = [0, ranks % hosts, hosts - 1];
        borders.chain(ends).flat_map(around).collect()
    }
}

/// Ranks of `host` in blocks.
fn block(ranks: u64, hosts: u64, host: u64) -> Range<u64> {
    let (each, rest) = (ranks / hosts, ranks % hosts);
    let start = host * each + host.min(rest);
    start..start + each + u64::from(host < rest)
}

/// The host of `rank` in blocks.
pub(super) fn host_of(ranks: u64, hosts: u64, rank: u64) -> u64 {
    let (each, rest) = (ranks / hosts, ranks % hosts);
    let larger = rest * (each + 1);
    if rank < larger { rank / (each + 1) } else { rest + (rank - larger) / each }
}

/// Bytes of a class with its end.
struct Prefix {
    classes: Vec<(Range<u64>, u64)>,
}

impl Prefix {
    fn new(plan: &CheckpointPlan) -> Prefix {
        let classes = plan.classes().into_iter();
        Prefix { classes: classes.map(|c| (c.first_rank..c.last_rank + 1, c.bytes)).collect() }
    }

    /// Bytes of a range of ranks.
    fn of(&self, ranks: Range<u64>) -> u64 {
        let shared = |class: &Range<u64>| {
            ranks.end.min(class.end).saturating_sub(ranks.start.max(class.start))
        };
        self.classes.iter().map(|(class, bytes)| shared(class) * bytes).sum()
    }

    /// Bytes of the ranks r with r mod `hosts` = `host`.
    fn of_every(&self, hosts: u64, host: u64) -> u64 {
        let below = |end: u64| end.saturating_sub(host).div_ceil(hosts);
        let classes = self.classes.iter();
        classes.map(|(class, bytes)| (below(class.end) - below(class.start)) * bytes).sum()
    }
}
