//! safetensors: eight bytes of length, a JSON header with name, type, shape and place of each
//! tensor, then the tensors back to back (format of the `safetensors` package, little endian).
//!
//! The header is padded with spaces, as the format allows, so that the tensors begin at a multiple
//! of 4096 bytes: direct reads of a tensor need no bytes of the header, and the length of a file
//! does not depend on the digits of a name.

use super::Layout;
use super::table::{Part, Table};
use crate::config::Datatype;
use std::fmt::Write;

/// Suffix of the files, without the dot.
pub const SUFFIX: &str = "safetensors";
/// Bytes that hold the length of the header.
const LENGTH_BYTES: u64 = 8;
/// Tensors begin at a multiple of this.
const ALIGN_BYTES: u64 = 4096;

/// One tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tensor {
    /// Name: printable ASCII without quotes and backslashes.
    pub name: String,
    /// Type of an element.
    pub datatype: Datatype,
    /// Sides; their product is the number of elements.
    pub shape: Vec<u64>,
}

impl Tensor {
    /// Bytes of the tensor.
    pub fn bytes(&self) -> u64 {
        self.shape.iter().product::<u64>() * self.datatype.bytes()
    }
}

/// The type as the header spells it.
fn dtype(datatype: Datatype) -> &'static str {
    match datatype {
        Datatype::Int8 => "I8",
        Datatype::Uint8 => "U8",
        Datatype::Fp16 => "F16",
        Datatype::Bf16 => "BF16",
        Datatype::Fp32 => "F32",
        Datatype::Fp64 => "F64",
    }
}

/// Everything before the first tensor.
pub fn header(tensors: &[Tensor]) -> Vec<u8> {
    let mut text = String::from("{\"__metadata__\":{\"format\":\"pt\"}");
    let mut offset = 0;
    for tensor in tensors {
        let end = offset + tensor.bytes();
        let (name, dtype, shape) = (&tensor.name, dtype(tensor.datatype), &tensor.shape);
        let sides: Vec<_> = shape.iter().map(u64::to_string).collect();
        let sides = sides.join(",");
        write!(
            text,
            ",\"{name}\":{{\"dtype\":\"{dtype}\",\"shape\":[{sides}],\
             \"data_offsets\":[{offset},{end}]}}"
        )
        .expect("a String takes any text");
        offset = end;
    }
    text.push('}');
    let total = (LENGTH_BYTES + text.len() as u64).next_multiple_of(ALIGN_BYTES);
    let mut bytes = (total - LENGTH_BYTES).to_le_bytes().to_vec();
    bytes.extend(text.as_bytes());
    bytes.resize(total as usize, b' ');
    bytes
}

/// The overlay of a file that holds `tensors`: content under a header.
pub fn layout(tensors: &[Tensor]) -> Box<dyn Layout> {
    let payload = tensors.iter().map(Tensor::bytes).sum();
    Box::new(Table::new(None).push(Part::Fixed(header(tensors)), 0).push(Part::Content(payload), 0))
}

/// The overlay of a file of `bytes` bytes without structure.
pub fn plain(bytes: u64) -> Box<dyn Layout> {
    Box::new(Table::new(None).push(Part::Content(bytes), 0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn tensor(name: &str, datatype: Datatype, shape: &[u64]) -> Tensor {
        Tensor { name: name.into(), datatype, shape: shape.into() }
    }

    #[test]
    fn a_header_places_the_tensors_back_to_back() {
        let tensors = [
            tensor("a.weight", Datatype::Bf16, &[3, 5]),
            tensor("b", Datatype::Fp32, &[7]),
            tensor("c", Datatype::Uint8, &[2]),
        ];
        let bytes = header(&tensors);
        assert_eq!(bytes.len(), 4096);
        assert_eq!(bytes[..8], 4088u64.to_le_bytes());
        let parsed: Value = serde_json::from_slice(&bytes[8..]).unwrap();
        let expected = json!({
            "__metadata__": {"format": "pt"},
            "a.weight": {"dtype": "BF16", "shape": [3, 5], "data_offsets": [0, 30]},
            "b": {"dtype": "F32", "shape": [7], "data_offsets": [30, 58]},
            "c": {"dtype": "U8", "shape": [2], "data_offsets": [58, 60]},
        });
        assert_eq!(parsed, expected);
        assert_eq!(layout(&tensors).file_bytes(), 4096 + 60);
    }

    #[test]
    fn a_long_header_takes_whole_blocks() {
        let name = |index: usize| format!("model.layers.{index}.self_attn.q_proj.weight");
        let tensors: Vec<_> =
            (0..100).map(|index| tensor(&name(index), Datatype::Fp16, &[8, 8])).collect();
        let bytes = header(&tensors);
        assert_eq!(bytes.len() % 4096, 0);
        assert!(serde_json::from_slice::<Value>(&bytes[8..]).is_ok());
    }

    #[test]
    fn a_plain_file_is_content() {
        let layout = plain(10_000);
        let segment = layout.segment_at(9999);
        assert_eq!((segment.start, segment.len), (0, 10_000));
        assert_eq!(segment.bytes, super::super::Bytes::Content);
    }
}
