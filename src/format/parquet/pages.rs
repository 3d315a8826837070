//! Pages of a column chunk: their lengths by arithmetic, and the bytes in front of the values.
//!
//! A chunk is a dictionary page, where the column has one, then data pages (version 1, as pyarrow
//! writes) of about 1 MiB; all but the last hold the same number of rows and have the same bytes
//! but for their values. A data page is its header, repetition levels of lists, definition levels,
//! for dictionary indexes their width and run head, and then the values, which are content.
//!
//! Levels are run-length encoded (parquet-format, Encodings.md: RLE = 3): nothing is null, so
//! definition levels are one run; each row of a list starts with a 0 and goes on with a run of 1.

use super::super::computed::TEXT_HEAD_BYTES;
use super::schema::{Coding, Column, DICTIONARY_VALUES};
use super::thrift::{Fields, Length, Sink, put_varint, varint_bytes};
use std::ops::Range;

/// Values and levels of a page, about; a row is never divided.
const PAGE_BYTES: u64 = 1 << 20;

/// Encodings (parquet.thrift: Encoding).
pub const PLAIN: u64 = 0;
/// See [`PLAIN`].
pub const RLE: u64 = 3;
/// See [`PLAIN`].
pub const RLE_DICTIONARY: u64 = 8;

/// Bytes of a dictionary: 256 values of 32 bits.
const DICTIONARY_BYTES: u64 = 4 * DICTIONARY_VALUES;

/// The pages of one column in one row group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chunk {
    /// Bytes of the dictionary page with its header; 0: none.
    pub dictionary_bytes: u64,
    /// Rows of each page but the last.
    pub page_rows: u64,
    /// Pages of `page_rows` rows.
    pub full_pages: u64,
    /// Bytes of each of them.
    pub full_page_bytes: u64,
    /// Rows of the last page, fewer than `page_rows`; 0: there is no such page.
    pub last_rows: u64,
    /// All bytes.
    pub bytes: u64,
}

impl Chunk {
    /// The chunk of `column` in a group of `rows` rows. Allocates nothing.
    pub fn new(column: &Column, rows: u64) -> Chunk {
        let mut dictionary = Length::default();
        if column.element.coding() == Coding::Dictionary {
            put_dictionary_header(&mut dictionary);
            dictionary.0 += DICTIONARY_BYTES;
        }
        let page_rows = page_rows(column);
        let (full_pages, last_rows) = (rows / page_rows, rows % page_rows);
        let page = |rows: u64| match rows {
            0 => 0,
            _ => head_bytes(column, rows) + content_bytes(column, rows),
        };
        let full_page_bytes = if full_pages > 0 { page(page_rows) } else { 0 };
        Chunk {
            dictionary_bytes: dictionary.0,
            page_rows,
            full_pages,
            full_page_bytes,
            last_rows,
            bytes: dictionary.0 + full_pages * full_page_bytes + page(last_rows),
        }
    }

    /// Rows of each data page of `column`, and where its values lie, counted from the start of the
    /// chunk.
    pub fn values<'a>(
        &'a self,
        column: &'a Column,
    ) -> impl Iterator<Item = (u64, Range<u64>)> + 'a {
        let pages = self.full_pages + self.last_rows.min(1);
        (0..pages).map(move |page| {
            let rows = if page < self.full_pages { self.page_rows } else { self.last_rows };
            let start = self.dictionary_bytes + page * self.full_page_bytes;
            let values = start + head_bytes(column, rows);
            (rows, values..values + content_bytes(column, rows))
        })
    }
}

/// Calls `visit` with each column, the offset of its chunk in the group, and the chunk; returns
/// the bytes of the group.
pub fn walk(columns: &[Column], rows: u64, mut visit: impl FnMut(&Column, u64, &Chunk)) -> u64 {
    columns.iter().fold(0, |start, column| {
        let chunk = Chunk::new(column, rows);
        visit(column, start, &chunk);
        start + chunk.bytes
    })
}

/// Rows of a full page.
fn page_rows(column: &Column) -> u64 {
    let row_bits = column.row_values() * column.element.bits() + 8 * row_level_bytes(column);
    (8 * PAGE_BYTES / row_bits).max(1)
}

/// Bytes of repetition levels for each row of a list of several values: a run of one 0 and a run
/// of ones.
fn row_level_bytes(column: &Column) -> u64 {
    match column.list {
        Some(values) if values > 1 => 2 + varint_bytes((values - 1) << 1) + 1,
        _ => 0,
    }
}

