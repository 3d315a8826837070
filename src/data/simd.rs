//! Run-time choice of vector instructions. The loops are plain Rust, compiled once for each level;
//! a binary built for the oldest processor of an architecture so runs at full speed on the newest.

use super::key::Shape;
use super::keyed::Keyed;
use super::{BLOCK_BYTES, pattern};

/// A set of vector instructions that this processor has: values come from detection only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Simd(Level);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level {
    /// What the build target allows.
    Baseline,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl Simd {
    /// The widest set.
    pub fn best() -> Self {
        Self::supported().last().unwrap_or(Self(Level::Baseline))
    }

    /// All sets, narrowest first.
    pub fn supported() -> impl Iterator<Item = Self> {
        detected().into_iter().flatten().map(Self)
    }

    /// The set for a piece of `len` bytes: the 512-bit loops take 32 and more words per turn and
    /// leave the rest to single steps, which in short pieces costs more than it gains (measured
    /// with 568 bytes: 8 against 14 GB/s).
    fn level_for(self, len: usize) -> Level {
        match (self.0, len < BLOCK_BYTES) {
            #[cfg(target_arch = "x86_64")]
            (Level::Avx512, true) => Level::Avx2,
            (level, _) => level,
        }
    }

    /// Name for reports.
    pub fn name(self) -> &'static str {
        match self.0 {
            Level::Baseline => "baseline",
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => "avx2",
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => "avx512",
        }
    }
}

/// What this processor has, narrowest first; a wider set implies the narrower ones.
#[cfg(target_arch = "x86_64")]
fn detected() -> [Option<Level>; 3] {
    use std::arch::is_x86_feature_detected as has;
    let avx2 = has!("avx2");
    let avx512 =
        avx2 && has!("avx512f") && has!("avx512bw") && has!("avx512dq") && has!("avx512vl");
    [Some(Level::Baseline), avx2.then_some(Level::Avx2), avx512.then_some(Level::Avx512)]
}

/// What this processor has: no other architecture gains from a second build of the loops.
#[cfg(not(target_arch = "x86_64"))]
fn detected() -> [Option<Level>; 1] {
    [Some(Level::Baseline)]
}

/// [`pattern::fill`] of the keyed pool.
pub(super) fn fill(simd: Simd, keyed: &mut Keyed, shape: &Shape, offset: u64, out: &mut [u8]) {
    match simd.level_for(out.len()) {
        Level::Baseline => pattern::fill(keyed, shape, offset, out),
        // SAFETY: a `Simd` of this or a wider level exists only where detection found AVX2.
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => unsafe { x86::fill_avx2(keyed, shape, offset, out) },
        // SAFETY: a `Simd` of this level exists only where detection found its instructions.
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => unsafe { x86::fill_avx512(keyed, shape, offset, out) },
    }
}

/// [`pattern::first_bad_piece`] of the keyed pool.
pub(super) fn first_bad_piece(
    simd: Simd,
    keyed: &mut Keyed,
    shape: &Shape,
    offset: u64,
    found: &[u8],
) -> Option<usize> {
    match simd.level_for(found.len()) {
        Level::Baseline => pattern::first_bad_piece(keyed, shape, offset, found),
        // SAFETY: a `Simd` of this or a wider level exists only where detection found AVX2.
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => unsafe { x86::first_bad_piece_avx2(keyed, shape, offset, found) },
        // SAFETY: a `Simd` of this level exists only where detection found its instructions.
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => unsafe { x86::first_bad_piece_avx512(keyed, shape, offset, found) },
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{Keyed, Shape, pattern};

    #[target_feature(enable = "avx2")]
    pub fn fill_avx2(keyed: &mut Keyed, shape: &Shape, offset: u64, out: &mut [u8]) {
        pattern::fill(keyed, shape, offset, out);
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    pub fn fill_avx512(keyed: &mut Keyed, shape: &Shape, offset: u64, out: &mut [u8]) {
        pattern::fill(keyed, shape, offset, out);
    }

    #[target_feature(enable = "avx2")]
    pub fn first_bad_piece_avx2(
        keyed: &mut Keyed,
        shape: &Shape,
        offset: u64,
        found: &[u8],
    ) -> Option<usize> {
        pattern::first_bad_piece(keyed, shape, offset, found)
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    pub fn first_bad_piece_avx512(
        keyed: &mut Keyed,
        shape: &Shape,
        offset: u64,
        found: &[u8],
    ) -> Option<usize> {
        pattern::first_bad_piece(keyed, shape, offset, found)
    }
}
