//! What an answer that is none leads to, the same for every client.

use crate::storage::clock::monotonic_ns;

const BACKOFF_FIRST_NS: u64 = 50_000_000;
const BACKOFF_LONGEST_NS: u64 = 5_000_000_000;

/// What an answer leads to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Judged {
    /// It is what was asked for.
    Fine,
    /// It is an error; true: another attempt may do better.
    Error(String, bool),
    /// It names another server.
    Elsewhere,
}

/// Judges an answer by its status, code and message.
pub(super) fn judge(
    status: u16,
    said: impl FnOnce() -> Option<(String, String)>,
    names_another: bool,
) -> Judged {
    match status {
        // Completion and copy answer at once and may fail later.
        200 => match said() {
            None => Judged::Fine,
            Some((code, message)) => {
                let passing = ["InternalError", "SlowDown", "ServiceUnavailable"];
                let again = passing.contains(&code.as_str());
                Judged::Error(format!("{code}: {message}"), again)
            }
        },
        201..=299 => Judged::Fine,
        301 | 302 | 307 | 308 if names_another => Judged::Elsewhere,
        408 | 429 | 500 | 502 | 503 | 504 => Judged::Error(describe(status, said()), true),
        _ => {
            let said = said();
            let again = said.as_ref().is_some_and(|(code, _)| code == "RequestTimeout");
            Judged::Error(describe(status, said), again)
        }
    }
}

/// `HTTP 403 AccessDenied: Access Denied`.
fn describe(status: u16, said: Option<(String, String)>) -> String {
    match said {
        Some((code, message)) if message.is_empty() => format!("HTTP {status} {code}"),
        Some((code, message)) => format!("HTTP {status} {code}: {message}"),
        None => format!("HTTP {status}"),
    }
}

/// Times between attempts.
#[derive(Debug)]
pub(super) struct Backoff(u64);

impl Backoff {
    /// One that differs from those of other threads and ranks.
    pub fn new() -> Backoff {
        Backoff(monotonic_ns() | 1)
    }

    /// Time before the next attempt, ns. Exponential with full jitter, at least a tenth, so that
    /// ranks do not come back together.
    pub fn next_ns(&mut self, attempts: u32) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        let longest = (BACKOFF_FIRST_NS << attempts.min(10)).min(BACKOFF_LONGEST_NS);
        longest / 10 + self.0 % (longest - longest / 10)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_fine_errors_or_elsewhere() {
        let said = |code: &str| Some((code.to_string(), "why".to_string()));
        assert_eq!(judge(206, || None, false), Judged::Fine);
        assert_eq!(judge(307, || None, true), Judged::Elsewhere);
        let error = |status, code: &str| match judge(status, || said(code), false) {
            Judged::Error(what, again) => (what, again),
            other => panic!("{other:?}"),
        };
        assert_eq!(error(200, "InternalError"), ("InternalError: why".into(), true));
        assert!(!error(200, "AccessDenied").1);
        assert_eq!(error(503, "SlowDown"), ("HTTP 503 SlowDown: why".into(), true));
        assert_eq!(error(403, "AccessDenied"), ("HTTP 403 AccessDenied: why".into(), false));
        assert!(error(400, "RequestTimeout").1);
    }

    #[test]
    fn waits_grow_and_stay_within_their_bounds() {
        let mut backoff = Backoff::new();
        for attempts in 1..40 {
            let wait_ns = backoff.next_ns(attempts);
            let longest = (BACKOFF_FIRST_NS << attempts.min(10)).min(BACKOFF_LONGEST_NS);
            assert!(wait_ns >= longest / 10 && wait_ns <= longest, "{wait_ns}");
        }
    }
}
