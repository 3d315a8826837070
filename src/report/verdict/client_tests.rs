//! Tests of the rules about the client, one at a time.

use super::*;
use crate::report::result::Verdict;
use crate::report::sample;
use crate::report::verdict::judge as judge_run;
use crate::report::verdict::tests::{assert_one, judged};
use serde_json::json;

fn judged_by((phase, ranks): (Phase, u64), calibration: Option<&Calibration>) -> Verdict {
    let phases = [phase];
    judge_run(&Evidence { phases: &phases, calibration, ranks, partial: false, foreign: None })
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
        judged_by((phase, 2), calibration)
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
        judged_by((phase, 1), calibration)
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
        judged_by((phase, 24), None)
    };
    assert_eq!(with(0).status, Status::Valid);
    assert_one(&with(1), Status::ClientBound, &["660 %", "CPU time"]);
}

#[test]
fn a_datagen_that_waits_for_its_generator_is_client_bound() {
    let with = |share: f64| {
        let mut phase = sample::phase("datagen");
        phase.metrics["generator_share"] = json!(share);
        judged_by((phase, 1), None)
    };
    assert_eq!(with(0.8).status, Status::Valid);
    assert_one(&with(0.85), Status::ClientBound, &["datagen", "85 %"]);
}

/// Bug: the verdict of a run of some milliseconds changed from one run to the next.
#[test]
fn a_window_of_milliseconds_is_not_judged_by_rates_or_cpu_time() {
    let calibration = Calibration {
        null_store_gib_per_s_per_rank: 1.0,
        null_store_requests_per_s_per_rank: 100.0,
        checkpoint_save: Some(Ceiling { requests_per_s_per_rank: 1.0, gib_per_s_per_rank: 1.0 }),
        ..Default::default()
    };
    let with = |kind: &str, window_s: f64| {
        let mut phase = sample::phase(kind);
        phase.window_s = window_s;
        (phase.rate.gib_per_s, phase.rate.ops_per_s) = (0.9, 90.0);
        phase.client.cpu_share_max = 2.12;
        phase.metrics["generator_share"] = json!(0.99);
        phase.metrics["content_share"] = json!(0.99);
        phase.metrics["barrier_lost_percent"] = json!(60.0);
        phase.metrics["compute_over_configured_max"]["value"] = json!(3.0);
        phase.metrics["cpu_wait_percent_max"]["value"] = json!(60.0);
        judged_by((phase, 1), Some(&calibration))
    };
    for kind in ["training", "datagen", "checkpoint_save"] {
        let short = with(kind, 0.0125);
        assert_eq!(short.status, Status::Valid, "{short:?}");
        let held = short.held.join(" ");
        assert!(held.contains("the window of 12.50 ms is too short"), "{held}");
        let long = with(kind, 1.0);
        assert_eq!(long.status, Status::ClientBound, "{long:?}");
        assert!(!long.held.join(" ").contains("too short"), "{long:?}");
    }
}

/// Bug: a checkpoint was CLIENT_BOUND at 195 % of a ceiling that something had slowed.
#[test]
fn a_ceiling_that_the_run_exceeds_is_none() {
    let calibration = Calibration {
        checkpoint_save: Some(Ceiling { requests_per_s_per_rank: 52.0, gib_per_s_per_rank: 0.9 }),
        ..Default::default()
    };
    let with = |gib_per_s: f64, ops_per_s: f64| {
        let mut phase = sample::phase("checkpoint_save");
        (phase.rate.gib_per_s, phase.rate.ops_per_s) = (gib_per_s, ops_per_s);
        judged_by((phase, 1), Some(&calibration))
    };
    // By bytes it would be near the ceiling, by requests it is beyond.
    let verdict = with(0.85, 101.4);
    assert_eq!(verdict.status, Status::Valid, "{verdict:?}");
    let note = verdict.held.iter().find(|held| held.contains("it is no ceiling")).unwrap();
    assert!(note.contains("101.40 requests/s for each rank exceed the 52.00"), "{note}");
    assert_eq!(with(0.85, 50.0).reasons.len(), 2);
}

/// Bug: one rank with a busy loop of higher priority on its CPU took 46 ms for steps of 20 ms, and
/// the run was VALID with an AU of 99.96 %.
#[test]
fn compute_that_oversleeps_is_client_bound_and_names_the_worst_rank() {
    let with = |ratio: f64| {
        judged(|phase| phase.metrics["compute_over_configured_max"]["value"] = json!(ratio))
    };
    assert_eq!(with(1.02).status, Status::Valid);
    let words = ["2.300 times as long as configured on rank 5 (node1)", "is 92.49 %"];
    assert_one(&with(2.3), Status::ClientBound, &words);
    let none = judged(|phase| phase.metrics["compute_over_configured_max"] = json!(null));
    assert_eq!(none.status, Status::Valid);
}

/// Bug: 32 ranks on 2 CPUs lost 18 % of their time in barriers, with no word of the CPUs.
#[test]
fn barriers_lost_to_ranks_that_wait_for_a_cpu_are_client_bound() {
    let with = |lost: f64, waited: Option<f64>| {
        judged(|phase| {
            phase.metrics["barrier_lost_percent"] = json!(lost);
            match waited {
                Some(waited) => phase.metrics["cpu_wait_percent_max"]["value"] = json!(waited),
                None => phase.metrics["cpu_wait_percent_max"] = json!(null),
            }
        })
    };
    let words = ["18.0 % of the time was lost", "rank 5 (node1) for 6.5 % of the time"];
    assert_one(&with(18.0, Some(6.5)), Status::ClientBound, &words);
    // Little was lost, or not to the CPU.
    assert_eq!(with(4.9, Some(80.0)).status, Status::Valid);
    for (waited, word) in [(Some(4.4), "look at the network"), (None, "not known")] {
        let verdict = with(18.0, waited);
        assert_eq!(verdict.status, Status::Valid, "{verdict:?}");
        assert!(verdict.held.join(" ").contains(word), "{verdict:?}");
    }
}

/// What a client costs is told of runs on the null store too: that is what these are for.
#[test]
fn the_null_store_is_judged_by_its_compute_and_barriers() {
    let verdict = judged(|phase| {
        phase.storage.engine = "null".into();
        phase.client.cpu_share_max = 1.0;
        phase.metrics["compute_over_configured_max"]["value"] = json!(1.5);
    });
    let reasons = verdict.reasons.join(" ");
    assert_eq!((verdict.status, verdict.reasons.len()), (Status::ClientBound, 2), "{reasons}");
    assert!(reasons.contains("no storage was measured") && reasons.contains("1.500 times"));
    let short = judged(|phase| {
        phase.storage.engine = "null".into();
        phase.window_s = 0.4;
    });
    assert!(short.held.join(" ").contains("the window of 400.00 ms is too short"), "{short:?}");
}
