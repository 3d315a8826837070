//! `metrics` of the phases of the object micro-benchmark, and what a person reads of them.

use super::result::{Phase, Status};
use super::units::{bytes, duration, percentile};
use crate::metrics::Summary;
use serde::{Deserialize, Serialize};

const GIB: f64 = (1u64 << 30) as f64;
/// An open loop that began this share of its operations or more kept up.
const KEPT_UP: f64 = 0.99;

/// `metrics` of a phase of kind `object` or `object_prefill`.
#[derive(Debug, Clone, Serialize, Deserialize, Default, PartialEq)]
pub struct ObjectMetrics {
    /// Objects of all ranks, there or not.
    pub objects: u64,
    /// Those that are there at the end.
    pub live_objects: u64,
    /// Operations that ended.
    pub operations_done: u64,
    /// Their rate over the longest rank's window.
    pub operations_per_s: f64,
    /// `duration`, `operations`, `autoterm` or `interrupted`.
    pub ended_by: String,
    /// Rate that was asked for; null: closed loop.
    pub offered_per_s: Option<f64>,
    /// Operations whose time came and that were not begun.
    pub not_started: u64,
    /// From the intended start to the start; null: closed loop.
    pub start_delay_ns: Option<Summary>,
    /// From the intended start to the first byte of what is read, where the client can tell.
    pub first_byte_ns: Summary,
    /// Until the first rank had done all its operations.
    pub first_done_s: f64,
    /// Until the last had.
    pub last_done_s: f64,
    /// Rate until then, while all ranks were at work.
    pub operations_per_s_all_at_work: f64,
    /// The same of bytes.
    pub gib_per_s_all_at_work: f64,
    /// Gets, ranges, heads and deletes that found no object and became puts.
    pub made_puts: u64,
    /// Time in the generator, which counts in no latency.
    pub content_s: f64,
    /// Each kind of operation that was done.
    pub by_operation: Vec<ByOperation>,
}

/// One kind of operation.
#[derive(Debug, Clone, Serialize, Deserialize, Default, PartialEq)]
pub struct ByOperation {
    /// `put`, `get`, `range`, `head`, `list`, `delete`.
    pub operation: String,
    /// How many ended.
    pub count: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Their rate over the longest rank's window.
    pub per_s: f64,
    /// The same of bytes.
    pub gib_per_s: f64,
    /// From the (intended) start to the end of one.
    pub latency_ns: Summary,
}

impl ObjectMetrics {
    /// Fills the rates from counts, the window and what was done by `first_done_s` (operations and
    /// bytes).
    pub fn set_rates(&mut self, window_s: f64, first: [u64; 2]) {
        let per = |count: f64, seconds: f64| if seconds > 0.0 { count / seconds } else { 0.0 };
        for one in &mut self.by_operation {
            one.per_s = per(one.count as f64, window_s);
            one.gib_per_s = per(one.bytes as f64 / GIB, window_s);
        }
        self.operations_done = self.by_operation.iter().map(|one| one.count).sum();
        self.operations_per_s = per(self.operations_done as f64, window_s);
        self.operations_per_s_all_at_work = per(first[0] as f64, self.first_done_s);
        self.gib_per_s_all_at_work = per(first[1] as f64 / GIB, self.first_done_s);
    }
}

impl Phase {
    /// The metrics of the object micro-benchmark; None for other kinds.
    pub fn object(&self) -> Option<ObjectMetrics> {
        let is_one = matches!(self.kind.as_str(), "object" | "object_prefill");
        is_one.then(|| serde_json::from_value(self.metrics.clone()).ok()).flatten()
    }
}

/// Whether operations were done, and whether an open loop kept up.
pub(super) fn judge(phase: &Phase, findings: &mut Vec<(Status, String)>) {
    let Some(metrics) = phase.object() else { return };
    let name = &phase.name;
    if metrics.operations_done == 0 {
        let text = format!("{name}: no operation was done; give more time or operations.");
        return findings.push((Status::Invalid, text));
    }
    let (done, missed) = (metrics.operations_done, metrics.not_started);
    if let Some(offered) = metrics.offered_per_s
        && (done as f64) < KEPT_UP * (done + missed) as f64
    {
        let rate = metrics.operations_per_s;
        let text = format!(
            "{name}: {offered:.1} operations/s were offered and {rate:.1} done, {missed} were not \
             begun; latencies grow with the length of such a run; offer less or raise \
             object.in_flight."
        );
        findings.push((Status::Invalid, text));
    }
}

