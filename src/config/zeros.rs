//! Zeros that the reference takes, where a count has to be at least 1 here: what they mean there.

use super::kind::COUNT_MAX;
use super::{Config, Framework};

/// Puts the count that a zero means into its place, with a note.
pub(super) fn fold(config: &mut Config, notes: &mut Vec<String>) {
    let reader = &mut config.reader;
    if reader.read_threads == 0 {
        reader.read_threads = 1;
        notes.push(match config.framework {
            Framework::Tensorflow => {
                "reader.read_threads: 0 is 1 thread, as in the reference's loader for tensorflow"
                    .into()
            }
            Framework::Pytorch => {
                reader.prefetch_size = 1;
                "reader.read_threads: 0 is 1 thread that reads 1 batch ahead, the least there is; \
                 the reference's training loop then reads by itself, and nothing ahead"
                    .into()
            }
        });
    }
    let evaluation = &mut config.evaluation;
    for (path, epochs) in [
        ("evaluation.eval_after_epoch", &mut evaluation.eval_after_epoch),
        ("evaluation.epochs_between_evals", &mut evaluation.epochs_between_evals),
    ] {
        if *epochs == 0 {
            *epochs = 1;
            notes.push(format!("{path}: 0 is as 1, as in the reference"));
        }
    }
    let epochs = &mut config.checkpoint.epochs_between_checkpoints;
    if *epochs == 0 {
        *epochs = COUNT_MAX;
        notes.push(
            "checkpoint.epochs_between_checkpoints: 0 means that only the epoch \
             checkpoint.checkpoint_after_epoch ends with a checkpoint, as in the reference"
                .into(),
        );
    }
}
