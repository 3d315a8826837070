//! What holds for every format: segments tile the file, making and checking agree however a file
//! is cut, and no wrong byte escapes.

use super::*;
use crate::data::{Damage, Mismatch};
use proptest::prelude::*;

/// Content for tests: bytes of a mixed counter, never zero, so that zeros are always wrong.
#[derive(Clone, Copy)]
pub(super) struct Mixed;

impl Mixed {
    fn byte(offset: u64) -> u8 {
        let mixed = (offset / 7 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(23);
        (mixed >> (offset % 7 * 8)) as u8 | 1
    }
}

impl Source for Mixed {
    fn fill(&self, offset: u64, out: &mut [u8]) {
        for (byte, at) in out.iter_mut().zip(offset..) {
            *byte = Mixed::byte(at);
        }
    }

    fn verify(&self, offset: u64, found: &[u8]) -> Result<(), Mismatch> {
        match found.iter().zip(offset..).find(|(byte, at)| **byte != Mixed::byte(*at)) {
            Some((_, offset)) => Err(Mismatch { offset, damage: Damage::Garbage }),
            None => Ok(()),
        }
    }
}

fn total(ranges: &[Range<u64>]) -> u64 {
    ranges.iter().map(|range| range.end - range.start).sum()
}

fn of(format: FormatKind, change: impl FnOnce(&mut Dataset)) -> Box<dyn Format> {
    let mut dataset = Dataset { format, ..Dataset::default() };
    change(&mut dataset);
    for_dataset(&dataset).unwrap()
}

/// All formats of this version that hold elements of one byte or more.
fn formats() -> Vec<(&'static str, Box<dyn Format>)> {
    let raw = |dataset: &mut Dataset| dataset.image_content = ImageContent::Raw;
    vec![
        ("npz", of(FormatKind::Npz, |_| {})),
        ("npy", of(FormatKind::Npy, |_| {})),
        ("tfrecord", of(FormatKind::Tfrecord, |_| {})),
        ("jpeg", of(FormatKind::Jpeg, |_| {})),
        ("png", of(FormatKind::Png, |_| {})),
        ("synthetic", of(FormatKind::Synthetic, |_| {})),
        ("raw jpeg", of(FormatKind::Jpeg, raw)),
        ("raw png", of(FormatKind::Png, raw)),
        ("hdf5", of(FormatKind::Hdf5, |_| {})),
        ("chunked hdf5", of(FormatKind::Hdf5Opt, chunked)),
        ("csv", of(FormatKind::Csv, |_| {})),
        ("indexed", of(FormatKind::IndexedBinary, |_| {})),
        ("mapped", of(FormatKind::MmapIndexedBinary, |_| {})),
        ("parquet", of(FormatKind::Parquet, |_| {})),
    ]
}

/// Chunks that fit no side evenly and hold two samples.
fn chunked(dataset: &mut Dataset) {
    dataset.num_samples_per_file = 2;
    dataset.hdf5.chunk_dims = vec![2, 5, 7];
}

fn shape(rows: u64, columns: u64, samples: u64, element: ElementType) -> FileShape {
    FileShape { rows, columns, samples, element }
}

/// A file made in chunks of the given sizes, over and over.
pub(super) fn make(layout: &dyn Layout, chunks: &[usize]) -> Vec<u8> {
    let mut file = vec![0; layout.file_bytes() as usize];
    let mut filler = Filler::new(layout, Mixed);
    let mut rest = &mut file[..];
    for chunk in chunks.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (now, after) = rest.split_at_mut((*chunk).min(rest.len()));
        filler.fill(now);
        rest = after;
    }
    for (offset, bytes) in filler.patches() {
        file[*offset as usize..][..4].copy_from_slice(bytes);
    }
    file
}

pub(super) fn check(layout: &dyn Layout, file: &[u8], chunk: usize) -> Result<u64, Mismatch> {
    let mut checker = Checker::new(layout, Mixed);
    for piece in file.chunks(chunk) {
        checker.check_next(piece)?;
    }
    let checked = checker.checked_bytes();
    checker.finish()?;
    Ok(checked)
}

