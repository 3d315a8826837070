//! Whether a dataset that rankio did not make is the configured one, by the size of its samples.

use super::result::{Phase, Status};

/// Samples of a dataset that rankio did not make, as the configuration has them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ForeignSamples {
    /// Configured mean bytes of a sample.
    pub nominal_bytes: f64,
    /// Bytes that would be read for one in files that rankio makes: containers included, columns
    /// that are not read left out.
    pub planned_bytes: f64,
    /// Configured deviation of the bytes of a sample from file to file.
    pub stdev_bytes: f64,
    /// Samples of a file.
    pub samples_per_file: u64,
    /// Each sample's bytes are read by themselves; else one may cost its whole file, and too many
    /// bytes prove nothing.
    pub read_apart: bool,
}

/// Samples may be smaller or larger than configured by this share.
const SIZE_TOLERANCE: f64 = 0.1;
/// Bytes of a file that its container may add beyond what ours does.
const CONTAINER_BYTES: f64 = 4096.0;
/// Standard errors of the mean within which files of many sizes are of the configured ones.
const SIZE_DEVIATIONS: f64 = 3.0;

/// Whether samples of a dataset that rankio did not make are of the configured size: the official
/// figures take that for granted.
pub(super) fn sample_size(
    phase: &Phase,
    foreign: &ForeignSamples,
    findings: &mut Vec<(Status, String)>,
    held: &mut Vec<String>,
) {
    let read = matches!(phase.kind.as_str(), "training" | "evaluation");
    let samples = phase.bytes.nominal as f64 / foreign.nominal_bytes;
    if !read || phase.is_null_store() || samples < 1.0 {
        return;
    }
    let ForeignSamples { nominal_bytes: nominal, planned_bytes: planned, .. } = *foreign;
    let per_file = foreign.samples_per_file as f64;
    let files = (samples / per_file).max(1.0);
    let spread = SIZE_DEVIATIONS * foreign.stdev_bytes / files.sqrt();
    let found = phase.bytes.requested as f64 / samples;
    let least = (1.0 - SIZE_TOLERANCE) * nominal.min(planned) - spread;
    let most = (1.0 + SIZE_TOLERANCE) * nominal.max(planned) + CONTAINER_BYTES / per_file + spread;
    let text = format!(
        "{}: rankio did not make the dataset; {found:.0} bytes were read for each sample, \
         {nominal:.0} are configured",
        phase.name
    );
    if found < least || (foreign.read_apart && found > most) {
        let text = format!(
            "{text}: samples are not of the configured size, which MB/s and nominal GiB/s are \
             counted by; correct dataset.record_length_bytes."
        );
        findings.push((Status::Invalid, text));
    } else {
        held.push(format!("{text}."));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;
    use crate::report::verdict::{Evidence, judge};

    /// They were VALID, with the rate of the configured size.
    #[test]
    fn samples_of_another_size_than_configured_are_invalid() {
        let with = |requested: f64, change: fn(&mut ForeignSamples)| {
            let mut phase = sample::phase("training");
            phase.bytes.nominal = 100_000_000;
            phase.bytes.requested = (requested * 1e8) as u64;
            let mut foreign = ForeignSamples {
                nominal_bytes: 100_000.0,
                planned_bytes: 100_500.0,
                stdev_bytes: 0.0,
                samples_per_file: 1,
                read_apart: true,
            };
            change(&mut foreign);
            let evidence = Evidence {
                phases: &[phase],
                calibration: None,
                ranks: 24,
                partial: false,
                foreign: Some(foreign),
            };
            let verdict = judge(&evidence);
            (verdict.status, [verdict.reasons, verdict.held].concat().concat())
        };
        let (status, why) = with(0.5, |_| ());
        assert_eq!(status, Status::Invalid);
        for word in ["not of the configured size", "50000 bytes", "100000 are configured"] {
            assert!(why.contains(word), "{word}: {why}");
        }
        assert_eq!(with(2.0, |_| ()).0, Status::Invalid);
        for sound in [0.91, 1.0, 1.1, 1.14] {
            let (status, why) = with(sound, |_| ());
            assert_eq!(status, Status::Valid, "{sound}");
            assert!(why.contains("did not make") && !why.contains("not of the configured"));
        }
        // Where a sample may cost its whole file, many bytes prove nothing; few still do.
        assert_eq!(with(2.0, |of| of.read_apart = false).0, Status::Valid);
        assert_eq!(with(0.5, |of| of.read_apart = false).0, Status::Invalid);
        // 1000 files of many sizes: 3 x 200000 / sqrt(1000) = 19 %.
        assert_eq!(with(0.75, |of| of.stdev_bytes = 200_000.0).0, Status::Valid);
        assert_eq!(with(0.65, |of| of.stdev_bytes = 200_000.0).0, Status::Invalid);
        // A few columns of many.
        assert_eq!(with(0.21, |of| of.planned_bytes = 22_000.0).0, Status::Valid);
    }
}
