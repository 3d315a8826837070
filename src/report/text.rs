//! `summary.txt`, and the same text on the terminal: what a person reads first.
//!
//! One table of phases, one of latencies, a paragraph for each phase with what belongs to it, the
//! ceiling of the client, and the verdict with its reasons at the end, where a terminal leaves it.

mod details;

use super::result::{Ceiling, Phase, Run, RunResult, Status, TrainingMetrics, Verdict};
use super::units::{bytes, duration, percentile, table};
use crate::host::HostFacts;
use crate::metrics::Summary;
use details::details;

/// The whole summary.
pub fn summary(result: &RunResult) -> String {
    let mut text = head(result);
    section(&mut text, "hosts", &hosts(&result.environment));
    section(&mut text, "phases", &phases(&result.phases));
    section(&mut text, "latency", &latencies(&result.phases));
    for phase in &result.phases {
        section(&mut text, &phase.name, &details(phase, &result.config));
    }
    section(&mut text, "client ceiling (null store, this host)", &calibration(result));
    section(&mut text, "settings without effect", &list(&result.config_notes));
    let verdict = &result.verdict;
    if verdict.status != Status::Valid {
        section(&mut text, "what held, and what was not judged", &list(&verdict.held));
    }
    section(&mut text, &format!("verdict: {}", verdict.status), &reasons(verdict));
    text
}

fn section(text: &mut String, title: &str, body: &str) {
    if !body.is_empty() {
        *text += &format!("\n{title}\n{body}");
    }
}

fn cells(cells: &[&str]) -> Vec<String> {
    cells.iter().map(|&cell| cell.to_owned()).collect()
}

fn list(lines: &[String]) -> String {
    lines.iter().map(|line| format!("  {line}\n")).collect()
}

/// Name and value lines.
fn pairs(pairs: &[(&str, String)]) -> String {
    let width = pairs.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let mut text = String::new();
    for (name, value) in pairs {
        text += format!("  {name:<width$}  {value}").trim_end();
        text.push('\n');
    }
    text
}

fn head(result: &RunResult) -> String {
    let (tool, run) = (&result.tool, &result.run);
    let mut text = format!("rankio {} ({})", tool.version, tool.commit);
    if !tool.features.is_empty() {
        text += &format!(", {}", tool.features.join(" "));
    }
    text.push('\n');
    let partial = if run.partial { "  (interrupted)" } else { "" };
    text + &pairs(&[
        ("run", format!("{}{partial}", run.id)),
        ("command", run.command.clone()),
        ("started", run.started.clone()),
        ("ended", run.ended.clone()),
        ("ranks", ranks(run)),
        ("plan", format!("{}, shuffle seed {}", run.plan_hash, run.seed)),
    ])
}

fn ranks(run: &Run) -> String {
    let text = format!("{} on {} host(s), {} each", run.ranks, run.hosts, run.ranks_per_host);
    match run.accelerators / run.ranks.max(1) {
        0 | 1 => text,
        each => format!("{text}; {} accelerators, {each} for each rank", run.accelerators),
    }
}

/// Kinds of hosts that are listed.
const KINDS_LISTED: usize = 8;

/// What matters of a host in two lines; equal hosts are one entry.
fn hosts(environment: &[HostFacts]) -> String {
    let mut kinds: Vec<(String, Vec<&str>)> = Vec::new();
    let mut unlisted = 0u64;
    for host in environment {
        let kind = host_kind(host);
        match kinds.iter().position(|(known, _)| *known == kind) {
            Some(index) => kinds[index].1.push(&host.host),
            None if kinds.len() < KINDS_LISTED => kinds.push((kind, vec![&host.host])),
            None => unlisted += 1,
        }
    }
    let mut text = String::new();
    for (kind, names) in kinds {
        let more =
            if names.len() > 1 { format!(" and {} more", names.len() - 1) } else { "".into() };
        text += &format!("  {}{more}: {kind}\n", names[0]);
    }
    if unlisted > 0 {
        text += &format!("  {unlisted} more hosts that differ from these, see result.json\n");
    }
    text
}

fn host_kind(host: &HostFacts) -> String {
    let memlock = match host.memlock_bytes {
        u64::MAX => "unlimited".to_owned(),
        limit => bytes(limit),
    };
    let device =
        if host.device.is_empty() { String::new() } else { format!(" on {}", host.device) };
    let mut text = format!("{} of {} CPUs", host.cpus_allowed, host.cpus);
    if !host.processor.is_empty() {
        text += &format!(" ({})", host.processor);
    }
    text += &format!(", {}", bytes(host.memory_bytes));
    if host.memory_limit_bytes < host.memory_bytes {
        text += &format!(" (limit {})", bytes(host.memory_limit_bytes));
    }
    text += &format!(", kernel {}", host.kernel);
    for fact in [&host.mpi, &host.filesystem].into_iter().filter(|fact| !fact.is_empty()) {
        text += &format!(", {fact}");
    }
    text + &format!("{device},\n    memlock {memlock}, huge pages {}", host.huge_pages)
}