/// Walks all segments; every offset of a segment must yield the same one.
pub(super) fn assert_tiles(name: &str, layout: &dyn Layout) {
    let mut offset = 0;
    while offset < layout.file_bytes() {
        let segment = layout.segment_at(offset);
        assert_eq!(segment.start, offset, "{name}");
        assert!(segment.len >= 1, "{name}");
        match segment.bytes {
            Bytes::Fixed(bytes) => assert_eq!(bytes.len() as u64, segment.len, "{name}"),
            Bytes::Sum { register, .. } => {
                assert_eq!(segment.len, 4, "{name}");
                assert_eq!(segment.feeds & (1 << register), 0, "{name}");
                assert!(layout.registers()[usize::from(register)].is_some(), "{name}");
            }
            Bytes::Numbers => assert_eq!((segment.start % 4, segment.len % 4), (0, 0), "{name}"),
            Bytes::Text { characters } => {
                assert_eq!(segment.len % (4 + characters), 0, "{name}");
            }
            Bytes::Words { .. } => assert_eq!(segment.len % 8, 0, "{name}"),
            Bytes::Content => {}
        }
        for inside in [1, segment.len / 2, segment.len - 1] {
            if inside < segment.len {
                assert_eq!(layout.segment_at(offset + inside), segment, "{name} {offset}");
            }
        }
        offset += segment.len;
    }
    assert_eq!(offset, layout.file_bytes(), "{name}");
}

fn any_element() -> impl Strategy<Value = ElementType> {
    prop::sample::select(vec![
        ElementType::Uint8,
        ElementType::Bool,
        ElementType::Float16,
        ElementType::Int32,
        ElementType::Float64,
    ])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn segments_tile_the_file(
        rows in 1u64..700,
        columns in 1u64..700,
        samples in 1u64..6,
        element in any_element(),
    ) {
        let shape = shape(rows, columns, samples, element);
        for (name, format) in formats() {
            let layout = format.layout(&shape);
            prop_assert_eq!(layout.file_bytes(), format.file_bytes(&shape), "{}", name);
            assert_tiles(name, &*layout);
            let group = format.group_samples(&shape);
            for sample in 0..samples {
                let extent = format.extent(&shape, sample);
                prop_assert!(extent.end <= layout.file_bytes());
                prop_assert_eq!(extent.is_empty(), name == "synthetic");
                let mut ranges = Vec::new();
                format.extents(&shape, sample, 1, &mut ranges);
                prop_assert_eq!(ranges.first().map(|range| range.start),
                    (name != "synthetic").then_some(extent.start), "{}", name);
                let mut whole = Vec::new();
                let first = sample / group * group;
                format.extents(&shape, first, group.min(samples - first), &mut whole);
                prop_assert!(group == 1 || ranges == whole, "{}: a group is read whole", name);
            }
            let (mut each, mut all) = (0, Vec::new());
            for first in (0..samples).step_by(group as usize) {
                let mut ranges = Vec::new();
                format.extents(&shape, first, 1, &mut ranges);
                each += total(&ranges);
            }
            format.extents(&shape, 0, samples, &mut all);
            prop_assert_eq!(format.read_bytes(&shape), total(&all), "{}", name);
            prop_assert_eq!(each, total(&all), "{}: groups are read once", name);
            for side in format.sidecars("train", "train/x", &shape) {
                assert_tiles(&side.name, &*side.layout);
            }
        }
    }

    #[test]
    fn any_chunking_makes_and_accepts_the_same_file(
        rows in 1u64..80,
        columns in 1u64..3000,
        samples in 1u64..4,
        chunks in prop::collection::vec(1usize..50_000, 1..6),
        cut in 0.0f64..1.0,
        length in 0.0f64..1.0,
    ) {
        let shape = shape(rows, columns, samples, ElementType::Uint8);
        for (name, format) in formats() {
            let layout = format.layout(&shape);
            let whole = make(&*layout, &[usize::MAX]);
            prop_assert!(make(&*layout, &chunks) == whole, "{}", name);
            prop_assert!(check(&*layout, &whole, chunks[0]).is_ok(), "{}", name);
            prop_assert_eq!(check_range(&*layout, Mixed, 0, &whole), Ok(whole.len() as u64));
            let from = (whole.len() as f64 * cut) as usize;
            let to = from + ((whole.len() - from) as f64 * length) as usize;
            let checked = check_range(&*layout, Mixed, from as u64, &whole[from..to]).unwrap();
            prop_assert!(checked <= (to - from) as u64);
        }
    }
}

