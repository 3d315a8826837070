//! `metrics` of the phase `housekeeping`, and what a person reads of them: what was done in the
//! store outside of what is measured.

use super::result::Phase;
use super::units::{bytes, duration, percentile};
use crate::metrics::Summary;
use serde::{Deserialize, Serialize};

/// Kind and name of the phase.
pub const HOUSEKEEPING: &str = "housekeeping";

/// `metrics` of the phase of kind `housekeeping`.
#[derive(Debug, Clone, Serialize, Deserialize, Default, PartialEq)]
pub struct HousekeepingMetrics {
    /// Operations that ended.
    pub operations_done: u64,
    /// Those of them that ended with an error.
    pub failed: u64,
    /// Each kind of operation that was done.
    pub by_operation: Vec<KindOfOperation>,
}

/// One kind of operation.
#[derive(Debug, Clone, Serialize, Deserialize, Default, PartialEq)]
pub struct KindOfOperation {
    /// `open`, `read`, `write`, `sync`, `stat`, `list`, `rename`, `remove`, `folder`, `uploads`.
    pub operation: String,
    /// How many ended.
    pub count: u64,
    /// From the start to the end of one.
    pub latency_ns: Summary,
}

impl Phase {
    /// False for what was done around the phases that are measured and judged.
    pub fn is_measured(&self) -> bool {
        self.kind != HOUSEKEEPING
    }

    /// The metrics of the phase `housekeeping`; None for other kinds.
    pub fn housekeeping(&self) -> Option<HousekeepingMetrics> {
        let is_one = !self.is_measured();
        is_one.then(|| serde_json::from_value(self.metrics.clone()).ok()).flatten()
    }

    /// Requests that the servers of an object store were sent.
    pub fn requests(&self) -> u64 {
        self.storage.endpoints.iter().map(|server| server.operations).sum()
    }
}

/// Lines of the summary; `storage` tells of the store.
pub(super) fn lines(
    phase: &Phase,
    metrics: &HousekeepingMetrics,
    storage: String,
) -> Vec<(&'static str, String)> {
    let meaning = "markers, locks, manifests, looks at names and removals; part of no other phase";
    let moved = format!(
        "requested {}, transferred {}",
        bytes(phase.bytes.requested),
        bytes(phase.bytes.transferred)
    );
    let mut done = format!("{} in {:.2} s", metrics.operations_done, phase.window_s);
    for (count, what) in [(metrics.failed, "failed"), (phase.ops.retries, "retries")] {
        if count > 0 {
            done += &format!(", {count} {what}");
        }
    }
    let mut lines = vec![("what", meaning.into()), ("bytes", moved), ("operations", done)];
    for one in &metrics.by_operation {
        let latency = &one.latency_ns;
        let mean = latency.mean.map_or("-".into(), duration);
        let (p99, max) = (percentile(latency.p99), percentile(latency.max));
        let text = format!("{}; mean {mean}, p99 {p99}, max {max}", one.count);
        lines.push((word(&one.operation), text));
    }
    lines.push(("storage", storage));
    lines
}

fn word(operation: &str) -> &'static str {
    let all =
        ["open", "read", "write", "sync", "stat", "list", "rename", "remove", "folder", "uploads"];
    all.into_iter().find(|known| *known == operation).unwrap_or("other")
}

#[cfg(test)]
mod tests {
    use crate::report::verdict::{Evidence, judge};
    use crate::report::{sample, text};

    #[test]
    fn housekeeping_has_a_paragraph_and_stands_in_no_table() {
        let result = sample::result();
        let phase = result.phases.iter().find(|phase| !phase.is_measured()).unwrap();
        assert!(phase.requests() > 0);
        let text = text::summary(&result);
        let (tables, paragraphs) = text.split_once("\ndatagen\n").unwrap();
        assert!(!tables.contains("housekeeping"), "{tables}");
        let (_, own) = paragraphs.split_once("\nhousekeeping\n").unwrap();
        let own = own.split("\n\n").next().unwrap();
        for line in ["  stat        40; mean ", "request(s)", "part of no other phase"] {
            assert!(own.contains(line), "{line}: {own}");
        }
        for word in ["AU", "slowest rank", "proof"] {
            assert!(!own.contains(word), "{word}: {own}");
        }
    }

    #[test]
    fn housekeeping_is_not_judged() {
        let mut phases = sample::result().phases;
        let judged = |phases: &[crate::report::result::Phase]| {
            judge(&Evidence { phases, calibration: None, ranks: 24, partial: false, foreign: None })
        };
        let before = judged(&phases);
        let own = phases.iter_mut().find(|phase| !phase.is_measured()).unwrap();
        own.storage.direct = Some(false);
        own.storage.engine = "delay(null)".into();
        own.client.cpu_share_max = 1.0;
        let after = judged(&phases);
        assert_eq!((after.status, after.reasons), (before.status, before.reasons));
        assert_eq!(after.held, before.held);
    }
}
