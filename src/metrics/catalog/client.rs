//! The entries of the catalogue that tell what the client cost a training.

use super::entries::metric;
use super::{Merge, Section};

/// `phases[].metrics` of a training or evaluation.
pub(super) const CLIENT: Section = Section {
    title: "What the client cost a training",
    metrics: &[
        metric(
            "phases[].metrics.compute_over_configured_max.value",
            "ratio",
            Merge::Max,
            "Measured over configured compute time of the rank where it is largest; null: nothing \
             is computed.",
        ),
        metric(
            "phases[].metrics.compute_over_configured_max.rank",
            "rank",
            Merge::Derived,
            "That rank.",
        ),
        metric(
            "phases[].metrics.compute_over_configured_max.host",
            "",
            Merge::Derived,
            "Its host.",
        ),
        metric(
            "phases[].metrics.barrier_lost_percent",
            "%",
            Merge::Mean,
            "Share of the window in step barriers beyond what the load and the configured compute \
             of the slowest rank explain; null: steps have no barrier.",
        ),
        metric(
            "phases[].metrics.cpu_wait_percent_max.value",
            "%",
            Merge::Max,
            "Share of the window in which the step loop could run and had no CPU, of the rank with \
             most; null: the kernel does not count that.",
        ),
        metric("phases[].metrics.cpu_wait_percent_max.rank", "rank", Merge::Derived, "That rank."),
        metric("phases[].metrics.cpu_wait_percent_max.host", "", Merge::Derived, "Its host."),
    ],
};
