//! The stamped pattern: pool block `n mod 256` as it is, with a stamp of seed, object, version and
//! block number in its first words.
//!
//! A buffer that lies on a multiple of [`PERIOD_BYTES`] of the file keeps its content but for the
//! stamps, so that making a block for the next write touches one cache line of 64. That is what fio
//! does with its buffers, and it has the price that storage sees the same megabyte again and again:
//! every block of 4 KiB differs from all others, but what is between the stamps repeats.

use super::key::{BlockKey, ObjectKey};
use super::keyed::{POOL_BLOCKS, Pool};
use super::pattern::{Pattern, Word};
use super::{BLOCK_BYTES, BLOCK_WORDS, WORD_BYTES};

/// Bytes after which the content repeats, but for the stamps.
pub const PERIOD_BYTES: usize = POOL_BLOCKS * BLOCK_BYTES;

/// Words of a stamp: both halves of the block's key.
pub(super) const STAMP_WORDS: usize = 2;

/// The stamped pattern of one object.
pub(super) struct Stamped<'a> {
    object: ObjectKey,
    pool: &'a Pool,
    block: &'a [u64; BLOCK_WORDS],
    stamp: [u64; STAMP_WORDS],
}

impl<'a> Stamped<'a> {
    /// Stands at block 0.
    pub fn new(pool: &'a Pool, object: ObjectKey) -> Self {
        let mut stamped = Self { object, pool, block: pool.nth(0), stamp: [0; STAMP_WORDS] };
        stamped.enter(0);
        stamped
    }

    fn stamp_of(object: ObjectKey, number: u64) -> [u64; STAMP_WORDS] {
        let BlockKey { start, step } = object.block(number);
        [start, step]
    }
}

/// Writes the stamps of the blocks from the one at `offset` on, a multiple of [`BLOCK_BYTES`].
pub(super) fn stamp(object: ObjectKey, offset: u64, out: &mut [u8]) {
    let first = offset / BLOCK_BYTES as u64;
    for (number, block) in (first..).zip(out.chunks_mut(BLOCK_BYTES)) {
        let words = Stamped::stamp_of(object, number);
        for (place, word) in block.chunks_mut(WORD_BYTES).zip(words) {
            place.copy_from_slice(&word.to_le_bytes()[..place.len()]);
        }
    }
}

impl Pattern for Stamped<'_> {
    fn enter(&mut self, source: u64) {
        self.block = self.pool.nth(source as usize % POOL_BLOCKS);
        self.stamp = Self::stamp_of(self.object, source);
    }

    fn motif(&self) -> u64 {
        // Blocks have no compressible part: ratios are refused.
        0
    }

    fn word(&mut self, index: usize) -> u64 {
        self.stamp.get(index).copied().unwrap_or(self.block[index])
    }

    fn fill(&mut self, first: usize, out: &mut [Word]) {
        for (index, (word, random)) in (first..).zip(out.iter_mut().zip(&self.block[first..])) {
            *word = self.stamp.get(index).unwrap_or(random).to_le_bytes();
        }
    }

    fn differs(&mut self, first: usize, found: &[Word]) -> bool {
        let stamps = STAMP_WORDS.saturating_sub(first).min(found.len());
        let (front, rest) = found.split_at(stamps);
        let wrong = |(word, right): (&Word, &u64)| u64::from_le_bytes(*word) ^ right;
        let expected = self.stamp[STAMP_WORDS.min(first)..].iter();
        let mut seen = front.iter().zip(expected).map(wrong).fold(0, |seen, word| seen | word);
        for pair in rest.iter().zip(&self.block[first + stamps..]) {
            seen |= wrong(pair);
        }
        seen != 0
    }
}
