//! Whether the client was the limit: its rates, its CPU time, its sleeps and its barriers.

use super::Evidence;
use crate::report::result::{
    Calibration, Ceiling, DatagenMetrics, Phase, Rate, Status, TrainingMetrics,
};
use crate::report::units::duration;

/// Shorter windows are not judged by rates and CPU time. The kernel brings the CPU time of a thread
/// that runs up to date at its clock ticks, 10 ms apart on the slowest kernels: at both ends of a
/// window of a second that is 2 % of a CPU, of a window of 20 ms all of it. The ceilings are rates
/// of a tenth of a second and more, which the start of a window that is as short does not have.
const JUDGED_FROM_S: f64 = 1.0;
/// A phase that reaches this share of the null store's rate may have been limited by the client.
const CEILING_SHARE: f64 = 0.8;
/// From this share of a host's CPU time on, the client may have been the limit.
const CPU_SHARE: f64 = 0.9;
/// Above this share of the writing threads' time the generator was the limit of a datagen.
const GENERATOR_SHARE: f64 = 0.8;
/// Compute that lasts longer than this, measured over configured, is counted in AU as work that no
/// accelerator did: 2 points of AU at the most are left to it.
const COMPUTE_RATIO: f64 = 1.02;
/// Barriers that cost less than this share of the time do not decide about a run.
const BARRIER_LOST_PERCENT: f64 = 5.0;
/// A barrier waits for another rank in each step, so the wait of one rank for a CPU over the run is
/// a part only of what such waits cost: it must be this share of what was lost.
const CPU_WAIT_OF_LOST: f64 = 0.25;

/// Judges a phase by what the client did.
pub(super) fn judge(
    phase: &Phase,
    evidence: &Evidence,
    findings: &mut Vec<(Status, String)>,
    held: &mut Vec<String>,
) {
    let null = phase.is_null_store();
    let training = phase.training();
    // A dataset that was there whole: its window is as short as a look at the clock.
    let nothing = phase.kind == "datagen" && phase.bytes.requested == 0;
    if phase.window_s < JUDGED_FROM_S {
        if phase.window_s > 0.0 && !nothing && (!null || training.is_some()) {
            let window = duration((phase.window_s * 1e9) as u64);
            held.push(format!(
                "{}: whether the client was the limit is not judged: the window of {window} is too \
                 short for rates and CPU time (at least {JUDGED_FROM_S} s).",
                phase.name
            ));
        }
        return;
    }
    if let Some(metrics) = training {
        overslept(phase, &metrics, findings);
        barriers(phase, &metrics, findings, held);
    }
    if null {
        return;
    }
    ceiling(phase, evidence, findings, held);
    if !nothing {
        cpus(phase, findings);
    }
    generator(phase, findings);
}

/// Compute that lasts longer than configured raises AU and lowers the load.
fn overslept(phase: &Phase, metrics: &TrainingMetrics, findings: &mut Vec<(Status, String)>) {
    let worst = metrics.compute_over_configured_max.as_ref();
    if let Some(worst) = worst.filter(|worst| worst.value > COMPUTE_RATIO) {
        let text = format!(
            "{}: compute lasted {:.3} times as long as configured on rank {} ({}), and AU counts \
             that as work; AU by configured compute is {:.2} %; free the CPUs of that host.",
            phase.name,
            worst.value,
            worst.rank,
            worst.host,
            metrics.au_percent_by_configured_compute
        );
        findings.push((Status::ClientBound, text));
    }
}

/// Barriers in which ranks waited for others that waited for a CPU.
fn barriers(
    phase: &Phase,
    metrics: &TrainingMetrics,
    findings: &mut Vec<(Status, String)>,
    held: &mut Vec<String>,
) {
    let lost = metrics.barrier_lost_percent.unwrap_or(0.0);
    if lost < BARRIER_LOST_PERCENT {
        return;
    }
    let lost_in = format!(
        "{}: {lost:.1} % of the time was lost in step barriers, beyond the waits for data and \
         compute",
        phase.name
    );
    match &metrics.cpu_wait_percent_max {
        Some(worst) if worst.value >= CPU_WAIT_OF_LOST * lost => {
            let text = format!(
                "{lost_in}: ranks waited for a CPU, rank {} ({}) for {:.1} % of the time; use \
                 fewer ranks on a host, or more CPUs.",
                worst.rank, worst.host, worst.value
            );
            findings.push((Status::ClientBound, text));
        }
        Some(worst) => held.push(format!(
            "{lost_in}; no rank waited for a CPU for more than {:.1} % of the time, so look at the \
             network and at hosts that stood still.",
            worst.value
        )),
        None => held.push(format!(
            "{lost_in}; whether ranks waited for a CPU is not known, since this kernel does not \
             count that."
        )),
    }
}

/// Whether the null store would hardly have been faster.
fn ceiling(
    phase: &Phase,
    evidence: &Evidence,
    findings: &mut Vec<(Status, String)>,
    held: &mut Vec<String>,
) {
    let Some(ceiling) = evidence.calibration.and_then(|known| ceiling_of(phase, known)) else {
        return;
    };
    let Rate { gib_per_s, ops_per_s, .. } = phase.rate;
    let ranks = evidence.ranks.max(1) as f64;
    let rates = [
        ("GiB/s", gib_per_s / ranks, ceiling.gib_per_s_per_rank),
        ("requests/s", ops_per_s / ranks, ceiling.requests_per_s_per_rank),
    ];
    let known = || rates.iter().filter(|(_, _, ceiling)| *ceiling > 0.0);
    if let Some((unit, measured, ceiling)) = known().find(|(_, rate, ceiling)| rate > ceiling) {
        return held.push(format!(
            "{}: {measured:.2} {unit} for each rank exceed the {ceiling:.2} {unit} that were \
             measured on the null store: something slowed that measurement, so it is no ceiling \
             and nothing is judged by it.",
            phase.name
        ));
    }
    for (unit, measured, ceiling) in known().filter(|(_, rate, c)| *rate > CEILING_SHARE * c) {
        let share = 100.0 * measured / ceiling;
        let text = format!(
            "{}: {measured:.2} {unit} for each rank is {share:.0} % of the {ceiling:.2} {unit} \
             that this client reaches on the null store.",
            phase.name
        );
        findings.push((Status::ClientBound, text));
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
fn cpus(phase: &Phase, findings: &mut Vec<(Status, String)>) {
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
fn generator(phase: &Phase, findings: &mut Vec<(Status, String)>) {
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
#[path = "client_tests.rs"]
mod tests;
