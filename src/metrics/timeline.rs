//! When operations ended, finely enough to tell how many had by a given time.
//!
//! 2048 bins, one millisecond wide at first; when a phase outlives them neighbours are merged and
//! the width doubles. So a bin is never wider than about a thousandth of the phase, recording
//! allocates nothing, and the memory is 32 KiB.

const BINS: usize = 2048;
const FIRST_WIDTH_NS: u64 = 1_000_000;

/// Operations and bytes over the time since the start of a phase.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timeline {
    width_ns: u64,
    bins: Box<[[u64; 2]]>,
}

impl Default for Timeline {
    fn default() -> Timeline {
        Timeline::new()
    }
}

impl Timeline {
    /// Empty; the only allocation.
    pub fn new() -> Timeline {
        Timeline { width_ns: FIRST_WIDTH_NS, bins: vec![[0; 2]; BINS].into_boxed_slice() }
    }

    /// An operation with so many bytes ended `at_ns` after the start.
    pub fn record(&mut self, at_ns: u64, bytes: u64) {
        while at_ns / self.width_ns >= BINS as u64 {
            self.double_width();
        }
        let bin = &mut self.bins[(at_ns / self.width_ns) as usize];
        bin[0] += 1;
        bin[1] += bytes;
    }

    /// Operations and bytes that had ended by `end_ns`; of the bin that this cuts, its share.
    pub fn until(&self, end_ns: u64) -> [u64; 2] {
        let whole = (end_ns / self.width_ns).min(BINS as u64) as usize;
        let mut sums = [0u64; 2];
        for bin in &self.bins[..whole] {
            (sums[0], sums[1]) = (sums[0] + bin[0], sums[1] + bin[1]);
        }
        if let Some(cut) = self.bins.get(whole) {
            let part = u128::from(end_ns % self.width_ns);
            let share = |count: u64| (u128::from(count) * part / u128::from(self.width_ns)) as u64;
            (sums[0], sums[1]) = (sums[0] + share(cut[0]), sums[1] + share(cut[1]));
        }
        sums
    }

    fn double_width(&mut self) {
        for bin in 0..BINS / 2 {
            let (one, two) = (self.bins[2 * bin], self.bins[2 * bin + 1]);
            self.bins[bin] = [one[0] + two[0], one[1] + two[1]];
        }
        self.bins[BINS / 2..].fill([0; 2]);
        self.width_ns *= 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn nothing_is_lost_and_a_cut_is_off_by_one_bin_at_most(
            events in proptest::collection::vec((0u64..1 << 45, 0u64..1 << 30), 1..60),
            cut in 0u64..1 << 45,
        ) {
            let mut line = Timeline::new();
            events.iter().for_each(|(at, bytes)| line.record(*at, *bytes));
            let all = [events.len() as u64, events.iter().map(|event| event.1).sum()];
            prop_assert_eq!(line.until(u64::MAX), all);
            let before = |end: u64| events.iter().filter(|event| event.0 < end).count() as u64;
            let found = line.until(cut)[0];
            prop_assert!(found >= before(cut.saturating_sub(line.width_ns)));
            prop_assert!(found <= before(cut + line.width_ns));
            let last = events.iter().map(|event| event.0).max().unwrap_or(0);
            prop_assert!(line.width_ns <= FIRST_WIDTH_NS.max(2 * last / BINS as u64 + 1));
        }
    }
}