fn phases(phases: &[Phase]) -> String {
    if phases.is_empty() {
        return String::new();
    }
    let mut rows = vec![cells(&[
        "",
        "seconds",
        "GiB/s",
        "nominal",
        "ops/s",
        "samples/s",
        "AU %",
        "CPU s/GiB",
        "RSS max",
    ])];
    for phase in phases.iter().filter(|phase| phase.is_measured()) {
        let training = phase.training();
        let figure = |value: fn(&TrainingMetrics) -> f64| {
            training.as_ref().map_or("-".to_owned(), |metrics| format!("{:.2}", value(metrics)))
        };
        rows.push(vec![
            phase.name.clone(),
            format!("{:.2}", phase.window_s),
            format!("{:.3}", phase.rate.gib_per_s),
            format!("{:.3}", phase.rate.nominal_gib_per_s),
            format!("{:.0}", phase.rate.ops_per_s),
            figure(|metrics| metrics.samples_per_s_mean),
            figure(|metrics| metrics.au_percent_mean),
            format!("{:.4}", phase.client.cpu_s_per_gib),
            bytes(phase.client.peak_rss_bytes),
        ]);
    }
    table(&rows)
}

const LATENCY_HEADER: [&str; 8] = ["", "count", "min", "mean", "p50", "p99", "p99.9", "max"];

fn latency_row(name: String, summary: &Summary) -> Vec<String> {
    let Summary { min, mean, p50, p99, p999, max, .. } = *summary;
    let mut row = vec![name, summary.count.to_string()];
    row.extend([min, mean, p50, p99, p999, max].map(percentile));
    row
}

/// Latencies of operations, then the waits of training steps.
fn latencies(phases: &[Phase]) -> String {
    let mut rows = vec![cells(&LATENCY_HEADER)];
    for phase in phases.iter().filter(|phase| phase.is_measured()) {
        for operation in ["read", "write", "open", "sync"] {
            let found = phase.latency_ns.get(operation).filter(|summary| summary.count > 0);
            rows.extend(found.map(|s| latency_row(format!("{} {operation}", phase.name), s)));
        }
        let Some(metrics) = phase.training() else { continue };
        let undecoded = Summary::default();
        for (name, summary) in [
            ("decode", metrics.decode_ns.as_ref().unwrap_or(&undecoded)),
            ("step load", &metrics.load_wait_ns),
            ("step compute", &metrics.compute_ns),
            ("step barrier", &metrics.barrier_ns),
        ] {
            if summary.count > 0 {
                rows.push(latency_row(format!("{} {name}", phase.name), summary));
            }
        }
    }
    if rows.len() > 1 { table(&rows) } else { String::new() }
}

fn calibration(result: &RunResult) -> String {
    let Some(c) = &result.calibration else { return String::new() };
    let reads = Ceiling {
        requests_per_s_per_rank: c.null_store_requests_per_s_per_rank,
        gib_per_s_per_rank: c.null_store_gib_per_s_per_rank,
    };
    let reads = (reads != Ceiling::default()).then_some(reads);
    let ranks =
        [("each rank", reads), ("saving", c.checkpoint_save), ("restoring", c.checkpoint_restore)];
    let rate = |c: Ceiling| {
        format!("{:.0} requests/s, {:.2} GiB/s", c.requests_per_s_per_rank, c.gib_per_s_per_rank)
    };
    let mut rows: Vec<_> =
        ranks.into_iter().filter_map(|(name, known)| Some((name, rate(known?)))).collect();
    // A run of checkpoints alone measures neither.
    let thread = |name, rate| match rate {
        0.0 => format!("{name} not measured"),
        rate => format!("{name} {rate:.2} GiB/s"),
    };
    let (generator, verifier) = (c.generator_gib_per_s_per_thread, c.verifier_gib_per_s_per_thread);
    let thread = format!("{}, {}", thread("generator", generator), thread("verifier", verifier));
    rows.push(("each thread", thread));
    // Only steps that compute sleep.
    if let Some(mean) = c.sleep_error_ns.mean {
        let (mean, p99) = (duration(mean), percentile(c.sleep_error_ns.p99));
        rows.push(("sleep error", format!("{mean} mean, {p99} p99")));
    }
    pairs(&rows)
}

