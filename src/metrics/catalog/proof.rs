//! The entries of the catalogue that prove directness: claims, counts and the probe.

use super::entries::metric;
use super::{Merge, Section};

/// `phases[].proof`.
pub(super) const PROOF: Section = Section {
    title: "Proof of directness of a phase",
    metrics: &[
        metric("phases[].proof", "", Merge::Rank0, "Null: housekeeping, which is not judged."),
        metric(
            "phases[].proof.direction",
            "",
            Merge::Rank0,
            "read or write: the bytes of which all counts here are.",
        ),
        metric(
            "phases[].proof.claimed_bytes",
            "bytes",
            Merge::Sum,
            "Bytes that the phase says it transferred in that direction.",
        ),
        metric(
            "phases[].proof.process_io_bytes",
            "bytes",
            Merge::Sum,
            "The same by /proc/self/io of all ranks; null: not counted.",
        ),
        metric(
            "phases[].proof.device_bytes",
            "bytes",
            Merge::Sum,
            "The same by the counters of the block devices; null: there are none.",
        ),
        metric(
            "phases[].proof.resident_before",
            "fraction",
            Merge::Mean,
            "Sampled pages in the page cache before the phase.",
        ),
        metric("phases[].proof.resident_after", "fraction", Merge::Mean, "The same after it."),
        metric(
            "phases[].proof.alignment_probe.filesystem",
            "",
            Merge::Rank0,
            "File system that was probed.",
        ),
        metric("phases[].proof.alignment_probe.memory", "", Merge::Rank0, "It is memory."),
        metric(
            "phases[].proof.alignment_probe.network",
            "",
            Merge::Rank0,
            "Its data lies on servers.",
        ),
        metric(
            "phases[].proof.alignment_probe.own_cache",
            "",
            Merge::Rank0,
            "It answers from a cache of its own with O_DIRECT too.",
        ),
        metric(
            "phases[].proof.alignment_probe.accepted",
            "",
            Merge::Rank0,
            "O_DIRECT was accepted.",
        ),
        metric(
            "phases[].proof.alignment_probe.enforced",
            "",
            Merge::Rank0,
            "A misaligned read was refused, as only real direct I/O does.",
        ),
        metric(
            "phases[].proof.alignment_probe.offset_alignment",
            "bytes",
            Merge::Rank0,
            "What the kernel states; null: it does not.",
        ),
        metric(
            "phases[].proof.alignment_probe.counts_reads",
            "",
            Merge::Rank0,
            "The kernel counts direct reads for the process; null: not tried.",
        ),
        metric(
            "phases[].proof.alignment_probe.counts_writes",
            "",
            Merge::Rank0,
            "The same of direct writes; null: not tried.",
        ),
        metric(
            "phases[].proof.alignment_probe.verdict",
            "",
            Merge::Rank0,
            "The probe in one sentence.",
        ),
        metric("phases[].proof.not_probed", "", Merge::Rank0, "Why there is no probe."),
        metric(
            "phases[].proof.memory_device",
            "",
            Merge::Rank0,
            "Why the bytes of the devices come from memory; of the first host where they do.",
        ),
    ],
};
