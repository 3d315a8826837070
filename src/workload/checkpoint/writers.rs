//! On which hosts the ranks stood that wrote a checkpoint, as its manifest holds it, and what a
//! ring of a later job may not read.

use super::folder::Whole;
use crate::workload::session::Session;
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, HashSet};

/// Ranks of a host at equal distances: a placement in blocks or round robin needs one of these for
/// each host, whatever the number of ranks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostRanks {
    /// Name of the host.
    pub host: String,
    /// The lowest of the ranks.
    pub first: u64,
    /// Ranks.
    pub count: u64,
    /// From one to the next.
    pub step: u64,
}

impl HostRanks {
    fn has(&self, rank: u64) -> bool {
        let Some(distance) = rank.checked_sub(self.first) else { return false };
        distance == 0
            || self.step > 0
                && distance.is_multiple_of(self.step)
                && distance / self.step < self.count
    }

    /// Takes `rank`, above all so far, where it continues the row.
    fn take(&mut self, rank: u64) -> bool {
        let distance = rank - self.first;
        if self.count == 1 {
            self.step = distance;
        } else if distance != self.step * self.count {
            return false;
        }
        self.count += 1;
        true
    }
}

/// Ranks by host, of ranks that stand on hosts with these names.
fn rows_of(names: &[String]) -> Vec<HostRanks> {
    let mut rows: Vec<HostRanks> = Vec::new();
    // The newest row of each host.
    let mut newest: HashMap<&str, usize> = HashMap::new();
    for (rank, name) in (0..).zip(names) {
        let row = newest.get(name.as_str()).copied();
        if row.is_some_and(|row| rows[row].take(rank)) {
            continue;
        }
        newest.insert(name, rows.len());
        rows.push(HostRanks { host: name.clone(), first: rank, count: 1, step: 0 });
    }
    rows
}

/// Where the ranks of this job stand, on rank 0; empty elsewhere, and where two hosts have one
/// name. Collective.
pub fn placement(session: &Session<'_>) -> Vec<HostRanks> {
    let world = session.world;
    let Some(rows) = world.gather(world.host().as_bytes()) else { return Vec::new() };
    let names: Vec<String> =
        rows.iter().map(|row| String::from_utf8_lossy(row).into_owned()).collect();
    let different = names.iter().collect::<HashSet<_>>().len() as u64;
    if different == world.hosts() { rows_of(&names) } else { Vec::new() }
}

/// Refuses to read the files of rank `writer` from the checkpoint `found` below `root` on `host`
/// where they were written there. A checkpoint whose manifest names no hosts is let through.
///
/// # Errors
/// One line.
pub fn check_ring(root: &str, found: &Whole, writer: u64, host: &str) -> Result<(), String> {
    let own = found.hosts.iter().any(|row| row.host == host && row.has(writer));
    if !own {
        return Ok(());
    }
    Err(format!(
        "{root}/{}: checkpoint.restore: ring would read the files of rank {writer}, which this \
         host ({host}) wrote; place the ranks as the job did that wrote it, or give same or random",
        found.name
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn names(hosts: &[u64]) -> Vec<String> {
        hosts.iter().map(|host| format!("node{host}")).collect()
    }

    #[test]
    fn usual_placements_need_one_row_for_each_host() {
        let ranks = 0..1000u64;
        let block: Vec<u64> = ranks.clone().map(|rank| rank / 250).collect();
        let round_robin: Vec<u64> = ranks.map(|rank| rank % 4).collect();
        assert_eq!(rows_of(&names(&block)).len(), 4);
        assert_eq!(rows_of(&names(&round_robin)).len(), 4);
    }

    /// Bug: written by neighbours on one host and read by ranks dealt round, a ring read what its
    /// own host had written.
    #[test]
    fn a_ring_of_a_job_with_another_placement_is_refused() {
        let hosts = rows_of(&names(&[0, 0, 1, 1]));
        let found = Whole { hosts, name: "c".into(), ..Whole::default() };
        let said = check_ring("R", &found, 1, "node0").unwrap_err();
        assert!(said.starts_with("R/c: ") && said.contains("rank 1, which this host (node0)"));
        assert!(said.contains("same or random"), "{said}");
        assert_eq!(check_ring("R", &found, 2, "node0"), Ok(()));
        // Of an older build.
        assert_eq!(check_ring("R", &Whole::default(), 1, "node0"), Ok(()));
    }

    proptest! {
        #[test]
        fn every_rank_is_on_its_host_and_no_other(
            hosts in proptest::collection::vec(0u64..4, 1..40),
        ) {
            let rows = rows_of(&names(&hosts));
            for (rank, host) in (0..).zip(&hosts) {
                for other in 0..4 {
                    let name = format!("node{other}");
                    let there = rows.iter().any(|row| row.host == name && row.has(rank));
                    prop_assert_eq!(there, other == *host);
                }
            }
        }
    }
}
