//! Which rank writes which file of a checkpoint, and how large it is.
//!
//! Ranks stand on a grid: tensor parallel first, then pipeline stages, then copies of the model
//! (data parallel). A plan is a small value; the files of a rank are computed when asked for, and
//! ranks with equal files form one [`RankClass`], so that nothing grows with the number of ranks.

mod model;
mod placement;
pub(super) mod show;
#[cfg(test)]
mod tests;

pub use model::{LayerKind, ModelFigures};
pub use placement::{HostBytes, Placement};

use super::PlanError;
use crate::config::{CheckpointMode, Config, Framework};
use serde::Serialize;
use std::ops::Range;

/// Totals end here, so that every sum of bytes stays in 64 bits.
const BYTES_MAX: u128 = 1 << 62;
/// Ranks end here, so that a place fits into an object's id.
const RANKS_MAX: u64 = 1 << 28;

/// What a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ShardKind {
    /// Weights.
    Model,
    /// Optimizer state.
    Optimizer,
}

/// One file that one rank writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardFile {
    /// Name below the folder of the checkpoint.
    pub name: String,
    /// Length in bytes.
    pub bytes: u64,
    /// What it holds.
    pub kind: ShardKind,
    /// Identity of its content: unique in a checkpoint, and the same for the same place on the grid
    /// whatever the number of ranks.
    pub object_id: u64,
}

/// A run of ranks with equal files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct RankClass {
    /// First rank.
    pub first_rank: u64,
    /// Last rank.
    pub last_rank: u64,
    /// Files of each of them.
    pub files: u64,
    /// Bytes of each of them: `model_bytes` and `optimizer_bytes`.
    pub bytes: u64,
    /// Bytes of the model files.
    pub model_bytes: u64,
    /// Bytes of the optimizer file.
    pub optimizer_bytes: u64,
}

impl RankClass {
    /// Ranks in it.
    pub fn ranks(&self) -> u64 {
        self.last_rank - self.first_rank + 1
    }
}

/// How the model is spread over the ranks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Grid {
    /// Ranks that there are; in a subset fewer than places.
    pub ranks: u64,
    /// Ranks that share a layer.
    pub tensor: u64,
    /// Pipeline stages.
    pub pipeline: u64,
    /// Copies of the model.
    pub data: u64,
    /// ZeRO stage.
    pub zero_stage: u64,
}

/// Where a rank stands on the grid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Tensor parallel index.
    pub tensor: u64,
    /// Pipeline stage.
    pub pipeline: u64,
    /// Copy of the model.
    pub data: u64,
    /// Place in a copy: `pipeline * TP + tensor`.
    pub model: u64,
}

impl Grid {
    /// Ranks of one copy of the model.
    pub fn model_ranks(&self) -> u64 {
        self.tensor * self.pipeline
    }

    /// Where `rank` stands.
    pub fn place(&self, rank: u64) -> Place {
        Place {
            tensor: rank % self.tensor,
            pipeline: rank / self.tensor % self.pipeline,
            data: rank / self.model_ranks(),
            model: rank % self.model_ranks(),
        }
    }

    /// Copies that share the weights of a layer: all with ZeRO 3, else one.
    pub fn weight_shards(&self) -> u64 {
        if self.zero_stage >= 3 { self.data } else { 1 }
    }

    /// Ranks that share the optimizer: all with ZeRO, else those of one copy.
    pub fn optimizer_sharers(&self) -> u64 {
        if self.zero_stage == 0 { self.model_ranks() } else { self.model_ranks() * self.data }
    }
}

/// The plan of a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckpointPlan {
    model: ModelFigures,
    grid: Grid,
    suffix: &'static str,
}

/// Model files of a rank.
enum ModelShard {
    None,
    /// One file for each layer.
    Layers(Range<u64>),
    /// One file for all of them, with the copy in its name where the copies share the weights.
    Whole {
        layers: Range<u64>,
        names_copy: bool,
    },
}

/// The upper bits of an object's id, by the naming rule of its file.
#[derive(Clone, Copy)]
enum Family {
    Layer = 1,
    Whole = 2,
    Optimizer = 3,
    State = 4,
}

/// `index` is a layer or a copy, `place` a place in a copy or a rank.
fn object_id(family: Family, index: u64, place: u64) -> u64 {
    (family as u64) << 60 | index << 28 | place
}

