//! When a training writes checkpoints.

use crate::config::Checkpoint;

/// When they are due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schedule {
    /// Steps between two, counted anew in every epoch; 0: by epochs.
    steps: u64,
    /// Epochs between two.
    epochs: u64,
    /// Next epoch that ends with one.
    next_epoch: u64,
}

impl Schedule {
    /// That of `checkpoint`.
    pub fn of(checkpoint: &Checkpoint) -> Schedule {
        Schedule {
            steps: checkpoint.steps_between_checkpoints,
            epochs: checkpoint.epochs_between_checkpoints.max(1),
            next_epoch: checkpoint.checkpoint_after_epoch.max(1),
        }
    }

    /// What is wrong with settings by which a training of `epochs` epochs of `steps` steps writes
    /// no checkpoint.
    pub fn never_due(&self, epochs: u64, steps: u64) -> Option<String> {
        if self.count(epochs, steps) > 0 {
            return None;
        }
        Some(match self.steps {
            0 => format!(
                "no checkpoint is written: checkpoint.checkpoint_after_epoch is {}, and the \
                 training has {epochs} epoch(s)",
                self.next_epoch
            ),
            each => format!(
                "no checkpoint is written: checkpoint.steps_between_checkpoints is {each}, and an \
                 epoch has {steps} step(s)"
            ),
        })
    }

    /// Where the block ends that begins at step `from` of an epoch of `steps` steps.
    pub fn block_end(&self, from: u64, steps: u64) -> u64 {
        match from.checked_div(self.steps) {
            Some(blocks) => ((blocks + 1) * self.steps).min(steps),
            None => steps,
        }
    }

    /// One is due after `step` of `steps` steps of `epoch`; the next is then another.
    pub fn is_due(&mut self, epoch: u64, step: u64, steps: u64) -> bool {
        if self.steps > 0 {
            return step.is_multiple_of(self.steps);
        }
        let due = step == steps && epoch >= self.next_epoch;
        if due {
            self.next_epoch += self.epochs;
        }
        due
    }

    /// How many are written in `epochs` epochs of `steps` steps.
    pub fn count(&self, epochs: u64, steps: u64) -> u64 {
        if steps == 0 {
            return 0;
        }
        if let Some(each) = steps.checked_div(self.steps) {
            return epochs.saturating_mul(each);
        }
        match epochs.checked_sub(self.next_epoch) {
            Some(after_the_first) => 1 + after_the_first / self.epochs,
            None => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn checkpoints(schedule: &mut Schedule, epochs: u64, steps: u64) -> Vec<(u64, u64)> {
        let mut written = Vec::new();
        for epoch in 1..=epochs {
            let mut from = 0;
            while from < steps {
                from = schedule.block_end(from, steps);
                if schedule.is_due(epoch, from, steps) {
                    written.push((epoch, from));
                }
            }
        }
        written
    }

    #[test]
    fn epochs_are_counted_from_the_first_one_on() {
        let mut schedule = Schedule { steps: 0, epochs: 2, next_epoch: 3 };
        assert_eq!(checkpoints(&mut schedule, 8, 10), [(3, 10), (5, 10), (7, 10)]);
    }

    #[test]
    fn steps_are_counted_anew_in_every_epoch() {
        let mut schedule = Schedule { steps: 4, epochs: 1, next_epoch: 1 };
        assert_eq!(checkpoints(&mut schedule, 2, 10), [(1, 4), (1, 8), (2, 4), (2, 8)]);
        // A checkpoint after the last step is followed by no block.
        let mut schedule = Schedule { steps: 5, ..schedule };
        assert_eq!(checkpoints(&mut schedule, 1, 10), [(1, 5), (1, 10)]);
        let mut schedule = Schedule { steps: 11, ..schedule };
        assert_eq!(checkpoints(&mut schedule, 3, 10), []);
    }

    proptest! {
        #[test]
        fn as_many_are_counted_as_are_written(
            (steps, epochs, next_epoch) in (0u64..12, 1u64..6, 1u64..12),
            (of_epochs, of_steps) in (0u64..12, 0u64..12),
        ) {
            let schedule = Schedule { steps, epochs, next_epoch };
            let written = checkpoints(&mut schedule.clone(), of_epochs, of_steps).len() as u64;
            prop_assert_eq!(schedule.count(of_epochs, of_steps), written);
        }
    }
}
