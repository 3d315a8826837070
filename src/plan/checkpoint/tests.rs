//! Sizes to the byte, against the benchmark's published totals and independently computed tables.

use super::*;
use crate::config::{CheckpointMode, Datatype, Parallelism, Transformer};
use crate::plan::{Plan, WorldShape};
use proptest::prelude::*;
use std::collections::HashSet;
use std::path::PathBuf;

const GIB: f64 = (1u64 << 30) as f64;

/// Blocks, (H, F, A, KV, V), (TP, PP, ZeRO stage).
type Figures = (u64, [u64; 5], [u64; 3]);

/// The benchmark's four, and two of DLIO's own.
fn figures(name: &str) -> Figures {
    match name {
        "8b" => (32, [4096, 14_336, 32, 8, 128_256], [1, 1, 3]),
        "70b" => (80, [8192, 28_672, 128, 8, 128_256], [8, 1, 3]),
        "405b" => (126, [16_384, 53_248, 128, 8, 128_256], [8, 32, 1]),
        "1t" => (128, [25_872, 98_304, 192, 32, 128_256], [8, 64, 1]),
        "7b" => (32, [4096, 11_008, 32, 32, 32_000], [1, 1, 1]),
        other => panic!("no model {other}"),
    }
}

fn transformer((layers, sizes, grid): Figures) -> Config {
    let [hidden_size, ffn_hidden_size, num_attention_heads, num_kv_heads, vocab_size] = sizes;
    let [tensor, pipeline, zero_stage] = grid;
    let mut config = Config { framework: Framework::Pytorch, ..Config::default() };
    (config.workflow.checkpoint, config.workflow.train) = (true, false);
    config.model.kind = Some("transformer".into());
    config.model.num_layers = layers;
    config.model.transformer =
        Transformer { vocab_size, hidden_size, ffn_hidden_size, num_attention_heads, num_kv_heads };
    config.model.parallelism = Parallelism { tensor, pipeline, data: 0, zero_stage };
    config.checkpoint.num_checkpoints_write = 10;
    config.checkpoint.num_checkpoints_read = 10;
    config
}

fn llama(name: &str) -> Config {
    transformer(figures(name))
}

fn subset(name: &str, data: u64) -> Config {
    let mut config = llama(name);
    config.checkpoint.mode = CheckpointMode::Subset;
    config.model.parallelism.data = data;
    config
}

fn plan(config: &Config, ranks: u64) -> CheckpointPlan {
    CheckpointPlan::new(config, ranks).unwrap().unwrap()
}

fn refusal(config: &Config, ranks: u64) -> String {
    CheckpointPlan::new(config, ranks).unwrap_err().0
}

