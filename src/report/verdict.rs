//! What a run is worth: a pure function from its figures to a verdict with reasons.
//!
//! Each rule looks at the phases and answers with sentences that hold the figures it judged by. A
//! failed rule makes the run INVALID; a page cache that may have served bytes makes it CACHED; a
//! client that was the limit makes it CLIENT_BOUND. The gravest of these is the status. The reasons
//! of all of them are kept, and beside them what held.

mod client;

use super::cache::{self, RESIDENCY_TOLERANCE};
use super::foreign::{ForeignSamples, sample_size};
use super::result::{Calibration, DirectProof, Phase, Status, Verdict};
use crate::storage::proof::AlignmentProbe;

/// Bytes claimed may exceed bytes delivered by this share: counters are read around the phase.
const CLAIM_TOLERANCE: f64 = 0.01;
/// ... and by these bytes, so that tiny runs are not judged by one read of metadata.
const CLAIM_SLACK_BYTES: u64 = 4 << 20;

/// What is judged.
#[derive(Debug, Clone, Copy)]
pub struct Evidence<'a> {
    /// The phases, merged over ranks.
    pub phases: &'a [Phase],
    /// The ceiling of the client, if it was measured.
    pub calibration: Option<&'a Calibration>,
    /// Ranks of the run.
    pub ranks: u64,
    /// The run was interrupted.
    pub partial: bool,
    /// What samples should be like, where rankio did not make the dataset.
    pub foreign: Option<ForeignSamples>,
}

/// Judges a run.
pub fn judge(evidence: &Evidence) -> Verdict {
    let mut findings = Vec::new();
    if evidence.partial {
        let text = "interrupted: the figures cover only a part of the run.";
        findings.push((Status::Invalid, text.to_owned()));
    }
    let mut held = Vec::new();
    for phase in evidence.phases.iter().filter(|phase| phase.is_measured()) {
        utilization(phase, &mut findings, &mut held);
        altered(phase, &mut findings);
        super::object::judge(phase, &mut findings);
        checkpoints(phase, &mut held);
        if let Some(foreign) = &evidence.foreign {
            sample_size(phase, foreign, &mut findings, &mut held);
        }
        if phase.is_null_store() {
            let text = format!("{}: ran on the null store, no storage was measured.", phase.name);
            findings.push((Status::ClientBound, text));
        } else {
            page_cache(phase, &mut findings, &mut held);
            directness(phase, &mut findings, &mut held);
        }
        client::judge(phase, evidence, &mut findings, &mut held);
    }
    findings.sort_by_key(|(status, _)| match status {
        Status::Invalid => 0,
        Status::Cached => 1,
        Status::ClientBound => 2,
        Status::Valid => 3,
    });
    let status = findings.first().map_or(Status::Valid, |(status, _)| *status);
    let reasons = findings.into_iter().map(|(_, reason)| reason).collect();
    Verdict { status, reasons, held }
}

/// AU of a training against `metric.au`.
fn utilization(phase: &Phase, findings: &mut Vec<(Status, String)>, held: &mut Vec<String>) {
    if phase.kind != "training" {
        return;
    }
    let name = &phase.name;
    let Some(metrics) = phase.training() else {
        let text = format!("{name}: holds no AU, so the run cannot be judged.");
        return findings.push((Status::Invalid, text));
    };
    let excluded = metrics.excluded_start_steps + metrics.excluded_end_steps;
    let blocks: u64 = metrics.blocks.iter().map(|epoch| epoch.blocks).sum();
    if metrics.steps <= excluded * blocks.max(metrics.epochs) {
        let text = format!(
            "{name}: AU cannot be judged: {} steps in {} epoch(s), and the metric window \
             leaves {excluded} \
             of each block out; give more files, fewer ranks or a smaller batch.",
            metrics.steps, metrics.epochs
        );
        return findings.push((Status::Invalid, text));
    }
    let (au, required) = (metrics.au_percent_mean, metrics.au_required_percent);
    let configured = metrics.au_percent_by_configured_compute;
    if metrics.au_pass && configured < required {
        held.push(format!(
            "{name}: AU {au:.2} % reaches the required {required:.2} %, but by configured compute \
             it is {configured:.2} %."
        ));
    } else if metrics.au_pass {
        held.push(format!("{name}: AU {au:.2} % reaches the required {required:.2} %."));
    } else {
        let text = format!("{name}: AU {au:.2} % is below the required {required:.2} %.");
        findings.push((Status::Invalid, text));
    }
}

