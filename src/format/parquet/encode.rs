//! Compressed and dictionary-encoded files, through the writer of the `parquet` crate.
//!
//! The values are those of the plain file of the same columns and rows: each page of that file is
//! taken as values and handed to the writer, column by column. Schema and names are the plain
//! file's too. What differs is what the writer decides: lengths, where pages end, dictionaries.

use super::super::Source;
use super::super::computed::{TEXT, TEXT_HEAD_BYTES};
use super::super::encoder::Sink;
use super::footer::{MAGIC, Rows, footer};
use super::pages::Chunk;
use super::schema::{Coding, Column, Element};
use crate::config::{Compression as Wanted, Dataset, ParquetEncoding};
use bytes::Bytes;
use parquet::basic::{Compression, GzipLevel, ZstdLevel};
use parquet::column::writer::ColumnWriter;
use parquet::data_type::{ByteArray, FixedLenByteArray};
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::ParquetMetaDataReader;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::{ColumnPath, TypePtr};
use std::sync::Arc;

/// How the files of a dataset are encoded.
#[derive(Debug, Clone, Copy)]
pub struct Encoding {
    compression: Compression,
    dictionary: bool,
}

impl Encoding {
    /// That of `dataset`; None: its files are plain. The error is a sentence.
    pub fn new(dataset: &Dataset) -> std::result::Result<Option<Encoding>, String> {
        if dataset.has_exact_sizes() {
            return Ok(None);
        }
        let level = dataset.compression_level_used().unwrap_or_default();
        let refused =
            |error: ParquetError| format!("dataset.compression_level is {level}: {error}");
        let compression = match dataset.compression {
            Wanted::None => Compression::UNCOMPRESSED,
            Wanted::Snappy => Compression::SNAPPY,
            Wanted::Gzip => Compression::GZIP(GzipLevel::try_new(level as u32).map_err(refused)?),
            Wanted::Zstd => Compression::ZSTD(ZstdLevel::try_new(level as i32).map_err(refused)?),
            // What the format calls LZ4 is deprecated for its framing; other writers write this.
            Wanted::Lz4 => Compression::LZ4_RAW,
        };
        let dictionary = dataset.parquet.encoding == ParquetEncoding::Dictionary;
        Ok(Some(Encoding { compression, dictionary }))
    }

    fn properties(self, columns: &[Column]) -> WriterProperties {
        let mut properties = WriterProperties::builder()
            // No version here: a file is the same whichever version of rankio makes it.
            .set_created_by("rankio".into())
            .set_compression(self.compression)
            .set_dictionary_enabled(self.dictionary)
            .set_statistics_enabled(EnabledStatistics::None)
            .set_offset_index_disabled(true)
            .set_data_page_row_count_limit(usize::MAX);
        for column in columns.iter().filter(|one| one.element.coding() == Coding::Dictionary) {
            let path = column.path()[..column.schema_elements() as usize].to_vec();
            let path = ColumnPath::new(path.into_iter().map(String::from).collect());
            properties = properties.set_column_dictionary_enabled(path, true);
        }
        properties.build()
    }
}

/// Hands the bytes of a file of `columns` and `rows` to `sink`. `content` is that of the plain
/// file.
pub fn encode(
    columns: &[Column],
    rows: Rows,
    encoding: Encoding,
    content: &dyn Source,
    sink: Sink<'_>,
) -> Result<()> {
    let properties = Arc::new(encoding.properties(columns));
    let mut writer = SerializedFileWriter::new(sink, schema(columns)?, properties)?;
    let mut page = Page::default();
    let mut start = MAGIC.len() as u64;
    for index in 0..rows.groups() {
        let mut group = writer.next_row_group()?;
        for column in columns {
            let chunk = Chunk::new(column, rows.of_group(index));
            let missing = || ParquetError::General(format!("no writer for {}", column.name));
            let mut out = group.next_column()?.ok_or_else(missing)?;
            for (rows, values) in chunk.values(column) {
                page.content.resize((values.end - values.start) as usize, 0);
                content.fill(start + values.start, &mut page.content);
                page.set_levels(column, rows);
                page.write(column, out.untyped())?;
            }
            out.close()?;
            start += chunk.bytes;
        }
        group.close()?;
    }
    writer.close().map(|_| ())
}

