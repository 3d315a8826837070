//! What must hold for parquet files of any columns, rows and row groups; the `parquet` crate's
//! reader is the judge.

use super::super::computed::TEXT;
use super::super::foreign::{Decoder, ReadRanges};
use super::super::tests::{Mixed, assert_tiles, check, make};
use super::super::{Bytes, ForeignExtents, Source, check_range};
use super::pages::Chunk;
use super::schema::{Coding, Element};
use super::*;
use crate::config::{
    ColumnType, Compression, FormatKind, Parquet as Settings, ParquetColumn, ParquetEncoding,
};
use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::{AsBytes, DataType};
use parquet::file::reader::{FileReader, SerializedFileReader};
use proptest::prelude::*;
use std::io::Write;

const TYPES: [ColumnType; 15] = [
    ColumnType::Int8,
    ColumnType::Uint8,
    ColumnType::Int16,
    ColumnType::Uint16,
    ColumnType::Int32,
    ColumnType::Uint32,
    ColumnType::Int64,
    ColumnType::Uint64,
    ColumnType::Float16,
    ColumnType::Float32,
    ColumnType::Float64,
    ColumnType::Bool,
    ColumnType::List,
    ColumnType::Binary,
    ColumnType::String,
];

fn dataset(
    columns: &[(ColumnType, u64, Option<bool>)],
    rows: u64,
    group: u64,
    gap: u64,
) -> Dataset {
    let column = |(index, &(dtype, size, read)): (usize, &(ColumnType, u64, Option<bool>))| {
        ParquetColumn { name: format!("c{index}"), dtype, size, read }
    };
    Dataset {
        format: FormatKind::Parquet,
        num_samples_per_file: rows,
        parquet: Settings {
            columns: columns.iter().enumerate().map(column).collect(),
            row_group_size: group,
            coalesce_gap: gap,
            ..Settings::default()
        },
        ..Dataset::default()
    }
}

fn shape(dataset: &Dataset) -> FileShape {
    FileShape {
        rows: 1,
        columns: dataset.parquet.row_bytes().max(1),
        samples: dataset.num_samples_per_file,
        element: ElementType::Uint8,
    }
}

/// Reads a whole chunk; returns the values' bytes and asserts the levels.
fn decode<T: DataType>(
    mut reader: ColumnReaderImpl<T>,
    column: &Column,
    rows: u64,
    put: impl Fn(&T::T, &mut Vec<u8>),
) -> Vec<u8> {
    let (mut definitions, mut repetitions, mut values) = (Vec::new(), Vec::new(), Vec::new());
    let read = reader.read_records(
        usize::MAX,
        Some(&mut definitions),
        column.list.map(|_| &mut repetitions),
        &mut values,
    );
    let wanted = (rows * column.row_values()) as usize;
    assert_eq!(read.unwrap(), (rows as usize, wanted, wanted), "{column:?}");
    assert!(definitions.iter().all(|level| *level == i16::from(column.definition())));
    for (index, level) in repetitions.iter().enumerate() {
        let first = (index as u64).is_multiple_of(column.row_values());
        assert_eq!(*level, if first { 0 } else { 1 }, "{column:?} {index}");
    }
    let mut out = Vec::new();
    values.iter().for_each(|value| put(value, &mut out));
    out
}

fn decoded(reader: ColumnReader, column: &Column, rows: u64) -> Vec<u8> {
    match reader {
        ColumnReader::BoolColumnReader(r) => {
            decode(r, column, rows, |v, out| out.push((*v).into()))
        }
        ColumnReader::Int32ColumnReader(r) => {
            decode(r, column, rows, |v, out| out.extend(v.to_le_bytes()))
        }
        ColumnReader::Int64ColumnReader(r) => {
            decode(r, column, rows, |v, out| out.extend(v.to_le_bytes()))
        }
        ColumnReader::FloatColumnReader(r) => {
            decode(r, column, rows, |v, out| out.extend(v.to_bits().to_le_bytes()))
        }
        ColumnReader::DoubleColumnReader(r) => {
            decode(r, column, rows, |v, out| out.extend(v.to_bits().to_le_bytes()))
        }
        ColumnReader::FixedLenByteArrayColumnReader(r) => {
            decode(r, column, rows, |v, out| out.extend(v.as_bytes()))
        }
        ColumnReader::ByteArrayColumnReader(r) => {
            decode(r, column, rows, |v, out| out.extend(v.as_utf8().unwrap().as_bytes()))
        }
        _ => panic!("no other physical type is written"),
    }
}

