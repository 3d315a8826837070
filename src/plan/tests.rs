//! Whole plans: refusals, orders by seed, identities, and golden files of the MLPerf workloads.

use super::testing::{Plain, config};
use super::*;
use crate::config::{Distribution, FormatKind, ImageContent};
use proptest::prelude::*;
use serde_json::json;
use std::collections::HashSet;
use std::path::PathBuf;

const GIB: u64 = 1 << 30;

fn world(ranks: u64, hosts: u64) -> WorldShape {
    WorldShape { ranks, hosts, memory_per_host_bytes: 256 * GIB }
}

fn plan(config: &Config, ranks: u64) -> Result<Plan, PlanError> {
    Plan::with_format(config, world(ranks, 1), Arc::new(Plain::new("npz", 498)))
}

fn order_of(plan: &Plan, epoch: u64, run_seed: u64) -> Vec<SampleId> {
    let order = plan.train_order(epoch, run_seed);
    let mut out = Vec::new();
    for rank in 0..plan.world.ranks {
        for step in 0..order.steps() {
            out.extend((0..order.batch_len(rank, step)).map(|s| order.sample(rank, step, s)));
        }
    }
    out
}

/// Both switches off: the order of the files and of their samples, in every epoch and mode; and
/// each of them changes it.
#[test]
fn shuffles_that_are_off_leave_the_order_as_it_is() {
    let mut config = config();
    config.dataset.num_files_train = 12;
    config.dataset.num_samples_per_file = 5;
    let in_order: Vec<_> =
        (0..12).flat_map(|file| (0..5).map(move |sample| SampleId { file, sample })).collect();
    let orders = |config: &Config| {
        let plan = plan(config, 1).unwrap();
        [order_of(&plan, 1, 77), order_of(&plan, 2, 78)]
    };
    for mode in [IoMode::Native, IoMode::Reference] {
        config.io.mode = mode;
        assert_eq!(orders(&config), [in_order.clone(), in_order.clone()]);
    }
    config.io.mode = IoMode::Native;
    for shuffle in [Shuffle::Seed, Shuffle::Random] {
        let mut files = config.clone();
        files.reader.file_shuffle = shuffle;
        let [first, second] = orders(&files);
        assert!(first != in_order && first != second);
        let is_whole = |run: &[SampleId]| {
            run.iter().enumerate().all(|(at, id)| id.file == run[0].file && id.sample == at as u64)
        };
        assert!(first.chunks(5).all(is_whole), "samples keep their order in a file");
        let mut samples = config.clone();
        samples.reader.sample_shuffle = shuffle;
        let [first, second] = orders(&samples);
        assert!(first != in_order && first != second && !first.chunks(5).all(is_whole));
        samples.train.seed_change_epoch = false;
        let [first, second] = orders(&samples);
        assert_eq!(first == second, shuffle == Shuffle::Seed);
    }
}

#[test]
fn a_part_of_a_dataset_is_the_same_dataset() {
    let whole = |files, generated| {
        let mut config = config();
        config.dataset.num_files_train = files;
        config.dataset.num_files_generated = generated;
        plan(&config, 1).unwrap()
    };
    let (all, part) = (whole(100, None), whole(40, Some(100)));
    assert_eq!(all.dataset_hash(), part.dataset_hash());
    assert_ne!(all.hash(), part.hash());
    assert_eq!((part.steps_per_epoch(), part.generated.files()), (40, 100));
    assert_eq!(part.real_sample_bytes(), all.real_sample_bytes());
    let json = part.to_json();
    assert_eq!((&json["dataset"]["files"], &json["training"]["files"]), (&json!(100), &json!(40)));
    assert!(part.to_text().contains("40 of the 100, evenly spread"), "{}", part.to_text());
}

