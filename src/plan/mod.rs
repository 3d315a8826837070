//! Pure arithmetic, no I/O: what a run will do, as a value.
//!
//! A plan is printed by `rankio plan`, hashed and compared across ranks, and executed by `datagen`
//! and `run`. Its memory does not depend on the number of samples or ranks: sizes come from a table
//! of at most 1024 strata (`sizes`), names and orders are computed (`names`, `permutation`,
//! `order`). A plan for 10^9 samples and 100,000 ranks is made in the time of one for ten.

mod checkpoint;
mod demand;
mod files;
mod identity;
mod memory;
mod names;
mod normal;
mod object;
mod order;
mod permutation;
mod rules;
mod show;
mod sizes;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use checkpoint::{
    CheckpointPlan, Grid, HostBytes, LayerKind, LayerTensor, ModelFigures, Place, Placement,
    RankClass, RestoreMap, RestorePiece, Schedule, ShardFile, ShardKind,
};
pub use demand::{Demand, mean_seconds};
pub use files::FileSet;
pub use identity::{CONTENT_VERSION, digest};
pub use memory::{
    Memory, RELAY_BLOCKS, WRITE_BUFFERS_EXTRA, checkpoint_threads, large_checkpoint_buffers,
    write_buffers_bytes,
};
pub use object::{
    Arrivals, Mix, OBJECT_FOLDER, ObjectOp, SizeLaw, folder_name, object_block_bytes,
    object_content_id, object_name, object_of,
};
pub use order::EpochOrder;
pub use permutation::Permutation;
pub use rules::MinimumDataset;
pub use sizes::{Level, SizeTable, element_bytes, nominal_sample_bytes};

use crate::config::{Config, Dataset, FormatKind, Framework, IoMode, ReadType, Shuffle};
use crate::format::{self, Format};
use order::{Arrangement, Dealing};
use permutation::key_of;
use rules::RuleInput;
use serde::Serialize;
use std::sync::Arc;

/// The world a plan is made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct WorldShape {
    /// MPI ranks, each of one accelerator or of `train.accelerators_per_rank`.
    pub ranks: u64,
    /// Hosts; 0 where unknown, which counts as 1.
    pub hosts: u64,
    /// Memory of a host in bytes, for the MLPerf minimum dataset; 0 where unknown.
    pub memory_per_host_bytes: u64,
}

/// A plan that cannot be made: one sentence that names the key.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
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

impl Split {
    /// Its folder below the data folder.
    pub fn folder(self) -> &'static str {
        match self {
            Split::Train => "train",
            Split::Valid => "valid",
        }
    }

    /// The key that gives its number of files.
    fn files_key(self) -> &'static str {
        match self {
            Split::Train => "dataset.num_files_train",
            Split::Valid => "dataset.num_files_eval",
        }
    }
}

/// A sample's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SampleId {
    /// File of the split.
    pub file: u64,
    /// Sample in the file.
    pub sample: u64,
}

/// A whole plan.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Training files that an epoch goes through; those of the defaults where nothing uses a
    /// dataset.
    pub train: FileSet,
    /// All training files of the dataset: those and, with `dataset.num_files_generated`, more.
    pub generated: FileSet,
    /// Evaluation files, if any.
    pub valid: Option<FileSet>,
    /// Checkpoints, if any.
    pub checkpoint: Option<CheckpointPlan>,
    /// World it is made for.
    pub world: WorldShape,
    config: Config,
    train_dealing: Dealing,
    valid_dealing: Option<Dealing>,
    shortage: Option<PlanError>,
    memory: Memory,
    minimum: MinimumDataset,
}

/// Domain of the keys of epoch orders by `train.seed`.
const ORDER_BY_SEED: u64 = 0x6F72_6465;
/// Domain of the keys of epoch orders by the seed of a run.
const ORDER_BY_RUN: u64 = 0x7261_6E64;

impl Plan {
    /// Makes the plan of `config` for `world`. Refuses what cannot be executed: no file, no sample,
    /// a format that is not available, no full step where the workload trains or evaluates, more
    /// steps than there are, more buffers than allowed.
    pub fn new(config: &Config, world: WorldShape) -> Result<Plan, PlanError> {
        let unused = !config.workflow.uses_dataset();
        let dataset = if unused { &Dataset::default() } else { &config.dataset };
        let format = format::for_dataset(dataset).map_err(PlanError)?;
        let format: Arc<dyn Format> = Arc::from(format);
        let format = match config.reader.read_type {
            ReadType::OnDemand => format,
            ReadType::Memory => Arc::new(format::WholeFiles(format)),
        };
        Plan::with_format(config, world, format)
    }

