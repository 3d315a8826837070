//! Files as older versions of the reference have them, and what becomes of each of their keys.

use super::tests::load_text;
use super::*;

fn loaded(yaml: &str) -> Loaded {
    load_text(yaml, &[]).unwrap_or_else(|error| panic!("{error}\n{yaml}"))
}

fn assert_noted(loaded: &Loaded, words: &[&str]) {
    for words in words {
        let said = loaded.notes.iter().any(|note| note.contains(words));
        assert!(said, "{words} in {:#?}", loaded.notes);
    }
}

#[test]
fn a_file_of_mlperf_0_5_is_the_same_workload_as_one_of_today() {
    let older = loaded(
        "model: shapes\nframework: pytorch\n\
         workflow: {train: True, checkpoint: True, debug: False}\n\
         dataset: {format: npz, record_length: 300, record_length_stdev: 40, \
         record_length_resize: 100}\n\
         reader: {batch_size: 3, computatation_threads: 2}\n\
         checkpoint: {checkpoint_after_epoch: 2, model_size: 5000}\n",
    );
    let newer = loaded(
        "model: {name: shapes, model_size_bytes: 5000}\nframework: pytorch\n\
         workflow: {train: True, checkpoint: True}\n\
         dataset: {format: npz, record_length_bytes: 300, record_length_bytes_stdev: 40}\n\
         reader: {batch_size: 3}\ncheckpoint: {checkpoint_after_epoch: 2}\n",
    );
    assert_eq!(older.config, newer.config);
    assert_noted(
        &older,
        &[
            "dataset.record_length: used as dataset.record_length_bytes",
            "dataset.record_length_stdev: used as dataset.record_length_bytes_stdev",
            "dataset.record_length_resize: no effect",
            "checkpoint.model_size: used as model.model_size_bytes",
            "workflow.debug: no effect",
            "reader.computatation_threads: no effect",
        ],
    );
}

#[test]
fn layers_of_dlio_2_0_stand_below_checkpoint() {
    let older = loaded(
        "workflow: {checkpoint: True}\n\
         checkpoint: {type: all_ranks, num_layers: 4, layer_parameters: [8, 6], \
         optimization_groups: [5], tensor_parallelism: 2, pipeline_parallelism: 3}\n",
    );
    let model = &older.config.model;
    assert_eq!((model.num_layers, &model.layer_parameters[..]), (4, &[8, 6][..]));
    assert_eq!(model.optimization_groups, [5]);
    assert_eq!((model.parallelism.tensor, model.parallelism.pipeline), (2, 3));
    assert_noted(&older, &["checkpoint.type: `all_ranks`: every rank writes"]);
    let sharded = loaded(
        "workflow: {checkpoint: True}\ncheckpoint: {type: all_ranks}\n\
         model: {parallelism: {zero_stage: 1}}\n",
    );
    assert_eq!(sharded.notes, Vec::<String>::new());
}

#[test]
fn a_newer_name_goes_before_an_older_one() {
    let both = loaded("dataset: {record_length_stdev: 7, record_length_bytes_stdev: 3}\n");
    assert_eq!(both.config.dataset.record_length_bytes_stdev, 3.0);
    assert_noted(&both, &["record_length_stdev: no effect: dataset.record_length_bytes_stdev is"]);
    let wrong = load_text("dataset: {record_length_stdev: -1}\n", &[]).unwrap_err();
    assert!(wrong.starts_with("w.yaml:1: dataset.record_length_stdev: `-1`"), "{wrong}");
    let contradicts = "dataset: {record_dims: [2], record_length_stdev: 7}\n";
    assert!(load_text(contradicts, &[]).unwrap_err().starts_with("w.yaml:1: dataset.record_dims"));
}

#[test]
fn hydra_puts_a_workload_around_everything() {
    let inside = loaded("workload:\n  model: {name: x}\n  reader: {batch_size: 3}\n");
    assert_eq!((inside.config.model.name.as_str(), inside.config.reader.batch_size), ("x", 3));
    let wrong = load_text("workload:\n  reader:\n    batch_sise: 3\n", &[]).unwrap_err();
    let said = "w.yaml:3: workload.reader.batch_sise: unknown key; did you mean reader.batch_size?";
    assert_eq!(wrong, said);
    let twice = load_text("workload: {framework: pytorch}\nframework: pytorch\n", &[]).unwrap_err();
    assert!(twice.contains("also given as workload.framework"), "{twice}");
}

