//! The footer: its length by arithmetic, its bytes when a layout needs them.
//!
//! The footer of a file with many row groups and columns has megabytes, and a plan asks for exact
//! sizes, so the length must not cost the bytes. Row groups of equal rows differ only in the
//! offsets of their chunks, whose variable lengths are summed by division ([`places_bytes`]);
//! everything else is counted by the code that writes it.
//!
//! Structures and field numbers are those of parquet-format's parquet.thrift. Statistics hold the
//! number of nulls, which is known; least and greatest values are not.

use super::pages::{PLAIN, RLE, RLE_DICTIONARY, walk};
use super::schema::{Coding, Column};
use super::thrift::{Fields, Length, Sink};

/// First and last four bytes of a file.
pub const MAGIC: [u8; 4] = *b"PAR1";

/// Rows of a file and how they are divided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rows {
    /// All rows.
    pub all: u64,
    /// Rows of each group but the last, at least 1 and at most all.
    pub group: u64,
}

impl Rows {
    /// `all` rows, at least 1, in groups of `group`.
    pub fn new(all: u64, group: u64) -> Rows {
        Rows { all, group: group.clamp(1, all) }
    }

    /// Groups with all their rows.
    pub fn full_groups(self) -> u64 {
        self.all / self.group
    }

    /// Rows of the last group; 0: all groups are full.
    pub fn last_rows(self) -> u64 {
        self.all % self.group
    }

    /// Groups.
    pub fn groups(self) -> u64 {
        self.all.div_ceil(self.group)
    }

    /// Rows of group `index`.
    pub fn of_group(self, index: u64) -> u64 {
        self.group.min(self.all - index * self.group)
    }
}

/// Bytes of a group of `rows` rows; without rows there is no group.
pub fn group_bytes(columns: &[Column], rows: u64) -> u64 {
    if rows == 0 { 0 } else { walk(columns, rows, |_, _, _| {}) }
}

/// Length of the footer, from the metadata to the end of the file. Allocates nothing.
pub fn footer_bytes(columns: &[Column], rows: Rows) -> u64 {
    let mut length = Length::default();
    put_metadata(columns, rows, &mut length, |length| {
        let full = rows.full_groups();
        let group = group_bytes(columns, rows.group);
        let first = MAGIC.len() as u64;
        length.0 += groups_bytes(columns, rows.group, first, group, full);
        if rows.last_rows() > 0 {
            length.0 += groups_bytes(columns, rows.last_rows(), first + full * group, 0, 1);
        }
    });
    length.0 + 4 + MAGIC.len() as u64
}

/// The footer.
pub fn footer(columns: &[Column], rows: Rows) -> Vec<u8> {
    let len = footer_bytes(columns, rows);
    let mut out = Vec::with_capacity(len as usize);
    put_metadata(columns, rows, &mut out, |out| {
        let mut start = MAGIC.len() as u64;
        for index in 0..rows.groups() {
            start += put_group(columns, rows.of_group(index), Some(start), out);
        }
    });
    let metadata = out.len() as u32;
    out.extend(metadata.to_le_bytes());
    out.extend(MAGIC);
    debug_assert_eq!(out.len() as u64, len);
    out
}

/// Metadata bytes of `count` groups of `rows` rows, which begin at `start` and every `step` bytes.
fn groups_bytes(columns: &[Column], rows: u64, start: u64, step: u64, count: u64) -> u64 {
    if count == 0 {
        return 0;
    }
    let mut one = Length::default();
    put_group(columns, rows, None, &mut one);
    let mut bytes = one.0 * count + places_bytes(start, step, count);
    walk(columns, rows, |_, offset, chunk| {
        let first = start + offset;
        bytes += places_bytes(first + chunk.dictionary_bytes, step, count);
        if chunk.dictionary_bytes > 0 {
            bytes += places_bytes(first, step, count);
        }
    });
    bytes
}

/// Bytes of the 64-bit numbers `first + i * step` for i below `count`. A number is doubled (zigzag)
/// and takes a byte more from each power of 2^7 on; how many are below such a bound is a division.
fn places_bytes(first: u64, step: u64, count: u64) -> u64 {
    let longer = |power: u32| {
        let room = (1u64 << (power - 1)).saturating_sub(first);
        count - room.div_ceil(step.max(1)).min(count)
    };
    count + (7..64).step_by(7).map(longer).sum::<u64>()
}

/// FileMetaData; `groups` puts the row groups.
fn put_metadata<S: Sink>(
    columns: &[Column],
    rows: Rows,
    sink: &mut S,
    groups: impl FnOnce(&mut S),
) {
    Fields::structure(sink, |fields| {
        fields.i32(1, 2);
        let elements = columns.iter().map(Column::schema_elements).sum::<u64>();
        let schema = fields.struct_list(2, 1 + elements);
        Fields::structure(schema, |root| {
            root.binary(4, b"schema");
            root.i32(5, columns.len() as u64);
        });
        for column in columns {
            column.put_schema(schema);
        }
        fields.i64(3, rows.all);
        groups(fields.struct_list(4, rows.groups()));
        // No version here: a file is the same whichever version makes it.
        fields.binary(6, b"rankio");
    });
}

/// RowGroup of `rows` rows that begins at `start`; None leaves out the bytes of all places.
/// Returns the bytes of the group itself.
fn put_group<S: Sink>(columns: &[Column], rows: u64, start: Option<u64>, sink: &mut S) -> u64 {
    let mut group = 0;
    Fields::structure(sink, |fields| {
        let chunks = fields.struct_list(1, columns.len() as u64);
        group = walk(columns, rows, |column, offset, chunk| {
            let place = |within: u64| start.map(|start| start + offset + within);
            Fields::structure(chunks, |fields| {
                // The place of metadata beside the chunk; there is none.
                fields.i64(2, 0);
                fields.inner(3, |meta| {
                    put_column(column, rows, chunk.bytes, meta);
                    meta.place(9, place(chunk.dictionary_bytes));
                    if chunk.dictionary_bytes > 0 {
                        meta.place(11, place(0));
                    }
                    meta.inner(12, |statistics| statistics.i64(3, 0));
                });
            });
        });
        fields.i64(2, group);
        fields.i64(3, rows);
        fields.place(5, start);
        fields.i64(6, group);
    });
    group
}

/// ColumnMetaData up to the places.
fn put_column<S: Sink>(column: &Column, rows: u64, bytes: u64, fields: &mut Fields<'_, S>) {
    let encodings: &[u64] = match column.element.coding() {
        Coding::Plain(_) | Coding::Text(_) => &[PLAIN, RLE],
        Coding::Dictionary => &[PLAIN, RLE, RLE_DICTIONARY],
    };
    let path = column.path();
    let depth = column.schema_elements() as usize;
    fields.i32(1, column.element.physical());
    fields.i32_list(2, encodings);
    fields.text_list(3, &path[..depth]);
    fields.i32(4, 0);
    fields.i64(5, rows * column.row_values());
    fields.i64(6, bytes);
    fields.i64(7, bytes);
}

/// The most metadata that a group of `rows` rows can have, whatever its place.
pub fn group_footer_bytes_max(columns: &[Column], rows: u64) -> u64 {
    const PLACE_MAX: u64 = 10;
    let mut one = Length::default();
    put_group(columns, rows, None, &mut one);
    one.0 + PLACE_MAX * (1 + 2 * columns.len() as u64)
}
