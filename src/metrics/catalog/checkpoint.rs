//! The entries of the catalogue that tell of checkpoints.

use super::entries::metric;
use super::{Merge, Section};

/// `phases[].metrics` of `checkpoint_save` and `checkpoint_restore`.
pub(super) const CHECKPOINT: Section = Section {
    title: "Metrics of checkpoint_save and checkpoint_restore",
    metrics: &[
        metric(
            "phases[].metrics.checkpoints",
            "checkpoints",
            Merge::Rank0,
            "Checkpoints written or read.",
        ),
        metric(
            "phases[].metrics.bytes",
            "bytes",
            Merge::Sum,
            "Bytes of one checkpoint on storage.",
        ),
        metric(
            "phases[].metrics.received_bytes",
            "bytes",
            Merge::Sum,
            "Bytes of one that ranks received from others by MPI (`restore: broadcast`).",
        ),
        metric("phases[].metrics.files", "files", Merge::Sum, "Files of one checkpoint."),
        metric(
            "phases[].metrics.strict_gib_per_s",
            "GiB/s",
            Merge::Derived,
            "All bytes over the sum of the slowest rank's times, from one barrier.",
        ),
        metric(
            "phases[].metrics.committed_gib_per_s",
            "GiB/s",
            Merge::Derived,
            "The same with the commits in the time.",
        ),
        metric(
            "phases[].metrics.delivered_gib_per_s",
            "GiB/s",
            Merge::Derived,
            "Bytes from storage and bytes by MPI over the sum of the slowest rank's times.",
        ),
        metric(
            "phases[].metrics.official_gib_per_s_mean",
            "GiB/s",
            Merge::Rank0,
            "Mean over operations of bytes over rank 0's time, as DLIO computes it.",
        ),
        metric(
            "phases[].metrics.official_gib_per_s_stdev",
            "GiB/s",
            Merge::Rank0,
            "Population standard deviation of the same.",
        ),
        metric(
            "phases[].metrics.official_duration_s_mean",
            "s",
            Merge::Rank0,
            "Mean of rank 0's times.",
        ),
        metric(
            "phases[].metrics.official_duration_s_stdev",
            "s",
            Merge::Rank0,
            "Population standard deviation of the same.",
        ),
        metric(
            "phases[].metrics.commit_s",
            "s",
            Merge::Max,
            "Time of all commits: folder, manifest, rename, pointer and their syncs.",
        ),
        metric(
            "phases[].metrics.sync_s",
            "s",
            Merge::Max,
            "Sum over operations of the time in syncs of the thread that spent most there.",
        ),
        metric(
            "phases[].metrics.content_s",
            "s",
            Merge::Sum,
            "Time of all I/O threads that made or checked content.",
        ),
        metric(
            "phases[].metrics.content_share",
            "fraction",
            Merge::Mean,
            "Share of the I/O threads' time that made or checked content.",
        ),
        metric(
            "phases[].metrics.transfer_share",
            "fraction",
            Merge::Mean,
            "Share of their time that waited for reads or writes.",
        ),
        metric(
            "phases[].metrics.sync_share",
            "fraction",
            Merge::Mean,
            "Share of their time in syncs.",
        ),
        metric(
            "phases[].metrics.metadata_share",
            "fraction",
            Merge::Mean,
            "Share of their time in creating, opening and closing files.",
        ),
        metric(
            "phases[].metrics.rank_ns",
            "ns",
            Merge::Histogram,
            "Time of one operation on one rank.",
        ),
        metric(
            "phases[].metrics.operations[].checkpoint",
            "",
            Merge::Rank0,
            "Number of the checkpoint.",
        ),
        metric(
            "phases[].metrics.operations[].bytes",
            "bytes",
            Merge::Sum,
            "Bytes that all ranks wrote to or read from storage.",
        ),
        metric(
            "phases[].metrics.operations[].received_bytes",
            "bytes",
            Merge::Sum,
            "Bytes that ranks received from others by MPI.",
        ),
        metric(
            "phases[].metrics.operations[].strict_s",
            "s",
            Merge::Max,
            "Time of the slowest rank.",
        ),
        metric("phases[].metrics.operations[].rank0_s", "s", Merge::Rank0, "Time of rank 0."),
        metric("phases[].metrics.operations[].mean_s", "s", Merge::Mean, "Mean time of a rank."),
        metric(
            "phases[].metrics.operations[].slowest_rank",
            "rank",
            Merge::Derived,
            "The slowest rank.",
        ),
        metric("phases[].metrics.operations[].commit_s", "s", Merge::Max, "Time of the commit."),
        metric(
            "phases[].metrics.operations[].sync_s",
            "s",
            Merge::Max,
            "Time in syncs of the thread that spent most there.",
        ),
        metric(
            "phases[].metrics.operations[].resident_before",
            "fraction",
            Merge::Mean,
            "Sampled pages of the files in the page cache before they were read; null: not seen.",
        ),
    ],
};
