//! The pipeline over the null store: whatever the shape of files, batches and threads, every batch
//! becomes complete and every sample arrives once.

use super::*;
use crate::config::{Config, Engine, FormatKind, Io, Shuffle};
use crate::metrics::LiveTotals;
use crate::plan::{Plan, SampleId, WorldShape};
use proptest::prelude::*;
use std::collections::HashSet;

#[derive(Debug, Clone)]
struct Case {
    files: u64,
    samples_per_file: u64,
    batch: u64,
    accelerators: u64,
    threads: u64,
    prefetch: u64,
    format: FormatKind,
    shuffle: Shuffle,
    drop_last: bool,
    sample_bytes: u64,
}

fn case() -> impl Strategy<Value = Case> {
    let format = prop_oneof![Just(FormatKind::Npz), Just(FormatKind::Tfrecord)];
    let shuffle = prop_oneof![Just(Shuffle::Off), Just(Shuffle::Seed)];
    let shape = (1u64..9, 1u64..8, 1u64..9, 1u64..4);
    (shape, 1u64..4, 0u64..4, format, shuffle, any::<bool>(), 1u64..30_000).prop_map(
        |(shape, threads, prefetch, format, shuffle, drop, b)| Case {
            files: shape.0,
            samples_per_file: shape.1,
            batch: shape.2,
            accelerators: shape.3,
            threads,
            prefetch,
            format,
            shuffle,
            drop_last: drop,
            sample_bytes: b,
        },
    )
}

fn config_of(case: &Case) -> Config {
    let mut config = Config::default();
    config.dataset.format = case.format;
    config.dataset.num_files_train = case.files;
    config.dataset.num_samples_per_file = case.samples_per_file;
    config.dataset.record_length_bytes = case.sample_bytes as f64;
    config.reader.batch_size = case.batch;
    config.train.accelerators_per_rank = case.accelerators;
    config.reader.file_shuffle = case.shuffle;
    config.io = Io { engine: Engine::Null, drop_last: case.drop_last, ..Io::default() };
    config.io.block_size = 8192;
    config.io.queue_depth = 3;
    config
}

/// Samples, reads and bytes that one rank's epoch brings.
fn read_epoch(case: &Case) -> (u64, LiveTotals) {
    let config = config_of(case);
    let world = WorldShape { ranks: 1, hosts: 1, memory_per_host_bytes: 0 };
    let plan = Plan::new(&config, world).unwrap();
    let files = &plan.train;
    let job = job_of(case, &config, files);
    let order = plan.train_order(1, 0);
    let unit = unit_samples(8192, case.sample_bytes, case.batch);
    let task = EpochTask {
        order,
        first: 0,
        accelerators: case.accelerators,
        steps: order.steps(),
        batch: case.batch,
        unit,
    };
    let control = Control::new(&job, case.batch);
    let live: Vec<_> = (0..job.threads).map(|_| LiveCounters::new()).collect();
    let ((), reports) = with_readers(&job, &control, &live, || {
        control.begin(task);
        for step in 0..task.steps {
            assert!(control.wait_batch(step)?);
            control.consume(step, &task);
        }
        control.end(false)
    })
    .unwrap();
    assert_eq!(reports.len(), job.threads);
    ((0..case.accelerators).map(|a| order.positions(a)).sum(), LiveTotals::sum(&live))
}

fn job_of<'a>(case: &Case, config: &'a Config, files: &'a FileSet) -> ReadJob<'a> {
    ReadJob {
        files,
        kind: case.format,
        parquet: &config.dataset.parquet,
        own: true,
        whole: false,
        decode: false,
        generator: None,
        verify: VerifyMode::None,
        verify_fraction: 1.0,
        rank: 0,
        accelerators: case.accelerators,
        store: StoreSpec {
            root: "null://".into(),
            object: Default::default(),
            io: config.io.clone(),
            rank: 0,
            buffers: 3,
            buffer_bytes: 8192,
        },
        block_bytes: 8192,
        threads: case.threads as usize,
        window: window_batches(case.threads, case.prefetch),
        group: files.format().group_samples(&files.shape(0)),
        preprocess: Distribution::default(),
        last_words: None,
    }
}

