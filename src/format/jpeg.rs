//! Real JPEG images, made at the speed of the generator.
//!
//! The payload travels in comment segments, which decoders skip; the picture itself is a flat grey
//! of the sample's size, baseline, one component, whose Huffman tables know one symbol each, so
//! that a block of 64 pixels costs two zero bits: "no DC difference", "end of block" (ITU-T T.81,
//! F.1.2). A file is exactly as long as the payload of its samples when that holds the structure
//! (158 bytes and a quarter byte for each block), else as short as the structure allows. There is
//! one picture a file; more samples make a longer file, not more pictures, as in the reference.
//!
//! Sides above 65,500 pixels, libjpeg's limit, are cut to it.

use super::table::zeros_at;
use super::{Bytes, FileShape, Format, Layout, Segment};
use std::ops::Range;

/// Longest side that decoders take.
const SIDE_LIMIT: u64 = 65_500;
/// Start of image and the JFIF segment: version 1.1, square pixels.
const HEAD: [u8; 20] = *b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00";
/// Quantisation (69), frame (13), Huffman tables (40) and scan header (10).
const TABLES_BYTES: u64 = 132;
/// Marker and length of a comment segment.
const COMMENT_HEAD_BYTES: u64 = 4;
/// A full comment segment: close to the limit (65,537), and a round size.
const COMMENT_BYTES: u64 = 1 << 16;
/// The last byte of the scan and the end of the image.
const TAIL_BYTES: u64 = 3;

/// Height and width of the picture.
fn sides(shape: &FileShape) -> (u64, u64) {
    (shape.rows.clamp(1, SIDE_LIMIT), shape.columns.clamp(1, SIDE_LIMIT))
}

/// Blocks of 8 x 8 pixels in the picture.
fn blocks(shape: &FileShape) -> u64 {
    let (height, width) = sides(shape);
    height.div_ceil(8) * width.div_ceil(8)
}

/// Head of a comment segment of `segment_bytes` in all, at least 4.
fn comment_head(segment_bytes: u64) -> [u8; 4] {
    let len = (segment_bytes - 2) as u16;
    let [high, low] = len.to_be_bytes();
    [0xff, 0xfe, high, low]
}

/// Everything between the comments and the scan.
fn tables(shape: &FileShape) -> Vec<u8> {
    let (height, width) = sides(shape);
    let mut bytes = Vec::with_capacity(TABLES_BYTES as usize);
    // Quantisation table 0: ones.
    bytes.extend([0xff, 0xdb, 0, 67, 0]);
    bytes.extend([1; 64]);
    // Baseline frame: 8 bits, one component without subsampling, quantisation table 0.
    bytes.extend([0xff, 0xc0, 0, 11, 8]);
    bytes.extend((height as u16).to_be_bytes());
    bytes.extend((width as u16).to_be_bytes());
    bytes.extend([1, 1, 0x11, 0]);
    // Huffman tables DC 0 and AC 0: the code "0" stands for symbol 0, nothing else exists.
    bytes.extend([0xff, 0xc4, 0, 38]);
    for class in [0x00, 0x10] {
        bytes.extend([class, 1]);
        bytes.extend([0; 15]);
        bytes.push(0);
    }
    // Scan of component 1 with these tables, all 64 coefficients.
    bytes.extend([0xff, 0xda, 0, 8, 1, 1, 0, 0, 63, 0]);
    bytes
}

/// A picture with a load of comments.
struct Picture {
    tables: Vec<u8>,
    tail: [u8; TAIL_BYTES as usize],
    full: [u8; 4],
    /// Heads of the last two comment segments: the last one may not be shorter than its head, so
    /// the one before gives it four bytes where needed.
    last_heads: [[u8; 4]; 2],
    /// Start of the last comment segment.
    last_start: u64,
    /// End of the comments.
    comments_end: u64,
    zeros: u64,
}

impl Picture {
    fn new(shape: &FileShape) -> Self {
        let scan_bytes = blocks(shape).div_ceil(4);
        let last_bits = (blocks(shape) - 1) % 4 * 2 + 2;
        // Unused bits of the scan's last byte are ones.
        let last_byte = (0xff_u32 >> last_bits) as u8;
        let head = HEAD.len() as u64;
        let comments = file_bytes(shape) - head - TABLES_BYTES - scan_bytes - 2;
        let comments_end = head + comments;
        let mut last_start = head + (comments - 1) / COMMENT_BYTES * COMMENT_BYTES;
        let mut before_last_bytes = COMMENT_BYTES;
        if comments_end - last_start < COMMENT_HEAD_BYTES {
            last_start -= COMMENT_HEAD_BYTES;
            before_last_bytes -= COMMENT_HEAD_BYTES;
        }
        Picture {
            tables: tables(shape),
            tail: [last_byte, 0xff, 0xd9],
            full: comment_head(COMMENT_BYTES),
            last_heads: [comment_head(before_last_bytes), comment_head(comments_end - last_start)],
            last_start,
            comments_end,
            zeros: scan_bytes - 1,
        }
    }

    /// Start, end and head of the comment segment that holds `offset`.
    fn comment_at(&self, offset: u64) -> (u64, u64, &[u8; 4]) {
        let head = HEAD.len() as u64;
        if offset >= self.last_start {
            return (self.last_start, self.comments_end, &self.last_heads[1]);
        }
        let start = head + (offset - head) / COMMENT_BYTES * COMMENT_BYTES;
        let end = start + COMMENT_BYTES;
        if end < self.last_start {
            (start, end, &self.full)
        } else {
            (start, self.last_start, &self.last_heads[0])
        }
    }
}

/// Length of a file: the payload of its samples, or the least that the structure needs.
fn file_bytes(shape: &FileShape) -> u64 {
    let scan_bytes = blocks(shape).div_ceil(4);
    let least = HEAD.len() as u64 + COMMENT_HEAD_BYTES + TABLES_BYTES + scan_bytes + 2;
    shape.payload_bytes().max(least)
}

impl Layout for Picture {
    fn file_bytes(&self) -> u64 {
        self.comments_end + TABLES_BYTES + self.zeros + TAIL_BYTES
    }

    fn segment_at(&self, offset: u64) -> Segment<'_> {
        let fixed = |start, bytes: &'static [u8]| (start, Bytes::Fixed(bytes), bytes.len() as u64);
        let scan = self.comments_end + TABLES_BYTES;
        let (start, bytes, len) = if offset < HEAD.len() as u64 {
            fixed(0, &HEAD)
        } else if offset < self.comments_end {
            let (start, end, head) = self.comment_at(offset);
            let content = start + COMMENT_HEAD_BYTES;
            if offset < content {
                (start, Bytes::Fixed(head.as_slice()), COMMENT_HEAD_BYTES)
            } else {
                (content, Bytes::Content, end - content)
            }
        } else if offset < scan {
            (self.comments_end, Bytes::Fixed(&self.tables), TABLES_BYTES)
        } else if offset < scan + self.zeros {
            return zeros_at(scan, self.zeros, offset, 0);
        } else {
            (scan + self.zeros, Bytes::Fixed(&self.tail), TAIL_BYTES)
        };
        Segment { start, len, bytes, resets: 0, feeds: 0 }
    }
}

/// One real picture a file.
pub struct Jpeg;

impl Format for Jpeg {
    fn suffix(&self) -> &'static str {
        "jpeg"
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
