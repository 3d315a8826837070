//! `model`: what a checkpoint is a checkpoint of. Names and defaults are DLIO's.

use serde::{Deserialize, Serialize};

/// The type of `model.type` whose sizes follow from `model.transformer`.
pub const TRANSFORMER: &str = "transformer";

/// `model`. Training looks at the name only; all else sizes checkpoints.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Model {
    /// Name of the model, used in reports.
    pub name: String,
    /// `transformer`, or any other word for a model of `model_size_bytes`; None: a transformer
    /// where `num_layers` is given and `layer_parameters` is not.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// State of a rank in bytes; not of a transformer.
    pub model_size_bytes: u64,
    /// Type of a weight.
    pub model_datatype: Datatype,
    /// Type of an optimizer element.
    pub optimizer_datatype: Datatype,
    /// Transformer blocks; 0: none.
    pub num_layers: u64,
    /// Bytes of each optimizer group of a rank; empty: they follow from the parameters.
    pub optimization_groups: Vec<u64>,
    /// Bytes of each tensor of a block before it is divided by the tensor parallelism; empty: they
    /// follow from `transformer`.
    pub layer_parameters: Vec<u64>,
    /// How the model is spread over the ranks.
    pub parallelism: Parallelism,
    /// Sizes of a transformer.
    pub transformer: Transformer,
}

impl Default for Model {
    fn default() -> Self {
        Model {
            name: "default".into(),
            kind: None,
            model_size_bytes: 10_240,
            model_datatype: Datatype::Fp16,
            optimizer_datatype: Datatype::Fp32,
            num_layers: 0,
            optimization_groups: Vec::new(),
            layer_parameters: Vec::new(),
            parallelism: Parallelism::default(),
            transformer: Transformer::default(),
        }
    }
}

impl Model {
    /// Whether the sizes follow from `model.transformer`.
    pub fn is_transformer(&self) -> bool {
        match &self.kind {
            Some(kind) => kind.eq_ignore_ascii_case(TRANSFORMER),
            None => self.num_layers > 0 && self.layer_parameters.is_empty(),
        }
    }
}

/// `model.parallelism`. Ranks are counted tensor first, then pipeline, then data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Parallelism {
    /// Ranks that share a layer.
    pub tensor: u64,
    /// Stages that share the layers.
    pub pipeline: u64,
    /// Copies of the model; 0: as many as the ranks make. Only with `checkpoint.mode: subset`.
    pub data: u64,
    /// ZeRO stage: 1 shards the optimizer over the copies, 3 the weights too.
    pub zero_stage: u64,
}

impl Default for Parallelism {
    fn default() -> Self {
        Parallelism { tensor: 1, pipeline: 1, data: 0, zero_stage: 0 }
    }
}

/// `model.transformer`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Transformer {
    /// Tokens of the vocabulary.
    pub vocab_size: u64,
    /// Width of the model.
    pub hidden_size: u64,
    /// Width of the feed-forward part.
    pub ffn_hidden_size: u64,
    /// Heads of the queries.
    pub num_attention_heads: u64,
    /// Heads of keys and values.
    pub num_kv_heads: u64,
}

impl Default for Transformer {
    fn default() -> Self {
        Transformer {
            vocab_size: 32_000,
            hidden_size: 2048,
            ffn_hidden_size: 8192,
            num_attention_heads: 32,
            num_kv_heads: 8,
        }
    }
}

/// `model_datatype`, `optimizer_datatype`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Hash)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum Datatype {
    Int8,
    Uint8,
    Fp16,
    Bf16,
    Fp32,
    Fp64,
}

impl Datatype {
    /// Bytes of an element.
    pub fn bytes(self) -> u64 {
        match self {
            Datatype::Int8 | Datatype::Uint8 => 1,
            Datatype::Fp16 | Datatype::Bf16 => 2,
            Datatype::Fp32 => 4,
            Datatype::Fp64 => 8,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_with_layers_of_unknown_size_is_a_transformer() {
        let mut model = Model::default();
        assert!(!model.is_transformer());
        model.num_layers = 2;
        assert!(model.is_transformer());
        model.layer_parameters = vec![7];
        assert!(!model.is_transformer());
        model.kind = Some("Transformer".into());
        assert!(model.is_transformer());
        model.kind = Some("cnn".into());
        assert!(!model.is_transformer());
    }
}
