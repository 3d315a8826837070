//! Signals that ask a run to end.
//!
//! The first one asks for an end after the current step. Another one ends the process at once, if
//! somebody means it: launchers and batch systems send SIGTERM several times for one request
//! (Slurm within 20 ms), and a terminal and a launcher may both pass on one Ctrl-C.

use super::EXIT_INTERRUPTED;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use std::sync::atomic::{AtomicU64, Ordering};

/// A SIGTERM that comes sooner repeats the request. Batch systems wait longer before they kill.
const REPEATED_TERM_NS: u64 = 5_000_000_000;
/// No hand presses Ctrl-C twice within this time.
const REPEATED_INT_NS: u64 = 100_000_000;

/// When the first signal came, by the monotonic clock; 0: none came.
static FIRST_NS: AtomicU64 = AtomicU64::new(0);

/// True once SIGINT or SIGTERM arrived.
pub fn interrupted() -> bool {
    FIRST_NS.load(Ordering::Relaxed) != 0
}

/// Whether a signal that comes so long after the first one ends the process at once.
fn ends_at_once(signal: libc::c_int, since_first_ns: u64) -> bool {
    let repeated_ns = if signal == libc::SIGTERM { REPEATED_TERM_NS } else { REPEATED_INT_NS };
    since_first_ns >= repeated_ns
}

extern "C" fn on_signal(signal: libc::c_int) {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: clock_gettime is async-signal-safe, and it writes to a value of this frame.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut now) };
    let now_ns = (now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64).max(1);
    let first = FIRST_NS.compare_exchange(0, now_ns, Ordering::Relaxed, Ordering::Relaxed);
    if first.is_err_and(|first_ns| ends_at_once(signal, now_ns.saturating_sub(first_ns))) {
        // SAFETY: _exit is async-signal-safe; the user asked twice.
        unsafe { libc::_exit(EXIT_INTERRUPTED) }
    }
}

/// Has SIGINT and SIGTERM ask for an end.
pub(super) fn install_signal_handlers() -> Result<(), String> {
    // No SA_RESTART: a compute sleep must end when the user presses Ctrl-C.
    let action = SigAction::new(SigHandler::Handler(on_signal), SaFlags::empty(), SigSet::empty());
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        // SAFETY: the handler only reads a clock, touches an atomic and calls _exit.
        unsafe { sigaction(signal, &action) }
            .map_err(|error| format!("cannot install the handler of {signal}: {error}"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bug: the second SIGTERM of Slurm's time limit came within 20 ms and ended ranks that were
    /// about to write what was measured.
    #[test]
    fn a_repeated_signal_ends_at_once_only_if_somebody_means_it() {
        const MS: u64 = 1_000_000;
        let cases = [
            (libc::SIGTERM, 0, false),
            (libc::SIGTERM, 20 * MS, false),
            (libc::SIGTERM, 4_999 * MS, false),
            (libc::SIGTERM, 6_000 * MS, true),
            (libc::SIGINT, 20 * MS, false),
            (libc::SIGINT, 200 * MS, true),
        ];
        for (signal, since_ns, ends) in cases {
            assert_eq!(ends_at_once(signal, since_ns), ends, "{signal} after {since_ns} ns");
        }
    }
}
