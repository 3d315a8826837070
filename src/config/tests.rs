//! Whole-room tests: files and overrides in, a typed configuration or one exact message out.

use super::*;
use proptest::prelude::*;
use std::fs;

/// Loads `yaml` as `w.yaml` with overrides; messages name the file without its folder.
fn load_text(yaml: &str, overrides: &[&str]) -> Result<Loaded, String> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("w.yaml");
    fs::write(&path, yaml).expect("the file is written");
    let overrides: Vec<_> = overrides.iter().map(|text| text.to_string()).collect();
    load(&[path], &overrides)
        .map_err(|error| error.0.replace(&format!("{}/", folder.path().display()), ""))
}

fn config(yaml: &str, overrides: &[&str]) -> Config {
    load_text(yaml, overrides).expect("a valid workload").config
}

fn notes(yaml: &str, overrides: &[&str]) -> Vec<String> {
    load_text(yaml, overrides).expect("a valid workload").notes
}

fn assert_refused(cases: &[(&str, &str)]) {
    for (yaml, message) in cases {
        let refused = load_text(yaml, &[]).map(|loaded| loaded.config);
        assert_eq!(refused, Err(message.to_string()), "\n{yaml}");
    }
}

#[test]
fn unknown_keys_are_refused_with_their_place() {
    assert_refused(&[
        (
            "dataset:\n  format: npz\n  num_file_train: 3\n",
            "w.yaml:3: dataset.num_file_train: unknown key; did you mean dataset.num_files_train?",
        ),
        (
            "reader: {batch_sise: 2}\n",
            "w.yaml:1: reader.batch_sise: unknown key; did you mean reader.batch_size?",
        ),
        (
            "data_reader:\n  batch_sise: 2\n",
            "w.yaml:2: data_reader.batch_sise: unknown key; did you mean reader.batch_size?",
        ),
        ("trian:\n  epochs: 2\n", "w.yaml:1: trian: unknown key; did you mean train?"),
        (
            "verify:\n  depth: 2\n",
            "w.yaml:2: verify.depth: unknown key; the keys of verify are mode, sample_fraction",
        ),
        (
            "io:\n  fault:\n    - op: read\n      kind: eio\n      evry: 2\n",
            "w.yaml:5: io.fault[0].evry: unknown key; did you mean every?",
        ),
        (
            "train:\n  computation_time:\n    maen: 1\n",
            "w.yaml:3: train.computation_time.maen: unknown key; did you mean mean?",
        ),
        ("dataset:\n  3: 4\n", "w.yaml:1: dataset: `3` is no name for a key"),
    ]);
}

