//! How large a model is and how it is cut: parameters, layers of a stage, bytes of a layer.
//!
//! The formulas are those of the benchmark's reference (DLIO, `base_checkpointing.py`); every
//! quotient is rounded down where the reference does, so that sizes agree to the byte. Layers are
//! numbered 0 (embedding), 1 to L (blocks), L + 1 (head), L + 2 (final norm). Where the tensors of
//! a layer are given (`layer_parameters`), there are the blocks alone, and an element is a byte.

use super::PlanError;
use crate::config::{Datatype, Model, Transformer};
use std::ops::Range;
use std::sync::Arc;

/// Blocks of a model end here, so that the files of a rank stay a list.
const LAYERS_MAX: u64 = 1 << 16;
/// Width-five vectors beside each of the three optimizer arrays.
const OPTIMIZER_EXTRA_WIDTHS: u64 = 5;
/// Arrays of an optimizer: master weights and two moments.
pub const OPTIMIZER_ARRAYS: u64 = 3;

/// What a layer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LayerKind {
    /// Layer 0.
    Embedding,
    /// Layers 1 to L.
    Block,
    /// Layer L + 1.
    Head,
    /// Layer L + 2.
    Norm,
}

/// Figures of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelFigures {
    /// L; 0: no layers.
    pub layers: u64,
    /// Sizes of a transformer.
    pub transformer: Transformer,
    /// Elements of each tensor of a block where they are given; empty: of a transformer.
    pub layer_parameters: Arc<[u64]>,
    /// Elements of each optimizer group where they are given.
    pub optimization_groups: Arc<[u64]>,
    /// Bytes of the one file of a model that is no transformer; 0: none.
    pub state_bytes: u64,
    /// Type of a weight.
    pub weights: Datatype,
    /// Type of an optimizer element.
    pub optimizer: Datatype,
}

/// The type of an element; of `given` ones a byte, as in the reference, whatever the file says.
fn datatype(given: &[u64], configured: Datatype) -> Datatype {
    if given.is_empty() { configured } else { Datatype::Int8 }
}

impl ModelFigures {
    /// The figures of `model`. Refuses a model that does not fit into 64 bits.
    pub fn new(model: &Model) -> Result<ModelFigures, PlanError> {
        let is_transformer = model.is_transformer();
        let has_layers = is_transformer || !model.layer_parameters.is_empty();
        let figures = ModelFigures {
            layers: if has_layers { model.num_layers } else { 0 },
            transformer: model.transformer,
            layer_parameters: model.layer_parameters.clone().into(),
            optimization_groups: model.optimization_groups.clone().into(),
            state_bytes: if is_transformer { 0 } else { model.model_size_bytes },
            weights: datatype(&model.layer_parameters, model.model_datatype),
            optimizer: datatype(&model.optimization_groups, model.optimizer_datatype),
        };
        figures.check()?;
        Ok(figures)
    }

    /// All sizes stay far below 2^63, whatever the grid.
    fn check(&self) -> Result<(), PlanError> {
        if self.layers > LAYERS_MAX {
            return Err(PlanError(format!(
                "model.num_layers is {}; give at most {LAYERS_MAX}",
                self.layers
            )));
        }
        let t = &self.transformer;
        if t.num_attention_heads == 0 {
            return Err(PlanError(
                "model.transformer.num_attention_heads is 0; give at least 1".into(),
            ));
        }
        let sides = [t.vocab_size, t.hidden_size, t.ffn_hidden_size, t.num_kv_heads];
        if sides.iter().any(|&side| side > 1 << 26) {
            return Err(PlanError("model.transformer: a size is above 2^26; give less".into()));
        }
        let given = self.layer_parameters.iter().chain(self.optimization_groups.iter());
        let given = given.map(|&elements| u128::from(elements)).sum::<u128>();
        if given > 1 << 53 {
            return Err(PlanError(
                "model.layer_parameters and model.optimization_groups add up to more than 2^53 \
                 elements; give less"
                    .into(),
            ));
        }
        let all = self.wide_parameters();
        if all > 1 << 55 {
            return Err(PlanError(format!(
                "the model has {all} parameters; give fewer than 2^55 (model.num_layers and \
                 model.transformer)"
            )));
        }
        Ok(())
    }

    /// Width of keys and values, `(H div A) * KV`.
    pub(super) fn kv_width(&self) -> u64 {
        let t = &self.transformer;
        t.hidden_size / t.num_attention_heads * t.num_kv_heads
    }

    /// Parameters: `2 V H + L (H + H (H + 2 D) + H H + H + 3 F H) + H` for a transformer, the sum
    /// of what is given for others. 0 without layers.
    pub fn parameters(&self) -> u64 {
        u64::try_from(self.wide_parameters()).expect("refused above 2^55")
    }

