//! File formats: from a file's shape to its byte layout.
//!
//! The content of a byte is that of the generator at the same *file* offset, unless the layout lays something fixed over it
//! (headers, lengths, checksums). So a format describes only its overlay: a sequence of segments that covers the file.
//! A new format is one file with a [`Format`] and one line in [`for_dataset`].

use crate::config::{Dataset, ElementType};
use std::ops::Range;

/// The shape of one file: everything a format needs to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FileShape {
    /// Elements of a sample, rows x columns; `rows * columns * element bytes` is the payload of a sample.
    pub rows: u64,
    /// See `rows`.
    pub columns: u64,
    /// Samples in the file.
    pub samples: u64,
    /// Element type.
    pub element: ElementType,
}

/// Checksum that a layout keeps running over its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SumKind {
    /// CRC-32 (IEEE), little endian: zip.
    Crc32Le,
    /// CRC-32 (IEEE), big endian: PNG.
    Crc32Be,
    /// CRC-32C with TFRecord's mask, little endian.
    MaskedCrc32cLe,
    /// Adler-32, big endian: zlib.
    Adler32Be,
}

/// What stands in a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bytes<'a> {
    /// Generator content at this file offset.
    Content,
    /// Fixed bytes; the segment is as long as the slice.
    Fixed(&'a [u8]),
    /// Four bytes: the value of register `register` after it was fed all bytes before this segment (`before`) or, in a
    /// header that precedes its data, its value at the end of the file (`!before`).
    Sum {
        /// Register 0 or 1.
        register: u8,
        /// Kind; the register's algorithm.
        kind: SumKind,
        /// Value of bytes before this segment (true), or final value (false; the writer patches it last).
        before: bool,
    },
}

/// A run of bytes of one nature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment<'a> {
    /// File offset of the first byte.
    pub start: u64,
    /// Length in bytes, at least 1.
    pub len: u64,
    /// What it holds.
    pub bytes: Bytes<'a>,
    /// Bit i: register i is reset before this segment.
    pub resets: u8,
    /// Bit i: the segment's bytes are fed to register i.
    pub feeds: u8,
}

/// The overlay of one file. Segments follow each other without gaps from 0 to [`Layout::len`].
pub trait Layout {
    /// File length in bytes.
    fn file_bytes(&self) -> u64;
    /// The segment that contains byte `offset` (below `file_bytes`). O(1).
    fn segment_at(&self, offset: u64) -> Segment<'_>;
}

/// A container format.
pub trait Format: Send + Sync {
    /// Suffix of data files, without the dot.
    fn suffix(&self) -> &'static str;
    /// Exact length of a file of this shape.
    fn file_bytes(&self, shape: &FileShape) -> u64;
    /// Bytes that must be read for one sample. Allocates nothing.
    fn extent(&self, shape: &FileShape, sample: u64) -> Range<u64>;
    /// The overlay.
    fn layout(&self, shape: &FileShape) -> Box<dyn Layout>;
    /// A small file that goes with a data file: its name relative to the data folder (`index/train/<file>.idx`) and content.
    fn sidecar(
        &self,
        _split: &str,
        _file_name: &str,
        _shape: &FileShape,
    ) -> Option<(String, Vec<u8>)> {
        None
    }
}

/// The format of a dataset, or a sentence why it is not available.
pub fn for_dataset(_dataset: &Dataset) -> Result<Box<dyn Format>, String> {
    unimplemented!()
}