/// The values that the content under the pages of a chunk means.
fn expected(layout: &dyn Layout, column: &Column, start: u64, rows: u64) -> Vec<u8> {
    let chunk = Chunk::new(column, rows);
    let mut out = Vec::new();
    let mut dictionary = Vec::new();
    column.element.put_dictionary(&mut dictionary);
    let mut page_start = start + chunk.dictionary_bytes;
    let mut left = rows;
    while left > 0 {
        let page_rows = left.min(chunk.page_rows);
        let head = layout.segment_at(page_start);
        let content = layout.segment_at(page_start + head.len);
        let kind = match column.element {
            Element::Text(characters) => Bytes::Text { characters },
            _ => Bytes::Content,
        };
        assert_eq!(content.bytes, kind);
        let mut found = vec![0; content.len as usize];
        Mixed.fill(content.start, &mut found);
        let values = page_rows * column.row_values();
        match column.element.coding() {
            Coding::Plain(1) => {
                let bit = |i: u64| found[i as usize / 8] >> (i % 8) & 1;
                out.extend((0..values).map(bit));
            }
            Coding::Plain(_) => out.extend(found),
            Coding::Text(characters) => {
                for value in found.chunks(4 + characters as usize) {
                    let character = |byte: &u8| TEXT[usize::from(byte % 64)];
                    out.extend(value[4..].iter().map(character));
                }
            }
            Coding::Dictionary => {
                for index in &found[..values as usize] {
                    out.extend(&dictionary[4 * usize::from(*index)..][..4]);
                }
            }
        }
        page_start = content.start + content.len;
        left -= page_rows;
    }
    assert_eq!(page_start, start + chunk.bytes);
    out
}

fn open(bytes: &[u8]) -> SerializedFileReader<std::fs::File> {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    SerializedFileReader::new(file).unwrap()
}

/// Everything at once, since making files is what takes the time.
fn assert_holds(dataset: &Dataset) {
    let format = Parquet::new(dataset).unwrap();
    let shape = shape(dataset);
    let layout = format.layout(&shape);
    assert_eq!(layout.file_bytes(), format.file_bytes(&shape));
    assert_tiles("parquet", &*layout);
    let file = make(&*layout, &[50_000]);
    assert_eq!(check(&*layout, &file, 7777), Ok(file.len() as u64));
    let third = file.len() / 3;
    assert!(check_range(&*layout, Mixed, third as u64, &file[third..]).is_ok());

    let foreign = foreign_of(&file, &dataset.parquet);
    let group = format.group_samples(&shape);
    let reader = open(&file);
    assert_eq!(reader.num_row_groups() as u64, shape.samples.div_ceil(group));
    let columns = schema::listed(&dataset.parquet).unwrap();
    let mut all = Vec::new();
    let mut start = MAGIC.len() as u64;
    for index in 0..reader.num_row_groups() {
        let first = index as u64 * group;
        let rows = group.min(shape.samples - first);
        let mut ranges = Vec::new();
        format.extents(&shape, first, rows, &mut ranges);
        let (samples, theirs) = foreign.row_group(first + rows - 1).unwrap();
        assert_eq!((samples, theirs), (first..first + rows, &ranges[..]));
        all.extend_from_slice(&ranges);
        let extent = format.extent(&shape, first);
        assert_eq!(extent, ranges[0].start..ranges.last().unwrap().end);
        assert_eq!(foreign.extent(first), Some(extent));
        let row_group = reader.get_row_group(index).unwrap();
        start += walk(&columns, rows, |column, offset, _| {
            let place = columns.iter().position(|one| one.name == column.name).unwrap();
            let found = decoded(row_group.get_column_reader(place).unwrap(), column, rows);
            assert!(found == expected(&*layout, column, start + offset, rows), "{column:?}");
        });
    }
    assert_eq!(foreign.records(), Some(shape.samples));
    assert_eq!(foreign.row_group(shape.samples), None);
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    format.extents(&shape, 0, shape.samples, &mut ours);
    assert_eq!(ours, all);
    assert_eq!(foreign.append(0, shape.samples, &mut theirs), Ok(()));
    assert_eq!(theirs, all);
    assert_eq!(foreign.append(shape.samples - 1, 2, &mut theirs), Err(shape.samples));
    let bytes = all.iter().map(|range| range.end - range.start).sum::<u64>();
    assert_eq!(format.read_bytes(&shape), bytes);
}

/// Makes a file whose length is not planned.
fn encoded(format: &Parquet, shape: &FileShape, content: &dyn Source) -> Vec<u8> {
    let mut file = Vec::new();
    let mut take = |bytes: &[u8]| {
        file.extend_from_slice(bytes);
        Ok(())
    };
    format.encoder().unwrap().encode(shape, content, Sink(&mut take)).unwrap();
    file
}

