//! HDF5, CSV and indexed binary: pinned files, places beyond 4 GiB, settings that are refused, and
//! files that DLIO wrote.
//!
//! `write_golden` makes the pinned files of `tests/golden/format` anew, and `write_for_readers`
//! those that `tests/interop/readers.py` opens.

mod ramp;

use ramp::{Ramp, fixtures, golden_folder, hex, make, over, ramp as ramp_byte};
use rankio::config::{Dataset, ElementType, FormatKind};
use rankio::format::{
    Bytes, FileShape, ForeignExtents, Format, NoContent, OFFSETS_SUFFIX, SIZES_SUFFIX, SizeIndex,
    check_range, for_dataset,
};
use sha2::{Digest, Sha256};
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Name of a golden file, the dataset it belongs to, and the first half of its SHA-256.
struct Golden {
    name: &'static str,
    dataset: Dataset,
    sha256: &'static str,
}

fn dataset(format: FormatKind, samples: u64, dims: &[u64], element: ElementType) -> Dataset {
    Dataset {
        format,
        num_samples_per_file: samples,
        record_dims: dims.to_vec(),
        record_element_type: element,
        ..Dataset::default()
    }
}

const U8: ElementType = ElementType::Uint8;

/// Chunks that leave a rest on each axis.
fn chunked() -> Dataset {
    let mut dataset = dataset(FormatKind::Hdf5, 5, &[6, 9], ElementType::Int16);
    dataset.hdf5.chunk_dims = vec![2, 4, 5];
    dataset
}

/// Three datasets that share the first side of a record.
fn shared() -> Dataset {
    let mut dataset = dataset(FormatKind::Hdf5Opt, 2, &[6, 4, 5], ElementType::Float32);
    dataset.hdf5.num_dset_per_record = 3;
    dataset
}

fn goldens() -> Vec<Golden> {
    let golden = |name, dataset, sha256| Golden { name, dataset, sha256 };
    vec![
        golden(
            "three.hdf5",
            dataset(FormatKind::Hdf5, 3, &[6, 9], U8),
            "a19a758846e61cfd9d729f250eb74e7c",
        ),
        golden("chunked.hdf5", chunked(), "f72f9cde94d92622e628324f55d37b94"),
        golden("shared.hdf5_opt", shared(), "aa6cfb457da71f07b497af4471b0c140"),
        golden(
            "three.csv",
            dataset(FormatKind::Csv, 3, &[6, 9], U8),
            "f56fc81efec579cf06941d5e4c7440af",
        ),
        golden(
            "three.indexed_binary",
            dataset(FormatKind::IndexedBinary, 3, &[6, 9], U8),
            "46f46b302926da7417fdc537aff7689c",
        ),
    ]
}

/// All but the last side multiplied, and the last, as the plan has it.
fn shape_of(dataset: &Dataset) -> FileShape {
    let (last, first) = dataset.record_dims.split_last().unwrap();
    FileShape {
        rows: first.iter().product(),
        columns: *last,
        samples: dataset.num_samples_per_file,
        element: dataset.record_element_type,
    }
}

fn format(dataset: &Dataset) -> Box<dyn Format> {
    for_dataset(dataset).unwrap()
}

fn extents(format: &dyn Format, shape: &FileShape, first: u64, count: u64) -> Vec<Range<u64>> {
    let mut ranges = Vec::new();
    format.extents(shape, first, count, &mut ranges);
    ranges
}

#[test]
fn files_are_pinned() {
    for golden in goldens() {
        let made = make(&*format(&golden.dataset), &shape_of(&golden.dataset));
        let pinned = fs::read(golden_folder().join(golden.name)).unwrap();
        assert!(made == pinned, "{} differs from its golden file", golden.name);
        assert_eq!(hex(&Sha256::digest(&made)[..16]), golden.sha256, "{}", golden.name);
    }
}

/// With chunks and with several datasets too, every byte counts and every sample can be checked by
/// itself.
#[test]
fn every_byte_is_checked() {
    for Golden { name, dataset, .. } in goldens() {
        let (format, shape) = (format(&dataset), shape_of(&dataset));
        let layout = format.layout(&shape);
        let mut file = make(&*format, &shape);
        let whole = file.len() as u64;
        assert_eq!(check_range(&*layout, Ramp, 0, &file), Ok(whole), "{name}");
        for at in 0..file.len() {
            file[at] ^= 1 << (at % 8);
            let found = check_range(&*layout, Ramp, 0, &file).unwrap_err();
            assert_eq!(found.offset, at as u64, "{name}");
            file[at] ^= 1 << (at % 8);
        }
        for range in (0..shape.samples).flat_map(|at| extents(&*format, &shape, at, 1)) {
            let found = &file[range.start as usize..range.end as usize];
            assert_eq!(check_range(&*layout, Ramp, range.start, found), Ok(found.len() as u64));
        }
    }
}

