//! The entries of the catalogue that tell of what was done in the store around the phases.

use super::entries::metric;
use super::{Merge, Section};

/// `phases[].metrics` of `housekeeping`, beside those it has in common with `object`.
pub(super) const HOUSEKEEPING: Section = Section {
    title: "Metrics of housekeeping",
    metrics: &[metric(
        "phases[].metrics.failed",
        "operations",
        Merge::Sum,
        "Operations that ended with an error; operations_done and by_operation, as above, count \
         them too.",
    )],
};
