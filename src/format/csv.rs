//! CSV: text without a header, one row for each sample, one integer from 0 to 255 for each element.
//!
//! Each number is a content byte as three digits, `007` for 7, which pandas and numpy read as the
//! integer 7. So every number has four bytes with its comma or newline, every place is found by
//! arithmetic, and what was written can be checked from any byte on. A row of text is four times
//! as long as its elements are many; the reference's, with as many digits as a number needs, is
//! 3.6 times as long.

use super::computed::NUMBER_BYTES;
use super::{Bytes, FileShape, Format, Layout, Segment};
use crate::config::{Dataset, ElementType};
use std::ops::Range;

/// Rows of text.
pub struct Csv;

impl Csv {
    /// The format, or a sentence why the dataset's elements cannot be written in it.
    pub fn new(dataset: &Dataset) -> Result<Csv, String> {
        match dataset.record_element_type {
            ElementType::Int8 | ElementType::Bool => Err(
                "dataset.record_element_type: csv files hold integers from 0 to 255, which int8 \
                 and bool do not; give uint8 or a wider type"
                    .into(),
            ),
            _ => Ok(Csv),
        }
    }
}

/// Bytes of a row with its newline.
fn row_bytes(shape: &FileShape) -> u64 {
    shape.rows * shape.columns * NUMBER_BYTES
}

struct Rows {
    row_bytes: u64,
    file_bytes: u64,
}

impl Layout for Rows {
    fn file_bytes(&self) -> u64 {
        self.file_bytes
    }

    fn segment_at(&self, offset: u64) -> Segment<'_> {
        let start = offset - offset % self.row_bytes;
        Segment { start, len: self.row_bytes, bytes: Bytes::Numbers, resets: 0, feeds: 0 }
    }
}

impl Format for Csv {
    fn suffix(&self) -> &'static str {
        "csv"
    }

    fn file_bytes(&self, shape: &FileShape) -> u64 {
        row_bytes(shape) * shape.samples
    }

    /// Exactly the sample's row.
    fn extent(&self, shape: &FileShape, sample: u64) -> Range<u64> {
        let bytes = row_bytes(shape);
        sample * bytes..(sample + 1) * bytes
    }

    fn layout(&self, shape: &FileShape) -> Box<dyn Layout> {
        Box::new(Rows { row_bytes: row_bytes(shape), file_bytes: self.file_bytes(shape) })
    }
}
