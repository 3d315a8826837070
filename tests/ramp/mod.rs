//! Files over content that is easy to make elsewhere, and where to find golden files and fixtures.

use rankio::data::{Damage, Mismatch};
use rankio::format::{FileShape, Filler, Format, Layout, Source};
use std::path::{Path, PathBuf};

/// Content that is easy to make elsewhere: byte `offset` is the high byte of `offset * 40503`
/// modulo 2^16.
#[derive(Clone, Copy)]
pub struct Ramp;

/// The byte of [`Ramp`] at `offset`.
pub fn ramp(offset: u64) -> u8 {
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

/// A whole file over [`Ramp`].
pub fn make(format: &dyn Format, shape: &FileShape) -> Vec<u8> {
    over(&*format.layout(shape), Ramp)
}

/// A whole file over any content.
pub fn over(layout: &dyn Layout, content: impl Source) -> Vec<u8> {
    let mut filler = Filler::new(layout, content);
    let mut file = vec![0; layout.file_bytes() as usize];
    filler.fill(&mut file);
    for (offset, bytes) in filler.patches() {
        file[*offset as usize..][..4].copy_from_slice(bytes);
    }
    file
}

/// `tests/golden/format`.
pub fn golden_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/format")
}

/// The folder of fixtures, or None with a message.
pub fn fixtures() -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared");
    let shared = std::env::var_os("RANKIO_SHARED").map_or_else(beside, PathBuf::from);
    let folder = shared.join("fixtures/dlio-2.0.0/data");
    if folder.is_dir() {
        return Some(folder);
    }
    eprintln!("skipped: no fixtures at {}", folder.display());
    None
}

/// Two digits for each byte.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
