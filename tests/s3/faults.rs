//! What goes wrong, and when.

use std::sync::Mutex;

/// How a request goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// 503 SlowDown.
    SlowDown,
    /// The body comes in pieces with this many milliseconds between them.
    SlowBody(u64),
    /// The connection ends in the middle of the body.
    Drop,
    /// 200 with an object that is one byte shorter than it was.
    Truncate,
    /// 200, and then an error in the body (completion of an upload).
    LateError,
    /// It is done, but the answer is lost on its way (completion of an upload).
    LostAnswer,
    /// The body holds the range that was asked for, under the status 200.
    RangeAs200,
    /// 200 with the whole object, whatever range was asked for.
    IgnoresRange,
    /// 403 AccessDenied.
    Denied,
}

/// A fault of one operation.
#[derive(Debug, Clone, Copy)]
pub struct Fault {
    /// `get`, `put`, `part`, `complete`, `head`, `list`, `delete`, `copy`.
    pub op: &'static str,
    /// What happens.
    pub kind: Kind,
    /// Requests that pass first.
    pub after: u64,
    /// Requests that it then hits.
    pub times: u64,
}

/// Faults that are still to come.
#[derive(Debug, Default)]
pub struct Faults(Mutex<Vec<Fault>>);

impl Faults {
    /// Adds one.
    pub fn add(&self, fault: Fault) {
        self.0.lock().unwrap().push(fault);
    }

    /// Forgets those that have not come yet.
    pub fn clear(&self) {
        self.0.lock().unwrap().clear();
    }

    /// What happens to this request.
    pub fn next(&self, op: &str) -> Option<Kind> {
        let mut faults = self.0.lock().unwrap();
        for fault in faults.iter_mut().filter(|fault| fault.op == op) {
            if fault.after > 0 {
                fault.after -= 1;
            } else if fault.times > 0 {
                fault.times -= 1;
                return Some(fault.kind);
            }
        }
        None
    }
}
