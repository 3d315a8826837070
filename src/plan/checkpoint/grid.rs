//! Where ranks stand: tensor parallel first, then pipeline stages, then copies of the model.

use super::PlanError;
use crate::config::{CheckpointMode, Config};
use serde::Serialize;

/// Ranks end here, so that a place fits into an object's id.
const RANKS_MAX: u64 = 1 << 28;

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

/// The grid of `config` for `ranks` ranks.
pub(super) fn of(config: &Config, ranks: u64) -> Result<Grid, PlanError> {
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
