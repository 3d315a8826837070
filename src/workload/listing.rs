//! Looks for the files of a dataset before a run, so that a missing one is found in the first
//! seconds and not in the middle of an epoch.
//!
//! Names are computed, so nothing is listed: files are asked for by name, each rank a share of
//! them. How many is bounded, because a dataset may have more files than a metadata server answers
//! for in an hour.

use super::session::Session;
use super::small::connect_small_by;
use crate::plan::FileSet;
use crate::world::{Doing, interrupted, look};

/// Files that a rank asks for where all are looked for. At 2000 answers a second it takes 5 s.
const LOOKS_PER_RANK: u64 = 10_000;

/// Every how many files one is looked for; None: none is.
///
/// With `dataset.skip_listing` it is `dataset.listing_validation_interval`, as in the reference;
/// without, all files are looked for as far as the ranks can.
fn stride(skip_listing: bool, interval: u64, files: u64, ranks: u64) -> Option<u64> {
    match (skip_listing, interval) {
        (true, 0) => None,
        (true, interval) => Some(interval),
        (false, _) => Some(files.div_ceil(ranks.saturating_mul(LOOKS_PER_RANK)).max(1)),
    }
}

/// The files that `rank` looks for: of the first, every `stride`th and the last its share.
fn share(files: u64, stride: u64, ranks: u64, rank: u64) -> impl Iterator<Item = u64> {
    let regular = files.div_ceil(stride);
    let last = files - 1;
    let more = u64::from(!last.is_multiple_of(stride));
    let place = move |nth: u64| if nth < regular { nth * stride } else { last };
    (rank..regular + more).step_by(usize::try_from(ranks).unwrap_or(usize::MAX)).map(place)
}

/// Looks for this rank's share of the files that the run reads. A note where not all are looked
/// for; the error names the first that is missing.
pub fn check(session: &Session<'_>) -> Result<Option<String>, String> {
    let config = session.config;
    let valid = session.plan.valid.as_ref().filter(|_| config.workflow.evaluation);
    let mut store = connect_small_by(&session.root, session.object())?;
    let mut name = String::new();
    let mut note = None;
    for files in std::iter::once(&session.plan.train).chain(valid) {
        let (count, ranks) = (files.files(), session.world.size());
        let dataset = &config.dataset;
        let interval = dataset.listing_validation_interval;
        let Some(stride) = stride(dataset.skip_listing, interval, count, ranks) else { continue };
        for index in share(count, stride, ranks, session.world.rank()) {
            if interrupted() {
                return Ok(None);
            }
            look(Doing::Work);
            files.name(index, &mut name);
            if store.stat(&name).map_err(|error| error.to_string())?.is_none() {
                return Err(missing(session, files, &name));
            }
        }
        if stride > 1 && !dataset.skip_listing {
            note = Some(format!(
                "note: of {count} files every {stride}th was looked for; a missing one of the \
                 others is found when it is read"
            ));
        }
    }
    Ok(note)
}

fn missing(session: &Session<'_>, files: &FileSet, name: &str) -> String {
    format!(
        "{}/{name}: not found; run rankio datagen first, or check dataset.num_files_train ({}), \
         num_files_generated, num_subfolders and file_prefix",
        session.root.trim_end_matches('/'),
        files.files(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn how_many_are_looked_for_is_bounded_unless_it_was_said() {
        assert_eq!(stride(false, 1000, 500, 1), Some(1));
        assert_eq!(stride(false, 0, 10_000, 1), Some(1));
        assert_eq!(stride(false, 0, 1_000_000, 8), Some(13));
        assert_eq!(stride(true, 1000, 1_000_000, 8), Some(1000));
        assert_eq!(stride(true, 0, 1_000_000, 8), None);
    }

    proptest! {
        #[test]
        fn ranks_look_for_the_first_the_last_and_every_nth_file(
            files in 1u64..500, stride in 1u64..600, ranks in 1u64..9,
        ) {
            let mut seen = BTreeSet::new();
            for rank in 0..ranks {
                for index in share(files, stride, ranks, rank) {
                    prop_assert!(seen.insert(index), "{} twice", index);
                }
            }
            let mut wanted: BTreeSet<_> = (0..files).step_by(stride as usize).collect();
            wanted.insert(files - 1);
            prop_assert_eq!(seen, wanted);
        }
    }
}
