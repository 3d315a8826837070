//! Plain counters that travel together, and their form as words for an integer sum over ranks.
//!
//! The three byte counts are never mixed: a rate names the one it is made of. Counters are words of
//! fixed order so that one MPI_SUM over all of them merges a whole world.

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

impl ByteCounts {
    /// Words of [`ByteCounts::to_words`].
    pub const WORDS: usize = 3;

    /// The counts in the order of the fields.
    pub fn to_words(&self) -> [u64; Self::WORDS] {
        [self.nominal, self.requested, self.transferred]
    }

    /// The reverse of [`ByteCounts::to_words`].
    pub fn from_words(words: [u64; Self::WORDS]) -> Self {
        let [nominal, requested, transferred] = words;
        ByteCounts { nominal, requested, transferred }
    }

    /// Adds another set of counts.
    pub fn add(&mut self, other: &ByteCounts) {
        self.nominal += other.nominal;
        self.requested += other.requested;
        self.transferred += other.transferred;
    }
}

/// Operations that ended, by kind; `retries` counts besides. One that fails ends the run, so there
/// is no count of these.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct OpCounts {
    pub read: u64,
    pub write: u64,
    pub sync: u64,
    pub open: u64,
    pub retries: u64,
}

impl OpCounts {
    /// Words of [`OpCounts::to_words`].
    pub const WORDS: usize = 5;

    /// The counts in the order of the fields.
    pub fn to_words(&self) -> [u64; Self::WORDS] {
        [self.read, self.write, self.sync, self.open, self.retries]
    }

    /// The reverse of [`OpCounts::to_words`].
    pub fn from_words(words: [u64; Self::WORDS]) -> Self {
        let [read, write, sync, open, retries] = words;
        OpCounts { read, write, sync, open, retries }
    }

    /// Adds another set of counts.
    pub fn add(&mut self, other: &OpCounts) {
        let (mine, theirs) = (self.to_words(), other.to_words());
        *self = Self::from_words(std::array::from_fn(|word| mine[word] + theirs[word]));
    }

    /// Operations that move data: reads and writes.
    pub fn data(&self) -> u64 {
        self.read + self.write
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_keep_the_order_of_the_fields() {
        let ops = OpCounts { read: 1, write: 2, sync: 3, open: 4, retries: 5 };
        assert_eq!(ops.to_words(), [1, 2, 3, 4, 5]);
        assert_eq!(OpCounts::from_words(ops.to_words()), ops);
        let bytes = ByteCounts { nominal: 1, requested: 2, transferred: 3 };
        assert_eq!(ByteCounts::from_words(bytes.to_words()), bytes);
    }

    #[test]
    fn addition_is_by_field() {
        let mut ops = OpCounts { read: 1, retries: 1, ..Default::default() };
        ops.add(&OpCounts { read: 2, write: 5, ..Default::default() });
        assert_eq!(ops, OpCounts { read: 3, write: 5, retries: 1, ..Default::default() });
        assert_eq!(ops.data(), 8);
        let mut bytes = ByteCounts { nominal: 1, requested: 1, transferred: 1 };
        bytes.add(&ByteCounts { nominal: 1, requested: 2, transferred: 3 });
        assert_eq!(bytes, ByteCounts { nominal: 2, requested: 3, transferred: 4 });
    }
}
