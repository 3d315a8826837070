//! What a wrong byte is: a name for the damage, found out after the fact from the bytes alone.
//!
//! Only a failed check comes here, so the search may cost a millisecond; it allocates nothing all
//! the same.

use std::fmt;

use super::key::BlockKey;
use super::keyed::spread;
use super::stamped::{STAMP_BYTES, stamp_place};
use super::{BLOCK_BYTES, Content, WORD_BYTES};

/// Up to this many wrong bits count as flipped bits, which includes any change of a single byte.
const FLIPPED_BITS_MAX: u32 = 8;

/// Unit in which devices and kernels write at least; a torn block changes at a multiple of it.
const SECTOR_BYTES: usize = 512;

/// How many bytes after a sector edge may be right by chance (1 in 256 each).
const CHANCE_BYTES: usize = 4;

/// Older versions that are tried, newest first.
const STALE_VERSIONS_MAX: u32 = 64;

/// A shorter part of a block says little, so the bytes after it are looked at as well.
const EVIDENCE_BYTES: usize = 64;

/// What the first wrong byte looks like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Damage {
    /// The block holds zeros.
    Zeros,
    /// The block is that of an older version of this object (the last 64 are recognised).
    Stale {
        /// The version found.
        version: u32,
    },
    /// The block belongs to another place: same pool, other key. Not recognised with
    /// `pcg`.
    OtherObject,
    /// Right up to an offset inside the block, foreign after it.
    Torn,
    /// Single bits differ, at most 8.
    Flipped,
    /// None of these.
    Garbage,
}

/// The first difference between expected and found bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mismatch {
    /// Offset of the first wrong byte in the object.
    pub offset: u64,
    /// What it looks like.
    pub damage: Damage,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "byte {}: ", self.offset)?;
        match self.damage {
            Damage::Zeros => f.write_str("zeros instead of content"),
            Damage::Stale { version } => write!(f, "stale content of version {version}"),
            Damage::OtherObject => f.write_str("content of another object or offset"),
            Damage::Torn => f.write_str("torn block, foreign bytes from here on"),
            Damage::Flipped => f.write_str("flipped bits"),
            Damage::Garbage => f.write_str("garbage instead of content"),
        }
    }
}

impl std::error::Error for Mismatch {}

/// Finds the first wrong byte of `found` and names the damage. `found` begins in the block that
/// differs.
#[cold]
#[inline(never)]
pub(super) fn examine(content: &Content, offset: u64, found: &[u8]) -> Mismatch {
    let begin = (offset % BLOCK_BYTES as u64) as usize;
    let in_block = BLOCK_BYTES - begin;
    let seen_bytes = if in_block < EVIDENCE_BYTES { EVIDENCE_BYTES } else { in_block };
    let found = &found[..found.len().min(seen_bytes)];
    let mut expected = [0; BLOCK_BYTES];
    let expected = &mut expected[..found.len()];
    content.fill(offset, expected);

    let wrong = |at: &usize| found[*at] != expected[*at];
    let first = (0..found.len()).find(wrong).expect("the caller saw a difference");
    let end = (0..found.len()).rfind(wrong).map_or(first, |last| last) + 1;
    let bits = found.iter().zip(&*expected).map(|(a, b)| (a ^ b).count_ones()).sum::<u32>();
    let damage = if bits <= FLIPPED_BITS_MAX {
        Damage::Flipped
    } else if is_torn(begin, first, end, found.len()) {
        Damage::Torn
    } else {
        foreign(content, offset + first as u64, &found[first..end])
    };
    Mismatch { offset: offset + first as u64, damage }
}

/// Whether wrong bytes `first..end` of `len` seen ones, of which the first lies at `begin` in its
/// block, follow right ones at a sector edge and reach the end of what was seen.
fn is_torn(begin: usize, first: usize, end: usize, len: usize) -> bool {
    let past_edge = (begin + first) % SECTOR_BYTES;
    let edge = begin + first - past_edge;
    let inside = edge > begin && edge < BLOCK_BYTES;
    inside && past_edge < CHANCE_BYTES && end + CHANCE_BYTES > len
}

/// Names bytes whose first and last differ from the content at `offset`.
fn foreign(content: &Content, offset: u64, found: &[u8]) -> Damage {
    if found.iter().all(|byte| *byte == 0) {
        return Damage::Zeros;
    }
    let oldest = content.version.saturating_sub(STALE_VERSIONS_MAX);
    let is_version =
        |version: &u32| content.at_version(*version).first_bad_piece(offset, found).is_none();
    if let Some(version) = (oldest..content.version).rev().find(is_version) {
        return Damage::Stale { version };
    }
    if content.is_stamped() && has_foreign_stamp(content, offset, found) {
        return Damage::OtherObject;
    }
    if !content.generator.settings.pcg && has_foreign_key(content, offset, found) {
        return Damage::OtherObject;
    }
    Damage::Garbage
}

/// Whether only the stamp of a block is wrong, or another block of the pool stands there.
fn has_foreign_stamp(content: &Content, offset: u64, found: &[u8]) -> bool {
    let begin = offset as usize % BLOCK_BYTES;
    let stamp = stamp_place(offset / BLOCK_BYTES as u64);
    if begin >= stamp && begin + found.len() <= stamp + STAMP_BYTES {
        return true;
    }
    let head = (offset.wrapping_neg() % WORD_BYTES as u64) as usize;
    let words = found.get(head..).unwrap_or_default().as_chunks::<WORD_BYTES>().0;
    // At two places, since the foreign stamp may lie at one of them.
    [words.len() / 4, words.len() / 2].iter().any(|at| {
        let Some(words) = words[*at..].first_chunk::<3>() else { return false };
        let words = words.map(u64::from_le_bytes);
        content.generator.pool.blocks().any(|block| block.windows(3).any(|pool| *pool == words))
    })
}

/// Whether three words, at the front or in the middle, are pool words under some block key.
fn has_foreign_key(content: &Content, offset: u64, found: &[u8]) -> bool {
    let head = (offset.wrapping_neg() % WORD_BYTES as u64) as usize;
    let words = found.get(head..).unwrap_or_default().as_chunks::<WORD_BYTES>().0;
    let middle = &words[words.len() / 2..];
    [words, middle].iter().any(|words| match words {
        [a, b, c, ..] => is_keyed(content, [a, b, c].map(|word| u64::from_le_bytes(*word))),
        _ => false,
    })
}

/// Whether three neighbouring words come from somewhere in the pool: the key stream that this would
/// need must be a progression with an odd step that selects the pool block, which random words
/// fulfil once in about 10^16 checks.
fn is_keyed(content: &Content, words: [u64; 3]) -> bool {
    content.generator.pool.blocks().enumerate().any(|(index, block)| {
        block.windows(3).enumerate().any(|(position, pool)| {
            let stream = |i: usize| spread(words[i] ^ pool[i]);
            let step = stream(1).wrapping_sub(stream(0));
            let start = stream(0).wrapping_sub(step.wrapping_mul(position as u64));
            step % 2 == 1
                && stream(2).wrapping_sub(stream(1)) == step
                && BlockKey { start, step }.pool_index() == index
        })
    })
}