#[test]
fn zeros_mean_what_they_mean_in_the_reference() {
    let zeros = "reader: {read_threads: 0, prefetch_size: 4, transfer_size: 0}\n\
                 evaluation: {eval_after_epoch: 0, epochs_between_evals: 0}\n\
                 checkpoint: {epochs_between_checkpoints: 0, steps_between_checkpoints: 0}\n";
    let tensorflow = loaded(zeros);
    let reader = &tensorflow.config.reader;
    assert_eq!((reader.read_threads, reader.prefetch_size), (1, 4));
    assert_eq!(tensorflow.config.io.block_size, Io::default().block_size);
    let evaluation = &tensorflow.config.evaluation;
    assert_eq!((evaluation.eval_after_epoch, evaluation.epochs_between_evals), (1, 1));
    assert_noted(
        &tensorflow,
        &[
            "reader.read_threads: 0 is 1 thread",
            "reader.transfer_size: no effect",
            "evaluation.eval_after_epoch: 0 is as 1",
            "evaluation.epochs_between_evals: 0 is as 1",
            "checkpoint.epochs_between_checkpoints: 0 means that only the epoch",
        ],
    );
    let pytorch = loaded(&format!(
        "framework: pytorch\nworkflow: {{train: True, checkpoint: True}}\n{zeros}"
    ));
    assert_eq!((pytorch.config.reader.read_threads, pytorch.config.reader.prefetch_size), (1, 1));
    assert_noted(&pytorch, &["checkpoint.steps_between_checkpoints: 0 means by epochs here"]);
    let schedule = crate::plan::Schedule::of(&pytorch.config.checkpoint);
    assert_eq!(schedule.count(100, 10), 1, "the first due epoch alone");
}

#[test]
fn one_device_may_be_a_text() {
    let yaml = "workflow: {profiling: True}\nprofiling: {iostat_devices: sda}\n";
    assert_eq!(loaded(yaml).config.profiling.iostat_devices, ["sda"]);
    assert!(load_text("profiling: {iostat_devices: [[sda]]}\n", &[]).is_err());
}

#[test]
fn the_scheme_of_its_root_is_the_store_of_s3dlio() {
    let root = |yaml: &str| loaded(yaml).config.dataset.data_folder;
    let dataset = "dataset: {data_folder: x}\n";
    for uri in ["s3://b/p", "az://c/p", "file:///mnt/p", "/mnt/p"] {
        let storage = format!("storage: {{storage_type: s3dlio, storage_root: '{uri}/'}}\n");
        assert_eq!(root(&format!("{dataset}{storage}")), format!("{uri}/x"));
    }
    let absolute = loaded(
        "dataset: {data_folder: /mnt/x}\nstorage: {storage_type: s3dlio, storage_root: s3://b/p}\n",
    );
    assert_eq!(absolute.config.dataset.data_folder, "/mnt/x");
    assert_noted(&absolute, &["storage.storage_root: no effect: dataset.data_folder `/mnt/x` is"]);
}

#[test]
fn keys_that_nothing_reads_refuse_no_file() {
    let yaml = "\
workflow: {do_eval: True}
logging: {verbosity: INFO, log_file: x.log}
generator: {num_workers: 4, buffer_size: 9}
data_loader: {read_threads: 3}
endpoint_uris: [http://a:1]
load_balance_strategy: random
use_mpi_endpoint_distribution: True
dataset: {eval_num_samples_per_file: 3, file_list_train: '', storage_type: s3, storage_root: b,
  storage_library: minio, storage_options: {prefetch: 3}}
reader: {shuffle: True, seed: 3, checkpoint_folder: s3://b, data_loader_root: s3://b, protocol: s3,
  storage_type: object, storage_root: b, storage_library: minio, storage_options: {region: x},
  endpoint_uris: [http://a:1], load_balance_strategy: random, use_mpi_endpoint_distribution: True}
train: {batch_size: 3, total_eval_steps: 3}
evaluation: {steps_between_evals: 3}
storage: {storage_options: {use_mpi_endpoint_distribution: True, load_balance_strategy: random,
  account_name: x, account_key: x, connection_string: x, prefetch: 3}}
";
    let all = loaded(yaml);
    let mut plain = Config::default();
    plain.storage.storage_options.load_balance_strategy = Some(Balance::RoundRobin);
    assert_eq!(all.config, plain);
    let unread = catalogue::keys().filter(|key| {
        matches!(key.treatment, catalogue::Treatment::Ignored(reason)
            if reason.starts_with("the reference does not read it;"))
    });
    for key in unread.filter(|key| !key.path.starts_with("storage.")) {
        assert_noted(&all, &[&format!("{}: no effect: ", key.path)]);
    }
    assert_noted(&all, &["load_balance_strategy: `random` is round_robin here"]);
    // What nobody knows is refused, in the new sections as elsewhere.
    let unknown = load_text("reader: {shufle_it: True}\n", &[]).unwrap_err();
    assert!(unknown.contains("unknown key"), "{unknown}");
}

#[test]
fn the_megatron_file_is_read_past_the_page_cache() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("workloads");
    let file = folder.join("megatron_deepspeed.yaml");
    let io = load(&[file], &[]).unwrap().config.io;
    assert_eq!((io.engine, io.cache), (Engine::Auto, CacheMode::Direct));
}