#[test]
fn rows_of_csv_are_content_in_decimal() {
    let dataset = dataset(FormatKind::Csv, 2, &[1, 3], U8);
    let text = String::from_utf8(make(&*format(&dataset), &shape_of(&dataset))).unwrap();
    let number = |at| format!("{:03}", ramp_byte(at));
    let row = |at| format!("{},{},{}\n", number(at), number(at + 4), number(at + 8));
    assert_eq!(text, row(0) + &row(12));
}

#[test]
fn indexes_count_beyond_4_gib() {
    let shape = FileShape { rows: 1, columns: 2048, samples: 277_203_535, element: U8 };
    let format = format(&dataset(FormatKind::MmapIndexedBinary, 1, &[2048], U8));
    let sides = format.sidecars("train", "train/0/x.mmap_indexed_binary", &shape);
    let names: Vec<_> = sides.iter().map(|side| side.name.as_str()).collect();
    let expected =
        ["train/0/x.mmap_indexed_binary.off.idx", "train/0/x.mmap_indexed_binary.sz.idx"];
    assert_eq!(names, expected);
    for (side, word) in sides.iter().zip([2048 * 277_203_534u64, 2048]) {
        assert_eq!(side.layout.file_bytes(), 8 * shape.samples);
        let last = 8 * (shape.samples - 1);
        let checked = check_range(&*side.layout, NoContent, last, &word.to_le_bytes());
        assert_eq!(checked, Ok(8), "{}", side.name);
    }
    let last = 2048 * 277_203_534..2048 * 277_203_535;
    assert_eq!(extents(&*format, &shape, 277_203_534, 1), [last]);
}

#[test]
fn places_beyond_4_gib_are_arithmetic() {
    let samples = 1 << 12;
    for (kind, bytes) in [(FormatKind::Csv, 16 << 20), (FormatKind::Hdf5, 4 << 20)] {
        let dataset = dataset(kind, samples, &[2048, 2048], U8);
        let (format, shape) = (format(&dataset), shape_of(&dataset));
        let layout = format.layout(&shape);
        let [range] = &extents(&*format, &shape, samples - 1, 1)[..] else { panic!("one range") };
        assert_eq!(range.end - range.start, bytes, "{kind:?}");
        assert!(range.start > 1 << 32);
        let segment = layout.segment_at(range.start + 1);
        assert!(segment.start <= range.start && range.end <= segment.start + segment.len);
        let (from, found): (_, Vec<u8>) = if kind == FormatKind::Csv {
            assert_eq!(segment.bytes, Bytes::Numbers);
            let text = format!("{:03}\n", ramp_byte(range.end - 4));
            (range.end - 4, text.into_bytes())
        } else {
            (range.end - 9, (range.end - 9..range.end).map(ramp_byte).collect())
        };
        assert_eq!(check_range(&*layout, Ramp, from, &found), Ok(found.len() as u64));
    }
}

#[test]
fn a_sample_is_one_range_in_each_dataset() {
    let dataset = shared();
    let (format, shape) = (format(&dataset), shape_of(&dataset));
    // Two of six rows of 4 x 5 floats: 160 bytes in each of three datasets, 4096 bytes apart.
    let of = |first, count| extents(&*format, &shape, first, count);
    assert_eq!(of(0, 1), [4096..4256, 8192..8352, 12_288..12_448]);
    assert_eq!(of(1, 1), [4256..4416, 8352..8512, 12_448..12_608]);
    assert_eq!(of(0, 2), [4096..4416, 8192..8512, 12_288..12_608]);
    assert_eq!(format.group_samples(&shape), 1);
}

#[test]
fn samples_of_a_chunk_are_read_together() {
    let dataset = chunked();
    let (format, shape) = (format(&dataset), shape_of(&dataset));
    assert_eq!(format.group_samples(&shape), 2);
    // Two chunks of 4 rows and two of 5 columns, each 2 x 4 x 5 elements of 2 bytes.
    let row = 4 * 2 * 4 * 5 * 2;
    let of = |first, count| extents(&*format, &shape, first, count);
    for (first, count, group) in [(0, 1, 0), (1, 1, 0), (3, 1, 1), (2, 2, 1), (4, 1, 2)] {
        let start = 4096 + group * row;
        assert_eq!(of(first, count), std::slice::from_ref(&(start..start + row)));
    }
}

