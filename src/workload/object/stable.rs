//! When the rate of all ranks is stable.

use std::collections::VecDeque;

/// Samples of the rate that are compared.
pub(super) const MEETINGS: usize = 10;

/// Operations and time at the last meetings, both summed over ranks.
#[derive(Debug, Default)]
pub(super) struct Rates {
    seen: VecDeque<(u64, u64)>,
}

impl Rates {
    /// Adds a meeting; true if the rates between the last [`MEETINGS`] + 1 of them lie so close
    /// together that the largest and the smallest differ by at most `within` of their mean.
    pub fn are_stable(&mut self, operations: u64, elapsed_ns: u64, within: f64) -> bool {
        self.seen.push_back((operations, elapsed_ns));
        if self.seen.len() > MEETINGS + 1 {
            self.seen.pop_front();
        }
        let pairs = self.seen.iter().zip(self.seen.iter().skip(1));
        let rates = pairs.map(|(one, next)| {
            (next.0 - one.0) as f64 / (next.1.saturating_sub(one.1)).max(1) as f64
        });
        let (mut least, mut most, mut sum, mut count) = (f64::INFINITY, 0f64, 0.0, 0);
        for rate in rates {
            (least, most) = (least.min(rate), most.max(rate));
            (sum, count) = (sum + rate, count + 1);
        }
        count == MEETINGS && sum > 0.0 && most - least <= within * sum / count as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The meeting at which the rate is called stable, if it ever is.
    fn found(rates: impl Iterator<Item = u64>, within: f64) -> Option<usize> {
        let (mut all, mut operations) = (Rates::default(), 0);
        for (meeting, rate) in rates.enumerate() {
            operations += rate;
            if all.are_stable(operations, (meeting as u64 + 1) * 1_000_000_000, within) {
                return Some(meeting);
            }
        }
        None
    }

    #[test]
    fn a_rate_is_stable_after_ten_samples_that_lie_together() {
        assert_eq!(found(std::iter::repeat_n(1000, 30), 0.01), Some(10));
        // A start that is slower has to leave the window first.
        let warm = (0..40).map(|at| if at < 5 { 500 } else { 1000 });
        assert_eq!(found(warm, 0.05), Some(14));
        let noisy = |spread: u64| (0..60).map(move |at| 1000 + spread * (at % 2));
        assert_eq!(found(noisy(40), 0.05), Some(10));
        assert_eq!(found(noisy(60), 0.05), None);
        assert_eq!(found(std::iter::repeat_n(0, 30), 0.5), None, "nothing is not stable");
    }
}
