//! File formats: from a file's shape to its byte layout.
//!
//! The content of a byte is that of the generator at the same *file* offset, unless the layout
//! lays something fixed over it (headers, lengths, checksums). So a format describes only its
//! overlay: a sequence of segments that covers the file. A new format is one file with a
//! [`Format`] and one line in [`for_dataset`].

mod computed;
pub mod content;
mod csv;
mod encoder;
pub mod foreign;
mod gzip;
mod hdf5;
mod indexed;
mod jpeg;
mod npy;
mod npz;
mod parquet;
mod png;
mod raw;
pub mod safetensors;
mod sums;
mod synthetic;
mod table;
#[cfg(test)]
mod tests;
mod tfrecord;
mod whole;

pub use content::{Checker, Filler, NoContent, Source, check_range};
pub use encoder::{Encoder, Sink};
pub use foreign::{ForeignExtents, SizeIndex};
pub use indexed::{OFFSETS_SUFFIX, SIZES_SUFFIX};
pub use whole::WholeFiles;

use crate::config::{Compression, Dataset, ElementType, FormatKind, ImageContent};
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
    /// Decimal numbers: each four bytes are the content byte under the first of them as three
    /// digits, and a comma; the segment's last comma is a newline. A multiple of four bytes.
    Numbers,
    /// Texts of so many characters, each behind its length as 32 bits, little endian. A character
    /// is `computed::TEXT` at six bits of the content byte under it. A multiple of a text with
    /// its length.
    Text {
        /// Characters of a text.
        characters: u64,
    },
    /// Words of 64 bits, little endian: `first`, `first + step`, ... A multiple of eight bytes.
    Words {
        /// The first word.
        first: u64,
        /// What is added from word to word.
        step: u64,
    },
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
    /// What makes the files where their lengths are known only once they are made; the lengths,
    /// extents and layouts of the other methods are then those of the same content uncompressed.
    /// None: the layout is the file.
    fn encoder(&self) -> Option<&dyn Encoder> {
        None
    }
    /// Length of a file of this shape, exact without an [`Format::encoder`]. Allocates nothing.
    fn file_bytes(&self, shape: &FileShape) -> u64;
    /// Bytes that must be read for one sample. Allocates nothing.
    fn extent(&self, shape: &FileShape, sample: u64) -> Range<u64>;
    /// Samples that can only be read together: a row group of columns, a whole undivided file.
    /// Groups start at multiples of this number. 1: each sample has bytes of its own. Allocates
    /// nothing.
    fn group_samples(&self, _shape: &FileShape) -> u64 {
        1
    }
    /// Appends the byte ranges to read for samples `first .. first + count` (at least one): those
    /// of every group that they touch, in file order, without overlap. Allocates only if `out` has
    /// to grow.
    fn extents(&self, shape: &FileShape, first: u64, count: u64, out: &mut Vec<Range<u64>>) {
        let begin = self.extent(shape, first);
        let end = self.extent(shape, first + count - 1);
        if begin.start < end.end {
            out.push(begin.start..end.end);
        }
    }
    /// Bytes that a reader of all samples of a file asks for, each group once.
    fn read_bytes(&self, shape: &FileShape) -> u64 {
        let mut ranges = Vec::new();
        self.extents(shape, 0, shape.samples, &mut ranges);
        ranges.iter().map(|range| range.end - range.start).sum()
    }
    /// The overlay.
    fn layout(&self, shape: &FileShape) -> Box<dyn Layout>;
    /// The files that go with a data file. `name` is the data file's, relative to the data folder
    /// (`train/img_0_of_8.tfrecord`), and begins with the folder `split`.
    fn sidecars(&self, _split: &str, _name: &str, _shape: &FileShape) -> Vec<Sidecar> {
        Vec::new()
    }
}

/// A file that goes with a data file, such as an index of its samples.
pub struct Sidecar {
    /// Name relative to the data folder.
    pub name: String,
    /// Its bytes, all structure: it is made over [`NoContent`], in blocks as a data file is.
    pub layout: Box<dyn Layout>,
}

/// The format of a dataset, or a sentence why its settings cannot be.
pub fn for_dataset(dataset: &Dataset) -> Result<Box<dyn Format>, String> {
    let real = dataset.image_content == ImageContent::Real;
    match dataset.format {
        FormatKind::Npz => Ok(Box::new(npz::Npz)),
        FormatKind::Npy => Ok(Box::new(npy::Npy)),
        FormatKind::Tfrecord => Ok(Box::new(tfrecord::Tfrecord)),
        FormatKind::Jpeg if real => Ok(Box::new(jpeg::Jpeg)),
        FormatKind::Jpeg => Ok(Box::new(raw::Raw { suffix: "jpeg" })),
        FormatKind::Png if real => Ok(Box::new(png::Png)),
        FormatKind::Png => Ok(Box::new(raw::Raw { suffix: "png" })),
        FormatKind::Synthetic => Ok(Box::new(synthetic::Synthetic)),
        FormatKind::Hdf5 => Ok(Box::new(hdf5::Hdf5::new(dataset, "hdf5")?)),
        FormatKind::Hdf5Opt => Ok(Box::new(hdf5::Hdf5::new(dataset, "hdf5_opt")?)),
        FormatKind::Csv if dataset.compression == Compression::Gzip => {
            let level = dataset.compression_level_used().unwrap_or_default();
            Ok(Box::new(gzip::Gzip::new(Box::new(csv::Csv::new(dataset)?), "csv.gz", level)))
        }
        FormatKind::Csv => Ok(Box::new(csv::Csv::new(dataset)?)),
        FormatKind::IndexedBinary => Ok(Box::new(indexed::Indexed { suffix: "indexed_binary" })),
        FormatKind::MmapIndexedBinary => {
            Ok(Box::new(indexed::Indexed { suffix: "mmap_indexed_binary" }))
        }
        FormatKind::Parquet => Ok(Box::new(parquet::Parquet::new(dataset)?)),
    }
}
