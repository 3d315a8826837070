//! The paragraph of a phase in the summary: bytes, figures of its workload, storage and proof.

use super::pairs;
use crate::report::checkpoint::{BackgroundMetrics, CheckpointMetrics, StepsBeside};
use crate::report::result::{DatagenMetrics, DirectProof, Phase, TrainingMetrics};
use crate::report::units::{bytes, duration, percentile};
use crate::report::{housekeeping, object};
use crate::storage::EndpointFacts;
use std::fmt::Write;

/// Epochs that are listed one by one; a longer run is told by its mean.
const EPOCHS_LISTED: usize = 16;

/// A phase by itself: lines of a name and a value.
pub(super) fn details(phase: &Phase, config: &serde_json::Value) -> String {
    if let Some(metrics) = phase.housekeeping() {
        return pairs(&housekeeping::lines(phase, &metrics, storage(phase)));
    }
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
        object::lines(&metrics, &mut lines);
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
            "{:.2} % (stdev {:.2}), {pass} the required {:.2} %; {:.2} % by configured compute; \
             {:.2} % with nothing left out",
            m.au_percent_mean,
            m.au_percent_stdev,
            m.au_required_percent,
            m.au_percent_by_configured_compute,
            m.au_whole_percent
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
    if let Some(lost) = m.barrier_lost_percent {
        let waited = match &m.cpu_wait_percent_max {
            Some(most) => format!("rank {} waited for a CPU {:.1} %", most.rank, most.value),
            None => "waits for a CPU are not counted".into(),
        };
        lines.push((
            "barrier",
            format!("{lost:.1} % of the time lost beyond waits for data and compute; {waited}"),
        ));
    }
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
            let EndpointFacts { url, operations, errors, .. } = server;
            format!("{url} {moved}, {operations} request(s), {errors} error(s)")
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
    let what = if proof.direction == "write" { "written" } else { "read" };
    let text = format!("claimed {claimed} {what}, process I/O {process}, device {device}");
    lines.push(("proof", text));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

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

    /// Bug: compute that overslept raised AU, and the screen showed the raised figure alone.
    #[test]
    fn au_by_configured_compute_stands_beside_the_official_one() {
        let text = details(&sample::phase("training"), &serde_json::json!({}));
        assert!(text.contains("  AU            92.50 % (stdev 1.25), reaches"), "{text}");
        assert!(text.contains("; 92.49 % by configured compute; 88.50 % with noth"), "{text}");
        assert!(text.contains("  barrier       0.4 % of the time lost beyond waits"), "{text}");
    }
}
