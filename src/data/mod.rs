//! Bytes: the generator and the verifier.
//!
//! Every 4 KiB block of an object is a pure function of (seed, object, version, block number), so
//! any range can be made or checked anywhere, on any rank, without stored checksums. Blocks lie on
//! the grid of the *file* offset.
//!
//! Two patterns exist. The keyed pool (the default) copies one of 256 random blocks of a 1 MiB
//! pool, which fits the level-2 cache, and XORs it with a key stream of its own for each block: an
//! add, a shift, two XORs and a store per 8-byte word, about the cost of a copy. `pcg` takes every
//! word from a Pcg64Mcg stream instead: slower, but with no structure shared between blocks.
//! A third, for checkpoints that are to cost no more than fio's buffers, repeats the pool and
//! changes a stamp in each block only.
//! `tests/golden/data` holds vectors of both, written by an independent program that also serves as
//! the description of the bytes.

mod damage;
mod key;
mod keyed;
mod pattern;
mod simd;
mod stamped;
mod stream;
#[cfg(test)]
mod tests;

pub use damage::{Damage, Mismatch};
pub use simd::Simd;
pub use stamped::PERIOD_BYTES;

use key::{ObjectKey, Shape};
use keyed::{Keyed, Pool};
use stamped::Stamped;
use stream::Stream;

/// Size of a content block in bytes.
pub const BLOCK_BYTES: usize = 4096;

/// Version of the byte layout; goes up whenever equal settings would give other bytes than before,
/// because data written earlier then no longer verifies.
pub const CONTENT_VERSION: u32 = 1;

/// Bytes of a word, the unit of both patterns.
const WORD_BYTES: usize = 8;

/// Words of a block.
const BLOCK_WORDS: usize = BLOCK_BYTES / WORD_BYTES;

/// What the content is like.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ContentSettings {
    /// Dataset seed.
    pub seed: u64,
    /// True: pure Pcg64Mcg (slow reference); false: keyed pool.
    pub pcg: bool,
    /// Instead of either, the pool again and again with a stamp in each block; the ratios are 1.
    pub stamped: bool,
    /// At least 1.0; 2.0 keeps half of each block random. Honoured by both patterns.
    pub compress_ratio: f64,
    /// At least 1.0; 2.0 makes every distinct block appear twice within an object. Honoured by both
    /// patterns. An object of fewer blocks than the ratio has one distinct block.
    pub dedup_ratio: f64,
}

/// Makes and checks content; filled once per process, shared by all threads.
pub struct Generator {
    settings: ContentSettings,
    simd: Simd,
    pool: Pool,
}

/// The content of one object (one version of one file); cheap to copy.
#[derive(Clone, Copy)]
pub struct Content<'a> {
    generator: &'a Generator,
    key: ObjectKey,
    shape: Shape,
    id: u64,
    version: u32,
}

impl Generator {
    /// Fills the pool and picks the widest vector instructions of this processor.
    ///
    /// Panics when a ratio is below 1 or not finite, or stamped content is to have ratios: the
    /// configuration refuses such values.
    pub fn new(settings: ContentSettings) -> Self {
        Self::with_simd(settings, Simd::best())
    }

    /// As [`Generator::new`] with given vector instructions. The bytes are the same with all of
    /// them.
    pub fn with_simd(settings: ContentSettings, simd: Simd) -> Self {
        for ratio in [settings.compress_ratio, settings.dedup_ratio] {
            assert!(ratio.is_finite() && ratio >= 1.0, "a content ratio is a number from 1 up");
            assert!(ratio == 1.0 || !settings.stamped, "stamped content has no ratios");
        }
        Self { settings, simd, pool: Pool::new(settings.seed) }
    }

    /// What this generator was made with.
    pub fn settings(&self) -> ContentSettings {
        self.settings
    }

    /// The vector instructions in use, for the result file.
    pub fn simd(&self) -> Simd {
        self.simd
    }

    /// The content of object `id` of `len` bytes in version `version`.
    ///
    /// `len` only sets the number of distinct blocks (`dedup_ratio`); offsets past it are allowed.
    pub fn object(&self, id: u64, version: u32, len: u64) -> Content<'_> {
        Content {
            generator: self,
            key: ObjectKey::new(self.settings.seed, id, version),
            shape: Shape::new(self.settings.compress_ratio, self.settings.dedup_ratio, len),
            id,
            version,
        }
    }
}

impl Content<'_> {
    /// Writes the bytes of `[offset, offset + out.len())` into `out`. Allocates nothing.
    ///
    /// Any offset and length: a ragged edge costs the bytes touched, not a whole block.
    pub fn fill(&self, offset: u64, out: &mut [u8]) {
        if self.is_stamped() {
            pattern::fill(&mut self.stamped(), &self.shape, offset, out);
        } else if self.generator.settings.pcg {
            pattern::fill(&mut Stream::new(self.key), &self.shape, offset, out);
        } else {
            simd::fill(self.generator.simd, &mut self.keyed(), &self.shape, offset, out);
        }
    }

    /// True if [`Content::restamp`] makes these bytes.
    pub fn is_stamped(&self) -> bool {
        self.generator.settings.stamped
    }

    /// As [`Content::fill`], for stamped content and an `out` that holds such bytes of whatever
    /// object of the same seed, version and multiple of [`PERIOD_BYTES`]: only stamps change.
    /// Allocates nothing.
    ///
    /// # Panics
    /// If the content is not stamped, or `offset` is no multiple of [`PERIOD_BYTES`].
    pub fn restamp(&self, offset: u64, out: &mut [u8]) {
        assert!(self.is_stamped() && offset.is_multiple_of(PERIOD_BYTES as u64), "a whole period");
        stamped::stamp(self.key, offset, out);
    }

    /// Compares `found` with the bytes at `offset`, in place. Allocates nothing.
    ///
    /// Any offset and length, as in [`Content::fill`]. The error names the first byte that differs.
    pub fn verify(&self, offset: u64, found: &[u8]) -> Result<(), Mismatch> {
        match self.first_bad_piece(offset, found) {
            None => Ok(()),
            Some(at) => Err(damage::examine(self, offset + at as u64, &found[at..])),
        }
    }

    /// Where in `found` the part of the first differing block begins.
    fn first_bad_piece(&self, offset: u64, found: &[u8]) -> Option<usize> {
        if self.is_stamped() {
            pattern::first_bad_piece(&mut self.stamped(), &self.shape, offset, found)
        } else if self.generator.settings.pcg {
            pattern::first_bad_piece(&mut Stream::new(self.key), &self.shape, offset, found)
        } else {
            let mut keyed = self.keyed();
            simd::first_bad_piece(self.generator.simd, &mut keyed, &self.shape, offset, found)
        }
    }

    fn stamped(&self) -> Stamped<'_> {
        Stamped::new(&self.generator.pool, self.key)
    }

    fn keyed(&self) -> Keyed<'_> {
        Keyed::new(&self.generator.pool, self.key)
    }

    /// The same object in another version.
    fn at_version(&self, version: u32) -> Self {
        let key = ObjectKey::new(self.generator.settings.seed, self.id, version);
        Self { key, version, ..*self }
    }
}
