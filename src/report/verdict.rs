//! What a run is worth: a pure function from its figures to a verdict with reasons.
//!
//! Each rule looks at the phases and answers with sentences that hold the figures it judged by. A
//! failed rule makes the run INVALID; a page cache that may have served bytes makes it CACHED; a
//! client that was the limit makes it CLIENT_BOUND. The gravest of these is the status, the reasons
//! of all of them are kept.

use super::cache::{self, RESIDENCY_TOLERANCE};
use super::foreign::{ForeignSamples, sample_size};
use super::result::{Calibration, DatagenMetrics, DirectProof, Phase, Rate, Status, Verdict};
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
            let reasons = findings.into_iter().map(|(_, reason)| reason).collect();
            return Verdict { status, reasons };
        }
    }
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
    let Some(calibration) = evidence.calibration else { return };
    let Rate { gib_per_s, ops_per_s, .. } = phase.rate;
    let ranks = evidence.ranks.max(1) as f64;
    for (unit, measured, ceiling) in [
        ("GiB/s", gib_per_s / ranks, calibration.null_store_gib_per_s_per_rank),
        ("requests/s", ops_per_s / ranks, calibration.null_store_requests_per_s_per_rank),
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

/// Whether the client used nearly all CPU time that it could have.
fn client_cpus(phase: &Phase, findings: &mut Vec<(Status, String)>) {
    let share = phase.client.cpu_share_max;
    if share >= CPU_SHARE {
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
mod tests {
    use super::*;
    use crate::report::sample;
    use serde_json::json;

    fn judged(change: impl FnOnce(&mut Phase)) -> Verdict {
        let mut phase = sample::phase("training");
        change(&mut phase);
        judge(&Evidence {
            phases: &[phase],
            calibration: None,
            ranks: 24,
            partial: false,
            foreign: None,
        })
    }

    fn assert_one(verdict: &Verdict, status: Status, words: &[&str]) {
        assert_eq!((verdict.status, verdict.reasons.len()), (status, 1), "{verdict:?}");
        let reason = &verdict.reasons[0];
        assert!(reason.ends_with('.') && !reason.contains('\n'), "{reason}");
        words.iter().for_each(|word| assert!(reason.contains(word), "{word} in {reason}"));
    }

    #[test]
    fn a_sound_run_is_valid_and_says_why() {
        assert_one(&judged(|_| ()), Status::Valid, &["92.50 %", "90.00 %"]);
    }

    #[test]
    fn low_au_is_invalid() {
        let verdict = judged(|phase| {
            phase.metrics["au_pass"] = json!(false);
            phase.metrics["au_percent_mean"] = json!(81.239);
        });
        assert_one(&verdict, Status::Invalid, &["training", "81.24 %", "90.00 %"]);
    }

    #[test]
    fn a_training_without_au_is_invalid() {
        let verdict = judged(|phase| phase.metrics = json!({}));
        assert_one(&verdict, Status::Invalid, &["no AU"]);
    }

    #[test]
    fn an_evaluation_is_not_judged_by_au() {
        let verdict = judged(|phase| {
            phase.kind = "evaluation".into();
            phase.metrics["au_pass"] = json!(false);
        });
        assert_eq!((verdict.status, verdict.reasons.len()), (Status::Valid, 0));
    }

    #[test]
    fn injected_faults_and_delays_are_not_valid() {
        for engine in ["delay(uring)", "fault(sync)", "uring+delay(uring)", "fault(delay(uring))"] {
            let verdict = judged(|phase| phase.storage.engine = engine.into());
            assert_one(&verdict, Status::Invalid, &["altered on purpose", engine]);
        }
    }

    #[test]
    fn an_interrupted_run_is_invalid() {
        let phases = [sample::phase("training")];
        let evidence =
            Evidence { phases: &phases, calibration: None, ranks: 1, partial: true, foreign: None };
        assert_one(&judge(&evidence), Status::Invalid, &["interrupted"]);
    }

    #[test]
    fn buffered_files_are_cached() {
        let verdict = judged(|phase| phase.storage.direct = Some(false));
        assert_one(&verdict, Status::Cached, &["without O_DIRECT", "uring"]);
        let unknown = judged(|phase| phase.storage.direct = None);
        assert_eq!(unknown.status, Status::Valid);
    }

    #[test]
    fn buffered_reads_of_an_emptied_cache_count_while_the_kernel_fetched_what_was_read() {
        let with = |state: &str, fetched: Option<u64>| {
            judged(|phase| {
                phase.storage.direct = Some(false);
                phase.bytes.transferred = 1 << 40;
                phase.metrics["cache"] = json!("drop");
                phase.metrics["blocks"][0]["cache_before"] = json!(state);
                let proof = phase.proof.as_mut().unwrap();
                (proof.claimed_bytes, proof.process_io_bytes) = (1 << 40, fetched);
                // Pages of the time before the drop, and those that were read.
                (proof.resident_before, proof.resident_after) = (Some(1.0), Some(1.0));
            })
        };
        let sound = with("cold", Some((1 << 40) + 4096));
        assert_eq!((sound.status, sound.reasons.len()), (Status::Valid, 2), "{sound:?}");
        assert!(sound.reasons[1].contains("(io.cache drop)"), "{sound:?}");
        for (state, fetched, words) in [
            ("cached", Some(1 << 40), "epoch 1 found it filled"),
            ("unknown", Some(1 << 40), "epoch 1 began with what cannot be seen"),
            ("cold", None, "does not count"),
            ("cold", Some(1 << 39), "the kernel fetched 549755813888 bytes for 1099511627776"),
            // Read ahead: some of it may have answered later reads.
            ("cold", Some(5 << 38), "the kernel fetched"),
        ] {
            let verdict = with(state, fetched);
            assert_eq!(verdict.status, Status::Cached, "{verdict:?}");
            assert!(verdict.reasons[0].contains(words), "{words} in {verdict:?}");
        }
    }

    #[test]
    fn cached_epochs_are_named_with_the_means_of_the_others() {
        let verdict = judged(|phase| {
            let block = &mut phase.metrics["blocks"][0];
            (block["cache_before"], block["resident_before"]) = (json!("cached"), json!(0.5));
            phase.metrics["uncached_epochs"] = json!(1);
        });
        let words = ["epoch 1 of 2 began with up to 50.0 %", "without such epochs (1 of 2) AU"];
        assert_one(&verdict, Status::Cached, &words);
    }

    #[test]
    fn residency_is_cached_from_one_percent_on() {
        let with = |before: f64, after: f64| {
            judged(|phase| {
                let proof = phase.proof.as_mut().unwrap();
                (proof.resident_before, proof.resident_after) = (Some(before), Some(after));
            })
        };
        assert_eq!(with(0.01, 0.01).status, Status::Valid);
        assert_one(&with(0.25, 0.0), Status::Cached, &["25.0 %", "before"]);
        assert_one(&with(0.0, 0.011), Status::Cached, &["1.1 %", "after"]);
    }

    #[test]
    fn claims_beyond_what_was_delivered_are_cached() {
        let with = |claimed: u64, device: Option<u64>, process: Option<u64>| {
            judged(|phase| {
                let proof = phase.proof.as_mut().unwrap();
                proof.claimed_bytes = claimed;
                (proof.device_bytes, proof.process_io_bytes) = (device, process);
            })
        };
        const GIB: u64 = 1 << 30;
        assert_eq!(with(GIB, None, None).status, Status::Valid);
        assert_eq!(with(101 * GIB, Some(100 * GIB), None).status, Status::Valid);
        let words = ["claims 109521666048", "devices counted 107374182400"];
        assert_one(&with(102 * GIB, Some(100 * GIB), None), Status::Cached, &words);
        assert_one(&with(GIB, Some(GIB), Some(0)), Status::Cached, &["processes 0"]);
        // Within the slack.
        assert_eq!(with(CLAIM_SLACK_BYTES, Some(0), Some(0)).status, Status::Valid);
    }

    /// A phase whose O_DIRECT was accepted, but misaligned requests too.
    fn lenient(filesystem: &str, change: impl FnOnce(&mut DirectProof)) -> Verdict {
        judged(|phase| {
            let proof = phase.proof.as_mut().unwrap();
            let probe = proof.alignment_probe.as_mut().unwrap();
            (probe.filesystem, probe.enforced) = (filesystem.into(), false);
            change(proof);
        })
    }

    #[test]
    fn accepted_o_direct_alone_proves_nothing() {
        let verdict = lenient("fuse.sshfs", |proof| {
            (proof.device_bytes, proof.process_io_bytes) = (None, None);
        });
        let words = ["could not be proved on fuse.sshfs", "no block device"];
        assert_one(&verdict, Status::Cached, &words);
        let verdict = lenient("overlay", |proof| proof.device_bytes = None);
        assert_one(&verdict, Status::Cached, &["could not be proved on overlay"]);
        // The device's counts are proof enough: btrfs takes misaligned reads.
        assert_eq!(lenient("btrfs", |_| ()).status, Status::Valid);
        // Buffered files are called so and no more.
        let verdict = judged(|phase| {
            phase.storage.direct = Some(false);
            let proof = phase.proof.as_mut().unwrap();
            (proof.alignment_probe, proof.device_bytes) = (None, None);
        });
        assert_one(&verdict, Status::Cached, &["without O_DIRECT"]);
    }

    #[test]
    fn a_phase_that_was_not_probed_needs_a_device_that_counts() {
        let with = |device| {
            judged(|phase| {
                let proof = phase.proof.as_mut().unwrap();
                (proof.alignment_probe, proof.device_bytes) = (None, device);
                proof.not_probed = Some("there is no data file to try".into());
            })
        };
        assert_one(&with(None), Status::Cached, &["could not be proved: there is no data file"]);
        assert_eq!(with(Some(1 << 50)).status, Status::Valid);
    }

    #[test]
    fn parallel_file_systems_rest_on_the_process_counters_and_say_so() {
        let on = |process| {
            lenient("lustre", |proof| {
                proof.alignment_probe.as_mut().unwrap().network = true;
                (proof.device_bytes, proof.process_io_bytes) = (None, process);
            })
        };
        let claimed = sample::phase("training").proof.unwrap().claimed_bytes;
        let verdict = on(Some(claimed));
        assert_eq!((verdict.status, verdict.reasons.len()), (Status::Valid, 2), "{verdict:?}");
        assert_eq!(
            verdict.reasons[1],
            "training: directness on lustre rests on O_DIRECT and this host's process counters; \
             the server's cache is not seen."
        );
        assert_one(&on(Some(claimed / 2)), Status::Cached, &["claims"]);
        assert_one(&on(None), Status::Cached, &["could not be proved on lustre"]);
    }

    #[test]
    fn zfs_is_never_proved() {
        let verdict = judged(|phase| {
            let probe = phase.proof.as_mut().unwrap().alignment_probe.as_mut().unwrap();
            (probe.filesystem, probe.own_cache) = ("zfs".into(), true);
        });
        assert_one(&verdict, Status::Cached, &["could not be proved on zfs", "its own cache"]);
    }

    #[test]
    fn devices_of_memory_are_cached() {
        let verdict = judged(|phase| {
            let reason = "node1: zram0 is compressed memory";
            phase.proof.as_mut().unwrap().memory_device = Some(reason.into());
        });
        assert_one(&verdict, Status::Cached, &["come from memory", "zram0"]);
    }

    #[test]
    fn the_null_store_measures_no_storage() {
        let verdict = judged(|phase| {
            phase.storage.engine = "null".into();
            phase.storage.direct = Some(false);
        });
        assert_one(&verdict, Status::ClientBound, &["no storage was measured"]);
    }

    #[test]
    fn rates_near_the_null_store_are_client_bound() {
        let calibration = Calibration {
            null_store_gib_per_s_per_rank: 10.0,
            null_store_requests_per_s_per_rank: 1000.0,
            ..Default::default()
        };
        let with = |gib_per_s: f64, ops_per_s: f64| {
            let mut phase = sample::phase("training");
            (phase.rate.gib_per_s, phase.rate.ops_per_s) = (gib_per_s, ops_per_s);
            let calibration = Some(&calibration);
            judge(&Evidence {
                phases: &[phase],
                calibration,
                ranks: 2,
                partial: false,
                foreign: None,
            })
        };
        assert_eq!(with(16.0, 1600.0).status, Status::Valid);
        assert_one(&with(18.0, 0.0), Status::ClientBound, &["9.00 GiB/s", "90 %", "10.00"]);
        assert_one(&with(0.0, 1700.0), Status::ClientBound, &["850.00 requests/s", "85 %"]);
    }

    #[test]
    fn a_client_out_of_cpu_is_client_bound() {
        let with = |share| judged(|phase| phase.client.cpu_share_max = share);
        assert_eq!(with(0.89).status, Status::Valid);
        assert_one(&with(0.93), Status::ClientBound, &["93 %", "CPU time"]);
    }

    #[test]
    fn a_datagen_that_waits_for_its_generator_is_client_bound() {
        let with = |share: f64| {
            let mut phase = sample::phase("datagen");
            phase.metrics["generator_share"] = json!(share);
            judge(&Evidence {
                phases: &[phase],
                calibration: None,
                ranks: 1,
                partial: false,
                foreign: None,
            })
        };
        assert_eq!(with(0.8).status, Status::Valid);
        assert_one(&with(0.85), Status::ClientBound, &["datagen", "85 %"]);
    }

    #[test]
    fn the_gravest_finding_is_the_status_and_stands_first() {
        let verdict = judged(|phase| {
            phase.storage.direct = Some(false);
            phase.metrics["au_pass"] = json!(false);
        });
        assert_eq!(verdict.status, Status::Invalid);
        assert_eq!(verdict.reasons.len(), 2);
        assert!(verdict.reasons[0].contains("AU"));
        assert!(verdict.reasons[1].contains("O_DIRECT"));
    }

    #[test]
    fn the_status_of_the_sample_is_what_its_figures_give() {
        let result = sample::result();
        let evidence = Evidence {
            phases: &result.phases,
            calibration: result.calibration.as_ref(),
            ranks: result.run.ranks,
            partial: result.run.partial,
            foreign: None,
        };
        let verdict = judge(&evidence);
        assert_eq!(verdict.status, result.verdict.status);
        assert_eq!(verdict.reasons, result.verdict.reasons);
    }
}
