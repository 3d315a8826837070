//! The entries of the catalogue for what a run is worth.

use super::entries::metric;
use super::{Merge, Section};

/// `verdict`.
pub(super) const VERDICT: Section = Section {
    title: "Verdict",
    metrics: &[
        metric("verdict.status", "", Merge::Derived, "VALID, INVALID, CACHED or CLIENT_BOUND."),
        metric(
            "verdict.reasons[]",
            "",
            Merge::Derived,
            "One sentence for each finding, with its figures; a valid run has none.",
        ),
        metric(
            "verdict.held[]",
            "",
            Merge::Derived,
            "One sentence for each rule that held, and for each that could not be applied.",
        ),
    ],
};
