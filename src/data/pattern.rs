//! The walk over blocks that both patterns share: cuts a byte range at block edges, at the edge
//! between the random part and the motif, and at word edges, so that a pattern itself only knows
//! whole words.
//!
//! Everything is inlined into its caller, since the caller decides which vector instructions it is
//! compiled for.

use super::key::Shape;
use super::{BLOCK_BYTES, WORD_BYTES};

/// A word as it lies in the file, least significant byte first.
pub(super) type Word = [u8; WORD_BYTES];

/// A source of words, one block at a time.
pub(super) trait Pattern {
    /// Moves to block `source`.
    fn enter(&mut self, source: u64);
    /// The word that fills the compressible part of this block.
    fn motif(&self) -> u64;
    /// Word `index` of this block.
    fn word(&mut self, index: usize) -> u64;
    /// Writes the words from `first` on.
    fn fill(&mut self, first: usize, out: &mut [Word]);
    /// Whether `found` is anything else than the words from `first` on.
    fn differs(&mut self, first: usize, found: &[Word]) -> bool;
}

/// Writes the bytes of `[offset, offset + out.len())`.
#[inline(always)]
pub(super) fn fill<P: Pattern>(pattern: &mut P, shape: &Shape, offset: u64, out: &mut [u8]) {
    let mut rest = out;
    let mut at = offset;
    while !rest.is_empty() {
        let (number, begin) = split(at);
        let (piece, after) = rest.split_at_mut(rest.len().min(BLOCK_BYTES - begin));
        let random_bytes = enter(pattern, shape, number);
        let (random, motif) = piece.split_at_mut(piece.len().min(random_bytes.max(begin) - begin));
        if !random.is_empty() {
            fill_random(pattern, begin, random);
        }
        if !motif.is_empty() {
            fill_motif(pattern.motif(), begin.max(random_bytes), motif);
        }
        at += piece.len() as u64;
        rest = after;
    }
}

/// Compares `found` with the bytes at `offset`; where in `found` the part of the first differing
/// block begins.
#[inline(always)]
pub(super) fn first_bad_piece<P: Pattern>(
    pattern: &mut P,
    shape: &Shape,
    offset: u64,
    found: &[u8],
) -> Option<usize> {
    let mut done = 0;
    while done < found.len() {
        let (number, begin) = split(offset + done as u64);
        let piece = &found[done..found.len().min(done + BLOCK_BYTES - begin)];
        let random_bytes = enter(pattern, shape, number);
        let (random, motif) = piece.split_at(piece.len().min(random_bytes.max(begin) - begin));
        if !random.is_empty() && random_differs(pattern, begin, random) {
            return Some(done);
        }
        if !motif.is_empty() && motif_differs(pattern.motif(), begin.max(random_bytes), motif) {
            return Some(done);
        }
        done += piece.len();
    }
    None
}

/// Block number and offset in the block.
#[inline(always)]
fn split(offset: u64) -> (u64, usize) {
    (offset / BLOCK_BYTES as u64, (offset % BLOCK_BYTES as u64) as usize)
}

/// Moves the pattern to what stands at block `number`; the length of its random part in bytes.
#[inline(always)]
fn enter<P: Pattern>(pattern: &mut P, shape: &Shape, number: u64) -> usize {
    let source = shape.source(number);
    pattern.enter(source);
    shape.random_words(source) * WORD_BYTES
}

/// Bytes from `begin` to the next word edge, but no more than `len`.
#[inline(always)]
fn head_bytes(begin: usize, len: usize) -> usize {
    len.min(begin.wrapping_neg() % WORD_BYTES)
}

#[inline(always)]
fn fill_random<P: Pattern>(pattern: &mut P, begin: usize, out: &mut [u8]) {
    let (head, rest) = out.split_at_mut(head_bytes(begin, out.len()));
    if !head.is_empty() {
        put(pattern.word(begin / WORD_BYTES), begin % WORD_BYTES, head);
    }
    let first = begin.div_ceil(WORD_BYTES);
    let (words, tail) = rest.as_chunks_mut::<WORD_BYTES>();
    pattern.fill(first, words);
    if !tail.is_empty() {
        put(pattern.word(first + words.len()), 0, tail);
    }
}

#[inline(always)]
fn random_differs<P: Pattern>(pattern: &mut P, begin: usize, found: &[u8]) -> bool {
    let (head, rest) = found.split_at(head_bytes(begin, found.len()));
    if !head.is_empty() && part_differs(pattern.word(begin / WORD_BYTES), begin % WORD_BYTES, head)
    {
        return true;
    }
    let first = begin.div_ceil(WORD_BYTES);
    let (words, tail) = rest.as_chunks::<WORD_BYTES>();
    pattern.differs(first, words)
        || (!tail.is_empty() && part_differs(pattern.word(first + words.len()), 0, tail))
}

#[inline(always)]
fn fill_motif(motif: u64, begin: usize, out: &mut [u8]) {
    let turned = turned(motif, begin);
    let (words, tail) = out.as_chunks_mut::<WORD_BYTES>();
    words.fill(turned.to_le_bytes());
    put(turned, 0, tail);
}

#[inline(always)]
fn motif_differs(motif: u64, begin: usize, found: &[u8]) -> bool {
    let turned = turned(motif, begin);
    let (words, tail) = found.as_chunks::<WORD_BYTES>();
    let seen = words.iter().fold(0, |seen, word| seen | (u64::from_le_bytes(*word) ^ turned));
    seen != 0 || part_differs(turned, 0, tail)
}

/// The motif as it looks from an offset inside a word.
#[inline(always)]
fn turned(motif: u64, begin: usize) -> u64 {
    motif.rotate_right((begin % WORD_BYTES * 8) as u32)
}

/// Writes bytes `skip..` of a word into fewer than 8 bytes.
#[inline(always)]
fn put(word: u64, skip: usize, out: &mut [u8]) {
    let mut left = word >> (skip * 8);
    for byte in out {
        *byte = left as u8;
        left >>= 8;
    }
}

/// Whether fewer than 8 bytes are anything else than bytes `skip..` of a word.
#[inline(always)]
fn part_differs(word: u64, skip: usize, found: &[u8]) -> bool {
    let mut left = word >> (skip * 8);
    let mut seen = 0;
    for byte in found {
        seen |= byte ^ left as u8;
        left >>= 8;
    }
    seen != 0
}
