//! The shipped workload files say what the benchmark's definition says, and what their own comments
//! say.

use rankio::config::{
    Config, Distribution, Durability, FormatKind, Framework, Shuffle, VerifyMode, accelerators,
    load, load_for,
};
use rankio::plan::{CheckpointPlan, nominal_sample_bytes};
use std::collections::BTreeSet;
use std::path::PathBuf;

/// Figures of one model, as MLPerf Storage v3 and its predecessors set them.
struct Model {
    name: &'static str,
    framework: Framework,
    format: FormatKind,
    files: u64,
    samples_per_file: u64,
    sample_bytes: f64,
    sample_bytes_stdev: f64,
    read_threads: u64,
    shuffle: Shuffle,
    sample_shuffle: Shuffle,
    epochs: u64,
    au: f64,
    /// Accelerator, batch size, seconds for each step.
    steps: &'static [(&'static str, u64, f64)],
}

const MODELS: &[Model] = &[
    Model {
        name: "unet3d",
        framework: Framework::Pytorch,
        format: FormatKind::Npz,
        files: 168,
        samples_per_file: 1,
        sample_bytes: 146_600_628.0,
        sample_bytes_stdev: 68_341_808.0,
        read_threads: 4,
        shuffle: Shuffle::Seed,
        sample_shuffle: Shuffle::Seed,
        epochs: 5,
        au: 0.90,
        steps: &[("a100", 7, 0.636), ("h100", 7, 0.323), ("b200", 7, 0.162)],
    },
    Model {
        name: "resnet50",
        framework: Framework::Tensorflow,
        format: FormatKind::Tfrecord,
        files: 1024,
        samples_per_file: 1251,
        sample_bytes: 114_660.07,
        sample_bytes_stdev: 0.0,
        read_threads: 8,
        shuffle: Shuffle::Off,
        sample_shuffle: Shuffle::Off,
        epochs: 5,
        au: 0.90,
        steps: &[("a100", 400, 0.435), ("h100", 400, 0.224)],
    },
    Model {
        name: "cosmoflow",
        framework: Framework::Tensorflow,
        format: FormatKind::Tfrecord,
        files: 524_288,
        samples_per_file: 1,
        sample_bytes: 2_828_486.0,
        sample_bytes_stdev: 71_311.0,
        read_threads: 4,
        shuffle: Shuffle::Seed,
        sample_shuffle: Shuffle::Seed,
        epochs: 5,
        au: 0.70,
        steps: &[("a100", 1, 0.00551), ("h100", 1, 0.0035)],
    },
    Model {
        name: "retinanet",
        framework: Framework::Pytorch,
        format: FormatKind::Jpeg,
        files: 1_170_301,
        samples_per_file: 1,
        sample_bytes: 322_957.0,
        sample_bytes_stdev: 0.0,
        read_threads: 8,
        shuffle: Shuffle::Seed,
        sample_shuffle: Shuffle::Seed,
        epochs: 8,
        au: 0.85,
        steps: &[("b200", 24, 0.04755), ("mi355", 36, 0.071325)],
    },
    Model {
        name: "dlrm",
        framework: Framework::Pytorch,
        format: FormatKind::Parquet,
        files: 1024,
        samples_per_file: 4_718_592,
        sample_bytes: 761.0,
        sample_bytes_stdev: 0.0,
        read_threads: 4,
        shuffle: Shuffle::Seed,
        sample_shuffle: Shuffle::Off,
        epochs: 1,
        au: 0.70,
        steps: &[("b200", 12_288, 0.000375), ("mi355", 18_432, 0.0005625)],
    },
    Model {
        name: "flux",
        framework: Framework::Pytorch,
        format: FormatKind::Parquet,
        files: 4296,
        samples_per_file: 288,
        sample_bytes: 2_164_832.0,
        sample_bytes_stdev: 0.0,
        read_threads: 8,
        shuffle: Shuffle::Seed,
        sample_shuffle: Shuffle::Off,
        epochs: 1,
        au: 0.90,
        steps: &[("b200", 48, 1.35), ("mi355", 72, 2.025)],
    },
];

