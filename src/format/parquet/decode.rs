//! Decodes the selected chunks of a row group: decompression, encodings, levels; the values are
//! made and dropped.
//!
//! Works on chunks of any writer, with the reader of the `parquet` crate. Rows are taken a batch at
//! a time, so what is held beside the chunks is a page, a dictionary and a batch of values.

use bytes::{Buf, Bytes};
use parquet::basic::Compression;
use parquet::column::reader::{ColumnReader, ColumnReaderImpl, get_column_reader};
use parquet::data_type::DataType;
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::ColumnChunkMetaData;
use parquet::file::reader::{ChunkReader, Length};
use parquet::file::serialized_reader::SerializedPageReader;
use parquet::schema::types::SchemaDescPtr;
use std::ops::Range;
use std::sync::Arc;

/// Values of a batch, about; a row is never divided.
const BATCH_VALUES: u64 = 1 << 16;

/// What decoding needs to know of a chunk; much less than the footer says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChunkPlace {
    leaf: usize,
    range: Range<u64>,
    values: i64,
    data_page: i64,
    dictionary_page: Option<i64>,
    compression: Compression,
}

impl ChunkPlace {
    /// The chunk of leaf column `leaf` at `range`.
    pub fn new(leaf: usize, range: Range<u64>, chunk: &ColumnChunkMetaData) -> ChunkPlace {
        ChunkPlace {
            leaf,
            range,
            values: chunk.num_values(),
            data_page: chunk.data_page_offset(),
            // Some writers leave 0 where there is no dictionary.
            dictionary_page: chunk.dictionary_page_offset().filter(|&offset| offset > 0),
            compression: chunk.compression(),
        }
    }
}

/// The selected chunks of all row groups of a file.
#[derive(Debug, Clone, PartialEq)]
pub struct Decodable {
    schema: SchemaDescPtr,
    chunks: Vec<ChunkPlace>,
    /// Where the chunks of each group start, then their number.
    starts: Vec<usize>,
}

impl Eq for Decodable {}

impl Decodable {
    /// No group yet.
    pub fn new(schema: SchemaDescPtr) -> Decodable {
        Decodable { schema, chunks: Vec::new(), starts: vec![0] }
    }

    /// Adds a chunk to the group that is being described.
    pub fn push(&mut self, chunk: ChunkPlace) {
        self.chunks.push(chunk);
    }

    /// The next chunk belongs to the next group.
    pub fn end_group(&mut self) {
        self.starts.push(self.chunks.len());
    }

    /// The chunks of group `index`.
    pub fn group(&self, index: usize) -> &[ChunkPlace] {
        &self.chunks[self.starts[index]..self.starts[index + 1]]
    }
}

/// Bytes of some ranges of a file, one range after the other.
#[derive(Debug)]
pub struct ReadRanges {
    ranges: Vec<Range<u64>>,
    bytes: Bytes,
}

impl ReadRanges {
    /// `bytes` holds those of `ranges`.
    pub fn new(ranges: &[Range<u64>], bytes: Vec<u8>) -> ReadRanges {
        ReadRanges { ranges: ranges.to_vec(), bytes: Bytes::from(bytes) }
    }

    /// The memory, to be filled again.
    pub fn into_bytes(self) -> Vec<u8> {
        Vec::from(self.bytes)
    }

    /// What was read from `start` to the end of its range.
    fn from(&self, start: u64) -> Result<Bytes> {
        let mut place = 0;
        for range in &self.ranges {
            if range.contains(&start) {
                let (from, to) = (place + start - range.start, place + range.end - range.start);
                return Ok(self.bytes.slice(from as usize..to as usize));
            }
            place += range.end - range.start;
        }
        Err(ParquetError::EOF(format!("byte {start} was not read")))
    }
}

/// The ranges as one file.
struct Chunks(Arc<ReadRanges>);

impl Length for Chunks {
    fn len(&self) -> u64 {
        self.0.ranges.last().map_or(0, |range| range.end)
    }
}

