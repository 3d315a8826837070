//! The metadata of our HDF5 files: superblock, a root group with its links, and an object header
//! for each dataset, byte by byte after the HDF5 file format specification, version 3.0.
//!
//! Addresses and lengths have eight bytes. Object headers are of version 2, which carry a
//! checksum and need no tables beside them: links stand in the root's own header. Data lie where
//! the caller says and take no part in any checksum, so all of this is known before the data.

use super::lookup3::lookup3;
use super::space::Space;
use crate::config::ElementType;

/// An address that is not there.
const NOWHERE: [u8; 8] = [0xff; 8];
/// Length of the superblock from version 2 on; the root group's header follows it.
pub const SUPERBLOCK_BYTES: u64 = 48;
/// What an object header has beside its messages: signature, version, flags, length, checksum.
const OBJECT_BYTES: u64 = 14;
/// Type, length and flags of a message.
const MESSAGE_HEAD_BYTES: u64 = 4;
/// Link info and group info, with their heads.
const GROUP_MESSAGES_BYTES: u64 = 18 + 2 + 2 * MESSAGE_HEAD_BYTES;
/// A link message without the name, with its head.
const LINK_BYTES: u64 = 11 + MESSAGE_HEAD_BYTES;
/// A fill value message, with its head.
const FILL_BYTES: u64 = 2 + MESSAGE_HEAD_BYTES;
/// A contiguous data layout, without a head.
const CONTIGUOUS_BYTES: u64 = 18;
/// A chunked data layout without its sides, without a head.
const CHUNKED_BYTES: u64 = 14;
/// Name of the dataset of labels.
const LABELS: &str = "labels";

/// Message types (specification, IV.A.2).
mod message {
    pub const DATASPACE: u8 = 0x01;
    pub const LINK_INFO: u8 = 0x02;
    pub const DATATYPE: u8 = 0x03;
    pub const FILL_VALUE: u8 = 0x05;
    pub const LINK: u8 = 0x06;
    pub const DATA_LAYOUT: u8 = 0x08;
    pub const GROUP_INFO: u8 = 0x0a;
}

/// Index of a chunked dataset whose chunks all exist, unfiltered, back to back in row-major order:
/// none is needed.
const IMPLICIT_INDEX: u8 = 2;

/// An element type as a datatype message says it.
#[derive(Clone, Copy)]
enum Datatype {
    /// Bytes, signed.
    Integer(u8, bool),
    /// Bytes, bits of exponent and of mantissa.
    Float(u8, u8, u8),
    /// h5py's bool: an enumeration of FALSE and TRUE over int8.
    Bool,
}

impl Datatype {
    fn of(element: ElementType) -> Datatype {
        match element {
            ElementType::Int8 => Datatype::Integer(1, true),
            ElementType::Uint8 => Datatype::Integer(1, false),
            ElementType::Int16 => Datatype::Integer(2, true),
            ElementType::Uint16 => Datatype::Integer(2, false),
            ElementType::Int32 => Datatype::Integer(4, true),
            ElementType::Uint32 => Datatype::Integer(4, false),
            ElementType::Int64 => Datatype::Integer(8, true),
            ElementType::Uint64 => Datatype::Integer(8, false),
            ElementType::Float16 => Datatype::Float(2, 5, 10),
            ElementType::Float32 => Datatype::Float(4, 8, 23),
            ElementType::Float64 => Datatype::Float(8, 11, 52),
            ElementType::Bool => Datatype::Bool,
        }
    }

    fn len(self) -> u64 {
        match self {
            Datatype::Integer(..) => 12,
            Datatype::Float(..) => 20,
            Datatype::Bool => 8 + 12 + 6 + 5 + 2,
        }
    }

