//! Any range, any split, any place: what is filled is what verifies, with every set of vector
//! instructions.

use proptest::prelude::*;

use super::{made, plain};
use crate::data::{BLOCK_BYTES, ContentSettings, Damage, Generator, Simd};

/// All settings worth mixing.
fn settings() -> impl Strategy<Value = ContentSettings> {
    let ratio = || prop_oneof![Just(1.0), Just(2.0), 1.0..9.0f64, Just(700.0)];
    (any::<u64>(), any::<bool>(), ratio(), ratio()).prop_map(
        |(seed, pcg, compress_ratio, dedup_ratio)| ContentSettings {
            seed,
            pcg,
            stamped: false,
            compress_ratio,
            dedup_ratio,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_split_range_equals_the_whole(
        settings in settings(),
        offset in prop_oneof![0..20_000u64, any::<u32>().prop_map(|at| u64::from(at) << 9)],
        pieces in prop::collection::vec(prop_oneof![0..20usize, 0..700usize, 0..9000usize], 1..12),
    ) {
        let generator = Generator::new(settings);
        let content = generator.object(5, 3, 1 << 42);
        let mut whole = vec![0; pieces.iter().sum()];
        content.fill(offset, &mut whole);
        let mut done = 0;
        for piece in pieces {
            let mut part = vec![0xaa; piece];
            let at = offset + done as u64;
            content.fill(at, &mut part);
            prop_assert_eq!(&part, &whole[done..done + piece]);
            prop_assert_eq!(content.verify(at, &part), Ok(()));
            done += piece;
        }
        prop_assert_eq!(content.verify(offset, &whole), Ok(()));
    }

    #[test]
    fn any_changed_byte_is_found(
        settings in settings(),
        offset in 0..20_000u64,
        len in 1..15_000usize,
        place in any::<prop::sample::Index>(),
        change in 1..=255u8,
    ) {
        let generator = Generator::new(settings);
        let content = generator.object(5, 3, 1 << 20);
        let mut bytes = vec![0; len];
        content.fill(offset, &mut bytes);
        let at = place.index(len);
        bytes[at] ^= change;
        let mismatch = content.verify(offset, &bytes).unwrap_err();
        prop_assert_eq!(mismatch.offset, offset + at as u64);
        prop_assert_eq!(mismatch.damage, Damage::Flipped);
    }

    #[test]
    fn all_vector_instructions_give_the_same_bytes(
        settings in settings(),
        offset in 0..10_000u64,
        len in 0..20_000usize,
    ) {
        let reference = made(&Generator::with_simd(settings, first_simd()), 1, 2, offset, len);
        for simd in Simd::supported() {
            let generator = Generator::with_simd(settings, simd);
            prop_assert_eq!(&made(&generator, 1, 2, offset, len), &reference, "{}", simd.name());
            let content = generator.object(1, 2, 64 << 20);
            prop_assert_eq!(content.verify(offset, &reference), Ok(()));
        }
    }
}

fn first_simd() -> Simd {
    Simd::supported().next().unwrap()
}

#[test]
fn every_short_range_around_a_block_edge_agrees_with_the_block() {
    for (pcg, compress_ratio) in [(false, 1.0), (false, 2.0), (true, 1.0), (true, 2.0)] {
        let generator = Generator::new(ContentSettings { compress_ratio, ..plain(11, pcg) });
        let content = generator.object(1, 1, 1 << 20);
        let whole = made(&generator, 1, 1, 0, 3 * BLOCK_BYTES);
        for edge in [BLOCK_BYTES, BLOCK_BYTES + BLOCK_BYTES / 2 - 8] {
            for begin in edge - 20..edge + 20 {
                for len in 0..40 {
                    let mut part = vec![0; len];
                    content.fill(begin as u64, &mut part);
                    assert_eq!(part, whole[begin..begin + len], "{begin} {len}");
                    content.verify(begin as u64, &part).unwrap();
                }
            }
        }
    }
}

#[test]
fn a_generator_serves_many_threads() {
    let generator = Generator::new(plain(1, false));
    let expected = made(&generator, 1, 0, 0, 50_000);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| assert_eq!(made(&generator, 1, 0, 0, 50_000), expected));
        }
    });
}

#[test]
#[should_panic(expected = "from 1 up")]
fn a_ratio_below_one_is_refused() {
    Generator::new(ContentSettings { dedup_ratio: 0.5, ..plain(1, false) });
}
