//! NumPy's `savez` archive: a stored (uncompressed) zip with the samples as `x.npy` and zero
//! labels as `y.npy`.
//!
//! Structure bytes are those that numpy writes through Python's `zipfile`: local headers demand
//! version 4.5, give their sizes as 0xFFFFFFFF with a ZIP64 extra field, and carry the CRC of data
//! that follows them; ZIP64 forms in the central directory and at the end appear above 2^31 - 1
//! bytes, where `zipfile` starts to use them.

use super::npy;
use super::table::{Part, Table};
use super::{FileShape, Format, Layout, SumKind};
use std::ops::Range;

/// Local header, name of five letters, ZIP64 extra field.
const LOCAL_BYTES: u64 = 30 + 5 + 20;
/// Entry of the central directory with its name, without extra field.
const CENTRAL_BYTES: u64 = 46 + 5;
/// End of the central directory.
const END_BYTES: u64 = 22;
/// ZIP64 end of the central directory and its locator.
const END64_BYTES: u64 = 56 + 20;
/// Python's `zipfile.ZIP64_LIMIT`: larger values take the ZIP64 form.
const ZIP64_LIMIT: u64 = (1 << 31) - 1;
/// Version needed and version made by: 4.5, the first with ZIP64.
const VERSION: u16 = 45;
/// 1980-01-01 00:00, the date of every member.
const DOS_TIME_DATE: [u8; 4] = [0, 0, 0x21, 0];
/// Unix permissions 0600 in the upper half.
const EXTERNAL_ATTRIBUTES: u32 = 0o600 << 16;

/// Where things lie in an archive of one shape.
struct Places {
    x_bytes: u64,
    y_bytes: u64,
    y_offset: u64,
    directory_offset: u64,
    directory_bytes: u64,
    file_bytes: u64,
}

impl Places {
    fn of(shape: &FileShape) -> Self {
        let x_bytes = npy::sample_header_bytes(shape) + shape.payload_bytes();
        let y_bytes = npy::LABEL_HEADER_BYTES + 8 * shape.samples;
        let y_offset = LOCAL_BYTES + x_bytes;
        let directory_offset = y_offset + LOCAL_BYTES + y_bytes;
        let directory_bytes = 2 * CENTRAL_BYTES
            + extra64_bytes(central64(x_bytes, 0).0)
            + extra64_bytes(central64(y_bytes, y_offset).0);
        let end64 = if directory_offset > ZIP64_LIMIT { END64_BYTES } else { 0 };
        let file_bytes = directory_offset + directory_bytes + end64 + END_BYTES;
        Places { x_bytes, y_bytes, y_offset, directory_offset, directory_bytes, file_bytes }
    }
}

/// How many 64-bit values the extra field of a central entry holds, and those values: the two
/// sizes and the offset, as far as they are too large for the entry itself.
fn central64(size: u64, offset: u64) -> (usize, [u64; 3]) {
    match (size > ZIP64_LIMIT, offset > ZIP64_LIMIT) {
        (false, false) => (0, [0; 3]),
        (true, false) => (2, [size, size, 0]),
        (false, true) => (1, [offset, 0, 0]),
        (true, true) => (3, [size, size, offset]),
    }
}

fn extra64_bytes(values: usize) -> u64 {
    if values == 0 { 0 } else { 4 + 8 * values as u64 }
}

/// The low 32 bits of a value that fits, or the mark that it stands in the extra field.
fn short(value: u64) -> [u8; 4] {
    let word = if value > ZIP64_LIMIT { u32::MAX } else { value as u32 };
    word.to_le_bytes()
}

/// The local header up to its CRC.
fn local_before_crc() -> Vec<u8> {
    let mut bytes = b"PK\x03\x04".to_vec();
    bytes.extend(VERSION.to_le_bytes());
    bytes.extend([0; 4]);
    bytes.extend(DOS_TIME_DATE);
    bytes
}

/// The local header after its CRC, with name and ZIP64 extra field.
fn local_after_crc(name: &[u8; 5], size: u64) -> Vec<u8> {
    let mut bytes = vec![0xff; 8];
    bytes.extend([5, 0, 20, 0]);
    bytes.extend(name);
    bytes.extend([1, 0, 16, 0]);
    bytes.extend(size.to_le_bytes());
    bytes.extend(size.to_le_bytes());
    bytes
}

/// A central entry up to its CRC.
fn central_before_crc() -> Vec<u8> {
    let mut bytes = b"PK\x01\x02".to_vec();
    // Made by: version 4.5 on Unix (3).
    bytes.extend([VERSION as u8, 3]);
    bytes.extend(VERSION.to_le_bytes());
    bytes.extend([0; 4]);
    bytes.extend(DOS_TIME_DATE);
    bytes
}

