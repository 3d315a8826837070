//! Each kind of damage, inflicted on purpose and named.

use super::{made, plain};
use crate::data::{BLOCK_BYTES, ContentSettings, Damage, Generator, Mismatch};

const ID: u64 = 9;
const VERSION: u32 = 70;
const LEN: usize = 4 * BLOCK_BYTES;

/// The mismatch after `spoil` has changed four blocks of version 70 of object 9.
fn after(settings: ContentSettings, spoil: impl Fn(&Generator, &mut [u8])) -> Mismatch {
    let generator = Generator::new(settings);
    let mut bytes = made(&generator, ID, VERSION, 0, LEN);
    spoil(&generator, &mut bytes);
    generator.object(ID, VERSION, 64 << 20).verify(0, &bytes).unwrap_err()
}

/// All patterns and shapes.
fn shapes() -> [ContentSettings; 4] {
    let squeezed = |pcg| ContentSettings { compress_ratio: 2.0, dedup_ratio: 1.5, ..plain(1, pcg) };
    [plain(1, false), plain(1, true), squeezed(false), squeezed(true)]
}

/// Bytes with no structure.
fn noise(out: &mut [u8]) {
    Generator::new(plain(0xbad, true)).object(1, 1, 1 << 20).fill(0, out);
}

#[test]
fn zeros_are_named() {
    for settings in shapes() {
        let mismatch = after(settings, |_, bytes| bytes[4096..8192].fill(0));
        assert_eq!(mismatch, Mismatch { offset: 4096, damage: Damage::Zeros });
        let sector = after(settings, |_, bytes| bytes[5120..5632].fill(0));
        assert_eq!((sector.offset, sector.damage), (5120, Damage::Zeros));
    }
}

#[test]
fn stale_versions_are_named_up_to_64_back() {
    for settings in shapes() {
        for version in [69, 40, 6] {
            let mismatch = after(settings, |generator, bytes| {
                bytes[8192..12288].copy_from_slice(&made(generator, ID, version, 8192, 4096));
            });
            assert_eq!(mismatch.damage, Damage::Stale { version });
        }
        let mismatch = after(settings, |generator, bytes| {
            bytes.copy_from_slice(&made(generator, ID, 5, 0, LEN));
        });
        assert!(!matches!(mismatch.damage, Damage::Stale { .. }));
    }
}

#[test]
fn content_of_another_place_is_named() {
    let places = [(ID + 1, VERSION, 0), (ID, VERSION, 4096), (ID, 3, 512), (1, 1, 1 << 40)];
    for settings in [shapes()[0], shapes()[2]] {
        for (id, version, offset) in places {
            let mismatch = after(settings, |generator, bytes| {
                bytes.copy_from_slice(&made(generator, id, version, offset, LEN));
            });
            assert_eq!(mismatch.damage, Damage::OtherObject, "{id} {version} {offset}");
        }
    }
}

#[test]
fn torn_blocks_are_named() {
    for settings in shapes() {
        for edge in [512, 1024, 2560, 3584] {
            let old = after(settings, |generator, bytes| {
                let stale = made(generator, ID, VERSION - 1, 0, 4096);
                bytes[edge..4096].copy_from_slice(&stale[edge..]);
            });
            assert_eq!(old.damage, Damage::Torn);
            assert!((edge..edge + 4).contains(&(old.offset as usize)));
            let garbage = after(settings, |_, bytes| noise(&mut bytes[edge..4096]));
            assert_eq!(garbage.damage, Damage::Torn);
        }
    }
}

#[test]
fn flipped_bits_are_named() {
    for settings in shapes() {
        let mismatch = after(settings, |_, bytes| {
            bytes[5000] ^= 0x10;
            bytes[7000] ^= 0x80;
        });
        assert_eq!(mismatch, Mismatch { offset: 5000, damage: Damage::Flipped });
    }
}

#[test]
fn anything_else_is_garbage() {
    for settings in shapes() {
        let mismatch = after(settings, |_, bytes| noise(bytes));
        assert_eq!(mismatch.damage, Damage::Garbage);
        let constant = after(settings, |_, bytes| bytes.fill(0x5a));
        assert_eq!(constant.damage, Damage::Garbage);
        let inside = after(settings, |_, bytes| noise(&mut bytes[700..900]));
        assert_eq!((inside.offset, inside.damage), (700, Damage::Garbage));
    }
}

#[test]
fn content_of_another_seed_is_garbage() {
    let mismatch = after(plain(1, false), |_, bytes| {
        bytes.copy_from_slice(&made(&Generator::new(plain(2, false)), ID, VERSION, 0, LEN));
    });
    assert_eq!(mismatch.damage, Damage::Garbage);
}

#[test]
fn a_short_end_of_a_block_is_judged_with_the_bytes_after_it() {
    let generator = Generator::new(plain(1, false));
    let content = generator.object(ID, VERSION, 64 << 20);
    let mismatch = content.verify(4095, &[0; 400]).unwrap_err();
    assert_eq!(mismatch, Mismatch { offset: 4095, damage: Damage::Zeros });
    let stale = made(&generator, ID, 2, 4094, 400);
    let mismatch = content.verify(4094, &stale).unwrap_err();
    assert_eq!(mismatch.damage, Damage::OtherObject, "more than 64 versions back");
    let stale = made(&generator, ID, 20, 4094, 400);
    let mismatch = content.verify(4094, &stale).unwrap_err();
    assert_eq!(mismatch.damage, Damage::Stale { version: 20 });
}

#[test]
fn offsets_count_from_the_start_of_the_object() {
    let generator = Generator::new(plain(1, false));
    let mut row = made(&generator, ID, VERSION, 1_000_003, 568);
    row[100] ^= 1;
    let mismatch = generator.object(ID, VERSION, 64 << 20).verify(1_000_003, &row).unwrap_err();
    assert_eq!(mismatch, Mismatch { offset: 1_000_103, damage: Damage::Flipped });
}

#[test]
fn phrases_are_short() {
    let phrase = |damage| Mismatch { offset: 12345, damage }.to_string();
    assert_eq!(phrase(Damage::Zeros), "byte 12345: zeros instead of content");
    assert_eq!(phrase(Damage::Stale { version: 3 }), "byte 12345: stale content of version 3");
    assert_eq!(phrase(Damage::OtherObject), "byte 12345: content of another object or offset");
    assert_eq!(phrase(Damage::Torn), "byte 12345: torn block, foreign bytes from here on");
    assert_eq!(phrase(Damage::Flipped), "byte 12345: flipped bits");
    assert_eq!(phrase(Damage::Garbage), "byte 12345: garbage instead of content");
}