#[test]
fn wrong_values_are_refused_with_what_is_allowed() {
    assert_refused(&[
        (
            "reader:\n  batch_size: -3\n",
            "w.yaml:2: reader.batch_size: `-3` is not allowed; give a whole number of at least 1 (and at most 2^53)",
        ),
        (
            "reader:\n  batch_size: 1.5\n",
            "w.yaml:2: reader.batch_size: `1.5` is not allowed; give a whole number of at least 1 (and at most 2^53)",
        ),
        (
            "reader:\n  batch_size:\n",
            "w.yaml:2: reader.batch_size: no value; give a whole number of at least 1 (and at most 2^53)",
        ),
        (
            "reader:\n  batch_size: 010\n",
            "w.yaml:2: reader.batch_size: `010` is not allowed; give a whole number of at least 1 (and at most 2^53)",
        ),
        (
            "io:\n  queue_depth: 5000\n",
            "w.yaml:2: io.queue_depth: `5000` is not allowed; give a whole number from 1 to 4096",
        ),
        (
            "io:\n  block_size: 5000\n",
            "w.yaml:2: io.block_size: `5000` is not allowed; give a size that is a multiple of 4 KiB from 4 KiB to 1 GiB, such as 65536, 4MiB or 16 MB",
        ),
        (
            "io: {block_size: 4Mb}\n",
            "w.yaml:1: io.block_size: `4Mb`: `Mb` may mean bits; write MB or MiB",
        ),
        (
            "dataset:\n  record_length_bytes: [1]\n",
            "w.yaml:2: dataset.record_length_bytes: a list is not allowed; give a size of at least 1 bytes, such as 114660.07, 4MiB or 16 MB",
        ),
        (
            "dataset:\n  compress_ratio: 0.5\n",
            "w.yaml:2: dataset.compress_ratio: `0.5` is not allowed; give a number of at least 1",
        ),
        (
            "verify:\n  sample_fraction: 0\n",
            "w.yaml:2: verify.sample_fraction: `0` is not allowed; give a number above 0 and at most 1",
        ),
        (
            "metric:\n  au: 90\n",
            "w.yaml:2: metric.au: `90` is not allowed; give a number of at least 0 and at most 1",
        ),
        (
            "metric:\n  au: .nan\n",
            "w.yaml:2: metric.au: `.nan` is not allowed; give a number of at least 0 and at most 1",
        ),
        (
            "workflow:\n  train: maybe\n",
            "w.yaml:2: workflow.train: `maybe` is not allowed; give True or False",
        ),
        (
            "reader:\n  file_shuffle: on\n",
            "w.yaml:2: reader.file_shuffle: `on` is not allowed; give one of off, seed, random",
        ),
        (
            "train:\n  total_training_steps: 0\n",
            "w.yaml:2: train.total_training_steps: `0` is not allowed; give a whole number of at least 1, or -1 for no limit",
        ),
        (
            "dataset:\n  file_prefix: 12\n",
            "w.yaml:2: dataset.file_prefix: `12` is not allowed; give a text that is not empty (in quotes where it looks like a number)",
        ),
        (
            "dataset:\n  record_dims: [4, 0]\n",
            "w.yaml:2: dataset.record_dims[1]: `0` is not allowed; give a whole number of at least 1 (and at most 2^53)",
        ),
        ("dataset: 3\n", "w.yaml:1: dataset: `3` is not allowed; give a mapping of keys"),
        (
            "io:\n  fault: [{kind: eio}]\n",
            "w.yaml:2: io.fault[0]: `op` is missing; give one of open, read, write, sync",
        ),
        (
            "io:\n  fault: [read]\n",
            "w.yaml:2: io.fault[0]: `read` is not allowed; give a mapping with the keys op, kind, at, every, name_contains, rank",
        ),
        (
            "io:\n  fault: read\n",
            "w.yaml:2: io.fault: `read` is not allowed; give a list of mappings with the keys op, kind, at, every, name_contains, rank",
        ),
        (
            "reader:\n  pin_memory: 7\n",
            "w.yaml:2: reader.pin_memory: `7` is not allowed; give True or False",
        ),
    ]);
}

#[test]
fn wrong_times_are_refused() {
    let allowed = "give seconds of at least 0, {mean: M, stdev: S}, or a mapping with `type` normal, uniform, gamma, exponential or poisson";
    let negative = format!("w.yaml:1: train.computation_time: `-1` is not allowed; {allowed}");
    let word = format!("w.yaml:1: train.computation_time: `soon` is not allowed; {allowed}");
    assert_refused(&[
        ("train: {computation_time: -1}\n", &negative),
        ("train: {computation_time: soon, computation_time_stdev: 1}\n", &word),
        (
            "train:\n  computation_time: {type: norml, mean: 1}\n",
            "w.yaml:2: train.computation_time.type: `norml` is not allowed; give one of constant, normal, uniform, gamma, exponential, poisson",
        ),
        (
            "train:\n  computation_time: {type: gamma, shape: 1}\n",
            "w.yaml:2: train.computation_time: `scale` is missing; a gamma distribution needs shape and scale",
        ),
        (
            "train:\n  computation_time: {type: uniform, min: 2, max: 1}\n",
            "w.yaml:2: train.computation_time: min 2 is above max 1; swap them",
        ),
        (
            "train:\n  computation_time: {stdev: 1}\n",
            "w.yaml:2: train.computation_time: `mean` is missing; a normal distribution needs mean and stdev",
        ),
        (
            "train:\n  computation_time: {mean: -1}\n",
            "w.yaml:2: train.computation_time.mean: `-1` is not allowed; give a number of at least 0",
        ),
        (
            "train:\n  computation_time_stdev: 1\n",
            "w.yaml:2: train.computation_time_stdev: needs train.computation_time; give that as well",
        ),
        (
            "train:\n  computation_time: {mean: 1, stdev: 2}\n  computation_time_stdev: 1\n",
            "w.yaml:3: train.computation_time_stdev: train.computation_time has a stdev already; keep one",
        ),
        (
            "evaluation:\n  eval_time: {type: poisson, lam: 1}\n  eval_time_stdev: 1\n",
            "w.yaml:3: evaluation.eval_time_stdev: only a normal distribution has one; remove it or change evaluation.eval_time",
        ),
    ]);
}

