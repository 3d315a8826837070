//! Which rank writes which file of a checkpoint, and how large it is.
//!
//! Ranks stand on a grid: tensor parallel first, then pipeline stages, then copies of the model
//! (data parallel). A plan is a small value; the files of a rank are computed when asked for, and
//! ranks with equal files form one [`RankClass`], so that nothing grows with the number of ranks.

mod grid;
mod model;
mod placement;
mod restore;
mod schedule;
pub(super) mod show;
mod tensors;
#[cfg(test)]
mod tests;

pub use grid::{Grid, Place};
pub use model::{LayerKind, ModelFigures};
pub use placement::{HostBytes, Placement};
pub use restore::{RestoreMap, RestorePiece};
pub use schedule::Schedule;
pub use tensors::LayerTensor;

use super::PlanError;
use crate::config::{CheckpointLayout, CheckpointType, Config, Datatype, Framework, Restore};
use crate::format::{Layout, safetensors};
use serde::Serialize;
use std::ops::Range;

/// Totals end here, so that every sum of bytes stays in 64 bits.
const BYTES_MAX: u128 = 1 << 62;

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

/// The plan of a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckpointPlan {
    model: ModelFigures,
    grid: Grid,
    layout: CheckpointLayout,
    /// A model of given size is written by every rank.
    by_all: bool,
    suffix: &'static str,
}

/// What is in a file, in the order of its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Contents {
    /// A model of given size.
    State,
    /// Layers, one after the other.
    Layers(Range<u64>),
    /// Optimizer arrays.
    Optimizer,
}

