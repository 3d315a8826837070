//! The entries of the catalogue that tell of the object micro-benchmark.

use super::entries::metric;
use super::{Merge, Section};

/// `phases[].metrics` of `object` and `object_prefill`.
pub(super) const OBJECT: Section = Section {
    title: "Metrics of object and object_prefill",
    metrics: &[
        metric(
            "phases[].metrics.objects",
            "objects",
            Merge::Sum,
            "Objects of the benchmark, there or not.",
        ),
        metric(
            "phases[].metrics.live_objects",
            "objects",
            Merge::Sum,
            "Those that were there at the end.",
        ),
        metric(
            "phases[].metrics.operations_done",
            "operations",
            Merge::Sum,
            "Operations that ended.",
        ),
        metric(
            "phases[].metrics.operations_per_s",
            "1/s",
            Merge::Derived,
            "Their rate over the window, which ends with the last rank.",
        ),
        metric(
            "phases[].metrics.ended_by",
            "",
            Merge::Rank0,
            "What ended the phase: duration, operations, autoterm or interrupted.",
        ),
        metric(
            "phases[].metrics.offered_per_s",
            "1/s",
            Merge::Rank0,
            "Operations that were to begin per second; null: a closed loop.",
        ),
        metric(
            "phases[].metrics.not_started",
            "operations",
            Merge::Sum,
            "Operations of an open loop whose time came within the phase and that were not begun.",
        ),
        metric(
            "phases[].metrics.start_delay_ns",
            "ns",
            Merge::Histogram,
            "From the intended start of an operation to its start; null: a closed loop.",
        ),
        metric(
            "phases[].metrics.first_byte_ns",
            "ns",
            Merge::Histogram,
            "From the (intended) start of a get or range to its first byte, where it is known.",
        ),
        metric(
            "phases[].metrics.first_done_s",
            "s",
            Merge::Derived,
            "Until the first rank had done all its operations.",
        ),
        metric(
            "phases[].metrics.last_done_s",
            "s",
            Merge::Max,
            "Until the last rank had done all its operations.",
        ),
        metric(
            "phases[].metrics.operations_per_s_all_at_work",
            "1/s",
            Merge::Derived,
            "Operations that had ended by first_done_s, over it: while all ranks were at work.",
        ),
        metric(
            "phases[].metrics.gib_per_s_all_at_work",
            "GiB/s",
            Merge::Derived,
            "The same of bytes.",
        ),
        metric(
            "phases[].metrics.made_puts",
            "operations",
            Merge::Sum,
            "Operations that found no object to use and became puts.",
        ),
        metric(
            "phases[].metrics.by_operation[].operation",
            "",
            Merge::Rank0,
            "put, get, range, head, list or delete; of housekeeping open, read, write, sync, stat, \
             list, rename, remove, folder (made, removed or synced) or uploads (unfinished ones \
             given up).",
        ),
        metric(
            "phases[].metrics.by_operation[].count",
            "operations",
            Merge::Sum,
            "Operations of this kind that ended.",
        ),
        metric(
            "phases[].metrics.by_operation[].bytes",
            "bytes",
            Merge::Sum,
            "Bytes of objects that they wrote or read.",
        ),
        metric(
            "phases[].metrics.by_operation[].per_s",
            "1/s",
            Merge::Derived,
            "Their rate over the window.",
        ),
        metric(
            "phases[].metrics.by_operation[].gib_per_s",
            "GiB/s",
            Merge::Derived,
            "The rate of their bytes over the window.",
        ),
        metric(
            "phases[].metrics.by_operation[].latency_ns",
            "ns",
            Merge::Histogram,
            "From the (intended) start of an operation to its end, retries included.",
        ),
    ],
};
