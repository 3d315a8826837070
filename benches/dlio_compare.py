#!/usr/bin/env python3
"""rankio against DLIO 2.0.0, model by model, each on one warm dataset: samples/s, CPU seconds per GiB
and peak memory, as ratios.

    benches/dlio_compare.py RANKIO_BINARY DLIO_VENV [--models unet3d,...] [--ranks 2] [--rounds 3]
                            [--dir DIR]

Both train on the same files, generated once by rankio and read before the clock so that they lie in
the page cache, with no compute time. rankio runs twice: `--buffered` on the same cached files, and with
O_DIRECT from the device. CPU seconds are those of the whole process tree at 4 epochs less those at
1 epoch, so that neither side's start-up (DLIO imports PyTorch or TensorFlow) counts. Memory is the
largest sum of the proportional set sizes of the tree in the longer run; the page cache is not in it.
Runs alternate; medians and ranges of the ratios are printed. DLIO_VENV is an environment made by
tests/interop/dlio.sh. DLIO 2.0.0 has no Parquet, so dlrm and flux cannot be compared.
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
import time

FEW, MANY = 1, 4
GIB = 1 << 30

# Sample and batch as in the benchmark's files, but unet3d's samples (140 MB there) and batches that
# would leave less than ten steps; fewer files.
MODELS = {
    "unet3d": dict(framework="pytorch", format="npz", files=56, samples=1, record=16 << 20,
                   batch=7, threads=4),
    "resnet50": dict(framework="tensorflow", format="tfrecord", files=4, samples=1251,
                     record=114660, batch=100, threads=8),
    "cosmoflow": dict(framework="tensorflow", format="tfrecord", files=256, samples=1,
                      record=2828486, batch=1, threads=4),
    "retinanet": dict(framework="pytorch", format="jpeg", files=1536, samples=1, record=322957,
                      batch=24, threads=8),
    "bert": dict(framework="tensorflow", format="tfrecord", files=4, samples=40000, record=2500,
                 batch=48, threads=1),
}


def descendants(root):
    """Process numbers of `root` and all below it."""
    parents = {}
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            try:
                stat = pathlib.Path(entry.path, "stat").read_text()
            except OSError:
                continue
            parents[int(entry.name)] = int(stat.rpartition(")")[2].split()[1])
    found, grown = {root}, True
    while grown:
        more = {child for child, parent in parents.items() if parent in found} - found
        found, grown = found | more, bool(more)
    return found


def memory_bytes(root):
    """Proportional set size of the tree of `root`."""
    total = 0
    for process in descendants(root):
        try:
            lines = pathlib.Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        total += sum(int(line.split()[1]) << 10 for line in lines if line.startswith("Pss:"))
    return total


def run(command, log, watch=False):
    """CPU seconds of the process tree of `command` and, watched, its peak memory in bytes."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    peak = 0
    with open(log, "w") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT)
        while watch and process.poll() is None:
            peak = max(peak, memory_bytes(process.pid))
            time.sleep(0.05)
        code = process.wait()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if code != 0:
        sys.exit(f"FAILED ({code}): {' '.join(map(str, command))}\n{pathlib.Path(log).read_text()}")
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, peak


