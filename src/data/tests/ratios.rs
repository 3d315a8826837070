//! Both ratios, measured by zstd and by the set of distinct blocks.

use std::collections::HashSet;

use super::plain;
use crate::data::{BLOCK_BYTES, ContentSettings, Generator};

/// An object of `blocks` blocks with the given ratios.
fn object(pcg: bool, compress_ratio: f64, dedup_ratio: f64, blocks: usize) -> Vec<u8> {
    let settings = ContentSettings { compress_ratio, dedup_ratio, ..plain(77, pcg) };
    let mut bytes = vec![0; blocks * BLOCK_BYTES];
    Generator::new(settings).object(4, 1, bytes.len() as u64).fill(0, &mut bytes);
    bytes
}

/// How often zstd shrinks the whole.
fn zstd_ratio(bytes: &[u8]) -> f64 {
    bytes.len() as f64 / zstd::bulk::compress(bytes, 1).unwrap().len() as f64
}

/// Blocks for each distinct one.
fn dedup_ratio(bytes: &[u8]) -> f64 {
    let blocks = bytes.chunks_exact(BLOCK_BYTES);
    blocks.len() as f64 / blocks.collect::<HashSet<_>>().len() as f64
}

fn assert_near(measured: f64, wanted: f64, what: &str) {
    assert!((measured / wanted - 1.0).abs() < 0.03, "{what}: {measured} instead of {wanted}");
}

#[test]
fn compression_reaches_its_ratio_and_leaves_no_duplicates() {
    for pcg in [false, true] {
        for ratio in [1.1, 1.5, 2.0, 2.7, 4.0, 10.0] {
            let bytes = object(pcg, ratio, 1.0, 4096);
            assert_near(zstd_ratio(&bytes), ratio, "whole object");
            assert_eq!(dedup_ratio(&bytes), 1.0);
        }
    }
}

#[test]
fn compression_reaches_its_ratio_within_each_block() {
    for ratio in [1.5, 2.0, 4.0] {
        let bytes = object(false, ratio, 1.0, 256);
        let packed: usize = bytes
            .chunks_exact(BLOCK_BYTES)
            .map(|block| zstd::bulk::compress(block, 3).unwrap().len())
            .sum();
        assert_near(bytes.len() as f64 / packed as f64, ratio, "each block");
    }
}

#[test]
fn deduplication_reaches_its_ratio_and_leaves_blocks_incompressible() {
    for pcg in [false, true] {
        for ratio in [1.0, 1.25, 2.0, 3.5, 10.0] {
            let bytes = object(pcg, 1.0, ratio, 4096);
            assert_near(dedup_ratio(&bytes), ratio, "distinct blocks");
            let first = zstd::bulk::compress(&bytes[..64 * BLOCK_BYTES], 3).unwrap();
            assert!(first.len() >= 64 * BLOCK_BYTES);
        }
    }
}

#[test]
fn both_ratios_hold_together() {
    let bytes = object(false, 2.0, 3.0, 3072);
    assert_near(dedup_ratio(&bytes), 3.0, "distinct blocks");
    assert_near(zstd_ratio(&bytes[..1024 * BLOCK_BYTES]), 2.0, "the distinct third");
}

#[test]
fn a_ratio_beyond_the_size_leaves_one_distinct_block() {
    let bytes = object(false, 1.0, 100.0, 7);
    assert_eq!(dedup_ratio(&bytes), 7.0);
}

#[test]
fn ratio_one_cannot_be_shrunk() {
    for pcg in [false, true] {
        let bytes = object(pcg, 1.0, 1.0, (64 << 20) / BLOCK_BYTES);
        assert!(zstd_ratio(&bytes) < 1.001);
    }
}
