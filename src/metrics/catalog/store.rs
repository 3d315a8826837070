//! The entries of the catalogue for the servers of object stores.

use super::entries::metric;
use super::{Merge, Section};

/// `phases[].storage.endpoints`.
pub(super) const ENDPOINTS: Section = Section {
    title: "Endpoints of an object store",
    metrics: &[
        metric("phases[].storage.endpoints[].url", "", Merge::Rank0, "Server of an object store."),
        metric(
            "phases[].storage.endpoints[].operations",
            "requests",
            Merge::Sum,
            "Requests sent to it, every attempt and those about names.",
        ),
        metric(
            "phases[].storage.endpoints[].errors",
            "requests",
            Merge::Sum,
            "Those that broke or were answered with an error.",
        ),
        metric(
            "phases[].storage.endpoints[].bytes_read",
            "bytes",
            Merge::Sum,
            "Bytes of objects that it sent.",
        ),
        metric(
            "phases[].storage.endpoints[].bytes_written",
            "bytes",
            Merge::Sum,
            "Bytes of objects that it took.",
        ),
        metric(
            "phases[].storage.endpoints[].busy_ns",
            "ns",
            Merge::Sum,
            "Times of its answered requests; divided by operations - errors about their mean.",
        ),
        metric(
            "phases[].storage.endpoints[].set_aside",
            "",
            Merge::Sum,
            "Times that it was set aside because it broke connections.",
        ),
    ],
};