/// Lines of the summary.
pub(super) fn lines(metrics: &ObjectMetrics, lines: &mut Vec<(&str, String)>) {
    let m = metrics;
    lines.push(("objects", format!("{} of {} there at the end", m.live_objects, m.objects)));
    let pace = match m.offered_per_s {
        Some(offered) => format!(", {offered:.1}/s offered, {} not begun", m.not_started),
        None => String::new(),
    };
    let ended = &m.ended_by;
    lines.push(("operations", format!("{} ended by {ended}{pace}", m.operations_done)));
    for one in &m.by_operation {
        let latency = &one.latency_ns;
        let mean = latency.mean.map_or("-".into(), duration);
        let moved = match one.bytes {
            0 => String::new(),
            moved => format!(", {} at {:.3} GiB/s", bytes(moved), one.gib_per_s),
        };
        let text = format!(
            "{} at {:.1}/s{moved}; mean {mean}, p50 {}, p99 {}, max {}",
            one.count,
            one.per_s,
            percentile(latency.p50),
            percentile(latency.p99),
            percentile(latency.max)
        );
        lines.push((word(&one.operation), text));
    }
    if m.first_byte_ns.count > 0 {
        let first = &m.first_byte_ns;
        let mean = first.mean.map_or("-".into(), duration);
        let p99 = percentile(first.p99);
        lines.push(("first byte", format!("mean {mean}, p99 {p99} ({} reads)", first.count)));
    }
    if let Some(delay) = &m.start_delay_ns {
        let mean = delay.mean.map_or("-".into(), duration);
        lines.push(("began late", format!("mean {mean}, p99 {}", percentile(delay.p99))));
    }
    let text = format!(
        "first rank done after {:.2} s, last after {:.2} s; {:.1}/s, {:.3} GiB/s while all were at \
         work",
        m.first_done_s, m.last_done_s, m.operations_per_s_all_at_work, m.gib_per_s_all_at_work
    );
    lines.push(("ranks", text));
    if m.made_puts > 0 {
        lines.push(("made puts", format!("{} that found no object to use", m.made_puts)));
    }
}

fn word(operation: &str) -> &'static str {
    let all = ["put", "get", "range", "head", "list", "delete"];
    all.into_iter().find(|known| *known == operation).unwrap_or("other")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;
    use serde_json::json;

    #[test]
    fn an_open_loop_that_falls_behind_is_invalid() {
        let judged = |done: u64, missed: u64, offered: Option<f64>| {
            let mut phase = sample::phase("object");
            phase.metrics["operations_done"] = json!(done);
            phase.metrics["not_started"] = json!(missed);
            phase.metrics["offered_per_s"] = json!(offered);
            let mut findings = Vec::new();
            judge(&phase, &mut findings);
            findings
        };
        assert_eq!(judged(1000, 5, Some(10.0)), []);
        assert_eq!(judged(1000, 500, None), [], "a closed loop offers nothing");
        let found = judged(1000, 50, Some(10.0));
        assert!(found[0].1.contains("50 were not begun"), "{found:?}");
        assert!(judged(0, 0, None)[0].1.contains("no operation"));
    }

    #[test]
    fn rates_are_counts_over_their_windows() {
        let one = |count, bytes| ByOperation { count, bytes, ..Default::default() };
        let mut metrics = ObjectMetrics {
            by_operation: vec![one(100, 1 << 30), one(300, 0)],
            first_done_s: 2.0,
            ..Default::default()
        };
        metrics.set_rates(4.0, [300, 1 << 29]);
        assert_eq!((metrics.operations_done, metrics.operations_per_s), (400, 100.0));
        assert_eq!(metrics.operations_per_s_all_at_work, 150.0);
        assert_eq!(metrics.gib_per_s_all_at_work, 0.25);
        let first = &metrics.by_operation[0];
        assert_eq!((first.per_s, first.gib_per_s), (25.0, 0.25));
    }
}