#[test]
fn contradictions_are_refused() {
    assert_refused(&[
        (
            "workflow: {checkpoint: True}\n",
            "w.yaml:1: workflow.checkpoint: checkpoints are not available in this version; set it to False",
        ),
        (
            "workflow:\n  evaluation: True\n",
            "w.yaml:2: workflow.evaluation: there is nothing to evaluate; give dataset.num_files_eval of at least 1",
        ),
        (
            "dataset:\n  num_files_train: 0\n",
            "w.yaml:2: dataset.num_files_train: there are no files; give at least 1, or files for evaluation in dataset.num_files_eval",
        ),
        (
            "dataset:\n  num_files_train: 1e15\n  num_samples_per_file: 1e15\n",
            "w.yaml:2: dataset.num_files_train: times dataset.num_samples_per_file is above 2^62 samples; give less",
        ),
        (
            "dataset:\n  num_subfolders_train: 9\n",
            "w.yaml:2: dataset.num_subfolders_train: `9` folders for 8 files; give at most 8",
        ),
        (
            "dataset:\n  record_dims: [4, 4]\n  record_length_bytes_stdev: 1\n",
            "w.yaml:2: dataset.record_dims: cannot go with dataset.record_length_bytes_stdev; a fixed shape has a fixed size, remove one",
        ),
        (
            "dataset:\n  record_dims: [1e10, 1e10]\n",
            "w.yaml:2: dataset.record_dims: the product is above 2^53 elements; give less",
        ),
        (
            "dataset:\n  file_prefix: a/b\n",
            "w.yaml:2: dataset.file_prefix: is a part of a file name; remove the `/`",
        ),
        (
            "io:\n  submit_batch: 16\n",
            "w.yaml:2: io.submit_batch: `16` is above io.queue_depth (8); give at most that",
        ),
        (
            "io:\n  block_size: 8MiB\n  max_buffer_bytes: 4MiB\n",
            "w.yaml:3: io.max_buffer_bytes: 4194304 bytes hold no request of io.block_size (8388608 bytes); give more",
        ),
        (
            "io:\n  queue_depth: 2\n  submit_batch: 4\n",
            "w.yaml:3: io.submit_batch: `4` is above io.queue_depth (2); give at most that",
        ),
        (
            "dataset:\n  num_files_generated: 9\n",
            "w.yaml:2: dataset.num_files_generated: must be dataset.num_files_train (8): reading a part of a dataset is not available in this version",
        ),
        (
            "storage:\n  storage_type: s3\n",
            "w.yaml:2: storage.storage_type: `s3` is not available in this version; give local_fs or direct_fs",
        ),
        (
            "storage:\n  storage_type: parallel_fs\n",
            "w.yaml:2: storage.storage_type: `parallel_fs` opens no store in the reference either; give local_fs and a path on the parallel file system",
        ),
        (
            "database:\n  host: x\n",
            "w.yaml:1: database: vector database workloads are not available in this version",
        ),
        ("eviction:\n", "w.yaml:1: eviction: KV-cache workloads are not available in this version"),
    ]);
}

#[test]
fn broken_files_are_refused() {
    assert_refused(&[
        (
            "",
            "w.yaml: holds no value; a workload file is a mapping of sections (dataset:, reader:, train:)",
        ),
        (
            "- a\n",
            "w.yaml: holds a list; a workload file is a mapping of sections (dataset:, reader:, train:)",
        ),
        (
            "train:\n  epochs: 1\n  seed: 2\n  epochs: 3\n",
            "w.yaml:4: train.epochs: given twice; keep one",
        ),
        (
            "reader:\n  batch_size: 1\ndata_reader:\n  batch_size: 2\n",
            "w.yaml:4: data_reader.batch_size: also given as reader.batch_size; keep one",
        ),
        (
            "train:\n  epochs: [1\nreader:\n",
            "w.yaml:3: not valid YAML: did not find expected ',' or ']'",
        ),
    ]);
    let missing = load(&["no/such.yaml".into()], &[]).map(|loaded| loaded.config);
    let message = "no/such.yaml: cannot be read: No such file or directory (os error 2); give a workload file";
    assert_eq!(missing, Err(ConfigError(message.into())));
}

