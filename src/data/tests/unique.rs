//! No block twice, and nothing alike between blocks that share a pool block.

use std::collections::HashSet;

use super::{made, plain};
use crate::data::key::ObjectKey;
use crate::data::{BLOCK_BYTES, BLOCK_WORDS, Generator};

#[test]
fn no_block_repeats_across_objects_versions_and_seeds() {
    for pcg in [false, true] {
        let generators = [Generator::new(plain(1, pcg)), Generator::new(plain(2, pcg))];
        let mut seen = HashSet::new();
        for generator in &generators {
            for (id, version) in [(0, 0), (0, 1), (0, 2), (1, 0), (2, 0), (u64::MAX, 0)] {
                let bytes = made(generator, id, version, 0, 512 * BLOCK_BYTES);
                for block in bytes.chunks_exact(BLOCK_BYTES) {
                    assert!(seen.insert(block.to_vec()), "object {id} version {version}");
                }
            }
        }
        assert_eq!(seen.len(), 2 * 6 * 512);
    }
}

/// Blocks of one object that share the pool block which most of them share.
fn pool_mates(blocks: u64) -> Vec<Vec<u8>> {
    let generator = Generator::new(plain(3, false));
    let key = ObjectKey::new(3, 1, 0);
    let numbers = (0..blocks).filter(|number| key.block(*number).pool_index() == 17);
    numbers.map(|number| made(&generator, 1, 0, number * BLOCK_BYTES as u64, BLOCK_BYTES)).collect()
}

#[test]
fn blocks_that_share_a_pool_block_have_at_most_one_equal_word() {
    let mates = pool_mates(100_000);
    assert!(mates.len() > 300);
    for (index, a) in mates.iter().enumerate() {
        for b in &mates[..index] {
            let equal =
                a.as_chunks::<8>().0.iter().zip(b.as_chunks::<8>().0).filter(|(a, b)| a == b);
            assert!(equal.count() <= 1);
        }
    }
}

#[test]
fn blocks_that_share_a_pool_block_have_no_equal_byte_columns() {
    let mates = pool_mates(100_000);
    for (index, a) in mates.iter().enumerate() {
        for b in &mates[..index] {
            for column in 0..8 {
                let equal = (0..BLOCK_WORDS).filter(|w| a[w * 8 + column] == b[w * 8 + column]);
                assert!(equal.count() < BLOCK_WORDS / 4, "byte {column} of the words");
            }
        }
    }
}

#[test]
fn pool_blocks_are_used_evenly() {
    let key = ObjectKey::new(1, 2, 3);
    let mut uses = [0u32; 256];
    (0..256_000).for_each(|number| uses[key.block(number).pool_index()] += 1);
    assert!(uses.iter().all(|count| (850..1150).contains(count)), "{uses:?}");
}

#[test]
fn a_solid_pool_does_not_leave_bits_unset() {
    let bytes = made(&Generator::new(plain(5, false)), 1, 0, 0, 1 << 20);
    for bit in 0..8 {
        let ones = bytes.iter().filter(|byte| *byte >> bit & 1 == 1).count();
        let share = ones as f64 / bytes.len() as f64;
        assert!((share - 0.5).abs() < 0.005, "bit {bit}: {share}");
    }
}