/// A central entry after its CRC.
fn central_after_crc(name: &[u8; 5], size: u64, offset: u64) -> Vec<u8> {
    let (count, values) = central64(size, offset);
    let mut bytes = Vec::with_capacity(64);
    bytes.extend(short(size));
    bytes.extend(short(size));
    bytes.extend([5, 0]);
    bytes.extend((extra64_bytes(count) as u16).to_le_bytes());
    bytes.extend([0; 6]);
    bytes.extend(EXTERNAL_ATTRIBUTES.to_le_bytes());
    bytes.extend(short(offset));
    bytes.extend(name);
    if count > 0 {
        bytes.extend([1, 0, 8 * count as u8, 0]);
        bytes.extend(values[..count].iter().flat_map(|value| value.to_le_bytes()));
    }
    bytes
}

/// What follows the central directory.
fn end_of_directory(places: &Places) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(128);
    if places.directory_offset > ZIP64_LIMIT {
        bytes.extend(b"PK\x06\x06");
        bytes.extend(44u64.to_le_bytes());
        bytes.extend(VERSION.to_le_bytes());
        bytes.extend(VERSION.to_le_bytes());
        bytes.extend([0; 8]);
        bytes.extend(2u64.to_le_bytes());
        bytes.extend(2u64.to_le_bytes());
        bytes.extend(places.directory_bytes.to_le_bytes());
        bytes.extend(places.directory_offset.to_le_bytes());
        bytes.extend(b"PK\x06\x07\x00\x00\x00\x00");
        bytes.extend((places.directory_offset + places.directory_bytes).to_le_bytes());
        bytes.extend(1u32.to_le_bytes());
    }
    bytes.extend(b"PK\x05\x06\x00\x00\x00\x00");
    bytes.extend([2, 0, 2, 0]);
    bytes.extend((places.directory_bytes as u32).to_le_bytes());
    // Unlike the entries, this field keeps values up to 2^32 - 1.
    let offset = u32::try_from(places.directory_offset).unwrap_or(u32::MAX);
    bytes.extend(offset.to_le_bytes());
    bytes.extend([0, 0]);
    bytes
}

/// CRC-32 of a label array: its header, then zeros, whose CRC is built by doubling.
fn label_crc(header: &[u8], mut zeros: u64) -> u32 {
    let mut total = crc32fast::Hasher::new();
    total.update(header);
    let mut run = crc32fast::Hasher::new();
    run.update(&[0]);
    while zeros > 0 {
        if zeros & 1 == 1 {
            total.combine(&run);
        }
        run.combine(&run.clone());
        zeros >>= 1;
    }
    total.finalize()
}

/// A stored archive of samples and labels.
pub struct Npz;

impl Format for Npz {
    fn suffix(&self) -> &'static str {
        "npz"
    }

    fn file_bytes(&self, shape: &FileShape) -> u64 {
        Places::of(shape).file_bytes
    }

    /// The whole file: sample is the last axis, so a sample's elements lie all over the array.
    fn extent(&self, shape: &FileShape, _sample: u64) -> Range<u64> {
        0..self.file_bytes(shape)
    }

    fn group_samples(&self, shape: &FileShape) -> u64 {
        // The samples of a file interleave or share one picture: it is read whole.
        shape.samples
    }

    fn layout(&self, shape: &FileShape) -> Box<dyn Layout> {
        let places = Places::of(shape);
        let labels = npy::label_header(shape.samples);
        let y_crc = label_crc(&labels, 8 * shape.samples).to_le_bytes();

        let mut y_start = local_before_crc();
        y_start.extend(y_crc);
        y_start.extend(local_after_crc(b"y.npy", places.y_bytes));
        y_start.extend(labels);

        let mut rest = central_after_crc(b"x.npy", places.x_bytes, 0);
        rest.extend(central_before_crc());
        rest.extend(y_crc);
        rest.extend(central_after_crc(b"y.npy", places.y_bytes, places.y_offset));
        rest.extend(end_of_directory(&places));

        let table = Table::new(Some(SumKind::Crc32Le))
            .push(Part::Fixed(local_before_crc()), 0)
            .push(Part::Sum { before: false }, 0)
            .push(Part::Fixed(local_after_crc(b"x.npy", places.x_bytes)), 0)
            .push(Part::Fixed(npy::sample_header(shape)), 1)
            .push(Part::Content(shape.payload_bytes()), 1)
            .push(Part::Fixed(y_start), 0)
            .push(Part::Zeros(8 * shape.samples), 0)
            .push(Part::Fixed(central_before_crc()), 0)
            .push(Part::Sum { before: true }, 0)
            .push(Part::Fixed(rest), 0);
        debug_assert_eq!(table.file_bytes(), places.file_bytes);
        Box::new(table)
    }
}
