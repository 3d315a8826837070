//! Bytes: the generator and the verifier.
//!
//! Every 4 KiB block of an object is a pure function of (seed, object, version, block number), so any range can be
//! made or checked anywhere, on any rank, without stored checksums. Blocks lie on the grid of the *file* offset.

/// Size of a content block in bytes.
pub const BLOCK_BYTES: usize = 4096;

/// What the content is like.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ContentSettings {
    /// Dataset seed.
    pub seed: u64,
    /// True: pure Pcg64Mcg (slow reference); false: keyed pool.
    pub pcg: bool,
    /// At least 1.0; 2.0 keeps half of each block random.
    pub compress_ratio: f64,
    /// At least 1.0; 2.0 makes every distinct block appear twice within an object.
    pub dedup_ratio: f64,
}

/// Makes and checks content; filled once per process, shared by all threads.
pub struct Generator {
    _private: (),
}

/// The content of one object (one version of one file); cheap to copy.
#[derive(Clone, Copy)]
pub struct Content<'a> {
    _generator: &'a Generator,
}

/// What the first wrong byte looks like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Damage {
    /// The block holds zeros.
    Zeros,
    /// The block is that of an older version of this object.
    Stale {
        /// The version found.
        version: u32,
    },
    /// The block belongs to another place: same pool, other key.
    OtherObject,
    /// Right up to an offset inside the block, foreign after it.
    Torn,
    /// Single bits differ.
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

impl Generator {
    /// Fills the pool.
    pub fn new(_settings: ContentSettings) -> Self {
        unimplemented!()
    }

    /// The content of object `id` of `len` bytes in version `version`.
    pub fn object(&self, _id: u64, _version: u32, _len: u64) -> Content<'_> {
        unimplemented!()
    }
}

impl Content<'_> {
    /// Writes the bytes of `[offset, offset + out.len())` into `out`. Allocates nothing.
    pub fn fill(&self, _offset: u64, _out: &mut [u8]) {
        unimplemented!()
    }

    /// Compares `found` with the bytes at `offset`, in place. Allocates nothing when they agree.
    pub fn verify(&self, _offset: u64, _found: &[u8]) -> Result<(), Mismatch> {
        unimplemented!()
    }
}
