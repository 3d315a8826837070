//! `ranks.csv` (one row for each rank and measured phase) and `series.csv` (one row for each bin
//! and phase).
//!
//! Rows of ranks come from an iterator, because a large world has more of them than rank 0 should
//! hold at once; a rank's row travels as a few words of fixed number.

use super::atomic::write_atomic;
use crate::metrics::series::SeriesRow;
use crate::metrics::{ByteCounts, Series};
use std::borrow::Cow;
use std::io::{self, Write};
use std::path::Path;

/// What one rank did in one phase.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct RankFigures {
    /// Length of the phase on this rank.
    pub window_s: f64,
    /// Bytes.
    pub bytes: ByteCounts,
    /// Reads and writes.
    pub operations: u64,
    /// Samples per second of this rank.
    pub samples_per_s: f64,
    /// Official AU of this rank, mean over epochs.
    pub au_percent: f64,
    /// Mean wait for a batch.
    pub load_mean_s: f64,
    /// Mean compute sleep.
    pub compute_mean_s: f64,
    /// Mean wait in the step barrier.
    pub barrier_mean_s: f64,
    /// User and system time.
    pub cpu_s: f64,
    /// Largest resident set.
    pub peak_rss_bytes: u64,
}

/// One row of `ranks.csv`.
#[derive(Debug, Clone, PartialEq)]
pub struct RankRow {
    /// Rank.
    pub rank: u64,
    /// Its host.
    pub host: String,
    /// Name of the phase.
    pub phase: String,
    /// What it did.
    pub figures: RankFigures,
}

const RANKS_HEADER: &str = "rank,host,phase,window_s,nominal_bytes,requested_bytes,\
    transferred_bytes,operations,gib_per_s,samples_per_s,au_percent,load_mean_s,\
    compute_mean_s,barrier_mean_s,cpu_s,peak_rss_bytes";
const SERIES_HEADER: &str = "phase,start_s,width_s,read_bytes,write_bytes,operations,samples,\
    steps,device,reads,writes,io_ms";
const GIB: f64 = (1u64 << 30) as f64;

impl RankFigures {
    /// Length of [`RankFigures::to_words`].
    pub const WORDS: usize = 12;

    /// As words, to be gathered on rank 0. Floats travel as their bits: gather, do not add.
    pub fn to_words(&self) -> [u64; Self::WORDS] {
        [
            self.window_s.to_bits(),
            self.bytes.nominal,
            self.bytes.requested,
            self.bytes.transferred,
            self.operations,
            self.samples_per_s.to_bits(),
            self.au_percent.to_bits(),
            self.load_mean_s.to_bits(),
            self.compute_mean_s.to_bits(),
            self.barrier_mean_s.to_bits(),
            self.cpu_s.to_bits(),
            self.peak_rss_bytes,
        ]
    }

    /// The reverse of [`RankFigures::to_words`].
    pub fn from_words(words: &[u64; Self::WORDS]) -> Self {
        RankFigures {
            window_s: f64::from_bits(words[0]),
            bytes: ByteCounts::from_words([words[1], words[2], words[3]]),
            operations: words[4],
            samples_per_s: f64::from_bits(words[5]),
            au_percent: f64::from_bits(words[6]),
            load_mean_s: f64::from_bits(words[7]),
            compute_mean_s: f64::from_bits(words[8]),
            barrier_mean_s: f64::from_bits(words[9]),
            cpu_s: f64::from_bits(words[10]),
            peak_rss_bytes: words[11],
        }
    }

    /// Requested bytes over the window.
    fn gib_per_s(&self) -> f64 {
        if self.window_s > 0.0 { self.bytes.requested as f64 / GIB / self.window_s } else { 0.0 }
    }
}

/// Writes `ranks.csv`.
///
/// # Errors
/// If the file cannot be written; the message names it.
pub fn write_ranks(path: &Path, rows: &mut dyn Iterator<Item = RankRow>) -> io::Result<()> {
    write_atomic(path, |writer| {
        writeln!(writer, "{RANKS_HEADER}")?;
        for row in rows {
            write_rank(writer, &row)?;
        }
        Ok(())
    })
}

fn write_rank(writer: &mut impl Write, row: &RankRow) -> io::Result<()> {
    let (host, phase, f) = (quoted(&row.host), quoted(&row.phase), &row.figures);
    write!(writer, "{},{host},{phase},{:.6},", row.rank, f.window_s)?;
    let ByteCounts { nominal, requested, transferred } = f.bytes;
    write!(writer, "{nominal},{requested},{transferred},{},", f.operations)?;
    write!(writer, "{:.6},{:.6},{:.6},", f.gib_per_s(), f.samples_per_s, f.au_percent)?;
    let (load, compute, barrier) = (f.load_mean_s, f.compute_mean_s, f.barrier_mean_s);
    write!(writer, "{load:.9},{compute:.9},{barrier:.9},")?;
    writeln!(writer, "{:.3},{}", f.cpu_s, f.peak_rss_bytes)
}

