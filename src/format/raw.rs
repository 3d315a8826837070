//! Plain content under an image suffix: `rows * columns * samples` elements and no structure at
//! all, which is what the reference writes as `.jpeg` and `.png` (`image_content: raw`).

use super::table::{Part, Table};
use super::{FileShape, Format, Layout};
use std::ops::Range;

/// Content only, under the suffix given.
pub struct Raw {
    /// Suffix of the files.
    pub suffix: &'static str,
}

impl Format for Raw {
    fn suffix(&self) -> &'static str {
        self.suffix
    }

    fn file_bytes(&self, shape: &FileShape) -> u64 {
        shape.payload_bytes()
    }

    fn extent(&self, shape: &FileShape, _sample: u64) -> Range<u64> {
        0..self.file_bytes(shape)
    }

    fn group_samples(&self, shape: &FileShape) -> u64 {
        // The samples of a file interleave or share one picture: it is read whole.
        shape.samples
    }

    fn layout(&self, shape: &FileShape) -> Box<dyn Layout> {
        Box::new(Table::new(None).push(Part::Content(shape.payload_bytes()), 0))
    }
}
