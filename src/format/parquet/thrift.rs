//! Thrift's compact protocol, as far as page headers and footers need it.
//!
//! One description of a structure serves both for its bytes and for its length, since it is
//! written into a [`Sink`] that keeps or counts. The `parquet` crate writes neither page headers
//! by themselves nor the length of a footer without building it.

/// Where encoded bytes go.
pub trait Sink {
    /// Takes some bytes.
    fn put(&mut self, bytes: &[u8]);
}

impl Sink for Vec<u8> {
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

/// A sink that counts.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Length(pub u64);

impl Sink for Length {
    fn put(&mut self, bytes: &[u8]) {
        self.0 += bytes.len() as u64;
    }
}

/// Type codes of fields and list items.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Code {
    True = 1,
    False = 2,
    Byte = 3,
    I32 = 5,
    I64 = 6,
    Binary = 8,
    List = 9,
    Struct = 12,
}

/// Bytes of `value` as a variable-length number, seven bits in each.
pub fn varint_bytes(value: u64) -> u64 {
    u64::from(value.max(1).ilog2()) / 7 + 1
}

/// The unsigned form of a number that is not negative.
pub fn zigzag(value: u64) -> u64 {
    value << 1
}

/// Writes `value` as a variable-length number.
pub fn put_varint(sink: &mut impl Sink, mut value: u64) {
    let mut bytes = [0; 10];
    let mut len = 0;
    while value >= 0x80 {
        bytes[len] = value as u8 | 0x80;
        value >>= 7;
        len += 1;
    }
    bytes[len] = value as u8;
    sink.put(&bytes[..=len]);
}

/// The fields of one structure, in ascending order of their numbers.
pub struct Fields<'a, S> {
    sink: &'a mut S,
    last: u8,
}

impl<'a, S: Sink> Fields<'a, S> {
    /// Writes a structure: `write` its fields, then the mark of its end.
    pub fn structure(sink: &'a mut S, write: impl FnOnce(&mut Fields<'_, S>)) {
        let mut fields = Fields { sink, last: 0 };
        write(&mut fields);
        fields.sink.put(&[0]);
    }

    /// Numbers are at most 15 apart in the structures here.
    fn field(&mut self, number: u8, code: Code) {
        debug_assert!(number > self.last && number - self.last <= 15);
        self.sink.put(&[(number - self.last) << 4 | code as u8]);
        self.last = number;
    }

    /// A 32-bit number that is not negative.
    pub fn i32(&mut self, number: u8, value: u64) {
        self.field(number, Code::I32);
        put_varint(self.sink, zigzag(value));
    }

    /// A 64-bit number that is not negative.
    pub fn i64(&mut self, number: u8, value: u64) {
        self.field(number, Code::I64);
        put_varint(self.sink, zigzag(value));
    }

    /// A 64-bit number, or only the head of its field where `value` is None.
    pub fn place(&mut self, number: u8, value: Option<u64>) {
        self.field(number, Code::I64);
        if let Some(value) = value {
            put_varint(self.sink, zigzag(value));
        }
    }

    /// An 8-bit number.
    pub fn byte(&mut self, number: u8, value: u8) {
        self.field(number, Code::Byte);
        self.sink.put(&[value]);
    }

    /// A truth value.
    pub fn bool(&mut self, number: u8, value: bool) {
        self.field(number, if value { Code::True } else { Code::False });
    }

    /// Bytes or text.
    pub fn binary(&mut self, number: u8, value: &[u8]) {
        self.field(number, Code::Binary);
        put_bytes(self.sink, value);
    }

    /// A structure inside.
    pub fn inner(&mut self, number: u8, write: impl FnOnce(&mut Fields<'_, S>)) {
        self.field(number, Code::Struct);
        Fields::structure(self.sink, write);
    }

    /// A list of 32-bit numbers.
    pub fn i32_list(&mut self, number: u8, values: &[u64]) {
        self.list(number, Code::I32, values.len() as u64);
        for value in values {
            put_varint(self.sink, zigzag(*value));
        }
    }

    /// A list of texts.
    pub fn text_list(&mut self, number: u8, values: &[&str]) {
        self.list(number, Code::Binary, values.len() as u64);
        for value in values {
            put_bytes(self.sink, value.as_bytes());
        }
    }

    /// The head of a list of `count` structures; they follow through the sink that is returned.
    pub fn struct_list(&mut self, number: u8, count: u64) -> &mut S {
        self.list(number, Code::Struct, count);
        self.sink
    }

    fn list(&mut self, number: u8, code: Code, count: u64) {
        self.field(number, Code::List);
        if count < 15 {
            self.sink.put(&[(count as u8) << 4 | code as u8]);
        } else {
            self.sink.put(&[0xf0 | code as u8]);
            put_varint(self.sink, count);
        }
    }
}

fn put_bytes(sink: &mut impl Sink, bytes: &[u8]) {
    put_varint(sink, bytes.len() as u64);
    sink.put(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn fields_are_encoded_as_the_protocol_says() {
        let mut bytes = Vec::new();
        Fields::structure(&mut bytes, |fields| {
            fields.i32(1, 3);
            fields.i64(3, 300);
            fields.bool(4, true);
            fields.binary(9, b"ab");
            fields.inner(10, |inner| inner.byte(1, 8));
            fields.i32_list(11, &[0, 3]);
        });
        let expected = [
            0x15, 6, 0x26, 0xd8, 0x04, 0x11, 0x58, 2, b'a', b'b', 0x1c, 0x13, 8, 0, 0x19, 0x25, 0,
            6, 0,
        ];
        assert_eq!(bytes, expected);
    }

    proptest! {
        #[test]
        fn lengths_are_counted(value: u64, count in 0u64..40) {
            let write = |sink: &mut dyn FnMut(&[u8])| {
                struct Through<'a>(&'a mut dyn FnMut(&[u8]));
                impl Sink for Through<'_> {
                    fn put(&mut self, bytes: &[u8]) {
                        (self.0)(bytes);
                    }
                }
                Fields::structure(&mut Through(sink), |fields| {
                    fields.place(2, Some(value >> 1));
                    fields.struct_list(3, count);
                });
            };
            let (mut bytes, mut length) = (Vec::new(), Length::default());
            write(&mut |piece| bytes.put(piece));
            write(&mut |piece| length.put(piece));
            prop_assert_eq!(bytes.len() as u64, length.0);
            let mut varint = Vec::new();
            put_varint(&mut varint, value);
            prop_assert_eq!(varint.len() as u64, varint_bytes(value));
        }
    }
}