#[test]
fn a_file_in_memory_is_read_whole_and_once() {
    let mut config = config();
    config.dataset.num_samples_per_file = 6;
    config.dataset.format = FormatKind::Tfrecord;
    let with = |config: &Config| Plan::new(config, world(1, 1)).unwrap();
    assert_eq!(with(&config).train.format().group_samples(&with(&config).train.shape(0)), 1);
    config.reader.read_type = ReadType::Memory;
    let plan = with(&config);
    let files = &plan.train;
    assert_eq!(files.format().group_samples(&files.shape(0)), 6);
    let mut ranges = Vec::new();
    files.format().extents(&files.shape(0), 2, 3, &mut ranges);
    assert_eq!(ranges, std::slice::from_ref(&(0..files.file_bytes(0))));
    assert_eq!(plan.real_sample_bytes(), files.file_bytes(0) as f64 / 6.0);
    assert_eq!(plan.dataset_hash(), with(&on_demand(&config)).dataset_hash());
    // Not in the Python tool's order either is a file read for each of its samples.
    config.io.mode = IoMode::Reference;
    let note = "can only be read together, and each is read by itself";
    assert!(!with(&config).to_text().contains(note), "{}", with(&config).to_text());
}

/// The same with samples read on demand.
fn on_demand(config: &Config) -> Config {
    let mut config = config.clone();
    config.reader.read_type = ReadType::OnDemand;
    config
}

#[test]
fn what_cannot_run_is_refused_with_its_figures() {
    type Change = fn(&mut Config);
    let cases: [(Change, u64, &str); 9] = [
        (|_| (), 0, "at least 1 rank"),
        (
            |_| (),
            9,
            "8 files x 1 samples = 8 < batch_size 1 x 9 ranks = 9; generate more files or use \
             fewer ranks",
        ),
        (
            |c| {
                c.io.mode = IoMode::Reference;
                c.reader.batch_size = 3;
            },
            3,
            "8 files / 3 ranks = 2 whole files x 1 samples = 2 < batch_size = 3",
        ),
        (
            |c| c.train.total_training_steps = Some(5),
            2,
            "train.total_training_steps is 5, but an epoch of this dataset has 4 steps",
        ),
        (|c| c.workflow.evaluation = true, 1, "dataset.num_files_eval is 0"),
        (
            |c| {
                c.workflow.evaluation = true;
                c.dataset.num_files_eval = 3;
            },
            4,
            "3 files x 1 samples = 3 < batch_size_eval 1 x 4 ranks = 4",
        ),
        (
            |c| {
                c.io.mode = IoMode::Reference;
                c.io.drop_last = false;
            },
            1,
            "io.drop_last: false",
        ),
        (|c| c.io.max_buffer_bytes = 1 << 20, 1, "io.max_buffer_bytes is 1.0 MiB"),
        (|c| c.reader.batch_size = 0, 1, "reader.batch_size is 0"),
    ];
    for (change, ranks, text) in cases {
        let mut config = config();
        change(&mut config);
        let planned = plan(&config, ranks);
        let error = planned.and_then(|plan| plan.check_runnable()).unwrap_err();
        assert!(error.0.contains(text), "{error}");
        assert!(!error.0.contains('\n'));
    }
    let too_many_hosts = Plan::with_format(&config(), world(2, 3), Arc::new(Plain::new("npz", 0)));
    assert!(too_many_hosts.unwrap_err().0.contains("3 hosts for 2 ranks"));
}

#[test]
fn a_dataset_too_small_to_run_can_still_be_planned() {
    let small = plan(&config(), 9).unwrap();
    assert!(small.check_runnable().is_err());
    assert_eq!(small.steps_per_epoch(), 0);
    assert!(small.to_json()["dataset"]["minimum_files"].as_u64().unwrap() > 8);
    assert!(small.to_text().contains("cannot run: dataset has too few samples"));
}

#[test]
fn generation_needs_no_full_step() {
    let mut config = config();
    config.workflow.train = false;
    config.workflow.generate_data = true;
    let plan = plan(&config, 100).unwrap();
    assert_eq!(plan.steps_per_epoch(), 0);
    assert!(plan.to_json().get("training").is_none());
    assert!(!plan.to_text().contains("training  "));
}