/// Shapes with several data chunks, comment segments and records, and shapes near the least size.
fn small_shapes() -> Vec<FileShape> {
    vec![
        shape(1, 1, 1, ElementType::Uint8),
        shape(5, 7, 2, ElementType::Uint8),
        shape(9, 17, 3, ElementType::Float32),
    ]
}

#[test]
fn a_flipped_bit_is_found_at_every_position() {
    for shape in small_shapes() {
        for (name, format) in formats() {
            let layout = format.layout(&shape);
            let mut file = make(&*layout, &[usize::MAX]);
            for at in 0..file.len() {
                let bit = 1 << (at % 8);
                file[at] ^= bit;
                let range = check_range(&*layout, Mixed, 0, &file).unwrap_err();
                assert_eq!(range.offset, at as u64, "{name} {shape:?}");
                let ordered = check(&*layout, &file, 13).unwrap_err();
                assert_eq!(ordered.offset, at as u64, "{name} {shape:?}");
                file[at] ^= bit;
            }
        }
    }
}

#[test]
fn a_flipped_bit_is_found_in_files_of_many_chunks() {
    let shape = shape(300, 700, 2, ElementType::Uint8);
    for (name, format) in formats() {
        let layout = format.layout(&shape);
        let mut file = make(&*layout, &[usize::MAX]);
        let near_grid = (0..file.len()).filter(|at| (at + 64) % 65_536 < 128);
        for at in near_grid.step_by(3).collect::<Vec<_>>() {
            file[at] ^= 0x10;
            let found = check_range(&*layout, Mixed, 0, &file).unwrap_err();
            assert_eq!(found.offset, at as u64, "{name}");
            file[at] ^= 0x10;
        }
    }
}

#[test]
fn one_record_is_checked_whole() {
    let shape = shape(40, 40, 5, ElementType::Uint8);
    let format = tfrecord::Tfrecord;
    let layout = format.layout(&shape);
    let mut file = make(&*layout, &[usize::MAX]);
    let Range { start, end } = format.extent(&shape, 3);
    let record = start as usize..end as usize;
    assert_eq!(check_range(&*layout, Mixed, start, &file[record.clone()]), Ok(end - start));
    for at in record.clone() {
        file[at] ^= 4;
        let found = check_range(&*layout, Mixed, start, &file[record.clone()]).unwrap_err();
        assert_eq!(found, Mismatch { offset: at as u64, damage: found.damage.clone() });
        file[at] ^= 4;
    }
}

#[test]
fn sums_that_cannot_be_known_are_not_counted() {
    let shape = shape(40, 40, 1, ElementType::Uint8);
    let format = npz::Npz;
    let layout = format.layout(&shape);
    let file = make(&*layout, &[usize::MAX]);
    let len = file.len() as u64;
    let tail = check_range(&*layout, Mixed, 300, &file[300..]);
    assert_eq!(tail, Ok(len - 300 - 4), "the directory's CRC needs the data from its start");
    let from_data = check_range(&*layout, Mixed, 55, &file[55..]);
    assert_eq!(from_data, Ok(len - 55), "the walk begins where the CRC does");
    let head = check_range(&*layout, Mixed, 0, &file[..500]);
    assert_eq!(head, Ok(500 - 4), "the local header's CRC needs the data to its end");
}