/// Whatever decides the lengths, the values are those of the plain file.
fn assert_same_values(plain: &Dataset, change: impl Fn(&mut Dataset)) {
    let mut dataset = plain.clone();
    change(&mut dataset);
    let format = Parquet::new(&dataset).unwrap();
    let shape = shape(&dataset);
    let file = encoded(&format, &shape, &Mixed);
    assert!(file == encoded(&format, &shape, &Mixed), "the same bytes again");
    let layout = format.layout(&shape);
    let foreign = foreign_of(&file, &dataset.parquet);
    assert_eq!(foreign.records(), Some(shape.samples));
    let reader = open(&file);
    let group = format.group_samples(&shape);
    assert_eq!(reader.num_row_groups() as u64, shape.samples.div_ceil(group));
    let columns = schema::listed(&dataset.parquet).unwrap();
    let mut start = MAGIC.len() as u64;
    for index in 0..reader.num_row_groups() {
        let first = index as u64 * group;
        let rows = group.min(shape.samples - first);
        assert_eq!(foreign.row_group(first).unwrap().0, first..first + rows);
        let row_group = reader.get_row_group(index).unwrap();
        let mut place = 0;
        start += walk(&columns, rows, |column, offset, _| {
            let found = decoded(row_group.get_column_reader(place).unwrap(), column, rows);
            assert!(found == expected(&*layout, column, start + offset, rows), "{column:?}");
            place += 1;
        });
    }
}

const CODECS: [Compression; 4] =
    [Compression::Gzip, Compression::Snappy, Compression::Zstd, Compression::Lz4];

#[test]
fn every_type_is_the_same_under_every_codec() {
    let columns = TYPES.map(|dtype| (dtype, 5, None));
    let lists = TYPES.map(|dtype| (dtype, 1, None));
    let plain = dataset(&[columns, lists].concat(), 1000, 300, 0);
    for codec in CODECS {
        assert_same_values(&plain, |dataset| dataset.compression = codec);
    }
    assert_same_values(&plain, |dataset| dataset.parquet.encoding = ParquetEncoding::Dictionary);
}

#[test]
fn pages_and_dictionaries_of_many_values_are_the_same() {
    // Three pages; more distinct values than a dictionary takes.
    let columns = [(ColumnType::Float64, 1, None), (ColumnType::String, 30, None)];
    let plain = dataset(&columns, 300_000, 200_000, 0);
    assert_same_values(&plain, |dataset| {
        dataset.compression = Compression::Zstd;
        dataset.parquet.encoding = ParquetEncoding::Dictionary;
    });
    let columns = [(ColumnType::Bool, 1, None), (ColumnType::Uint16, 1, None)];
    let plain = dataset(&columns, 9_000_000, 9_000_000, 0);
    assert_same_values(&plain, |dataset| dataset.compression = Compression::Snappy);
}

/// Content with much to find for who looks for long.
struct Waves;

impl Source for Waves {
    fn fill(&self, offset: u64, out: &mut [u8]) {
        for (byte, at) in out.iter_mut().zip(offset..) {
            *byte = (at.wrapping_mul(at) >> 12) as u8 & 15;
        }
    }

    fn verify(&self, _: u64, _: &[u8]) -> Result<(), crate::data::Mismatch> {
        Ok(())
    }
}

#[test]
fn a_level_is_taken() {
    let mut dataset = dataset(&[(ColumnType::Binary, 1000, None)], 500, 500, 0);
    for compression in [Compression::Gzip, Compression::Zstd] {
        dataset.compression = compression;
        let mut bytes = |level| {
            dataset.compression_level = level;
            encoded(&Parquet::new(&dataset).unwrap(), &shape(&dataset), &Waves).len()
        };
        assert!(bytes(Some(9)) < bytes(Some(1)), "{compression:?}");
        assert_eq!(bytes(None), bytes(Some(compression.levels().unwrap().1)));
    }
}

fn foreign_of(file: &[u8], settings: &Settings) -> ForeignExtents {
    let len = file.len() as u64;
    let tail = foreign::tail_bytes(&file[file.len() - 8..], len).unwrap();
    ForeignExtents::parquet(&file[file.len() - tail as usize..], len, settings).unwrap()
}

fn any_columns() -> impl Strategy<Value = Vec<(ColumnType, u64, Option<bool>)>> {
    let size = prop_oneof![4 => Just(1u64), 2 => 2u64..20, 1 => 100u64..5000];
    let read = prop::option::of(prop::bool::ANY);
    prop::collection::vec((prop::sample::select(&TYPES[..]), size, read), 1..8)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_file_is_read_back(
        columns in any_columns(),
        rows in 1u64..400,
        group in 1u64..500,
        gap in 0u64..3000,
    ) {
        let mut dataset = dataset(&columns, rows, group, gap);
        // The configuration refuses a dataset of which nothing is read.
        dataset.parquet.columns[0].read = Some(true);
        assert_holds(&dataset);
    }
}

