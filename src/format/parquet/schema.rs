//! Columns and their types: what stands in the schema, and how a value lies in a page.
//!
//! The types are those that pyarrow writes for the same Arrow types, so files of both open alike:
//! every column is optional (and never null here), a list is a three-level LIST, small integers
//! are annotated INT32, float16 is annotated FIXED_LEN_BYTE_ARRAY(2).
//!
//! Values have to be the generator's bytes, whatever these are. Wide types take any bits as they
//! are; of the bytes of a text six bits each choose one of 64 characters. Integers of 8 and 16 bits
//! would lie in 32 bits of which most are sign, so they go through a dictionary of 256 values
//! instead, and the content is its 8-bit indexes: one byte for each value,
//! as pyarrow's default writer has it for 8 bits. A dictionary of all 2^16 values would take
//! 256 KiB in every chunk, so 16-bit columns have 256 distinct values, spread evenly.

use super::super::computed::TEXT_HEAD_BYTES;
use super::thrift::{Fields, Sink};
use crate::config::{ColumnType, ElementType, Parquet};
use std::borrow::Cow;

/// Most bytes and most values of one row in one column: a row lies in one page, and the length of a
/// page has 31 bits.
pub const ROW_MAX: u64 = 1 << 30;

/// Values of a dictionary.
pub const DICTIONARY_VALUES: u64 = 256;

/// Type of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Element {
    /// A number or a truth value.
    Number(ElementType),
    /// So many bytes.
    Bytes(u64),
    /// So many characters.
    Text(u64),
}

/// How values lie in a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coding {
    /// One after the other, so many bits each.
    Plain(u64),
    /// Lengths of 32 bits, each followed by so many characters.
    Text(u64),
    /// As 8-bit indexes into a dictionary.
    Dictionary,
}

impl Element {
    /// Coding of values.
    pub fn coding(self) -> Coding {
        use ElementType::*;
        match self {
            Element::Bytes(bytes) => Coding::Plain(8 * bytes),
            Element::Text(bytes) => Coding::Text(bytes),
            Element::Number(Bool) => Coding::Plain(1),
            Element::Number(Int8 | Uint8 | Int16 | Uint16) => Coding::Dictionary,
            Element::Number(Float16) => Coding::Plain(16),
            Element::Number(Int32 | Uint32 | Float32) => Coding::Plain(32),
            Element::Number(Int64 | Uint64 | Float64) => Coding::Plain(64),
        }
    }

    /// Bits of a value in a page.
    pub fn bits(self) -> u64 {
        match self.coding() {
            Coding::Plain(bits) => bits,
            Coding::Text(bytes) => bytes.saturating_add(TEXT_HEAD_BYTES).saturating_mul(8),
            Coding::Dictionary => 8,
        }
    }

    /// Physical type (parquet.thrift: Type).
    pub fn physical(self) -> u64 {
        use ElementType::*;
        match self {
            Element::Number(Bool) => 0,
            Element::Number(Int8 | Uint8 | Int16 | Uint16 | Int32 | Uint32) => 1,
            Element::Number(Int64 | Uint64) => 2,
            Element::Number(Float32) => 4,
            Element::Number(Float64) => 5,
            Element::Text(_) => 6,
            Element::Number(Float16) | Element::Bytes(_) => 7,
        }
    }

    /// Bits, sign and converted type of an annotated integer (parquet.thrift: ConvertedType).
    /// Signed integers of the physical width need no annotation.
    fn integer(self) -> Option<(u8, bool, u64)> {
        use ElementType::*;
        let Element::Number(element) = self else { return None };
        match element {
            Uint8 => Some((8, false, 11)),
            Uint16 => Some((16, false, 12)),
            Uint32 => Some((32, false, 13)),
            Uint64 => Some((64, false, 14)),
            Int8 => Some((8, true, 15)),
            Int16 => Some((16, true, 16)),
            _ => None,
        }
    }

    /// Appends the values that indexes 0 to 255 stand for, 32 bits each; nothing where there is no
    /// dictionary.
    pub fn put_dictionary(self, out: &mut Vec<u8>) {
        use ElementType::*;
        let Element::Number(element) = self else { return };
        for index in 0..=u8::MAX {
            let spread = u16::from(index) * 257;
            let value = match element {
                Int8 => i32::from(index as i8),
                Uint8 => i32::from(index),
                Int16 => i32::from(spread as i16),
                Uint16 => i32::from(spread),
                _ => return,
            };
            out.extend(value.to_le_bytes());
        }
    }
}

/// One column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Name.
    pub name: Cow<'static, str>,
    /// Type of a value.
    pub element: Element,
    /// Values of each row, as a list; None: one value, no list.
    pub list: Option<u64>,
    /// Training reads it.
    pub selected: bool,
}

