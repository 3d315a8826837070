//! File formats: from a file's shape to its byte layout.
//!
//! The content of a byte is that of the generator at the same *file* offset, unless the layout
//! lays something fixed over it (headers, lengths, checksums). So a format describes only its
//! overlay: a sequence of segments that covers the file. A new format is one file with a
//! [`Format`] and one line in [`for_dataset`].

pub mod content;
pub mod foreign;
mod jpeg;
mod npy;
mod npz;
mod parquet;
mod png;
mod raw;
mod sums;
mod synthetic;
mod table;
#[cfg(test)]
mod tests;
mod tfrecord;

pub use content::{Checker, Filler, Source, check_range};
pub use foreign::ForeignExtents;

use crate::config::{Dataset, ElementType, FormatKind, ImageContent};
use std::ops::Range;

/// The shape of one file: everything a format needs to know. Rows, columns and samples are at
/// least 1 and the payload is below 2^62 bytes; the plan sees to both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FileShape {
    /// Elements of a sample, rows x columns; `rows * columns * element bytes` is the payload of a
    /// sample.
    pub rows: u64,
    /// See `rows`.
    pub columns: u64,
    /// Samples in the file.
    pub samples: u64,
    /// Element type.
    pub element: ElementType,
}

impl FileShape {
    /// Payload of one sample in bytes: `rows * columns * element bytes`.
    pub fn sample_bytes(&self) -> u64 {
        self.rows * self.columns * element_bytes(self.element)
    }

    /// Payload of the file in bytes: that of all its samples.
    pub fn payload_bytes(&self) -> u64 {
        self.sample_bytes() * self.samples
    }
}

/// Width of an element in bytes.
pub fn element_bytes(element: ElementType) -> u64 {
    match element {
        ElementType::Int8 | ElementType::Uint8 | ElementType::Bool => 1,
        ElementType::Int16 | ElementType::Uint16 | ElementType::Float16 => 2,
        ElementType::Int32 | ElementType::Uint32 | ElementType::Float32 => 4,
        ElementType::Int64 | ElementType::Uint64 | ElementType::Float64 => 8,
    }
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
    /// Four bytes: the value of register `register`. The register never feeds on its own sum.
    Sum {
        /// Register 0 or 1; its kind is that of [`Layout::registers`].
        register: u8,
        /// True: the value after all bytes before this segment. False: the value at the end of
        /// the file, for a header that precedes its data (the writer patches it last).
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
    /// Bit i: register i is reset before this segment. All registers start reset at offset 0.
    pub resets: u8,
    /// Bit i: the segment's bytes are fed to register i.
    pub feeds: u8,
}

/// The overlay of one file. Segments follow each other without gaps from 0 to
/// [`Layout::file_bytes`].
pub trait Layout: Send + Sync {
    /// File length in bytes.
    fn file_bytes(&self) -> u64;
    /// The segment that contains byte `offset` (below `file_bytes`). O(1), allocates nothing.
    fn segment_at(&self, offset: u64) -> Segment<'_>;
    /// Kinds of the checksum registers 0 and 1; `None` where a register is not used.
    fn registers(&self) -> [Option<SumKind>; 2] {
        [None, None]
    }
}

/// A container format.
pub trait Format: Send + Sync {
    /// Suffix of data files, without the dot.
    fn suffix(&self) -> &'static str;
    /// Exact length of a file of this shape. Allocates nothing.
    fn file_bytes(&self, shape: &FileShape) -> u64;
    /// Bytes that must be read for one sample. Allocates nothing.
    fn extent(&self, shape: &FileShape, sample: u64) -> Range<u64>;
    /// Samples that can only be read together: a row group of columns, a whole undivided file. Groups
    /// start at multiples of this number. 1: each sample has bytes of its own. Allocates nothing.
    fn group_samples(&self, _shape: &FileShape) -> u64 {
        1
    }
    /// Appends the byte ranges to read for samples `first .. first + count` (at least one, all in one
    /// group), in file order, without overlap. Allocates only if `out` has to grow.
    fn extents(&self, shape: &FileShape, first: u64, count: u64, out: &mut Vec<Range<u64>>) {
        let begin = self.extent(shape, first);
        let end = self.extent(shape, first + count - 1);
        if begin.start < end.end {
            out.push(begin.start..end.end);
        }
    }
    /// The overlay.
    fn layout(&self, shape: &FileShape) -> Box<dyn Layout>;
    /// A small file that goes with a data file: its name relative to the data folder
    /// (`index/train/<file>.idx`) and content. `file_name` is the data file's name without
    /// folders.
    fn sidecar(
        &self,
        _split: &str,
        _file_name: &str,
        _shape: &FileShape,
    ) -> Option<(String, Vec<u8>)> {
        None
    }
}

/// The formats of this version, as they are named in a workload file.
const AVAILABLE: &str = "npz, npy, tfrecord, jpeg, png, synthetic, parquet";

/// The format of a dataset, or a sentence why it is not available.
pub fn for_dataset(dataset: &Dataset) -> Result<Box<dyn Format>, String> {
    let real = dataset.image_content == ImageContent::Real;
    let missing = |name| {
        Err(format!("format {name} is not available in this version; available: {AVAILABLE}"))
    };
    match dataset.format {
        FormatKind::Npz => Ok(Box::new(npz::Npz)),
        FormatKind::Npy => Ok(Box::new(npy::Npy)),
        FormatKind::Tfrecord => Ok(Box::new(tfrecord::Tfrecord)),
        FormatKind::Jpeg if real => Ok(Box::new(jpeg::Jpeg)),
        FormatKind::Jpeg => Ok(Box::new(raw::Raw { suffix: "jpeg" })),
        FormatKind::Png if real => Ok(Box::new(png::Png)),
        FormatKind::Png => Ok(Box::new(raw::Raw { suffix: "png" })),
        FormatKind::Synthetic => Ok(Box::new(synthetic::Synthetic)),
        FormatKind::Hdf5 => missing("hdf5"),
        FormatKind::Hdf5Opt => missing("hdf5_opt"),
        FormatKind::Csv => missing("csv"),
        FormatKind::IndexedBinary => missing("indexed_binary"),
        FormatKind::MmapIndexedBinary => missing("mmap_indexed_binary"),
        FormatKind::Parquet => Ok(Box::new(parquet::Parquet::new(dataset)?)),
    }
}
