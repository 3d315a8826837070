//! `io.decode`: a thread keeps the bytes of one run until all are there, and then decodes them.
//!
//! A thread that decodes reads one run at a time. So it holds the selected chunks of one row group,
//! and no request of its own is in flight while it decodes: a completion that waits for the thread
//! would look like a slow read.

use super::compute::now_ns;
use crate::format::foreign::{Decoder, ForeignExtents, ReadRanges};
use crate::metrics::Histogram;
use std::ops::Range;
use std::sync::Arc;

/// What one thread decodes with.
#[derive(Default)]
pub struct Decoding {
    bytes: Vec<u8>,
    decoder: Decoder,
    /// Time of each run, mostly a row group.
    pub times: Histogram,
}

impl Decoding {
    /// Makes room for a run. Allocates where no run before was as long.
    pub fn begin(&mut self, ranges: &[Range<u64>]) {
        let bytes: u64 = ranges.iter().map(|range| range.end - range.start).sum();
        self.bytes.resize(bytes as usize, 0);
    }

    /// Keeps what was read at `offset`, inside one of `ranges`.
    pub fn keep(&mut self, ranges: &[Range<u64>], offset: u64, found: &[u8]) {
        let mut place = 0;
        for range in ranges {
            if range.contains(&offset) {
                let start = (place + offset - range.start) as usize;
                self.bytes[start..start + found.len()].copy_from_slice(found);
                return;
            }
            place += range.end - range.start;
        }
    }

    /// Decodes samples `first .. first + count`, whose bytes are all there. Returns values. The
    /// error is a sentence without the file's name.
    pub fn finish(
        &mut self,
        file: &ForeignExtents,
        first: u64,
        count: u64,
        ranges: &[Range<u64>],
    ) -> Result<u64, String> {
        let start = now_ns();
        let read = Arc::new(ReadRanges::new(ranges, std::mem::take(&mut self.bytes)));
        let values = file.decode(first, count, &read, &mut self.decoder)?;
        // Pages and values are gone by now, so the memory comes back.
        self.bytes = Arc::into_inner(read).map(ReadRanges::into_bytes).unwrap_or_default();
        self.times.record(now_ns() - start);
        Ok(values)
    }
}