#[test]
fn incomplete_steps_are_allowed_where_nothing_is_dropped() {
    let mut config = config();
    config.io.drop_last = false;
    let plan = plan(&config, 9).unwrap();
    assert_eq!(plan.steps_per_epoch(), 1);
    assert_eq!(order_of(&plan, 1, 0).len(), 8);
}

#[test]
fn seeds_decide_orders() {
    let mut config = config();
    config.dataset.num_files_train = 64;
    config.reader.file_shuffle = Shuffle::Seed;
    let seeded = plan(&config, 2).unwrap();
    assert_eq!(order_of(&seeded, 1, 7), order_of(&seeded, 1, 8));
    assert_ne!(order_of(&seeded, 1, 7), order_of(&seeded, 2, 7));

    config.train.seed_change_epoch = false;
    let fixed = plan(&config, 2).unwrap();
    assert_eq!(order_of(&fixed, 1, 7), order_of(&fixed, 2, 7));
    config.train.seed = 124;
    assert_ne!(order_of(&fixed, 1, 7), order_of(&plan(&config, 2).unwrap(), 1, 7));

    config.reader.file_shuffle = Shuffle::Random;
    let random = plan(&config, 2).unwrap();
    assert_ne!(order_of(&random, 1, 7), order_of(&random, 1, 8));
    assert_ne!(order_of(&random, 1, 7), order_of(&random, 2, 7));

    config.reader.file_shuffle = Shuffle::Off;
    let plain = order_of(&plan(&config, 2).unwrap(), 1, 7);
    assert!(plain.is_sorted());
}

#[test]
fn the_order_of_an_epoch_does_not_depend_on_the_ranks() {
    let mut config = config();
    config.dataset.num_files_train = 12;
    config.dataset.num_samples_per_file = 5;
    config.reader.sample_shuffle = Shuffle::Seed;
    let one = order_of(&plan(&config, 1).unwrap(), 3, 0);
    for ranks in [2, 3, 5] {
        assert_eq!(order_of(&plan(&config, ranks).unwrap(), 3, 0), one);
    }
}

#[test]
fn evaluation_goes_through_its_files_in_order() {
    let mut config = config();
    config.dataset.num_files_eval = 6;
    config.reader.batch_size_eval = 2;
    config.reader.file_shuffle = Shuffle::Seed;
    config.workflow.evaluation = true;
    let plan = plan(&config, 3).unwrap();
    let order = plan.eval_order().unwrap();
    assert_eq!((order.steps(), order.samples()), (1, 6));
    let files: Vec<u64> =
        (0..3).flat_map(|rank| (0..2).map(move |slot| order.sample(rank, 0, slot).file)).collect();
    assert_eq!(files, [0, 1, 2, 3, 4, 5]);
    assert_eq!(plan.to_json()["evaluation"]["steps"], 1);
}

#[test]
fn evaluation_in_reference_mode_is_dealt_by_files() {
    let mut config = config();
    config.dataset.num_files_eval = 3;
    config.dataset.num_samples_per_file = 3;
    config.workflow.evaluation = true;
    let steps = |config: &Config| plan(config, 2).unwrap().eval_order().unwrap().steps();
    assert_eq!(steps(&config), 4);
    config.io.mode = IoMode::Reference;
    assert_eq!(steps(&config), 3, "a file for each rank, and one is left");
    config.dataset.num_files_eval = 1;
    let shortage = plan(&config, 2).unwrap().check_runnable().unwrap_err();
    assert!(shortage.0.contains("1 files / 2 ranks = 0 whole files"), "{shortage}");
}

