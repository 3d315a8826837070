//! Whole files under gzip (RFC 1952): one member, no name and no time of day in its header, so that
//! the same content gives the same bytes.

use super::encoder::{Encoder, Sink};
use super::{FileShape, Filler, Format, Layout, Source};
use flate2::Compression;
use flate2::write::GzEncoder;
use std::io::{self, Write};
use std::ops::Range;

/// Content is made and compressed in pieces of so many bytes.
const PIECE_BYTES: u64 = 256 << 10;

/// Another format, compressed as a whole. Its samples can only be read together.
pub struct Gzip {
    plain: Box<dyn Format>,
    suffix: &'static str,
    level: Compression,
}

impl Gzip {
    /// Files of `plain`, whose layouts put no sum in front of its data, named by `suffix`; `level`
    /// is 1 to 9.
    pub fn new(plain: Box<dyn Format>, suffix: &'static str, level: u64) -> Gzip {
        Gzip { plain, suffix, level: Compression::new(level as u32) }
    }
}

impl Encoder for Gzip {
    fn encode(&self, shape: &FileShape, content: &dyn Source, sink: Sink<'_>) -> io::Result<()> {
        let layout = self.plain.layout(shape);
        let mut filler = Filler::new(layout.as_ref(), content);
        let mut encoder = GzEncoder::new(sink, self.level);
        let mut piece = vec![0; layout.file_bytes().min(PIECE_BYTES) as usize];
        while filler.position() < layout.file_bytes() {
            let len = (layout.file_bytes() - filler.position()).min(PIECE_BYTES) as usize;
            filler.fill(&mut piece[..len]);
            encoder.write_all(&piece[..len])?;
        }
        assert!(filler.patches().is_empty(), "what is compressed cannot be patched");
        encoder.finish().map(|_| ())
    }
}

impl Format for Gzip {
    fn suffix(&self) -> &'static str {
        self.suffix
    }

    fn encoder(&self) -> Option<&dyn Encoder> {
        Some(self)
    }

    fn file_bytes(&self, shape: &FileShape) -> u64 {
        self.plain.file_bytes(shape)
    }

    /// The whole file.
    fn extent(&self, shape: &FileShape, _sample: u64) -> Range<u64> {
        0..self.file_bytes(shape)
    }

    fn group_samples(&self, shape: &FileShape) -> u64 {
        shape.samples
    }

    fn layout(&self, shape: &FileShape) -> Box<dyn Layout> {
        self.plain.layout(shape)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Mixed, make};
    use super::*;
    use crate::config::{Compression, Dataset, ElementType, FormatKind};
    use std::io::Read;

    #[test]
    fn what_is_unpacked_is_the_plain_file() {
        let of =
            |compression| Dataset { format: FormatKind::Csv, compression, ..Dataset::default() };
        let plain = super::super::for_dataset(&of(Compression::None)).unwrap();
        let packed = super::super::for_dataset(&of(Compression::Gzip)).unwrap();
        // More than a piece.
        let shape = FileShape { rows: 300, columns: 301, samples: 3, element: ElementType::Uint8 };
        let mut bytes = Vec::new();
        let mut take = |piece: &[u8]| {
            bytes.extend_from_slice(piece);
            Ok(())
        };
        let encoder = packed.encoder().unwrap();
        encoder.encode(&shape, &Mixed, Sink(&mut take)).unwrap();
        let mut unpacked = Vec::new();
        flate2::read::GzDecoder::new(&bytes[..]).read_to_end(&mut unpacked).unwrap();
        assert_eq!(unpacked, make(plain.layout(&shape).as_ref(), &[4096]));
        assert!(bytes.len() < unpacked.len() / 2, "{} of {}", bytes.len(), unpacked.len());
        // No time of day: RFC 1952, MTIME.
        assert_eq!(bytes[..8], [0x1f, 0x8b, 8, 0, 0, 0, 0, 0]);
        assert_eq!(packed.suffix(), "csv.gz");
        assert_eq!((packed.group_samples(&shape), plain.group_samples(&shape)), (3, 1));
    }
}
