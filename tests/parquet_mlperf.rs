//! The benchmark's parquet workloads at full size: exact plans, and what reading 40 of 200 columns
//! saves.

use rankio::config::{Config, load};
use rankio::format::{Bytes, FileShape, ForeignExtents, Format, for_dataset};
use rankio::plan::{Plan, WorldShape};
use std::path::{Path, PathBuf};

/// The configuration of a training file of the benchmark, or None with a message.
fn training(name: &str, overrides: &[&str]) -> Option<Config> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared");
    let shared = std::env::var_os("RANKIO_SHARED").map_or_else(beside, PathBuf::from);
    let path = shared.join("mlperf-configs/training").join(name);
    if !path.is_file() {
        return None;
    }
    let overrides: Vec<_> = overrides.iter().map(|text| text.to_string()).collect();
    Some(load(&[path], &overrides).expect("loads").config)
}

fn plan(config: &Config) -> Plan {
    let world = WorldShape { ranks: 8, hosts: 1, memory_per_host_bytes: 1 << 38 };
    Plan::new(config, world).expect("plans")
}

/// Bytes and number of the ranges that one row group of `format` is read with.
fn group_reads(format: &dyn Format, shape: &FileShape) -> (u64, usize) {
    let mut ranges = Vec::new();
    format.extents(shape, 0, 1, &mut ranges);
    (ranges.iter().map(|range| range.end - range.start).sum(), ranges.len())
}

#[test]
fn dlrm_reads_its_columns_only() {
    let Some(config) = training("dlrm_datagen.yaml", &[]) else { return };
    let plan = plan(&config);
    assert_eq!(plan.to_json()["dataset"]["nominal_bytes_per_sample"], 761.0);
    let shape = plan.train.shape(0);
    let rows = shape.samples as f64;
    let file_bytes = plan.train.file_bytes(0);
    assert_eq!(plan.train.total_bytes(), 1024 * u128::from(file_bytes));
    let format = for_dataset(&config.dataset).unwrap();
    // The layout with its footer confirms the arithmetic.
    assert_eq!(format.layout(&shape).file_bytes(), file_bytes);

    let group = format.group_samples(&shape) as f64;
    assert_eq!(group, 8192.0);
    let with_gap = |bytes: u64| {
        let mut config = config.clone();
        config.dataset.parquet.coalesce_gap = bytes;
        group_reads(&*for_dataset(&config.dataset).unwrap(), &shape)
    };
    let exact = with_gap(0);
    let merged = group_reads(&*format, &shape);
    let all = {
        let mut config = config.clone();
        config.dataset.parquet.columns.iter_mut().for_each(|column| column.read = None);
        group_reads(&*for_dataset(&config.dataset).unwrap(), &shape)
    };
    println!(
        "dlrm: {:.1} B/row in the file, {:.1} in row groups, {:.1} selected ({} ranges), {:.1} \
         merged ({} ranges)",
        file_bytes as f64 / rows,
        all.0 as f64 / group,
        exact.0 as f64 / group,
        exact.1,
        merged.0 as f64 / group,
        merged.1,
    );
    assert_eq!(all.1, 1);
    assert_eq!((exact.1, merged.1), (29, 23));
    // 761 and 160 bytes of values; the rest is pages' heads and dictionaries.
    assert!((761.0..775.0).contains(&(all.0 as f64 / group)));
    assert!((160.0..162.0).contains(&(exact.0 as f64 / group)));
    assert!((exact.0..exact.0 * 110 / 100).contains(&merged.0));
    assert!(3 * merged.0 < all.0);
    // The table in docs/workloads.md.
    for (gap, ranges, row) in
        [(20, 24, "169.8"), (64, 19, "196.4"), (128, 17, "217.5"), (256, 5, "520.6")]
    {
        let (bytes, count) = with_gap(gap << 10);
        assert_eq!((count, &*format!("{:.1}", bytes as f64 / group)), (ranges, row), "{gap} KiB");
    }
}

/// The footer of a whole file, as its layout has it.
fn footer(format: &dyn Format, shape: &FileShape) -> Vec<u8> {
    let layout = format.layout(shape);
    match layout.segment_at(layout.file_bytes() - 1).bytes {
        Bytes::Fixed(bytes) => bytes.to_vec(),
        other => panic!("{other:?} at the end of a file"),
    }
}

#[test]
fn the_footer_of_a_full_dlrm_file_says_what_the_plan_says() {
    let Some(config) = training("dlrm_datagen.yaml", &[]) else { return };
    let shape = plan(&config).train.shape(0);
    let format = for_dataset(&config.dataset).unwrap();
    let (tail, file_bytes) = (footer(&*format, &shape), format.file_bytes(&shape));
    let found = ForeignExtents::parquet(&tail, file_bytes, &config.dataset.parquet).unwrap();
    let mut ranges = Vec::new();
    for first in [0, 8192, 4_718_592 / 2, 4_718_592 - 8192] {
        ranges.clear();
        format.extents(&shape, first, 1, &mut ranges);
        assert_eq!(found.row_group(first), Some((first..first + 8192, &ranges[..])));
    }
}

#[test]
fn flux_has_one_row_group_in_each_file() {
    let Some(config) = training("flux_datagen.yaml", &[]) else { return };
    let plan = plan(&config);
    assert_eq!(plan.to_json()["dataset"]["nominal_bytes_per_sample"], 2_164_832.0);
    let shape = plan.train.shape(0);
    let format = for_dataset(&config.dataset).unwrap();
    assert_eq!(format.group_samples(&shape), 288);
    let file_bytes = plan.train.file_bytes(0);
    assert_eq!(format.layout(&shape).file_bytes(), file_bytes);
    println!("flux: {file_bytes} B in a file of {} nominal", 288 * 2_164_832);
    let overhead = file_bytes as f64 / (288.0 * 2_164_832.0) - 1.0;
    assert!((0.0..0.001).contains(&overhead), "{overhead}");
}

#[test]
fn the_length_of_a_record_may_be_missing() {
    let Some(config) = training("flux_b200.yaml", &["dataset.record_length=1"]) else { return };
    assert_eq!(plan(&config).to_json()["dataset"]["nominal_bytes_per_sample"], 2_164_832.0);
}