class Sides:
    def __init__(self, args, work, name):
        self.args, self.work, self.count = args, pathlib.Path(work), 0
        self.model = MODELS[name]
        self.data = pathlib.Path(args.dir or work) / f"dlio-compare-{name}"
        self.launch = ["mpirun", "--oversubscribe", "--bind-to", "none", "-n", str(args.ranks)]
        if os.getuid() == 0:
            self.launch.insert(1, "--allow-run-as-root")
        model = self.model
        self.epoch_bytes = model["files"] * model["samples"] * model["record"]
        self.workload = self.work / f"{name}.yaml"
        self.workload.write_text(f"""
model: {{name: {name}}}
framework: {model["framework"]}
workflow: {{generate_data: False, train: True}}
dataset:
  format: {model["format"]}
  num_files_train: {model["files"]}
  num_samples_per_file: {model["samples"]}
  record_length_bytes: {model["record"]}
reader: {{batch_size: {model["batch"]}, read_threads: {model["threads"]}, file_shuffle: seed}}
train: {{computation_time: 0.0}}
""")

    def folder(self, name):
        self.count += 1
        return self.work / f"{name}-{self.data.name}-{self.count}"

    def generate(self):
        run([self.args.rankio, "datagen", self.workload, "--data-dir", self.data,
             "--results-dir", self.work / f"gen-{self.data.name}", "--quiet"], self.work / "log")

    def warm(self):
        for path in self.data.rglob("*.*"):
            if path.is_file():
                path.read_bytes()

    def rankio(self, epochs, how):
        out = self.folder("rankio")
        figures = run(self.launch + [self.args.rankio, "run", self.workload, how, "--quiet",
                                     "--set", f"train.epochs={epochs}", "--data-dir", self.data,
                                     "--results-dir", out.parent, "--run-id", out.name],
                      self.work / "log", epochs == MANY)
        phase = json.loads((out / "result.json").read_text())["phases"][-1]
        return *figures, phase["metrics"]["samples"] / phase["window_s"]

    def dlio(self, epochs):
        out, model = self.folder("dlio"), self.model
        here = pathlib.Path(__file__).resolve().parent.parent / "tests/interop/dlio"
        settings = {
            "framework": model["framework"], "reader.data_loader": model["framework"],
            "dataset.format": model["format"], "dataset.data_folder": self.data,
            "dataset.num_files_train": model["files"],
            "dataset.num_samples_per_file": model["samples"],
            "dataset.record_length": model["record"], "reader.batch_size": model["batch"],
            "reader.read_threads": model["threads"], "train.epochs": epochs,
            "train.computation_time": 0.0,
        }
        figures = run(self.launch + [f"{self.args.venv}/bin/dlio_benchmark",
                                     f"--config-dir={here}", "workload=rankio",
                                     f"hydra.run.dir={out}"]
                      + [f"++workload.{key}={value}" for key, value in settings.items()],
                      self.work / "log", epochs == MANY)
        metric = json.loads((out / "summary.json").read_text())["metric"]
        rates = metric["train_throughput_samples_per_second"]
        return *figures, statistics.mean(rates[1:] or rates)


def measure(side, epoch_bytes):
    """Samples/s of the longer run, CPU seconds per GiB beyond start-up, peak memory in MiB."""
    few, _, _ = side(FEW)
    many, peak, rate = side(MANY)
    return rate, (many - few) / (epoch_bytes * (MANY - FEW) / GIB), peak / (1 << 20)


def show(name, values):
    print(f"{name:<52}{statistics.median(values):>11.4g}  ({min(values):.4g} to {max(values):.4g})",
          flush=True)


def compare(args, work, name):
    sides = Sides(args, work, name)
    sides.generate()
    rows = {"dlio": [], "buffered": [], "direct": []}
    for _ in range(args.rounds):
        sides.warm()
        for how, side in (("dlio", sides.dlio),
                          ("buffered", lambda epochs: sides.rankio(epochs, "--buffered")),
                          ("direct", lambda epochs: sides.rankio(epochs, "--direct"))):
            rows[how].append(measure(side, sides.epoch_bytes))
    run([args.rankio, "clean", sides.data], sides.work / "log")
    model = sides.model
    print(f"{name}: {args.ranks} ranks, {model['files']} {model['format']} files of "
          f"{model['samples']} x {model['record']} bytes, batch {model['batch']}, "
          f"{model['threads']} read threads, {args.rounds} rounds")
    figures = ("samples/s", "CPU s/GiB", "peak MiB")
    for how, values in rows.items():
        for index, figure in enumerate(figures):
            show(f"  {how}: {figure}", [value[index] for value in values])
    for how in ("buffered", "direct"):
        pairs = list(zip(rows[how], rows["dlio"]))
        for index, figure in enumerate(figures):
            show(f"  rankio {how} / DLIO: {figure}",
                 [ours[index] / theirs[index] for ours, theirs in pairs])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("rankio")
    parser.add_argument("venv")
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dir", help="where the datasets go; default: a temporary folder")
    args = parser.parse_args()
    args.rankio = os.path.abspath(args.rankio)
    with tempfile.TemporaryDirectory() as work:
        for name in args.models.split(","):
            compare(args, work, name)


if __name__ == "__main__":
    main()
