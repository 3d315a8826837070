//! Parquet files pinned byte for byte, and footers by pyarrow with the places of their chunks.
//!
//! The files stand in `tests/golden/format`; `write_golden` makes ours anew, and
//! `tests/interop/write_parquet.py` the footers.

use rankio::config::{ColumnType, Dataset, ElementType, FormatKind, Parquet, ParquetColumn};
use rankio::data::{Damage, Mismatch};
use rankio::format::foreign::{PARQUET_TRAILER_BYTES, parquet_tail_bytes};
use rankio::format::{FileShape, Filler, ForeignExtents, Source, for_dataset};
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// The content of the other golden files: byte `offset` is the high byte of `offset * 40503`
/// modulo 2^16.
struct Ramp;

fn ramp(offset: u64) -> u8 {
    ((offset.wrapping_mul(40_503) >> 8) & 0xff) as u8
}

impl Source for Ramp {
    fn fill(&self, offset: u64, out: &mut [u8]) {
        for (byte, at) in out.iter_mut().zip(offset..) {
            *byte = ramp(at);
        }
    }

    fn verify(&self, offset: u64, found: &[u8]) -> Result<(), Mismatch> {
        match found.iter().zip(offset..).find(|(byte, at)| **byte != ramp(*at)) {
            Some((_, offset)) => Err(Mismatch { offset, damage: Damage::Garbage }),
            None => Ok(()),
        }
    }
}

fn golden_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/format")
}

fn column(name: &str, dtype: ColumnType, size: u64) -> ParquetColumn {
    ParquetColumn { name: name.into(), dtype, size, read: None }
}

/// Name, dataset and shape of each file of ours.
fn golden() -> [(&'static str, Dataset, FileShape); 2] {
    let dataset = |columns: Vec<ParquetColumn>, rows: u64| Dataset {
        format: FormatKind::Parquet,
        num_samples_per_file: rows,
        parquet: Parquet { columns, row_group_size: 8, ..Parquet::default() },
        ..Dataset::default()
    };
    let columns = vec![
        column("half", ColumnType::Float16, 1),
        column("single", ColumnType::Float32, 1),
        column("double", ColumnType::Float64, 1),
        column("small", ColumnType::Int8, 1),
        column("word", ColumnType::Uint16, 1),
        column("truth", ColumnType::Bool, 1),
        column("bytes", ColumnType::Binary, 3),
        column("list", ColumnType::Float32, 5),
    ];
    let of_columns = dataset(columns, 19);
    let shape = |columns: u64, samples: u64| FileShape {
        rows: 1,
        columns,
        samples,
        element: ElementType::Uint8,
    };
    let row = of_columns.parquet.row_bytes();
    [
        ("columns.parquet", of_columns, shape(row, 19)),
        ("samples.parquet", dataset(Vec::new(), 3), shape(35, 3)),
    ]
}

fn make(dataset: &Dataset, shape: &FileShape) -> Vec<u8> {
    let layout = for_dataset(dataset).unwrap().layout(shape);
    let mut file = vec![0; layout.file_bytes() as usize];
    Filler::new(&*layout, Ramp).fill(&mut file);
    file
}

#[test]
fn files_are_pinned() {
    for (name, dataset, shape) in golden() {
        let pinned = fs::read(golden_folder().join(name)).unwrap();
        assert!(make(&dataset, &shape) == pinned, "{name} differs from its golden file");
    }
}

#[test]
#[ignore = "rewrites the golden files"]
fn write_golden() {
    for (name, dataset, shape) in golden() {
        fs::write(golden_folder().join(name), make(&dataset, &shape)).unwrap();
    }
}

/// A chunk as pyarrow sees it: group, rows of the group, column of the first level, bytes.
type Chunk = (u64, u64, String, Range<u64>);

/// Length of the file, its tail, and its chunks.
fn foreign(name: &str) -> (u64, Vec<u8>, Vec<Chunk>) {
    let tail = fs::read(golden_folder().join(format!("{name}.parquet-tail"))).unwrap();
    let text = fs::read_to_string(golden_folder().join(format!("{name}.chunks"))).unwrap();
    let mut lines = text.lines();
    let file_bytes = lines.next().unwrap().parse().unwrap();
    let chunks = lines.map(|line| {
        let words: Vec<_> = line.split(' ').collect();
        let number = |index: usize| words[index].parse::<u64>().unwrap();
        let start = number(3);
        (number(0), number(1), words[2].to_string(), start..start + number(4))
    });
    (file_bytes, tail, chunks.collect())
}

const FOREIGN: [&str; 4] =
    ["pyarrow-default", "pyarrow-snappy", "pyarrow-zstd-v2", "pyarrow-split"];

/// The ranges of `group` that `settings` asks for, by pyarrow's places.
fn wanted(chunks: &[Chunk], group: u64, settings: &Parquet) -> Vec<Range<u64>> {
    let read = |name: &str| {
        let place = settings.columns.iter().position(|column| column.name == name);
        settings.columns.is_empty() || place.is_some_and(|index| settings.is_read(index))
    };
    let mut ranges: Vec<Range<u64>> = Vec::new();
    for (_, _, _, range) in chunks.iter().filter(|chunk| chunk.0 == group && read(&chunk.2)) {
        match ranges.last_mut() {
            Some(last) if range.start - last.end <= settings.coalesce_gap => last.end = range.end,
            _ => ranges.push(range.clone()),
        }
    }
    ranges
}

#[test]
fn chunks_of_foreign_files_are_found() {
    let pick = |names: &[&str], coalesce_gap| Parquet {
        columns: names.iter().map(|name| column(name, ColumnType::Float32, 1)).collect(),
        coalesce_gap,
        ..Parquet::default()
    };
    let selections = [
        pick(&[], 0),
        pick(&["single", "small", "pair"], 0),
        pick(&["single", "small", "pair"], 2900),
        pick(&["list", "half"], 1 << 30),
        pick(&["word"], 0),
    ];
    for name in FOREIGN {
        let (file_bytes, tail, chunks) = foreign(name);
        let trailer = &tail[tail.len() - PARQUET_TRAILER_BYTES as usize..];
        assert_eq!(parquet_tail_bytes(trailer, file_bytes), Ok(tail.len() as u64));
        for settings in &selections {
            let mut settings = settings.clone();
            // Another order in the file, and longer tails than needed, make no difference.
            settings.columns.sort_by(|a, b| a.name.cmp(&b.name));
            let longer = [&[7; 100], &tail[..]].concat();
            let found = ForeignExtents::parquet(&longer, file_bytes, &settings).unwrap();
            assert_eq!(found.records(), Some(700), "{name}");
            for (group, samples) in [(0, 0..300), (1, 300..600), (2, 600..700)] {
                let wanted = wanted(&chunks, group, &settings);
                for sample in [samples.start, samples.end - 1] {
                    let (rows, ranges) = found.row_group(sample).unwrap();
                    assert_eq!((rows, ranges), (samples.clone(), &wanted[..]), "{name}");
                }
            }
            assert_eq!(found.row_group(700), None);
        }
    }
}