#[test]
fn tfrecord_files_are_dealt_twice_under_tensorflow_alone() {
    let mut config = config();
    config.io.mode = IoMode::Reference;
    config.dataset.format = FormatKind::Tfrecord;
    (config.dataset.num_files_train, config.dataset.num_samples_per_file) = (8, 17);
    (config.reader.batch_size, config.train.epochs) = (4, 5);
    let steps = |config: &Config| plan(config, 4).unwrap().steps_per_epoch();
    // Two files of a rank are 8.5 batches.
    assert_eq!(steps(&config), 9);
    let text = plan(&config, 4).unwrap().to_text();
    assert!(text.contains("each rank uses every 4th sample of its 2, again and again"), "{text}");
    config.reader.file_shuffle = Shuffle::Seed;
    assert_eq!(steps(&config), 8);
    // Its reader lists the files once.
    let plan = plan(&config, 4).unwrap();
    assert_eq!(order_of(&plan, 1, 0), order_of(&plan, 2, 0));
    config.framework = Framework::Pytorch;
    assert_eq!(steps(&config), 8);
    config.io.mode = IoMode::Native;
    assert_eq!(steps(&config), 8);
    config.io.mode = IoMode::Reference;
    config.framework = Framework::Tensorflow;
    config.dataset.num_files_train = 160;
    let text = super::tests::plan(&config, 4).unwrap().to_text();
    assert!(text.contains("40 of 160 files are read, again and again"), "{text}");
}

#[test]
fn files_of_equal_lengths_are_one_dataset_in_both_modes() {
    let hashes = |length: f64, stdev: f64| {
        let mut config = config();
        config.dataset.record_length_bytes = length;
        config.dataset.record_length_bytes_stdev = stdev;
        [IoMode::Native, IoMode::Reference].map(|mode| {
            config.io.mode = mode;
            let plan = plan(&config, 2).unwrap();
            (plan.dataset_hash(), plan.hash(), plan.train.file_bytes(0))
        })
    };
    let [native, reference] = hashes(4096.0, 0.0);
    assert_eq!((&native.0, native.2), (&reference.0, reference.2));
    assert_ne!(native.1, reference.1, "ranks of two modes do not run together");
    for (length, stdev) in [(5000.0, 0.0), (4096.0, 100.0)] {
        let [native, reference] = hashes(length, stdev);
        assert_ne!(native.0, reference.0);
    }
}

#[test]
fn a_dataset_is_the_same_for_every_world_and_reader() {
    let base = config();
    let same: [fn(&mut Config); 6] = [
        |c| c.reader.batch_size = 2,
        |c| c.train.epochs = 9,
        |c| c.dataset.data_folder = "elsewhere".into(),
        |c| c.dataset.num_subfolders_train = 1,
        |c| c.dataset.image_content = ImageContent::Raw,
        |c| c.reader.file_shuffle = Shuffle::Seed,
    ];
    let hash = |config: &Config, ranks| plan(config, ranks).unwrap().dataset_hash();
    let expected = hash(&base, 1);
    // Pinned: datasets that exist keep their identity.
    assert_eq!(expected, "2c37c3817d483a9c");
    assert_eq!(hash(&base, 4), expected);
    for change in same {
        let mut config = base.clone();
        change(&mut config);
        assert_eq!(hash(&config, 1), expected);
    }
    let other: [fn(&mut Config); 9] = [
        |c| c.dataset.num_files_train = 9,
        |c| c.dataset.num_files_eval = 1,
        |c| c.dataset.record_length_bytes_stdev = 1.0,
        |c| c.dataset.seed = 11,
        |c| c.dataset.file_prefix = "part".into(),
        |c| c.dataset.num_subfolders_train = 2,
        |c| c.dataset.format = FormatKind::Jpeg,
        |c| c.dataset.compress_ratio = 2.0,
        |c| c.io.mode = IoMode::Reference,
    ];
    let mut seen = HashSet::from([expected]);
    for change in other {
        let mut config = base.clone();
        change(&mut config);
        assert!(seen.insert(hash(&config, 1)), "{config:?}");
    }
}

