//! The benchmark's own files, unmodified but for sizes on the command line: generate, then train.

#![cfg(feature = "mpi")]

mod launch;

use launch::{Lab, mpirun_is_there, shared};

struct Workload {
    model: &'static str,
    accelerator: &'static str,
    sizes: &'static [&'static str],
    samples: u64,
}

const WORKLOADS: &[Workload] = &[
    Workload {
        model: "unet3d",
        accelerator: "h100",
        sizes: &[
            "dataset.num_files_train=14",
            "dataset.record_length_bytes=2MiB",
            "dataset.record_length_bytes_stdev=512KiB",
        ],
        samples: 14,
    },
    Workload {
        model: "resnet50",
        accelerator: "h100",
        sizes: &["dataset.num_files_train=4", "dataset.num_samples_per_file=250"],
        samples: 800,
    },
    Workload {
        model: "cosmoflow",
        accelerator: "h100",
        sizes: &["dataset.num_files_train=12"],
        samples: 12,
    },
    Workload {
        model: "retinanet",
        accelerator: "b200",
        sizes: &["dataset.num_files_train=100"],
        samples: 96,
    },
    Workload {
        model: "dlrm",
        accelerator: "b200",
        sizes: &["dataset.num_files_train=4", "dataset.num_samples_per_file=49152"],
        samples: 196_608,
    },
    Workload {
        model: "flux",
        accelerator: "b200",
        sizes: &["dataset.num_files_train=2", "dataset.num_samples_per_file=96"],
        samples: 192,
    },
];

#[test]
fn the_files_of_the_benchmark_run_at_full_size_on_the_null_store() {
    let Some(shared) = shared().filter(|_| mpirun_is_there()) else { return };
    for Workload { model, accelerator, .. } in WORKLOADS {
        let lab = Lab::new();
        let results = lab.arg("results");
        let path = shared.join(format!("mlperf-configs/training/{model}_{accelerator}.yaml"));
        let path = path.to_str().unwrap();
        // Full size in everything but the number of steps.
        let set = ["--set", "train.total_training_steps=8", "--set", "train.epochs=1"];
        let options =
            ["run", path, "--data-dir", "null://", "--results-dir", &results, "--run-id", "t"];
        lab.command(2, &[&options[..], &set].concat()).succeed();
        let phase = lab.phase("t", "training");
        assert_eq!(phase["metrics"]["steps"], 8, "{model}: {phase:#}");
        assert_eq!(phase["storage"]["engine"], "null", "{model}");
    }
}

#[test]
fn the_files_of_the_benchmark_generate_and_train() {
    let Some(shared) = shared().filter(|_| mpirun_is_there()) else { return };
    for workload in WORKLOADS {
        let lab = Lab::new();
        let Workload { model, accelerator, sizes, samples } = workload;
        let (data, results) = (lab.arg("data"), lab.arg("results"));
        let file = |kind: &str| {
            let path = shared.join(format!("mlperf-configs/training/{model}_{kind}.yaml"));
            path.to_str().unwrap().to_string()
        };
        let mut options = vec!["--data-dir", &data, "--results-dir", &results, "--run-id"];
        let mut set: Vec<&str> = sizes.iter().flat_map(|text| ["--set", text]).collect();
        options.push("g");
        lab.command(2, &[&["datagen", &file("datagen")], &options[..], &set].concat()).succeed();
        options.pop();
        options.push("t");
        // Two of the epochs are enough here.
        set.extend(["--set", "train.epochs=2", "--verify", "full"]);
        lab.command(2, &[&["run", &file(accelerator)], &options[..], &set].concat()).succeed();
        let phase = lab.phase("t", "training");
        assert_eq!(phase["metrics"]["samples"], 2 * samples, "{model}: {phase:#}");
        let probe = phase["proof"]["alignment_probe"]["verdict"].as_str().unwrap();
        assert_eq!(phase["storage"]["direct"], probe.contains("enforces"), "{model}: {probe}");
    }
}