#[test]
fn what_cannot_be_is_refused() {
    type Change = fn(&mut Dataset);
    let cases: [(Change, &str); 9] = [
        (|d| d.hdf5.num_dset_per_record = 4, "a first side that 4 divides"),
        (|d| d.hdf5.num_dset_per_record = 2000, "give at most 1024"),
        (|d| d.hdf5.chunk_dims = vec![1, 2], "2 sides for a dataset of 3 axes"),
        (|d| d.hdf5.chunk_dims = vec![1, 7, 1], "a chunk of 7 on a side of 6; give at most 6"),
        (|d| d.hdf5.max_shape = vec![12, 9], "cannot grow"),
        (|d| d.enable_chunking = true, "needs dataset.chunk_size"),
        (|d| (d.enable_chunking, d.chunk_size) = (true, 1 << 40), "end at 4 GiB"),
        (|d| d.record_dims = vec![2; 32], "at most 32 axes"),
        (|d| (d.format, d.record_element_type) = (FormatKind::Csv, ElementType::Int8), "uint8"),
    ];
    for (change, reason) in cases {
        let mut dataset = dataset(FormatKind::Hdf5, 3, &[6, 9], U8);
        change(&mut dataset);
        let error = for_dataset(&dataset).err().unwrap();
        assert!(error.contains(reason) && error.starts_with("dataset."), "{error}");
    }
    let mut same = dataset(FormatKind::Hdf5, 3, &[6, 9], U8);
    same.hdf5.max_shape = vec![6, 9];
    assert!(for_dataset(&same).is_ok());
}

/// The data files below a folder of a fixture.
fn data_files(folder: &Path, suffix: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(data_files(&path, suffix));
        } else if path.extension().is_some_and(|found| found == suffix) {
            found.push(path);
        }
    }
    found
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    PathBuf::from(format!("{}{suffix}", path.display()))
}

#[test]
fn indexed_files_are_like_those_of_the_reference() {
    let Some(folder) = fixtures() else { return };
    let dataset = dataset(FormatKind::IndexedBinary, 3, &[64, 64], U8);
    let (format, shape) = (format(&dataset), shape_of(&dataset));
    let files = data_files(&folder.join("indexed_binary"), "indexed_binary");
    assert_eq!(files.len(), 6);
    for path in files {
        let len = fs::metadata(&path).unwrap().len();
        assert_eq!(len, format.file_bytes(&shape));
        for side in format.sidecars("train", &path.display().to_string(), &shape) {
            let theirs = fs::read(&side.name).unwrap();
            assert_eq!(hex(&over(&*side.layout, NoContent)), hex(&theirs), "{}", side.name);
        }
        let sizes = fs::read(beside(&path, SIZES_SUFFIX)).unwrap();
        let mut index = SizeIndex::default();
        sizes.chunks(5).for_each(|block| index.feed(block));
        let found = index.extents(len).unwrap().unwrap();
        assert_eq!(found, ForeignExtents::Uniform { record_bytes: 4096, records: 3 });
        let offsets = fs::read(beside(&path, OFFSETS_SUFFIX)).unwrap();
        let table = ForeignExtents::from_indexes(&offsets, &sizes, len).unwrap();
        for sample in 0..3 {
            assert_eq!(table.extent(sample), found.extent(sample));
            assert_eq!(found.extent(sample), Some(format.extent(&shape, sample)));
        }
        assert_eq!(ForeignExtents::without_indexes(&shape, len), Ok(found));
    }
}

#[test]
fn foreign_hdf5_and_csv_files_are_read_whole() {
    let Some(folder) = fixtures() else { return };
    for (kind, suffix) in [(FormatKind::Hdf5, "hdf5"), (FormatKind::Csv, "csv")] {
        for path in data_files(&folder.join(suffix), suffix) {
            let len = fs::metadata(&path).unwrap().len();
            let found = ForeignExtents::detect(kind, len, &[], None).unwrap();
            assert_eq!(found.extent(2), Some(0..len), "{}", path.display());
        }
    }
}

/// Rows and columns without the header and the row numbers that DLIO 2.0.0 writes.
#[test]
fn csv_has_the_rows_and_columns_of_the_reference() {
    let Some(folder) = fixtures() else { return };
    let theirs = fs::read_to_string(folder.join("csv/train/0/img_0_of_4.csv")).unwrap();
    let dataset = dataset(FormatKind::Csv, 3, &[64, 64], U8);
    let ours = make(&*format(&dataset), &shape_of(&dataset));
    let columns = |line: &str| line.split(',').count();
    let theirs: Vec<_> = theirs.lines().skip(1).map(|line| columns(line) - 1).collect();
    let ours: Vec<_> = std::str::from_utf8(&ours).unwrap().lines().map(columns).collect();
    assert_eq!(ours, theirs);
}

/// What h5py wrote about elements stands in ours as well.
#[test]
fn datatypes_are_those_of_h5py() {
    let Some(folder) = fixtures() else { return };
    let theirs = fs::read(folder.join("hdf5/train/0/img_0_of_4.hdf5")).unwrap();
    let dataset = dataset(FormatKind::Hdf5, 3, &[64, 64], U8);
    let ours = make(&*format(&dataset), &shape_of(&dataset));
    let uint8 = [0x10, 0, 0, 0, 1, 0, 0, 0, 0, 0, 8, 0];
    let int64 = [0x10, 8, 0, 0, 8, 0, 0, 0, 0, 0, 64, 0];
    for datatype in [uint8, int64] {
        for file in [&theirs[..2048], &ours[..2048]] {
            assert!(file.windows(12).any(|bytes| bytes == datatype));
        }
    }
}

