//! Synthetic datasets: files exist so that names and counts are those of a real dataset, but a
//! sample is made up in memory and costs no I/O, so its extent is empty.
//!
//! The reference writes the file's index as text; a layout knows shapes only, and no reader looks
//! inside, so all files hold the same short line.

use super::table::{Part, Table};
use super::{FileShape, Format, Layout};
use std::ops::Range;

/// All that a synthetic file holds.
const LINE: &[u8] = b"synthetic\n";

/// Files without data.
pub struct Synthetic;

impl Format for Synthetic {
    fn suffix(&self) -> &'static str {
        "synthetic"
    }

    fn file_bytes(&self, _shape: &FileShape) -> u64 {
        LINE.len() as u64
    }

    fn extent(&self, _shape: &FileShape, _sample: u64) -> Range<u64> {
        0..0
    }

    fn layout(&self, _shape: &FileShape) -> Box<dyn Layout> {
        Box::new(Table::new(None).push(Part::Fixed(LINE.to_vec()), 0))
    }
}
