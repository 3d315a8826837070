//! Files of every format, pinned byte for byte, and compared with files that other tools wrote.
//!
//! The pinned files stand in `tests/golden/format`; `write_golden` makes them anew, and
//! `write_for_readers` makes a folder for `tests/interop/readers.py`.

mod ramp;

use ramp::{fixtures, golden_folder, hex, make};
use rankio::config::{Dataset, ElementType, FormatKind, ImageContent};
use rankio::data::Mismatch;
use rankio::format::{
    Bytes, FileShape, Filler, ForeignExtents, Format, Layout, NoContent, Source, check_range,
    for_dataset,
};
use sha2::{Digest, Sha256};
use std::fs;
use std::path::{Path, PathBuf};

/// Name of a golden file, its format and shape, and the first half of its SHA-256.
struct Golden {
    name: &'static str,
    kind: FormatKind,
    content: ImageContent,
    shape: FileShape,
    sha256: &'static str,
}

const fn shape(rows: u64, columns: u64, samples: u64, element: ElementType) -> FileShape {
    FileShape { rows, columns, samples, element }
}

const U8: ElementType = ElementType::Uint8;
const REAL: ImageContent = ImageContent::Real;

const GOLDEN: &[Golden] = &[
    Golden {
        name: "tiny.npz",
        kind: FormatKind::Npz,
        content: REAL,
        shape: shape(5, 7, 2, U8),
        sha256: "c539f190aab50cae66d75a12229a6471",
    },
    Golden {
        name: "float.npy",
        kind: FormatKind::Npy,
        content: REAL,
        shape: shape(3, 4, 2, ElementType::Float32),
        sha256: "ab979e15d4e6d188fa213c71f57c9a86",
    },
    Golden {
        name: "three.tfrecord",
        kind: FormatKind::Tfrecord,
        content: REAL,
        shape: shape(6, 9, 3, U8),
        sha256: "e302ceb441fbb595e83d12c26ef62325",
    },
    Golden {
        name: "tiny.jpeg",
        kind: FormatKind::Jpeg,
        content: REAL,
        shape: shape(21, 17, 1, U8),
        sha256: "6c3ccaaaa06cf5c902a84c909d7daf4e",
    },
    Golden {
        name: "tiny.png",
        kind: FormatKind::Png,
        content: REAL,
        shape: shape(11, 13, 2, U8),
        sha256: "84c0be0fe059fd1118d17b6b8aa9273c",
    },
    Golden {
        name: "raw.jpeg",
        kind: FormatKind::Jpeg,
        content: ImageContent::Raw,
        shape: shape(8, 8, 1, U8),
        sha256: "739739918f47ff5e235f1bb2f0912d5d",
    },
    Golden {
        name: "any.synthetic",
        kind: FormatKind::Synthetic,
        content: REAL,
        shape: shape(8, 8, 1, U8),
        sha256: "18c4f85a180cf29ddc1f8e3a3143ff54",
    },
];

fn format(kind: FormatKind, content: ImageContent) -> Box<dyn Format> {
    let dataset = Dataset { format: kind, image_content: content, ..Dataset::default() };
    for_dataset(&dataset).unwrap()
}

#[test]
fn files_are_pinned() {
    for golden in GOLDEN {
        let made = make(&*format(golden.kind, golden.content), &golden.shape);
        let pinned = fs::read(golden_folder().join(golden.name)).unwrap();
        assert!(made == pinned, "{} differs from its golden file", golden.name);
        let sum = hex(&Sha256::digest(&made)[..16]);
        assert_eq!(sum, golden.sha256, "{}", golden.name);
    }
}

/// The fixed bytes of a file as hex, content as a count in brackets, sums as `sum`.
fn outline(layout: &dyn Layout) -> String {
    let mut parts = Vec::new();
    let mut offset = 0;
    while offset < layout.file_bytes() {
        let segment = layout.segment_at(offset);
        parts.push(match segment.bytes {
            Bytes::Content => format!("[{}]", segment.len),
            Bytes::Fixed(bytes) => hex(bytes),
            Bytes::Sum { .. } => "sum".to_string(),
            Bytes::Numbers | Bytes::Text { .. } | Bytes::Words { .. } => {
                format!("({})", segment.len)
            }
        });
        offset += segment.len;
    }
    parts.join(" ")
}

