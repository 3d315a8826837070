//! Whole-room tests: files and overrides in, a typed configuration or one exact message out.

use super::*;
use proptest::prelude::*;
use std::fs;

/// Loads `yaml` as `w.yaml` with overrides; messages name the file without its folder.
pub(super) fn load_text(yaml: &str, overrides: &[&str]) -> Result<Loaded, String> {
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

/// Every block of `messages.golden` is a file, or an override of an empty one, and what is said
/// about it: `=>` an error, `->` one note each.
#[test]
fn messages_read_as_agreed() {
    let blocks = include_str!("messages.golden").split("\n\n").map(str::trim_end);
    let mut count = 0;
    for block in blocks.filter(|block| !block.is_empty() && !block.starts_with("## ")) {
        let said = |line: &&str| line.starts_with("=> ") || line.starts_with("-> ");
        let (messages, given): (Vec<_>, Vec<_>) = block.lines().partition(said);
        let loaded = match given.first().and_then(|line| line.strip_prefix("--set ")) {
            Some(text) => load_text("train:\n", &[text]),
            None => load_text(&given.join("\n"), &[]),
        };
        let heard: Vec<_> = match loaded {
            Ok(loaded) => loaded.notes.iter().map(|note| format!("-> {note}")).collect(),
            Err(error) => vec![format!("=> {error}")],
        };
        assert_eq!(heard, messages, "\n{block}");
        count += 1;
    }
    assert!(count > 80, "only {count} messages were compared");
}

#[test]
fn a_missing_file_is_named() {
    let missing = load(&["no/such.yaml".into()], &[]).map(|loaded| loaded.config);
    let message = "no/such.yaml: cannot be read: No such file or directory (os error 2); give a \
                   workload file";
    assert_eq!(missing, Err(ConfigError(message.into())));
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
fn every_word_of_every_choice_is_understood() {
    for key in catalogue::keys() {
        assert!(!key.kind.describe().is_empty(), "{}", key.path);
        let kind::Kind::Choice(words) = key.kind else { continue };
        for word in words {
            let loaded = load_text("train:\n", &[&format!("{}={word}", key.path)]);
            let refused = ["parallel_fs", "aistore", "collective", "mpio"];
            let unavailable = refused.contains(word);
            assert_eq!(loaded.is_ok(), !unavailable, "{}={word}: {loaded:?}", key.path);
        }
    }
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
    let yaml = "train: {computation_time: 0.5, computation_time_stdev: 0.1}\n\
                evaluation: {eval_time: {mean: 2}, eval_time_stdev: 1}\n";
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
            "reader: {batch_size: 2, read_threads: 3}\ntrain: {epochs: 4}\n\
             io: {delay: {latency: 1}}\n",
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
            "io.fault=[{op: read, kind: eio, at: 3}, \
             {op: write, kind: short, every: 2, name_contains: a=b, rank: 1}]",
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
    let yaml = "reader: &b {batch_size: &n 3}\ntrain: {epochs: *n}\n";
    assert_eq!(config(yaml, &[]).train.epochs, 3);
    let merged = "train: &t {epochs: 3, seed: 4}\n";
    let files = format!("{merged}evaluation: {{eval_after_epoch: 2}}\n");
    assert_eq!(config(&files, &["train={seed: 5}"]).train.epochs, 3);
    let yaml = "io: {delay: {<<: {latency: 2, rank: 1}, rank: 3}}\n";
    let delay = DelaySpec { latency: 2.0, bandwidth: 0, rank: Some(3) };
    assert_eq!(config(yaml, &[]).io.delay, Some(delay));
}

#[test]
fn the_page_cache_is_decided_by_one_rule() {
    use CacheMode::{Direct, Drop, Evict, Keep};
    let cases = [
        ("train: {epochs: 1}", Direct),
        ("storage: {storage_type: local_fs}", Direct),
        ("storage: {storage_type: direct_fs}", Direct),
        ("reader: {odirect: False}", Keep),
        ("io: {direct: False}", Keep),
        ("reader: {odirect: True}\nio: {mode: reference}", Direct),
        ("reader: {odirect: False}\nio: {cache: evict}", Evict),
        ("io: {mode: reference}", Keep),
        ("io: {mode: reference, direct: True}", Direct),
        ("io: {mode: reference, cache: drop}", Drop),
        ("io: {cache: drop, direct: False}", Drop),
        ("io: {mode: reference}\nstorage: {storage_type: direct_fs}", Direct),
        ("dataset: {format: mmap_indexed_binary}", Direct),
        ("dataset: {format: mmap_indexed_binary}\nio: {mode: reference}", Keep),
        ("dataset: {format: mmap_indexed_binary}\nio: {mode: reference, cache: drop}", Drop),
        ("io: {engine: mmap}", Keep),
    ];
    for (yaml, cache) in cases {
        let loaded = load_text(yaml, &[]).expect(yaml);
        let io = &loaded.config.io;
        assert_eq!((io.cache, io.direct), (cache, cache == Direct), "{yaml}");
        assert_eq!(config(&loaded.effective_yaml, &[]), loaded.config);
    }
}

#[test]
fn a_key_is_noted_once() {
    let twice = notes("reader: {pin_memory: True}", &["reader.pin_memory=False"]);
    assert_eq!(twice.len(), 1);
    assert!(notes("dataset: {num_files_generated: 9}", &[]).is_empty());
}

#[test]
fn the_size_of_a_request_follows_from_the_read_buffer() {
    let block = |yaml: &str| config(yaml, &[]).io.block_size;
    assert_eq!(block("reader: {transfer_size: 256KiB}"), 256 << 10);
    assert!(notes("reader: {transfer_size: 256KiB}", &[]).is_empty());
    assert_eq!(block("reader: {transfer_size: 5000}"), 8192);
    assert_eq!(block("reader: {transfer_size: 64GiB}\nio: {max_buffer_bytes: 8GiB}"), 1 << 30);
    let said = notes("reader: {transfer_size: 5000}", &[]);
    assert!(said[0].contains("5000 becomes io.block_size 8192"), "{said:?}");
    assert_eq!(block("reader: {transfer_size: None}"), Config::default().io.block_size);
    let both = "reader: {transfer_size: 256KiB}\nio: {block_size: 1MiB}";
    assert_eq!(block(both), 1 << 20);
    assert!(notes(both, &[])[0].contains("no effect: io.block_size is given"));
}

#[test]
fn profiling_that_records_nothing_is_said() {
    let off = notes("profiling: {profiler: darshan, iostat_devices: [sda]}", &[]);
    assert_eq!(off.len(), 2, "{off:?}");
    assert!(off.iter().all(|note| note.ends_with("no effect: workflow.profiling is False")));
    let none = notes("workflow: {profiling: True}\nprofiling: {profiler: none}", &[]);
    assert_eq!(none, ["workflow.profiling: no effect: profiling.profiler is none"]);
    let on = config("workflow: {profiling: True}\nprofiling: {iostat_devices: [vda]}", &[]);
    assert!(on.records_devices() && on.profiling.iostat_devices == ["vda"]);
    assert!(!config("profiling: {iostat_devices: [vda]}", &[]).records_devices());
}

#[test]
fn credentials_never_reach_a_message() {
    let yaml = "storage:\n  storage_options:\n    secret_access_key: [hunter2, {x: hunter2}]\n";
    let loaded = load_text(yaml, &[]).expect("credentials are passed over");
    assert!(!format!("{loaded:?}").contains("hunter2"));
    let note = "storage.storage_options.secret_access_key: no effect: credentials are never taken \
                from a workload file";
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
    let bucket = "storage: {storage_type: s3, storage_root: bench}\ndataset: {data_folder: data/x}";
    assert_eq!(folder(bucket, &[]), "s3://bench/data/x");
    assert_eq!(folder(bucket, &["dataset.data_folder=s3://other/y/"]), "s3://other/y");
}

fn times() -> impl Strategy<Value = Distribution> {
    let number = || 0.0..5e8f64;
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
        let delay = |latency| DelaySpec { latency, bandwidth: seed, rank: Some(7) };
        config.io.delay = latency.map(delay);
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
