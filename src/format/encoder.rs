//! Files that are made from front to back because compression or a dictionary decides their
//! lengths.
//!
//! Their content is that of the layout of the same file uncompressed, so who decodes a compressed
//! dataset finds the values of the plain one, byte for byte.

use super::{FileShape, Source};
use std::io::{self, Write};

/// Makes the bytes of files.
pub trait Encoder: Send + Sync {
    /// Hands the bytes of a file of `shape` to `sink`, in order and in pieces of any size. The same
    /// shape and content give the same bytes. Memory is bounded by the largest column chunk, or by
    /// a block where there are no columns.
    ///
    /// # Errors
    /// What `sink` or the encoder says.
    fn encode(&self, shape: &FileShape, content: &dyn Source, sink: Sink<'_>) -> io::Result<()>;
}

/// Takes the next bytes of a file.
pub struct Sink<'a>(pub &'a mut (dyn FnMut(&[u8]) -> io::Result<()> + Send));

impl Write for Sink<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (self.0)(bytes).map(|()| bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