/// The samples that the threads of a rank claim in an epoch, in no order.
fn claimed(job: &ReadJob<'_>, task: &EpochTask) -> Vec<SampleId> {
    let control = Control::new(job, task.batch);
    let claim_all = || {
        let mut samples = Vec::new();
        loop {
            match control.claim(task, job.group) {
                Claim::Unit { accelerator, position, end } => {
                    for position in position..end {
                        samples.push(task.order.at(accelerator, position));
                        control.arrived(position / task.batch, 1);
                    }
                }
                Claim::WindowFull { .. } => std::thread::yield_now(),
                Claim::Finished => break,
            }
        }
        control.thread_idle();
        samples
    };
    control.begin(*task);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..job.threads).map(|_| scope.spawn(claim_all)).collect();
        for step in 0..task.steps {
            assert!(control.wait_batch(step).unwrap());
            control.consume(step, task);
        }
        control.end(false).unwrap();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn every_sample_arrives_once_and_every_batch_is_completed(case in case()) {
        prop_assume!(!case.drop_last
            || case.files * case.samples_per_file >= case.batch * case.accelerators);
        let (samples, totals) = read_epoch(&case);
        prop_assert_eq!(totals.samples, samples);
        if !case.drop_last {
            prop_assert_eq!(samples, case.files * case.samples_per_file);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn over_all_ranks_and_threads_every_sample_is_read_exactly_once(
        case in case(), ranks in 1u64..6, sample_shuffle: bool,
    ) {
        let mut config = config_of(&case);
        config.reader.sample_shuffle = if sample_shuffle { Shuffle::Seed } else { Shuffle::Off };
        let total = case.files * case.samples_per_file;
        let all = ranks * case.accelerators;
        prop_assume!(!case.drop_last || total >= all * case.batch);
        let world = WorldShape { ranks, hosts: 1, memory_per_host_bytes: 0 };
        let plan = Plan::new(&config, world).unwrap();
        let job = job_of(&case, &config, &plan.train);
        let order = plan.train_order(1, 0);
        let unit = unit_samples(8192, case.sample_bytes, case.batch);
        // One number of steps for all ranks: each rank must complete all of them.
        let task = |rank| EpochTask {
            order,
            first: rank * case.accelerators,
            accelerators: case.accelerators,
            steps: order.steps(),
            batch: case.batch,
            unit,
        };
        let seen: Vec<_> = (0..ranks).flat_map(|rank| claimed(&job, &task(rank))).collect();
        let distinct: HashSet<_> = seen.iter().copied().collect();
        prop_assert_eq!(distinct.len(), seen.len(), "a sample was read twice");
        let whole_batches = total / all / case.batch * all * case.batch;
        let wanted = if case.drop_last { whole_batches } else { total };
        prop_assert_eq!(seen.len() as u64, wanted);
        let (files, samples) = (case.files, case.samples_per_file);
        prop_assert!(seen.iter().all(|id| id.file < files && id.sample < samples));
    }
}

#[test]
fn a_file_read_as_a_whole_is_read_once_for_all_its_batches() {
    let case = Case {
        files: 4,
        samples_per_file: 6,
        batch: 2,
        accelerators: 1,
        threads: 2,
        prefetch: 2,
        format: FormatKind::Npz,
        shuffle: Shuffle::Off,
        drop_last: true,
        sample_bytes: 1000,
    };
    let (samples, totals) = read_epoch(&case);
    assert_eq!(samples, 24);
    // 6 samples of 1000 bytes and the container: one request of 8 KiB for each file.
    assert_eq!(totals.operations, 4);
}

#[test]
fn accelerators_of_a_rank_read_their_own_files_and_each_group_once() {
    let case = Case {
        files: 6,
        samples_per_file: 6,
        batch: 2,
        accelerators: 3,
        threads: 2,
        prefetch: 2,
        format: FormatKind::Npz,
        shuffle: Shuffle::Off,
        drop_last: true,
        sample_bytes: 1000,
    };
    let (samples, totals) = read_epoch(&case);
    assert_eq!(samples, 36);
    assert_eq!(totals.operations, 6);
}

#[test]
fn units_end_at_groups_or_inside_a_batch() {
    assert_eq!(reach_batches(1, 7), 0);
    assert_eq!(reach_batches(288, 48), 6);
    assert_eq!(reach_batches(8192, 12_288), 1);
}