impl Column {
    /// The column of a file without listed columns: a list of a sample's elements.
    pub fn of_samples(element: ElementType, elements: u64) -> Column {
        Column {
            name: Cow::Borrowed("data"),
            element: Element::Number(element),
            list: Some(elements),
            selected: true,
        }
    }

    /// Values of a row, at least 1.
    pub fn row_values(&self) -> u64 {
        self.list.unwrap_or(1)
    }

    /// Largest definition level: of a value that is there.
    pub fn definition(&self) -> u8 {
        if self.list.is_some() { 3 } else { 1 }
    }

    /// Path of the leaf.
    pub fn path(&self) -> [&str; 3] {
        [&self.name, "list", "element"]
    }

    /// Elements of the schema tree.
    pub fn schema_elements(&self) -> u64 {
        if self.list.is_some() { 3 } else { 1 }
    }

    /// Refuses a row that fits no page.
    fn check(&self) -> Result<(), String> {
        let values = self.row_values();
        let bits = values.checked_mul(self.element.bits());
        if values > ROW_MAX || bits.is_none_or(|bits| bits > 8 * ROW_MAX) {
            return Err(format!(
                "a row of parquet column {} is larger than 1 GiB; lower its size",
                self.name
            ));
        }
        Ok(())
    }

    /// Writes the column's part of the schema (parquet.thrift: SchemaElement).
    pub fn put_schema(&self, sink: &mut impl Sink) {
        const OPTIONAL: u64 = 1;
        const REPEATED: u64 = 2;
        const CONVERTED_LIST: u64 = 3;
        let mut leaf = &*self.name;
        if self.list.is_some() {
            Fields::structure(sink, |fields| {
                fields.i32(3, OPTIONAL);
                fields.binary(4, self.name.as_bytes());
                fields.i32(5, 1);
                fields.i32(6, CONVERTED_LIST);
                fields.inner(10, |logical| logical.inner(3, |_| {}));
            });
            Fields::structure(sink, |fields| {
                fields.i32(3, REPEATED);
                fields.binary(4, b"list");
                fields.i32(5, 1);
            });
            leaf = "element";
        }
        Fields::structure(sink, |fields| self.put_leaf(leaf, OPTIONAL, fields));
    }

    fn put_leaf<S: Sink>(&self, name: &str, repetition: u64, fields: &mut Fields<'_, S>) {
        let float16 = self.element == Element::Number(ElementType::Float16);
        fields.i32(1, self.element.physical());
        match self.element {
            Element::Bytes(bytes) => fields.i32(2, bytes),
            Element::Number(_) if float16 => fields.i32(2, 2),
            Element::Number(_) | Element::Text(_) => {}
        }
        fields.i32(3, repetition);
        fields.binary(4, name.as_bytes());
        if let Some((bits, signed, converted)) = self.element.integer() {
            fields.i32(6, converted);
            fields.inner(10, |logical| {
                logical.inner(10, |integer| {
                    integer.byte(1, bits);
                    integer.bool(2, signed);
                });
            });
        } else if let Element::Text(_) = self.element {
            const CONVERTED_UTF8: u64 = 0;
            fields.i32(6, CONVERTED_UTF8);
            fields.inner(10, |logical| logical.inner(1, |_| {}));
        } else if float16 {
            fields.inner(10, |logical| logical.inner(15, |_| {}));
        }
    }
}

/// The columns that `parquet` lists. The error is a sentence that names the column.
pub fn listed(parquet: &Parquet) -> Result<Vec<Column>, String> {
    let columns = parquet.columns.iter().enumerate();
    columns
        .map(|(index, column)| {
            let (element, list) = element(column.dtype, column.size);
            let column = Column {
                name: Cow::Owned(column.name.clone()),
                element,
                list,
                selected: parquet.is_read(index),
            };
            column.check()?;
            Ok(column)
        })
        .collect()
}

/// Element and length of the list, if it is one.
fn element(dtype: ColumnType, size: u64) -> (Element, Option<u64>) {
    use ColumnType as T;
    let element = match dtype {
        T::Int8 => ElementType::Int8,
        T::Uint8 => ElementType::Uint8,
        T::Int16 => ElementType::Int16,
        T::Uint16 => ElementType::Uint16,
        T::Int32 => ElementType::Int32,
        T::Uint32 => ElementType::Uint32,
        T::Int64 => ElementType::Int64,
        T::Uint64 => ElementType::Uint64,
        T::Float16 => ElementType::Float16,
        T::Float32 | T::List => ElementType::Float32,
        T::Float64 => ElementType::Float64,
        T::Bool => ElementType::Bool,
        T::Binary => return (Element::Bytes(size), None),
        T::String => return (Element::Text(size), None),
    };
    let list = (size > 1 || dtype == T::List).then_some(size);
    (Element::Number(element), list)
}
