//! Where samples lie in one file of a foreign dataset: reads as much of its index, of its first
//! or of its last bytes as its format needs.

use super::small;
use crate::config::{FormatKind, ObjectOptions, Parquet};
use crate::format::foreign::{PARQUET_TRAILER_BYTES, parquet_tail_bytes};
use crate::format::{FileShape, ForeignExtents, OFFSETS_SUFFIX, SIZES_SUFFIX, SizeIndex};
use crate::storage::Storage;

/// Whether [`extents`] reads anything for files of this format.
pub fn looks_inside(kind: FormatKind) -> bool {
    use FormatKind::{IndexedBinary, MmapIndexedBinary, Parquet, Tfrecord};
    matches!(kind, Tfrecord | IndexedBinary | MmapIndexedBinary | Parquet)
}

/// What is looked for.
pub struct Look<'a> {
    /// Format.
    pub kind: FormatKind,
    /// Selects the columns of parquet files.
    pub parquet: &'a Parquet,
    /// Row groups shall be decoded.
    pub decode: bool,
}

/// Extents of the file `name`, of `size_bytes`, that is configured to have `shape`. Nothing else
/// may be in flight on `side`. The error does not name the file.
pub fn extents(
    side: &mut dyn Storage,
    look: &Look<'_>,
    name: &str,
    shape: &FileShape,
    size_bytes: u64,
) -> Result<ForeignExtents, String> {
    let kind = look.kind;
    match kind {
        FormatKind::Tfrecord => {
            let index = small::read_text(side, &format!("index/{name}.idx"))?;
            let head = small::read_head(side, name, size_bytes)?;
            ForeignExtents::detect(kind, size_bytes, &head, index.as_deref())
        }
        FormatKind::IndexedBinary | FormatKind::MmapIndexedBinary => {
            indexed(side, name, shape, size_bytes)
        }
        FormatKind::Parquet => parquet(side, name, size_bytes, look.parquet, look.decode),
        _ => ForeignExtents::detect(kind, size_bytes, &[], None),
    }
}

/// The footer is all that is read, and its ranges are all that is kept.
fn parquet(
    side: &mut dyn Storage,
    name: &str,
    size_bytes: u64,
    settings: &Parquet,
    decode: bool,
) -> Result<ForeignExtents, String> {
    let length_of = |trailer: &[u8]| parquet_tail_bytes(trailer, size_bytes);
    let tail = small::read_tail(side, name, size_bytes, PARQUET_TRAILER_BYTES, length_of)?;
    match decode {
        true => ForeignExtents::decodable_parquet(&tail, size_bytes, settings),
        false => ForeignExtents::parquet(&tail, size_bytes, settings),
    }
}

/// Rows of the first row group of the parquet file `name` below `root`. The error names the file.
pub fn first_row_group(
    root: &str,
    object: &ObjectOptions,
    name: &str,
    settings: &Parquet,
) -> Result<u64, String> {
    let mut side = small::connect_small_by(root, object)?;
    let stat = side.stat(name).map_err(|error| error.to_string())?;
    let at = |what: &str| format!("{}/{name}: {what}", root.trim_end_matches('/'));
    let stat = stat.ok_or_else(|| at("not found"))?;
    let found =
        parquet(side.as_mut(), name, stat.size_bytes, settings, false).map_err(|what| at(&what))?;
    let (rows, _) = found.row_group(0).ok_or_else(|| at("has no rows"))?;
    Ok(rows.end)
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