#[test]
fn samples_without_columns_are_lists() {
    for (elements, samples, group) in [(1, 9, 4), (35, 9, 3), (70_000, 40, 16)] {
        let dataset = dataset(&[], samples, group, 0);
        let format = Parquet::new(&dataset).unwrap();
        let element = ElementType::Int64;
        let shape = FileShape { rows: elements, columns: 1, samples, element };
        let file = make(&*format.layout(&shape), &[usize::MAX]);
        let foreign = foreign_of(&file, &dataset.parquet);
        for sample in 0..samples {
            let mut ranges = Vec::new();
            format.extents(&shape, sample, 1, &mut ranges);
            let first = sample / group * group;
            let rows = first..samples.min(first + group);
            assert_eq!(foreign.row_group(sample), Some((rows, &ranges[..])));
        }
        let values = open(&file).get_row_group(0).unwrap().metadata().column(0).num_values();
        assert_eq!(values as u64, elements * group);
    }
}

#[test]
fn chunks_of_many_pages_are_read_back() {
    for dtype in TYPES {
        let by_bytes = matches!(dtype, ColumnType::Binary | ColumnType::String);
        let size = if by_bytes { 3 } else { 1 };
        let one = dataset(&[(dtype, size, None)], 1, 1, 0);
        let bits = schema::listed(&one.parquet).unwrap()[0].element.bits();
        let rows = (1 << 23) / bits + 3;
        assert_holds(&dataset(&[(dtype, size, None)], rows, 1 << 40, 0));
    }
    for size in [2, 7, 1000, 300_000, 1_200_000] {
        let rows = 1_300_000 / size + 1;
        assert_holds(&dataset(&[(ColumnType::Float16, size, None)], rows, rows, 0));
    }
}

#[test]
fn a_footer_may_have_many_groups() {
    let columns = [(ColumnType::Int8, 1, None), (ColumnType::Float32, 1, Some(true))];
    assert_holds(&dataset(&columns, 70_001, 2, 64));
}

#[test]
fn lengths_of_huge_files_are_sums() {
    let columns = [(ColumnType::Int8, 1, None), (ColumnType::Float32, 9, None)];
    for (rows, group) in [(900_000, 3), (1 << 24, 4096), (123_456_789, 100_000)] {
        let columns = schema::listed(&dataset(&columns, rows, group, 0).parquet).unwrap();
        let rows = Rows::new(rows, group);
        let written = footer::footer(&columns, rows);
        assert_eq!(footer_bytes(&columns, rows), written.len() as u64);
        assert!(
            written.len() as u64 <= rows.groups() * group_footer_bytes_max(&columns, group) + 999
        );
    }
}

#[test]
fn layouts_are_built_once_and_a_few_are_kept() {
    let dataset = dataset(&[], 10, 4, 0);
    let format = Parquet::new(&dataset).unwrap();
    for columns in (1..10).chain([9, 9]) {
        let shape = FileShape { rows: 1, columns, samples: 10, element: ElementType::Uint8 };
        assert_eq!(format.layout(&shape).file_bytes(), format.file_bytes(&shape));
    }
    let kept = format.layouts.lock().unwrap();
    assert_eq!(kept.iter().map(|(shape, _)| shape.columns).collect::<Vec<_>>(), [6, 7, 8, 9]);
}

#[test]
fn refusals_are_sentences() {
    let refusal =
        |columns: &[_], rows, group| Parquet::new(&dataset(columns, rows, group, 0)).err().unwrap();
    let text = refusal(&[(ColumnType::Float64, 1 << 28, None)], 1, 1);
    assert!(text.contains("larger than 1 GiB"), "{text}");
    let text = refusal(&[(ColumnType::Float64, u64::MAX, None)], 1, 1);
    assert!(text.contains("larger than 1 GiB"), "{text}");
    let text = refusal(&[(ColumnType::Int8, 1, None)], 1 << 40, 1);
    assert!(text.contains("footer beyond 2 GiB"), "{text}");
    let text = refusal(&[(ColumnType::Float32, 1 << 20, None)], 1 << 50, 1 << 50);
    assert!(text.contains("too long"), "{text}");
    let mut long = dataset(&[], 1, 1, 0);
    long.record_length_bytes = 2e9;
    assert!(Parquet::new(&long).err().unwrap().contains("above 1 GiB"));
    long.record_length_bytes = 6e8;
    assert!(Parquet::new(&long).is_ok());
    long.record_length_bytes_stdev = 1.0;
    assert!(Parquet::new(&long).err().unwrap().contains("above 1 GiB"));
}

