//! Arithmetic of direct I/O: which aligned range covers the bytes that the caller wants.

/// Unit in which writes are padded and buffers are laid out, bytes.
pub(crate) const PAGE_BYTES: usize = 4096;

/// `value` rounded up to a multiple of `unit` (a power of two).
pub(crate) fn round_up(value: u64, unit: u64) -> u64 {
    debug_assert!(unit.is_power_of_two());
    (value + (unit - 1)) & !(unit - 1)
}

/// An aligned range and where the wanted bytes lie in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Extent {
    /// First byte that is moved.
    pub start: u64,
    /// Bytes that are moved.
    pub total: usize,
    /// Bytes before the wanted ones.
    pub lead: usize,
}

/// The smallest range of multiples of `unit` (a power of two) that covers `[offset, offset+len)`.
pub(crate) fn outward(offset: u64, len: usize, unit: u32) -> Extent {
    let unit = u64::from(unit);
    let start = offset & !(unit - 1);
    let end = round_up(offset + len as u64, unit);
    Extent { start, total: (end - start) as usize, lead: (offset - start) as usize }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn outward_covers_with_less_than_two_units_to_spare(
            offset in 0u64..1 << 50, len in 0usize..1 << 24, shift in 0u32..13,
        ) {
            let unit = 1u32 << shift;
            let e = outward(offset, len, unit);
            prop_assert_eq!(e.start % u64::from(unit), 0);
            prop_assert_eq!(e.total % unit as usize, 0);
            prop_assert_eq!(e.start + e.lead as u64, offset);
            prop_assert!(e.lead + len <= e.total);
            prop_assert!(e.total < len + 2 * unit as usize);
        }
    }

    #[test]
    fn aligned_ranges_stay_as_they_are() {
        assert_eq!(outward(8192, 4096, 512), Extent { start: 8192, total: 4096, lead: 0 });
        assert_eq!(outward(100, 0, 1), Extent { start: 100, total: 0, lead: 0 });
    }
}
