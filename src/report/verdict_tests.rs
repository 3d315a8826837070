//! Tests of the verdict: one rule at a time.

use super::*;
use crate::report::sample;
use serde_json::json;

pub(super) fn judged(change: impl FnOnce(&mut Phase)) -> Verdict {
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

pub(super) fn assert_one(verdict: &Verdict, status: Status, words: &[&str]) {
    assert_eq!((verdict.status, verdict.reasons.len()), (status, 1), "{verdict:?}");
    let reason = &verdict.reasons[0];
    assert!(reason.ends_with('.') && !reason.contains('\n'), "{reason}");
    words.iter().for_each(|word| assert!(reason.contains(word), "{word} in {reason}"));
}

#[test]
fn a_sound_run_is_valid_and_says_why() {
    let verdict = judged(|_| ());
    assert_eq!((verdict.status, verdict.reasons.len()), (Status::Valid, 0));
    assert_eq!(verdict.held, ["training: AU 92.50 % reaches the required 90.00 %."]);
}

/// Bug: what held was dropped as soon as anything failed, so that a run of some milliseconds that
/// was called CLIENT_BOUND or INVALID did not say that no checkpoint had been due.
#[test]
fn what_held_is_kept_whatever_the_status() {
    let notes = |change: fn(&mut Phase)| {
        let mut training = sample::phase("training");
        let mut saved = sample::phase("checkpoint_save");
        saved.metrics["checkpoints"] = json!(0);
        change(&mut training);
        let phases = [training, saved];
        let ranks = 24;
        let verdict = judge(&Evidence {
            phases: &phases,
            calibration: None,
            ranks,
            partial: false,
            foreign: None,
        });
        (verdict.status, verdict.held.concat().contains("no checkpoint was due"))
    };
    assert_eq!(notes(|_| ()), (Status::Valid, true));
    assert_eq!(notes(|phase| phase.metrics["au_pass"] = json!(false)), (Status::Invalid, true));
    assert_eq!(notes(|phase| phase.storage.direct = Some(false)), (Status::Cached, true));
    assert_eq!(notes(|phase| phase.client.cpu_share_max = 1.0), (Status::ClientBound, true));
}

#[test]
fn an_au_that_only_the_measured_compute_reaches_says_so() {
    let verdict = judged(|phase| phase.metrics["au_percent_by_configured_compute"] = json!(89.9));
    assert_eq!(verdict.status, Status::Valid);
    assert!(verdict.held[0].ends_with("but by configured compute it is 89.90 %."), "{verdict:?}");
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
    assert_eq!((sound.status, sound.held.len()), (Status::Valid, 2), "{sound:?}");
    assert!(sound.held[1].contains("(io.cache drop)"), "{sound:?}");
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
        phase.storage.direct = None;
        let block = &mut phase.metrics["blocks"][0];
        (block["cache_before"], block["resident_before"]) = (json!("cached"), json!(0.5));
        phase.metrics["uncached_epochs"] = json!(1);
    });
    let words = ["epoch 1 began with up to 50.0 %", "without such epochs (1 of 2) AU"];
    assert_one(&verdict, Status::Cached, &words);
}

#[test]
fn residency_is_cached_from_one_percent_on() {
    let with = |before: f64, after: f64| {
        judged(|phase| {
            phase.storage.direct = None;
            let proof = phase.proof.as_mut().unwrap();
            (proof.resident_before, proof.resident_after) = (Some(before), Some(after));
        })
    };
    assert_eq!(with(0.01, 0.01).status, Status::Valid);
    assert_one(&with(0.25, 0.0), Status::Cached, &["25.0 %", "before"]);
    assert_one(&with(0.0, 0.011), Status::Cached, &["1.1 %", "after"]);
}

/// Bug: a file that somebody had read into the page cache made a run CACHED that had read it from
/// the device with O_DIRECT, as all counters agreed.
#[test]
fn pages_that_o_direct_passed_by_do_not_make_a_run_cached() {
    let with = |process: Option<u64>, device: Option<u64>| {
        judged(|phase| {
            let block = &mut phase.metrics["blocks"][0];
            (block["cache_before"], block["resident_before"]) = (json!("cached"), json!(0.5));
            let proof = phase.proof.as_mut().unwrap();
            (proof.resident_before, proof.resident_after) = (Some(0.5), Some(0.5));
            proof.claimed_bytes = 1 << 20;
            (proof.process_io_bytes, proof.device_bytes) = (process, device);
        })
    };
    const MIB: u64 = 1 << 20;
    for (process, device) in [(Some(MIB), Some(MIB)), (Some(MIB), None), (None, Some(2 * MIB))] {
        let verdict = with(process, device);
        assert_eq!(verdict.status, Status::Valid, "{verdict:?}");
        let held = verdict.held.join(" ");
        assert!(held.contains("50.0 % of the sampled pages were in the page cache before"));
        assert!(held.contains("epoch 1 began with up to 50.0 %"), "{held}");
        assert!(held.contains("O_DIRECT passed them by: of 1048576 bytes claimed"), "{held}");
    }
    // Nothing was counted, or less than was claimed: so few bytes are within the slack of claims.
    for (process, device) in [(None, None), (Some(0), Some(MIB)), (Some(MIB), Some(0))] {
        assert_eq!(with(process, device).status, Status::Cached);
    }
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
    // A device that counted nothing of a few bytes proves nothing.
    let verdict = lenient("btrfs", |proof| {
        (proof.claimed_bytes, proof.device_bytes) = (4096, Some(0));
    });
    assert_one(&verdict, Status::Cached, &["counted less than these few bytes"]);
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
    assert_eq!((verdict.status, verdict.held.len()), (Status::Valid, 2), "{verdict:?}");
    assert_eq!(
        verdict.held[1],
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
    assert_eq!(verdict.held, result.verdict.held);
}
