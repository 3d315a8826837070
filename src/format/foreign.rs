//! Datasets that other tools wrote: where samples lie in files whose structure is not ours.
//!
//! Names and sample counts come from the configuration, lengths from the file system; only
//! TFRecord needs a look inside, at its index file or at the first record's length, and indexed
//! binary one at its indexes ([`SizeIndex`]). Where samples lie in a foreign HDF5 or CSV file is
//! not looked up: the whole file is read, as the reference does.

use super::FileShape;
pub use super::parquet::decode::{Decoder, ReadRanges};
use super::parquet::foreign::RowGroups;
use super::tfrecord;
use crate::config::{FormatKind, Parquet};
use std::ops::Range;
use std::sync::Arc;

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
            FormatKind::Npz
            | FormatKind::Npy
            | FormatKind::Jpeg
            | FormatKind::Png
            | FormatKind::Hdf5
            | FormatKind::Hdf5Opt
            | FormatKind::Csv => Ok(ForeignExtents::WholeFile(file_bytes)),
            FormatKind::Synthetic => Ok(ForeignExtents::WholeFile(0)),
            FormatKind::Tfrecord => match index {
                Some(text) => from_index(text, file_bytes),
                None => from_first_record(head, file_bytes),
            },
            FormatKind::IndexedBinary | FormatKind::MmapIndexedBinary => {
                Err("its samples are found by its indexes of offsets and lengths".to_string())
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
        RowGroups::from_tail(tail, file_bytes, settings, false).map(ForeignExtents::RowGroups)
    }

    /// [`ForeignExtents::parquet`] of a file whose row groups shall be decoded.
    pub fn decodable_parquet(
        tail: &[u8],
        file_bytes: u64,
        settings: &Parquet,
    ) -> Result<Self, String> {
        RowGroups::from_tail(tail, file_bytes, settings, true).map(ForeignExtents::RowGroups)
    }

    /// Decodes the row groups that samples `first .. first + count` touch, out of the bytes that
    /// [`ForeignExtents::append`] names for them, one range after the other. Returns the number of
    /// values. The error is a sentence about the file, without its name.
    pub fn decode(
        &self,
        first: u64,
        count: u64,
        read: &Arc<ReadRanges>,
        decoder: &mut Decoder,
    ) -> Result<u64, String> {
        let ForeignExtents::RowGroups(groups) = self else {
            return Err("it is no parquet file".into());
        };
        let (mut sample, mut values) = (first, 0);
        while sample < first + count {
            let (Some((samples, _)), Some((file, chunks, rows))) =
                (groups.group(sample), groups.chunks(sample))
            else {
                return Err(format!("it has no sample {sample} to decode"));
            };
            values += decoder.group(file, chunks, rows, read)?;
            sample = samples.end;
        }
        Ok(values)
    }

    /// The row group of `sample`: its samples and the ranges to read for all of them, in file
    /// order. `None` if the file has no such sample, or is not parquet. Allocates nothing.
    pub fn row_group(&self, sample: u64) -> Option<(Range<u64>, &[Range<u64>])> {
        match self {
            ForeignExtents::RowGroups(groups) => groups.group(sample),
            _ => None,
        }
    }

    /// Appends the ranges to read for samples `first .. first + count` (at least one), in file
    /// order: of each row group of a parquet file that they touch, else from the first sample's
    /// first byte to the last one's end. The error is a sample that the file does not have.
    /// Allocates only if `out` has to grow.
    pub fn append(&self, first: u64, count: u64, out: &mut Vec<Range<u64>>) -> Result<(), u64> {
        let last = first + count - 1;
        if let ForeignExtents::RowGroups(groups) = self {
            let mut sample = first;
            while sample <= last {
                let (samples, ranges) = groups.group(sample).ok_or(last)?;
                out.extend_from_slice(ranges);
                sample = samples.end;
            }
            return Ok(());
        }
        let begin = self.extent(first).ok_or(last)?;
        let end = self.extent(last).ok_or(last)?;
        if begin.start < end.end {
            out.push(begin.start..end.end);
        }
        Ok(())
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

/// Learns from the index of lengths of an indexed binary file, fed in blocks of any size, whether
/// all samples are equally long. Needs no memory for it, however many samples there are.
#[derive(Debug, Default)]
pub struct SizeIndex {
    first: Option<u64>,
    samples: u64,
    differ: bool,
    begun: Vec<u8>,
}

impl SizeIndex {
    /// Most samples of a file whose samples differ in length: their places are kept in memory.
    pub const TABLE_SAMPLES_MAX: u64 = 1 << 24;

    /// Takes the next bytes of the index.
    pub fn feed(&mut self, block: &[u8]) {
        let mut rest = block;
        if !self.begun.is_empty() {
            let missing = (8 - self.begun.len()).min(rest.len());
            let (now, after) = rest.split_at(missing);
            self.begun.extend(now);
            rest = after;
            if let Some(word) = self.begun.first_chunk().copied() {
                self.begun.clear();
                self.take(word);
            }
        }
        let (words, tail) = rest.as_chunks();
        words.iter().for_each(|word| self.take(*word));
        self.begun.extend(tail);
    }

    fn take(&mut self, word: [u8; 8]) {
        let size = u64::from_le_bytes(word);
        self.differ |= *self.first.get_or_insert(size) != size;
        self.samples += 1;
    }

    /// The extents, if all samples are equally long and fill the file. The index of offsets is not
    /// asked: the reference starts it anew with each buffer it writes, so above 2 GiB it is wrong.
    /// `None`: both indexes must be read.
    ///
    /// Errors: an index that is none, or of too many different samples.
    pub fn extents(&self, file_bytes: u64) -> Result<Option<ForeignExtents>, String> {
        let Some(record_bytes) = self.first.filter(|_| self.begun.is_empty()) else {
            return Err("its .sz.idx is empty or cut off; make it anew".to_string());
        };
        let records = self.samples;
        let filled = u128::from(record_bytes) * u128::from(records) == u128::from(file_bytes);
        if !self.differ && filled && record_bytes > 0 {
            return Ok(Some(ForeignExtents::Uniform { record_bytes, records }));
        }
        if records > Self::TABLE_SAMPLES_MAX {
            return Err(format!(
                "its {records} samples differ in length or do not fill the file; such files may \
                 have at most {} samples",
                Self::TABLE_SAMPLES_MAX
            ));
        }
        Ok(None)
    }
}

impl ForeignExtents {
    /// Extents from the two indexes of an indexed binary file of `file_bytes`.
    ///
    /// Errors: indexes that do not belong together or lead out of the file.
    pub fn from_indexes(offsets: &[u8], sizes: &[u8], file_bytes: u64) -> Result<Self, String> {
        let words = |bytes: &[u8]| -> Vec<u64> {
            bytes.as_chunks().0.iter().map(|word| u64::from_le_bytes(*word)).collect()
        };
        if offsets.len() != sizes.len() {
            return Err(format!(
                "its .off.idx has {} bytes and its .sz.idx {}; make both anew",
                offsets.len(),
                sizes.len()
            ));
        }
        let mut ranges = Vec::with_capacity(sizes.len() / 8);
        for (sample, (start, size)) in words(offsets).into_iter().zip(words(sizes)).enumerate() {
            match start.checked_add(size).filter(|end| size > 0 && *end <= file_bytes) {
                Some(end) => ranges.push(start..end),
                None => {
                    return Err(format!(
                        "sample {sample} of its indexes is {size} bytes at {start}, but the file \
                         has {file_bytes} bytes; make the indexes anew"
                    ));
                }
            }
        }
        Ok(ForeignExtents::Table(ranges))
    }

    /// Extents of an indexed binary file without indexes: those of the configured shape, if that
    /// gives the file its length.
    ///
    /// Errors: another length.
    pub fn without_indexes(shape: &FileShape, file_bytes: u64) -> Result<Self, String> {
        if shape.payload_bytes() != file_bytes {
            return Err(format!(
                "it has no .sz.idx, and its {file_bytes} bytes are not {} samples of {} bytes, as \
                 configured; give both indexes or other sizes",
                shape.samples,
                shape.sample_bytes()
            ));
        }
        let (record_bytes, records) = (shape.sample_bytes(), shape.samples);
        Ok(ForeignExtents::Uniform { record_bytes, records })
    }
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
        let parquet = ForeignExtents::detect(FormatKind::Parquet, 12, &[0; 12], None);
        assert!(parquet.unwrap_err().contains("its end is needed"));
    }
}
