//! `io.cache`: what the page cache holds when an epoch begins, and what the result says of it.

mod launch;

use launch::{Lab, mpirun_is_there};
use serde_json::Value;

/// Training metrics of a run with `cache`, after a datagen that leaves no pages behind.
fn trained(lab: &Lab, ranks: usize, id: &str, extra: &[&str]) -> Value {
    lab.job(ranks, "run", id, extra).succeed();
    lab.phase(id, "training")["metrics"].clone()
}

fn list<'a>(metrics: &'a Value, key: &str) -> Vec<&'a Value> {
    metrics["blocks"].as_array().unwrap().iter().map(|block| &block[key]).collect()
}

fn reasons(lab: &Lab, id: &str) -> String {
    let verdict = &lab.result(id)["verdict"];
    format!("{} {}", verdict["reasons"], verdict["held"])
}

/// A lab with the tiny dataset; None: this kernel does not tell what is cached here.
fn lab_with_data() -> Option<Lab> {
    let lab = Lab::new();
    lab.job(2, "datagen", "gen", &[]).succeed();
    let seen = trained(&lab, 1, "look", &[]);
    if list(&seen, "resident_before").contains(&&Value::Null) {
        eprintln!("skipped: residency cannot be seen on this file system");
        return None;
    }
    Some(lab)
}

#[test]
fn drop_and_evict_begin_every_epoch_with_an_empty_cache() {
    if !mpirun_is_there() {
        return;
    }
    let Some(lab) = lab_with_data() else { return };
    for (ranks, cache, engine) in
        [(1, "drop", "uring"), (3, "drop", "mmap"), (2, "evict", "sync"), (3, "evict", "uring")]
    {
        // Filled by another program.
        for file in std::fs::read_dir(lab.path("data/train")).unwrap() {
            std::fs::read(file.unwrap().path()).unwrap();
        }
        let id = format!("{cache}-{engine}-{ranks}");
        let set = format!("io.cache={cache}");
        let metrics = trained(&lab, ranks, &id, &["--set", &set, "--engine", engine]);
        assert_eq!(metrics["cache"], cache);
        assert_eq!(list(&metrics, "cache_before"), ["cold", "cold"], "{id}: {metrics:#}");
        assert_eq!(metrics["uncached_epochs"], 2);
        assert_eq!(metrics["au_percent_mean_uncached"], metrics["au_percent_mean"]);
        let dropped: Vec<bool> =
            list(&metrics, "cache_drop_s").iter().map(|seconds| seconds.is_number()).collect();
        assert_eq!(dropped, [true, cache == "drop"], "{id}");
        let text = reasons(&lab, &id);
        assert!(!text.contains("found it filled") && !text.contains("began with up to"), "{text}");
    }
}

#[test]
fn keep_says_which_epochs_came_from_the_cache() {
    if !mpirun_is_there() {
        return;
    }
    let Some(lab) = lab_with_data() else { return };
    lab.job(2, "run", "cool", &["--set", "io.cache=evict", "--set", "train.epochs=1"]).succeed();
    let metrics = trained(&lab, 2, "keep", &["--buffered"]);
    assert_eq!(metrics["cache"], "keep");
    assert_eq!(list(&metrics, "cache_before"), ["cold", "cached"], "{metrics:#}");
    assert_eq!(metrics["uncached_epochs"], 1);
    assert_eq!(metrics["au_percent_mean_uncached"], metrics["au_percent_per_epoch"][0]);
    assert_eq!(metrics["samples_per_s_mean_uncached"], metrics["samples_per_s_per_epoch"][0]);
    let text = reasons(&lab, "keep");
    for part in ["epoch 2 began", "without such epochs (1 of 2) AU", "without O_DIRECT"] {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert_eq!(lab.result("keep")["verdict"]["status"], "CACHED");
}

#[test]
fn manners_that_contradict_each_other_are_refused_in_one_line() {
    if !mpirun_is_there() {
        return;
    }
    let lab = Lab::new();
    let cases: [(&[&str], &[&str]); 5] = [
        (&["--set", "io.cache=drop", "--direct"], &["--direct", "io.cache=drop"]),
        (&["--set", "io.cache=direct", "--buffered"], &["--buffered", "io.cache=direct"]),
        (&["--set", "io.cache=keep", "--set", "io.direct=true"], &["io.direct", "io.cache"]),
        (&["--engine", "mmap", "--direct"], &["--direct", "mmap"]),
        (&["--set", "io.cache=evict", "--data-dir", "direct://x"], &["direct://x", "evict"]),
    ];
    for (extra, parts) in cases {
        lab.job(2, "run", "no", extra).fail_with(2).one_error(parts);
    }
}
