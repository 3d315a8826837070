//! NumPy's array format, version 1.0: a text header padded to 64 bytes, then the array in C order
//! with the shape (rows, columns, samples).
//!
//! The header is byte for byte that of numpy's writer (`numpy/lib/format.py`), including the room
//! it leaves for the first axis to grow to 21 digits.

use super::table::{Part, Table};
use super::{FileShape, Format, Layout};
use crate::config::ElementType;
use std::ops::Range;

/// Magic, version 1.0 and the two bytes of the header length.
const PREFIX_BYTES: u64 = 10;
/// Header and prefix together are a multiple of this.
const ALIGN_BYTES: u64 = 64;
/// Digits that numpy reserves for the first axis.
const GROWTH_DIGITS: u64 = 21;

/// The type as numpy writes it in a header.
fn descr(element: ElementType) -> &'static str {
    match element {
        ElementType::Int8 => "|i1",
        ElementType::Uint8 => "|u1",
        ElementType::Bool => "|b1",
        ElementType::Int16 => "<i2",
        ElementType::Uint16 => "<u2",
        ElementType::Float16 => "<f2",
        ElementType::Int32 => "<i4",
        ElementType::Uint32 => "<u4",
        ElementType::Float32 => "<f4",
        ElementType::Int64 => "<i8",
        ElementType::Uint64 => "<u8",
        ElementType::Float64 => "<f8",
    }
}

/// Text of the header before padding.
fn text(descr: &str, shape: &str) -> String {
    format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({shape}), }}")
}

/// Decimal digits of `value`.
fn digits(value: u64) -> u64 {
    u64::from(value.checked_ilog10().unwrap_or(0)) + 1
}

/// Length in bytes of prefix and header when the unpadded text and the growth room take
/// `text_bytes`. As numpy does, an exact fit still gets a whole row of padding.
fn padded(text_bytes: u64) -> u64 {
    let with_newline = PREFIX_BYTES + text_bytes + 1;
    with_newline + ALIGN_BYTES - with_newline % ALIGN_BYTES
}

/// Prefix and header for a text and the digits of its first axis.
fn header(text: &str, first_axis_digits: u64) -> Vec<u8> {
    let total = padded(text.len() as u64 + GROWTH_DIGITS - first_axis_digits);
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend(((total - PREFIX_BYTES) as u16).to_le_bytes());
    bytes.extend(text.as_bytes());
    bytes.resize(total as usize - 1, b' ');
    bytes.push(b'\n');
    bytes
}

/// Header of the sample array, shape (rows, columns, samples).
pub fn sample_header(shape: &FileShape) -> Vec<u8> {
    let axes = format!("{}, {}, {}", shape.rows, shape.columns, shape.samples);
    header(&text(descr(shape.element), &axes), digits(shape.rows))
}

/// Length in bytes of [`sample_header`]; allocates nothing.
pub fn sample_header_bytes(shape: &FileShape) -> u64 {
    let frame = "{'descr': '|u1', 'fortran_order': False, 'shape': (, , ), }".len() as u64;
    padded(frame + GROWTH_DIGITS + digits(shape.columns) + digits(shape.samples))
}

/// Header of the label array: one int64 for each sample.
pub fn label_header(samples: u64) -> Vec<u8> {
    header(&text("<i8", &format!("{samples},")), digits(samples))
}

/// Length in bytes of [`label_header`], whatever the number of samples: the growth room evens out
/// the digits, and the text then fits into two rows.
pub const LABEL_HEADER_BYTES: u64 = 128;

/// One array a file.
pub struct Npy;

impl Format for Npy {
    fn suffix(&self) -> &'static str {
        "npy"
    }

    fn file_bytes(&self, shape: &FileShape) -> u64 {
        sample_header_bytes(shape) + shape.payload_bytes()
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
        let header = Part::Fixed(sample_header(shape));
        Box::new(Table::new(None).push(header, 0).push(Part::Content(shape.payload_bytes()), 0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_lengths_agree_with_headers() {
        let powers = (0..19).flat_map(|p| [10u64.pow(p), 10u64.pow(p) * 9]);
        for n in powers {
            for (rows, columns, samples) in [(n, 1, 1), (1, n, 1), (1, 1, n), (7, n, n), (n, n, n)]
            {
                let shape = FileShape { rows, columns, samples, element: ElementType::Float32 };
                let header = sample_header(&shape);
                assert_eq!(sample_header_bytes(&shape), header.len() as u64, "{shape:?}");
                assert_eq!(header.len() % 64, 0);
            }
            assert_eq!(label_header(n).len() as u64, LABEL_HEADER_BYTES, "{n}");
        }
    }

    #[test]
    fn header_text() {
        let shape = FileShape { rows: 2, columns: 3, samples: 4, element: ElementType::Uint8 };
        let bytes = sample_header(&shape);
        let expected = "{'descr': '|u1', 'fortran_order': False, 'shape': (2, 3, 4), }";
        assert_eq!(&bytes[..10], b"\x93NUMPY\x01\x00\x76\x00");
        assert_eq!(std::str::from_utf8(&bytes[10..]).unwrap().trim_end(), expected);
        assert_eq!(bytes.last(), Some(&b'\n'));
    }
}
