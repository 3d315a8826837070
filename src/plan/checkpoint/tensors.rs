//! The tensors of a file, in the order of their bytes: what `checkpoint.layout: safetensors` names
//! and what another grid reads parts of.
//!
//! Names are those of Llama checkpoints. A fused size of the reference's formulas (query, key and
//! value; gate and up) is told apart into its tensors here; where a quotient leaves a rest, the
//! last of them has it, so that the sum stays that of the formula.

use super::model::{LayerKind, ModelFigures};
use crate::format::safetensors::Tensor;

/// A tensor of a layer on one rank.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerTensor {
    /// Name below the layer.
    pub name: String,
    /// Elements.
    pub elements: u64,
    /// Sides; one where the tensor is a flat part of a whole one.
    pub shape: Vec<u64>,
    /// Every tensor parallel rank has all of it.
    pub is_replicated: bool,
}

/// A whole matrix: name, rows, columns, and whether tensor parallel ranks share its columns.
type Matrix = (&'static str, u64, u64, bool);

/// How a layer is cut.
#[derive(Debug, Clone, Copy)]
struct Cut {
    tensor: u64,
    shards: u64,
}

impl Cut {
    fn norm(self, name: &str, width: u64) -> LayerTensor {
        let elements = width / self.shards;
        LayerTensor { name: name.into(), elements, shape: vec![elements], is_replicated: true }
    }

    /// Matrices that the formulas count as one.
    fn fused(self, matrices: &[Matrix]) -> Vec<LayerTensor> {
        let split = |elements: u64| elements / self.tensor / self.shards;
        let mut rest = split(matrices.iter().map(|(_, rows, columns, _)| rows * columns).sum());
        let mut out = Vec::new();
        for (index, &(name, rows, columns, by_columns)) in matrices.iter().enumerate() {
            let is_last = index + 1 == matrices.len();
            let elements = if is_last { rest } else { split(rows * columns) };
            rest -= elements;
            let (shared, other) = if by_columns { (columns, rows) } else { (rows, columns) };
            let own = shared / self.tensor;
            let shape = match (self.shards, own * other == elements, by_columns) {
                (1, true, true) => vec![other, own],
                (1, true, false) => vec![own, other],
                _ => vec![elements],
            };
            out.push(LayerTensor { name: name.into(), elements, shape, is_replicated: false });
        }
        out
    }
}

impl ModelFigures {
    /// The tensors of a layer on one rank, where `tensor` ranks share a layer and `shards` copies
    /// share the weights. Their elements add up to those of the formulas.
    pub fn layer_tensors(&self, kind: LayerKind, tensor: u64, shards: u64) -> Vec<LayerTensor> {
        if !self.layer_parameters.is_empty() {
            let given = self.layer_elements(kind, tensor, shards).enumerate();
            return given
                .map(|(index, elements)| LayerTensor {
                    name: format!("parameter.{index}"),
                    elements,
                    shape: vec![elements],
                    is_replicated: false,
                })
                .collect();
        }
        let t = &self.transformer;
        let (h, v, f, d) = (t.hidden_size, t.vocab_size, t.ffn_hidden_size, self.kv_width());
        let cut = Cut { tensor, shards };
        match kind {
            LayerKind::Embedding | LayerKind::Head => cut.fused(&[("weight", v, h, false)]),
            LayerKind::Norm => vec![cut.norm("weight", h)],
            LayerKind::Block => [
                vec![cut.norm("input_layernorm.weight", h)],
                cut.fused(&[
                    ("self_attn.q_proj.weight", h, h, false),
                    ("self_attn.k_proj.weight", d, h, false),
                    ("self_attn.v_proj.weight", d, h, false),
                ]),
                cut.fused(&[("self_attn.o_proj.weight", h, h, true)]),
                vec![cut.norm("post_attention_layernorm.weight", h)],
                cut.fused(&[
                    ("mlp.gate_proj.weight", f, h, false),
                    ("mlp.up_proj.weight", f, h, false),
                ]),
                cut.fused(&[("mlp.down_proj.weight", h, f, true)]),
            ]
            .concat(),
        }
    }

    /// The named tensors of layer `index`.
    pub fn named_tensors(&self, index: u64, tensor: u64, shards: u64) -> Vec<Tensor> {
        let kind = self.kind_of(index);
        let prefix = match kind {
            LayerKind::Embedding => "model.embed_tokens".into(),
            LayerKind::Block => format!("model.layers.{}", index - 1),
            LayerKind::Head => "lm_head".into(),
            LayerKind::Norm => "model.norm".into(),
        };
        let tensors = self.layer_tensors(kind, tensor, shards).into_iter();
        tensors
            .map(|t| Tensor {
                name: format!("{prefix}.{}", t.name),
                datatype: self.weights,
                shape: t.shape,
            })
            .collect()
    }

    /// The named tensors of an optimizer file: master weights and the two moments, each a flat
    /// shard and what is beside it; given groups twice each and together.
    pub fn named_optimizer(&self, sharers: u64) -> Vec<Tensor> {
        let names: Vec<String> = match self.optimization_groups.len() {
            0 => ["fp32", "exp_avg", "exp_avg_sq"]
                .iter()
                .flat_map(|name| ["flat", "rest"].map(|part| format!("optimizer.{name}.{part}")))
                .collect(),
            groups => (0..groups)
                .flat_map(|group| ["a", "b"].map(|part| format!("optimizer.{group}.{part}")))
                .chain(["optimizer.combined".into()])
                .collect(),
        };
        let elements = self.optimizer_elements(sharers);
        let named = names.into_iter().zip(elements);
        named
            .map(|(name, elements)| Tensor {
                name,
                datatype: self.optimizer,
                shape: vec![elements],
            })
            .collect()
    }
}
