//! A plan for 10^9 samples and 100,000 ranks does no more work than a small one. Work is counted,
//! not timed.

use rankio::config::{Config, FormatKind, IoMode, Shuffle};
use rankio::format::{Bytes, FileShape, Format, Layout, Segment};
use rankio::plan::{Plan, WorldShape};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// For each of 2 x 1024 levels a length, and two ends of what is read: nothing may loop over files.
const CALLS_MAX: u64 = 3 * 2 * 1024;

/// Counts how often it is asked for a length.
#[derive(Default)]
struct Counting {
    calls: AtomicU64,
}

struct Whole(u64);

impl Layout for Whole {
    fn file_bytes(&self) -> u64 {
        self.0
    }

    fn segment_at(&self, _offset: u64) -> Segment<'_> {
        Segment { start: 0, len: self.0, bytes: Bytes::Content, resets: 0, feeds: 0 }
    }
}

impl Format for Counting {
    fn suffix(&self) -> &'static str {
        "npz"
    }

    fn file_bytes(&self, shape: &FileShape) -> u64 {
        self.calls.fetch_add(1, Ordering::Relaxed);
        shape.rows * shape.columns * shape.samples + 498
    }

    fn extent(&self, shape: &FileShape, _sample: u64) -> Range<u64> {
        0..self.file_bytes(shape)
    }

    fn layout(&self, shape: &FileShape) -> Box<dyn Layout> {
        Box::new(Whole(self.file_bytes(shape)))
    }
}

fn billion_samples(mode: IoMode) -> Config {
    let mut config = Config::default();
    config.io.mode = mode;
    config.dataset.format = FormatKind::Npz;
    config.dataset.num_files_train = 1_000_000_000;
    config.dataset.num_files_eval = 10_000_000;
    config.dataset.num_subfolders_train = 1000;
    config.dataset.record_length_bytes = 2_828_486.0;
    config.dataset.record_length_bytes_stdev = 71_311.0;
    config.reader.batch_size = 4;
    config.reader.file_shuffle = Shuffle::Seed;
    config.reader.sample_shuffle = Shuffle::Seed;
    config
}

#[test]
fn work_does_not_grow_with_samples_or_ranks() {
    let memory_per_host_bytes = 512 << 30;
    let world = WorldShape { ranks: 100_000, hosts: 12_500, memory_per_host_bytes };
    for mode in [IoMode::Native, IoMode::Reference] {
        let config = billion_samples(mode);
        let format = Arc::new(Counting::default());
        let plan = Plan::with_format(&config, world, format.clone()).unwrap();
        let (json, text) = (plan.to_json(), plan.to_text());
        assert!(plan.train.sizes().level_count() <= 1024);
        assert!(format.calls.load(Ordering::Relaxed) <= CALLS_MAX);
        assert_eq!(json["training"]["steps_per_epoch"], 2500);
        assert!(text.contains("1,000,000,000"), "{text}");

        let order = plan.train_order(3, 0);
        let mut name = String::new();
        for rank in [0, 49_999, 99_999] {
            let id = order.sample(rank, 2499, 3);
            plan.train.name(id.file, &mut name);
            assert!(name.starts_with("train/0") && name.len() == 43, "{name}");
            assert!(plan.train.file_bytes(id.file) > 498);
        }
        assert!(format.calls.load(Ordering::Relaxed) <= CALLS_MAX);
    }
}

#[test]
fn totals_of_a_billion_files_are_exact() {
    let config = billion_samples(IoMode::Native);
    let world = WorldShape { ranks: 1, hosts: 1, memory_per_host_bytes: 0 };
    let plan = Plan::with_format(&config, world, Arc::new(Counting::default())).unwrap();
    let files = plan.train.files();
    let group: u128 = (0..1024).map(|i| u128::from(plan.train.file_bytes(i))).sum();
    let rest: u128 =
        (files / 1024 * 1024..files).map(|i| u128::from(plan.train.file_bytes(i))).sum();
    assert_eq!(plan.train.total_bytes(), group * u128::from(files / 1024) + rest);
    let other: u128 = (5_000_192..5_001_216).map(|i| u128::from(plan.train.file_bytes(i))).sum();
    assert_eq!(other, group, "every whole group holds every size once");
}