#[test]
fn structures_can_be_read() {
    let tfrecord = outline(&*format(FormatKind::Tfrecord, REAL).layout(&shape(2, 3, 1, U8)));
    let expected = "2600000000000000734fe300 0a240a0d0a0473697a6512051a030a0102\
                    0a130a05696d616765120a0a080a06 [6] sum";
    assert_eq!(tfrecord, expected);
    let png = outline(&*format(FormatKind::Png, REAL).layout(&shape(2, 3, 1, U8)));
    let expected = "89504e470d0a1a0a0000000d4948445200000003000000020800000000b81f39c6\
                    00000002494441547801ec1a7ed2 0000000d 49444154010800f7ff \
                    00 [3] 00 [3] sum 00000004 49444154 sum sum 0000000049454e44ae426082";
    assert_eq!(png, expected);
}

#[test]
fn sidecar_is_an_index() {
    let format = format(FormatKind::Tfrecord, REAL);
    let shape = shape(6, 9, 3, U8);
    let sidecars = format.sidecars("train", "train/1/img_0_of_4.tfrecord", &shape);
    assert_eq!(sidecars.len(), 1);
    assert_eq!(sidecars[0].name, "index/train/img_0_of_4.tfrecord.idx");
    let text = ramp::over(&*sidecars[0].layout, NoContent);
    let record = format.extent(&shape, 0).end;
    let expected = format!("0 {record}\n{record} {record}\n{} {record}\n", 2 * record);
    assert_eq!(String::from_utf8(text).unwrap(), expected);
}

/// Compares everything but content and sums of our file with one that another tool wrote.
fn assert_same_structure(layout: &dyn Layout, theirs: &[u8]) {
    assert_eq!(layout.file_bytes(), theirs.len() as u64);
    let mut offset = 0;
    while offset < layout.file_bytes() {
        let segment = layout.segment_at(offset);
        if let Bytes::Fixed(bytes) = segment.bytes {
            let found = &theirs[offset as usize..][..bytes.len()];
            assert_eq!(hex(bytes), hex(found), "at offset {offset}");
        }
        offset += segment.len;
    }
}

#[test]
fn structure_is_that_of_files_by_numpy_and_tensorflow() {
    let Some(folder) = fixtures() else { return };
    let shape = shape(64, 64, 3, U8);
    for (kind, name) in [
        (FormatKind::Npz, "npz/train/0/img_0_of_4.npz"),
        (FormatKind::Npz, "npz/valid/img_1_of_2.npz"),
        (FormatKind::Npy, "npy/train/0/img_2_of_4.npy"),
    ] {
        let theirs = fs::read(folder.join(name)).unwrap();
        assert_same_structure(&*format(kind, REAL).layout(&shape), &theirs);
    }
    // Protobuf leaves the order of map entries open; the first record of this file has ours.
    let theirs = fs::read(folder.join("tfrecord/train/img_0_of_4.tfrecord")).unwrap();
    let format = format(FormatKind::Tfrecord, REAL);
    let one = FileShape { samples: 1, ..shape };
    let record = format.file_bytes(&one) as usize;
    assert_same_structure(&*format.layout(&one), &theirs[..record]);
}

/// The golden tails are what numpy 2.4 wrote after the samples of `np.zeros((rows, columns, 1))`.
#[test]
fn zip64_forms_are_those_of_numpy() {
    for (rows, columns, file_bytes, name) in [
        (1 << 15, 1 << 16, 2_147_484_254, "numpy-2gib.npz-tail"),
        (1 << 16, 1 << 16, 4_294_967_902, "numpy-4gib.npz-tail"),
    ] {
        let layout = format(FormatKind::Npz, REAL).layout(&shape(rows, columns, 1, U8));
        assert_eq!(layout.file_bytes(), file_bytes);
        let tail = fs::read(golden_folder().join(name)).unwrap();
        let mut offset = file_bytes - tail.len() as u64;
        let place = offset;
        while offset < file_bytes {
            let segment = layout.segment_at(offset);
            let found = &tail[(offset - place) as usize..][..segment.len as usize];
            match segment.bytes {
                Bytes::Fixed(bytes) => assert_eq!(hex(bytes), hex(found), "{name} {offset}"),
                Bytes::Sum { before, .. } => assert!(before),
                _ => panic!("no content in the tail"),
            }
            offset += segment.len;
        }
    }
}

/// Content taken from a file, to check another tool's checksums with our registers.
struct Theirs<'a>(&'a [u8]);