#[test]
fn overrides_are_refused_by_their_key() {
    let cases = [
        ("dataset.foo", "--set dataset.foo: has no `=`; write section.key=value"),
        (
            "dataset.num_file_train=3",
            "--set dataset.num_file_train: unknown key; did you mean dataset.num_files_train?",
        ),
        (
            "++workload.dataset.num_file_train=3",
            "--set dataset.num_file_train: unknown key; did you mean dataset.num_files_train?",
        ),
        ("datset.format=npz", "--set datset.format: unknown key; did you mean dataset?"),
        (
            "reader={batch_sise: 2}",
            "--set reader.batch_sise: unknown key; did you mean reader.batch_size?",
        ),
        (
            "reader.batch_size=",
            "--set reader.batch_size: no value; give a whole number of at least 1 (and at most 2^53)",
        ),
        (
            "train.computation_time.mean=3",
            "--set train.computation_time.mean: train.computation_time is one value; give it whole: --set train.computation_time='...'",
        ),
        (
            "io.fault=[{op: read, kind: eoi}]",
            "--set io.fault[0].kind: `eoi` is not allowed; give one of eio, enospc, short, flip, zeros",
        ),
        (
            "io.fault=[{op: read",
            "--set io.fault: the value is not valid YAML: did not find expected ',' or '}'; put it in quotes",
        ),
        ("io.delay={rank: 1, rank: 2}", "--set io.delay: rank is given twice; keep one"),
        ("=3", "--set =3: has no key; write section.key=value"),
        (
            "verify..mode=full",
            "--set verify..mode: unknown key; the keys of verify are mode, sample_fraction",
        ),
    ];
    for (text, message) in cases {
        let refused = load_text("train: {epochs: 1}\n", &[text]).map(|loaded| loaded.config);
        assert_eq!(refused, Err(message.to_string()));
    }
}

#[test]
fn numbers_have_many_spellings() {
    let yaml = "
dataset:
  num_files_train: 514_983
  num_files_eval: '7'
  num_samples_per_file: 1e3
  record_length_bytes: 114660.07
  record_length_bytes_stdev: 4MiB
reader: {batch_size: 4.0, read_threads: +3}
train: {epochs: 0x10, total_training_steps: -1, seed: 18446744073709551615}
io: {block_size: 512k, max_buffer_bytes: 2 GB}
";
    let config = config(yaml, &[]);
    assert_eq!(config.dataset.num_files_train, 514_983);
    assert_eq!(config.dataset.num_files_eval, 7);
    assert_eq!(config.dataset.num_samples_per_file, 1000);
    assert_eq!(config.dataset.record_length_bytes, 114660.07);
    assert_eq!(config.dataset.record_length_bytes_stdev, 4194304.0);
    assert_eq!((config.reader.batch_size, config.reader.read_threads), (4, 3));
    assert_eq!((config.train.epochs, config.train.total_training_steps), (16, None));
    assert_eq!(config.train.seed, u64::MAX);
    assert_eq!((config.io.block_size, config.io.max_buffer_bytes), (512 << 10, 2_000_000_000));
}

#[test]
fn switches_and_shuffles_have_many_spellings() {
    for (written, truth) in [
        ("True", true),
        ("yes", true),
        ("ON", true),
        ("False", false),
        ("no", false),
        ("off", false),
    ] {
        let workflow = format!("workflow: {{generate_data: {written}}}\n");
        assert_eq!(config(&workflow, &[]).workflow.generate_data, truth, "{written}");
    }
    for written in ["off", "Off", "'off'", "False", "no"] {
        let config =
            config("reader: {file_shuffle: seed}\n", &[&format!("reader.file_shuffle={written}")]);
        assert_eq!(config.reader.file_shuffle, Shuffle::Off, "{written}");
    }
    assert_eq!(
        config("reader: {sample_shuffle: RANDOM}\n", &[]).reader.sample_shuffle,
        Shuffle::Random
    );
    assert_eq!(config("io: {engine: null}\n", &[]).io.engine, Engine::Null);
    assert_eq!(config("io: {engine: 'null'}\n", &["verify.mode=none"]).io.engine, Engine::Null);
    assert_eq!(config("output: {folder: None}\n", &[]).output.folder, None);
}

