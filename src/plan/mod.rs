//! Pure arithmetic, no I/O: what a run will do, as a value.
//!
//! A plan is printed by `rankio plan`, hashed and compared across ranks, and executed by `datagen` and `run`. Its memory
//! does not depend on the number of samples or ranks: sizes come from a table of at most 1024 strata, names and orders are computed.

use crate::config::{Config, FormatKind, Shuffle};
use crate::format::FileShape;
use serde::Serialize;

/// The world a plan is made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct WorldShape {
    /// MPI ranks (accelerators).
    pub ranks: u64,
    /// Hosts.
    pub hosts: u64,
    /// Memory of a host in bytes; for the MLPerf minimum dataset.
    pub memory_per_host_bytes: u64,
}

/// A plan that cannot be made: one sentence that names the key.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0}")]
pub struct PlanError(pub String);

/// Part of a dataset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    /// `train/`.
    Train,
    /// `valid/`.
    Valid,
}

/// A sample's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SampleId {
    /// File of the split.
    pub file: u64,
    /// Sample in the file.
    pub sample: u64,
}

/// The files of one split.
#[derive(Debug, Clone)]
pub struct FileSet {
    _private: (),
}

impl FileSet {
    /// Split.
    pub fn split(&self) -> Split {
        unimplemented!()
    }
    /// Number of files.
    pub fn files(&self) -> u64 {
        unimplemented!()
    }
    /// Samples in each file.
    pub fn samples_per_file(&self) -> u64 {
        unimplemented!()
    }
    /// Replaces `out` by the name of file `index` relative to the data folder. Does not allocate once `out` is long enough.
    pub fn name(&self, _index: u64, _out: &mut String) {
        unimplemented!()
    }
    /// Shape of file `index`. O(1).
    pub fn shape(&self, _index: u64) -> FileShape {
        unimplemented!()
    }
    /// Identity of the content of file `index` for the generator (differs between splits).
    pub fn object_id(&self, _index: u64) -> u64 {
        unimplemented!()
    }
    /// Exact bytes of all files. O(strata).
    pub fn total_bytes(&self) -> u128 {
        unimplemented!()
    }
}

/// Who reads what in one epoch: a bijection from (rank, step, slot) to samples.
#[derive(Debug, Clone, Copy)]
pub struct EpochOrder {
    _private: (),
}

impl EpochOrder {
    /// Steps of the epoch, equal on all ranks.
    pub fn steps(&self) -> u64 {
        unimplemented!()
    }
    /// Samples of `rank` in `step` (the batch size, less in a last incomplete step).
    pub fn batch_len(&self, _rank: u64, _step: u64) -> u64 {
        unimplemented!()
    }
    /// The sample in `slot` of `rank`'s batch in `step`. O(1), allocates nothing.
    pub fn sample(&self, _rank: u64, _step: u64, _slot: u64) -> SampleId {
        unimplemented!()
    }
    /// How many slots from `slot` on (at most to the end of the batch) are consecutive samples of one file. At least 1.
    pub fn run_length(&self, _rank: u64, _step: u64, _slot: u64) -> u64 {
        unimplemented!()
    }
}

/// A whole plan.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Training files.
    pub train: FileSet,
    /// Evaluation files, if any.
    pub valid: Option<FileSet>,
    /// World it is made for.
    pub world: WorldShape,
    _private: (),
}

impl Plan {
    /// Makes the plan of `config` for `world`.
    pub fn new(_config: &Config, _world: WorldShape) -> Result<Plan, PlanError> {
        unimplemented!()
    }
    /// Order of training in `epoch` (from 1). `run_seed` is used where a shuffle is `random`.
    pub fn train_order(&self, _epoch: u64, _run_seed: u64) -> EpochOrder {
        unimplemented!()
    }
    /// Order of an evaluation.
    pub fn eval_order(&self) -> Option<EpochOrder> {
        unimplemented!()
    }
    /// First 16 hex digits of SHA-256 over the canonical JSON (`hash` left out).
    pub fn hash(&self) -> String {
        unimplemented!()
    }
    /// Identity of the dataset alone: what decides names, sizes and content (not batch, ranks or epochs).
    pub fn dataset_hash(&self) -> String {
        unimplemented!()
    }
    /// The sections of `plan --json`.
    pub fn to_json(&self) -> serde_json::Value {
        unimplemented!()
    }
    /// The plan for a terminal.
    pub fn to_text(&self) -> String {
        unimplemented!()
    }
}

#[allow(dead_code)]
fn unused(_: FormatKind, _: Shuffle) {}