/// Files that are not of a benchmark's model.
const OTHERS: [&str; 6] = [
    "quick.yaml",
    "object.yaml",
    "pipeline.yaml",
    "default.yaml",
    "bert_v100.yaml",
    "megatron_deepspeed.yaml",
];

/// Columns of dlrm in order, compactly: h float16, f float32, d float64, b int8; a capital is read.
const DLRM_COLUMNS: &str = "
    hhddfhfbhb fFdfbhfFFh DdddhFfhhf dFdfhhdbbb hFhFdbdddF fbbFffbfHF dhdbfhbFHf hFhfFDhbfd
    bbffhbhbFb FFHFDdFHbh hdhfdhhfdf ddbhhbBDfb hhbbbhbbfb hfdhhdhFdd hFbbdfdFdd bbbdDFfbFh
    FhFhdhdhfB dhbdbbbbhh BdddhdBbhF dbdfdFfddh";

fn path(file: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("workloads").join(file)
}

/// Loads a shipped file; every key in it must have an effect.
fn config(file: &str) -> Config {
    let loaded = load(&[path(file)], &[]).unwrap_or_else(|e| panic!("{file}: {e}"));
    assert!(loaded.notes.is_empty(), "{file}: {:?}", loaded.notes);
    loaded.config
}

fn check_dataset(model: &Model, file: &str, config: &Config) {
    let d = &config.dataset;
    assert_eq!(config.model.name, model.name, "{file}");
    assert_eq!(config.framework, model.framework, "{file}");
    assert_eq!(d.format, model.format, "{file}");
    assert_eq!(d.num_samples_per_file, model.samples_per_file, "{file}");
    assert_eq!(nominal_sample_bytes(d), model.sample_bytes, "{file}");
    assert_eq!(d.record_length_bytes_stdev, model.sample_bytes_stdev, "{file}");
    // Sized for the b200 from the start: 500 steps of seven samples for two accelerators.
    let files = if file == "unet3d_b200.yaml" { 7200 } else { model.files };
    assert_eq!(d.num_files_train, files, "{file}");
}

#[test]
fn runs_have_the_figures_of_their_model() {
    for model in MODELS {
        for (accelerator, batch, seconds) in model.steps {
            let file = format!("{}_{accelerator}.yaml", model.name);
            let config = config(&file);
            check_dataset(model, &file, &config);
            assert!(config.workflow.train && !config.workflow.generate_data, "{file}");
            assert!(!config.workflow.checkpoint && !config.workflow.evaluation, "{file}");
            assert_eq!(config.reader.batch_size, *batch, "{file}");
            assert_eq!(config.reader.read_threads, model.read_threads, "{file}");
            assert_eq!(config.reader.file_shuffle, model.shuffle, "{file}");
            assert_eq!(config.reader.sample_shuffle, model.sample_shuffle, "{file}");
            assert_eq!(config.train.epochs, model.epochs, "{file}");
            let constant = Distribution::Constant { seconds: *seconds };
            assert_eq!(config.train.computation_time, constant, "{file}");
            assert_eq!(config.metric.au, model.au, "{file}");
        }
    }
}

#[test]
fn datagen_makes_what_the_runs_read() {
    for model in MODELS {
        let file = format!("{}_datagen.yaml", model.name);
        let config = config(&file);
        check_dataset(model, &file, &config);
        assert!(config.workflow.generate_data && !config.workflow.train, "{file}");
        for (accelerator, ..) in model.steps {
            let mut run = self::config(&format!("{}_{accelerator}.yaml", model.name)).dataset;
            run.num_files_train = config.dataset.num_files_train;
            assert_eq!(run, config.dataset, "{file} and {accelerator}");
        }
    }
}

