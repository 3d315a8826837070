#!/usr/bin/env python3
"""rankio against DLIO 2.0.0 on one warm dataset: samples/s and CPU seconds per GiB, as ratios.

    benches/dlio_compare.py RANKIO_BINARY DLIO_VENV [--ranks 2] [--pairs 3] [--dir DIR]

Both train on the same npz files, generated once and read before the clock so that they lie in the
page cache, with no compute time. rankio runs twice: `--buffered` on the same cached files, and with
O_DIRECT from the device. CPU seconds are those of the whole process tree at 4 epochs less those at
1 epoch, so that neither side's start-up (DLIO imports PyTorch) counts. Runs alternate; medians and
ranges of the ratios are printed. DLIO_VENV is an environment made by tests/interop/dlio.sh.
"""
import argparse
import json
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import tempfile

FILES, SAMPLE_BYTES, BATCH, THREADS = 96, 8 << 20, 4, 2
FEW, MANY = 1, 4
GIB = 1 << 30


def run(command, log):
    """CPU seconds of the process tree of `command`."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with open(log, "w") as out:
        code = subprocess.run(command, stdout=out, stderr=subprocess.STDOUT).returncode
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if code != 0:
        sys.exit(f"FAILED ({code}): {' '.join(map(str, command))}\n{pathlib.Path(log).read_text()}")
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


class Sides:
    def __init__(self, args, work):
        self.args, self.work, self.count = args, pathlib.Path(work), 0
        self.data = pathlib.Path(args.dir or work) / "dlio-compare"
        self.launch = ["mpirun", "--oversubscribe", "--bind-to", "none", "-n", str(args.ranks)]
        if os.getuid() == 0:
            self.launch.insert(1, "--allow-run-as-root")
        self.workload = self.work / "workload.yaml"
        self.workload.write_text(f"""
framework: pytorch
workflow: {{generate_data: False, train: True}}
dataset: {{format: npz, num_files_train: {FILES}, record_length_bytes: {SAMPLE_BYTES}}}
reader: {{batch_size: {BATCH}, read_threads: {THREADS}, file_shuffle: seed}}
train: {{computation_time: 0.0}}
""")

    def folder(self, name):
        self.count += 1
        return self.work / f"{name}-{self.count}"

    def generate(self):
        run([self.args.rankio, "datagen", self.workload, "--data-dir", self.data,
             "--results-dir", self.work / "gen", "--quiet"], self.work / "log")

    def warm(self):
        for path in self.data.rglob("*.npz"):
            path.read_bytes()

    def rankio(self, epochs, how):
        out = self.folder("rankio")
        cpu = run(self.launch + [self.args.rankio, "run", self.workload, how, "--quiet",
                                 "--set", f"train.epochs={epochs}", "--data-dir", self.data,
                                 "--results-dir", out.parent, "--run-id", out.name],
                  self.work / "log")
        phase = json.loads((out / "result.json").read_text())["phases"][-1]
        rate = phase["metrics"]["samples"] / phase["window_s"]
        return cpu, rate

    def dlio(self, epochs):
        out = self.folder("dlio")
        here = pathlib.Path(__file__).resolve().parent.parent / "tests/interop/dlio"
        settings = {
            "framework": "pytorch", "reader.data_loader": "pytorch", "dataset.format": "npz",
            "dataset.data_folder": self.data, "dataset.num_files_train": FILES,
            "dataset.num_samples_per_file": 1, "dataset.record_length": SAMPLE_BYTES,
            "reader.batch_size": BATCH, "reader.read_threads": THREADS, "train.epochs": epochs,
            "train.computation_time": 0.0,
        }
        cpu = run(self.launch + [f"{self.args.venv}/bin/dlio_benchmark", f"--config-dir={here}",
                                 "workload=rankio", f"hydra.run.dir={out}"]
                  + [f"++workload.{key}={value}" for key, value in settings.items()],
                  self.work / "log")
        metric = json.loads((out / "summary.json").read_text())["metric"]
        rates = metric["train_throughput_samples_per_second"]
        return cpu, statistics.mean(rates[1:] or rates)


def measure(side):
    """Samples/s of the later epochs and CPU seconds per GiB beyond start-up."""
    few, _ = side(FEW)
    many, rate = side(MANY)
    gib = FILES * SAMPLE_BYTES * (MANY - FEW) / GIB
    return rate, (many - few) / gib


def show(name, values):
    print(f"{name:<46}{statistics.median(values):>10.3f}  ({min(values):.3f} to {max(values):.3f})")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("rankio")
    parser.add_argument("venv")
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--dir", help="where the dataset goes; default: a temporary folder")
    args = parser.parse_args()
    args.rankio = os.path.abspath(args.rankio)
    with tempfile.TemporaryDirectory() as work:
        sides = Sides(args, work)
        sides.generate()
        rows = {"buffered": [], "direct": [], "dlio": []}
        for _ in range(args.pairs):
            sides.warm()
            rows["dlio"].append(measure(sides.dlio))
            rows["buffered"].append(measure(lambda epochs: sides.rankio(epochs, "--buffered")))
            rows["direct"].append(measure(lambda epochs: sides.rankio(epochs, "--direct")))
        run([args.rankio, "clean", sides.data], sides.work / "log")
    print(f"{args.ranks} ranks, {FILES} npz files of {SAMPLE_BYTES >> 20} MiB, batch {BATCH}, "
          f"{THREADS} read threads, {args.pairs} rounds")
    for name, values in rows.items():
        show(f"{name}: samples/s", [rate for rate, _ in values])
        show(f"{name}: CPU s/GiB", [cpu for _, cpu in values])
    for how in ("buffered", "direct"):
        pairs = list(zip(rows[how], rows["dlio"]))
        show(f"rankio {how} / DLIO: samples/s", [ours[0] / theirs[0] for ours, theirs in pairs])
        show(f"rankio {how} / DLIO: CPU s/GiB", [ours[1] / theirs[1] for ours, theirs in pairs])


if __name__ == "__main__":
    main()
