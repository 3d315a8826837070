//! Tests of the verdict: one rule at a time.

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
    let words = ["epoch 1 began with up to 50.0 %", "without such epochs (1 of 2) AU"];
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
        judge(&Evidence { phases: &[phase], calibration, ranks: 2, partial: false, foreign: None })
    };
    assert_eq!(with(16.0, 1600.0).status, Status::Valid);
    assert_one(&with(18.0, 0.0), Status::ClientBound, &["9.00 GiB/s", "90 %", "10.00"]);
    assert_one(&with(0.0, 1700.0), Status::ClientBound, &["850.00 requests/s", "85 %"]);
}

/// Checkpoints were judged by the ceiling of the training's reads, and without a training by
/// none.
#[test]
fn a_checkpoint_is_judged_by_its_own_ceiling_and_not_by_that_of_reading_samples() {
    let ceiling =
        |gib_per_s_per_rank| Some(Ceiling { gib_per_s_per_rank, requests_per_s_per_rank: 1e9 });
    let calibration = Calibration {
        null_store_gib_per_s_per_rank: 1.0,
        checkpoint_save: ceiling(16.0),
        checkpoint_restore: ceiling(100.0),
        ..Default::default()
    };
    let with = |kind: &str, gib_per_s: f64| {
        let mut phase = sample::phase(kind);
        (phase.rate.gib_per_s, phase.rate.ops_per_s) = (gib_per_s, 1.0);
        let calibration = Some(&calibration);
        let (phases, ranks, partial) = ([phase], 1, false);
        judge(&Evidence { phases: &phases, calibration, ranks, partial, foreign: None })
    };
    assert_eq!(with("checkpoint_save", 10.0).status, Status::Valid);
    assert_one(&with("checkpoint_save", 15.0), Status::ClientBound, &["94 %", "16.00 GiB/s"]);
    assert_eq!(with("checkpoint_restore", 60.0).status, Status::Valid);
    let fast = with("checkpoint_restore", 95.0);
    assert_one(&fast, Status::ClientBound, &["checkpoint_restore", "100.00 GiB/s"]);
    assert_eq!(with("datagen", 10.0).status, Status::Valid);
}

#[test]
fn a_client_out_of_cpu_is_client_bound() {
    let with = |share| judged(|phase| phase.client.cpu_share_max = share);
    assert_eq!(with(0.89).status, Status::Valid);
    assert_one(&with(0.93), Status::ClientBound, &["93 %", "CPU time"]);
}

/// Bug: the second run on a dataset was CLIENT_BOUND by a datagen that wrote nothing.
#[test]
fn a_datagen_that_has_nothing_to_do_is_not_judged_by_its_cpu() {
    let with = |bytes| {
        let mut phase = sample::phase("datagen");
        (phase.client.cpu_share_max, phase.bytes.requested) = (6.6, bytes);
        judge(&Evidence {
            phases: &[phase],
            calibration: None,
            ranks: 24,
            partial: false,
            foreign: None,
        })
    };
    assert_eq!(with(0).status, Status::Valid);
    assert_one(&with(1), Status::ClientBound, &["660 %", "CPU time"]);
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
