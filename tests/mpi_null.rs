//! The emulated accelerator against the null store: where no storage is, AU must be near 100 % and
//! the compute time that of the file, or the benchmark's own figures would be those of its client.
//!
//! The machine that runs tests has other things to do, so a figure may be missed twice; a client
//! that is too slow misses it every time.

#![cfg(feature = "mpi")]

mod launch;

use launch::{Lab, mpirun_is_there};

const TRIES: u32 = 3;

/// The tests of this file take turns: each wants the machine's CPUs.
static TURN: std::sync::Mutex<()> = std::sync::Mutex::new(());

struct Figures {
    au_percent: f64,
    sleep_ratio: f64,
}

fn figures(ranks: usize, settings: &[&str]) -> Figures {
    let lab = Lab::new();
    let mut extra: Vec<&str> = settings.iter().flat_map(|text| ["--set", text]).collect();
    extra.extend(["--engine", "null", "--quiet"]);
    lab.job(ranks, "run", "t", &extra).succeed();
    let metrics = lab.phase("t", "training")["metrics"].clone();
    Figures {
        au_percent: metrics["au_percent_mean"].as_f64().unwrap(),
        sleep_ratio: metrics["compute_measured_over_configured"].as_f64().unwrap(),
    }
}

fn reaches(ranks: usize, settings: &[&str], au_percent: f64) {
    let _turn = TURN.lock().unwrap_or_else(|other_failed| other_failed.into_inner());
    let mut seen = String::new();
    for _ in 0..TRIES {
        let Figures { au_percent: au, sleep_ratio } = figures(ranks, settings);
        if au >= au_percent && (0.99..=1.01).contains(&sleep_ratio) {
            return;
        }
        seen += &format!("AU {au:.3} %, slept {sleep_ratio:.4} of what was configured; ");
    }
    panic!("AU of {au_percent} % and a sleep within 1 % in none of {TRIES} tries: {seen}");
}

#[test]
fn steps_of_375_microseconds_keep_the_accelerator_busy() {
    if !mpirun_is_there() {
        return;
    }
    let settings = [
        "dataset.format=npy",
        "dataset.num_files_train=2000",
        "dataset.record_length_bytes=4096",
        "dataset.record_length_bytes_stdev=0",
        "reader.batch_size=1",
        "reader.read_threads=1",
        "reader.prefetch_size=8",
        "train.computation_time=0.000375",
    ];
    reaches(1, &settings, 99.0);
}

#[test]
fn large_volumes_on_two_ranks_keep_both_busy() {
    if !mpirun_is_there() {
        return;
    }
    let settings = [
        "dataset.num_files_train=168",
        "dataset.record_length_bytes=146600628",
        "dataset.record_length_bytes_stdev=68341808",
        "reader.batch_size=7",
        "reader.read_threads=4",
        "train.computation_time=0.323",
        "train.total_training_steps=8",
        "train.epochs=1",
        "io.block_size=1MiB",
    ];
    reaches(2, &settings, 99.5);
}
