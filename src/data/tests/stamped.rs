//! Stamped content: a kept buffer with new stamps is what a new one would be, and what it finds.

use proptest::prelude::*;

use super::{made, plain};
use crate::data::{BLOCK_BYTES, ContentSettings, Damage, Generator, PERIOD_BYTES};

fn generator() -> Generator {
    Generator::new(ContentSettings { stamped: true, ..plain(5, false) })
}

/// What `verify` says of `found` in version 3 of object 7.
fn damage(generator: &Generator, offset: u64, found: &[u8]) -> Option<Damage> {
    let verdict = generator.object(7, 3, 64 << 20).verify(offset, found);
    verdict.err().map(|mismatch| mismatch.damage)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn a_kept_buffer_with_new_stamps_is_as_one_filled_anew(
        periods in 0u64..60,
        id in any::<u64>(),
        len in prop_oneof![1..2 * PERIOD_BYTES, Just(PERIOD_BYTES), Just(2 * PERIOD_BYTES)],
    ) {
        let generator = generator();
        let mut kept = made(&generator, 1, 1, 0, len);
        let content = generator.object(id, 2, 64 << 20);
        let offset = periods * PERIOD_BYTES as u64;
        content.restamp(offset, &mut kept);
        let mut anew = vec![0; len];
        content.fill(offset, &mut anew);
        prop_assert!(kept == anew);
        prop_assert_eq!(content.verify(offset, &kept), Ok(()));
    }

    #[test]
    fn any_range_is_a_part_of_the_whole_and_any_changed_byte_is_found(
        offset in 0..20_000usize,
        len in 1..15_000usize,
        place in any::<prop::sample::Index>(),
        change in 1..=255u8,
    ) {
        let generator = generator();
        let whole = made(&generator, 7, 3, 0, offset + len);
        let mut part = made(&generator, 7, 3, offset as u64, len);
        prop_assert!(part == whole[offset..]);
        prop_assert_eq!(damage(&generator, offset as u64, &part), None);
        part[place.index(len)] ^= change;
        prop_assert_eq!(damage(&generator, offset as u64, &part), Some(Damage::Flipped));
    }
}

#[test]
fn every_block_is_another_and_what_is_between_the_stamps_repeats() {
    let generator = generator();
    let bytes = made(&generator, 7, 3, 0, 3 * PERIOD_BYTES);
    let blocks: std::collections::HashSet<&[u8]> = bytes.chunks(BLOCK_BYTES).collect();
    assert_eq!(blocks.len(), 3 * PERIOD_BYTES / BLOCK_BYTES);
    let later = &bytes[PERIOD_BYTES..2 * PERIOD_BYTES];
    let pairs = bytes.chunks(BLOCK_BYTES).zip(later.chunks(BLOCK_BYTES));
    for (number, (first, later)) in pairs.enumerate() {
        let at = number % 64 * 64;
        assert_eq!(first[..at], later[..at]);
        assert_ne!(first[at..at + 16], later[at..at + 16]);
        assert_eq!(first[at + 16..], later[at + 16..]);
    }
}

#[test]
fn an_older_version_another_object_another_place_and_zeros_are_told_apart() {
    let generator = generator();
    let at = 40 * BLOCK_BYTES as u64;
    let stale = made(&generator, 7, 2, at, BLOCK_BYTES);
    assert_eq!(damage(&generator, at, &stale), Some(Damage::Stale { version: 2 }));
    let other = made(&generator, 8, 3, at, BLOCK_BYTES);
    assert_eq!(damage(&generator, at, &other), Some(Damage::OtherObject));
    // Any other block, wherever its stamp lies.
    for place in (0..130).chain([256, 512]).filter(|n| *n != 40).map(|n| n * BLOCK_BYTES as u64) {
        let moved = made(&generator, 7, 3, place, BLOCK_BYTES);
        assert_eq!(damage(&generator, at, &moved), Some(Damage::OtherObject), "{place}");
    }
    assert_eq!(damage(&generator, at, &[0; BLOCK_BYTES]), Some(Damage::Zeros));
}

#[test]
fn the_layout_of_the_bytes_has_not_changed() {
    let bytes = made(&generator(), 7, 3, 4096, BLOCK_BYTES);
    let sum = bytes
        .iter()
        .fold(0u64, |sum, byte| sum.wrapping_mul(0x0000_0100_0000_01b3) ^ u64::from(*byte));
    assert_eq!(sum, 0x8ec8_e826_b132_1504, "{sum:#x}");
}
