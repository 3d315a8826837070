//! A format and settings for the tests of this room, so that they depend on no other room's
//! behaviour.

use crate::config::{Config, FormatKind};
use crate::format::{Bytes, FileShape, Format, Layout, Segment};
use std::ops::Range;

/// Samples back to back behind a fixed number of extra bytes.
pub struct Plain {
    suffix: &'static str,
    overhead_bytes: u64,
}

impl Plain {
    pub fn new(suffix: &'static str, overhead_bytes: u64) -> Self {
        Plain { suffix, overhead_bytes }
    }

    fn sample_bytes(shape: &FileShape) -> u64 {
        shape.rows * shape.columns * super::element_bytes(shape.element)
    }
}

struct Whole(u64);

impl Layout for Whole {
    fn file_bytes(&self) -> u64 {
        self.0
    }

    fn segment_at(&self, _offset: u64) -> Segment<'_> {
        Segment { start: 0, len: self.0, bytes: Bytes::Content, resets: 0, feeds: 0 }
    }
}

impl Format for Plain {
    fn suffix(&self) -> &'static str {
        self.suffix
    }

    fn file_bytes(&self, shape: &FileShape) -> u64 {
        self.overhead_bytes + shape.samples * Self::sample_bytes(shape)
    }

    fn extent(&self, shape: &FileShape, sample: u64) -> Range<u64> {
        let start = self.overhead_bytes + sample * Self::sample_bytes(shape);
        start..start + Self::sample_bytes(shape)
    }

    /// As npz is: the bytes before the samples are read with them.
    fn read_bytes(&self, shape: &FileShape) -> u64 {
        self.file_bytes(shape)
    }

    fn layout(&self, shape: &FileShape) -> Box<dyn Layout> {
        Box::new(Whole(self.file_bytes(shape)))
    }
}

/// Defaults with npz files of samples of 3000 bytes.
pub fn config() -> Config {
    let mut config = Config::default();
    config.dataset.format = FormatKind::Npz;
    config.dataset.record_length_bytes = 3000.0;
    config
}
