//! Parquet: row groups of column chunks that are read by column.
//!
//! By default files are uncompressed and their values are the generator's bytes, so that sizes
//! follow from columns and rows alone and a plan is exact; [`encode`] makes the compressed ones,
//! whose lengths the plan can only estimate. [`schema`] has the types, [`pages`] the chunks,
//! [`footer`] the metadata, [`layout`] the overlay, [`foreign`] the files of other writers. All
//! lengths are arithmetic; a layout with its footer is built when a file is made or checked, once
//! for each shape.

pub mod decode;
mod encode;
mod footer;
pub mod foreign;
mod layout;
mod pages;
mod schema;
#[cfg(test)]
mod tests;
mod thrift;

use super::{Encoder, FileShape, Format, Layout, Sink, Source};
use crate::config::{Dataset, ElementType};
use footer::{MAGIC, Rows, footer_bytes, group_bytes, group_footer_bytes_max};
use layout::{FileLayout, Shared};
use pages::walk;
use schema::{Column, ROW_MAX};
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

/// Layouts kept for files that are opened next: a dataset has one shape, or many with small
/// footers.
const LAYOUTS_KEPT: usize = 4;

/// The length of a footer has 32 bits, of which readers take 31.
const FOOTER_MAX: u64 = i32::MAX as u64;

/// Parquet files of one dataset.
pub struct Parquet {
    /// None: one column that follows from the shape.
    columns: Option<Vec<Column>>,
    group_rows: u64,
    coalesce_gap: u64,
    /// None: files are plain, and as long as the layout says.
    encoding: Option<encode::Encoding>,
    /// Full groups and the last group of the dataset's own shape, so that the way of a read does
    /// not pass over all columns.
    known: Vec<Known>,
    layouts: Mutex<Vec<(FileShape, Arc<FileLayout>)>>,
}

/// What reading needs of a group with so many rows, with offsets from its start.
struct Known {
    rows: u64,
    bytes: u64,
    extents: Vec<Range<u64>>,
}

impl Parquet {
    /// The format of a dataset. The error is a sentence.
    pub fn new(dataset: &Dataset) -> Result<Parquet, String> {
        let settings = &dataset.parquet;
        let group_rows = settings.row_group_size.max(1);
        let columns = match settings.columns.is_empty() {
            true => None,
            false => Some(schema::listed(settings)?),
        };
        if columns.is_none() {
            check_sample(dataset)?;
        }
        let mut parquet = Parquet {
            columns,
            group_rows,
            coalesce_gap: settings.coalesce_gap,
            encoding: encode::Encoding::new(dataset)?,
            known: Vec::new(),
            layouts: Mutex::new(Vec::new()),
        };
        let rows = Rows::new(dataset.num_samples_per_file.max(1), group_rows);
        parquet.check_lengths(rows)?;
        if let Some(columns) = &parquet.columns {
            let known = |rows: u64| {
                let mut extents = Vec::new();
                append_extents(columns, rows, settings.coalesce_gap, 0, &mut extents);
                Known { rows, bytes: group_bytes(columns, rows), extents }
            };
            let sizes = [rows.group, rows.last_rows()];
            parquet.known = sizes.into_iter().filter(|&rows| rows > 0).map(known).collect();
        }
        Ok(parquet)
    }

    /// Refuses files whose length has no room in 64 bits, or their footer's in its field.
    fn check_lengths(&self, rows: Rows) -> Result<(), String> {
        let sample = [Column::of_samples(ElementType::Uint8, 1)];
        let columns = self.columns.as_deref().unwrap_or(&sample);
        let row_bytes = |column: &Column| {
            u128::from(column.row_values()) * u128::from(column.element.bits()).div_ceil(8) + 16
        };
        let file_bytes = u128::from(rows.all) * columns.iter().map(row_bytes).sum::<u128>();
        if file_bytes >> 62 > 0 {
            return Err(format!(
                "a parquet file of {} rows is too long; lower dataset.num_samples_per_file",
                rows.all
            ));
        }
        let footer = group_footer_bytes_max(columns, rows.group);
        if u128::from(rows.groups()) * u128::from(footer) > u128::from(FOOTER_MAX) {
            return Err(format!(
                "the {} row groups of a parquet file need a footer beyond 2 GiB; raise \
                 dataset.parquet.row_group_size or lower dataset.num_samples_per_file",
                rows.groups()
            ));
        }
        Ok(())
    }

    fn rows(&self, shape: &FileShape) -> Rows {
        Rows::new(shape.samples, self.group_rows)
    }

    fn with_columns<R>(&self, shape: &FileShape, use_them: impl FnOnce(&[Column]) -> R) -> R {
        match &self.columns {
            Some(columns) => use_them(columns),
            None => {
                let elements = shape.rows * shape.columns;
                use_them(std::slice::from_ref(&Column::of_samples(shape.element, elements)))
            }
        }
    }

    /// Appends the ranges of the group of `sample`.
    fn append_group(&self, shape: &FileShape, sample: u64, out: &mut Vec<Range<u64>>) {
        let all = self.rows(shape);
        let index = sample / all.group;
        let rows = all.of_group(index);
        let known = |rows: u64| self.known.iter().find(|known| known.rows == rows);
        let magic = MAGIC.len() as u64;
        match (known(rows), known(all.group)) {
            (Some(group), Some(full)) => {
                let start = magic + index * full.bytes;
                let moved = |range: &Range<u64>| start + range.start..start + range.end;
                out.extend(group.extents.iter().map(moved));
            }
            _ => self.with_columns(shape, |columns| {
                let start = magic + index * group_bytes(columns, all.group);
                append_extents(columns, rows, self.coalesce_gap, start, out);
            }),
        }
    }
}