#[test]
fn too_long_and_too_short_files_are_wrong() {
    let shape = shape(4, 4, 1, ElementType::Uint8);
    for (name, format) in formats() {
        let layout = format.layout(&shape);
        let mut file = make(&*layout, &[usize::MAX]);
        let len = file.len() as u64;
        let short = check(&*layout, &file[..file.len() - 1], 8).unwrap_err();
        assert_eq!(short, Mismatch { offset: len - 1, damage: Damage::Torn }, "{name}");
        file.push(0);
        let long = check(&*layout, &file, 8).unwrap_err();
        assert_eq!(long, Mismatch { offset: len, damage: Damage::Garbage }, "{name}");
    }
}

#[test]
fn damage_in_structure_is_named() {
    let shape = shape(4, 4, 1, ElementType::Uint8);
    let layout = npy::Npy.layout(&shape);
    let file = make(&*layout, &[usize::MAX]);
    let damage = |change: fn(&mut [u8])| {
        let mut broken = file.clone();
        change(&mut broken[..128]);
        check_range(&*layout, Mixed, 0, &broken).unwrap_err().damage
    };
    assert_eq!(damage(|head| head[20] ^= 1), Damage::Flipped);
    assert_eq!(damage(|head| head.fill(0)), Damage::Zeros);
    assert_eq!(damage(|head| head[20..].fill(b'?')), Damage::Garbage);
}

#[test]
fn sizes_known_from_the_reference() {
    let uint8 = |rows, columns, samples| shape(rows, columns, samples, ElementType::Uint8);
    assert_eq!(npz::Npz.file_bytes(&uint8(12107, 12107, 1)), 12107 * 12107 + 498);
    // Files that DLIO 2.0.0 wrote for 3 samples of 64 x 64.
    assert_eq!(npz::Npz.file_bytes(&uint8(64, 64, 3)), 12802);
    assert_eq!(npy::Npy.file_bytes(&uint8(64, 64, 3)), 12416);
    assert_eq!(tfrecord::Tfrecord.file_bytes(&uint8(64, 64, 3)), 12447);
    assert_eq!(jpeg::Jpeg.file_bytes(&uint8(568, 568, 1)), 568 * 568);
}

#[test]
fn huge_files_are_arithmetic() {
    let shape = shape(1 << 20, 1 << 20, 1 << 10, ElementType::Float32);
    for (name, format) in formats() {
        let layout = format.layout(&shape);
        let len = layout.file_bytes();
        assert_eq!(len, format.file_bytes(&shape), "{name}");
        for at in [0, len / 3, len / 2, len - 30_000_000.min(len), len - 1] {
            let segment = layout.segment_at(at);
            assert!(segment.start <= at && at < segment.start + segment.len, "{name} {at}");
        }
    }
}

#[test]
fn extreme_sides_stay_valid() {
    for (rows, columns) in [(1, 1 << 33), (1 << 33, 1), (1 << 32, 1 << 20)] {
        let shape = shape(rows, columns, 1, ElementType::Uint8);
        let png = png::Png.layout(&shape);
        let Bytes::Fixed(head) = png.segment_at(0).bytes else { panic!("a fixed head") };
        let side = |at: usize| u32::from_be_bytes(head[at..at + 4].try_into().unwrap());
        assert!((1..1 << 31).contains(&side(16)) && (1..1 << 31).contains(&side(20)));
        assert!(u64::from(side(16)) * u64::from(side(20)) >= rows * columns);
        let jpeg = jpeg::Jpeg.layout(&shape);
        assert_eq!(jpeg.file_bytes(), rows * columns);
    }
}

#[test]
fn suffixes_are_those_of_the_reference() {
    let suffixes: Vec<_> = formats().iter().map(|(_, format)| format.suffix()).collect();
    let expected = "npz npy tfrecord jpeg png synthetic jpeg png hdf5 hdf5_opt csv \
                    indexed_binary mmap_indexed_binary parquet";
    assert_eq!(suffixes.join(" "), expected);
}