#[test]
fn wrong_indexes_are_refused() {
    let words = |words: &[u64]| words.iter().flat_map(|word| word.to_le_bytes()).collect();
    let (offsets, sizes): (Vec<u8>, Vec<u8>) = (words(&[0, 4, 10]), words(&[4, 6, 5]));
    let scan = |bytes: &[u8], len| {
        let mut index = SizeIndex::default();
        index.feed(bytes);
        index.extents(len)
    };
    assert_eq!(scan(&sizes, 15), Ok(None));
    assert_eq!(scan(&words(&[4, 4, 4]), 13), Ok(None));
    assert!(scan(&sizes[..20], 15).unwrap_err().contains("cut off"));
    assert!(scan(&[], 15).unwrap_err().contains("empty"));
    let table = ForeignExtents::from_indexes(&offsets, &sizes, 15);
    assert_eq!(table, Ok(ForeignExtents::Table(vec![0..4, 4..10, 10..15])));
    let short = ForeignExtents::from_indexes(&offsets, &sizes, 14).unwrap_err();
    assert!(short.contains("sample 2"), "{short}");
    let uneven = ForeignExtents::from_indexes(&offsets[..8], &sizes, 15).unwrap_err();
    assert!(uneven.contains("8 bytes"), "{uneven}");
    let shape = FileShape { rows: 1, columns: 4, samples: 3, element: U8 };
    assert!(ForeignExtents::without_indexes(&shape, 13).unwrap_err().contains("no .sz.idx"));
}

/// Makes the golden files anew and prints their sums.
#[test]
#[ignore = "rewrites the golden files"]
fn write_golden() {
    for golden in goldens() {
        let made = make(&*format(&golden.dataset), &shape_of(&golden.dataset));
        println!("{} {}", golden.name, hex(&Sha256::digest(&made)[..16]));
        fs::write(golden_folder().join(golden.name), made).unwrap();
    }
}

/// Files of many shapes and settings for other readers, in the folder `RANKIO_GOLDEN_OUT`: one
/// subfolder for each element type.
#[test]
#[ignore = "writes files for tests/interop/readers.py to RANKIO_GOLDEN_OUT"]
fn write_for_readers() {
    use FormatKind::{Csv, Hdf5, IndexedBinary};
    let out = PathBuf::from(std::env::var_os("RANKIO_GOLDEN_OUT").expect("RANKIO_GOLDEN_OUT"));
    let elements = [
        (U8, "uint8"),
        (ElementType::Int8, "int8"),
        (ElementType::Uint16, "uint16"),
        (ElementType::Int64, "int64"),
        (ElementType::Float16, "float16"),
        (ElementType::Float32, "float32"),
        (ElementType::Float64, "float64"),
        (ElementType::Bool, "bool"),
    ];
    for (element, name) in elements {
        let mut datasets = Vec::new();
        for dims in [&[1, 1][..], &[64, 64], &[5, 70_000], &[7], &[6, 4, 3, 5]] {
            datasets.push(dataset(Hdf5, 3, dims, element));
            if matches!(element, ElementType::Uint8 | ElementType::Float32) {
                datasets.push(dataset(Csv, 3, dims, element));
                datasets.push(dataset(IndexedBinary, 3, dims, element));
            }
            let mut by_size = dataset(Hdf5, 3, dims, element);
            (by_size.enable_chunking, by_size.chunk_size) = (true, 1000);
            datasets.push(by_size);
        }
        for (count, chunk) in [(1, [2, 1, 2, 3, 5]), (2, [1, 3, 4, 3, 5]), (3, [3, 2, 3, 1, 2])] {
            let mut divided = dataset(Hdf5, 3, &[6, 4, 3, 5], element);
            divided.hdf5.num_dset_per_record = count;
            divided.hdf5.chunk_dims = chunk.to_vec();
            datasets.push(divided);
        }
        let folder = out.join(name).join("train");
        fs::create_dir_all(&folder).unwrap();
        for (index, dataset) in datasets.iter().enumerate() {
            let (format, shape) = (format(dataset), shape_of(dataset));
            let file = format!("img_{index}_of_{}.{}", datasets.len(), format.suffix());
            fs::write(folder.join(&file), make(&*format, &shape)).unwrap();
            for side in format.sidecars("train", &file, &shape) {
                fs::write(folder.join(side.name), over(&*side.layout, NoContent)).unwrap();
            }
        }
    }
}
