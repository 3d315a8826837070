//! Plain counters that travel together.

use serde::{Deserialize, Serialize};

/// Three counts, never mixed.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, Default, PartialEq, Eq)]
pub struct ByteCounts {
    /// Configured sample size times samples.
    pub nominal: u64,
    /// Bytes asked of the store.
    pub requested: u64,
    /// Bytes that the store moved (alignment included).
    pub transferred: u64,
}

/// Operations.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct OpCounts {
    pub read: u64,
    pub write: u64,
    pub sync: u64,
    pub open: u64,
    pub delete: u64,
    pub errors: u64,
    pub retries: u64,
}