    fn bytes(self) -> Vec<u8> {
        match self {
            Datatype::Integer(size, signed) => {
                let mut bytes = vec![0x10, u8::from(signed) << 3, 0, 0, size, 0, 0, 0, 0, 0];
                bytes.extend((u16::from(size) * 8).to_le_bytes());
                bytes
            }
            Datatype::Float(size, exponent, mantissa) => {
                let bits = size * 8;
                // Mantissa with an implied leading one; the sign is the highest bit.
                let mut bytes = vec![0x11, 0x20, bits - 1, 0, size, 0, 0, 0, 0, 0, bits, 0];
                bytes.extend([mantissa, exponent, 0, mantissa]);
                bytes.extend(((1u32 << (exponent - 1)) - 1).to_le_bytes());
                bytes
            }
            Datatype::Bool => {
                let mut bytes = vec![0x38, 2, 0, 0, 1, 0, 0, 0];
                bytes.extend(Datatype::Integer(1, true).bytes());
                bytes.extend(b"FALSE\0TRUE\0\x00\x01");
                bytes
            }
        }
    }
}

/// Appends a message.
fn push_message(bytes: &mut Vec<u8>, kind: u8, constant: bool, data: &[u8]) {
    bytes.push(kind);
    bytes.extend((data.len() as u16).to_le_bytes());
    bytes.push(u8::from(constant));
    bytes.extend(data);
}

/// An object header of version 2 around `messages`, whose length takes four bytes.
fn object(messages: &[u8]) -> Vec<u8> {
    let mut bytes = b"OHDR\x02\x02".to_vec();
    bytes.extend((messages.len() as u32).to_le_bytes());
    bytes.extend(messages);
    bytes.extend(lookup3(&bytes).to_le_bytes());
    bytes
}

/// The superblock of a file of `file_bytes`; version 3 came with the layouts that chunks need.
fn superblock(chunked: bool, file_bytes: u64) -> Vec<u8> {
    let mut bytes = b"\x89HDF\r\n\x1a\n".to_vec();
    bytes.extend([if chunked { 3 } else { 2 }, 8, 8, 0]);
    bytes.extend([0; 8]);
    bytes.extend(NOWHERE);
    bytes.extend(file_bytes.to_le_bytes());
    bytes.extend(SUPERBLOCK_BYTES.to_le_bytes());
    bytes.extend(lookup3(&bytes).to_le_bytes());
    bytes
}

/// Decimal digits of all numbers below `count` (at least 1) together.
fn digits_below(count: u64) -> u64 {
    let powers = std::iter::successors(Some(10u64), |power| power.checked_mul(10));
    count + powers.take_while(|power| *power < count).map(|power| count - power).sum::<u64>()
}

/// Bytes of the root group's object header with links to `datasets` datasets and the labels.
fn root_bytes(datasets: u64) -> u64 {
    let names = datasets * "records_".len() as u64 + digits_below(datasets);
    let links = (datasets + 1) * LINK_BYTES + names + LABELS.len() as u64;
    OBJECT_BYTES + GROUP_MESSAGES_BYTES + links
}

/// Bytes of a dataset's object header.
fn dataset_bytes(space: &Space, datatype: Datatype) -> u64 {
    let dims = space.dims().len() as u64;
    let layout = match space.chunk() {
        None => CONTIGUOUS_BYTES,
        Some(chunk) => CHUNKED_BYTES + (dims + 1) * side_bytes(chunk, space.element_bytes()),
    };
    let messages = (4 + 8 * dims) + datatype.len() + layout + 3 * MESSAGE_HEAD_BYTES;
    OBJECT_BYTES + messages + FILL_BYTES
}

/// Bytes that each side of a chunk takes in a layout message.
fn side_bytes(chunk: &[u64], element_bytes: u64) -> u64 {
    let longest = chunk.iter().copied().fold(element_bytes, u64::max);
    u64::from(longest.ilog2()) / 8 + 1
}