    /// [`Plan::new`] with a given format in the place of the dataset's.
    pub fn with_format(
        config: &Config,
        world: WorldShape,
        format: Arc<dyn Format>,
    ) -> Result<Plan, PlanError> {
        let world = WorldShape { hosts: world.hosts.max(1), ..world };
        let mut config = config.clone();
        if !config.workflow.uses_dataset() {
            let data_folder = std::mem::take(&mut config.dataset.data_folder);
            config.dataset = Dataset { data_folder, ..Dataset::default() };
        }
        let config = &config;
        check(config, world)?;
        let checkpoint = CheckpointPlan::new(config, world.ranks)?;
        let train = FileSet::new(config, Split::Train, format.clone())?;
        let valid = match config.dataset.num_files_eval {
            0 => None,
            _ => Some(FileSet::new(config, Split::Valid, format)?),
        };
        let crowd = Crowd::new(config, world)?;
        let memory = Memory::new(config)?.with_decoding(config, || train.group_bytes())?;
        let memory = memory.with_snapshot(config, checkpoint.as_ref(), world)?;
        let (train_dealing, train_shortage) = deal_training(config, &train, crowd)?;
        let evaluation = valid.as_ref().map(|files| deal_evaluation(config, files, crowd));
        let (valid_dealing, valid_shortage) = evaluation.unzip();
        let shortage = train_shortage.or(valid_shortage.flatten());
        let input = RuleInput {
            files: train.files(),
            samples_per_file: train.samples_per_file(),
            sample_bytes: nominal_sample_bytes(&config.dataset),
            batch: config.workflow.train.then_some(config.reader.batch_size),
        };
        let minimum = MinimumDataset::new(input, world, crowd);
        let config = config.clone();
        Ok(Plan {
            generated: train.whole(),
            train,
            valid,
            checkpoint,
            world,
            config,
            train_dealing,
            valid_dealing,
            shortage,
            memory,
            minimum,
        })
    }

    /// Order of training in `epoch` (from 1). `run_seed` is used where a shuffle is `random`. In
    /// native mode a shuffle of samples contains one of files; in reference mode only files are
    /// shuffled, as the Python tool does, and TFRecord files in the first epoch alone.
    pub fn train_order(&self, epoch: u64, run_seed: u64) -> EpochOrder {
        let (reader, train) = (&self.config.reader, &self.config.train);
        let epoch = if deals_twice(&self.config) { 1 } else { epoch };
        let key = |shuffle| match shuffle {
            Shuffle::Off => None,
            Shuffle::Seed => {
                let step = if train.seed_change_epoch { epoch } else { 0 };
                Some(key_of(&[ORDER_BY_SEED, train.seed.wrapping_add(step)]))
            }
            Shuffle::Random => Some(key_of(&[ORDER_BY_RUN, run_seed, epoch])),
        };
        let by_sample = match self.config.io.mode {
            IoMode::Native => key(reader.sample_shuffle),
            IoMode::Reference => None,
        };
        let arrangement = match (by_sample, key(reader.file_shuffle)) {
            (Some(key), _) => Arrangement::Samples(Permutation::new(self.train.samples(), key)),
            (None, Some(key)) => Arrangement::Files(Permutation::new(self.train.files(), key)),
            (None, None) => Arrangement::Identity,
        };
        self.train_dealing.epoch(arrangement)
    }

    /// Order of an evaluation, None where there are no evaluation files: never shuffled.
    pub fn eval_order(&self) -> Option<EpochOrder> {
        self.valid_dealing.map(|dealing| dealing.epoch(Arrangement::Identity))
    }

    /// Whether a run has at least one step of each kind it asks for. A plan that has none can still
    /// be printed: it says how many files are needed.
    pub fn check_runnable(&self) -> Result<(), PlanError> {
        self.shortage.clone().map_or(Ok(()), Err)
    }