impl CheckpointPlan {
    /// The checkpoint of `config` as `ranks` ranks write it; None where the configuration has none.
    ///
    /// # Errors
    /// A grid that does not go with the number of ranks, a model that does not fit into 64 bits:
    /// one sentence that names the key.
    pub fn new(config: &Config, ranks: u64) -> Result<Option<CheckpointPlan>, PlanError> {
        if !config.workflow.checkpoint {
            return Ok(None);
        }
        let model = ModelFigures::new(&config.model)?;
        let grid = grid(config, ranks)?;
        let suffix = match config.framework {
            Framework::Pytorch => "pt",
            Framework::Tensorflow => "pb",
        };
        let plan = CheckpointPlan { model, grid, suffix };
        let total = plan.sum(|class| class.bytes);
        if total > BYTES_MAX {
            return Err(PlanError(format!(
                "a checkpoint has {total} bytes; give a model of less than 2^62"
            )));
        }
        if total == 0 {
            return Err(PlanError(
                "workflow.checkpoint is True but the model has no bytes; give model.num_layers and \
                 model.transformer, or model.model_size_bytes"
                    .into(),
            ));
        }
        Ok(Some(plan))
    }

    /// The grid.
    pub fn grid(&self) -> Grid {
        self.grid
    }

    /// The model.
    pub fn model(&self) -> &ModelFigures {
        &self.model
    }

    /// Parameters of the model; 0 where only its bytes are known.
    pub fn parameters(&self) -> u64 {
        self.model.parameters()
    }

    /// Files that `rank` writes, in the reference's order: model files by layer, then the
    /// optimizer's. At most the layers of a stage and one more.
    pub fn files_of(&self, rank: u64) -> Vec<ShardFile> {
        let mut files = Vec::new();
        let place = self.grid.place(rank);
        let (data, model, suffix) = (place.data, place.model, self.suffix);
        let mut push = |name: String, bytes, kind, object_id| {
            files.push(ShardFile { name: format!("{name}.{suffix}"), bytes, kind, object_id });
        };
        if self.has_state(rank) {
            let id = object_id(Family::State, 0, rank);
            push(format!("model_states-{rank}"), self.model.state_bytes, ShardKind::Model, id);
        }
        match self.model_shard(rank) {
            ModelShard::None => {}
            ModelShard::Layers(layers) => {
                for layer in layers {
                    let name = format!("layer_{layer}-model_{model}_model_states");
                    let id = object_id(Family::Layer, layer, model);
                    push(name, self.layers_bytes(layer..layer + 1), ShardKind::Model, id);
                }
            }
            ModelShard::Whole { layers, names_copy } => {
                let name = match names_copy {
                    true => format!("zero_pp_rank_{data}_mp_rank_{model}_model_states"),
                    false => format!("model_{model}_model_states"),
                };
                let id = object_id(Family::Whole, data, model);
                push(name, self.layers_bytes(layers), ShardKind::Model, id);
            }
        }
        let optimizer_bytes = self.optimizer_bytes_of(rank);
        if optimizer_bytes > 0 {
            let name = format!("zero_pp_rank_{data}_mp_rank_{model}_optim_states");
            let id = object_id(Family::Optimizer, data, model);
            push(name, optimizer_bytes, ShardKind::Optimizer, id);
        }
        files
    }

    /// Bytes that `rank` writes.
    pub fn bytes_of(&self, rank: u64) -> u64 {
        self.model_bytes_of(rank) + self.optimizer_bytes_of(rank)
    }

    /// Bytes of a whole checkpoint.
    pub fn total_bytes(&self) -> u64 {
        self.total(|class| class.bytes)
    }

    /// Those of all model files.
    pub fn model_bytes(&self) -> u64 {
        self.total(|class| class.model_bytes)
    }

    /// Those of all optimizer files.
    pub fn optimizer_bytes(&self) -> u64 {
        self.total(|class| class.optimizer_bytes)
    }

    /// Files of a whole checkpoint.
    pub fn total_files(&self) -> u64 {
        self.total(|class| class.files)
    }

    /// Runs of ranks with equal files, in order; they cover all ranks. At most one for each
    /// pipeline stage and one more.
    pub fn classes(&self) -> Vec<RankClass> {
        let Grid { ranks, tensor, .. } = self.grid;
        let copy = self.grid.model_ranks().min(ranks);
        // Copies after the first differ from each other in nothing.
        let stages = (0..copy).step_by(tensor as usize).map(|first| (first, first + tensor));
        let runs = stages.chain([(copy, ranks)]).filter(|(first, end)| first < end);
        let mut classes: Vec<RankClass> = Vec::new();
        for (first, end) in runs {
            let class = self.class_of(first, end.min(ranks) - 1);
            match classes.last_mut() {
                Some(last) if alike(last, &class) => last.last_rank = class.last_rank,
                _ => classes.push(class),
            }
        }
        classes
    }

    /// Ranks that write at least one file: the first ones.
    pub fn writers(&self) -> Range<u64> {
        let busy = self.classes().into_iter().filter(|class| class.files > 0);
        0..busy.map(|class| class.last_rank + 1).max().unwrap_or(0)
    }

    /// Folder of checkpoint number `checkpoint` (from 1) below the checkpoint folder.
    pub fn name_of(&self, checkpoint: u64) -> String {
        format!("global_epoch1_step{checkpoint}")
    }

