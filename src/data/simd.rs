//! Run-time choice of vector instructions. The loops are plain Rust, compiled once for each level; a binary built for
//! the oldest processor of an architecture so runs at full speed on the newest.

use super::key::Shape;
use super::keyed::Keyed;
use super::pattern;

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
        let mut levels = [Some(Level::Baseline), None, None];
        #[cfg(target_arch = "x86_64")]
        {
            use std::arch::is_x86_feature_detected as has;
            levels[1] = has!("avx2").then_some(Level::Avx2);
            let wide = has!("avx512f") && has!("avx512bw") && has!("avx512dq") && has!("avx512vl");
            levels[2] = wide.then_some(Level::Avx512);
        }
        levels.into_iter().flatten().map(Self)
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

/// [`pattern::fill`] of the keyed pool.
pub(super) fn fill(simd: Simd, keyed: &mut Keyed, shape: &Shape, offset: u64, out: &mut [u8]) {
    match simd.0 {
        Level::Baseline => pattern::fill(keyed, shape, offset, out),
        // SAFETY: a `Simd` of this level exists only where detection found its instructions.
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
    match simd.0 {
        Level::Baseline => pattern::first_bad_piece(keyed, shape, offset, found),
        // SAFETY: a `Simd` of this level exists only where detection found its instructions.
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
