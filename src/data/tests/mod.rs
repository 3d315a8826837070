//! Tests of the content: golden vectors, any split of any range, ratios, uniqueness and the names
//! of damage.

mod damage;
mod golden;
mod ranges;
mod ratios;
mod stamped;
mod unique;

use super::{ContentSettings, Generator};

/// Random, incompressible content.
fn plain(seed: u64, pcg: bool) -> ContentSettings {
    ContentSettings { seed, pcg, stamped: false, compress_ratio: 1.0, dedup_ratio: 1.0 }
}

/// The bytes of `[offset, offset + len)` of an object of 64 MiB.
fn made(generator: &Generator, id: u64, version: u32, offset: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    generator.object(id, version, 64 << 20).fill(offset, &mut bytes);
    bytes
}
