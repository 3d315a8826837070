//! Where samples lie in one file of a foreign dataset: reads as much of its index or of its first
//! bytes as its format needs.

use super::small;
use crate::config::FormatKind;
use crate::format::{FileShape, ForeignExtents, OFFSETS_SUFFIX, SIZES_SUFFIX, SizeIndex};
use crate::storage::Storage;

/// Whether [`extents`] reads anything for files of this format.
pub fn looks_inside(kind: FormatKind) -> bool {
    use FormatKind::{IndexedBinary, MmapIndexedBinary, Tfrecord};
    matches!(kind, Tfrecord | IndexedBinary | MmapIndexedBinary)
}

/// Extents of the file `name`, of `size_bytes`, that is configured to have `shape`. Nothing else
/// may be in flight on `side`. The error does not name the file.
pub fn extents(
    side: &mut dyn Storage,
    kind: FormatKind,
    name: &str,
    shape: &FileShape,
    size_bytes: u64,
) -> Result<ForeignExtents, String> {
    match kind {
        FormatKind::Tfrecord => {
            let index = small::read_text(side, &format!("index/{name}.idx"))?;
            let head = small::read_head(side, name)?;
            ForeignExtents::detect(kind, size_bytes, &head, index.as_deref())
        }
        FormatKind::IndexedBinary | FormatKind::MmapIndexedBinary => {
            indexed(side, name, shape, size_bytes)
        }
        _ => ForeignExtents::detect(kind, size_bytes, &[], None),
    }
}

/// A pass over the lengths tells whether they are all one, which needs no memory; only else are
/// both indexes kept.
fn indexed(
    side: &mut dyn Storage,
    name: &str,
    shape: &FileShape,
    size_bytes: u64,
) -> Result<ForeignExtents, String> {
    let sizes_name = format!("{name}{SIZES_SUFFIX}");
    let mut scan = SizeIndex::default();
    if !small::each_block(side, &sizes_name, &mut |block| scan.feed(block))? {
        return ForeignExtents::without_indexes(shape, size_bytes);
    }
    if let Some(uniform) = scan.extents(size_bytes)? {
        return Ok(uniform);
    }
    let missing = |suffix| format!("it has no {suffix}, which its samples of many sizes need");
    let sizes = small::read_bytes(side, &sizes_name)?.ok_or_else(|| missing(SIZES_SUFFIX))?;
    let offsets = small::read_bytes(side, &format!("{name}{OFFSETS_SUFFIX}"))?;
    let offsets = offsets.ok_or_else(|| missing(OFFSETS_SUFFIX))?;
    ForeignExtents::from_indexes(&offsets, &sizes, size_bytes)
}