#[test]
fn the_hash_covers_what_ranks_must_agree_on() {
    let base = config();
    let hash = |config: &Config, ranks| plan(config, ranks).unwrap().hash();
    let changes: [fn(&mut Config); 6] = [
        |c| c.reader.batch_size = 2,
        |c| c.train.epochs = 2,
        |c| c.train.seed = 1,
        |c| c.reader.sample_shuffle = Shuffle::Random,
        |c| c.train.total_training_steps = Some(3),
        |c| c.dataset.seed = 1,
    ];
    let mut seen = HashSet::from([hash(&base, 1), hash(&base, 2)]);
    assert_eq!(seen.len(), 2);
    for change in changes {
        let mut config = base.clone();
        change(&mut config);
        assert!(seen.insert(hash(&config, 1)));
    }
    let mut own = base.clone();
    own.dataset.data_folder = "/scratch/rank0".into();
    own.reader.read_threads = 2;
    assert_eq!(hash(&own, 1), hash(&base, 1));
    let mut other_host = world(1, 1);
    other_host.memory_per_host_bytes /= 2;
    let other = Plan::with_format(&base, other_host, Arc::new(Plain::new("npz", 498))).unwrap();
    assert_eq!(other.hash(), hash(&base, 1));
    assert_eq!(hash(&base, 1).len(), 16);
}

#[test]
fn accelerators_per_rank_scale_demand_memory_and_what_is_said() {
    let mut config = config();
    config.dataset.num_files_train = 96;
    config.workflow.train = true;
    config.train.computation_time = Distribution::Constant { seconds: 0.5 };
    let one = plan(&config, 2).unwrap();
    config.train.accelerators_per_rank = 4;
    let four = plan(&config, 2).unwrap();
    let demand = |plan: &Plan| plan.demand().unwrap();
    assert_eq!(demand(&four).total_gib_per_s, 4.0 * demand(&one).total_gib_per_s);
    let bookkeeping = |plan: &Plan| plan.memory().bookkeeping_bytes;
    assert_eq!(bookkeeping(&four), 4 * bookkeeping(&one));
    assert_ne!(one.hash(), four.hash());
    assert_eq!(one.dataset_hash(), four.dataset_hash());
    assert!(four.to_text().contains("8, 4 for each rank"), "{}", four.to_text());
    assert_eq!(four.to_json()["training"]["accelerators"], 8);
    config.train.accelerators_per_rank = 49;
    let error = plan(&config, 2).unwrap().check_runnable().unwrap_err().0;
    assert!(error.contains("98 accelerators") && error.contains("fewer accelerators"), "{error}");
    config.train.accelerators_per_rank = u64::MAX;
    assert!(plan(&config, 2).unwrap_err().0.contains("train.accelerators_per_rank"));
}

#[test]
fn unreachable_sizes_are_said() {
    let mut config = config();
    config.dataset.record_length_bytes = 3e6;
    config.dataset.record_length_bytes_stdev = 2.99e6;
    let notes = plan(&config, 1).unwrap().to_json()["dataset"]["notes"].clone();
    assert!(notes[0].as_str().unwrap().ends_with("sizes must stay positive and whole"), "{notes}");
    config.dataset.record_length_bytes_stdev = 1e6;
    let notes = plan(&config, 1).unwrap().to_json()["dataset"]["notes"].clone();
    assert_eq!(notes, serde_json::json!([]));
}

