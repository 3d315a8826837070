//! How much memory may be pinned. The kernel charges registered buffers, and the rings themselves,
//! to the user over all processes: buffers that take the whole limit would leave the next rank
//! without a ring, which costs far more than plain buffers do. So buffers of one instance take a
//! small share of a finite limit or none at all.

use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit};
use std::io;

/// Instances of one user that a finite limit is meant to serve.
const SHARES: u64 = 16;
/// Bit of CAP_IPC_LOCK, which lifts the limit.
const CAP_IPC_LOCK: u64 = 14;

/// The limit of this process in bytes; None if there is none.
fn limit_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    if has_capability(&status, CAP_IPC_LOCK) {
        return None;
    }
    let (soft, _) = getrlimit(Resource::RLIMIT_MEMLOCK).ok()?;
    (soft != RLIM_INFINITY).then_some(soft)
}

fn has_capability(status: &str, bit: u64) -> bool {
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let mask = effective.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> bit & 1 == 1)
}

/// Why `bytes` of buffers are better not registered; None if they may be.
pub(super) fn objection(bytes: u64) -> Option<String> {
    objection_under(limit_bytes(), bytes)
}

fn objection_under(limit: Option<u64>, bytes: u64) -> Option<String> {
    let limit = limit.filter(|limit| bytes > limit / SHARES)?;
    Some(format!(
        "buffers are not registered with the ring: {} KiB of them would use up the {} KiB of \
         `ulimit -l`, which all rings of a user share; raise it to unlimited",
        bytes >> 10,
        limit >> 10
    ))
}

/// What to say when the kernel refused to register buffers.
pub(super) fn refused(error: &io::Error) -> String {
    let remedy = match (error.raw_os_error(), limit_bytes()) {
        (Some(libc::ENOMEM), Some(limit)) => {
            format!("; `ulimit -l` is {} KiB for all ranks of a user, raise it", limit >> 10)
        }
        _ => String::new(),
    };
    format!("buffers are not registered with the ring: {error}{remedy}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_share_of_the_limit_is_taken_and_no_more() {
        assert_eq!(objection_under(None, 1 << 40), None);
        assert_eq!(objection_under(Some(8 << 20), 512 << 10), None);
        let text = objection_under(Some(8 << 20), 2 << 20).unwrap();
        assert!(text.contains("2048 KiB") && text.contains("8192 KiB of `ulimit -l`"), "{text}");
    }

    #[test]
    fn the_capability_is_read_from_the_status() {
        assert!(has_capability("Name: x\nCapEff:\t000001ffffffffff\n", CAP_IPC_LOCK));
        assert!(!has_capability("CapEff:\t0000000000000000\n", CAP_IPC_LOCK));
        assert!(!has_capability("", CAP_IPC_LOCK));
    }
}
