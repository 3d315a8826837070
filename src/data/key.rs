//! Keys and ratios: which block key and which shape every block of an object has.
//!
//! An object has a key of 128 bits, each block one of 127: with 64 bits, a dataset of a petabyte
//! (2.4e11 blocks) would already hold about 1600 pairs of equal blocks, and a billion objects a
//! pair of equal objects now and then.

use super::{BLOCK_BYTES, BLOCK_WORDS};

/// The odd constant of splitmix64: 2^64 divided by the golden ratio.
pub(super) const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// A second odd constant, the multiplier of the second half of a key: 2^64 times (sqrt(2) - 1),
/// made odd.
const SILVER: u64 = 0x6a09_e667_f3bc_c909;

/// The finaliser of splitmix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators,
/// 2014, with Stafford's thirteenth set of constants): a bijection in which each input bit moves
/// about half of the output bits.
#[inline(always)]
pub(super) const fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The key of one version of one object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ObjectKey {
    low: u64,
    high: u64,
}

/// The key of one block: the key stream is `start + i * step` (modulo 2^64, `step` odd) at word
/// `i`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BlockKey {
    pub start: u64,
    pub step: u64,
}

impl ObjectKey {
    /// Absorbs seed, id and version one after the other, once for each half.
    pub fn new(seed: u64, id: u64, version: u32) -> Self {
        let half = |constant: u64| {
            let seeded = mix(seed.wrapping_add(constant));
            let with_id = mix(seeded.wrapping_add(id.wrapping_mul(constant)));
            mix(with_id.wrapping_add(u64::from(version).wrapping_mul(constant)))
        };
        Self { low: half(GOLDEN), high: half(SILVER) }
    }

    /// The key of block `number` (after [`Shape::source`]).
    #[inline(always)]
    pub fn block(self, number: u64) -> BlockKey {
        BlockKey {
            start: mix(self.low.wrapping_add(number.wrapping_mul(GOLDEN))),
            step: mix(self.high.wrapping_add(number.wrapping_mul(SILVER))) | 1,
        }
    }

    /// Both halves as the first state of a stream.
    pub fn state(self) -> u128 {
        u128::from(self.high) << 64 | u128::from(self.low)
    }
}

impl BlockKey {
    /// Which of 256 pool blocks; depends on all bits of both words, so that it fixes no byte of
    /// either.
    #[inline(always)]
    pub fn pool_index(self) -> usize {
        ((self.start ^ self.step).wrapping_mul(GOLDEN) >> 56) as usize
    }

    /// The word that a compressible block repeats after its random part.
    #[inline(always)]
    pub fn motif(self) -> u64 {
        mix(self.start ^ self.step.rotate_left(32))
    }
}

/// How the ratios shape an object.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    /// Words of a block that carry entropy, as a fixed-point number with 32 binary places.
    entropy_words_q32: u64,
    /// Distinct blocks of the object; `None` when none repeats.
    distinct_blocks: Option<u64>,
}

impl Shape {
    /// The shape of an object of `len` bytes.
    pub fn new(compress_ratio: f64, dedup_ratio: f64, len: u64) -> Self {
        let whole = (BLOCK_WORDS as u64) << 32;
        let entropy_words_q32 = (whole as f64 / compress_ratio).round() as u64;
        let blocks = len.div_ceil(BLOCK_BYTES as u64);
        let distinct = ((blocks as f64 / dedup_ratio).ceil() as u64).max(1);
        let distinct_blocks = (dedup_ratio > 1.0).then_some(distinct);
        Self { entropy_words_q32, distinct_blocks }
    }

    /// The block number whose content stands at block `number`.
    #[inline(always)]
    pub fn source(&self, number: u64) -> u64 {
        self.distinct_blocks.map_or(number, |distinct| number % distinct)
    }

    /// Random words at the front of block `source`; the motif fills the rest, if there is one.
    ///
    /// The share of entropy is the difference of two running totals, `floor((n + 1) s) - floor(n
    /// s)`, so that fractional ratios come out exact over many blocks. One word of it is the motif,
    /// one in 32 is what compressors lose: zstd and lz4 take longer and longer steps through a
    /// random stretch and overrun the start of the motif (measured with zstd levels 1 to 9 and lz4:
    /// 17 to 22 bytes behind 400 random ones, 75 to 92 behind 2048).
    #[inline(always)]
    pub fn random_words(&self, source: u64) -> usize {
        let fraction = source.wrapping_mul(self.entropy_words_q32) & 0xffff_ffff;
        let entropy = ((fraction + self.entropy_words_q32) >> 32) as usize;
        if entropy >= BLOCK_WORDS { BLOCK_WORDS } else { entropy.saturating_sub(1 + entropy / 32) }
    }
}
