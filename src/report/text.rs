//! `summary.txt`, and the same text on the terminal: what a person reads first.
//!
//! One table of phases, one of latencies, a paragraph for each phase with what belongs to it, the
//! ceiling of the client, and the verdict with its reasons at the end, where a terminal leaves it.

use super::checkpoint::{BackgroundMetrics, CheckpointMetrics, StepsBeside};
use super::result::{Ceiling, DatagenMetrics, DirectProof, Phase, Run, RunResult, TrainingMetrics};
use super::units::{bytes, duration, percentile, table};
use crate::host::HostFacts;
use crate::metrics::Summary;
use std::fmt::Write;

/// Epochs that are listed one by one; a longer run is told by its mean.
const EPOCHS_LISTED: usize = 16;

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
    section(&mut text, &format!("verdict: {}", result.verdict.status), &verdict(result));
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
        ("ranks", ranks(run, &result.environment)),
        ("plan", format!("{}, shuffle seed {}", run.plan_hash, run.seed)),
    ])
}

fn ranks(run: &Run, hosts: &[HostFacts]) -> String {
    let (fewest, most) = (hosts.iter().map(|host| host.ranks).min(), run.ranks_per_host);
    let each = match fewest {
        Some(fewest) if fewest < most => format!("{fewest} to {most}"),
        _ => most.to_string(),
    };
    let text = format!("{} on {} host(s), {each} each", run.ranks, run.hosts);
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
    for phase in phases {
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
    for phase in phases {
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

fn details(phase: &Phase, config: &serde_json::Value) -> String {
    let b = &phase.bytes;
    let mut lines = vec![(
        "bytes",
        format!(
            "nominal {}, requested {}, transferred {}",
            bytes(b.nominal),
            bytes(b.requested),
            bytes(b.transferred)
        ),
    )];
    if let Some(metrics) = phase.training() {
        training(&metrics, &mut lines);
    }
    if phase.kind == "datagen"
        && let Ok(metrics) = serde_json::from_value(phase.metrics.clone())
    {
        lines.push(("files", datagen(&metrics)));
    }
    if let Some(metrics) = phase.checkpoint() {
        checkpoints(&metrics, &mut lines);
        if phase.kind == "checkpoint_restore" {
            lines.extend(mapping(config).map(|text| ("mapping", text)));
        }
    }
    if let Some(metrics) = phase.object() {
        super::object::lines(&metrics, &mut lines);
    }
    let operations = &phase.ops;
    if operations.retries > 0 {
        lines.push(("operations", format!("{} retries", operations.retries)));
    }
    let slowest = &phase.ranks.slowest;
    let (median, imbalance) = (slowest.ratio_to_median, phase.ranks.imbalance);
    lines.push((
        "slowest rank",
        format!(
            "{} on {}, {median:.2} x median, {imbalance:.2} x fastest",
            slowest.rank, slowest.host
        ),
    ));
    lines.push(("storage", storage(phase)));
    lines.extend(phase.storage.fallbacks.iter().map(|fallback| ("fallback", fallback.clone())));
    if let Some(proof) = &phase.proof {
        proof_lines(proof, &mut lines);
    }
    if phase.verify.mode != "none" && !phase.verify.mode.is_empty() {
        let v = &phase.verify;
        let (checked, window) = (bytes(v.bytes_checked), &v.window);
        let text = format!("{}, {checked} checked {window} the window", v.mode);
        lines.push(("verify", text));
    }
    pairs(&lines)
}

fn datagen(metrics: &DatagenMetrics) -> String {
    let DatagenMetrics { files_written, files_kept, generator_share, .. } = *metrics;
    let rate = metrics.generator_gib_per_s_per_thread;
    let size = bytes(metrics.file_bytes);
    format!(
        "{files_written} written ({size}), {files_kept} kept; generator {rate:.2} GiB/s in \
         a thread, \
         {:.0} % of the threads' time",
        100.0 * generator_share
    )
}

fn checkpoints(metrics: &CheckpointMetrics, lines: &mut Vec<(&str, String)>) {
    let m = metrics;
    let size = bytes(m.bytes);
    lines.push(("checkpoints", format!("{} of {} files, {size}", m.checkpoints, m.files)));
    let commit = match m.commit_s > 0.0 {
        true => format!("; {:.3} with the commits", m.committed_gib_per_s),
        false => String::new(),
    };
    let strict = m.strict_gib_per_s;
    lines.push(("strict", format!("{strict:.3} GiB/s by the slowest rank{commit}")));
    if m.received_bytes > 0 {
        let (received, rate) = (bytes(m.received_bytes), m.delivered_gib_per_s);
        lines.push(("by MPI", format!("{received} more of each; {rate:.3} GiB/s with it")));
    }
    lines.push((
        "official",
        format!(
            "{:.3} GiB/s (stdev {:.3}) by rank 0, in {:.2} s (stdev {:.2})",
            m.official_gib_per_s_mean,
            m.official_gib_per_s_stdev,
            m.official_duration_s_mean,
            m.official_duration_s_stdev
        ),
    ));
    if m.content == "stamped" {
        let text = "stamped: a megabyte that repeats, with a stamp in each 4 KiB";
        lines.push(("content", text.into()));
    }
    let percent = |share: f64| format!("{:.0} %", 100.0 * share);
    lines.push((
        "thread time",
        format!(
            "content {}, transfers {}, syncs {}, metadata {}",
            percent(m.content_share),
            percent(m.transfer_share),
            percent(m.sync_share),
            percent(m.metadata_share)
        ),
    ));
    if let Some(background) = &m.background {
        in_background(background, lines);
    }
    if m.operations.len() <= EPOCHS_LISTED {
        let times = m.operations.iter().map(|one| {
            let slowest = one.slowest_rank;
            format!("{}: {:.2} s (rank {slowest})", one.checkpoint, one.strict_s)
        });
        lines.push(("slowest", times.collect::<Vec<_>>().join("; ")));
    }
    since_written(m, lines);
}

/// How long checkpoints had been there when they were read.
fn since_written(m: &CheckpointMetrics, lines: &mut Vec<(&str, String)>) {
    let gaps = || m.operations.iter().filter_map(|one| one.gap_s);
    if gaps().next().is_none() {
        return;
    }
    let (least, most) = gaps().fold((f64::MAX, f64::MIN), |(l, m), gap| (l.min(gap), m.max(gap)));
    let command = m.between_s.map_or(String::new(), |s| format!("; --between took {s:.2} s"));
    let text = format!("{least:.2} to {most:.2} s after their commits{command}");
    lines.push(("read", text));
}

/// Whose files a rank read, by `checkpoint.restore`.
fn mapping(config: &serde_json::Value) -> Option<String> {
    let name = config["checkpoint"]["restore"].as_str()?;
    let meaning = match name {
        "same" => "a rank reads what it writes",
        "ring" => "a rank reads files of the next host",
        "random" => "a rank reads files of a rank that is drawn",
        "reshard" => "a rank reads its part on another grid",
        "broadcast" => "one copy of the model reads and sends to the others",
        _ => return Some(name.into()),
    };
    Some(format!("{name}: {meaning}"))
}

/// Checkpoints that were written while the training went on.
fn in_background(background: &BackgroundMetrics, lines: &mut Vec<(&str, String)>) {
    let b = background;
    let snapshot = bytes(b.snapshot_bytes_per_rank);
    lines.push((
        "stalls",
        format!(
            "{:.2} s in all, {:.2} s of it for snapshots of {snapshot} a rank; {:.2} s for commits \
             between steps, {:.2} s in the end",
            b.stall_s, b.snapshot_s, b.settle_s, b.drain_s
        ),
    ));
    let beside = |steps: &StepsBeside| {
        let wait = &steps.load_wait_ns;
        let mean = wait.mean.map_or("-".into(), duration);
        let au = steps.au_percent.map_or("-".into(), |au| format!("{au:.2} %"));
        let p99 = percentile(wait.p99);
        format!("AU {au}, load mean {mean}, p99 {p99} ({} steps)", steps.steps)
    };
    lines.push(("flushes", format!("{:.2} s in all", b.flush_s)));
    lines.push(("during them", beside(&b.during_flush)));
    lines.push(("outside", beside(&b.outside_flush)));
}

fn training(metrics: &TrainingMetrics, lines: &mut Vec<(&str, String)>) {
    let m = metrics;
    let pass = if m.au_pass { "reaches" } else { "misses" };
    lines.push((
        "AU",
        format!(
            "{:.2} % (stdev {:.2}), {pass} the required {:.2} %; {:.2} % with nothing left out",
            m.au_percent_mean, m.au_percent_stdev, m.au_required_percent, m.au_whole_percent
        ),
    ));
    lines.push((
        "samples/s",
        format!(
            "{:.2} (stdev {:.2}); {:.2} with nothing left out; {:.2} by the v2 formula",
            m.samples_per_s_mean,
            m.samples_per_s_stdev,
            m.samples_per_s_whole,
            m.samples_per_s_mean_v2
        ),
    ));
    let (mean, stdev) = (m.nominal_mib_per_s_mean, m.nominal_mib_per_s_stdev);
    lines.push(("MiB/s", format!("{mean:.2} (stdev {stdev:.2}) of nominal bytes")));
    let (start, end) = (m.excluded_start_steps, m.excluded_end_steps);
    lines.push((
        "steps",
        format!(
            "{} in {} epoch(s), {} samples; left out of each block: first {start}, last {end}",
            m.steps, m.epochs, m.samples
        ),
    ));
    if m.au_percent_per_epoch.len() <= EPOCHS_LISTED {
        let epochs = m.au_percent_per_epoch.iter().zip(&m.samples_per_s_per_epoch).enumerate();
        let mut text = String::new();
        for (index, (au, samples)) in epochs {
            let separator = if index > 0 { "; " } else { "" };
            // Writing to a string cannot fail.
            let _ = write!(text, "{separator}{}: {au:.2} %, {samples:.2}/s", index + 1);
        }
        lines.push(("epochs", text));
    }
}

fn storage(phase: &Phase) -> String {
    let facts = &phase.storage;
    let direct = match facts.direct {
        Some(true) => "O_DIRECT",
        Some(false) => "buffered",
        None => "no file opened",
    };
    let registered = if facts.registered_buffers { "registered" } else { "plain" };
    let (engine, pages, alignment) = (&facts.engine, &facts.page_size, facts.alignment);
    if !facts.endpoints.is_empty() && facts.engine.contains("s3-") {
        let each = facts.endpoints.iter().map(|server| {
            let moved = bytes(server.bytes_read + server.bytes_written);
            format!("{} {moved}, {} error(s)", server.url, server.errors)
        });
        return format!("{engine}, {}", each.collect::<Vec<_>>().join("; "));
    }
    format!("{engine}, {direct}, {registered} buffers, {pages} pages, alignment {alignment}")
}

fn proof_lines(proof: &DirectProof, lines: &mut Vec<(&str, String)>) {
    let counted = |count: Option<u64>| count.map_or("not counted".to_owned(), bytes);
    let share = |share: Option<f64>| {
        share.map_or("not sampled".to_owned(), |share| format!("{:.1} %", 100.0 * share))
    };
    let claimed = bytes(proof.claimed_bytes);
    let (process, device) = (counted(proof.process_io_bytes), counted(proof.device_bytes));
    let (before, after) = (share(proof.resident_before), share(proof.resident_after));
    lines.push(("proof", format!("claimed {claimed}, process I/O {process}, device {device}")));
    let cache = match (proof.resident_before, proof.resident_after) {
        (None, None) => "not sampled, or the kernel does not tell this user".to_owned(),
        _ => format!("{before} of sampled pages before, {after} after"),
    };
    lines.push(("page cache", cache));
    let found = proof.alignment_probe.as_ref().map(|probe| &probe.verdict);
    if let Some(text) = found.or(proof.not_probed.as_ref()) {
        lines.push(("probe", text.clone()));
    }
    if let Some(reason) = &proof.memory_device {
        lines.push(("memory", reason.clone()));
    }
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

fn verdict(result: &RunResult) -> String {
    if result.verdict.reasons.is_empty() {
        return "  Every rule held.\n".to_owned();
    }
    list(&result.verdict.reasons)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::result::{Ranks, Status, Verdict};
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

    /// Bug: the summary of a restore did not tell whose files were read.
    #[test]
    fn a_restore_names_its_mapping_and_a_save_does_not() {
        let mut phase = sample::phase("checkpoint_save");
        let config = serde_json::json!({"checkpoint": {"restore": "ring"}});
        assert!(!details(&phase, &config).contains("mapping"));
        phase.kind = "checkpoint_restore".into();
        let text = details(&phase, &config);
        assert!(text.contains("  mapping       ring: a rank reads files of the next"), "{text}");
        let random = crate::config::Restore::Random;
        assert_eq!(serde_json::to_value(random).unwrap(), "random");
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
        result.verdict = Verdict { status: Status::Invalid, reasons: vec!["interrupted.".into()] };
        let text = summary(&result);
        assert!(text.contains("(interrupted)"), "{text}");
        assert!(text.ends_with("\nverdict: INVALID\n  interrupted.\n"), "{text}");
        assert!(!text.contains("phases") && !text.contains("latency"), "{text}");
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
