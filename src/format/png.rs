//! Real PNG images whose pixels are the generator's content.
//!
//! 8-bit grey, filter "none" in every row, deflate with stored blocks, so nothing is computed but
//! checksums (PNG: ISO/IEC 15948; zlib: RFC 1950; stored blocks: RFC 1951, 3.2.4). The zlib header
//! and the Adler-32 have chunks of their own; between them lie data chunks of one stored block
//! each, 64 KiB long all but the last, so that places are found by arithmetic and a range read can
//! check the chunks inside it.
//!
//! The picture is `columns * element bytes` wide and `rows * samples` high. Sides that PNG cannot
//! express (above 2^31 - 1) are replaced by ones that hold at least the same number of pixels.

use super::{Bytes, FileShape, Format, Layout, Segment, SumKind};
use std::ops::Range;

/// Longest side and longest chunk that PNG allows.
const SIDE_LIMIT: u64 = (1 << 31) - 1;
/// Signature, IHDR chunk, IDAT chunk with the zlib header.
const HEAD_BYTES: u64 = 8 + 25 + 14;
/// A full data chunk.
const CHUNK_BYTES: u64 = 1 << 16;
/// Chunk type and the header of a stored block: what the chunk's CRC covers before the data.
const BLOCK_HEAD_BYTES: u64 = 9;
/// Chunk length, block head and CRC around the data of a chunk.
const CHUNK_FRAME_BYTES: u64 = 4 + BLOCK_HEAD_BYTES + 4;
/// Image bytes in a full data chunk.
const DATA_BYTES: u64 = CHUNK_BYTES - CHUNK_FRAME_BYTES;
/// The chunk of the Adler-32 (16) and IEND (12).
const TAIL_BYTES: u64 = 28;
/// Chunk type of image data.
const IDAT: &[u8] = b"IDAT";
/// Bit set of register 0, the CRC of a chunk.
const CRC: u8 = 1;
/// Bit set of register 1, the Adler-32 of the image.
const ADLER: u8 = 2;

/// Width and height of the picture.
fn sides(shape: &FileShape) -> (u64, u64) {
    let width = shape.payload_bytes() / (shape.rows * shape.samples);
    let height = shape.rows * shape.samples;
    if width <= SIDE_LIMIT && height <= SIDE_LIMIT {
        return (width, height);
    }
    let pixels = shape.payload_bytes();
    let width = pixels.div_ceil(SIDE_LIMIT).max(CHUNK_BYTES);
    (width, pixels.div_ceil(width))
}

/// Bytes of the image as deflate sees it: each row with its filter byte.
fn image_bytes(shape: &FileShape) -> u64 {
    let (width, height) = sides(shape);
    (width + 1) * height
}

/// Length of a file.
fn file_bytes(shape: &FileShape) -> u64 {
    let image = image_bytes(shape);
    HEAD_BYTES + image + image.div_ceil(DATA_BYTES) * CHUNK_FRAME_BYTES + TAIL_BYTES
}

/// A chunk with its length and CRC.
fn chunk(kind: &[u8], data: &[u8]) -> Vec<u8> {
    let mut bytes = (data.len() as u32).to_be_bytes().to_vec();
    bytes.extend(kind);
    bytes.extend(data);
    bytes.extend(crc32fast::hash(&bytes[4..]).to_be_bytes());
    bytes
}

/// Everything before the first data chunk.
fn head(shape: &FileShape) -> Vec<u8> {
    let (width, height) = sides(shape);
    let mut header = (width as u32).to_be_bytes().to_vec();
    header.extend((height as u32).to_be_bytes());
    // 8 bits, grey, deflate, adaptive filters, not interlaced.
    header.extend([8, 0, 0, 0, 0]);
    let mut bytes = b"\x89PNG\r\n\x1a\n".to_vec();
    bytes.extend(chunk(b"IHDR", &header));
    // Deflate with a 32 KiB window, fastest level; the check bits make it a multiple of 31.
    bytes.extend(chunk(IDAT, &[0x78, 0x01]));
    bytes
}

/// What stands before the data of a chunk.
struct ChunkHead {
    len: [u8; 4],
    block: [u8; BLOCK_HEAD_BYTES as usize],
}

impl ChunkHead {
    /// For a chunk with a stored block of `data` bytes.
    fn new(data: u64, last: bool) -> Self {
        let mut block = [0; BLOCK_HEAD_BYTES as usize];
        block[..4].copy_from_slice(IDAT);
        block[4] = u8::from(last);
        block[5..7].copy_from_slice(&(data as u16).to_le_bytes());
        block[7..].copy_from_slice(&(!(data as u16)).to_le_bytes());
        ChunkHead { len: (data as u32 + 5).to_be_bytes(), block }
    }
}