/// A dataset's object header; its data begin at `address`.
fn dataset(space: &Space, datatype: Datatype, address: u64) -> Vec<u8> {
    let mut messages = Vec::with_capacity(256);
    let mut dataspace = vec![2, space.dims().len() as u8, 0, 1];
    dataspace.extend(space.dims().iter().flat_map(|side| side.to_le_bytes()));
    push_message(&mut messages, message::DATASPACE, false, &dataspace);
    push_message(&mut messages, message::DATATYPE, true, &datatype.bytes());
    // Version 3: space allocated early, the default value written where somebody asks for it.
    push_message(&mut messages, message::FILL_VALUE, true, &[3, 0x09]);
    let mut layout = Vec::with_capacity(64);
    match space.chunk() {
        None => {
            layout.extend([3, 1]);
            layout.extend(address.to_le_bytes());
            layout.extend(space.bytes().to_le_bytes());
        }
        Some(chunk) => {
            let width = side_bytes(chunk, space.element_bytes());
            layout.extend([4, 2, 0, chunk.len() as u8 + 1, width as u8]);
            for side in chunk.iter().chain([&space.element_bytes()]) {
                layout.extend(&side.to_le_bytes()[..width as usize]);
            }
            layout.push(IMPLICIT_INDEX);
            layout.extend(address.to_le_bytes());
        }
    }
    push_message(&mut messages, message::DATA_LAYOUT, false, &layout);
    object(&messages)
}

/// Root group with links `(name, address of the object header)`.
fn root(links: impl Iterator<Item = (String, u64)>) -> Vec<u8> {
    let mut messages = Vec::with_capacity(256);
    let mut info = vec![0, 0];
    info.extend([NOWHERE, NOWHERE].concat());
    push_message(&mut messages, message::LINK_INFO, false, &info);
    push_message(&mut messages, message::GROUP_INFO, true, &[0, 0]);
    for (name, address) in links {
        // Version 1, a hard link, the name's length in one byte.
        let mut link = vec![1, 0, name.len() as u8];
        link.extend(name.as_bytes());
        link.extend(address.to_le_bytes());
        push_message(&mut messages, message::LINK, false, &link);
    }
    object(&messages)
}

/// Length of [`metadata`] for `datasets` (at least 1) datasets of this space. Allocates nothing.
pub fn metadata_bytes(space: &Space, element: ElementType, datasets: u64) -> u64 {
    let labels = dataset_bytes(&space.labels(), Datatype::of(ElementType::Int64));
    let records = dataset_bytes(space, Datatype::of(element));
    SUPERBLOCK_BYTES + root_bytes(datasets) + datasets * records + labels
}

/// Where data lie.
pub struct Addresses {
    /// The first dataset.
    pub data: u64,
    /// From the beginning of a dataset to that of the next.
    pub stride: u64,
    /// Datasets.
    pub datasets: u64,
    /// The labels.
    pub labels: u64,
    /// Length of the file.
    pub file_bytes: u64,
}

/// All metadata, from offset 0 on.
pub fn metadata(space: &Space, element: ElementType, at: &Addresses) -> Vec<u8> {
    let datatype = Datatype::of(element);
    let first = SUPERBLOCK_BYTES + root_bytes(at.datasets);
    let header_bytes = dataset_bytes(space, datatype);
    let records = (0..at.datasets).map(|i| (format!("records_{i}"), first + i * header_bytes));
    let labels = (LABELS.to_string(), first + at.datasets * header_bytes);
    let mut bytes = superblock(space.chunk().is_some(), at.file_bytes);
    bytes.extend(root(records.chain([labels])));
    for i in 0..at.datasets {
        bytes.extend(dataset(space, datatype, at.data + i * at.stride));
    }
    bytes.extend(dataset(&space.labels(), Datatype::of(ElementType::Int64), at.labels));
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_counted() {
        for count in [1, 2, 10, 11, 99, 100, 101, 1000, 1234] {
            let counted: usize = (0..count).map(|i: u64| i.to_string().len()).sum();
            assert_eq!(digits_below(count), counted as u64, "{count}");
        }
    }

    #[test]
    fn datatypes_have_the_lengths_that_are_planned() {
        for element in [
            ElementType::Int8,
            ElementType::Uint64,
            ElementType::Float16,
            ElementType::Float64,
            ElementType::Bool,
        ] {
            let datatype = Datatype::of(element);
            assert_eq!(datatype.bytes().len() as u64, datatype.len(), "{element:?}");
        }
        let bias = &Datatype::Float(4, 8, 23).bytes()[16..];
        assert_eq!(bias, 127u32.to_le_bytes());
    }
}