#[test]
fn the_object_file_does_every_operation() {
    let config = config("object.yaml");
    assert!(config.workflow.object && !config.workflow.uses_dataset());
    assert!(config.object.mix.weights().iter().all(|weight| *weight > 0.0));
    assert!(config.object.prefill && !config.object.keep);
    // 512 MiB of two ranks at most, so that it runs anywhere.
    assert!(config.object.objects * config.object.size <= 256 << 20);
}

#[test]
fn quick_is_quick() {
    let config = config("quick.yaml");
    assert!(config.workflow.generate_data && config.workflow.train);
    assert_eq!(config.verify.mode, VerifyMode::Sample);
    let d = &config.dataset;
    assert!(d.num_files_train as f64 * d.record_length_bytes <= f64::from(1 << 30));
    let Distribution::Constant { seconds } = config.train.computation_time else {
        panic!("a drawn step time has no upper bound")
    };
    let steps = d.num_files_train / config.reader.batch_size / 2 * config.train.epochs;
    assert!(steps >= 10 && steps as f64 * seconds < 30.0, "{steps} steps of {seconds} s");
}

#[test]
fn the_pipeline_makes_trains_saves_and_restores() {
    let config = config("pipeline.yaml");
    let workflow = &config.workflow;
    assert!(workflow.generate_data && workflow.train && workflow.checkpoint);
    let checkpoint = &config.checkpoint;
    assert!(checkpoint.num_checkpoints_read > 0 && checkpoint.is_async);
    assert_eq!(checkpoint.durability, Durability::Fsync);
    for ranks in [1, 2, 3] {
        // At least one checkpoint in each epoch.
        let steps = config.dataset.num_files_train / config.reader.batch_size / ranks;
        assert!(steps >= checkpoint.steps_between_checkpoints);
        let plan = CheckpointPlan::new(&config, ranks).unwrap().expect("writes checkpoints");
        assert_eq!(plan.total_files(), 2 * ranks);
        if ranks == 2 {
            let said = format!("of {:.1} MiB;", plan.total_bytes() as f64 / f64::from(1 << 20));
            assert!(std::fs::read_to_string(path("pipeline.yaml")).unwrap().contains(&said));
        }
    }
}

#[test]
fn comments_state_the_demand_that_the_figures_give() {
    let mut stated = 0;
    for file in shipped() {
        let text = std::fs::read_to_string(path(&file)).unwrap();
        let line = text.lines().find_map(|l| l.strip_prefix("# Demand at 100 % AU: "));
        let config = config(&file);
        assert_eq!(line.is_some(), config.workflow.train, "{file} states a demand iff it trains");
        let Some((number, _)) = line.and_then(|l| l.split_once(" GiB/s")) else { continue };
        let Distribution::Constant { seconds } = config.train.computation_time else {
            panic!("{file}: a demand needs a constant step time")
        };
        let step_bytes = config.reader.batch_size as f64 * nominal_sample_bytes(&config.dataset);
        let demand = step_bytes / seconds / f64::from(1 << 30);
        let said: f64 = number.parse().unwrap();
        assert!((said / demand - 1.0).abs() < 0.005, "{file}: {said}, but it is {demand:.4}");
        stated += 1;
    }
    assert!(stated > 0);
}

/// Names of all shipped files.
fn shipped() -> BTreeSet<String> {
    let entries = std::fs::read_dir(path("")).unwrap();
    let names = entries.map(|e| e.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name != "accelerators.yaml").collect()
}

#[test]
fn no_file_is_left_unchecked() {
    let mut expected = BTreeSet::from(OTHERS.map(str::to_string));
    for model in MODELS {
        let runs = model.steps.iter().map(|(accelerator, ..)| *accelerator);
        let kinds = runs.chain(["datagen"]);
        expected.extend(kinds.map(|kind| format!("{}_{kind}.yaml", model.name)));
    }
    expected.extend(CHECKPOINTS.map(|(name, ..)| format!("llama3_{name}.yaml")));
    assert_eq!(shipped(), expected);
}

