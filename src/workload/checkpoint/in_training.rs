//! Checkpoints inside training: after the barrier of a step a block ends, all ranks write, and the
//! next block begins. With `checkpoint.async` they only take a snapshot; the checkpoint is
//! committed after the step whose barrier tells that all ranks have written it. The I/O threads of
//! the training keep reading ahead meanwhile, as the loader of the reference does.

use super::save::Saver;
use crate::config::{Checkpoint, Config};
use crate::plan::Schedule;
use crate::report::dlio::CheckpointLog;
use crate::workload::phase::Reduced;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// When a training writes checkpoints, and what writes them.
pub struct Saves<'a> {
    saver: Saver<'a>,
    schedule: Schedule,
    written: u64,
}

/// What became of a checkpoint that was or was not due.
pub enum After {
    /// None was.
    NotDue,
    /// It is whole.
    Written(CheckpointLog),
    /// It is being written while the training goes on, so its time is not known yet.
    Begun,
    /// Nothing is left of it, and the run is to end.
    Interrupted,
}

/// Refuses a training that will not have as many checkpoints in the end as are then to be read.
/// `steps`: of an epoch.
pub fn check_reads(config: &Config, steps: u64) -> Result<(), String> {
    let (checkpoint, reads) = (&config.checkpoint, config.checkpoint.num_checkpoints_read);
    let written = Schedule::of(checkpoint).count(config.train.epochs, steps);
    let left = match checkpoint.keep_last {
        0 => written,
        keep => written.min(keep),
    };
    if reads <= left {
        return Ok(());
    }
    Err(format!(
        "checkpoint.num_checkpoints_read is {reads}, but this training writes {written} \
         checkpoints and leaves {left}; lower it, or see \
         checkpoint.steps_between_checkpoints and keep_last"
    ))
}

impl<'a> Saves<'a> {
    /// By the schedule of `checkpoint`.
    pub fn new(saver: Saver<'a>, checkpoint: &Checkpoint) -> Saves<'a> {
        Saves { saver, schedule: Schedule::of(checkpoint), written: 0 }
    }

    /// Where the block ends that begins at step `from` of an epoch of `steps` steps.
    pub fn block_end(&self, from: u64, steps: u64) -> u64 {
        self.schedule.block_end(from, steps)
    }

    /// Writes a checkpoint, or begins to, if one is due after `step` steps of `epoch`. Collective;
    /// an error is this rank's own.
    pub fn after(&mut self, epoch: u64, step: u64, steps: u64) -> Result<After, String> {
        if !self.schedule.is_due(epoch, step, steps) {
            return Ok(After::NotDue);
        }
        self.written += 1;
        let name = format!("global_epoch{epoch}_step{step}");
        if self.saver.is_background() {
            let begun = self.saver.begin(&name, self.written)?;
            return Ok(if begun { After::Begun } else { After::Interrupted });
        }
        let saved = self.saver.save(&name, self.written)?;
        Ok(saved.map_or(After::Interrupted, After::Written))
    }

    /// True while this rank writes in the background. To be asked in each step.
    ///
    /// # Errors
    /// What a thread that writes failed with.
    pub fn is_flushing(&mut self) -> Result<bool, String> {
        self.saver.is_flushing()
    }

    /// Set once a thread that writes in the background failed; None: there are none.
    pub fn alarm(&self) -> Option<Arc<AtomicBool>> {
        self.saver.alarm().cloned()
    }

    /// Takes the times of a step (load, compute, barrier; None: it is left out), and commits the
    /// pending checkpoint where the barrier has told that `all_flushed`. Collective then.
    pub fn on_step(&mut self, times: Option<[u64; 3]>, all_flushed: bool) -> Result<(), String> {
        if let Some(times) = times {
            self.saver.on_step(times);
        }
        if all_flushed && self.saver.is_pending() {
            self.saver.settle_in_step()?;
        }
        Ok(())
    }

    /// Commits what is pending, and gives the phase; true: the last checkpoint was interrupted.
    /// Collective; on rank 0 the phase has a value.
    pub fn finish(mut self) -> Result<(Option<Reduced>, bool), String> {
        let whole = self.saver.drain()?;
        Ok((self.saver.finish(), !whole))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_reads_than_a_training_leaves_checkpoints_are_refused_before_it() {
        let mut config = Config::default();
        config.train.epochs = 2;
        config.checkpoint.steps_between_checkpoints = 4;
        config.checkpoint.num_checkpoints_read = 4;
        assert_eq!(check_reads(&config, 10), Ok(()));
        let error = check_reads(&config, 7).unwrap_err();
        assert!(error.contains("num_checkpoints_read is 4") && error.contains("leaves 2"));
        config.checkpoint.keep_last = 3;
        assert!(check_reads(&config, 10).unwrap_err().contains("writes 4 checkpoints"));
    }
}
