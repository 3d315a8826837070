//! `checkpoint`: when, where and how checkpoints are written and read back.
//!
//! The keys that DLIO has keep its names and defaults; those after `rank_sync` are ours.

use serde::{Deserialize, Serialize};

/// `checkpoint`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Checkpoint {
    /// Root; holds a folder for each checkpoint. `--checkpoint-dir` replaces it.
    pub checkpoint_folder: String,
    /// First epoch that ends with a checkpoint (training).
    pub checkpoint_after_epoch: u64,
    /// Epochs between two checkpoints (training).
    pub epochs_between_checkpoints: u64,
    /// Steps between two checkpoints (training); 0: by epochs.
    pub steps_between_checkpoints: u64,
    /// Which ranks write a model of given size.
    #[serde(rename = "type")]
    pub kind: CheckpointType,
    /// Which ranks there are.
    pub mode: CheckpointMode,
    /// Seconds before each checkpoint, standing for the computation between two; below 0: none.
    pub time_between_checkpoints: f64,
    /// Checkpoints that a run without training writes.
    pub num_checkpoints_write: u64,
    /// Checkpoints that it then reads.
    pub num_checkpoints_read: u64,
    /// Wait for all ranks at the end of each checkpoint, inside its time (reference).
    pub rank_sync: bool,
    /// What a file holds.
    pub layout: CheckpointLayout,
    /// What stands for the numbers in it.
    pub content: CheckpointContent,
    /// What makes a checkpoint durable before its time ends; `fsync: True` means `fsync`.
    pub durability: Durability,
    /// Files that a rank writes at a time.
    pub files_in_flight: u64,
    /// Order of a rank's files.
    pub order: CheckpointOrder,
    /// Checkpoints that stay on storage while others are written; 0: all.
    pub keep_last: u64,
    /// Whose files a rank reads back.
    pub restore: Restore,
    /// Seed of `restore: random`.
    pub restore_seed: u64,
    /// Grid of the job that reads with `restore: reshard`.
    pub reshard: Reshard,
    /// Read back the model files only.
    pub weights_only: bool,
    /// Write in the background while the job goes on.
    #[serde(rename = "async")]
    pub is_async: bool,
}

impl Default for Checkpoint {
    fn default() -> Self {
        Checkpoint {
            checkpoint_folder: "./checkpoints".into(),
            checkpoint_after_epoch: 1,
            epochs_between_checkpoints: 1,
            steps_between_checkpoints: 0,
            kind: CheckpointType::RankZero,
            mode: CheckpointMode::Default,
            time_between_checkpoints: -1.0,
            num_checkpoints_write: 0,
            num_checkpoints_read: 0,
            rank_sync: false,
            layout: CheckpointLayout::Raw,
            content: CheckpointContent::Full,
            durability: Durability::None,
            files_in_flight: 4,
            order: CheckpointOrder::Parallel,
            keep_last: 0,
            restore: Restore::Same,
            restore_seed: 10,
            reshard: Reshard::default(),
            weights_only: false,
            is_async: false,
        }
    }
}

impl Checkpoint {
    /// Seconds before each checkpoint, at least 0.
    pub fn pause_s(&self) -> f64 {
        self.time_between_checkpoints.max(0.0)
    }
}

/// `checkpoint.type`. A transformer is written as its ZeRO stage says, whatever this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default, Hash)]
#[serde(rename_all = "snake_case")]
pub enum CheckpointType {
    /// Those of the first copy, which is rank 0 alone without parallelism.
    #[default]
    RankZero,
    /// Each its own.
    AllRanks,
}

/// `checkpoint.mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default, Hash)]
#[serde(rename_all = "lowercase")]
pub enum CheckpointMode {
    /// All ranks of the grid; the data parallelism follows from their number.
    #[default]
    Default,
    /// The first ranks of a larger grid, whose data parallelism is given.
    Subset,
}

/// `checkpoint.layout` (ours).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default, Hash)]
#[serde(rename_all = "lowercase")]
pub enum CheckpointLayout {
    /// The bytes of the tensors back to back, as the benchmark's streaming writer has it.
    #[default]
    Raw,
    /// Files that the `safetensors` package opens, tensors named as in Llama checkpoints.
    Safetensors,
}

/// `checkpoint.content` (ours).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default, Hash)]
#[serde(rename_all = "lowercase")]
pub enum CheckpointContent {
    /// Every byte is made for its place, as those of a dataset.
    #[default]
    Full,
    /// The same megabyte again and again with a stamp in each block of 4 KiB, as fio writes.
    Stamped,
}

/// `checkpoint.durability` (ours).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default, Hash)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// Nothing is synced.
    #[default]
    None,
    /// `fdatasync` of each file.
    Fdatasync,
    /// `fsync` of each file and of its folder.
    Fsync,
    /// Files are opened with `O_DSYNC`.
    Dsync,
}

/// `checkpoint.order` (ours).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default, Hash)]
#[serde(rename_all = "lowercase")]
pub enum CheckpointOrder {
    /// Up to `files_in_flight` files at a time.
    #[default]
    Parallel,
    /// One file after the other, model before optimizer, as the reference does.
    Reference,
}

/// `checkpoint.restore` (ours).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default, Hash)]
#[serde(rename_all = "lowercase")]
pub enum Restore {
    /// Its own.
    #[default]
    Same,
    /// Those of a rank on the next host.
    Ring,
    /// Those of a rank drawn by `restore_seed`.
    Random,
    /// Its part of the model on the grid `checkpoint.reshard`.
    Reshard,
    /// The first copy of the model reads and sends to the others.
    Broadcast,
}

/// `checkpoint.reshard` (ours): the grid of the job that reads. 0: as it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
pub struct Reshard {
    /// Tensor parallelism.
    pub tensor: u64,
    /// Pipeline stages.
    pub pipeline: u64,
    /// Ranks that wrote; 0: as many as read.
    pub written_ranks: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_time_between_checkpoints_is_no_pause() {
        let mut checkpoint = Checkpoint::default();
        assert_eq!(checkpoint.pause_s(), 0.0);
        checkpoint.time_between_checkpoints = 5.0;
        assert_eq!(checkpoint.pause_s(), 5.0);
    }
}