    /// Whether what is written can be read back as `checkpoint.restore` says, where the fullest
    /// host has `fullest` ranks.
    ///
    /// # Errors
    /// One sentence that names the key.
    pub fn check_restore(&self, fullest: u64) -> Result<(), PlanError> {
        match &self.checkpoint {
            Some(plan) if self.config.checkpoint.num_checkpoints_read > 0 => {
                RestoreMap::check(plan, &self.config, (self.world.ranks, fullest))
            }
            _ => Ok(()),
        }
    }

    /// `train.accelerators_per_rank`. Rank r stands for the accelerators from r times this on.
    pub fn accelerators_per_rank(&self) -> u64 {
        self.config.train.accelerators_per_rank
    }

    /// Accelerators of all ranks together; orders deal samples to these.
    pub fn accelerators(&self) -> u64 {
        self.world.ranks * self.accelerators_per_rank()
    }

    /// Steps of a training epoch, equal on all accelerators.
    pub fn steps_per_epoch(&self) -> u64 {
        self.train_dealing.steps()
    }

    /// Samples that all ranks together read in a training epoch.
    pub fn samples_per_epoch(&self) -> u64 {
        self.train_dealing.samples()
    }

    /// Bytes that are read for a training sample, on average: those of all files over all samples,
    /// where samples that can only be read together are used together.
    pub fn real_sample_bytes(&self) -> f64 {
        self.train.sizes().read_bytes() as f64 / self.generated.samples() as f64
    }

    /// Bytes that all ranks together ask for in a training epoch, as [`Plan::real_sample_bytes`]
    /// counts them.
    pub fn bytes_read_per_epoch(&self) -> u64 {
        (self.real_sample_bytes() * self.samples_per_epoch() as f64).round() as u64
    }

    /// Whether the run is the object micro-benchmark.
    pub fn has_objects(&self) -> bool {
        self.config.workflow.object
    }

    /// Whether the run makes, reads or evaluates a dataset. Without one, [`Plan::train`] is a
    /// placeholder.
    pub fn has_dataset(&self) -> bool {
        self.config.workflow.uses_dataset()
    }

    /// What training asks of storage; None where a step takes no time.
    pub fn demand(&self) -> Option<Demand> {
        Demand::new(
            self.config.reader.batch_size.saturating_mul(self.accelerators_per_rank()),
            self.world.ranks,
            nominal_sample_bytes(&self.config.dataset),
            self.real_sample_bytes(),
            &self.config.train.computation_time,
        )
    }

    /// The MLPerf minimum dataset and whether this one reaches it.
    pub fn minimum(&self) -> &MinimumDataset {
        &self.minimum
    }

    /// The memory of one rank.
    pub fn memory(&self) -> Memory {
        self.memory
    }

    /// First 16 hex digits of SHA-256 over the canonical JSON of everything that ranks must agree
    /// on to run together: dataset, world, orders, steps, phases. Facts about one host and settings
    /// of a rank's own stay out of it.
    pub fn hash(&self) -> String {
        identity::digest(&identity::execution(self))
    }

    /// Identity of the dataset alone: what decides names, sizes and content (not batch, ranks,
    /// epochs or folder).
    pub fn dataset_hash(&self) -> String {
        identity::digest(&identity::dataset(&self.config))
    }

    /// The settings that [`Plan::dataset_hash`] is the digest of, for a marker that can say what
    /// differs.
    pub fn dataset_identity(&self) -> serde_json::Value {
        identity::dataset(&self.config)
    }

    /// The sections of `plan --json`.
    pub fn to_json(&self) -> serde_json::Value {
        show::json(self)
    }

    /// The plan for a terminal.
    pub fn to_text(&self) -> String {
        show::text(self)
    }
}

fn check(config: &Config, world: WorldShape) -> Result<(), PlanError> {
    if world.ranks == 0 {
        return Err(PlanError("a plan needs at least 1 rank".into()));
    }
    if world.hosts > world.ranks {
        return Err(PlanError(format!(
            "{} hosts for {} ranks: give at least one rank to each host",
            world.hosts, world.ranks
        )));
    }
    if config.workflow.evaluation && config.dataset.num_files_eval == 0 {
        return Err(PlanError(
            "workflow.evaluation is on but dataset.num_files_eval is 0; set one of them".into(),
        ));
    }
    if config.io.mode == IoMode::Reference && !config.io.drop_last {
        return Err(PlanError(
            "io.drop_last: false cannot be had with io.mode: reference, which drops the last \
             incomplete batch; set one of them"
                .into(),
        ));
    }
    Ok(())
}