#[test]
fn foreign_files_that_make_no_sense_are_refused() {
    let settings = dataset(&[(ColumnType::Int32, 1, None)], 9, 4, 0);
    let format = Parquet::new(&settings).unwrap();
    let file = make(&*format.layout(&shape(&settings)), &[usize::MAX]);
    let len = file.len() as u64;
    let wrong =
        |tail: &[u8], len| ForeignExtents::parquet(tail, len, &settings.parquet).unwrap_err();
    assert!(wrong(&file[..file.len() - 1], len).contains("does not end with PAR1"));
    assert!(wrong(&[], 0).contains("it has 0 bytes"));
    assert!(wrong(&file[file.len() - 8..], len).contains("bytes of its end are needed"));
    assert!(wrong(&file, 20).contains("longer than the file"));
    assert!(wrong(b"\x01\0\0\0PARE", 100).contains("encrypted"));
    let mut broken = file.clone();
    let metadata = file.len() - foreign_tail(&file);
    broken[metadata..file.len() - 8].fill(0xff);
    assert!(wrong(&broken, len).contains("cannot be read"));
    // The same footer on a shorter file: its chunks reach into it.
    let tail = &file[metadata..];
    assert!(wrong(tail, len - 30).contains("makes no sense"));
    let mut other = settings.parquet.clone();
    other.columns[0].name = "nowhere".into();
    let text = ForeignExtents::parquet(&file, len, &other).unwrap_err();
    assert!(text.starts_with("it has no column nowhere"), "{text}");
}

fn foreign_tail(file: &[u8]) -> usize {
    foreign::tail_bytes(&file[file.len() - 8..], file.len() as u64).unwrap() as usize
}

/// Decodes all row groups out of the ranges that are read; values that were found.
fn decode_all(file: &[u8], settings: &Settings) -> Result<u64, String> {
    let len = file.len() as u64;
    let foreign = ForeignExtents::decodable_parquet(file, len, settings).unwrap();
    let (mut decoder, mut sample, mut values) = (Decoder::default(), 0, 0);
    while let Some((samples, ranges)) = foreign.row_group(sample) {
        let bytes = ranges.iter().flat_map(|r| &file[r.start as usize..r.end as usize]);
        let read = Arc::new(ReadRanges::new(ranges, bytes.copied().collect()));
        let first = samples.start + 1.min(samples.end - samples.start - 1);
        values += foreign.decode(first, 1, &read, &mut decoder)?;
        let again = Arc::into_inner(read).unwrap().into_bytes();
        assert_eq!(again.len() as u64, ranges.iter().map(|r| r.end - r.start).sum::<u64>());
        sample = samples.end;
    }
    Ok(values)
}

#[test]
fn selected_columns_of_plain_and_compressed_files_are_decoded() {
    let mut columns = TYPES.map(|dtype| (dtype, 5, None)).to_vec();
    columns[3].2 = Some(false);
    let mut dataset = dataset(&columns, 1000, 300, 64);
    // Bytes and texts are one value of a row, the others lists of five.
    let wanted = 1000 * (2 + 5 * 12);
    let plain = make(&*Parquet::new(&dataset).unwrap().layout(&shape(&dataset)), &[usize::MAX]);
    assert_eq!(decode_all(&plain, &dataset.parquet), Ok(wanted));
    for codec in CODECS {
        dataset.compression = codec;
        let format = Parquet::new(&dataset).unwrap();
        let mut file = encoded(&format, &shape(&dataset), &Mixed);
        assert_eq!(decode_all(&file, &dataset.parquet), Ok(wanted), "{codec:?}");
        let foreign = foreign_of(&file, &dataset.parquet);
        let first = foreign.row_group(0).unwrap().1[0].clone();
        file[first.start as usize..][..100].fill(0xff);
        let error = decode_all(&file, &dataset.parquet).unwrap_err();
        assert!(error.starts_with("column c0"), "{error}");
    }
}

#[test]
fn nulls_structs_and_other_encodings_are_decoded() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/format");
    // 700 rows: six columns of single values, a list of five, text; `pair` has a column of nulls.
    let wanted = 700 * (4 + 5 + 1 + 1);
    let file = std::fs::read(folder.join("pyarrow-snappy.parquet")).unwrap();
    assert_eq!(decode_all(&file, &Settings::default()), Ok(wanted));
}
