//! The one clock of the storage room.

use nix::time::{ClockId, clock_gettime};

/// CLOCK_MONOTONIC in nanoseconds; comparable within one host only.
#[inline]
pub(crate) fn monotonic_ns() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("Linux always has CLOCK_MONOTONIC");
    now.tv_sec() as u64 * 1_000_000_000 + now.tv_nsec() as u64
}