/// The series of one phase, summed over ranks.
#[derive(Debug, Clone, Copy)]
pub struct PhaseSeries<'a> {
    /// Name of the phase.
    pub phase: &'a str,
    /// Length of the phase.
    pub window_ns: u64,
    /// What happened in it.
    pub series: &'a Series,
}

/// The counters of one block device over the time of one phase.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct DeviceSeries {
    /// Name of the phase.
    pub phase: String,
    /// `vda@node7`.
    pub device: String,
    /// Width of a bin in nanoseconds.
    pub width_ns: u64,
    /// For each bin: bytes read, bytes written, reads, writes, milliseconds with requests.
    pub bins: Vec<[u64; 5]>,
}

fn write_device(writer: &mut impl Write, series: &DeviceSeries) -> io::Result<()> {
    let (phase, device) = (quoted(&series.phase), quoted(&series.device));
    let width_s = series.width_ns as f64 / 1e9;
    for (bin, [read_bytes, write_bytes, reads, writes, io_ms]) in series.bins.iter().enumerate() {
        write!(writer, "{phase},{},{width_s},", bin as f64 * width_s)?;
        write!(writer, "{read_bytes},{write_bytes},{},,,", reads + writes)?;
        writeln!(writer, "{device},{reads},{writes},{io_ms}")?;
    }
    Ok(())
}

/// Writes `series.csv`: what the ranks did, then what devices counted. Those rows name the device
/// in `device`, and have no samples and steps.
///
/// # Errors
/// If the file cannot be written; the message names it.
pub fn write_series(
    path: &Path,
    phases: &[PhaseSeries],
    devices: &[DeviceSeries],
) -> io::Result<()> {
    write_atomic(path, |writer| {
        writeln!(writer, "{SERIES_HEADER}")?;
        for phase in phases {
            let name = quoted(phase.phase);
            for SeriesRow { start_s, width_s, counts } in phase.series.rows(phase.window_ns) {
                write!(writer, "{name},{start_s},{width_s},{},", counts.read_bytes)?;
                write!(writer, "{},{},", counts.write_bytes, counts.operations)?;
                writeln!(writer, "{},{},,,,", counts.samples, counts.steps)?;
            }
        }
        devices.iter().try_for_each(|series| write_device(writer, series))
    })
}

/// A field as RFC 4180 wants it.
fn quoted(field: &str) -> Cow<'_, str> {
    if field.contains([',', '"', '\n', '\r']) {
        Cow::Owned(format!("\"{}\"", field.replace('"', "\"\"")))
    } else {
        Cow::Borrowed(field)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::BinCounts;

    fn figures() -> RankFigures {
        RankFigures {
            window_s: 2.0,
            bytes: ByteCounts { nominal: 1, requested: 1 << 30, transferred: 3 },
            operations: 4,
            samples_per_s: 6.5,
            au_percent: 97.25,
            load_mean_s: 0.125,
            compute_mean_s: 0.25,
            barrier_mean_s: 0.5,
            cpu_s: 1.5,
            peak_rss_bytes: 7,
        }
    }

    #[test]
    fn figures_survive_their_words() {
        assert_eq!(RankFigures::from_words(&figures().to_words()), figures());
    }

    #[test]
    fn a_rank_is_one_row_under_the_header() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ranks.csv");
        let row = |rank, host: &str| RankRow {
            rank,
            host: host.into(),
            phase: "training".into(),
            figures: figures(),
        };
        write_ranks(&path, &mut [row(0, "node1"), row(1, "a,\"b\"")].into_iter()).unwrap();
        let text = std::fs::read_to_string(path).unwrap();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0].split(',').count(), 16);
        assert_eq!(
            lines[1],
            "0,node1,training,2.000000,1,1073741824,3,4,0.500000,6.500000,97.250000,\
             0.125000000,0.250000000,0.500000000,1.500,7"
        );
        assert!(lines[2].starts_with("1,\"a,\"\"b\"\"\",training,"), "{}", lines[2]);
    }

    #[test]
    fn a_bin_is_one_row() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("series.csv");
        let mut series = Series::new();
        let counts =
            BinCounts { read_bytes: 10, write_bytes: 2, operations: 3, samples: 4, steps: 5 };
        series.record(1_500_000_000, &counts);
        let phase = PhaseSeries { phase: "training", window_ns: 2_000_000_000, series: &series };
        let device = DeviceSeries {
            phase: "training".into(),
            device: "vda@node7".into(),
            width_ns: 2_000_000_000,
            bins: vec![[1, 2, 3, 4, 5], [0; 5]],
        };
        write_series(&path, &[phase], &[device]).unwrap();
        let text = std::fs::read_to_string(path).unwrap();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(
            lines,
            [
                SERIES_HEADER,
                "training,0,1,0,0,0,0,0,,,,",
                "training,1,1,10,2,3,4,5,,,,",
                "training,0,2,1,2,7,,,vda@node7,3,4,5",
                "training,2,2,0,0,0,,,vda@node7,0,0,0",
            ]
        );
        let columns = |line: &&str| line.split(',').count();
        assert!(lines.iter().all(|line| columns(line) == 12));
    }
}
