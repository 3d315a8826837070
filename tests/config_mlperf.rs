//! The published MLPerf Storage workload files load unmodified, with exactly their figures.
//!
//! The files are read from `$RANKIO_SHARED/mlperf-configs` or `../shared/mlperf-configs`; without
//! them the tests say so and pass.

use rankio::config::{
    Config, Distribution, Durability, FormatKind, Framework, Loaded, Shuffle, load,
};
use rankio::plan::CheckpointPlan;
use std::path::{Path, PathBuf};

/// The folder of the files, if this machine has it.
fn workloads() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared");
    let shared = std::env::var_os("RANKIO_SHARED").map_or(beside, PathBuf::from);
    let folder = shared.join("mlperf-configs");
    if !folder.is_dir() {
        eprintln!("skipped: {} does not exist (set RANKIO_SHARED)", folder.display());
        return None;
    }
    Some(folder)
}

fn yaml_files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("the folder is readable");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let mut files: Vec<_> =
        paths.filter(|path| path.extension().is_some_and(|suffix| suffix == "yaml")).collect();
    files.sort();
    assert!(!files.is_empty(), "{} holds no workload", folder.display());
    files
}

fn training(name: &str) -> Option<Loaded> {
    let path = workloads()?.join("training").join(name);
    Some(load(&[path], &[]).unwrap_or_else(|error| panic!("{name}: {error}")))
}

/// What every run file of one model shares with its datagen file.
struct Model {
    name: &'static str,
    framework: Framework,
    format: FormatKind,
    files: u64,
    samples: u64,
    /// Mean, standard deviation and resize, in bytes.
    record: (f64, f64),
    folder: &'static str,
}

const UNET3D: Model = Model {
    name: "unet3d",
    framework: Framework::Pytorch,
    format: FormatKind::Npz,
    files: 168,
    samples: 1,
    record: (146_600_628.0, 68_341_808.0),
    folder: "data/unet3d",
};
const RESNET50: Model = Model {
    name: "resnet50",
    framework: Framework::Tensorflow,
    format: FormatKind::Tfrecord,
    files: 1024,
    samples: 1251,
    record: (114_660.07, 0.0),
    folder: "data/resnet50",
};
const COSMOFLOW: Model = Model {
    name: "cosmoflow",
    framework: Framework::Tensorflow,
    format: FormatKind::Tfrecord,
    files: 524_288,
    samples: 1,
    record: (2_828_486.0, 71_311.0),
    folder: "data/cosmoflow",
};
const RETINANET: Model = Model {
    name: "retinanet",
    framework: Framework::Pytorch,
    format: FormatKind::Jpeg,
    files: 1_170_301,
    samples: 1,
    record: (322_957.0, 0.0),
    folder: "data/retinanet",
};
const DLRM: Model = Model {
    name: "dlrm",
    framework: Framework::Pytorch,
    format: FormatKind::Parquet,
    files: 1024,
    samples: 4_718_592,
    record: (761.0, 0.0),
    folder: "data/dlrm",
};
const FLUX: Model = Model {
    name: "flux",
    framework: Framework::Pytorch,
    format: FormatKind::Parquet,
    files: 4296,
    samples: 288,
    record: (2_164_832.0, 0.0),
    folder: "data/flux",
};

fn assert_dataset(config: &Config, model: &Model) {
    let dataset = &config.dataset;
    let name = model.name;
    assert_eq!(config.model.name, name);
    assert_eq!(config.framework, model.framework, "{name}");
    assert_eq!(dataset.format, model.format, "{name}");
    assert_eq!(dataset.num_files_train, model.files, "{name}");
    assert_eq!(dataset.num_files_eval, 0, "{name}");
    assert_eq!(dataset.num_samples_per_file, model.samples, "{name}");
    let record = (dataset.record_length_bytes, dataset.record_length_bytes_stdev);
    assert_eq!(record, model.record, "{name}");
    assert_eq!(dataset.data_folder, model.folder, "{name}");
}

#[test]
fn datagen_files_have_their_figures() {
    for model in [&UNET3D, &RESNET50, &COSMOFLOW, &RETINANET, &DLRM, &FLUX] {
        let Some(loaded) = training(&format!("{}_datagen.yaml", model.name)) else { return };
        assert_dataset(&loaded.config, model);
        let workflow = &loaded.config.workflow;
        assert!(workflow.generate_data && !workflow.train && !workflow.checkpoint);
    }
}

/// Figures of a run: file, model, batch, read threads, (file, sample) shuffle, epochs, seconds of a
/// step, AU.
type Run = (&'static str, &'static Model, u64, u64, (Shuffle, Shuffle), u64, f64, f64);

