//! Checksum registers: the running sums that a layout keeps over its bytes.
//!
//! A register knows whether its value is certain. A walk that starts in the middle of a file has
//! uncertain registers until a segment resets them; what cannot be known is neither fed nor
//! compared, so a range read pays for a checksum only where it can check one.

use super::{Layout, SumKind};
use simd_adler32::Adler32;

/// TFRecord's mask constant (tensorflow, `core/lib/hash/crc32c.h`).
const MASK_DELTA: u32 = 0xa282_ead8;

/// TFRecord's masked CRC: rotated right by 15 bits, plus a constant.
pub fn mask_crc32c(crc: u32) -> u32 {
    crc.rotate_right(15).wrapping_add(MASK_DELTA)
}

/// A running sum.
#[derive(Clone)]
enum Sum {
    Crc32(crc32fast::Hasher),
    Crc32c(u32),
    Adler32(Adler32),
}

impl Sum {
    fn new(kind: SumKind) -> Self {
        match kind {
            SumKind::Crc32Le | SumKind::Crc32Be => Sum::Crc32(crc32fast::Hasher::new()),
            SumKind::MaskedCrc32cLe => Sum::Crc32c(0),
            SumKind::Adler32Be => Sum::Adler32(Adler32::new()),
        }
    }
}

/// One register of a layout.
#[derive(Clone)]
struct Register {
    kind: SumKind,
    sum: Sum,
    known: bool,
}

/// The registers of one walk over a file.
#[derive(Clone)]
pub struct Registers([Option<Register>; 2]);

impl Registers {
    /// The registers of `layout`; certain from the start if the walk begins at offset 0.
    pub fn new(layout: &dyn Layout, at_start: bool) -> Self {
        let register = |kind| Register { kind, sum: Sum::new(kind), known: at_start };
        Registers(layout.registers().map(|kind| kind.map(register)))
    }

    /// Resets the registers of the bit set `mask`; their values are certain from here on.
    pub fn reset(&mut self, mask: u8) {
        for (index, slot) in self.0.iter_mut().enumerate() {
            if let Some(register) = slot
                && mask & (1 << index) != 0
            {
                register.sum = Sum::new(register.kind);
                register.known = true;
            }
        }
    }

    /// Feeds `bytes` to the registers of the bit set `mask`.
    pub fn feed(&mut self, mask: u8, bytes: &[u8]) {
        for (index, slot) in self.0.iter_mut().enumerate() {
            if let Some(register) = slot
                && register.known
                && mask & (1 << index) != 0
            {
                match &mut register.sum {
                    Sum::Crc32(hasher) => hasher.update(bytes),
                    Sum::Crc32c(crc) => *crc = crc32c::crc32c_append(*crc, bytes),
                    Sum::Adler32(adler) => adler.write(bytes),
                }
            }
        }
    }

    /// The four bytes that stand in the file for register `index`; `None` while uncertain.
    pub fn value(&self, index: u8) -> Option<[u8; 4]> {
        let slot = self.0.get(usize::from(index)).and_then(Option::as_ref);
        let register = slot.expect("a layout declares every register it writes");
        if !register.known {
            return None;
        }
        let raw = match &register.sum {
            Sum::Crc32(hasher) => hasher.clone().finalize(),
            Sum::Crc32c(crc) => mask_crc32c(*crc),
            Sum::Adler32(adler) => adler.finish(),
        };
        Some(match register.kind {
            SumKind::Crc32Le | SumKind::MaskedCrc32cLe => raw.to_le_bytes(),
            SumKind::Crc32Be | SumKind::Adler32Be => raw.to_be_bytes(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::{Bytes, Segment};

    struct Two(SumKind);

    impl Layout for Two {
        fn file_bytes(&self) -> u64 {
            1
        }
        fn segment_at(&self, _offset: u64) -> Segment<'_> {
            Segment { start: 0, len: 1, bytes: Bytes::Content, resets: 0, feeds: 0 }
        }
        fn registers(&self) -> [Option<SumKind>; 2] {
            [Some(self.0), Some(self.0)]
        }
    }

    /// Check values of the string "123456789" (CRC catalogue; RFC 1950 for Adler-32).
    #[test]
    fn known_check_values() {
        let of = |kind| {
            let mut registers = Registers::new(&Two(kind), true);
            registers.feed(1, b"1234");
            registers.feed(1, b"56789");
            registers.value(0)
        };
        assert_eq!(of(SumKind::Crc32Be), Some(0xcbf4_3926_u32.to_be_bytes()));
        assert_eq!(of(SumKind::Crc32Le), Some(0xcbf4_3926_u32.to_le_bytes()));
        assert_eq!(of(SumKind::Adler32Be), Some(0x091e_01de_u32.to_be_bytes()));
        let masked = mask_crc32c(0xe306_9283).to_le_bytes();
        assert_eq!(of(SumKind::MaskedCrc32cLe), Some(masked));
    }

    #[test]
    fn uncertain_until_reset() {
        let mut registers = Registers::new(&Two(SumKind::Crc32Be), false);
        registers.feed(3, b"ignored");
        assert_eq!(registers.value(0), None);
        registers.reset(2);
        registers.feed(3, b"123456789");
        assert_eq!(registers.value(0), None);
        assert_eq!(registers.value(1), Some(0xcbf4_3926_u32.to_be_bytes()));
    }
}