/// Bytes of all repetition levels of `rows` rows, without their length.
fn repetition_bytes(column: &Column, rows: u64) -> u64 {
    match column.list {
        Some(1) => varint_bytes(rows << 1) + 1,
        _ => rows * row_level_bytes(column),
    }
}

/// Bytes of all definition levels of `rows` rows, without their length.
fn definition_bytes(column: &Column, rows: u64) -> u64 {
    varint_bytes((rows * column.row_values()) << 1) + 1
}

/// Groups of eight indexes in a page of `rows` rows.
fn index_groups(column: &Column, rows: u64) -> u64 {
    (rows * column.row_values()).div_ceil(8)
}

/// What stands between the header and the values of a page.
fn inner_head_bytes(column: &Column, rows: u64) -> u64 {
    let repetition = if column.list.is_some() { 4 + repetition_bytes(column, rows) } else { 0 };
    let indexes = match column.element.coding() {
        Coding::Plain(_) | Coding::Text(_) => 0,
        Coding::Dictionary => 1 + varint_bytes(index_groups(column, rows) << 1 | 1),
    };
    repetition + 4 + definition_bytes(column, rows) + indexes
}

/// Bytes of values in a page of `rows` rows.
pub fn content_bytes(column: &Column, rows: u64) -> u64 {
    match column.element.coding() {
        Coding::Plain(bits) => (rows * column.row_values() * bits).div_ceil(8),
        Coding::Text(bytes) => rows * column.row_values() * (TEXT_HEAD_BYTES + bytes),
        Coding::Dictionary => 8 * index_groups(column, rows),
    }
}

/// Bytes of everything in front of the values of a page of `rows` rows.
fn head_bytes(column: &Column, rows: u64) -> u64 {
    let mut header = Length::default();
    put_data_header(column, rows, &mut header);
    header.0 + inner_head_bytes(column, rows)
}

/// A data page of `rows` rows up to its values.
pub fn head(column: &Column, rows: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(head_bytes(column, rows) as usize);
    put_data_header(column, rows, &mut out);
    if let Some(values) = column.list {
        out.extend((repetition_bytes(column, rows) as u32).to_le_bytes());
        if values == 1 {
            put_run(&mut out, rows, 0);
        } else {
            for _ in 0..rows {
                put_run(&mut out, 1, 0);
                put_run(&mut out, values - 1, 1);
            }
        }
    }
    out.extend((definition_bytes(column, rows) as u32).to_le_bytes());
    put_run(&mut out, rows * column.row_values(), column.definition());
    if column.element.coding() == Coding::Dictionary {
        // Width of an index, then one bit-packed run.
        out.push(8);
        put_varint(&mut out, index_groups(column, rows) << 1 | 1);
    }
    debug_assert_eq!(out.len() as u64, head_bytes(column, rows));
    out
}

/// The dictionary page; empty where the column has none.
pub fn dictionary(column: &Column) -> Vec<u8> {
    let mut out = Vec::new();
    if column.element.coding() == Coding::Dictionary {
        put_dictionary_header(&mut out);
        column.element.put_dictionary(&mut out);
    }
    out
}

/// `count` levels of the same value.
fn put_run(sink: &mut impl Sink, count: u64, level: u8) {
    put_varint(sink, count << 1);
    sink.put(&[level]);
}

/// parquet.thrift: PageHeader with DataPageHeader.
fn put_data_header(column: &Column, rows: u64, sink: &mut impl Sink) {
    let bytes = inner_head_bytes(column, rows) + content_bytes(column, rows);
    let encoding = match column.element.coding() {
        Coding::Plain(_) | Coding::Text(_) => PLAIN,
        Coding::Dictionary => RLE_DICTIONARY,
    };
    put_header(sink, 0, bytes, 5, |data| {
        data.i32(1, rows * column.row_values());
        data.i32(2, encoding);
        data.i32(3, RLE);
        data.i32(4, RLE);
    });
}

/// parquet.thrift: PageHeader with DictionaryPageHeader.
fn put_dictionary_header(sink: &mut impl Sink) {
    put_header(sink, 2, DICTIONARY_BYTES, 7, |dictionary| {
        dictionary.i32(1, DICTIONARY_VALUES);
        dictionary.i32(2, PLAIN);
    });
}

fn put_header<S: Sink>(
    sink: &mut S,
    page_type: u64,
    bytes: u64,
    field: u8,
    inner: impl FnOnce(&mut Fields<'_, S>),
) {
    Fields::structure(sink, |fields| {
        fields.i32(1, page_type);
        fields.i32(2, bytes);
        fields.i32(3, bytes);
        fields.inner(field, inner);
    });
}
