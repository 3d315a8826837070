//! What must be known of the endpoints of an object store to read the figures of a run.

use super::result::Phase;
use std::collections::BTreeMap;

/// Most endpoints that are named.
const NAMED_MAX: usize = 3;

/// Sentences about endpoints that broke, and about those that no rank sent anything to. They change
/// no verdict, and stand in every one.
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
    if !unused.is_empty() {
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