proptest! {
    #[test]
    fn accelerators_of_ranks_read_what_as_many_ranks_would_in_every_step(
        (files, samples, batch) in (1u64..40, 1u64..9, 1u64..5),
        (ranks, each) in (1u64..5, 1u64..5),
        (shuffle, reference, drop_last) in (0u8..3, any::<bool>(), any::<bool>()),
    ) {
        let mut config = config();
        config.dataset.num_files_train = files;
        config.dataset.num_samples_per_file = samples;
        config.reader.batch_size = batch;
        config.reader.file_shuffle = if shuffle == 1 { Shuffle::Seed } else { Shuffle::Off };
        config.reader.sample_shuffle = if shuffle == 2 { Shuffle::Seed } else { Shuffle::Off };
        config.io.mode = if reference { IoMode::Reference } else { IoMode::Native };
        config.io.drop_last = drop_last || reference;
        let many = plan(&config, ranks * each).unwrap();
        config.train.accelerators_per_rank = each;
        let few = plan(&config, ranks).unwrap();
        prop_assert_eq!(few.accelerators(), ranks * each);
        prop_assert_eq!(few.steps_per_epoch(), many.steps_per_epoch());
        prop_assert_eq!(few.samples_per_epoch(), many.samples_per_epoch());
        prop_assert_eq!(few.minimum().by_steps, many.minimum().by_steps);
        let (few, many) = (few.train_order(2, 0), many.train_order(2, 0));
        for step in 0..many.steps() {
            let of = |order: &EpochOrder, who: std::ops::Range<u64>| -> HashSet<SampleId> {
                let slots = |a| (0..order.batch_len(a, step)).map(move |slot| (a, slot));
                who.flat_map(slots).map(|(a, slot)| order.sample(a, step, slot)).collect()
            };
            let all = of(&many, 0..ranks * each);
            let mut seen = HashSet::new();
            for rank in 0..ranks {
                seen.extend(of(&few, rank * each..(rank + 1) * each));
            }
            prop_assert_eq!(seen, all);
        }
    }

    #[test]
    fn plans_read_each_sample_at_most_once(
        files in 1u64..40, spf in 1u64..6, ranks in 1u64..6, batch in 1u64..5,
        file_shuffle in 0usize..3, sample_shuffle in 0usize..3,
        drop_last: bool, reference: bool, epoch in 1u64..4, run_seed: u64,
    ) {
        let shuffles = [Shuffle::Off, Shuffle::Seed, Shuffle::Random];
        let mut config = config();
        config.dataset.num_files_train = files;
        config.dataset.num_samples_per_file = spf;
        config.reader.batch_size = batch;
        config.reader.file_shuffle = shuffles[file_shuffle];
        config.reader.sample_shuffle = shuffles[sample_shuffle];
        config.io.drop_last = drop_last || reference;
        config.io.mode = if reference { IoMode::Reference } else { IoMode::Native };
        let Ok(plan) = plan(&config, ranks) else {
            prop_assert!(files * spf < batch * ranks || reference);
            return Ok(());
        };
        let seen = order_of(&plan, epoch, run_seed);
        let distinct: HashSet<_> = seen.iter().collect();
        prop_assert_eq!(distinct.len(), seen.len());
        prop_assert_eq!(seen.len() as u64, plan.samples_per_epoch());
        let divides = if reference {
            files % ranks == 0 && files / ranks * spf % batch == 0
        } else {
            files * spf % (batch * ranks) == 0 || !drop_last
        };
        if divides {
            prop_assert_eq!(seen.len() as u64, files * spf);
        }
        prop_assert_eq!(plan.to_json()["training"]["steps_per_epoch"].as_u64(),
            Some(plan.train_order(epoch, run_seed).steps()));
    }
}

