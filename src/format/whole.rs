//! Files that are read whole, whatever their container (`reader.read_type: memory`).

use super::{FileShape, Format, Layout, Sidecar};
use std::ops::Range;
use std::sync::Arc;

/// A format whose samples share one read of their file.
pub struct WholeFiles(pub Arc<dyn Format>);

impl Format for WholeFiles {
    fn suffix(&self) -> &'static str {
        self.0.suffix()
    }

    fn file_bytes(&self, shape: &FileShape) -> u64 {
        self.0.file_bytes(shape)
    }

    /// The file; nothing where the container asks for nothing at all (synthetic).
    fn extent(&self, shape: &FileShape, _sample: u64) -> Range<u64> {
        if self.0.read_bytes(shape) == 0 { 0..0 } else { 0..self.file_bytes(shape) }
    }

    fn group_samples(&self, shape: &FileShape) -> u64 {
        shape.samples
    }

    fn layout(&self, shape: &FileShape) -> Box<dyn Layout> {
        self.0.layout(shape)
    }

    fn sidecars(&self, split: &str, name: &str, shape: &FileShape) -> Vec<Sidecar> {
        self.0.sidecars(split, name, shape)
    }
}
