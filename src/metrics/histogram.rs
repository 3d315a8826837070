//! Flat log-linear histogram with hdrhistogram's layout: 1 ns to 1 h, 3 significant digits.

/// Counts of durations in nanoseconds. Merging is addition of the counts (MPI_SUM).
#[derive(Clone)]
pub struct Histogram {
    counts: Box<[u64]>,
}

/// Percentiles of a histogram; withheld (None) where the sample count is too small to name one.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize, Default)]
#[allow(missing_docs)]
pub struct Summary {
    pub count: u64,
    pub min: Option<u64>,
    pub mean: Option<u64>,
    pub p50: Option<u64>,
    pub p95: Option<u64>,
    pub p99: Option<u64>,
    pub p999: Option<u64>,
    pub p9999: Option<u64>,
    pub max: Option<u64>,
}

impl Histogram {
    /// An empty histogram; the only allocation.
    pub fn new() -> Self {
        unimplemented!()
    }
    /// Counts one duration; longer than 1 h counts as 1 h.
    #[inline]
    pub fn record(&mut self, _ns: u64) {
        unimplemented!()
    }
    /// The words to be summed across ranks (counts, then sum of values as two words); equal length everywhere.
    pub fn words(&self) -> &[u64] {
        &self.counts
    }
    /// Same, writable: target of a reduction.
    pub fn words_mut(&mut self) -> &mut [u64] {
        &mut self.counts
    }
    /// Adds another histogram.
    pub fn add(&mut self, _other: &Histogram) {
        unimplemented!()
    }
    /// Forgets everything, keeps the memory.
    pub fn clear(&mut self) {
        unimplemented!()
    }
    /// Percentiles.
    pub fn summary(&self) -> Summary {
        unimplemented!()
    }
    /// As a histogram of the `hdrhistogram` crate (for the log file and for tests).
    pub fn to_hdr(&self) -> hdrhistogram::Histogram<u64> {
        unimplemented!()
    }
}

impl Default for Histogram {
    fn default() -> Self {
        Self::new()
    }
}
