//! What a run is worth: a pure function from its figures to a verdict with reasons.
//!
//! Each rule looks at the phases and answers with sentences that hold the figures it judged by. A
//! failed rule makes the run INVALID; a page cache that may have served bytes makes it CACHED; a
//! client that was the limit makes it CLIENT_BOUND. The gravest of these is the status, the reasons
//! of all of them are kept.

use super::cache::{self, RESIDENCY_TOLERANCE};
use super::foreign::{ForeignSamples, sample_size};
use super::result::{
    Calibration, Ceiling, DatagenMetrics, DirectProof, Phase, Rate, Status, Verdict,
};
use crate::storage::proof::AlignmentProbe;

/// Bytes claimed may exceed bytes delivered by this share: counters are read around the phase.
const CLAIM_TOLERANCE: f64 = 0.01;
/// ... and by these bytes, so that tiny runs are not judged by one read of metadata.
const CLAIM_SLACK_BYTES: u64 = 4 << 20;
/// A phase that reaches this share of the null store's rate may have been limited by the client.
const CLIENT_SHARE: f64 = 0.8;
/// From this share of a host's CPU time on, the client may have been the limit.
const CPU_SHARE: f64 = 0.9;
/// Above this share of the writing threads' time the generator was the limit of a datagen.
const GENERATOR_SHARE: f64 = 0.8;

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
    for phase in evidence.phases {
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
            client_ceiling(phase, evidence, &mut findings);
            client_cpus(phase, &mut findings);
            generator_limit(phase, &mut findings);
        }
    }
    // In order of gravity.
    for status in [Status::Invalid, Status::Cached, Status::ClientBound] {
        if findings.iter().any(|(found, _)| *found == status) {
            let rank = |status: &Status| match status {
                Status::Invalid => 0,
                Status::Cached => 1,
                Status::ClientBound | Status::Valid => 2,
            };
            findings.sort_by_key(|(status, _)| rank(status));
            let reasons = findings.into_iter().map(|(_, reason)| reason);
            let reasons = reasons.chain(super::endpoints::told(evidence.phases)).collect();
            return Verdict { status, reasons };
        }
    }
    held.extend(super::endpoints::told(evidence.phases));
    Verdict { status: Status::Valid, reasons: held }
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
    if metrics.au_pass {
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
    if let Some(sentence) = cache::cached_epochs(phase) {
        cached(sentence);
    }
    let Some(proof) = &phase.proof else { return };
    let &DirectProof { claimed_bytes: claimed, process_io_bytes, device_bytes, .. } = proof;
    for (who, delivered) in [
        ("the block devices counted", device_bytes),
        ("the kernel counted for the processes", process_io_bytes),
    ] {
        let Some(delivered) = delivered else { continue };
        if claimed as f64 > delivered as f64 * (1.0 + CLAIM_TOLERANCE) + CLAIM_SLACK_BYTES as f64 {
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
            cached(format!(
                "{name}: {percent:.1} % of the sampled pages were in the page cache {when} it."
            ));
        }
    }
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
        if proof.device_bytes.is_none() {
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
    if probe.enforced || proof.device_bytes.is_some() {
        return None;
    }
    match (probe.network, proof.process_io_bytes) {
        (true, Some(_)) => None,
        (true, None) => Some(
            "misaligned requests are accepted, and the kernel does not count the bytes it asks \
             the server for"
                .into(),
        ),
        (false, _) => {
            Some("misaligned requests are accepted, and no block device counts the bytes".into())
        }
    }
}

/// Whether the null store would hardly have been faster.
fn client_ceiling(phase: &Phase, evidence: &Evidence, findings: &mut Vec<(Status, String)>) {
    let Some(ceiling) = evidence.calibration.and_then(|known| ceiling_of(phase, known)) else {
        return;
    };
    let Rate { gib_per_s, ops_per_s, .. } = phase.rate;
    let ranks = evidence.ranks.max(1) as f64;
    for (unit, measured, ceiling) in [
        ("GiB/s", gib_per_s / ranks, ceiling.gib_per_s_per_rank),
        ("requests/s", ops_per_s / ranks, ceiling.requests_per_s_per_rank),
    ] {
        if ceiling > 0.0 && measured > CLIENT_SHARE * ceiling {
            let share = 100.0 * measured / ceiling;
            let text = format!(
                "{}: {measured:.2} {unit} for each rank is {share:.0} % of the {ceiling:.2} {unit} \
                 that this client reaches on the null store.",
                phase.name
            );
            findings.push((Status::ClientBound, text));
        }
    }
}

/// What the null store was measured with as this phase does it; None: with nothing like it.
fn ceiling_of(phase: &Phase, calibration: &Calibration) -> Option<Ceiling> {
    match phase.kind.as_str() {
        "training" | "evaluation" => Some(Ceiling {
            requests_per_s_per_rank: calibration.null_store_requests_per_s_per_rank,
            gib_per_s_per_rank: calibration.null_store_gib_per_s_per_rank,
        }),
        "checkpoint_save" => calibration.checkpoint_save,
        "checkpoint_restore" => calibration.checkpoint_restore,
        _ => None,
    }
}

/// Whether the client used nearly all CPU time that it could have.
fn client_cpus(phase: &Phase, findings: &mut Vec<(Status, String)>) {
    let share = phase.client.cpu_share_max;
    // A dataset that was there whole: its window is as short as a look at the clock.
    let nothing = phase.kind == "datagen" && phase.bytes.requested == 0;
    if share >= CPU_SHARE && !nothing {
        let text = format!(
            "{}: the client used {:.0} % of the CPU time that the ranks of a host may use.",
            phase.name,
            100.0 * share
        );
        findings.push((Status::ClientBound, text));
    }
}

/// Whether making the content took most of the time of a datagen or of writing checkpoints.
fn generator_limit(phase: &Phase, findings: &mut Vec<(Status, String)>) {
    let metrics = serde_json::from_value(phase.metrics.clone());
    let generator_share = match (phase.kind.as_str(), metrics) {
        ("datagen", Ok(DatagenMetrics { generator_share, .. })) => generator_share,
        ("checkpoint_save", _) => phase.checkpoint().map_or(0.0, |metrics| metrics.content_share),
        _ => return,
    };
    if generator_share > GENERATOR_SHARE {
        let text = format!(
            "{}: making the content took {:.0} % of the I/O threads' time.",
            phase.name,
            100.0 * generator_share
        );
        findings.push((Status::ClientBound, text));
    }
}

#[cfg(test)]
#[path = "verdict_tests.rs"]
mod tests;
