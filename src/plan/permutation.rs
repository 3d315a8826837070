//! Keyed permutations of `0..len` without a table.
//!
//! A shuffle of 10^12 samples must not cost 8 TB of memory on each rank, so it is computed: a
//! Feistel network permutes the smallest power of two (at least 64) that holds the index space, and
//! indices that land outside of it walk on along their cycle until they are inside again (below two
//! applications on average from 32 indices on, since the power of two is below twice `len`). The
//! two halves may differ by one bit, and each round changes one half by a keyed function of the
//! other, so that the network is a bijection whatever that function is. Eight rounds, because
//! halves of a few bits mix slowly. This is no cryptography: it has to look random to a storage
//! system, not to an adversary.
//!
//! File sizes and epoch orders follow from these numbers: a change of a constant here makes every
//! existing dataset another one. The tests pin vectors.

const ROUNDS: usize = 8;
/// Smallest network, two halves of three bits: with fewer, the few possible round functions leave a
/// bias that tests see.
const LEAST_BITS: u32 = 6;

/// A bijection of `0..len`, 96 bytes, cheap to copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Permutation {
    len: u64,
    right_bits: u32,
    left_mask: u64,
    right_mask: u64,
    keys: [u64; ROUNDS],
}

impl Permutation {
    /// The permutation of `0..len` that `key` selects. Nearby keys give unrelated permutations.
    pub fn new(len: u64, key: u64) -> Self {
        let bits = (u64::BITS - len.saturating_sub(1).leading_zeros()).max(LEAST_BITS);
        let right_bits = bits / 2;
        let mut keys = [0; ROUNDS];
        for (round, slot) in keys.iter_mut().enumerate() {
            *slot = mix(key.wrapping_add(GOLDEN.wrapping_mul(round as u64 + 1)));
        }
        Permutation {
            len,
            right_bits,
            left_mask: low_bits(bits - right_bits),
            right_mask: low_bits(right_bits),
            keys,
        }
    }

    /// Where `index` (below `len`) goes. Tens of nanoseconds, allocates nothing.
    #[inline]
    pub fn apply(&self, index: u64) -> u64 {
        debug_assert!(index < self.len);
        let mut at = index;
        loop {
            at = self.forward(at);
            if at < self.len {
                return at;
            }
        }
    }

    /// Where `image` (below `len`) comes from: `invert(apply(i)) == i`.
    #[inline]
    pub fn invert(&self, image: u64) -> u64 {
        debug_assert!(image < self.len);
        let mut at = image;
        loop {
            at = self.backward(at);
            if at < self.len {
                return at;
            }
        }
    }

    #[inline]
    fn forward(&self, index: u64) -> u64 {
        let (mut left, mut right) = (index >> self.right_bits, index & self.right_mask);
        for pair in self.keys.chunks_exact(2) {
            left ^= scramble(right, pair[0]) & self.left_mask;
            right ^= scramble(left, pair[1]) & self.right_mask;
        }
        left << self.right_bits | right
    }

    #[inline]
    fn backward(&self, image: u64) -> u64 {
        let (mut left, mut right) = (image >> self.right_bits, image & self.right_mask);
        for pair in self.keys.rchunks_exact(2) {
            right ^= scramble(left, pair[1]) & self.right_mask;
            left ^= scramble(right, pair[0]) & self.left_mask;
        }
        left << self.right_bits | right
    }
}

/// One key from several numbers; the order of the words matters.
pub fn key_of(words: &[u64]) -> u64 {
    words.iter().fold(GOLDEN, |state, word| mix(state.wrapping_add(GOLDEN) ^ mix(*word)))
}

/// 2^64 divided by the golden ratio: the increment of SplitMix64 (Steele, Lea, Flood 2014).
const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