impl ChunkReader for Chunks {
    type T = bytes::buf::Reader<Bytes>;

    fn get_read(&self, start: u64) -> Result<Self::T> {
        self.0.from(start).map(Buf::reader)
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes> {
        let found = self.0.from(start)?;
        if found.len() < length {
            return Err(ParquetError::EOF(format!(
                "of {length} bytes at {start} only {} were read",
                found.len()
            )));
        }
        Ok(found.slice(..length))
    }
}

/// Memory that decoding uses again for every chunk.
#[derive(Debug, Default)]
pub struct Decoder {
    definitions: Vec<i16>,
    repetitions: Vec<i16>,
}

impl Decoder {
    /// Decodes `chunks` of a group of `rows` rows of `file`; `read` holds their bytes. Returns the
    /// number of values that are not null. The error is a sentence without the file's name.
    pub fn group(
        &mut self,
        file: &Decodable,
        chunks: &[ChunkPlace],
        rows: u64,
        read: &Arc<ReadRanges>,
    ) -> std::result::Result<u64, String> {
        let mut values = 0;
        for chunk in chunks {
            let column = file.schema.column(chunk.leaf);
            values += self.chunk(file, chunk, rows, read).map_err(|error| {
                format!("column {} cannot be decoded ({error})", column.path().string())
            })?;
        }
        Ok(values)
    }

    fn chunk(
        &mut self,
        file: &Decodable,
        chunk: &ChunkPlace,
        rows: u64,
        read: &Arc<ReadRanges>,
    ) -> Result<u64> {
        let column = file.schema.column(chunk.leaf);
        let metadata = ColumnChunkMetaData::builder(column.clone())
            .set_compression(chunk.compression)
            .set_num_values(chunk.values)
            .set_data_page_offset(chunk.data_page)
            .set_dictionary_page_offset(chunk.dictionary_page)
            .set_total_compressed_size((chunk.range.end - chunk.range.start) as i64)
            .build()?;
        let chunks = Arc::new(Chunks(read.clone()));
        let pages = SerializedPageReader::new(chunks, &metadata, rows as usize, None)?;
        // Nulls and empty lists count as values here, so there is at least one for each row.
        let row_values = (chunk.values.max(1) as u64).div_ceil(rows.max(1));
        let batch = (BATCH_VALUES / row_values).max(1) as usize;
        match get_column_reader(column, Box::new(pages)) {
            ColumnReader::BoolColumnReader(reader) => self.values(reader, rows, batch),
            ColumnReader::Int32ColumnReader(reader) => self.values(reader, rows, batch),
            ColumnReader::Int64ColumnReader(reader) => self.values(reader, rows, batch),
            ColumnReader::Int96ColumnReader(reader) => self.values(reader, rows, batch),
            ColumnReader::FloatColumnReader(reader) => self.values(reader, rows, batch),
            ColumnReader::DoubleColumnReader(reader) => self.values(reader, rows, batch),
            ColumnReader::ByteArrayColumnReader(reader) => self.values(reader, rows, batch),
            ColumnReader::FixedLenByteArrayColumnReader(reader) => self.values(reader, rows, batch),
        }
    }

    fn values<T: DataType>(
        &mut self,
        mut reader: ColumnReaderImpl<T>,
        rows: u64,
        batch: usize,
    ) -> Result<u64> {
        let mut made = Vec::new();
        let (mut found_rows, mut values) = (0, 0);
        loop {
            made.clear();
            self.definitions.clear();
            self.repetitions.clear();
            let (definitions, repetitions) = (&mut self.definitions, &mut self.repetitions);
            let (records, read, levels) =
                reader.read_records(batch, Some(definitions), Some(repetitions), &mut made)?;
            std::hint::black_box(&made);
            found_rows += records as u64;
            values += read as u64;
            if records == 0 && levels == 0 {
                break;
            }
        }
        if found_rows != rows {
            return Err(ParquetError::General(format!("it has {found_rows} rows, not {rows}")));
        }
        Ok(values)
    }
}