/// (first rank, last rank, model bytes, optimizer bytes) of each class.
fn table(plan: &CheckpointPlan) -> Vec<(u64, u64, u64, u64)> {
    let classes = plan.classes().into_iter();
    classes.map(|c| (c.first_rank, c.last_rank, c.model_bytes, c.optimizer_bytes)).collect()
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

#[test]
fn ranks_have_the_bytes_of_the_tables() {
    let equal =
        [("8b", 8, 2_007_565_312, 12_045_637_632), ("70b", 64, 2_184_120_320, 13_103_482_368)];
    for (name, ranks, model, optimizer) in equal {
        assert_eq!(table(&plan(&llama(name), ranks)), [(0, ranks - 1, model, optimizer)], "{name}");
    }
    let optimizer = 9_513_171_840;
    let rows = [
        (0, 7, 3_713_269_760, optimizer),
        (8, 239, 3_187_933_184, optimizer),
        (240, 247, 2_390_949_888, optimizer),
        (248, 255, 2_916_319_232, optimizer),
        (256, 511, 0, optimizer),
    ];
    assert_eq!(table(&plan(&llama("405b"), 512)), rows);
    let optimizer = 13_865_244_924;
    let rows = [
        (0, 7, 5_425_047_936, optimizer),
        (8, 503, 4_595_488_128, optimizer),
        (504, 511, 5_425_099_680, optimizer),
        (512, 1023, 0, optimizer),
    ];
    assert_eq!(table(&plan(&llama("1t"), 1024)), rows);
}

#[test]
fn other_numbers_of_ranks_have_the_bytes_of_the_tables() {
    let cases = [
        ("8b", 4, 4_015_130_624, 24_091_029_504, 104.7036),
        ("8b", 16, 1_003_782_656, 6_022_941_696, 104.7064),
        ("70b", 128, 1_092_060_160, 6_551_986_944, 911.2414),
        ("405b", 1024, 3_713_269_760, 4_757_077_440, 5292.717),
        ("1t", 2048, 5_425_047_936, 6_933_398_616, 15_428.070),
    ];
    for (name, ranks, model, optimizer, total_gib) in cases {
        let plan = plan(&llama(name), ranks);
        let first = plan.classes()[0];
        assert_eq!((first.model_bytes, first.optimizer_bytes), (model, optimizer), "{name}");
        let total = plan.total_bytes() as f64 / GIB;
        assert!((total - total_gib).abs() < 0.0006, "{name} {ranks}: {total}");
    }
}

#[test]
fn a_subset_is_the_first_ranks_of_the_whole_job() {
    let cases =
        [("70b", 8, 122_300_821_504), ("405b", 2, 105_811_532_800), ("1t", 2, 154_322_342_880)];
    for (name, data, total) in cases {
        let part = plan(&subset(name, data), 8);
        assert_eq!(part.total_bytes(), total, "{name}");
        let whole = plan(&llama(name), part.grid().model_ranks() * data);
        for rank in 0..8 {
            assert_eq!(part.files_of(rank), whole.files_of(rank), "{name}");
        }
    }
    // A subset of three ranks of the first stage.
    assert_eq!(table(&plan(&subset("405b", 2), 3)), [(0, 2, 3_713_269_760, 9_513_171_840)]);
}

#[test]
fn llama_7b_of_dlio_has_its_parameters() {
    let plan = plan(&llama("7b"), 8);
    assert_eq!(plan.parameters(), 6_738_415_616);
    let gib = [plan.total_bytes(), plan.model_bytes(), plan.optimizer_bytes()]
        .map(|bytes| (bytes as f64 / GIB * 1000.0).round() / 1000.0);
    assert_eq!(gib, [87.861, 12.551, 75.309]);
    let names: Vec<_> = plan.files_of(0).into_iter().map(|file| file.name).collect();
    assert_eq!(names, ["model_0_model_states.pt", "zero_pp_rank_0_mp_rank_0_optim_states.pt"]);
    assert_eq!(plan.files_of(1).len(), 1);
}

#[test]
fn files_are_named_as_in_the_reference() {
    let files = |name, ranks, rank| {
        let plan = plan(&llama(name), ranks);
        plan.files_of(rank).into_iter().map(|file| (file.name, file.bytes)).collect::<Vec<_>>()
    };
    let row = |name: &str, bytes| (name.to_string(), bytes);
    assert_eq!(
        files("405b", 512, 255),
        [
            row("layer_124-model_255_model_states.pt", 796_983_296),
            row("layer_125-model_255_model_states.pt", 796_983_296),
            row("layer_126-model_255_model_states.pt", 796_983_296),
            row("layer_127-model_255_model_states.pt", 525_336_576),
            row("layer_128-model_255_model_states.pt", 32_768),
            row("zero_pp_rank_0_mp_rank_255_optim_states.pt", 9_513_171_840),
        ]
    );
    assert_eq!(
        files("405b", 512, 257),
        [row("zero_pp_rank_1_mp_rank_1_optim_states.pt", 9_513_171_840)]
    );
    assert_eq!(files("1t", 1024, 511)[3].1, 51_744);
    assert_eq!(
        files("70b", 64, 19),
        [
            row("zero_pp_rank_2_mp_rank_3_model_states.pt", 2_184_120_320),
            row("zero_pp_rank_2_mp_rank_3_optim_states.pt", 13_103_482_368),
        ]
    );
    let mut tensorflow = llama("8b");
    tensorflow.framework = Framework::Tensorflow;
    let plan = plan(&tensorflow, 8);
    assert_eq!(plan.files_of(1)[0].name, "zero_pp_rank_1_mp_rank_0_model_states.pb");
    assert_eq!(plan.name_of(3), "global_epoch1_step3");
}

#[test]
fn without_zero_one_copy_writes() {
    let mut config = llama("7b");
    config.model.parallelism = Parallelism { tensor: 2, pipeline: 2, data: 0, zero_stage: 0 };
    let plan = plan(&config, 12);
    assert_eq!((plan.writers(), plan.total_files()), (0..4, 8));
    let own = 6_738_415_616 / 4;
    assert_eq!(plan.classes()[0].optimizer_bytes, 4 * (3 * own + 15 * 4096));
    assert!(plan.files_of(4).is_empty());
    assert_eq!(plan.files_of(3)[0].name, "zero_pp_rank_0_mp_rank_3_model_states.pt");
}

#[test]
fn other_models_have_the_sizes_they_give() {
    let mut bert = Config::default();
    bert.workflow.checkpoint = true;
    bert.model.model_size_bytes = 4_034_713_312;
    let alone = plan(&bert, 4);
    assert_eq!((alone.total_bytes(), alone.writers()), (4_034_713_312, 0..1));
    assert_eq!(alone.files_of(0)[0].name, "model_states-0.pb");
    assert_eq!(alone.parameters(), 0);
    bert.model.parallelism.zero_stage = 1;
    assert_eq!(plan(&bert, 4).total_bytes(), 4 * 4_034_713_312);
}

/// Layers of the reference's file for a model of 30e9 parameters on a grid of 4 x 8.
fn given_layers(layers: u64, zero_stage: u64) -> Config {
    let mut config = Config::default();
    config.workflow.checkpoint = true;
    config.framework = Framework::Pytorch;
    config.model.kind = Some("megatron_deepspeed".into());
    config.model.num_layers = layers;
    config.model.layer_parameters = vec![52_583_936, 209_715_200];
    config.model.optimization_groups = vec![1_009_254_400, 865_075_200, 793_600];
    config.model.parallelism = Parallelism { tensor: 4, pipeline: 8, data: 0, zero_stage };
    config
}

/// The figures are what the reference's own class printed for each rank: its base class of
/// checkpoints, with ranks that were pretended and a writer that added up the bytes of each file.
#[test]
fn given_layers_are_bytes_and_have_neither_embedding_nor_head() {
    let whole = plan(&given_layers(40, 1), 32);
    assert_eq!((whole.total_bytes(), whole.total_files()), (190_504_120_320, 224));
    assert_eq!(table(&whole), [(0, 31, 5_953_253_760 - 5_625_369_600, 5_625_369_600)]);
    let files = whole.files_of(1).into_iter().map(|file| (file.name, file.bytes));
    let layer = |index| (format!("layer_{index}-model_1_model_states.pt"), 65_574_784);
    let optimizer = ("zero_pp_rank_0_mp_rank_1_optim_states.pt".into(), 5_625_369_600);
    let mut expected = vec![("model_states-1.pt".into(), 10_240)];
    expected.extend((1..=5).map(layer).chain([optimizer]));
    assert_eq!(files.collect::<Vec<_>>(), expected);
    // (layers, ranks, ZeRO, model size), then files and bytes.
    for ((layers, ranks, zero, state), (total_files, total_bytes)) in [
        ((40, 64, 1, 10_240), (288, 370_516_275_200)),
        ((44, 64, 1, 30_102), (304, 371_566_742_912)),
        ((40, 8, 3, 10_240), (24, 65_986_969_600)),
        ((40, 8, 0, 10_240), (12, 32_993_484_800)),
    ] {
        let mut config = given_layers(layers, zero);
        config.model.model_size_bytes = state;
        if zero != 1 {
            config.model.parallelism.pipeline = 1;
        }
        let plan = plan(&config, ranks);
        assert_eq!((plan.total_files(), plan.total_bytes()), (total_files, total_bytes));
    }
    // Groups alone leave the layers of a transformer as they are.
    let mut groups = given_layers(2, 1);
    groups.model.kind = Some("transformer".into());
    groups.model.layer_parameters.clear();
    groups.model.optimization_groups = vec![7, 5];
    groups.model.parallelism = Parallelism { zero_stage: 1, ..Parallelism::default() };
    assert_eq!(table(&plan(&groups, 4)), [(0, 0, 505_434_148 - 36, 36), (1, 3, 0, 36)]);
}

#[test]
fn datatypes_scale_their_part() {
    let (small, large) = (plan(&llama("8b"), 8), {
        let mut config = llama("8b");
        config.model.model_datatype = Datatype::Fp32;
        config.model.optimizer_datatype = Datatype::Bf16;
        plan(&config, 8)
    });
    assert_eq!(large.model_bytes(), 2 * small.model_bytes());
    assert_eq!(2 * large.optimizer_bytes(), small.optimizer_bytes());
}

#[test]
fn grids_that_cannot_be_are_refused_in_one_line() {
    let multiple = "500 ranks are no multiple of model.parallelism.tensor x pipeline = 256; give \
                    one, or checkpoint.mode: subset with model.parallelism.data";
    assert_eq!(refusal(&llama("405b"), 500), multiple);
    let many = "1025 ranks for model.parallelism tensor x pipeline x data = 512 places";
    assert!(refusal(&subset("405b", 2), 1025).starts_with(many));
    let mut staged = llama("8b");
    staged.model.parallelism.pipeline = 2;
    assert!(refusal(&staged, 8).starts_with("model.parallelism.zero_stage 3 cannot go with"));
    assert!(refusal(&llama("8b"), 0).starts_with("0 ranks"));
    let mut huge = llama("8b");
    huge.model.num_layers = 1 << 17;
    assert_eq!(refusal(&huge, 8), "model.num_layers is 131072; give at most 65536");
    huge.model.num_layers = 1 << 16;
    huge.model.transformer.hidden_size = 1 << 26;
    assert!(refusal(&huge, 8).contains("parameters; give fewer than 2^55"));
    huge.model.transformer.hidden_size = 1 << 27;
    assert!(refusal(&huge, 8).contains("a size is above 2^26"));
    let mut empty = Config::default();
    empty.workflow.checkpoint = true;
    empty.model.model_size_bytes = 0;
    assert!(refusal(&empty, 1).contains("the model has no bytes"));
    assert_eq!(CheckpointPlan::new(&Config::default(), 7), Ok(None));
}

/// Least and most of a host in GiB, independently computed for the benchmark's own grids.
#[test]
fn hosts_have_the_bytes_of_the_tables() {
    let cases = [
        ("405b", 512, 8, [567.0, 761.0, 661.5, 661.5]),
        ("405b", 512, 32, [141.8, 193.2, 164.8, 166.0]),
        ("405b", 512, 64, [70.9, 98.5, 82.0, 83.2]),
        ("1t", 1024, 128, [103.3, 143.7, 120.4, 121.2]),
    ];
    for (name, ranks, hosts, expected) in cases {
        let plan = plan(&llama(name), ranks);
        let block = plan.host_bytes(Placement::Block, hosts);
        let robin = plan.host_bytes(Placement::RoundRobin, hosts);
        let found = [block.min_bytes, block.max_bytes, robin.min_bytes, robin.max_bytes]
            .map(|bytes| (bytes as f64 / GIB * 10.0).round() / 10.0);
        assert_eq!(found, expected, "{name} on {hosts} hosts");
    }
    let block = plan(&llama("405b"), 512).host_bytes(Placement::Block, 8);
    assert_eq!(block.max_to_mean, 1.15);
}

/// Files are computed for one rank, not for all: 10^8 ranks take no longer than eight.
#[test]
fn nothing_grows_with_the_ranks() {
    let config = transformer((126, figures("405b").1, [8, 32, 1]));
    let plan = plan(&config, 256 * 390_625);
    assert_eq!(plan.classes().len(), 5);
    let host = plan.host_bytes(Placement::RoundRobin, 12_500_000);
    assert!(host.min_bytes < host.max_bytes);
    assert_eq!(plan.files_of(99_999_999).len(), 1);
}

fn any_config() -> impl Strategy<Value = (Config, u64)> {
    let sizes = (1u64..40, 1u64..40, 1u64..9, 1u64..9, 1u64..60);
    let grid = (1u64..4, 1u64..5, 0u64..4, 1u64..4);
    (1u64..12, sizes, grid, any::<bool>(), 1u64..60).prop_map(
        |(layers, (h, f, a, kv, v), (tp, pp, zero, data), part, ranks)| {
            let pp = if zero == 3 { 1 } else { pp.min(layers) };
            let figures = (layers, [h * 8, f, a.min(h), kv, v], [tp, pp, zero]);
            let mut config = transformer(figures);
            if part {
                config.checkpoint.mode = CheckpointMode::Subset;
                config.model.parallelism.data = data;
                (config, 1 + ranks % (tp * pp * data))
            } else {
                (config, tp * pp * data)
            }
        },
    )
}

proptest! {
    #[test]
    fn the_parts_add_up((mut config, ranks) in any_config(), safetensors: bool) {
        if safetensors {
            config.checkpoint.layout = CheckpointLayout::Safetensors;
        }
        let plan = plan(&config, ranks);
        let (mut bytes, mut model, mut files) = (0, 0, 0);
        let (mut names, mut ids) = (HashSet::new(), HashSet::new());
        let mut classes = plan.classes().into_iter();
        let mut class = classes.next().unwrap();
        prop_assert_eq!(class.first_rank, 0);
        for rank in 0..ranks {
            if rank > class.last_rank {
                let next = classes.next().unwrap();
                prop_assert_eq!(next.first_rank, class.last_rank + 1);
                class = next;
            }
            let own = plan.files_of(rank);
            let of = |kind| own.iter().filter(|f| f.kind == kind).map(|f| f.bytes).sum::<u64>();
            prop_assert_eq!(class.files, own.len() as u64);
            prop_assert_eq!(class.model_bytes, of(ShardKind::Model));
            prop_assert_eq!(class.optimizer_bytes, of(ShardKind::Optimizer));
            prop_assert_eq!(class.bytes, plan.bytes_of(rank));
            prop_assert_eq!(plan.writers().contains(&rank), !own.is_empty());
            bytes += class.bytes;
            model += class.model_bytes;
            files += class.files;
            for file in own {
                prop_assert!(names.insert(file.name.clone()), "{} twice", file.name);
                prop_assert!(ids.insert(file.object_id), "id of {} twice", file.name);
            }
        }
        prop_assert_eq!(class.last_rank, ranks - 1);
        prop_assert_eq!(classes.next(), None);
        let (total, of_model) = (plan.total_bytes(), plan.model_bytes());
        prop_assert_eq!((bytes, model, files), (total, of_model, plan.total_files()));
        prop_assert_eq!(plan.optimizer_bytes(), total - of_model);
    }

    #[test]
    fn stages_share_the_layers(layers in 1u64..50, stages in 1u64..20) {
        let model = ModelFigures::new(&transformer((layers, [8, 8, 1, 1, 8], [1, 1, 1])).model);
        let model = model.unwrap();
        let stages = stages.min(layers);
        let ranges = (0..stages).map(|stage| model.stage_layers(stage, stages));
        let all: Vec<u64> = ranges.clone().flatten().collect();
        prop_assert_eq!(all, (0..layers + 3).collect::<Vec<_>>());
        let blocks = ranges.map(|r| r.filter(|&l| model.kind_of(l) == LayerKind::Block).count());
        let (least, most) = (blocks.clone().min().unwrap(), blocks.max().unwrap());
        prop_assert!(most - least <= 1);
    }

    #[test]
    fn hosts_have_least_and_most_as_counted((config, ranks) in any_config(), hosts in 1u64..40) {
        let (plan, hosts) = (plan(&config, ranks), hosts.min(ranks));
        for placement in [Placement::Block, Placement::RoundRobin] {
            let mut all = vec![0; hosts as usize];
            for rank in 0..ranks {
                let host = match placement {
                    Placement::Block => placement::host_of(ranks, hosts, rank),
                    Placement::RoundRobin => rank % hosts,
                };
                all[host as usize] += plan.bytes_of(rank);
            }
            let found = plan.host_bytes(placement, hosts);
            prop_assert_eq!(Some(&found.min_bytes), all.iter().min());
            prop_assert_eq!(Some(&found.max_bytes), all.iter().max());
        }
    }
}

/// Compares with `tests/golden/plan/<name>`; with `RANKIO_UPDATE_GOLDEN=1`, writes it.
fn check_golden(name: &str, text: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/plan").join(name);
    if std::env::var("RANKIO_UPDATE_GOLDEN").as_deref() == Ok("1") {
        std::fs::write(&path, text).unwrap();
        return;
    }
    let golden = std::fs::read_to_string(&path).unwrap();
    assert_eq!(golden, text, "{name} differs; RANKIO_UPDATE_GOLDEN=1 rewrites it");
}

#[test]
fn plans_match_their_golden_files() {
    for (name, ranks, hosts) in [("8b", 8, 1), ("70b", 64, 8), ("405b", 512, 64), ("1t", 1024, 128)]
    {
        let world = WorldShape { ranks, hosts, memory_per_host_bytes: 512 << 30 };
        let plan = Plan::new(&llama(name), world).unwrap();
        assert!(!plan.has_dataset());
        let hide = |text: String| text.replace(&plan.hash(), "(hash)");
        let json = serde_json::to_string_pretty(&plan.to_json()).unwrap();
        check_golden(&format!("llama3_{name}.json"), &hide(json + "\n"));
        check_golden(&format!("llama3_{name}.txt"), &hide(plan.to_text()));
    }
}

#[test]
fn ranks_agree_on_model_grid_and_manner() {
    let world = WorldShape { ranks: 8, hosts: 1, memory_per_host_bytes: 0 };
    let hash = |config: &Config| Plan::new(config, world).unwrap().hash();
    let base = llama("8b");
    let mut seen = HashSet::from([hash(&base)]);
    let changes: [fn(&mut Config); 4] = [
        |c| c.model.num_layers = 31,
        |c| c.model.parallelism.tensor = 2,
        |c| c.checkpoint.num_checkpoints_read = 5,
        |c| c.checkpoint.weights_only = true,
    ];
    for change in changes {
        let mut config = base.clone();
        change(&mut config);
        assert!(seen.insert(hash(&config)), "{:?}", config.checkpoint);
    }
    let mut own = base.clone();
    own.checkpoint.checkpoint_folder = "/scratch".into();
    own.dataset.num_files_train = 0;
    assert_eq!(hash(&own), hash(&base));
}

/// A file's tensors add up to the formulas, whether or not they divide.
#[test]
fn named_tensors_add_up_to_the_formulas() {
    for name in ["8b", "70b", "405b", "1t", "7b"] {
        let model = ModelFigures::new(&llama(name).model).unwrap();
        for (tensor, shards) in [(1, 1), (8, 1), (1, 8), (8, 8), (7, 3)] {
            for layer in [0, 1, model.layers, model.layers + 1, model.layers + 2] {
                let kind = model.kind_of(layer);
                let named = model.named_tensors(layer, tensor, shards);
                let sum: u64 = named.iter().map(|tensor| tensor.bytes()).sum();
                assert_eq!(sum, model.layer_bytes(kind, tensor, shards), "{name} {layer}");
            }
        }
        let optimizer: u64 = model.named_optimizer(8).iter().map(|tensor| tensor.bytes()).sum();
        assert_eq!(optimizer, model.optimizer_bytes(8), "{name}");
    }
}

#[test]
fn tensors_have_the_names_and_shapes_of_llama() {
    let model = ModelFigures::new(&llama("405b").model).unwrap();
    let rows: Vec<_> = [0, 1, 127, 128]
        .into_iter()
        .flat_map(|layer| model.named_tensors(layer, 8, 1))
        .map(|tensor| (tensor.name, tensor.shape))
        .collect();
    let block = "model.layers.0";
    let expected = [
        ("model.embed_tokens.weight".to_string(), vec![16_032, 16_384]),
        (format!("{block}.input_layernorm.weight"), vec![16_384]),
        (format!("{block}.self_attn.q_proj.weight"), vec![2048, 16_384]),
        (format!("{block}.self_attn.k_proj.weight"), vec![128, 16_384]),
        (format!("{block}.self_attn.v_proj.weight"), vec![128, 16_384]),
        (format!("{block}.self_attn.o_proj.weight"), vec![16_384, 2048]),
        (format!("{block}.post_attention_layernorm.weight"), vec![16_384]),
        (format!("{block}.mlp.gate_proj.weight"), vec![6656, 16_384]),
        (format!("{block}.mlp.up_proj.weight"), vec![6656, 16_384]),
        (format!("{block}.mlp.down_proj.weight"), vec![16_384, 6656]),
        ("lm_head.weight".into(), vec![16_032, 16_384]),
        ("model.norm.weight".into(), vec![16_384]),
    ];
    assert_eq!(rows, expected);
}

#[test]
fn safetensors_have_a_header_and_the_same_tensors() {
    for (name, ranks, rank) in [("8b", 8, 3), ("405b", 512, 250), ("1t", 1024, 600)] {
        let raw = plan(&llama(name), ranks);
        let mut config = llama(name);
        config.checkpoint.layout = CheckpointLayout::Safetensors;
        let named = plan(&config, ranks);
        let files = named.files_of(rank);
        let layouts = named.layouts_of(rank);
        assert_eq!(files.len(), layouts.len());
        for ((file, layout), plain) in files.iter().zip(&layouts).zip(raw.files_of(rank)) {
            assert_eq!(file.name, plain.name.replace(".pt", ".safetensors"));
            assert_eq!(file.object_id, plain.object_id);
            assert_eq!(layout.file_bytes(), file.bytes, "{}", file.name);
            let header = file.bytes - plain.bytes;
            assert!(header > 0 && header.is_multiple_of(4096), "{}: {header}", file.name);
        }
        assert_eq!(named.classes().len(), raw.classes().len(), "{name}");
        let plain = raw.layouts_of(rank);
        assert_eq!(plain[0].file_bytes(), raw.files_of(rank)[0].bytes);
    }
}