/// The finalizer of SplitMix64: a bijection of 64 bits in which every input bit reaches every
/// output bit.
fn mix(word: u64) -> u64 {
    let word = (word ^ word >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let word = (word ^ word >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    word ^ word >> 31
}

/// The round function: 32 well mixed bits of a half of at most 32 bits and a key.
#[inline]
fn scramble(half: u64, key: u64) -> u64 {
    let product = (half ^ key).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    (product ^ product >> 32).wrapping_mul(0x94D0_49BB_1331_11EB) >> 32
}

fn low_bits(count: u32) -> u64 {
    (1u64 << count) - 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn image(len: u64, key: u64) -> Vec<u64> {
        let permutation = Permutation::new(len, key);
        (0..len).map(|index| permutation.apply(index)).collect()
    }

    /// Chi-square over the cells divided by its degrees of freedom: about 1 for fair counts.
    fn chi_square_ratio(counts: &[u64]) -> f64 {
        let expected = counts.iter().sum::<u64>() as f64 / counts.len() as f64;
        let sum: f64 = counts.iter().map(|&n| (n as f64 - expected).powi(2) / expected).sum();
        sum / (counts.len() - 1) as f64
    }

    proptest! {
        #[test]
        fn every_length_is_permuted(len in 1u64..5000, key: u64) {
            let mut sorted = image(len, key);
            sorted.sort_unstable();
            prop_assert!(sorted.into_iter().eq(0..len));
        }

        #[test]
        fn inverse_undoes(len in 1u64..=u64::MAX, key: u64, at: u64) {
            let permutation = Permutation::new(len, key);
            let index = at % len;
            let there = permutation.apply(index);
            prop_assert!(there < len);
            prop_assert_eq!(permutation.invert(there), index);
        }

        #[test]
        fn inverse_undoes_at_a_trillion(key: u64, index in 0u64..1_000_000_000_000) {
            let permutation = Permutation::new(1_000_000_000_000, key);
            prop_assert_eq!(permutation.invert(permutation.apply(index)), index);
        }
    }

    #[test]
    fn small_lengths_are_bijections_for_many_keys() {
        for len in 1..=40 {
            for key in 0..200 {
                let mut sorted = image(len, key);
                sorted.sort_unstable();
                assert!(sorted.into_iter().eq(0..len), "len {len} key {key}");
            }
        }
    }

    #[test]
    fn first_and_last_positions_are_uniform_over_keys() {
        for len in [2u64, 3, 4, 5, 7, 8, 12, 16, 31, 64, 100] {
            for position in [0, len / 2, len - 1] {
                let mut counts = vec![0u64; len as usize];
                for key in 0..len * 1000 {
                    counts[Permutation::new(len, key).apply(position) as usize] += 1;
                }
                let ratio = chi_square_ratio(&counts);
                let bound = 1.0 + 5.0 * (2.0 / (len - 1) as f64).sqrt();
                assert!(ratio < bound, "len {len} position {position}: {ratio}");
            }
        }
    }

    #[test]
    fn two_keys_agree_no_more_often_than_chance() {
        let len = 4096;
        let epochs: Vec<Vec<u64>> = (0..40).map(|epoch| image(len, 123 + epoch)).collect();
        let mut agreements = 0u64;
        let mut steps_of_one = 0u64;
        for pair in epochs.windows(2) {
            agreements += pair[0].iter().zip(&pair[1]).filter(|(a, b)| a == b).count() as u64;
        }
        for order in &epochs {
            steps_of_one += order.windows(2).filter(|w| w[1] == w[0] + 1).count() as u64;
        }
        // Both counts are Poisson with one expected hit for each epoch; 40 epochs, six deviations.
        assert!((5..78).contains(&agreements), "{agreements}");
        assert!((5..78).contains(&steps_of_one), "{steps_of_one}");
    }

    #[test]
    fn neighbours_are_uncorrelated() {
        for len in [1024u64, 10_007, 100_000] {
            let order = image(len, 7);
            let mean = (len - 1) as f64 / 2.0;
            let spread = (len as f64).powi(2) / 12.0;
            let lagged: f64 =
                order.windows(2).map(|w| (w[0] as f64 - mean) * (w[1] as f64 - mean)).sum();
            let own: f64 =
                order.iter().enumerate().map(|(i, &x)| (i as f64 - mean) * (x as f64 - mean)).sum();
            let bound = 5.0 / (len as f64).sqrt();
            assert!((lagged / spread / len as f64).abs() < bound, "lag 1, len {len}");
            assert!((own / spread / len as f64).abs() < bound, "with the index, len {len}");
        }
    }

    #[test]
    fn vectors_are_pinned() {
        assert_eq!(image(10, 123), PINNED_10);
        let trillion = Permutation::new(1_000_000_000_000, 123);
        assert_eq!([0, 1, 999_999_999_999].map(|i| trillion.apply(i)), PINNED_TRILLION);
        assert_eq!(key_of(&[1, 2, 3]), PINNED_KEY);
        assert_ne!(key_of(&[1, 2]), key_of(&[2, 1]));
        assert_ne!(key_of(&[0]), key_of(&[0, 0]));
    }

    const PINNED_10: [u64; 10] = [9, 4, 2, 3, 5, 6, 7, 1, 0, 8];
    const PINNED_TRILLION: [u64; 3] = [550_563_514_248, 365_722_868_317, 682_820_414_379];
    const PINNED_KEY: u64 = 1479724811760891200;
}
