//! The stamped pattern: pool block `n mod 256` as it is, with a stamp of seed, object, version and
//! block number in one of its cache lines: line `n mod 64`, since stamps at one place of all blocks
//! would share a single set of the processor's first cache.
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
const STAMP_WORDS: usize = 2;

/// Bytes of a cache line.
const LINE_BYTES: usize = 64;

/// Bytes of a stamp.
pub(super) const STAMP_BYTES: usize = STAMP_WORDS * WORD_BYTES;

/// The stamped pattern of one object.
pub(super) struct Stamped<'a> {
    object: ObjectKey,
    pool: &'a Pool,
    block: &'a [u64; BLOCK_WORDS],
    stamp: [u64; STAMP_WORDS],
    /// Its first word.
    at: usize,
}

/// Where in block `number` its stamp begins, bytes.
pub(super) fn stamp_place(number: u64) -> usize {
    number as usize % (BLOCK_BYTES / LINE_BYTES) * LINE_BYTES
}

impl<'a> Stamped<'a> {
    /// Stands at block 0.
    pub fn new(pool: &'a Pool, object: ObjectKey) -> Self {
        let mut stamped = Self { object, pool, block: pool.nth(0), stamp: [0; STAMP_WORDS], at: 0 };
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
    let (blocks, tail) = out.as_chunks_mut::<BLOCK_BYTES>();
    let after = first + blocks.len() as u64;
    for (number, block) in (first..).zip(blocks.iter()) {
        fetch_to_write(&block[stamp_place(number)..]);
    }
    // Lengths that the compiler knows: the call for a copy of any length takes longer than all of
    // the rest.
    for (number, block) in (first..).zip(blocks) {
        let at = stamp_place(number);
        block[at..at + STAMP_BYTES].copy_from_slice(&stamp_bytes(object, number));
    }
    let at = stamp_place(after).min(tail.len());
    let len = (tail.len() - at).min(STAMP_BYTES);
    tail[at..at + len].copy_from_slice(&stamp_bytes(object, after)[..len]);
}

/// Asks for the cache line in which `bytes` begin. A device may have read them since, and a line
/// that is missing takes longer than its stamp: so all of a buffer's come at once.
#[inline(always)]
fn fetch_to_write(bytes: &[u8]) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_ET0, _mm_prefetch};
        // SAFETY: a hint, which reads and writes nothing.
        unsafe { _mm_prefetch::<_MM_HINT_ET0>(bytes.as_ptr().cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = bytes;
}

/// The stamp of a block as it lies in the file.
fn stamp_bytes(object: ObjectKey, number: u64) -> [u8; STAMP_BYTES] {
    let [start, step] = Stamped::stamp_of(object, number).map(u64::to_le_bytes);
    let mut bytes = [0; STAMP_BYTES];
    let (front, back) = bytes.split_at_mut(WORD_BYTES);
    front.copy_from_slice(&start);
    back.copy_from_slice(&step);
    bytes
}

impl Pattern for Stamped<'_> {
    fn enter(&mut self, source: u64) {
        self.block = self.pool.nth(source as usize % POOL_BLOCKS);
        self.stamp = Self::stamp_of(self.object, source);
        self.at = stamp_place(source) / WORD_BYTES;
    }

    fn motif(&self) -> u64 {
        // Blocks have no compressible part: ratios are refused.
        0
    }

    fn word(&mut self, index: usize) -> u64 {
        let stamp = index.checked_sub(self.at).and_then(|number| self.stamp.get(number));
        stamp.copied().unwrap_or(self.block[index])
    }

    fn fill(&mut self, first: usize, out: &mut [Word]) {
        for (word, random) in out.iter_mut().zip(&self.block[first..]) {
            *word = random.to_le_bytes();
        }
        for (index, stamp) in (self.at..).zip(&self.stamp) {
            if let Some(word) = index.checked_sub(first).and_then(|number| out.get_mut(number)) {
                *word = stamp.to_le_bytes();
            }
        }
    }

    fn differs(&mut self, first: usize, found: &[Word]) -> bool {
        let place = |word: usize| word.saturating_sub(first).min(found.len());
        let (begin, end) = (place(self.at), place(self.at + STAMP_WORDS));
        let mut seen = 0;
        for (index, word) in (first + begin..).zip(&found[begin..end]) {
            seen |= u64::from_le_bytes(*word) ^ self.stamp[index - self.at];
        }
        for (at, words) in [(first, &found[..begin]), (first + end, &found[end..])] {
            for (word, right) in words.iter().zip(&self.block[at..]) {
                seen |= u64::from_le_bytes(*word) ^ right;
            }
        }
        seen != 0
    }
}