/// What must be known of checkpoints to read their figures.
fn checkpoints(phase: &Phase, held: &mut Vec<String>) {
    let Some(metrics) = phase.checkpoint() else { return };
    let name = &phase.name;
    if metrics.checkpoints == 0 {
        held.push(format!("{name}: no checkpoint was due, so there is nothing to judge."));
    }
    if metrics.content == "stamped" {
        held.push(format!(
            "{name}: the content is stamped (checkpoint.content): a store that compresses or \
             deduplicates may have stored a part of it."
        ));
    }
}

/// Faults and delays put in front of the store.
fn altered(phase: &Phase, findings: &mut Vec<(Status, String)>) {
    let (name, engine) = (&phase.name, &phase.storage.engine);
    if ["fault(", "delay("].iter().any(|wrapper| engine.contains(wrapper)) {
        let text = format!(
            "{name}: the store was altered on purpose (io.fault / io.delay; engine {engine})."
        );
        findings.push((Status::Invalid, text));
    }
}

/// Whether a page cache may have served or taken the bytes.
fn page_cache(phase: &Phase, findings: &mut Vec<(Status, String)>, held: &mut Vec<String>) {
    let name = &phase.name;
    let passed_by = passed_by(phase);
    let mut cached = |text: String| findings.push((Status::Cached, text));
    let mut emptied = false;
    if phase.storage.direct == Some(false) {
        let engine = &phase.storage.engine;
        match cache::emptied(phase) {
            Ok(sentence) => {
                emptied = true;
                held.push(sentence);
            }
            Err(why) => cached(format!(
                "{name}: files were opened without O_DIRECT (engine {engine}), and {why}."
            )),
        }
    }
    match (cache::cached_epochs(phase), &passed_by) {
        (Some(sentence), None) => cached(format!("{sentence}.")),
        (Some(sentence), Some(counts)) => held.push(format!("{sentence}; {counts}.")),
        (None, _) => {}
    }
    let Some(proof) = &phase.proof else { return };
    let claimed = proof.claimed_bytes;
    for (who, delivered) in counts(proof) {
        if falls_short(claimed, delivered) {
            cached(format!("{name}: claims {claimed} bytes, {who} {delivered}."));
        }
    }
    if emptied {
        // What lay there before the first drop and after the last epoch served nothing.
        return;
    }
    for (when, share) in [("before", proof.resident_before), ("after", proof.resident_after)] {
        if let Some(share) = share.filter(|&share| share > RESIDENCY_TOLERANCE) {
            let percent = 100.0 * share;
            let seen = format!(
                "{name}: {percent:.1} % of the sampled pages were in the page cache {when} it"
            );
            match &passed_by {
                Some(counts) => held.push(format!("{seen}; {counts}.")),
                None => cached(format!("{seen}.")),
            }
        }
    }
}

/// What the kernel counted, as far as it did.
fn counts(proof: &DirectProof) -> impl Iterator<Item = (&'static str, u64)> + Clone {
    [
        ("the block devices counted", proof.device_bytes),
        ("the kernel counted for the processes", proof.process_io_bytes),
    ]
    .into_iter()
    .filter_map(|(who, delivered)| Some((who, delivered?)))
}

/// More was claimed than was delivered, and not by a little.
fn falls_short(claimed: u64, delivered: u64) -> bool {
    claimed as f64 > delivered as f64 * (1.0 + CLAIM_TOLERANCE) + CLAIM_SLACK_BYTES as f64
}

