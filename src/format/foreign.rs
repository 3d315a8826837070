//! Datasets that other tools wrote: where samples lie in files whose structure is not ours.
//!
//! Names and sample counts come from the configuration, lengths from the file system; only
//! TFRecord needs a look inside, at its index file or at the first record's length.

use super::parquet::foreign::RowGroups;
use super::tfrecord;
use crate::config::{FormatKind, Parquet};
use std::ops::Range;

/// Bytes of a TFRecord file that [`ForeignExtents::detect`] wants to see.
pub const HEAD_BYTES: u64 = 12;

pub use super::parquet::foreign::{
    TRAILER_BYTES as PARQUET_TRAILER_BYTES, tail_bytes as parquet_tail_bytes,
};

/// Where the samples of one foreign file lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ForeignExtents {
    /// Every sample needs the whole file of this many bytes.
    WholeFile(u64),
    /// Records of one length back to back.
    Uniform {
        /// Bytes of a record.
        record_bytes: u64,
        /// Number of records.
        records: u64,
    },
    /// One range for each sample.
    Table(Vec<Range<u64>>),
    /// Several ranges for each row group of a parquet file.
    RowGroups(RowGroups),
}

impl ForeignExtents {
    /// Extents of a file of `file_bytes` that begins with `head` (at least [`HEAD_BYTES`], or all
    /// there is; looked at for TFRecord only). `index` is the text of its index file, if it has
    /// one. The error is a sentence about this file, without its name.
    pub fn detect(
        kind: FormatKind,
        file_bytes: u64,
        head: &[u8],
        index: Option<&str>,
    ) -> Result<Self, String> {
        match kind {
            FormatKind::Npz | FormatKind::Npy | FormatKind::Jpeg | FormatKind::Png => {
                Ok(ForeignExtents::WholeFile(file_bytes))
            }
            FormatKind::Synthetic => Ok(ForeignExtents::WholeFile(0)),
            FormatKind::Tfrecord => match index {
                Some(text) => from_index(text, file_bytes),
                None => from_first_record(head, file_bytes),
            },
            FormatKind::Hdf5
            | FormatKind::Hdf5Opt
            | FormatKind::Csv
            | FormatKind::IndexedBinary
            | FormatKind::MmapIndexedBinary => {
                Err("its format is not available in this version".to_string())
            }
            FormatKind::Parquet => {
                Err("its end is needed to find its row groups, not its beginning".to_string())
            }
        }
    }

    /// Extents of a parquet file of `file_bytes` that ends with `tail`, for the columns that
    /// `settings` selects. How long `tail` has to be, [`parquet_tail_bytes`] knows. The error is a
    /// sentence about this file, without its name.
    pub fn parquet(tail: &[u8], file_bytes: u64, settings: &Parquet) -> Result<Self, String> {
        RowGroups::from_tail(tail, file_bytes, settings).map(ForeignExtents::RowGroups)
    }

    /// The row group of `sample`: its samples and the ranges to read for all of them, in file
    /// order. `None` if the file has no such sample, or is not parquet. Allocates nothing.
    pub fn row_group(&self, sample: u64) -> Option<(Range<u64>, &[Range<u64>])> {
        match self {
            ForeignExtents::RowGroups(groups) => groups.group(sample),
            _ => None,
        }
    }

    /// Bytes to read for `sample`; `None` if the file has no such sample. Allocates nothing.
    pub fn extent(&self, sample: u64) -> Option<Range<u64>> {
        match self {
            ForeignExtents::WholeFile(bytes) => Some(0..*bytes),
            ForeignExtents::Uniform { record_bytes, records } => {
                (sample < *records).then(|| sample * record_bytes..(sample + 1) * record_bytes)
            }
            ForeignExtents::Table(ranges) => ranges.get(usize::try_from(sample).ok()?).cloned(),
            ForeignExtents::RowGroups(groups) => groups.span(sample),
        }
    }

    /// Number of records; `None` where only the configuration knows it.
    pub fn records(&self) -> Option<u64> {
        match self {
            ForeignExtents::WholeFile(_) => None,
            ForeignExtents::Uniform { records, .. } => Some(*records),
            ForeignExtents::Table(ranges) => Some(ranges.len() as u64),
            ForeignExtents::RowGroups(groups) => Some(groups.samples()),
        }
    }
}

