//! Parquet files of other writers: where the selected column chunks of each row group lie.
//!
//! Only the footer is looked at, so any encoding, compression and statistics will do; the bytes of
//! chunks are read and never taken apart.

use super::decode::{ChunkPlace, Decodable};
use super::footer::MAGIC;
use super::push_merged;
use crate::config::Parquet;
use parquet::file::metadata::{
    ColumnChunkMetaData, ParquetMetaData, ParquetMetaDataOptions, ParquetMetaDataReader,
    ParquetStatisticsPolicy, RowGroupMetaData,
};
use parquet::schema::types::SchemaDescriptor;
use std::ops::Range;

/// Length of the metadata and magic at the end of a file.
pub const TRAILER_BYTES: u64 = 8;

/// What every refusal ends with.
const CHECK: &str = "check that it is a complete parquet file";

/// The row groups of one file. Grows with groups times ranges, not with rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowGroups {
    /// First row of each group, then the number of rows.
    rows: Vec<u64>,
    /// Where the ranges of each group start in `ranges`, then their number.
    places: Vec<usize>,
    ranges: Vec<Range<u64>>,
    /// Only where rows are decoded.
    decodable: Option<Decodable>,
}

/// Bytes at the end of a file of `file_bytes` that hold its footer, the trailer included.
/// `trailer` is its last 8 bytes. The error is a sentence about the file, without its name.
pub fn tail_bytes(trailer: &[u8], file_bytes: u64) -> Result<u64, String> {
    let trailer: &[u8; TRAILER_BYTES as usize] =
        trailer.try_into().map_err(|_| format!("it has {file_bytes} bytes; {CHECK}"))?;
    let [a, b, c, d, magic @ ..] = *trailer;
    if magic == *b"PARE" {
        return Err("its footer is encrypted; give a plain one".into());
    }
    if magic != MAGIC {
        return Err(format!("it does not end with PAR1; {CHECK}"));
    }
    let tail = u64::from(u32::from_le_bytes([a, b, c, d])) + TRAILER_BYTES;
    if tail + MAGIC.len() as u64 > file_bytes {
        return Err(format!(
            "its footer of {tail} bytes is longer than the file of {file_bytes}; {CHECK}"
        ));
    }
    Ok(tail)
}

impl RowGroups {
    /// The row groups of a file of `file_bytes` that ends with `tail` (at least [`tail_bytes`]):
    /// the ranges of the columns that `settings` selects, all columns where it lists none.
    /// `decode`: the groups shall be decoded. The error is a sentence about the file, without its
    /// name.
    pub fn from_tail(
        tail: &[u8],
        file_bytes: u64,
        settings: &Parquet,
        decode: bool,
    ) -> Result<Self, String> {
        let trailer = tail.len().saturating_sub(TRAILER_BYTES as usize);
        let wanted = tail_bytes(&tail[trailer..], file_bytes)? as usize;
        let Some(start) = tail.len().checked_sub(wanted) else {
            return Err(format!("{wanted} bytes of its end are needed, {} are here", tail.len()));
        };
        let mut options = ParquetMetaDataOptions::new();
        options.set_column_stats_policy(ParquetStatisticsPolicy::SkipAll);
        options.set_encoding_stats_policy(ParquetStatisticsPolicy::SkipAll);
        options.set_size_stats_policy(ParquetStatisticsPolicy::SkipAll);
        let metadata = ParquetMetaDataReader::decode_metadata_with_options(
            &tail[start..trailer],
            Some(&options),
        )
        .map_err(|error| format!("its footer cannot be read ({error}); {CHECK}"))?;
        RowGroups::from_metadata(&metadata, file_bytes - wanted as u64, settings, decode)
    }

    fn from_metadata(
        metadata: &ParquetMetaData,
        data_end: u64,
        settings: &Parquet,
        decode: bool,
    ) -> Result<Self, String> {
        let schema = metadata.file_metadata().schema_descr_ptr();
        let selected = selected(&schema, settings)?;
        let groups = metadata.row_groups();
        let decodable = decode.then(|| Decodable::new(schema));
        let (rows, places, ranges) = (vec![0], vec![0], Vec::new());
        let mut found = RowGroups { rows, places, ranges, decodable };
        let mut all_rows = 0u64;
        for (index, group) in groups.iter().enumerate() {
            let wrong = || format!("its row group {index} makes no sense; {CHECK}");
            let rows = u64::try_from(group.num_rows()).map_err(|_| wrong())?;
            all_rows = all_rows.checked_add(rows).ok_or_else(wrong)?;
            // A group without rows has nothing to read, and no sample would find it.
            if rows > 0 {
                found
                    .append(group, &selected, data_end, settings.coalesce_gap)
                    .ok_or_else(wrong)?;
                found.rows.push(all_rows);
                found.places.push(found.ranges.len());
            }
        }
        if all_rows == 0 {
            return Err("it has no rows; remove it".into());
        }
        found.ranges.shrink_to_fit();
        Ok(found)
    }