#[test]
fn times_have_every_distribution() {
    let cases = [
        ("0.5", Distribution::Constant { seconds: 0.5 }),
        ("{}", Distribution::Constant { seconds: 0.0 }),
        ("{mean: 1}", Distribution::Constant { seconds: 1.0 }),
        ("{mean: 1, stdev: 0.25}", Distribution::Normal { mean: 1.0, stdev: 0.25 }),
        ("{type: normal, mean: 1, stdev: 2}", Distribution::Normal { mean: 1.0, stdev: 2.0 }),
        ("{type: uniform, min: 1, max: 2}", Distribution::Uniform { min: 1.0, max: 2.0 }),
        ("{type: gamma, shape: 1, scale: 2}", Distribution::Gamma { shape: 1.0, scale: 2.0 }),
        ("{type: exponential, scale: 2}", Distribution::Exponential { scale: 2.0 }),
        ("{type: poisson, lam: 2}", Distribution::Poisson { lam: 2.0 }),
        ("{type: constant, seconds: 2}", Distribution::Constant { seconds: 2.0 }),
    ];
    for (written, read) in cases {
        let yaml = format!(
            "train: {{computation_time: {written}}}\nreader: {{preprocess_time: {written}}}\n"
        );
        let loaded = load_text(&yaml, &[]).expect(written);
        assert_eq!(loaded.config.train.computation_time, read, "{written}");
        assert_eq!(loaded.config.reader.preprocess_time, read, "{written}");
        assert_eq!(config(&loaded.effective_yaml, &[]), loaded.config);
    }
    let yaml = "train: {computation_time: 0.5, computation_time_stdev: 0.1}\nevaluation: {eval_time: {mean: 2}, eval_time_stdev: 1}\n";
    let config = config(yaml, &[]);
    assert_eq!(config.train.computation_time, Distribution::Normal { mean: 0.5, stdev: 0.1 });
    assert_eq!(config.evaluation.eval_time, Distribution::Normal { mean: 2.0, stdev: 1.0 });
}

#[test]
fn later_files_and_overrides_win_key_by_key() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let write = |name: &str, yaml: &str| {
        let path = folder.path().join(name);
        fs::write(&path, yaml).expect("the file is written");
        path
    };
    let files = [
        write(
            "a.yaml",
            "reader: {batch_size: 2, read_threads: 3}\ntrain: {epochs: 4}\nio: {delay: {latency: 1}}\n",
        ),
        write("b.yaml", "data_reader:\n  batch_size: 7\nio:\n"),
    ];
    let set = ["train.epochs=9", "train.epochs=5", "++workload.reader.prefetch_size=6"];
    let loaded = load(&files, &set.map(str::to_string)).expect("valid");
    let reader = &loaded.config.reader;
    assert_eq!((reader.batch_size, reader.read_threads, reader.prefetch_size), (7, 3, 6));
    assert_eq!(loaded.config.train.epochs, 5);
    assert_eq!(loaded.config.io.delay.map(|delay| delay.latency), Some(1.0));
    let cleared = load(&files, &["io.delay=null".into()]).expect("valid");
    assert_eq!(cleared.config.io.delay, None);
    let nothing = load(&[], &[]).expect("defaults");
    assert_eq!(nothing.config, Config::default());
}

#[test]
fn overrides_take_collections_and_text_as_typed() {
    let config = config(
        "train: {epochs: 1}\n",
        &[
            "io.fault=[{op: read, kind: eio, at: 3}, {op: write, kind: short, every: 2, name_contains: a=b, rank: 1}]",
            "io.delay.latency=0.01",
            "io.delay.bandwidth=1GiB",
            "dataset.file_prefix=007",
            "dataset.data_folder=/tmp/a=b: c #d",
            "output.folder='quoted'",
            "dataset.record_dims=[4, 8]",
        ],
    );
    assert_eq!(config.io.fault.len(), 2);
    let first = FaultSpec {
        op: FaultOp::Read,
        kind: FaultKind::Eio,
        at: 3,
        every: 0,
        name_contains: String::new(),
        rank: None,
    };
    assert_eq!(config.io.fault[0], first);
    assert_eq!(config.io.fault[1].name_contains, "a=b");
    assert_eq!((config.io.fault[1].at, config.io.fault[1].rank), (1, Some(1)));
    let delay = DelaySpec { latency: 0.01, bandwidth: 1 << 30, rank: None };
    assert_eq!(config.io.delay, Some(delay));
    assert_eq!(config.dataset.file_prefix, "007");
    assert_eq!(config.dataset.data_folder, "/tmp/a=b: c #d");
    assert_eq!(config.output.folder.as_deref(), Some("quoted"));
    assert_eq!(config.dataset.record_dims, [4, 8]);
}