impl Source for Theirs<'_> {
    fn fill(&self, offset: u64, out: &mut [u8]) {
        out.copy_from_slice(&self.0[offset as usize..][..out.len()]);
    }

    fn verify(&self, _offset: u64, _found: &[u8]) -> Result<(), Mismatch> {
        Ok(())
    }
}

#[test]
fn checksums_are_those_of_numpy() {
    let Some(folder) = fixtures() else { return };
    let layout = format(FormatKind::Npz, REAL).layout(&shape(64, 64, 3, U8));
    for name in ["npz/train/0/img_0_of_4.npz", "npz/train/1/img_1_of_4.npz"] {
        let theirs = fs::read(folder.join(name)).unwrap();
        let checked = check_range(&*layout, Theirs(&theirs), 0, &theirs);
        assert_eq!(checked, Ok(theirs.len() as u64), "{name}");
        let mut filler = Filler::new(&*layout, Theirs(&theirs));
        let mut ours = vec![0; theirs.len()];
        filler.fill(&mut ours);
        for (offset, bytes) in filler.patches() {
            ours[*offset as usize..][..4].copy_from_slice(bytes);
        }
        assert!(ours == theirs, "{name}: the same content gives the same file");
    }
}

#[test]
fn records_of_foreign_files_are_found() {
    let Some(folder) = fixtures() else { return };
    let data = fs::read(folder.join("tfrecord/train/img_1_of_4.tfrecord")).unwrap();
    let index = folder.join("tfrecord/index/train/img_1_of_4.tfrecord.idx");
    let index = fs::read_to_string(index).unwrap();
    let len = data.len() as u64;
    let with = ForeignExtents::detect(FormatKind::Tfrecord, len, &data[..12], Some(&index));
    let without = ForeignExtents::detect(FormatKind::Tfrecord, len, &data[..12], None);
    assert_eq!(with, without);
    assert_eq!(with.unwrap().extent(2), Some(8298..12447));
}

/// Makes the golden files anew and prints their sums.
#[test]
#[ignore = "rewrites the golden files"]
fn write_golden() {
    fs::create_dir_all(golden_folder()).unwrap();
    for golden in GOLDEN {
        let made = make(&*format(golden.kind, golden.content), &golden.shape);
        println!("{} {}", golden.name, hex(&Sha256::digest(&made)[..16]));
        fs::write(golden_folder().join(golden.name), made).unwrap();
    }
}

/// Writes `train/img_<i>_of_<n>` and indexes of the given shapes under `folder`.
fn write_dataset(folder: &Path, format: &dyn Format, shapes: &[FileShape]) {
    fs::create_dir_all(folder.join("train")).unwrap();
    for (index, shape) in shapes.iter().enumerate() {
        let file = format!("img_{index}_of_{}.{}", shapes.len(), format.suffix());
        fs::write(folder.join("train").join(&file), make(format, shape)).unwrap();
        for side in format.sidecars("train", &format!("train/{file}"), shape) {
            let path = folder.join(side.name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, ramp::over(&*side.layout, NoContent)).unwrap();
        }
    }
}

/// Writes files of many shapes for other readers into the folder `RANKIO_GOLDEN_OUT`, one
/// subfolder for each element type, and `dlio` with eight equal files of each format for
/// `DATASETS` of `tests/interop/dlio.sh`.
#[test]
#[ignore = "writes files for tests/interop/readers.py to RANKIO_GOLDEN_OUT"]
fn write_for_readers() {
    let out = PathBuf::from(std::env::var_os("RANKIO_GOLDEN_OUT").expect("RANKIO_GOLDEN_OUT"));
    let kinds =
        [FormatKind::Npz, FormatKind::Npy, FormatKind::Tfrecord, FormatKind::Jpeg, FormatKind::Png];
    for (element, name) in [(U8, "uint8"), (ElementType::Float32, "float32")] {
        let shapes = [(1, 1, 1), (64, 64, 1), (5, 70_000, 1), (701, 333, 3), (1, 65_535, 2)]
            .map(|(rows, columns, samples)| shape(rows, columns, samples, element));
        for kind in kinds {
            let format = format(kind, REAL);
            write_dataset(&out.join(name).join(format.suffix()), &*format, &shapes);
        }
    }
    for kind in kinds {
        let format = format(kind, REAL);
        let folder = out.join("dlio").join(format.suffix());
        write_dataset(&folder, &*format, &[shape(64, 64, 3, U8); 8]);
        // DLIO lists this folder even if it evaluates nothing.
        fs::create_dir_all(folder.join("valid")).unwrap();
    }
}
