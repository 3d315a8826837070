//! Sizes to the byte, against the benchmark's published totals and independently computed tables.

use super::*;
use crate::config::{Parallelism, Transformer};

/// Llama 3 as the benchmark defines it: layers, (V, H, F, A, KV), TP, PP, ZeRO stage.
fn llama(name: &str) -> Config {
    let (layers, hidden, ffn, heads, kv, tensor, pipeline, zero_stage) = match name {
        "8b" => (32, 4096, 14_336, 32, 8, 1, 1, 3),
        "70b" => (80, 8192, 28_672, 128, 8, 8, 1, 3),
        "405b" => (126, 16_384, 53_248, 128, 8, 8, 32, 1),
        "1t" => (128, 25_872, 98_304, 192, 32, 8, 64, 1),
        other => panic!("no model {other}"),
    };
    let mut config = Config { framework: Framework::Pytorch, ..Config::default() };
    config.workflow.checkpoint = true;
    config.model.kind = Some("transformer".into());
    config.model.num_layers = layers;
    config.model.transformer = Transformer {
        vocab_size: 128_256,
        hidden_size: hidden,
        ffn_hidden_size: ffn,
        num_attention_heads: heads,
        num_kv_heads: kv,
    };
    config.model.parallelism = Parallelism { tensor, pipeline, data: 0, zero_stage };
    config
}

fn plan(config: &Config, ranks: u64) -> CheckpointPlan {
    CheckpointPlan::new(config, ranks).unwrap().unwrap()
}

/// Totals of the benchmark's published logs: parameters, bytes, model bytes, files.
#[test]
fn totals_are_those_of_published_runs() {
    let cases = [
        ("8b", 8, 8_030_261_248, 112_425_623_552, 8 * 2_007_565_312, 16),
        ("70b", 64, 69_882_617_856, 978_406_572_032, 64 * 2_184_120_320, 128),
        ("405b", 512, 405_853_388_800, 5_682_508_791_808, 811_764_809_728, 1544),
        ("1t", 1024, 1_183_035_102_480, 16_564_174_094_592, 2_366_163_292_416, 2072),
    ];
    for (name, ranks, parameters, bytes, model_bytes, files) in cases {
        let plan = plan(&llama(name), ranks);
        assert_eq!(plan.parameters(), parameters, "{name}");
        assert_eq!(plan.total_bytes(), bytes, "{name}");
        assert_eq!(plan.model_bytes(), model_bytes, "{name}");
        assert_eq!(plan.optimizer_bytes(), bytes - model_bytes, "{name}");
        assert_eq!(plan.total_files(), files, "{name}");
    }
}
