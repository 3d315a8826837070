//! `histograms.hlog`: the full latency histograms as an HdrHistogram log (version 1.3), which the
//! HdrHistogram tools of any language read. One interval for each phase and operation, tagged
//! `phase/operation`; values are nanoseconds.

use super::atomic::write_atomic;
use crate::metrics::Histogram;
use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, Tag};
use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

const VERSION: &str = "[Histogram log format version 1.3]";
const LEGEND: &str = concat!(
    r#""StartTimestamp","Interval_Length","Interval_Max","#,
    r#""Interval_Compressed_Histogram""#
);
/// `Interval_Max` is for human eyes and in milliseconds, as HdrHistogram's own writers have it.
const MAX_DIVISOR: f64 = 1e6;

/// The histogram of one operation in one phase, summed over ranks.
#[derive(Debug, Clone, Copy)]
pub struct Interval<'a> {
    /// Name of the phase.
    pub phase: &'a str,
    /// `read`, `write`, `sync`, `open`, or a wait such as `load_wait`.
    pub operation: &'a str,
    /// Start of the phase since the start of the run.
    pub start: Duration,
    /// Length of the phase.
    pub length: Duration,
    /// Durations.
    pub histogram: &'a Histogram,
}

/// Writes the log; empty histograms are left out.
///
/// # Errors
/// If the file cannot be written; the message names it.
pub fn write(path: &Path, start_unix_ns: u64, intervals: &[Interval]) -> io::Result<()> {
    write_atomic(path, |writer| write_log(writer, start_unix_ns, intervals))
}

fn write_log(
    writer: &mut impl Write,
    start_unix_ns: u64,
    intervals: &[Interval],
) -> io::Result<()> {
    let mut serializer = V2DeflateSerializer::new();
    let start = UNIX_EPOCH + Duration::from_nanos(start_unix_ns);
    // The crate writes no legend, so it goes between two writers.
    IntervalLogWriterBuilder::new()
        .add_comment(VERSION)
        .with_start_time(start)
        .with_base_time(start)
        .begin_log_with(writer, &mut serializer)?;
    writeln!(writer, "{LEGEND}")?;
    let mut log = IntervalLogWriterBuilder::new()
        .with_max_value_divisor(MAX_DIVISOR)
        .begin_log_with(writer, &mut serializer)?;
    for interval in intervals.iter().filter(|interval| interval.histogram.count() > 0) {
        let tag = tag_text(interval);
        let tag = Tag::new(&tag);
        debug_assert!(tag.is_some(), "tag_text replaces what a tag must not hold");
        log.write_histogram(&interval.histogram.to_hdr(), interval.start, interval.length, tag)
            .map_err(|error| io::Error::other(error.to_string()))?;
    }
    Ok(())
}

/// `phase/operation` without the characters that end a tag.
fn tag_text(interval: &Interval) -> String {
    let text = format!("{}/{}", interval.phase, interval.operation);
    text.replace([',', ' ', '\r', '\n'], "-")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;
    use hdrhistogram::serialization::Deserializer;
    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};

    /// The bytes of a base64 text (standard alphabet, padded).
    fn from_base64(text: &str) -> Vec<u8> {
        let digit = |byte: u8| match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            _ => 63,
        };
        let digits: Vec<u8> = text.trim_end_matches('=').bytes().map(digit).collect();
        let group = |group: &[u8]| {
            let bits = (0..4)
                .fold(0u32, |bits, at| bits << 6 | u32::from(group.get(at).copied().unwrap_or(0)));
            bits.to_be_bytes()[1..group.len()].to_vec()
        };
        digits.chunks(4).flat_map(group).collect()
    }

    #[test]
    fn the_crate_reads_the_log_again() {
        let (read, wait, none) =
            (sample::histogram(500, 1_000, 777), sample::histogram(3, 5, 1), Histogram::new());
        let interval = |phase, operation, histogram| Interval {
            phase,
            operation,
            start: Duration::from_millis(1_500),
            length: Duration::from_secs(43),
            histogram,
        };
        let mut log = Vec::new();
        let intervals = [
            interval("training", "read", &read),
            interval("training", "write", &none),
            interval("my phase, two", "load_wait", &wait),
        ];
        write_log(&mut log, 1_700_000_000_500_000_000, &intervals).unwrap();
        let text = String::from_utf8(log).unwrap();
        assert!(text.starts_with(&format!("#{VERSION}\n#[StartTime: 1700000000.500 ")), "{text}");
        assert!(text.contains(&format!("\n{LEGEND}\n")));
        let mut entries = IntervalLogIterator::new(text.as_bytes()).map(Result::unwrap);
        let start = Duration::from_millis(1_700_000_000_500);
        assert_eq!(entries.next(), Some(LogEntry::StartTime(start)));
        assert_eq!(entries.next(), Some(LogEntry::BaseTime(start)));
        let mut deserializer = Deserializer::new();
        for (tag, histogram) in [("training/read", &read), ("my-phase--two/load_wait", &wait)] {
            let Some(LogEntry::Interval(found)) = entries.next() else { panic!("no {tag}") };
            assert_eq!(found.tag().unwrap().as_str(), tag);
            assert_eq!(found.start_timestamp(), Duration::from_millis(1_500));
            assert_eq!(found.duration(), Duration::from_secs(43));
            let bytes = from_base64(found.encoded_histogram());
            let hdr: hdrhistogram::Histogram<u64> =
                deserializer.deserialize(&mut bytes.as_slice()).unwrap();
            assert_eq!(hdr, histogram.to_hdr());
        }
        assert_eq!(entries.next(), None);
    }
}
