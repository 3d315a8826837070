//! safetensors files of small Llamas, taken apart by a reader of this test's own; and written for
//! the Python package (`tests/interop/readers.py`) by `write_for_readers`.

use rankio::config::{CheckpointLayout, Config, Datatype, Framework, Parallelism, Transformer};
use rankio::data::{ContentSettings, Generator};
use rankio::format::{Filler, Layout};
use rankio::plan::{CheckpointPlan, ShardKind};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

/// A Llama of `layers` blocks on (tensor, pipeline, ZeRO stage).
fn llama(layers: u64, (tensor, pipeline, zero_stage): (u64, u64, u64)) -> Config {
    let mut config = Config { framework: Framework::Pytorch, ..Config::default() };
    (config.workflow.checkpoint, config.workflow.train) = (true, false);
    config.model.kind = Some("transformer".into());
    config.model.num_layers = layers;
    config.model.transformer = Transformer {
        vocab_size: 96,
        hidden_size: 64,
        ffn_hidden_size: 160,
        num_attention_heads: 8,
        num_kv_heads: 2,
    };
    config.model.parallelism = Parallelism { tensor, pipeline, data: 0, zero_stage };
    config.checkpoint.layout = CheckpointLayout::Safetensors;
    config
}

/// A whole file over generated content.
fn over(layout: &dyn Layout) -> Vec<u8> {
    let settings = ContentSettings {
        seed: 1,
        pcg: false,
        stamped: false,
        compress_ratio: 1.0,
        dedup_ratio: 1.0,
    };
    let generator = Generator::new(settings);
    let mut file = vec![0; layout.file_bytes() as usize];
    let content = generator.object(7, 1, layout.file_bytes());
    Filler::new(layout, content).fill(&mut file);
    file
}

/// One tensor as a header has it.
struct Found {
    dtype: String,
    shape: Vec<u64>,
    start: u64,
    end: u64,
}

/// The tensors of a file; panics where the format is violated.
fn tensors(file: &[u8]) -> BTreeMap<String, Found> {
    let length = u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
    let header: Value = serde_json::from_slice(&file[8..8 + length]).unwrap();
    let mut found = BTreeMap::new();
    for (name, tensor) in header.as_object().unwrap() {
        if name == "__metadata__" {
            continue;
        }
        let numbers = |key: &str| -> Vec<u64> {
            tensor[key].as_array().unwrap().iter().map(|n| n.as_u64().unwrap()).collect()
        };
        let [start, end] = numbers("data_offsets")[..] else { panic!("two offsets") };
        let dtype = tensor["dtype"].as_str().unwrap().to_string();
        found.insert(name.clone(), Found { dtype, shape: numbers("shape"), start, end });
    }
    let mut ranges: Vec<_> = found.values().map(|t| (t.start, t.end)).collect();
    ranges.sort_unstable();
    let mut at = 0;
    for (start, end) in ranges {
        assert_eq!(start, at, "tensors are back to back");
        at = end;
    }
    assert_eq!(8 + length as u64 + at, file.len() as u64, "nothing after the last tensor");
    found
}

fn elements(found: &Found) -> u64 {
    found.shape.iter().product()
}

/// Both copies together: elements of each tensor over all ranks.
fn totals(config: &Config, ranks: u64) -> (BTreeMap<String, u64>, u64) {
    let plan = CheckpointPlan::new(config, ranks).unwrap().unwrap();
    let (mut weights, mut optimizer) = (BTreeMap::new(), 0);
    for rank in 0..ranks {
        for (file, layout) in plan.files_of(rank).iter().zip(plan.layouts_of(rank)) {
            let bytes = over(&*layout);
            assert_eq!(bytes.len() as u64, file.bytes, "{}", file.name);
            for (name, tensor) in tensors(&bytes) {
                let width = if tensor.dtype == "F32" { 4 } else { 2 };
                assert_eq!(tensor.end - tensor.start, elements(&tensor) * width, "{name}");
                match file.kind {
                    ShardKind::Model => {
                        *weights.entry(name).or_default() += elements(&tensor);
                    }
                    ShardKind::Optimizer => optimizer += elements(&tensor),
                }
            }
        }
    }
    (weights, optimizer)
}

