//! Indexed binary: samples back to back without any structure, and beside the data file two
//! indexes of one 64-bit little-endian word for each sample, `<file>.off.idx` with its offset and
//! `<file>.sz.idx` with its length.
//!
//! All samples of a file are equally long, so both indexes are arithmetic series: they are
//! described, never stored, and the offsets are right in files of any length.

use super::computed::WORD_BYTES;
use super::table::{Part, Table};
use super::{Bytes, FileShape, Format, Layout, Segment, Sidecar};
use std::ops::Range;

/// What follows a data file's name in that of the index of offsets.
pub const OFFSETS_SUFFIX: &str = ".off.idx";
/// What follows it in that of the index of lengths.
pub const SIZES_SUFFIX: &str = ".sz.idx";

/// An index: `count` words that begin at `first` and grow by `step`.
struct Index {
    count: u64,
    first: u64,
    step: u64,
}

impl Layout for Index {
    fn file_bytes(&self) -> u64 {
        self.count * WORD_BYTES
    }

    fn segment_at(&self, _offset: u64) -> Segment<'_> {
        let bytes = Bytes::Words { first: self.first, step: self.step };
        Segment { start: 0, len: self.file_bytes(), bytes, resets: 0, feeds: 0 }
    }
}

/// Samples back to back, under the suffix given.
pub struct Indexed {
    /// Suffix of the data files.
    pub suffix: &'static str,
}

impl Format for Indexed {
    fn suffix(&self) -> &'static str {
        self.suffix
    }

    fn file_bytes(&self, shape: &FileShape) -> u64 {
        shape.payload_bytes()
    }

    /// Exactly the sample.
    fn extent(&self, shape: &FileShape, sample: u64) -> Range<u64> {
        let bytes = shape.sample_bytes();
        sample * bytes..(sample + 1) * bytes
    }

    fn layout(&self, shape: &FileShape) -> Box<dyn Layout> {
        Box::new(Table::new(None).push(Part::Content(shape.payload_bytes()), 0))
    }

    fn sidecars(&self, _split: &str, name: &str, shape: &FileShape) -> Vec<Sidecar> {
        let (count, bytes) = (shape.samples, shape.sample_bytes());
        let offsets = Index { count, first: 0, step: bytes };
        let sizes = Index { count, first: bytes, step: 0 };
        [(OFFSETS_SUFFIX, offsets), (SIZES_SUFFIX, sizes)]
            .map(|(suffix, index)| Sidecar {
                name: format!("{name}{suffix}"),
                layout: Box::new(index),
            })
            .into()
    }
}