/// (name, format, files, samples per file, bytes, deviation, batch, read threads, epochs, seconds,
/// container bytes)
type Workload = (&'static str, FormatKind, u64, u64, f64, f64, u64, u64, u64, f64, u64);

const WORKLOADS: [Workload; 5] = [
    ("unet3d_h100", FormatKind::Npz, 168, 1, 146_600_628.0, 68_341_808.0, 7, 4, 5, 0.323, 498),
    ("unet3d_b200", FormatKind::Npz, 7200, 1, 146_600_628.0, 68_341_808.0, 7, 4, 5, 0.162, 498),
    ("resnet50_h100", FormatKind::Tfrecord, 1024, 1251, 114_660.07, 0.0, 400, 8, 5, 0.224, 0),
    ("cosmoflow_h100", FormatKind::Tfrecord, 524_288, 1, 2_828_486.0, 71_311.0, 1, 4, 5, 0.0035, 0),
    ("retinanet_b200", FormatKind::Jpeg, 1_170_301, 1, 322_957.0, 0.0, 24, 8, 8, 0.04755, 0),
];

fn workload(row: &Workload) -> Plan {
    let &(_, format, files, samples, bytes, stdev, batch, threads, epochs, seconds, extra) = row;
    let mut config = Config::default();
    config.dataset.format = format;
    config.dataset.num_files_train = files;
    config.dataset.num_samples_per_file = samples;
    config.dataset.record_length_bytes = bytes;
    config.dataset.record_length_bytes_stdev = stdev;
    config.reader.batch_size = batch;
    config.reader.read_threads = threads;
    config.reader.file_shuffle = Shuffle::Seed;
    config.train.epochs = epochs;
    config.train.computation_time = Distribution::Constant { seconds };
    let name = serde_json::json!(format);
    let suffix = match name.as_str() {
        Some("npz") => "npz",
        Some("jpeg") => "jpeg",
        _ => "tfrecord",
    };
    Plan::with_format(&config, world(8, 2), Arc::new(Plain::new(suffix, extra))).unwrap()
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

/// Hashes change with every new setting; tests of their own look at them.
fn without_hashes(plan: &Plan, text: &str) -> String {
    text.replace(&plan.hash(), "(hash)").replace(&plan.dataset_hash(), "(dataset hash)")
}

#[test]
fn mlperf_workloads_match_their_golden_plans() {
    for row in &WORKLOADS {
        let plan = workload(row);
        let json = serde_json::to_string_pretty(&plan.to_json()).unwrap();
        check_golden(&format!("{}.json", row.0), &(without_hashes(&plan, &json) + "\n"));
    }
    let plan = workload(&WORKLOADS[0]);
    check_golden("unet3d_h100.txt", &without_hashes(&plan, &plan.to_text()));
}

#[test]
fn mlperf_demands_are_the_published_ones() {
    let expected = [2.96, 5.90, 0.205e9 / GIB as f64, 0.808e9 / GIB as f64, 0.152];
    for (row, expected) in WORKLOADS.iter().zip(expected) {
        let demand = workload(row).demand().unwrap().nominal_gib_per_s_per_rank;
        assert!((demand / expected - 1.0).abs() < 0.005, "{}: {demand}", row.0);
    }
}

/// A plan said nothing of the checkpoints that a training writes.
#[test]
fn a_plan_of_a_training_counts_its_checkpoints() {
    let mut config = config();
    config.workflow.checkpoint = true;
    (config.train.epochs, config.model.model_size_bytes) = (6, 1000);
    config.model.kind = Some("cnn".into());
    let steps = plan(&config, 1).unwrap().steps_per_epoch();
    assert!(steps >= 2);
    for (first, every, of_steps, written) in
        [(1, 1, 0, 6), (3, 2, 0, 2), (1, 1, 1, 6 * steps), (1, 1, steps + 1, 0)]
    {
        config.checkpoint.checkpoint_after_epoch = first;
        config.checkpoint.epochs_between_checkpoints = every;
        config.checkpoint.steps_between_checkpoints = of_steps;
        let plan = plan(&config, 1).unwrap();
        let section = plan.to_json()["checkpoint"].take();
        let each = section["bytes_total"].as_u64().unwrap();
        assert!(each > 0);
        assert_eq!(section["checkpoints_written"], written);
        assert_eq!(section["bytes_written"], written * each);
        let plural = if written == 1 { "" } else { "s" };
        let text = plan.to_text();
        assert!(text.contains(&format!("{written} checkpoint{plural} in 6 epochs")), "{text}");
        assert_eq!(text.contains("no checkpoint is written"), written == 0, "{text}");
    }
}