    fn wide_parameters(&self) -> u128 {
        if self.layers == 0 {
            return 0;
        }
        let kinds = [LayerKind::Embedding, LayerKind::Head, LayerKind::Norm];
        let whole = |kind| self.layer_elements(kind, 1, 1).map(u128::from).sum::<u128>();
        let ends: u128 = if self.has_ends() { kinds.into_iter().map(whole).sum() } else { 0 };
        ends + u128::from(self.layers) * whole(LayerKind::Block)
    }

    /// Whether there are layers before and behind the blocks. The reference has none where the
    /// tensors of a layer are given.
    fn has_ends(&self) -> bool {
        self.layer_parameters.is_empty()
    }

    /// What layer `index` is.
    pub fn kind_of(&self, index: u64) -> LayerKind {
        match index {
            0 => LayerKind::Embedding,
            _ if index <= self.layers => LayerKind::Block,
            _ if index == self.layers + 1 => LayerKind::Head,
            _ => LayerKind::Norm,
        }
    }

    /// Elements of each tensor of a layer on one rank, where `tensor` ranks share a layer and
    /// `shards` copies share the weights. Given tensors are divided by `tensor` alone, as the
    /// reference does.
    pub fn layer_elements(
        &self,
        kind: LayerKind,
        tensor: u64,
        shards: u64,
    ) -> impl Iterator<Item = u64> {
        let t = &self.transformer;
        let (h, v, f) = (t.hidden_size, t.vocab_size, t.ffn_hidden_size);
        let split = |elements: u64| elements / tensor / shards;
        let norm = h / shards;
        let of_transformer = match kind {
            LayerKind::Embedding | LayerKind::Head => vec![split(h * v)],
            LayerKind::Norm => vec![norm],
            LayerKind::Block => vec![
                norm,
                split(h * (h + 2 * self.kv_width())),
                split(h * h),
                norm,
                split(2 * h * f),
                split(h * f),
            ],
        };
        let given = self.layer_parameters.iter().map(|elements| elements / tensor);
        if self.layer_parameters.is_empty() { of_transformer } else { given.collect() }.into_iter()
    }

    /// Bytes of a layer's tensors on one rank; see [`ModelFigures::layer_elements`].
    pub fn layer_bytes(&self, kind: LayerKind, tensor: u64, shards: u64) -> u64 {
        self.layer_elements(kind, tensor, shards).sum::<u64>() * self.weights.bytes()
    }

    /// Bytes of the tensors of layers `range`.
    pub fn layers_bytes(&self, range: Range<u64>, tensor: u64, shards: u64) -> u64 {
        let count = |from: u64, to: u64| {
            range.end.min(to).saturating_sub(range.start.max(from)) // of from..to in the range
        };
        let blocks = count(1, self.layers + 1);
        let one = |index: u64, kind| {
            let bytes = self.layer_bytes(kind, tensor, shards);
            if range.contains(&index) { bytes } else { 0 }
        };
        one(0, LayerKind::Embedding)
            + blocks * self.layer_bytes(LayerKind::Block, tensor, shards)
            + one(self.layers + 1, LayerKind::Head)
            + one(self.layers + 2, LayerKind::Norm)
    }

    /// Layers of pipeline stage `stage` of `stages`: blocks as evenly as they go, earlier stages
    /// first; the first stage has the embedding, the last the head and the final norm, where the
    /// model has these. Empty without layers.
    pub fn stage_layers(&self, stage: u64, stages: u64) -> Range<u64> {
        if self.layers == 0 {
            return 0..0;
        }
        let (each, rest) = (self.layers / stages, self.layers % stages);
        let first = stage * each + stage.min(rest) + 1;
        let blocks = each + u64::from(stage < rest);
        let start = if stage == 0 && self.has_ends() { 0 } else { first };
        let is_last = stage + 1 == stages;
        let end = if is_last && self.has_ends() { self.layers + 3 } else { first + blocks };
        start..end
    }

    /// Elements of each optimizer tensor on one rank, where `sharers` ranks share the parameters:
    /// `n, 5 H, n, 5 H, n, 5 H` with `n = P div sharers`; given groups twice each and once
    /// together. Empty: there is no optimizer.
    pub fn optimizer_elements(&self, sharers: u64) -> Vec<u64> {
        if !self.optimization_groups.is_empty() {
            let twice = self.optimization_groups.iter().flat_map(|&group| [group, group]);
            return twice.chain([self.optimization_groups.iter().sum()]).collect();
        }
        let own = self.parameters() / sharers;
        if own == 0 || !self.layer_parameters.is_empty() {
            return Vec::new();
        }
        let extra = OPTIMIZER_EXTRA_WIDTHS * self.transformer.hidden_size;
        [own, extra].repeat(OPTIMIZER_ARRAYS as usize)
    }

    /// Bytes of the optimizer tensors on one rank; 0: none.
    pub fn optimizer_bytes(&self, sharers: u64) -> u64 {
        self.optimizer_elements(sharers).iter().sum::<u64>() * self.optimizer.bytes()
    }
}