    fn class_of(&self, first_rank: u64, last_rank: u64) -> RankClass {
        let (model_bytes, optimizer_bytes) =
            (self.model_bytes_of(first_rank), self.optimizer_bytes_of(first_rank));
        let model_files = match self.model_shard(first_rank) {
            ModelShard::None => 0,
            ModelShard::Layers(layers) => layers.end - layers.start,
            ModelShard::Whole { .. } => 1,
        };
        let others = u64::from(self.has_state(first_rank)) + u64::from(optimizer_bytes > 0);
        RankClass {
            first_rank,
            last_rank,
            files: model_files + others,
            bytes: model_bytes + optimizer_bytes,
            model_bytes,
            optimizer_bytes,
        }
    }

    /// Without ZeRO all copies are equal and the first is written alone.
    fn is_silent(&self, rank: u64) -> bool {
        self.grid.zero_stage == 0 && rank >= self.grid.model_ranks()
    }

    fn has_state(&self, rank: u64) -> bool {
        self.model.state_bytes > 0 && !self.is_silent(rank)
    }

    fn model_shard(&self, rank: u64) -> ModelShard {
        let (grid, place) = (&self.grid, self.grid.place(rank));
        let layers = self.model.stage_layers(place.pipeline, grid.pipeline);
        let by_one_copy = matches!(grid.zero_stage, 1 | 2);
        if layers.is_empty() || self.is_silent(rank) || by_one_copy && place.data > 0 {
            return ModelShard::None;
        }
        match by_one_copy && grid.pipeline > 1 {
            true => ModelShard::Layers(layers),
            false => ModelShard::Whole { layers, names_copy: !by_one_copy },
        }
    }

    fn layers_bytes(&self, layers: Range<u64>) -> u64 {
        self.model.layers_bytes(layers, self.grid.tensor, self.grid.weight_shards())
    }

    fn model_bytes_of(&self, rank: u64) -> u64 {
        let state = if self.has_state(rank) { self.model.state_bytes } else { 0 };
        let layers = match self.model_shard(rank) {
            ModelShard::None => 0..0,
            ModelShard::Layers(layers) | ModelShard::Whole { layers, .. } => layers,
        };
        state + self.layers_bytes(layers)
    }

    fn optimizer_bytes_of(&self, rank: u64) -> u64 {
        if self.is_silent(rank) {
            return 0;
        }
        self.model.optimizer_bytes(self.grid.optimizer_sharers())
    }

    fn total(&self, part: impl Fn(&RankClass) -> u64) -> u64 {
        u64::try_from(self.sum(part)).expect("a checkpoint of more than 2^62 bytes is refused")
    }

    fn sum(&self, part: impl Fn(&RankClass) -> u64) -> u128 {
        let classes = self.classes();
        classes.iter().map(|class| u128::from(part(class)) * u128::from(class.ranks())).sum()
    }
}

fn alike(one: &RankClass, other: &RankClass) -> bool {
    (one.files, one.model_bytes, one.optimizer_bytes)
        == (other.files, other.model_bytes, other.optimizer_bytes)
}

/// The grid of `config` for `ranks` ranks.
fn grid(config: &Config, ranks: u64) -> Result<Grid, PlanError> {
    let parallelism = &config.model.parallelism;
    let (tensor, pipeline) = (parallelism.tensor.max(1), parallelism.pipeline.max(1));
    let copy = tensor.saturating_mul(pipeline);
    if ranks == 0 || ranks > RANKS_MAX {
        return Err(PlanError(format!("{ranks} ranks: give 1 to {RANKS_MAX}")));
    }
    if parallelism.zero_stage >= 3 && pipeline > 1 {
        return Err(PlanError(format!(
            "model.parallelism.zero_stage 3 cannot go with model.parallelism.pipeline {pipeline}; \
             set the pipeline to 1 or the stage to 1"
        )));
    }
    let data = match config.checkpoint.mode {
        CheckpointMode::Default if !ranks.is_multiple_of(copy) => {
            return Err(PlanError(format!(
                "{ranks} ranks are no multiple of model.parallelism.tensor x pipeline = {copy}; \
                 give one, or checkpoint.mode: subset with model.parallelism.data"
            )));
        }
        CheckpointMode::Default => ranks / copy,
        CheckpointMode::Subset => parallelism.data,
    };
    let places = copy.saturating_mul(data);
    if ranks > places || places > RANKS_MAX {
        return Err(PlanError(format!(
            "{ranks} ranks for model.parallelism tensor x pipeline x data = {places} places; give \
             as many ranks or fewer, and at most {RANKS_MAX} places"
        )));
    }
    Ok(Grid { ranks, tensor, pipeline, data, zero_stage: parallelism.zero_stage })
}