#[test]
fn run_files_have_their_figures() {
    use Shuffle::{Off, Seed};
    let runs: [Run; 6] = [
        ("unet3d_h100", &UNET3D, 7, 4, (Seed, Seed), 5, 0.323, 0.90),
        ("resnet50_h100", &RESNET50, 400, 8, (Off, Off), 5, 0.224, 0.90),
        ("cosmoflow_h100", &COSMOFLOW, 1, 4, (Seed, Seed), 5, 0.00350, 0.70),
        ("retinanet_b200", &RETINANET, 24, 8, (Seed, Seed), 8, 0.04755, 0.85),
        ("dlrm_b200", &DLRM, 12_288, 4, (Seed, Off), 1, 0.000375, 0.70),
        ("flux_b200", &FLUX, 48, 8, (Seed, Off), 1, 1.35, 0.90),
    ];
    for (name, model, batch, threads, shuffles, epochs, seconds, au) in runs {
        let Some(Loaded { config, .. }) = training(&format!("{name}.yaml")) else { return };
        assert_dataset(&config, model);
        let workflow = &config.workflow;
        assert!(!workflow.generate_data && workflow.train && !workflow.checkpoint, "{name}");
        let reader = &config.reader;
        assert_eq!((reader.batch_size, reader.read_threads), (batch, threads), "{name}");
        assert_eq!(reader.prefetch_size, 2, "{name}");
        assert_eq!((reader.file_shuffle, reader.sample_shuffle), shuffles, "{name}");
        assert_eq!(config.train.epochs, epochs, "{name}");
        assert_eq!(config.train.computation_time, Distribution::Constant { seconds }, "{name}");
        assert_eq!((config.train.seed, config.train.total_training_steps), (123, None), "{name}");
        assert_eq!(config.metric.au, au, "{name}");
        let window = &config.output.metric;
        assert_eq!((window.exclude_start_steps, window.exclude_end_steps), (1, 0), "{name}");
        assert!(config.io.direct, "{name}");
    }
}

#[test]
fn effective_files_load_again_to_the_same() {
    let Some(folder) = workloads() else { return };
    let scratch = tempfile::tempdir().expect("a temporary folder");
    let kinds = ["training", "checkpointing"].map(|kind| yaml_files(&folder.join(kind)));
    for path in kinds.concat() {
        let first = load(std::slice::from_ref(&path), &[]).expect("loads");
        let written = scratch.path().join("effective.yaml");
        std::fs::write(&written, &first.effective_yaml).expect("written");
        let again = load(&[written], &[]).expect("the effective file is a workload file");
        assert_eq!(again.config, first.config, "{}", path.display());
        assert_eq!(again.effective_yaml, first.effective_yaml, "{}", path.display());
        assert_eq!(again.notes, Vec::<String>::new(), "{}", path.display());
    }
}

#[test]
fn ignored_keys_of_unet3d_are_named() {
    let Some(loaded) = training("unet3d_h100.yaml") else { return };
    let keys: Vec<_> = loaded.notes.iter().filter_map(|note| note.split(':').next()).collect();
    let expected = ["model.model_size", "dataset.record_length_bytes_resize", "reader.data_loader"];
    assert_eq!(keys, expected);
}

#[test]
fn sizes_of_the_acceptance_run_can_be_set() {
    let Some(folder) = workloads() else { return };
    let path = folder.join("training/unet3d_datagen.yaml");
    let overrides = [
        "dataset.num_files_train=14",
        "dataset.record_length_bytes=16MiB",
        "dataset.record_length_bytes_stdev=4MiB",
    ];
    let config = load(&[path], &overrides.map(String::from)).expect("loads").config;
    assert_eq!(config.dataset.num_files_train, 14);
    assert_eq!(config.dataset.record_length_bytes, 16.0 * 1_048_576.0);
    assert_eq!(config.dataset.record_length_bytes_stdev, 4.0 * 1_048_576.0);
}

#[test]
fn files_of_other_benchmarks_are_refused_in_one_sentence() {
    let Some(folder) = workloads() else { return };
    let cases = [
        ("vectordb", "database: vector database workloads are not available in this version"),
        ("kvcache", "user_templates: KV-cache workloads are not available in this version"),
    ];
    for (kind, sentence) in cases {
        for path in yaml_files(&folder.join(kind)) {
            let error = load(std::slice::from_ref(&path), &[]).expect_err("is refused").0;
            let rest = error.strip_prefix(&format!("{}:", path.display())).expect("names the file");
            let (line, rest) = rest.split_once(": ").expect("names the line");
            assert!(line.parse::<usize>().is_ok(), "{error}");
            assert_eq!(rest, sentence);
        }
    }
}

#[test]
fn checkpointing_files_have_their_figures() {
    let Some(folder) = workloads() else { return };
    let models = [
        ("8b", 8, 8_030_261_248, 112_425_623_552),
        ("70b", 64, 69_882_617_856, 978_406_572_032),
        ("405b", 512, 405_853_388_800, 5_682_508_791_808),
        ("1t", 1024, 1_183_035_102_480, 16_564_174_094_592),
    ];
    for (name, ranks, parameters, bytes) in models {
        let path = folder.join(format!("checkpointing/llama3_{name}.yaml"));
        let loaded = load(&[path], &[]).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(loaded.notes, Vec::<String>::new(), "{name}");
        let config = loaded.config;
        let checkpoint = &config.checkpoint;
        assert_eq!(checkpoint.checkpoint_folder, format!("checkpoints/llama_{name}"));
        assert_eq!((checkpoint.num_checkpoints_write, checkpoint.num_checkpoints_read), (10, 10));
        assert_eq!((checkpoint.durability, checkpoint.pause_s()), (Durability::Fsync, 5.0));
        let plan = CheckpointPlan::new(&config, ranks).unwrap().expect("writes checkpoints");
        assert_eq!((plan.parameters(), plan.total_bytes()), (parameters, bytes), "{name}");
    }
}