/// Refuses samples that may be too long for one row. The longest of sizes that deviate is twice the
/// mean, or, where both sides are drawn, as far out as the outermost of 32 strata on each (2.16
/// deviations, each half the relative deviation of the size).
fn check_sample(dataset: &Dataset) -> Result<(), String> {
    let longest = if dataset.record_dims.is_empty() {
        let (mean, stdev) = (dataset.record_length_bytes, dataset.record_length_bytes_stdev);
        let drawn = mean * (1.0 + 1.08 * stdev / mean).powi(2);
        if stdev > 0.0 { drawn.max(2.0 * mean) } else { mean }
    } else {
        let elements: f64 = dataset.record_dims.iter().map(|&side| side as f64).product();
        elements * super::element_bytes(dataset.record_element_type) as f64
    };
    if longest > ROW_MAX as f64 {
        return Err(
            "a parquet file of samples above 1 GiB is not possible, since each is one row; \
                    lower dataset.record_length_bytes or list dataset.parquet.columns"
                .into(),
        );
    }
    Ok(())
}

/// Appends the selected chunks of a group of `rows` rows that begins at `start`, in file order;
/// those with at most `gap` bytes between them become one range.
fn append_extents(columns: &[Column], rows: u64, gap: u64, start: u64, out: &mut Vec<Range<u64>>) {
    let before = out.len();
    walk(columns, rows, |column, offset, chunk| {
        if column.selected {
            let first = start + offset;
            push_merged(out, before, gap, first..first + chunk.bytes);
        }
    });
}

/// Pushes `range`, or joins it with the last one of `out[before..]` if at most `gap` bytes lie
/// between them.
fn push_merged(out: &mut Vec<Range<u64>>, before: usize, gap: u64, range: Range<u64>) {
    match out[before..].last_mut() {
        Some(last) if range.start.saturating_sub(last.end) <= gap => last.end = range.end,
        _ => out.push(range),
    }
}

impl Encoder for Parquet {
    fn encode(&self, shape: &FileShape, content: &dyn Source, sink: Sink<'_>) -> io::Result<()> {
        let encoding = self.encoding.expect("only a format with an encoding has an encoder");
        let made =
            |columns: &[Column]| encode::encode(columns, self.rows(shape), encoding, content, sink);
        self.with_columns(shape, made).map_err(io::Error::other)
    }
}

impl Format for Parquet {
    fn suffix(&self) -> &'static str {
        "parquet"
    }

    fn encoder(&self) -> Option<&dyn Encoder> {
        self.encoding.is_some().then_some(self as &dyn Encoder)
    }

    fn file_bytes(&self, shape: &FileShape) -> u64 {
        let rows = self.rows(shape);
        self.with_columns(shape, |columns| {
            let full = rows.full_groups() * group_bytes(columns, rows.group);
            let last = group_bytes(columns, rows.last_rows());
            MAGIC.len() as u64 + full + last + footer_bytes(columns, rows)
        })
    }

    /// From the first to the last selected chunk of the sample's row group.
    fn extent(&self, shape: &FileShape, sample: u64) -> Range<u64> {
        let rows = self.rows(shape);
        let index = sample / rows.group;
        self.with_columns(shape, |columns| {
            let start = MAGIC.len() as u64 + index * group_bytes(columns, rows.group);
            let (mut first, mut end) = (None, start);
            walk(columns, rows.of_group(index), |column, offset, chunk| {
                if column.selected {
                    first = first.or(Some(start + offset));
                    end = start + offset + chunk.bytes;
                }
            });
            first.unwrap_or(start)..end
        })
    }

    fn group_samples(&self, shape: &FileShape) -> u64 {
        self.rows(shape).group
    }

    /// The selected chunks of the row groups, whole: pages are not told apart.
    fn extents(&self, shape: &FileShape, first: u64, count: u64, out: &mut Vec<Range<u64>>) {
        let group = self.rows(shape).group;
        for index in first / group..=(first + count - 1) / group {
            self.append_group(shape, index * group, out);
        }
    }

    fn read_bytes(&self, shape: &FileShape) -> u64 {
        let rows = self.rows(shape);
        self.with_columns(shape, |columns| {
            let of_group = |rows: u64| {
                let mut ranges = Vec::new();
                if rows > 0 {
                    append_extents(columns, rows, self.coalesce_gap, 0, &mut ranges);
                }
                ranges.iter().map(|range| range.end - range.start).sum::<u64>()
            };
            rows.full_groups() * of_group(rows.group) + of_group(rows.last_rows())
        })
    }

    fn layout(&self, shape: &FileShape) -> Box<dyn Layout> {
        let mut kept = self.layouts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, layout)) = kept.iter().find(|(known, _)| known == shape) {
            return Box::new(Shared(layout.clone()));
        }
        let build = |columns: &[Column]| FileLayout::new(columns, self.rows(shape));
        let layout = Arc::new(self.with_columns(shape, build));
        if kept.len() == LAYOUTS_KEPT {
            kept.remove(0);
        }
        kept.push((*shape, layout.clone()));
        Box::new(Shared(layout))
    }
}
