//! What must be known of the endpoints of an object store to read the figures of a run.

use super::result::Phase;
use std::collections::BTreeMap;

/// Most endpoints that are named.
const NAMED_MAX: usize = 3;

/// Sentences about endpoints that broke, and about those that no rank sent anything to while others
/// were used. They change no verdict, and stand in every one.
pub(super) fn told(phases: &[Phase]) -> Vec<String> {
    let mut told = Vec::new();
    let mut operations: BTreeMap<&str, u64> = BTreeMap::new();
    for phase in phases {
        let endpoints = &phase.storage.endpoints;
        for one in endpoints {
            *operations.entry(&one.url).or_default() += one.operations;
        }
        for one in endpoints.iter().filter(|one| one.set_aside > 0).take(NAMED_MAX) {
            told.push(format!(
                "{}: endpoint {} broke {} of {} requests and was set aside; others did its work.",
                phase.name, one.url, one.errors, one.operations
            ));
        }
    }
    let unused = operations.iter().filter(|(_, count)| **count == 0);
    let unused: Vec<&str> = unused.map(|(url, _)| *url).collect();
    if !unused.is_empty() && unused.len() < operations.len() {
        let more = match unused.len().saturating_sub(NAMED_MAX) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        told.push(format!(
            "{} of {} endpoints got no request, so the figures are those of the others: {}{more}.",
            unused.len(),
            operations.len(),
            unused[..unused.len().min(NAMED_MAX)].join(", ")
        ));
    }
    told
}

#[cfg(test)]
mod tests {
    use super::told;
    use crate::report::sample;
    use crate::storage::EndpointFacts;

    fn told_of(operations: &[u64], set_aside: u64) -> Vec<String> {
        let mut phase = sample::phase("training");
        let of = |(number, operations): (usize, &u64)| EndpointFacts {
            url: format!("http://s{number}:9000"),
            operations: *operations,
            errors: set_aside,
            set_aside: if number == 0 { set_aside } else { 0 },
            ..EndpointFacts::default()
        };
        phase.storage.endpoints = operations.iter().enumerate().map(of).collect();
        told(&[phase])
    }

    #[test]
    fn endpoints_that_broke_or_were_not_used_are_told_and_no_others() {
        for quiet in [&[][..], &[0], &[7], &[7, 7], &[0, 0]] {
            assert_eq!(told_of(quiet, 0), Vec::<String>::new());
        }
        let unused = told_of(&[7, 0, 0, 0, 0], 0);
        assert!(unused[0].starts_with("4 of 5 endpoints got no request, "), "{unused:?}");
        assert!(unused[0].ends_with("s2:9000, http://s3:9000 and 1 more."), "{unused:?}");
        let broke = told_of(&[9, 7], 1);
        let sentence = "training: endpoint http://s0:9000 broke 1 of 9 requests and was set aside";
        assert!(broke.len() == 1 && broke[0].starts_with(sentence), "{broke:?}");
    }
}