/// Who samples are dealt to.
#[derive(Debug, Clone, Copy)]
struct Crowd {
    accelerators: u64,
    /// How they are called: where each is a rank, a rank.
    noun: &'static str,
}

impl Crowd {
    fn new(config: &Config, world: WorldShape) -> Result<Crowd, PlanError> {
        let each = config.train.accelerators_per_rank;
        let accelerators =
            world.ranks.checked_mul(each).filter(|all| *all > 0).ok_or_else(|| {
                let text = "train.accelerators_per_rank times the ranks must be from 1 to 2^64 - 1";
                PlanError(text.into())
            })?;
        Ok(Crowd { accelerators, noun: if each == 1 { "rank" } else { "accelerator" } })
    }
}

/// The dealing and, where it has not one step, why.
fn deal_training(
    config: &Config,
    files: &FileSet,
    crowd: Crowd,
) -> Result<(Dealing, Option<PlanError>), PlanError> {
    let batch = config.reader.batch_size;
    let dealing = deal(config, files, batch, crowd);
    if !config.workflow.train {
        return Ok((dealing, None));
    }
    if dealing.steps() == 0 {
        let shortage = too_few_samples(config, files, ("batch_size", batch), crowd);
        return Ok((dealing, Some(shortage)));
    }
    // Like the reference, a cap of zero is none.
    match config.train.total_training_steps.filter(|&cap| cap > 0) {
        Some(cap) if cap > dealing.steps() => Err(PlanError(format!(
            "train.total_training_steps is {cap}, but an epoch of this dataset has {} steps; lower \
             it or generate more files",
            dealing.steps()
        ))),
        Some(cap) => Ok((dealing.cap(cap), None)),
        None => Ok((dealing, None)),
    }
}

fn deal_evaluation(config: &Config, files: &FileSet, crowd: Crowd) -> (Dealing, Option<PlanError>) {
    let batch = config.reader.batch_size_eval;
    let dealing = deal(config, files, batch, crowd);
    let is_short = config.workflow.evaluation && dealing.steps() == 0;
    let shortage =
        is_short.then(|| too_few_samples(config, files, ("batch_size_eval", batch), crowd));
    (dealing, shortage)
}

/// Whether files are dealt to ranks twice: what the reference does with TFRecord files under
/// TensorFlow, once itself and once in its reader.
fn deals_twice(config: &Config) -> bool {
    config.io.mode == IoMode::Reference
        && config.dataset.format == FormatKind::Tfrecord
        && config.framework == Framework::Tensorflow
}

fn deal(config: &Config, files: &FileSet, batch: u64, crowd: Crowd) -> Dealing {
    let (count, samples, ranks) = (files.files(), files.samples_per_file(), crowd.accelerators);
    let shuffled = config.reader.file_shuffle != Shuffle::Off;
    match config.io.mode {
        IoMode::Native => Dealing::native(count, samples, ranks, batch, config.io.drop_last),
        IoMode::Reference if deals_twice(config) => {
            let epochs = (shuffled, config.train.epochs);
            Dealing::tfrecord((count, samples), ranks, batch, epochs)
        }
        IoMode::Reference => Dealing::reference(count, samples, ranks, batch),
    }
}

fn too_few_samples(
    config: &Config,
    files: &FileSet,
    (key, batch): (&str, u64),
    crowd: Crowd,
) -> PlanError {
    let Crowd { accelerators: ranks, noun } = crowd;
    let (count, samples) = (files.files(), files.samples_per_file());
    let remedy = format!("generate more files or use fewer {noun}s");
    PlanError(if deals_twice(config) {
        format!(
            "dataset has too few samples for one step: {count} files / {ranks} {noun}s = {} whole \
             files x {samples} samples, which io.mode: reference deals to {ranks} {noun}s once \
             more, and {key} = {batch}; {remedy}",
            count / ranks,
        )
    } else if config.io.mode == IoMode::Reference {
        format!(
            "dataset has too few samples for one step: {count} files / {ranks} {noun}s = {} whole \
             files x {samples} samples = {} < {key} = {batch}; {remedy}",
            count / ranks,
            count / ranks * samples,
        )
    } else {
        format!(
            "dataset has too few samples for one step: {count} files x {samples} samples = {} < \
             {key} {batch} x {ranks} {noun}s = {}; {remedy}",
            files.samples(),
            u128::from(batch) * u128::from(ranks),
        )
    })
}
