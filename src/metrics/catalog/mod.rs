//! The one catalogue of every figure in `result.json`: name, unit, how ranks are merged, meaning.
//!
//! `docs/metrics.md` is generated from it, and a test walks a full result and fails on a key that
//! is not here, or on an entry that no result holds. A new metric is one entry.

mod ceiling;
mod checkpoint;
mod client;
mod entries;
mod housekeeping;
mod object;
mod proof;
mod store;
mod verdict;

pub use entries::CATALOG;

use std::fmt::Write;

/// How the values of ranks become the one in the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Merge {
    /// Equal on all ranks, or known to rank 0 alone.
    Rank0,
    /// One value for each host.
    Host,
    /// Sum over ranks.
    Sum,
    /// Largest over ranks.
    Max,
    /// Mean over ranks.
    Mean,
    /// Histograms are summed bucket by bucket; the key holds the fields of [`SUMMARY_FIELDS`].
    Histogram,
    /// Computed from merged values.
    Derived,
}

/// One key of `result.json`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metric {
    /// Keys from the top, `[]` for the elements of a list.
    pub path: &'static str,
    /// Unit; empty for names and flags.
    pub unit: &'static str,
    /// How ranks are merged.
    pub merge: Merge,
    /// Meaning in one sentence.
    pub meaning: &'static str,
}

/// Metrics under one heading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Section {
    /// Heading.
    pub title: &'static str,
    /// Metrics in the order of the file.
    pub metrics: &'static [Metric],
}

/// Fields of every histogram summary with their meaning. Percentiles are null where fewer samples
/// than one beyond them were recorded.
pub const SUMMARY_FIELDS: [(&str, &str); 9] = [
    ("count", "Durations recorded."),
    ("min", "Lower edge of the lowest bucket in use."),
    ("mean", "Exact mean."),
    ("p50", "Median; from 2 samples on."),
    ("p95", "95th percentile; from 20 samples on."),
    ("p99", "99th percentile; from 100 samples on."),
    ("p999", "99.9th percentile; from 1,000 samples on."),
    ("p9999", "99.99th percentile; from 10,000 samples on."),
    ("max", "Upper edge of the highest bucket in use."),
];

/// Objects whose inner keys are not ours to name.
const FOREIGN: [&str; 3] = ["config", "environment[].cpuinfo", "environment[].meminfo"];

impl Merge {
    /// The rule in words.
    pub fn text(self) -> &'static str {
        match self {
            Merge::Rank0 => "rank 0",
            Merge::Host => "each host",
            Merge::Sum => "sum",
            Merge::Max => "max",
            Merge::Mean => "mean",
            Merge::Histogram => "histogram",
            Merge::Derived => "derived",
        }
    }
}

/// The entry of a key path (`phases[].latency_ns.read.p99`), None if it is not in the catalogue.
pub fn find(path: &str) -> Option<&'static Metric> {
    let is_below =
        |parent: &str| path.strip_prefix(parent).is_some_and(|rest| rest.starts_with(['.', '[']));
    let is_field = |parent: &str| {
        let field = path.strip_prefix(parent).and_then(|rest| rest.strip_prefix('.'));
        field.is_some_and(|field| SUMMARY_FIELDS.iter().any(|(name, _)| *name == field))
    };
    CATALOG.iter().flat_map(|section| section.metrics).find(|metric| {
        metric.path == path
            || (metric.merge == Merge::Histogram && is_field(metric.path))
            || (FOREIGN.contains(&metric.path) && is_below(metric.path))
    })
}

/// The text of `docs/metrics.md`.
pub fn markdown() -> String {
    let mut text = String::from(
        "# Metrics\n\n\
         Every key of `result.json` (schema 1): its unit, how the values of ranks are merged, and \
         what it means.\nThis file is generated from `src/metrics/catalog/entries.rs`; \
         `RANKIO_UPDATE_DOCS=1 cargo test --lib catalog` writes it anew.\n\n\
         `[]` stands for the elements of a list. A key that does not apply is null or missing. \
         Bytes and nanoseconds are integers.\n",
    );
    for section in CATALOG {
        text += &format!("\n## {}\n\n", section.title);
        text += "| key | unit | ranks | meaning |\n|---|---|---|---|\n";
        for Metric { path, unit, merge, meaning } in section.metrics {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "| `{path}` | {unit} | {} | {meaning} |", merge.text());
        }
    }
    text += "\n## Fields of a histogram\n\n\
             Buckets are those of HdrHistogram with 3 significant digits from 1 ns to 1 h (0.1 % \
             wide); longer durations count as 1 h.\nA percentile is null while too few samples \
             were recorded to name it.\n\n| field | meaning |\n|---|---|\n";
    for (field, meaning) in SUMMARY_FIELDS {
        let _ = writeln!(text, "| `{field}` | {meaning} |");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::path::Path;

    #[test]
    fn the_document_is_generated() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/metrics.md");
        if std::env::var_os("RANKIO_UPDATE_DOCS").is_some() {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, markdown()).unwrap();
        }
        let document = std::fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(document, markdown(), "run this test with RANKIO_UPDATE_DOCS=1");
    }

    #[test]
    fn every_entry_is_unique_and_a_sentence() {
        let mut seen = BTreeSet::new();
        for metric in CATALOG.iter().flat_map(|section| section.metrics) {
            assert!(seen.insert(metric.path), "{} twice", metric.path);
            assert!(metric.meaning.ends_with('.'), "{}", metric.path);
            assert!(!metric.meaning.contains('|'), "{}", metric.path);
        }
    }

    #[test]
    fn paths_below_an_entry_are_found() {
        assert_eq!(find("phases[].latency_ns.read.p99").unwrap().path, "phases[].latency_ns.read");
        assert_eq!(find("config.io.queue_depth").unwrap().path, "config");
        assert_eq!(find("environment[].meminfo.MemTotal").unwrap().unit, "");
        assert!(find("phases[].latency_ns.read.p42").is_none());
        assert!(find("configuration").is_none());
        assert!(find("phases[].window").is_none());
    }
}