#[test]
fn merges_and_anchors_are_followed() {
    let yaml = "reader: &base {batch_size: 3}\ndata_reader:\n  <<: *base\n";
    let refused = load_text(yaml, &[]).map(|loaded| loaded.config);
    let message = "w.yaml: data_reader.batch_size: also given as reader.batch_size; keep one";
    assert_eq!(refused, Err(message.into()));
    let config = config("train: {epochs: &n 3}\nreader: {batch_size: *n}\n", &[]);
    assert_eq!(config.reader.batch_size, 3);
}

#[test]
fn o_direct_is_decided_by_the_most_explicit_key() {
    let cases = [
        ("train: {epochs: 1}", true),
        ("storage: {storage_type: local_fs}", true),
        ("storage: {storage_type: direct_fs}", true),
        ("reader: {odirect: False}", false),
        ("reader: {odirect: True}\nio: {mode: reference}", true),
        ("reader: {odirect: False}\nstorage: {storage_type: direct_fs}", false),
        ("reader: {odirect: True}\nio: {direct: False}", false),
        ("io: {mode: reference}", false),
        ("io: {mode: reference, direct: True}", true),
        ("io: {mode: reference}\nstorage: {storage_type: direct_fs}", true),
    ];
    for (yaml, direct) in cases {
        let loaded = load_text(yaml, &[]).expect(yaml);
        assert_eq!(loaded.config.io.direct, direct, "{yaml}");
        assert_eq!(config(&loaded.effective_yaml, &[]), loaded.config);
    }
}

#[test]
fn keys_without_effect_are_noted() {
    let cases: [(&str, &[&str]); 10] = [
        ("reader: {pin_memory: True}", &["reader.pin_memory: no effect: rankio has no GPU copy"]),
        (
            "checkpoint: {fsync: True}",
            &["checkpoint.fsync: no effect: workflow.checkpoint is False"],
        ),
        (
            "framework: pytorch\nreader: {data_loader: tensorflow}",
            &[
                "reader.data_loader: no effect: rankio reads with its own engine (io.engine: null moves no bytes)",
                "reader.data_loader: `tensorflow` under framework `pytorch`: the reference refuses this pair",
            ],
        ),
        (
            "dataset: {record_length: 100}",
            &[
                "dataset.record_length: used as dataset.record_length_bytes; the reference does not read it",
            ],
        ),
        (
            "dataset: {record_length: 100, record_length_bytes: 200}",
            &["dataset.record_length: no effect: dataset.record_length_bytes is given"],
        ),
        (
            "dataset: {record_dims: [2], record_length_bytes: 200}",
            &["dataset.record_length_bytes: no effect: dataset.record_dims gives the size"],
        ),
        (
            "storage: {storage_type: local_fs}",
            &[
                "storage.storage_type: rankio reads `local_fs` with O_DIRECT unless io.direct is false",
            ],
        ),
        (
            "storage: {storage_type: direct_fs}\nio: {direct: False}",
            &[
                "storage.storage_type: no effect: io.direct or reader.odirect asks for buffered reads",
            ],
        ),
        (
            "reader: {odirect: True}\nio: {direct: True}",
            &["reader.odirect: no effect: io.direct is given"],
        ),
        (
            "io: {mode: reference}",
            &[
                "io.mode: `reference` reads through the page cache, as the Python tool does, unless io.direct is true",
            ],
        ),
    ];
    for (yaml, expected) in cases {
        assert_eq!(notes(yaml, &[]), expected, "{yaml}");
    }
    let twice = notes("reader: {pin_memory: True}", &["reader.pin_memory=False"]);
    assert_eq!(twice.len(), 1, "one note for one key");
    assert!(notes("dataset: {num_files_generated: 8}", &[]).is_empty());
}