/// Model, ranks of the benchmark's closed division, parameters, bytes and files of a checkpoint.
const CHECKPOINTS: [(&str, u64, u64, u64, u64); 4] = [
    ("8b", 8, 8_030_261_248, 112_425_623_552, 16),
    ("70b", 64, 69_882_617_856, 978_406_572_032, 128),
    ("405b", 512, 405_853_388_800, 5_682_508_791_808, 1544),
    ("1t", 1024, 1_183_035_102_480, 16_564_174_094_592, 2072),
];

#[test]
fn checkpoints_have_the_figures_of_their_model() {
    for (name, ranks, parameters, bytes, files) in CHECKPOINTS {
        let file = format!("llama3_{name}.yaml");
        let config = config(&file);
        assert_eq!(config.model.name, format!("llama3-{name}"));
        assert!(config.workflow.checkpoint && !config.workflow.uses_dataset(), "{file}");
        let checkpoint = &config.checkpoint;
        assert_eq!((checkpoint.num_checkpoints_write, checkpoint.num_checkpoints_read), (10, 10));
        assert_eq!((checkpoint.durability, checkpoint.pause_s()), (Durability::Fsync, 5.0));
        let plan = CheckpointPlan::new(&config, ranks).unwrap().expect("writes checkpoints");
        assert_eq!((plan.parameters(), plan.total_bytes()), (parameters, bytes), "{file}");
        assert_eq!(plan.total_files(), files, "{file}");
        let text = std::fs::read_to_string(path(&file)).unwrap();
        let gib = bytes as f64 / f64::from(1 << 30);
        let said = format!("# {ranks} ranks: {gib:.1} GiB in {files} files.");
        assert!(text.lines().any(|line| line == said), "{file} does not say: {said}");
    }
}

#[test]
fn each_accelerator_of_the_table_has_its_file_or_option() {
    let table = accelerators();
    for model in MODELS {
        for (accelerator, batch, seconds) in model.steps {
            let found = table[model.name][*accelerator];
            assert_eq!((found.batch_size, found.computation_time), (*batch, *seconds));
        }
    }
    let other = |file: &str, model: &str| {
        let config = config(file);
        let found = table[model]["v100"];
        let constant = Distribution::Constant { seconds: found.computation_time };
        assert_eq!(config.train.computation_time, constant, "{file}");
        assert_eq!(config.reader.batch_size, found.batch_size, "{file}");
    };
    other("bert_v100.yaml", "bert");
    other("megatron_deepspeed.yaml", "megatron_deepspeed");

    let over = ["reader.batch_size=9".to_string()];
    let config = load_for(&[path("unet3d_h100.yaml")], &over, Some("v100")).unwrap().config;
    assert_eq!(config.reader.batch_size, 9, "an override wins");
    assert_eq!(config.train.computation_time, Distribution::Constant { seconds: 1.3604 });
    let error = load_for(&[path("flux_b200.yaml")], &[], Some("h100")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "--accelerator: `h100` is not known for flux; give one of b200, mi355"
    );
}

#[test]
fn dlrm_reads_forty_of_its_two_hundred_columns() {
    let expected: Vec<_> = DLRM_COLUMNS.chars().filter(char::is_ascii_alphabetic).collect();
    assert_eq!(expected.len(), 200);
    for file in ["dlrm_datagen.yaml", "dlrm_b200.yaml", "dlrm_mi355.yaml"] {
        let columns = config(file).dataset.parquet.columns;
        let found = columns.iter().map(|column| {
            let code = match format!("{:?}", column.dtype).as_str() {
                "Float16" => 'h',
                "Float32" => 'f',
                "Float64" => 'd',
                "Int8" => 'b',
                other => panic!("{file}: {other}"),
            };
            if column.read == Some(true) { code.to_ascii_uppercase() } else { code }
        });
        assert_eq!(found.collect::<Vec<_>>(), expected, "{file}");
    }
}