/// What was delivered is all that was claimed: this proves something about the smallest run too.
fn reaches(claimed: u64, delivered: u64) -> bool {
    claimed as f64 <= delivered as f64 * (1.0 + CLAIM_TOLERANCE)
}

/// A count says something about the run: it reaches the claim, or falls so short of it that this is
/// a finding of its own. Of a run of a few bytes it may do neither.
fn tells(claimed: u64, delivered: u64) -> bool {
    reaches(claimed, delivered) || falls_short(claimed, delivered)
}

/// Why pages that lay in the page cache served nothing: files were opened with O_DIRECT, and all
/// that the kernel counts reaches the claim.
fn passed_by(phase: &Phase) -> Option<String> {
    let proof = phase.proof.as_ref().filter(|_| phase.storage.direct == Some(true))?;
    let claimed = proof.claimed_bytes;
    let mut counts = counts(proof);
    let (who, delivered) = counts.clone().last().filter(|_| claimed > 0)?;
    counts
        .all(|(_, delivered)| reaches(claimed, delivered))
        .then(|| format!("O_DIRECT passed them by: of {claimed} bytes claimed, {who} {delivered}"))
}

/// Whether anything proves that accepted O_DIRECT was real, and that the bytes are storage's.
fn directness(phase: &Phase, findings: &mut Vec<(Status, String)>, held: &mut Vec<String>) {
    let Some(proof) = &phase.proof else { return };
    let name = &phase.name;
    if let Some(reason) = &proof.memory_device {
        let text = format!("{name}: the bytes come from memory: {reason}.");
        findings.push((Status::Cached, text));
    }
    if phase.storage.engine.contains("s3-") {
        held.push(format!("{name}: objects come from a server, whose cache is not seen."));
        return;
    }
    if phase.storage.direct != Some(true) {
        // Judged already, or no file was opened.
        return;
    }
    let Some(probe) = &proof.alignment_probe else {
        if !proof.device_bytes.is_some_and(|counted| tells(proof.claimed_bytes, counted)) {
            let why = proof.not_probed.as_deref().unwrap_or("no probe was made");
            let text = format!("{name}: direct I/O could not be proved: {why}.");
            findings.push((Status::Cached, text));
        }
        return;
    };
    let fs = &probe.filesystem;
    if let Some(why) = unproved(probe, proof) {
        let text = format!("{name}: direct I/O could not be proved on {fs}: {why}.");
        findings.push((Status::Cached, text));
    } else if probe.network {
        let what = match proof.process_io_bytes {
            Some(_) => "O_DIRECT and this host's process counters",
            None => "O_DIRECT, which refuses misaligned requests here",
        };
        held.push(format!(
            "{name}: directness on {fs} rests on {what}; the server's cache is not seen."
        ));
    }
}

/// Why nothing proves direct I/O; None if something does. Refused misalignment does, so do counts
/// of block devices, and on file systems of servers the counts of the processes: there the
/// kernel's client counts what it asks the server for.
fn unproved(probe: &AlignmentProbe, proof: &DirectProof) -> Option<String> {
    if probe.own_cache {
        return Some("it answers from its own cache with O_DIRECT too".into());
    }
    let told = |counted| tells(proof.claimed_bytes, counted);
    if probe.enforced || proof.device_bytes.is_some_and(told) {
        return None;
    }
    match (probe.network, proof.process_io_bytes) {
        (true, Some(counted)) if told(counted) => None,
        (true, Some(_)) => Some(
            "misaligned requests are accepted, and the kernel counted less than these few bytes"
                .into(),
        ),
        (true, None) => Some(
            "misaligned requests are accepted, and the kernel does not count the bytes it asks \
             the server for"
                .into(),
        ),
        (false, _) => Some(match proof.device_bytes {
            None => "misaligned requests are accepted, and no block device counts the bytes".into(),
            Some(_) => "misaligned requests are accepted, and the block devices counted less than \
                        these few bytes"
                .into(),
        }),
    }
}

#[cfg(test)]
#[path = "verdict_tests.rs"]
mod tests;
