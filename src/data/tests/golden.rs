//! Vectors from `tests/golden/data/reference.py`, an independent program.

use crate::data::{CONTENT_VERSION, ContentSettings, Generator, Simd};

const KEYED_POOL: &str = include_str!("../../../tests/golden/data/keyed_pool.txt");
const PCG: &str = include_str!("../../../tests/golden/data/pcg.txt");

/// Checks each line: seed, both ratios, id, version, length, offset, bytes.
fn check(vectors: &str, pcg: bool) {
    for line in vectors.lines() {
        let fields: Vec<&str> = line.split(' ').collect();
        let [seed, compress, dedup, id, version, len, offset, hex] = fields[..] else {
            panic!("a vector has eight fields: {line}");
        };
        let number = |text: &str| text.parse::<u64>().unwrap();
        let settings = ContentSettings {
            seed: number(seed),
            pcg,
            stamped: false,
            compress_ratio: compress.parse().unwrap(),
            dedup_ratio: dedup.parse().unwrap(),
        };
        for simd in Simd::supported() {
            let generator = Generator::with_simd(settings, simd);
            let content = generator.object(number(id), version.parse().unwrap(), number(len));
            let mut bytes = vec![0; hex.len() / 2];
            content.fill(number(offset), &mut bytes);
            let made: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(made, hex, "{} {line}", simd.name());
            content.verify(number(offset), &bytes).unwrap();
        }
    }
}

#[test]
fn keyed_pool_gives_the_golden_bytes() {
    assert_eq!(KEYED_POOL.lines().count(), 22);
    check(KEYED_POOL, false);
}

#[test]
fn pcg_gives_the_golden_bytes() {
    assert_eq!(PCG.lines().count(), 22);
    check(PCG, true);
}

#[test]
fn the_vectors_belong_to_this_version() {
    assert_eq!(CONTENT_VERSION, 1);
}