/// The schema of the plain file, out of its footer.
fn schema(columns: &[Column]) -> Result<TypePtr> {
    let footer = footer(columns, Rows::new(1, 1));
    let metadata = &footer[..footer.len() - 4 - MAGIC.len()];
    let metadata = ParquetMetaDataReader::decode_metadata(metadata)?;
    Ok(metadata.file_metadata().schema_descr().root_schema_ptr())
}

/// The values of one page of the plain file, and their levels.
#[derive(Default)]
struct Page {
    content: Vec<u8>,
    values: usize,
    definitions: Vec<i16>,
    repetitions: Vec<i16>,
}

impl Page {
    fn set_levels(&mut self, column: &Column, rows: u64) {
        let row_values = column.row_values() as usize;
        self.values = rows as usize * row_values;
        self.definitions.clear();
        self.definitions.resize(self.values, i16::from(column.definition()));
        self.repetitions.clear();
        if column.list.is_some() {
            self.repetitions.resize(self.values, 1);
            self.repetitions.iter_mut().step_by(row_values).for_each(|level| *level = 0);
        }
    }

    fn write(&self, column: &Column, writer: &mut ColumnWriter<'_>) -> Result<()> {
        let definitions = Some(&self.definitions[..]);
        let repetitions = column.list.map(|_| &self.repetitions[..]);
        match writer {
            ColumnWriter::BoolColumnWriter(writer) => {
                let bit = |index: usize| self.content[index / 8] >> (index % 8) & 1 == 1;
                let values: Vec<_> = (0..self.values).map(bit).collect();
                writer.write_batch(&values, definitions, repetitions)
            }
            ColumnWriter::Int32ColumnWriter(writer) => {
                let values = self.integers(column);
                writer.write_batch(&values, definitions, repetitions)
            }
            ColumnWriter::Int64ColumnWriter(writer) => {
                let values = self.words(i64::from_le_bytes);
                writer.write_batch(&values, definitions, repetitions)
            }
            ColumnWriter::FloatColumnWriter(writer) => {
                let values = self.words(f32::from_le_bytes);
                writer.write_batch(&values, definitions, repetitions)
            }
            ColumnWriter::DoubleColumnWriter(writer) => {
                let values = self.words(f64::from_le_bytes);
                writer.write_batch(&values, definitions, repetitions)
            }
            ColumnWriter::FixedLenByteArrayColumnWriter(writer) => {
                let width = match column.element {
                    Element::Bytes(bytes) => bytes as usize,
                    _ => size_of::<u16>(),
                };
                let all = Bytes::copy_from_slice(&self.content);
                let value = |start| ByteArray::from(all.slice(start..start + width));
                let starts = (0..self.values).map(|index| index * width);
                let values: Vec<FixedLenByteArray> = starts.map(|at| value(at).into()).collect();
                writer.write_batch(&values, definitions, repetitions)
            }
            ColumnWriter::ByteArrayColumnWriter(writer) => {
                writer.write_batch(&self.texts(column), definitions, repetitions)
            }
            ColumnWriter::Int96ColumnWriter(_) => {
                return Err(ParquetError::General("no column is of type INT96".into()));
            }
        }
        .map(|_| ())
    }

    fn words<const N: usize, T>(&self, value: impl Fn([u8; N]) -> T) -> Vec<T> {
        self.content.as_chunks().0.iter().map(|word| value(*word)).collect()
    }

    fn integers(&self, column: &Column) -> Vec<i32> {
        if column.element.coding() != Coding::Dictionary {
            return self.words(i32::from_le_bytes);
        }
        let mut dictionary = Vec::new();
        column.element.put_dictionary(&mut dictionary);
        let of = |index: &u8| i32::from_le_bytes(dictionary.as_chunks().0[usize::from(*index)]);
        self.content[..self.values].iter().map(of).collect()
    }

    fn texts(&self, column: &Column) -> Vec<ByteArray> {
        let Element::Text(characters) = column.element else { return Vec::new() };
        let (head, characters) = (TEXT_HEAD_BYTES as usize, characters as usize);
        let text = self.content.iter().map(|byte| TEXT[usize::from(*byte & 63)]);
        let all = Bytes::from_iter(text);
        let starts = (0..self.values).map(|index| index * (head + characters) + head);
        starts.map(|start| ByteArray::from(all.slice(start..start + characters))).collect()
    }
}