/// A picture of stored blocks.
struct Picture {
    head: Vec<u8>,
    full: ChunkHead,
    last: ChunkHead,
    /// The chunk after the last data chunk up to its data, and IEND.
    adler_len: [u8; 4],
    end: Vec<u8>,
    /// Bytes of a row with its filter byte.
    row_bytes: u64,
    image_bytes: u64,
    /// End of the data chunks.
    chunks_end: u64,
}

impl Picture {
    fn new(shape: &FileShape) -> Self {
        let image_bytes = image_bytes(shape);
        let last_data = (image_bytes - 1) % DATA_BYTES + 1;
        Picture {
            head: head(shape),
            full: ChunkHead::new(DATA_BYTES, false),
            last: ChunkHead::new(last_data, true),
            adler_len: 4u32.to_be_bytes(),
            end: chunk(b"IEND", &[]),
            row_bytes: sides(shape).0 + 1,
            image_bytes,
            chunks_end: file_bytes(shape) - TAIL_BYTES,
        }
    }

    /// A segment of a data chunk.
    fn chunk_segment(&self, offset: u64) -> Segment<'_> {
        let number = (offset - HEAD_BYTES) / CHUNK_BYTES;
        let start = HEAD_BYTES + number * CHUNK_BYTES;
        let end = (start + CHUNK_BYTES).min(self.chunks_end);
        let head = if end == self.chunks_end { &self.last } else { &self.full };
        let data = start + 4 + BLOCK_HEAD_BYTES;
        if offset < start + 4 {
            fixed(start, &head.len, 0, 0)
        } else if offset < data {
            fixed(start + 4, &head.block, CRC, CRC)
        } else if offset < end - 4 {
            self.image_segment(offset, data, number * DATA_BYTES)
        } else {
            sum(end - 4, 0, 0)
        }
    }

    /// A filter byte or a run of pixels; the chunk's data begins at `data` in the file and at
    /// `image` in the image.
    fn image_segment(&self, offset: u64, data: u64, image: u64) -> Segment<'_> {
        let position = image + (offset - data);
        let in_row = position % self.row_bytes;
        let feeds = CRC | ADLER;
        if in_row == 0 {
            // The image's first byte begins the Adler-32.
            let resets = if position == 0 { ADLER } else { 0 };
            return fixed(offset, &[0], resets, feeds);
        }
        // A row's pixels may begin in the chunk before and end in the one after.
        let first = (position - in_row + 1).max(image);
        let last = (position - in_row + self.row_bytes).min(image + DATA_BYTES);
        let start = data + (first - image);
        let len = last.min(self.image_bytes) - first;
        Segment { start, len, bytes: Bytes::Content, resets: 0, feeds }
    }
}

/// A fixed segment.
fn fixed(start: u64, bytes: &[u8], resets: u8, feeds: u8) -> Segment<'_> {
    Segment { start, len: bytes.len() as u64, bytes: Bytes::Fixed(bytes), resets, feeds }
}

/// A checksum.
fn sum(start: u64, register: u8, feeds: u8) -> Segment<'static> {
    let bytes = Bytes::Sum { register, before: true };
    Segment { start, len: 4, bytes, resets: 0, feeds }
}

impl Layout for Picture {
    fn file_bytes(&self) -> u64 {
        self.chunks_end + TAIL_BYTES
    }

    fn segment_at(&self, offset: u64) -> Segment<'_> {
        if offset < HEAD_BYTES {
            return fixed(0, &self.head, 0, 0);
        }
        if offset < self.chunks_end {
            return self.chunk_segment(offset);
        }
        let tail = self.chunks_end;
        match offset - tail {
            0..4 => fixed(tail, &self.adler_len, 0, 0),
            4..8 => fixed(tail + 4, IDAT, CRC, CRC),
            8..12 => sum(tail + 8, 1, CRC),
            12..16 => sum(tail + 12, 0, 0),
            _ => fixed(tail + 16, &self.end, 0, 0),
        }
    }

    fn registers(&self) -> [Option<SumKind>; 2] {
        [Some(SumKind::Crc32Be), Some(SumKind::Adler32Be)]
    }
}

/// One real picture a file.
pub struct Png;

impl Format for Png {
    fn suffix(&self) -> &'static str {
        "png"
    }

    fn file_bytes(&self, shape: &FileShape) -> u64 {
        file_bytes(shape)
    }

    /// The whole file: a picture is read whole.
    fn extent(&self, shape: &FileShape, _sample: u64) -> Range<u64> {
        0..file_bytes(shape)
    }

    fn group_samples(&self, shape: &FileShape) -> u64 {
        // The samples of a file interleave or share one picture: it is read whole.
        shape.samples
    }

    fn layout(&self, shape: &FileShape) -> Box<dyn Layout> {
        Box::new(Picture::new(shape))
    }
}