/// A file before its length is known.
struct Planned {
    /// Name without suffix.
    name: String,
    contents: Contents,
    object_id: u64,
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

/// The file is a model of given size.
fn is_state(file: &ShardFile) -> bool {
    file.object_id >> 60 == Family::State as u64
}

impl CheckpointPlan {
    /// The checkpoint of `config` as `ranks` ranks write it; None where the configuration has none.
    /// With `checkpoint.reshard.written_ranks` it is one that so many ranks wrote before.
    ///
    /// # Errors
    /// A grid that does not go with the number of ranks, a model that does not fit into 64 bits:
    /// one sentence that names the key.
    pub fn new(config: &Config, ranks: u64) -> Result<Option<CheckpointPlan>, PlanError> {
        if !config.workflow.checkpoint {
            return Ok(None);
        }
        let model = ModelFigures::new(&config.model)?;
        let grid = match config.checkpoint.reshard.written_ranks {
            written if config.checkpoint.restore == Restore::Reshard && written > 0 => {
                grid::of(config, written)?
            }
            _ => grid::of(config, ranks)?,
        };
        let layout = config.checkpoint.layout;
        let suffix = match (layout, config.framework) {
            (CheckpointLayout::Safetensors, _) => safetensors::SUFFIX,
            (CheckpointLayout::Raw, Framework::Pytorch) => "pt",
            (CheckpointLayout::Raw, Framework::Tensorflow) => "pb",
        };
        let by_all = config.checkpoint.kind == CheckpointType::AllRanks;
        let plan = CheckpointPlan { model, grid, layout, by_all, suffix };
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
    /// optimizer's. At most the layers of a stage and two more; none for a rank that there is not.
    pub fn files_of(&self, rank: u64) -> Vec<ShardFile> {
        let file = |planned: Planned| ShardFile {
            bytes: self.header_bytes(&planned.contents) + self.payload_bytes(&planned.contents),
            kind: match planned.contents {
                Contents::Optimizer => ShardKind::Optimizer,
                Contents::State | Contents::Layers(_) => ShardKind::Model,
            },
            name: format!("{}.{}", planned.name, self.suffix),
            object_id: planned.object_id,
        };
        self.planned(rank).into_iter().map(file).collect()
    }

    /// The overlay of each file of [`CheckpointPlan::files_of`]: the header of safetensors, or
    /// nothing over the content.
    pub fn layouts_of(&self, rank: u64) -> Vec<Box<dyn Layout>> {
        let layout = |planned: Planned| match self.layout {
            CheckpointLayout::Raw => safetensors::plain(self.payload_bytes(&planned.contents)),
            CheckpointLayout::Safetensors => safetensors::layout(&self.tensors(&planned.contents)),
        };
        self.planned(rank).into_iter().map(layout).collect()
    }

    /// Bytes that `rank` writes.
    pub fn bytes_of(&self, rank: u64) -> u64 {
        self.files_of(rank).iter().map(|file| file.bytes).sum()
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
        let files = self.files_of(first_rank);
        let bytes = |kind| files.iter().filter(|f| f.kind == kind).map(|f| f.bytes).sum::<u64>();
        let (model_bytes, optimizer_bytes) = (bytes(ShardKind::Model), bytes(ShardKind::Optimizer));
        RankClass {
            first_rank,
            last_rank,
            files: files.len() as u64,
            bytes: model_bytes + optimizer_bytes,
            model_bytes,
            optimizer_bytes,
        }
    }

    fn planned(&self, rank: u64) -> Vec<Planned> {
        let (grid, place) = (&self.grid, self.grid.place(rank));
        let (data, model) = (place.data, place.model);
        let mut files = Vec::new();
        let mut push =
            |name, contents, object_id| files.push(Planned { name, contents, object_id });
        // Without ZeRO all copies are equal and the first is written alone.
        let silent = rank >= grid.ranks || grid.zero_stage == 0 && data > 0;
        if self.model.state_bytes > 0 && (!silent || self.by_all && rank < grid.ranks) {
            let id = object_id(Family::State, 0, rank);
            push(format!("model_states-{rank}"), Contents::State, id);
        }
        if silent {
            return files;
        }
        let layers = self.model.stage_layers(place.pipeline, grid.pipeline);
        match grid.zero_stage {
            _ if layers.is_empty() => {}
            1 | 2 if data > 0 => {}
            1 | 2 if grid.pipeline > 1 => {
                for layer in layers {
                    let name = format!("layer_{layer}-model_{model}_model_states");
                    let id = object_id(Family::Layer, layer, model);
                    push(name, Contents::Layers(layer..layer + 1), id);
                }
            }
            stage => {
                let name = match stage {
                    1 | 2 => format!("model_{model}_model_states"),
                    _ => format!("zero_pp_rank_{data}_mp_rank_{model}_model_states"),
                };
                push(name, Contents::Layers(layers), object_id(Family::Whole, data, model));
            }
        }
        if self.payload_bytes(&Contents::Optimizer) > 0 {
            let name = format!("zero_pp_rank_{data}_mp_rank_{model}_optim_states");
            push(name, Contents::Optimizer, object_id(Family::Optimizer, data, model));
        }
        files
    }

    /// Bytes of the tensors of a file.
    fn payload_bytes(&self, contents: &Contents) -> u64 {
        let (model, grid) = (&self.model, &self.grid);
        match contents {
            Contents::State => model.state_bytes,
            Contents::Layers(layers) => {
                model.layers_bytes(layers.clone(), grid.tensor, grid.weight_shards())
            }
            Contents::Optimizer => model.optimizer_bytes(grid.optimizer_sharers()),
        }
    }

    /// Bytes before them.
    fn header_bytes(&self, contents: &Contents) -> u64 {
        match self.layout {
            CheckpointLayout::Raw => 0,
            CheckpointLayout::Safetensors => {
                safetensors::header(&self.tensors(contents)).len() as u64
            }
        }
    }

    /// The named tensors of a file, in order; empty ones are left out.
    fn tensors(&self, contents: &Contents) -> Vec<safetensors::Tensor> {
        let (model, grid) = (&self.model, &self.grid);
        let mut tensors = match contents {
            Contents::State => vec![safetensors::Tensor {
                name: "model.state".into(),
                datatype: Datatype::Uint8,
                shape: vec![model.state_bytes],
            }],
            Contents::Layers(layers) => {
                let of = |layer| model.named_tensors(layer, grid.tensor, grid.weight_shards());
                layers.clone().flat_map(of).collect()
            }
            Contents::Optimizer => model.named_optimizer(grid.optimizer_sharers()),
        };
        tensors.retain(|tensor| tensor.bytes() > 0);
        tensors
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
