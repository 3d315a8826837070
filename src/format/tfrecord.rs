//! TFRecord: samples one after the other, each a framed `tf.train.Example`.
//!
//! A record is `length: u64 LE, masked CRC-32C of the length, payload, masked CRC-32C of the
//! payload` (tensorflow, `core/lib/io/record_writer.h`). The payload's feature map holds `size`
//! (int64 list, one value: the rows of the sample) and then `image` (bytes list, one value: the
//! content). All samples of a file share a shape, so all records are equally long and every place
//! is found by arithmetic.

use super::sums::mask_crc32c;
use super::table::{Part, Table};
use super::{Bytes, FileShape, Format, Layout, Segment, Sidecar, SumKind};
use std::ops::Range;

/// Length and its checksum.
const FRAME_BYTES: u64 = 12;
/// Checksum after the payload.
const SUM_BYTES: u64 = 4;

/// Bytes of `value` as a protobuf varint.
fn varint_bytes(value: u64) -> u64 {
    u64::from(value.max(1).ilog2()) / 7 + 1
}

fn push_varint(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

/// Bytes of a length-delimited field whose tag takes one byte.
fn field_bytes(len: u64) -> u64 {
    1 + varint_bytes(len) + len
}

/// Starts a length-delimited field: tag of field `number` (below 16), wire type 2, length.
fn push_field(bytes: &mut Vec<u8>, number: u8, len: u64) {
    bytes.push(number << 3 | 2);
    push_varint(bytes, len);
}

/// Lengths of the nested messages of one sample's `Example`.
struct Lengths {
    size_value: u64,
    size_entry: u64,
    image_list: u64,
    image_feature: u64,
    image_entry: u64,
    features: u64,
    payload: u64,
}

impl Lengths {
    fn of(shape: &FileShape) -> Self {
        // Int64List holds one packed value; Feature.int64_list, then key and value of the entry.
        let size_value = varint_bytes(shape.rows);
        let size_list = field_bytes(size_value);
        let size_feature = field_bytes(size_list);
        let size_entry = field_bytes(4) + field_bytes(size_feature);
        let image_list = field_bytes(shape.sample_bytes());
        let image_feature = field_bytes(image_list);
        let image_entry = field_bytes(5) + field_bytes(image_feature);
        let features = field_bytes(size_entry) + field_bytes(image_entry);
        let payload = field_bytes(features);
        Lengths {
            size_value,
            size_entry,
            image_list,
            image_feature,
            image_entry,
            features,
            payload,
        }
    }

    fn record_bytes(&self) -> u64 {
        FRAME_BYTES + self.payload + SUM_BYTES
    }

    /// The payload up to the content.
    fn prefix(&self, shape: &FileShape) -> Vec<u8> {
        let size_list = field_bytes(self.size_value);
        let mut bytes = Vec::with_capacity(96);
        push_field(&mut bytes, 1, self.features);
        push_field(&mut bytes, 1, self.size_entry);
        push_field(&mut bytes, 1, 4);
        bytes.extend(b"size");
        push_field(&mut bytes, 2, field_bytes(size_list));
        push_field(&mut bytes, 3, size_list);
        push_field(&mut bytes, 1, self.size_value);
        push_varint(&mut bytes, shape.rows);
        push_field(&mut bytes, 1, self.image_entry);
        push_field(&mut bytes, 1, 5);
        bytes.extend(b"image");
        push_field(&mut bytes, 2, self.image_feature);
        push_field(&mut bytes, 1, self.image_list);
        push_field(&mut bytes, 1, shape.sample_bytes());
        bytes
    }
}

/// Length and checksum in front of a payload of `payload_bytes`.
fn frame(payload_bytes: u64) -> [u8; FRAME_BYTES as usize] {
    let mut bytes = [0; FRAME_BYTES as usize];
    bytes[..8].copy_from_slice(&payload_bytes.to_le_bytes());
    let sum = mask_crc32c(crc32c::crc32c(&bytes[..8]));
    bytes[8..].copy_from_slice(&sum.to_le_bytes());
    bytes
}

/// Payload length of the record that begins with `head` (at least 12 bytes), if its frame is
/// intact.
pub fn payload_bytes(head: &[u8]) -> Option<u64> {
    let length: [u8; 8] = head.get(..8)?.try_into().ok()?;
    let payload = u64::from_le_bytes(length);
    (head.get(8..12)? == &frame(payload)[8..]).then_some(payload)
}

/// Bytes of a record around its payload.
pub const OVERHEAD_BYTES: u64 = FRAME_BYTES + SUM_BYTES;

/// The same record over and over.
struct Records {
    frame: [u8; FRAME_BYTES as usize],
    prefix: Vec<u8>,
    record_bytes: u64,
    file_bytes: u64,
}

impl Layout for Records {
    fn file_bytes(&self) -> u64 {
        self.file_bytes
    }

    fn segment_at(&self, offset: u64) -> Segment<'_> {
        let within = offset % self.record_bytes;
        let record = offset - within;
        let content = FRAME_BYTES + self.prefix.len() as u64;
        let sum = self.record_bytes - SUM_BYTES;
        if within < FRAME_BYTES {
            let bytes = Bytes::Fixed(&self.frame);
            Segment { start: record, len: FRAME_BYTES, bytes, resets: 0, feeds: 0 }
        } else if within < content {
            let (start, len) = (record + FRAME_BYTES, self.prefix.len() as u64);
            Segment { start, len, bytes: Bytes::Fixed(&self.prefix), resets: 1, feeds: 1 }
        } else if within < sum {
            let (start, len) = (record + content, sum - content);
            Segment { start, len, bytes: Bytes::Content, resets: 0, feeds: 1 }
        } else {
            let bytes = Bytes::Sum { register: 0, before: true };
            Segment { start: record + sum, len: SUM_BYTES, bytes, resets: 0, feeds: 0 }
        }
    }

    fn registers(&self) -> [Option<SumKind>; 2] {
        [Some(SumKind::MaskedCrc32cLe), None]
    }
}

/// Framed examples.
pub struct Tfrecord;

impl Format for Tfrecord {
    fn suffix(&self) -> &'static str {
        "tfrecord"
    }

    fn file_bytes(&self, shape: &FileShape) -> u64 {
        Lengths::of(shape).record_bytes() * shape.samples
    }

    /// Exactly the sample's record, with its frame and checksums.
    fn extent(&self, shape: &FileShape, sample: u64) -> Range<u64> {
        let record_bytes = Lengths::of(shape).record_bytes();
        sample * record_bytes..(sample + 1) * record_bytes
    }

    fn layout(&self, shape: &FileShape) -> Box<dyn Layout> {
        let lengths = Lengths::of(shape);
        let record_bytes = lengths.record_bytes();
        Box::new(Records {
            frame: frame(lengths.payload),
            prefix: lengths.prefix(shape),
            record_bytes,
            file_bytes: record_bytes * shape.samples,
        })
    }

    /// The text index that DALI's `tfrecord2idx` makes: a line `offset length` for each record.
    fn sidecars(&self, split: &str, name: &str, shape: &FileShape) -> Vec<Sidecar> {
        let record_bytes = Lengths::of(shape).record_bytes();
        let line = |sample| format!("{} {record_bytes}\n", sample * record_bytes);
        let text: String = (0..shape.samples).map(line).collect();
        let file_name = name.rsplit('/').next().unwrap_or(name);
        let layout = Table::new(None).push(Part::Fixed(text.into_bytes()), 0);
        vec![Sidecar { name: format!("index/{split}/{file_name}.idx"), layout: Box::new(layout) }]
    }
}