/// Why it is what it is: of a valid run, what held.
fn reasons(verdict: &Verdict) -> String {
    let held = if verdict.status == Status::Valid { &verdict.held[..] } else { &[] };
    match list(&verdict.reasons) + &list(held) {
        none if none.is_empty() => "  Every rule held.\n".to_owned(),
        lines => lines,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::result::Ranks;
    use crate::report::sample;
    use std::path::Path;

    /// Rewritten by running this test with `RANKIO_UPDATE_DOCS=1`.
    const GOLDEN: &str = "tests/golden/report/summary.txt";

    /// Bug: a run of checkpoints told of a generator of 0.00 GiB/s that nobody had measured.
    #[test]
    fn a_ceiling_that_nobody_measured_has_no_number() {
        let mut result = sample::result();
        let known = result.calibration.as_mut().unwrap();
        known.generator_gib_per_s_per_thread = 0.0;
        let text = calibration(&result);
        assert!(text.contains("generator not measured, verifier "), "{text}");
        assert!(!text.contains("verifier not measured"), "{text}");
    }

    /// Bug: each summary of checkpoints had a line "sleep error not measured mean, - p99".
    #[test]
    fn a_sleep_error_that_nobody_measured_has_no_line() {
        let mut result = sample::result();
        assert!(calibration(&result).contains("sleep error  3.0 us mean"));
        result.calibration.as_mut().unwrap().sleep_error_ns = Summary::default();
        let text = calibration(&result);
        assert!(text.contains("each thread") && !text.contains("sleep error"), "{text}");
    }

    #[test]
    fn the_summary_is_the_golden_one() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(GOLDEN);
        let text = summary(&sample::result());
        if std::env::var_os("RANKIO_UPDATE_DOCS").is_some() {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, &text).unwrap();
        }
        let golden = std::fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(text, golden, "run again with RANKIO_UPDATE_DOCS=1 if this is intended");
    }

    #[test]
    fn a_failed_run_without_phases_is_told_too() {
        let mut result = sample::result();
        result.phases.clear();
        result.calibration = None;
        result.config_notes.clear();
        result.run.partial = true;
        result.verdict = Verdict {
            status: Status::Invalid,
            reasons: vec!["interrupted.".into()],
            held: Vec::new(),
        };
        let text = summary(&result);
        assert!(text.contains("(interrupted)"), "{text}");
        assert!(text.ends_with("\nverdict: INVALID\n  interrupted.\n"), "{text}");
        assert!(!text.contains("phases") && !text.contains("latency"), "{text}");
    }

    /// Bug: a note that no checkpoint had been due was gone as soon as anything else failed.
    #[test]
    fn what_held_is_told_whatever_the_status_and_before_the_verdict() {
        let mut result = sample::result();
        let valid = summary(&result);
        assert!(valid.ends_with(
            "\nverdict: VALID\n  training: AU 92.50 % reaches the required \
                                 90.00 %.\n"
        ));
        result.verdict.status = Status::Cached;
        result.verdict.reasons = vec!["training: a page cache.".into()];
        let cached = summary(&result);
        assert!(
            cached.ends_with(
                "\nwhat held, and what was not judged\n  training: AU 92.50 % reaches the required \
                 90.00 %.\n\nverdict: CACHED\n  training: a page cache.\n"
            ),
            "{cached}"
        );
    }

    #[test]
    fn unequal_hosts_stand_apart_and_unknown_facts_are_left_out() {
        let mut result = sample::result();
        result.environment[2].memory_limit_bytes = 1 << 30;
        result.environment[2].device.clear();
        let text = hosts(&result.environment);
        assert_eq!(text.lines().count(), 4, "{text}");
        assert!(text.contains("  node1 and 1 more: ") && text.contains("(limit 1.00 GiB)"));
    }

    #[test]
    fn many_kinds_of_hosts_are_cut_short() {
        let host = |cpus| HostFacts { host: format!("n{cpus}"), cpus, ..Default::default() };
        let environment: Vec<HostFacts> = (0..20).map(host).collect();
        let text = hosts(&environment);
        assert!(
            text.ends_with("  12 more hosts that differ from these, see result.json\n"),
            "{text}"
        );
    }

    #[test]
    fn withheld_percentiles_are_dashes() {
        let mut phase = sample::phase("datagen");
        phase.latency_ns.retain(|operation, _| operation == "sync");
        phase.ranks = Ranks::default();
        let text = latencies(&[phase]);
        let row: Vec<&str> = text.lines().last().unwrap().split_whitespace().collect();
        assert_eq!(row[..3], ["datagen", "sync", "2"]);
        assert_eq!(row.iter().filter(|&&cell| cell == "-").count(), 2, "{text}");
    }
}
