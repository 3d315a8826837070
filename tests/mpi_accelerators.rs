//! Ranks that stand for several accelerators do what as many ranks would.

mod launch;

use launch::{Lab, mpirun_is_there};

fn json(lab: &Lab, path: &str) -> serde_json::Value {
    serde_json::from_str(&std::fs::read_to_string(lab.path(path)).unwrap()).unwrap()
}

#[test]
fn few_ranks_with_many_accelerators_read_what_many_ranks_read() {
    if !mpirun_is_there() {
        return;
    }
    let lab = Lab::new();
    lab.job(2, "datagen", "gen", &[]).succeed();
    let shapes = [(6, 1), (3, 2), (2, 3), (1, 6)];
    for (ranks, each) in shapes {
        let set = format!("train.accelerators_per_rank={each}");
        let id = format!("{ranks}x{each}");
        let verify = ["--set", &set, "--set", "reader.batch_size=1", "--verify", "full"];
        lab.job(ranks, "run", &id, &verify).succeed();
        let (result, phase) = (lab.result(&id), lab.phase(&id, "training"));
        assert_eq!(result["run"]["accelerators"], 6, "{id}");
        let metrics = &phase["metrics"];
        // 13 files of one sample: two steps of six, twice.
        assert_eq!((&metrics["steps"], &metrics["samples"]), (&4.into(), &24.into()), "{id}");
        let first = lab.phase("6x1", "training");
        assert_eq!(phase["bytes"]["requested"], first["bytes"]["requested"], "{id}");
        let summary = json(&lab, &format!("results/{id}/mlperf/summary.json"));
        assert_eq!(summary["num_accelerators"], 6, "{id}");
        assert_eq!(result["run"]["ranks"], ranks);
    }
    let logs = std::fs::read_dir(lab.path("results/2x3/mlperf")).unwrap();
    let names = logs.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert_eq!(names.filter(|name| name.ends_with("_output.json")).count(), 2);
}

#[test]
fn evaluations_and_drawn_times_count_every_accelerator() {
    if !mpirun_is_there() {
        return;
    }
    let lab = Lab::new();
    let sets = [
        "train.accelerators_per_rank=3",
        "train.computation_time={type: uniform, min: 0.001, max: 0.009}",
        "workflow.evaluation=true",
        "dataset.num_files_eval=12",
        "dataset.num_files_train=240",
        "evaluation.eval_time=0.001",
    ];
    let mut extra: Vec<&str> = sets.iter().flat_map(|text| ["--set", *text]).collect();
    extra.extend(["--engine", "null"]);
    lab.job(2, "run", "null", &extra).succeed();
    let training = lab.phase("null", "training")["metrics"].clone();
    assert_eq!((&training["steps"], &training["samples"]), (&40.into(), &480.into()));
    let evaluation = lab.phase("null", "evaluation")["metrics"].clone();
    assert_eq!((&evaluation["steps"], &evaluation["samples"]), (&4.into(), &24.into()));
    // What is counted is the mean draw and the error of the sleep, however busy the machine is: of
    // 1 to 9 ms that is 5, and the longest of a rank's three draws lasts 2 ms more, which an
    // accelerator spends in the barrier.
    let mean = |name: &str| training[name]["mean"].as_f64().unwrap();
    let drawn = mean("compute_ns") - mean("compute_error_ns");
    assert!((4.4e6..5.6e6).contains(&drawn), "{drawn}");
    assert!(mean("barrier_ns") > 1.5e6, "{training:#}");
}
