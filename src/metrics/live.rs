//! Counters that the main thread may read while an I/O thread works.
//!
//! Each I/O thread owns one set and is its only writer, so a relaxed load and store suffice and no
//! locked instruction runs. A set fills two cache lines of its own, because processors fetch lines
//! in pairs and a neighbour's store must not slow this thread. Readers may see one counter of an
//! operation before another; progress and time series bear that, results come from recorders.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// What one I/O thread has done so far.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct LiveCounters {
    read_bytes: AtomicU64,
    write_bytes: AtomicU64,
    operations: AtomicU64,
    samples: AtomicU64,
}

/// The counters at one moment, of one thread or summed over several.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LiveTotals {
    /// Requested bytes of finished reads.
    pub read_bytes: u64,
    /// Requested bytes of finished writes.
    pub write_bytes: u64,
    /// Finished reads and writes.
    pub operations: u64,
    /// Finished samples.
    pub samples: u64,
}

impl LiveCounters {
    /// All zero.
    pub fn new() -> Self {
        Self::default()
    }

    /// One read of this many bytes ended. Only the owning thread may call this.
    #[inline]
    pub fn on_read(&self, bytes: u64) {
        bump(&self.read_bytes, bytes);
        bump(&self.operations, 1);
    }

    /// One write of this many bytes ended. Only the owning thread may call this.
    #[inline]
    pub fn on_write(&self, bytes: u64) {
        bump(&self.write_bytes, bytes);
        bump(&self.operations, 1);
    }

    /// Samples became complete. Only the owning thread may call this.
    #[inline]
    pub fn on_samples(&self, samples: u64) {
        bump(&self.samples, samples);
    }

    /// The counters now; from any thread.
    pub fn totals(&self) -> LiveTotals {
        LiveTotals {
            read_bytes: self.read_bytes.load(Relaxed),
            write_bytes: self.write_bytes.load(Relaxed),
            operations: self.operations.load(Relaxed),
            samples: self.samples.load(Relaxed),
        }
    }
}

/// Adds without a locked instruction: there is one writer.
#[inline]
fn bump(counter: &AtomicU64, by: u64) {
    counter.store(counter.load(Relaxed).wrapping_add(by), Relaxed);
}

impl LiveTotals {
    /// The sum over threads.
    pub fn sum<'a>(threads: impl IntoIterator<Item = &'a LiveCounters>) -> Self {
        threads.into_iter().fold(Self::default(), |total, thread| {
            let now = thread.totals();
            LiveTotals {
                read_bytes: total.read_bytes + now.read_bytes,
                write_bytes: total.write_bytes + now.write_bytes,
                operations: total.operations + now.operations,
                samples: total.samples + now.samples,
            }
        })
    }

    /// What came on top of `earlier`.
    pub fn since(&self, earlier: &LiveTotals) -> LiveTotals {
        LiveTotals {
            read_bytes: self.read_bytes.saturating_sub(earlier.read_bytes),
            write_bytes: self.write_bytes.saturating_sub(earlier.write_bytes),
            operations: self.operations.saturating_sub(earlier.operations),
            samples: self.samples.saturating_sub(earlier.samples),
        }
    }

    /// Bytes in both directions.
    pub fn bytes(&self) -> u64 {
        self.read_bytes + self.write_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_thread_has_cache_lines_of_its_own() {
        assert_eq!(std::mem::align_of::<LiveCounters>(), 128);
        assert_eq!(std::mem::size_of::<LiveCounters>(), 128);
    }

    #[test]
    fn totals_sum_over_threads_and_differences_count() {
        let threads = [LiveCounters::new(), LiveCounters::new()];
        std::thread::scope(|scope| {
            for thread in &threads {
                scope.spawn(move || {
                    for _ in 0..1000 {
                        thread.on_read(10);
                        thread.on_write(1);
                        thread.on_samples(2);
                    }
                });
            }
        });
        let total = LiveTotals::sum(&threads);
        let expected = LiveTotals {
            read_bytes: 20_000,
            write_bytes: 2_000,
            operations: 4_000,
            samples: 4_000,
        };
        assert_eq!(total, expected);
        assert_eq!(total.bytes(), 22_000);
        let before = total;
        threads[0].on_read(7);
        let delta = LiveTotals::sum(&threads).since(&before);
        assert_eq!(delta, LiveTotals { read_bytes: 7, operations: 1, ..Default::default() });
    }
}