#[test]
fn shards_of_a_tensor_are_the_whole_tensor() {
    for (grid, ranks) in [((1, 1, 3), 4), ((2, 2, 1), 8), ((4, 1, 2), 8), ((2, 1, 0), 4)] {
        let (weights, optimizer) = totals(&llama(2, grid), ranks);
        let of = |name: &str| weights[name];
        // Every tensor parallel rank has the norms.
        assert_eq!(of("model.norm.weight"), 64 * grid.0, "{grid:?}");
        assert_eq!(of("model.layers.1.input_layernorm.weight"), 64 * grid.0, "{grid:?}");
        assert_eq!(of("model.embed_tokens.weight"), 96 * 64, "{grid:?}");
        assert_eq!(of("lm_head.weight"), 96 * 64);
        assert_eq!(of("model.layers.0.self_attn.q_proj.weight"), 64 * 64);
        assert_eq!(of("model.layers.0.self_attn.k_proj.weight"), 64 * 16);
        assert_eq!(of("model.layers.1.mlp.down_proj.weight"), 160 * 64);
        assert_eq!(weights.len(), 2 * 9 + 3);
        let writers = if grid.2 == 0 { grid.0 * grid.1 } else { ranks };
        let parameters = 2 * 96 * 64 + 2 * (2 * 64 + 64 * (64 + 32) + 64 * 64 + 3 * 160 * 64) + 64;
        assert_eq!(optimizer, 3 * (parameters + 5 * 64 * writers), "{grid:?}");
    }
}

#[test]
fn two_sided_tensors_keep_their_sides() {
    let plan = CheckpointPlan::new(&llama(2, (2, 2, 1)), 8).unwrap().unwrap();
    let layouts = plan.layouts_of(0);
    let embedding = tensors(&over(&*layouts[0]));
    assert_eq!(embedding["model.embed_tokens.weight"].shape, [48, 64]);
    let block = tensors(&over(&*layouts[1]));
    assert_eq!(block["model.layers.0.self_attn.o_proj.weight"].shape, [64, 32]);
    assert_eq!(block["model.layers.0.mlp.gate_proj.weight"].shape, [80, 64]);
    assert_eq!(block["model.layers.0.mlp.gate_proj.weight"].dtype, "F16");
}

/// Files of every grid and of a model of given sizes.
#[test]
#[ignore = "writes files for tests/interop/readers.py to RANKIO_GOLDEN_OUT"]
fn write_for_readers() {
    let out = PathBuf::from(std::env::var_os("RANKIO_GOLDEN_OUT").expect("RANKIO_GOLDEN_OUT"));
    let mut given = llama(3, (2, 1, 1));
    given.model.kind = Some("other".into());
    given.model.layer_parameters = vec![5, 77, 1000];
    given.model.optimization_groups = vec![11, 13];
    let mut wide = llama(2, (2, 1, 1));
    (wide.model.model_datatype, wide.model.optimizer_datatype) = (Datatype::Fp64, Datatype::Int8);
    let odd = llama(12, (7, 3, 1));
    let whole = llama(40, (1, 1, 3));
    let configs = [(llama(2, (2, 2, 1)), 8), (whole, 3), (given, 4), (wide, 4), (odd, 21)];
    for (index, (config, ranks)) in configs.iter().enumerate() {
        let plan = CheckpointPlan::new(config, *ranks).unwrap().unwrap();
        let folder = out.join(index.to_string()).join(plan.name_of(1));
        fs::create_dir_all(&folder).unwrap();
        for rank in 0..*ranks {
            for (file, layout) in plan.files_of(rank).iter().zip(plan.layouts_of(rank)) {
                fs::write(folder.join(&file.name), over(&*layout)).unwrap();
            }
        }
    }
}
