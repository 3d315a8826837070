//! The entries of the catalogue that tell how fast the client could be.

use super::entries::metric;
use super::{Merge, Section};

/// `calibration`.
pub(super) const CEILING: Section = Section {
    title: "Ceiling of the client",
    metrics: &[
        metric(
            "calibration.null_store_requests_per_s_per_rank",
            "requests/s",
            Merge::Mean,
            "Requests that a rank completes on the null store.",
        ),
        metric(
            "calibration.null_store_gib_per_s_per_rank",
            "GiB/s",
            Merge::Mean,
            "Bytes that a rank moves on the null store.",
        ),
        metric(
            "calibration.generator_gib_per_s_per_thread",
            "GiB/s",
            Merge::Mean,
            "Speed of one thread of the generator.",
        ),
        metric(
            "calibration.verifier_gib_per_s_per_thread",
            "GiB/s",
            Merge::Mean,
            "Speed of one thread of the verifier.",
        ),
        metric(
            "calibration.checkpoint_save.requests_per_s_per_rank",
            "requests/s",
            Merge::Mean,
            "Writes that a rank completes on the null store, saving.",
        ),
        metric(
            "calibration.checkpoint_save.gib_per_s_per_rank",
            "GiB/s",
            Merge::Mean,
            "Bytes that a rank writes there, content included.",
        ),
        metric(
            "calibration.checkpoint_restore.requests_per_s_per_rank",
            "requests/s",
            Merge::Mean,
            "Reads that a rank completes on the null store, restoring.",
        ),
        metric(
            "calibration.checkpoint_restore.gib_per_s_per_rank",
            "GiB/s",
            Merge::Mean,
            "Bytes that a rank reads there, without comparison.",
        ),
        metric(
            "calibration.sleep_error_ns",
            "ns",
            Merge::Histogram,
            "How much longer than asked a compute sleep lasts.",
        ),
    ],
};