/// Reads lines `offset length`; records of one length back to back become arithmetic.
fn from_index(text: &str, file_bytes: u64) -> Result<ForeignExtents, String> {
    let mut ranges = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let range = index_line(line).ok_or_else(|| {
            format!("line {} of its index is not `offset length`: {line:.60}", number + 1)
        })?;
        if range.end > file_bytes {
            return Err(format!(
                "line {} of its index ends at byte {}, but the file has {file_bytes} bytes; \
                 make the index anew",
                number + 1,
                range.end
            ));
        }
        ranges.push(range);
    }
    let Some(first) = ranges.first() else {
        return Err("its index is empty; make the index anew or remove it".to_string());
    };
    let record_bytes = first.end - first.start;
    let uniform = ranges.iter().zip(0..).all(|(range, number)| {
        range.start == record_bytes * number && range.end - range.start == record_bytes
    });
    if uniform {
        let records = ranges.len() as u64;
        return Ok(ForeignExtents::Uniform { record_bytes, records });
    }
    Ok(ForeignExtents::Table(ranges))
}

fn index_line(line: &str) -> Option<Range<u64>> {
    let mut words = line.split_ascii_whitespace();
    let offset: u64 = words.next()?.parse().ok()?;
    let length: u64 = words.next()?.parse().ok()?;
    let nothing_more = words.next().is_none();
    (nothing_more && length > 0).then_some(offset..offset.checked_add(length)?)
}

/// Takes the first record's length for all, if that divides the file.
fn from_first_record(head: &[u8], file_bytes: u64) -> Result<ForeignExtents, String> {
    let Some(payload) = tfrecord::payload_bytes(head) else {
        return Err("it does not begin with the length of a TFRecord (its checksum is wrong); \
                    check that it is one"
            .to_string());
    };
    let record_bytes = payload.saturating_add(tfrecord::OVERHEAD_BYTES);
    if record_bytes > file_bytes || !file_bytes.is_multiple_of(record_bytes) {
        return Err(format!(
            "its {file_bytes} bytes are not a multiple of its first record's {record_bytes}, so \
             its records differ in length; write an index of lines `offset length` to \
             index/<split>/<file>.idx"
        ));
    }
    Ok(ForeignExtents::Uniform { record_bytes, records: file_bytes / record_bytes })
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: [u8; 12] = [0x25, 0x10, 0, 0, 0, 0, 0, 0, 0x7d, 0xd5, 0x81, 0x48];

    fn tfrecord(bytes: u64, index: Option<&str>) -> Result<ForeignExtents, String> {
        ForeignExtents::detect(FormatKind::Tfrecord, bytes, &FRAME, index)
    }

    #[test]
    fn whole_files() {
        let extents = ForeignExtents::detect(FormatKind::Npz, 77, &[], None).unwrap();
        assert_eq!(extents.extent(5), Some(0..77));
        assert_eq!(extents.records(), None);
    }

    #[test]
    fn uniform_records_from_the_first_one_or_from_an_index() {
        let expected = ForeignExtents::Uniform { record_bytes: 4149, records: 3 };
        assert_eq!(tfrecord(3 * 4149, None), Ok(expected.clone()));
        assert_eq!(tfrecord(3 * 4149, Some("0 4149\n4149 4149\n8298 4149\n")), Ok(expected));
        let extents = tfrecord(3 * 4149, None).unwrap();
        assert_eq!(extents.extent(2), Some(8298..12447));
        assert_eq!(extents.extent(3), None);
    }

    #[test]
    fn uneven_records_need_an_index() {
        let extents = tfrecord(100, Some("0 40\n40 60\n")).unwrap();
        assert_eq!(extents, ForeignExtents::Table(vec![0..40, 40..100]));
        assert_eq!(extents.extent(1), Some(40..100));
        assert_eq!(extents.extent(2), None);
        let error = tfrecord(4149 + 1, None).unwrap_err();
        assert!(error.contains("write an index"), "{error}");
    }

    #[test]
    fn refused_with_a_reason() {
        for (bytes, index, reason) in [
            (100, Some(""), "empty"),
            (100, Some("0 40\n40 x\n"), "line 2"),
            (100, Some("0 40 1\n"), "line 1"),
            (100, Some("0 0\n"), "line 1"),
            (100, Some("18446744073709551615 1\n"), "line 1"),
            (100, Some("0 101\n"), "ends at byte 101"),
        ] {
            let error = tfrecord(bytes, index).unwrap_err();
            assert!(error.contains(reason), "{error}");
        }
        let zeros = ForeignExtents::detect(FormatKind::Tfrecord, 12, &[0; 12], None);
        assert!(zeros.unwrap_err().contains("checksum"));
        let hdf5 = ForeignExtents::detect(FormatKind::Hdf5, 12, &[0; 12], None);
        assert!(hdf5.unwrap_err().contains("not available"));
    }
}