#[test]
fn credentials_never_reach_a_message() {
    let yaml = "storage:\n  storage_options:\n    secret_access_key: [hunter2, {x: hunter2}]\n";
    let loaded = load_text(yaml, &[]).expect("credentials are passed over");
    assert!(!format!("{loaded:?}").contains("hunter2"));
    let note = "storage.storage_options.secret_access_key: no effect: credentials are never taken from a workload file";
    assert_eq!(loaded.notes, [note]);
}

#[test]
fn folders_lose_their_slash_and_gain_their_root() {
    let folder = |yaml: &str, set: &[&str]| config(yaml, set).dataset.data_folder;
    assert_eq!(folder("dataset: {data_folder: data/x/}", &[]), "data/x");
    assert_eq!(folder("storage: {storage_root: /mnt/y}", &[]), "/mnt/y/data");
    let yaml = "dataset: {data_folder: data/x/}\nstorage: {storage_root: /mnt/y/}";
    assert_eq!(folder(yaml, &[]), "/mnt/y/data/x");
    assert_eq!(folder(yaml, &["dataset.data_folder=/abs/"]), "/abs");
}

fn times() -> impl Strategy<Value = Distribution> {
    let number = || 0.0..1e9f64;
    prop_oneof![
        number().prop_map(|seconds| Distribution::Constant { seconds }),
        (number(), number()).prop_map(|(mean, stdev)| Distribution::Normal { mean, stdev }),
        (number(), number()).prop_map(|(min, more)| Distribution::Uniform { min, max: min + more }),
        (number(), number()).prop_map(|(shape, scale)| Distribution::Gamma { shape, scale }),
        number().prop_map(|scale| Distribution::Exponential { scale }),
        number().prop_map(|lam| Distribution::Poisson { lam }),
    ]
}

fn faults() -> impl Strategy<Value = FaultSpec> {
    (any::<bool>(), 1..1000u64, 0..9u64, "\\PC{0,8}", proptest::option::of(any::<u32>())).prop_map(
        |(flip, at, every, name_contains, rank)| FaultSpec {
            op: if flip { FaultOp::Read } else { FaultOp::Open },
            kind: if flip { FaultKind::Flip } else { FaultKind::Enospc },
            at,
            every,
            name_contains,
            rank,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_written_loads_again(
        computation_time in times(),
        eval_time in times(),
        seed in any::<u64>(),
        steps in proptest::option::of(1..u64::MAX >> 11),
        length in 1.0..1e15f64,
        prefix in "[^/\\pC]{1,12}",
        folder in "[^/\\pC]{1,12}",
        au in 0.0..=1.0f64,
        fraction in 1e-9..=1.0f64,
        blocks in 1..=(1u64 << 18),
        fault in proptest::collection::vec(faults(), 0..3),
        latency in proptest::option::of(0.0..10.0f64),
    ) {
        let mut config = Config::default();
        config.train.computation_time = computation_time;
        config.evaluation.eval_time = eval_time;
        config.train.seed = seed;
        config.train.total_training_steps = steps;
        config.dataset.record_length_bytes = length;
        config.dataset.file_prefix = prefix.clone();
        config.dataset.data_folder = folder.clone();
        config.output.folder = Some(folder);
        config.model.name = prefix;
        config.metric.au = au;
        config.verify.sample_fraction = fraction;
        config.io.block_size = blocks * 4096;
        config.io.fault = fault;
        config.io.delay = latency.map(|latency| DelaySpec { latency, bandwidth: seed, rank: Some(7) });
        let yaml = effective_yaml(&config).expect("a Config is plain data");
        let again = load_text(&yaml, &[]);
        prop_assert!(again.is_ok(), "{:?}\n{}", again, yaml);
        let again = again.expect("checked above");
        prop_assert_eq!(&again.config, &config);
        prop_assert_eq!(again.effective_yaml, yaml);
    }

    #[test]
    fn no_text_is_a_panic(yaml in "[a-z:\\[\\]{}&*!'\", \n-]{0,60}", set in "\\PC{0,30}") {
        let _ = load_text(&yaml, &[]);
        let _ = load_text("train: {epochs: 1}", &[&set]);
    }
}
