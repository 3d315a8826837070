//! The keyed pool: `word(i) = pool[h(key)][i] XOR spread(start + i * step)`.
//!
//! Two blocks that share a pool block and differ in their keys have at most one equal word of 512:
//! `spread` is a bijection, so equal words need `i * (step - step') = start' - start` modulo 2^64,
//! which two values of `i` below 512 fulfil only when the steps agree in their low 55 bits.
//! `spread` is there for the low bytes: byte 0 of a bare progression has a period of 256 words and
//! only 32768 forms, so that blocks with equal low bytes in every word would be common; with the
//! high half folded onto the low half each byte depends on 40 bits and more.

use rand_pcg::Pcg64Mcg;
use rand_pcg::rand_core::Rng;

use super::BLOCK_WORDS;
use super::key::{BlockKey, GOLDEN, ObjectKey, mix};
use super::pattern::{Pattern, Word};

/// Blocks in the pool: 1 MiB, so that it stays in the level-2 cache beside the buffer that streams
/// by.
pub(super) const POOL_BLOCKS: usize = 256;

/// A pool block on its own page, so that no vector load crosses a cache line.
#[repr(C, align(4096))]
#[derive(Clone)]
struct PoolBlock([u64; BLOCK_WORDS]);

/// Random blocks, the same in every process with the same seed.
pub(super) struct Pool(Box<[PoolBlock; POOL_BLOCKS]>);

impl Pool {
    /// Draws all words from one Pcg64Mcg stream.
    pub fn new(seed: u64) -> Self {
        let low = mix(seed ^ GOLDEN);
        let mut rng = Pcg64Mcg::new(u128::from(mix(low)) << 64 | u128::from(low));
        let mut blocks = vec![PoolBlock([0; BLOCK_WORDS]); POOL_BLOCKS];
        blocks.iter_mut().flat_map(|block| &mut block.0).for_each(|word| *word = rng.next_u64());
        let blocks = blocks.into_boxed_slice();
        Self(blocks.try_into().ok().expect("the vector was made with this length"))
    }

    /// The blocks in order.
    pub fn blocks(&self) -> impl Iterator<Item = &[u64; BLOCK_WORDS]> {
        self.0.iter().map(|block| &block.0)
    }

    /// A block by its number.
    #[inline(always)]
    pub fn nth(&self, index: usize) -> &[u64; BLOCK_WORDS] {
        &self.0[index % POOL_BLOCKS].0
    }

    #[inline(always)]
    fn block(&self, key: BlockKey) -> &[u64; BLOCK_WORDS] {
        self.nth(key.pool_index())
    }
}

/// Folds the high half of a word onto its low half; its own inverse.
#[inline(always)]
pub(super) const fn spread(word: u64) -> u64 {
    word ^ (word >> 32)
}

/// The keyed-pool pattern of one object.
pub(super) struct Keyed<'a> {
    pool: &'a Pool,
    object: ObjectKey,
    key: BlockKey,
}

impl<'a> Keyed<'a> {
    /// Stands at block 0.
    #[inline(always)]
    pub fn new(pool: &'a Pool, object: ObjectKey) -> Self {
        Self { pool, object, key: object.block(0) }
    }

    /// The key stream at word `index`, before [`spread`].
    #[inline(always)]
    fn stream(&self, index: usize) -> u64 {
        self.key.start.wrapping_add(self.key.step.wrapping_mul(index as u64))
    }
}

impl Pattern for Keyed<'_> {
    #[inline(always)]
    fn enter(&mut self, source: u64) {
        self.key = self.object.block(source);
    }

    #[inline(always)]
    fn motif(&self) -> u64 {
        self.key.motif()
    }

    #[inline(always)]
    fn word(&mut self, index: usize) -> u64 {
        self.pool.block(self.key)[index] ^ spread(self.stream(index))
    }

    #[inline(always)]
    fn fill(&mut self, first: usize, out: &mut [Word]) {
        let pool = &self.pool.block(self.key)[first..];
        let mut stream = self.stream(first);
        for (word, random) in out.iter_mut().zip(pool) {
            *word = (random ^ spread(stream)).to_le_bytes();
            stream = stream.wrapping_add(self.key.step);
        }
    }

    #[inline(always)]
    fn differs(&mut self, first: usize, found: &[Word]) -> bool {
        let pool = &self.pool.block(self.key)[first..];
        let mut stream = self.stream(first);
        let mut seen = 0;
        for (word, random) in found.iter().zip(pool) {
            seen |= u64::from_le_bytes(*word) ^ random ^ spread(stream);
            stream = stream.wrapping_add(self.key.step);
        }
        seen != 0
    }
}