    /// Appends the ranges of a group; None: a chunk lies outside of the file's data.
    fn append(
        &mut self,
        group: &RowGroupMetaData,
        selected: &[usize],
        data_end: u64,
        gap: u64,
    ) -> Option<()> {
        let mut chunks = Vec::with_capacity(selected.len());
        for &index in selected {
            let column = group.columns().get(index)?;
            let chunk = chunk_range(column)?;
            if chunk.start < MAGIC.len() as u64 || chunk.end > data_end {
                return None;
            }
            if !chunk.is_empty() {
                if let Some(decodable) = &mut self.decodable {
                    decodable.push(ChunkPlace::new(index, chunk.clone(), column));
                }
                chunks.push(chunk);
            }
        }
        if let Some(decodable) = &mut self.decodable {
            decodable.end_group();
        }
        chunks.sort_unstable_by_key(|chunk| chunk.start);
        let before = self.ranges.len();
        for chunk in chunks {
            push_merged(&mut self.ranges, before, gap, chunk);
        }
        Some(())
    }

    /// Number of rows.
    pub fn samples(&self) -> u64 {
        self.rows[self.rows.len() - 1]
    }

    /// Number of row groups that have rows.
    pub fn groups(&self) -> usize {
        self.rows.len() - 1
    }

    /// The group of row `sample`: its rows and the ranges to read for them, in file order; None if
    /// the file has no such row. Allocates nothing.
    pub fn group(&self, sample: u64) -> Option<(Range<u64>, &[Range<u64>])> {
        let index = self.rows.partition_point(|first| *first <= sample).checked_sub(1)?;
        let end = *self.rows.get(index + 1)?;
        let ranges = &self.ranges[self.places[index]..self.places[index + 1]];
        Some((self.rows[index]..end, ranges))
    }

    /// The selected chunks of the group of row `sample`, and the rows in it; None if the file has
    /// no such row or was not asked for decoding. Allocates nothing.
    pub fn chunks(&self, sample: u64) -> Option<(&Decodable, &[ChunkPlace], u64)> {
        let index = self.rows.partition_point(|first| *first <= sample).checked_sub(1)?;
        let end = *self.rows.get(index + 1)?;
        let decodable = self.decodable.as_ref()?;
        Some((decodable, decodable.group(index), end - self.rows[index]))
    }

    /// From the first to the last byte that group of row `sample` needs. Allocates nothing.
    pub fn span(&self, sample: u64) -> Option<Range<u64>> {
        let (_, ranges) = self.group(sample)?;
        match ranges {
            [] => Some(0..0),
            [first, ..] => Some(first.start..ranges[ranges.len() - 1].end),
        }
    }
}

/// Leaf columns to read. A column of the settings is one of the schema's first level, with all its
/// leaves.
fn selected(schema: &SchemaDescriptor, settings: &Parquet) -> Result<Vec<usize>, String> {
    if settings.columns.is_empty() {
        return Ok((0..schema.num_columns()).collect());
    }
    let mut leaves = Vec::new();
    for (index, column) in settings.columns.iter().enumerate() {
        if !settings.is_read(index) {
            continue;
        }
        let before = leaves.len();
        for leaf in 0..schema.num_columns() {
            if schema.get_column_root(leaf).name() == column.name {
                leaves.push(leaf);
            }
        }
        if leaves.len() == before {
            return Err(format!(
                "it has no column {}; give dataset.parquet.columns as they are in the file",
                column.name
            ));
        }
    }
    Ok(leaves)
}

/// Bytes of a chunk. Some writers leave 0 where there is no dictionary.
fn chunk_range(chunk: &ColumnChunkMetaData) -> Option<Range<u64>> {
    let data = u64::try_from(chunk.data_page_offset()).ok()?;
    let dictionary = chunk.dictionary_page_offset().map(u64::try_from);
    let start = match dictionary {
        Some(Ok(dictionary)) if dictionary > 0 => dictionary.min(data),
        _ => data,
    };
    let bytes = u64::try_from(chunk.compressed_size()).ok()?;
    Some(start..start.checked_add(bytes)?)
}
