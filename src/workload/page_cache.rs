//! What `io.cache` asks for between epochs, outside the measured window: pages are dropped, and
//! what is left of them is looked at.

use super::compute::now_ns;
use super::phase::Residency;
use super::session::Session;
use crate::config::CacheMode;
use crate::plan::FileSet;
use crate::storage::proof;
use crate::world::{Doing, Milestone, interrupted, look, set_milestone};

/// State of the page cache when a block begins, the same on all ranks.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct CacheBefore {
    /// Share of the sampled pages that were resident; None where that cannot be seen.
    pub resident: Option<f64>,
    /// Seconds that dropping took on the slowest rank; None: nothing was dropped.
    pub drop_s: Option<f64>,
}

/// Empties the page cache of `files` as far as `io.cache` says so, and looks at it. `first`: no
/// block of these files was read in this run; what others left dirty is written then, too, and
/// `evict` has its one drop. Collective.
///
/// # Errors
/// A file that cannot be opened, synced or advised: this rank's own error.
pub fn before_block(
    session: &Session<'_>,
    files: &FileSet,
    first: bool,
    salt: u64,
) -> Result<CacheBefore, String> {
    let drops = match session.config.io.cache {
        CacheMode::Direct | CacheMode::Keep => false,
        CacheMode::Drop => true,
        CacheMode::Evict => first,
    };
    let mut drop_s = None;
    if drops && session.data_path.is_some() {
        set_milestone(Milestone::Part("the end of emptying page caches"));
        let start = now_ns();
        drop_share(session, files, first)?;
        let mut longest = [now_ns() - start];
        // Looked at only after all ranks of the host have dropped their share.
        session.world.max(&mut longest);
        drop_s = Some(longest[0] as f64 / 1e9);
    }
    let resident = Residency::sample(session, files, salt).reduced(session).mean();
    Ok(CacheBefore { resident, drop_s })
}

/// The ranks of a host deal all files among them, since any of them may be in that host's cache.
fn drop_share(session: &Session<'_>, files: &FileSet, first: bool) -> Result<(), String> {
    let Some(root) = &session.data_path else { return Ok(()) };
    let world = session.world;
    let mut name = String::new();
    for index in share(world.rank_on_host(), world.ranks_on_host(), files.files()) {
        if interrupted() {
            break;
        }
        look(Doing::Work);
        files.name(index, &mut name);
        let path = root.join(&name);
        let dropped = match first {
            true => proof::drop_cache(&path),
            false => proof::drop_clean_cache(&path),
        };
        dropped.map_err(|error| format!("io.cache: {error}"))?;
    }
    Ok(())
}

/// The files of one of `ranks` ranks.
fn share(rank: u64, ranks: u64, files: u64) -> impl Iterator<Item = u64> {
    (0..files).skip(rank as usize).step_by(ranks.max(1) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_file_is_dropped_by_one_rank_of_a_host(ranks in 1..9u64, files in 0..60u64) {
            let mut all: Vec<u64> = (0..ranks).flat_map(|rank| share(rank, ranks, files)).collect();
            all.sort_unstable();
            prop_assert_eq!(all, (0..files).collect::<Vec<u64>>());
        }
    }
}
