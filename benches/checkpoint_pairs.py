#!/usr/bin/env python3
"""Checkpoints of rankio against fio and against a plain Python writer, in alternating rounds on one
file system, as ratios of GB/s and of CPU s/GiB.

    cargo build --release
    benches/checkpoint_pairs.py target/release/rankio DIR [--rounds 5] [--gib 10] [--ranks 2]

A checkpoint is two files for each rank, 1/7 and 6/7 of its bytes (ZeRO 3: fp16 weights, fp32
optimizer), all in flight at once. In each round, every other round in the reverse order:

* rankio saves one: O_DIRECT, io_uring, registered buffers, fallocate, one fdatasync a file; once
  with content that is made anew, once with checkpoint.content: stamped, which keeps its buffers but
  for 16 bytes in 4 KiB.
* fio writes files of the same sizes (rounded up to blocks), one job a file, with the same block and
  as many writes in flight: two more than io.queue_depth, since a rankio writer has two buffers more.
  With --scramble_buffers=0, which writes the same bytes all the time; as fio does it by default, a
  few words changed in each sector; and with --refill_buffers, new content as rankio's. end_fsync
  lies in its time, fallocate does not (rankio's lies in its own).
* Python writes as the reference does: one process a rank, one file after the other, os.write of
  32 MiB through the page cache from random bytes made before the clock, one fsync at close. Its
  files are in the same proportion, but of --python-gib in all, since it may take ten times as long.
* rankio restores what it saved, without verification, and fio reads the same files. rankio's
  threads share long files and fio's jobs do not: fio's rate has a tail of the large files alone.

GB/s: all bytes over the time of the slowest rank or job. CPU: user and system time of the whole
process tree less that of a run of a few MiB (start-up, MPI, calibration), median of three. Start-up
varies by a tenth of a second, so the CPU of the clocked time alone is shown beside it: rankio's by
its result (all threads of the ranks), fio's by its jobs (without the kernel's workers). Kernel
threads (writeback) are in nobody's CPU.

fio's content costs nothing with --scramble_buffers=0. What rankio's costs: the same checkpoint on the
null store, whose buffers stay in the processor's cache, says too little; the threads' time in
content says too much where they wait for a processor. "less null" is rankio's CPU without the former.

Pages of the buffers matter on a disk that takes few segments. Both sides use reserved huge pages
where there are enough (`sysctl vm.nr_hugepages=64`), else 4 KiB pages; --own-pages lets rankio use
what it takes by default, transparent huge pages, which fio cannot.
With fewer rounds than were asked for, since --budget-s ran out, the last line says so.
"""
import argparse
import json
import multiprocessing
import os
import pathlib
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

GIB = 1 << 30
WRITE_BYTES = 32 << 20
SMALL_GIB = 0.03
SPARE_BYTES = 2 << 30
EXTRA_BUFFERS = 2  # of a rankio writer, beyond io.queue_depth
HUGE_PAGE_BYTES = 2 << 20
HIDDEN = 1024


def python_rank(paths, sizes, barrier, times):
    """Writes files one after the other; tells when it began and ended."""
    pool = memoryview(os.urandom(2 * WRITE_BYTES))
    barrier.wait()
    start = time.monotonic()
    for path, size in zip(paths, sizes):
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        at = 0
        while at < size:
            begin = at // WRITE_BYTES * 4096 % WRITE_BYTES
            at += os.write(fd, pool[begin:begin + min(WRITE_BYTES, size - at)])
        os.fsync(fd)
        os.close(fd)
    times.put((start, time.monotonic()))


def python_writer(spec):
    """The writer's own process: prints the seconds of the slowest rank."""
    ranks = json.loads(spec)
    context = multiprocessing.get_context("fork")
    barrier, times = context.Barrier(len(ranks)), context.Queue()
    processes = [context.Process(target=python_rank, args=(*rank, barrier, times))
                 for rank in ranks]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        if process.exitcode != 0:
            sys.exit(f"a writer ended with {process.exitcode}")
    spans = [times.get() for _ in ranks]
    print(max(end for _, end in spans) - min(start for start, _ in spans))


def run(command):
    """What it printed, and the CPU seconds of its process tree."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}: exit {done.returncode}: "
                 f"{done.stderr.strip() or done.stdout.strip()}")
    return done.stdout, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def huge_pages_free():
    lines = pathlib.Path("/proc/meminfo").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("HugePages_Free:"))


class Bench:
    """All sides on one folder. Each gives (bytes, seconds, CPU seconds of the tree, those of
    the clocked time or None)."""

    def __init__(self, args, work, results):
        self.args, self.work, self.results, self.count = args, work, results, 0
        self.saved = work / "saved"
        self.launch = ["mpirun", "--oversubscribe", "--bind-to", "none", "-n", str(args.ranks)]
        if os.getuid() == 0:
            self.launch.insert(1, "--allow-run-as-root")
        self.files = args.ranks * 2
        wanted = self.files * (args.depth + EXTRA_BUFFERS) * args.block_mib << 20
        self.huge = huge_pages_free() * HUGE_PAGE_BYTES >= 2 * wanted
        self.pages = None
        # Of the files of each rank, as the first save has made them: (weights, optimizer).
        self.sizes = {}
        self.content_s = []

    def workload(self, gib):
        """A transformer that is nearly all embedding and head, of 14 bytes a parameter."""
        path = self.results / f"{gib}.yaml"
        vocabulary = max(1, int(gib * GIB / 14 / (2 * HIDDEN)))
        path.write_text(f"""
model:
  name: pairs
  type: transformer
  num_layers: 1
  model_datatype: fp16
  optimizer_datatype: fp32
  parallelism: {{tensor: 1, pipeline: 1, zero_stage: 3}}
  transformer: {{vocab_size: {vocabulary}, hidden_size: {HIDDEN}, ffn_hidden_size: 64,
                num_attention_heads: 8, num_kv_heads: 8}}
framework: pytorch
workflow: {{generate_data: False, train: False, checkpoint: True}}
checkpoint: {{time_between_checkpoints: 0, durability: fdatasync, files_in_flight: 2}}
io: {{queue_depth: {self.args.depth}, block_size: {self.args.block_mib}MiB,
     huge_pages: {self.huge or self.args.own_pages}}}
""")
        return path

    def rankio(self, gib, root, save, content="full"):
        self.count += 1
        name = f"run-{self.count}"
        _, cpu = run(self.launch + [
            self.args.rankio, "run", self.workload(gib), "--quiet", "--checkpoint-dir", root,
            "--set", f"checkpoint.content={content}",
            "--set", f"checkpoint.num_checkpoints_write={int(save)}",
            "--set", f"checkpoint.num_checkpoints_read={int(not save)}",
            "--results-dir", self.results, "--run-id", name])
        phase = json.loads((self.results / name / "result.json").read_text())["phases"][-1]
        metrics = phase["metrics"]
        [operation] = metrics["operations"]
        if root != "null://":
            self.check_fair(phase["storage"])
            if save and content == "full":
                self.content_s.append(metrics["content_s"] / (operation["bytes"] / GIB))
        return operation["bytes"], operation["strict_s"], cpu, phase["client"]["cpu_s"]

    def check_fair(self, facts):
        wanted = "2MiB-hugetlb" if self.huge else "4KiB"
        self.pages = facts["page_size"]
        alike = self.pages == wanted or self.args.own_pages
        if not (facts["direct"] and facts["registered_buffers"] and alike):
            sys.exit(f"not a fair pair: {facts}")

    def save(self, gib):
        measured = self.rankio(gib, self.saved, True)
        sizes = [path.stat().st_size for path in self.saved_files()]
        self.sizes[gib] = list(zip(sizes[::2], sizes[1::2], strict=True))
        if self.args.writes_only:
            self.clean()
        return measured

    def save_stamped(self, gib):
        try:
            return self.rankio(gib, self.work / "stamped", True, "stamped")
        finally:
            run([self.args.rankio, "clean", self.work / "stamped"])

    def restore(self, gib):
        return self.rankio(gib, self.saved, False)

    def generator(self, gib):
        return self.rankio(gib, "null://", True)

    def clean(self):
        run([self.args.rankio, "clean", self.saved])

    def saved_files(self):
        """For each rank its weights, then its optimizer."""
        found = sorted(self.saved.glob("global_*/*_states.pt"))
        if len(found) != self.files:
            sys.exit(f"{self.saved} has {len(found)} files, not {self.files}")
        return found

    def fio(self, options, jobs, direction):
        command = ["fio", "--output-format=json", "--ioengine=io_uring", "--direct=1", "--thread",
                   "--fixedbufs", "--registerfiles", "--nonvectored=1",
                   f"--bs={self.args.block_mib}m", *options]
        if self.huge:
            command += ["--iomem=mmaphuge", "--hugepage-size=2m"]
        for number, (path, size) in enumerate(jobs):
            command += [f"--name=job{number}", f"--filename={path}", f"--size={size}"]
        text, cpu = run(command)
        jobs_done = json.loads(text[text.index("{"):])["jobs"]
        errors = [job["error"] for job in jobs_done if job["error"]]
        if errors or len(jobs_done) != len(jobs):
            sys.exit(f"fio: {errors} in {len(jobs_done)} of {len(jobs)} jobs")
        moved = sum(job[direction]["io_bytes"] for job in jobs_done)
        if moved != sum(size for _, size in jobs):
            sys.exit(f"fio moved {moved} bytes, not the {sum(size for _, size in jobs)} asked for")
        clocked = sum((job["usr_cpu"] + job["sys_cpu"]) / 100 * job["job_runtime"] / 1000
                      for job in jobs_done)
        return moved, max(job["job_runtime"] for job in jobs_done) / 1000, cpu, clocked

    def fresh(self, name):
        folder = self.work / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        return folder

    def fio_write(self, gib, options):
        folder, block = self.fresh("fio"), self.args.block_mib << 20
        sizes = [-(-size // block) * block for rank in self.sizes[gib] for size in rank]
        jobs = [(folder / f"file{number}", size) for number, size in enumerate(sizes)]
        try:
            return self.fio(["--rw=write", "--end_fsync=1", "--fallocate=native",
                             f"--iodepth={self.args.depth + EXTRA_BUFFERS}", *options],
                            jobs, "write")
        finally:
            shutil.rmtree(folder)

    def fio_plain(self, gib):
        return self.fio_write(gib, ["--scramble_buffers=0"])

    def fio_scramble(self, gib):
        return self.fio_write(gib, [])

    def fio_refill(self, gib):
        return self.fio_write(gib, ["--refill_buffers"])

    def fio_read(self, _gib):
        block = self.args.block_mib << 20
        jobs = [(path, path.stat().st_size // block * block) for path in self.saved_files()]
        return self.fio(["--rw=read", "--readonly", f"--iodepth={self.args.depth}"],
                        jobs, "read")

    def python(self, gib):
        folder = self.fresh("python")
        part = min(1, self.args.python_gib / gib)
        ranks = [([str(folder / f"rank{rank}-{number}") for number in range(2)],
                  [int(size * part) for size in sizes])
                 for rank, sizes in enumerate(self.sizes[gib])]
        try:
            text, cpu = run([sys.executable, __file__, "--python-writer", json.dumps(ranks)])
            return sum(size for _, sizes in ranks for size in sizes), float(text), cpu, None
        finally:
            shutil.rmtree(folder)


class Figures:
    """What the rounds gave, side by side."""

    def __init__(self, bench, sides):
        self.rate, self.cpu, self.clocked, self.start_up = {}, {}, {}, {}
        for name, side in sides:
            self.start_up[name] = statistics.median(side(SMALL_GIB)[2] for _ in range(3))
            self.rate[name], self.cpu[name], self.clocked[name] = [], [], []
        bench.content_s.clear()
        if not bench.args.writes_only:
            bench.clean()

    def add(self, name, measured):
        moved, seconds, cpu, clocked = measured
        self.rate[name].append(moved / 1e9 / seconds)
        self.cpu[name].append((cpu - self.start_up[name]) / (moved / GIB))
        if clocked is not None:
            self.clocked[name].append(clocked / (moved / GIB))


def show(name, values):
    print(f"{name:<58}{statistics.median(values):>8.3f}  ({min(values):.3f} to {max(values):.3f})",
          flush=True)


def ratio(ours, theirs):
    return [a / b for a, b in zip(ours, theirs)]


def report(figures, bench):
    rate, cpu, clocked = figures.rate, figures.cpu, figures.clocked
    for name, values in rate.items():
        show(f"{name}: GB/s", values)
        show(f"{name}: CPU s/GiB", cpu[name])
        if clocked[name]:
            show(f"{name}: clocked CPU s/GiB", clocked[name])
    show("rankio save: time of its threads in content, s/GiB", bench.content_s)
    pairs = [("rankio save, stamped", other) for other in ("fio write", "fio write, scrambled")]
    pairs += [("rankio save", other) for other in ("fio write", "fio write, scrambled",
                                                  "fio write, refilled", "Python write")]
    pairs += [("rankio restore", "fio read")] if "fio read" in rate else []
    for ours, theirs in pairs:
        show(f"{ours} / {theirs}: GB/s", ratio(rate[ours], rate[theirs]))
        show(f"{ours} / {theirs}: CPU", ratio(cpu[ours], cpu[theirs]))
        if clocked[theirs]:
            show(f"{ours} / {theirs}: clocked CPU", ratio(clocked[ours], clocked[theirs]))
    for what, side in (("CPU", cpu), ("clocked CPU", clocked)):
        bare = [a - b for a, b in zip(side["rankio save"], side["rankio null"])]
        show(f"rankio save less null / fio write: {what}", ratio(bare, side["fio write"]))


def measure(args, work, results):
    bench = Bench(args, work, results)
    writes = [("rankio save", bench.save),
              ("rankio save, stamped", bench.save_stamped), ("fio write", bench.fio_plain),
              ("fio write, scrambled", bench.fio_scramble),
              ("fio write, refilled", bench.fio_refill), ("Python write", bench.python),
              ("rankio null", bench.generator)]
    reads = [] if args.writes_only else [("rankio restore", bench.restore), ("fio read", bench.fio_read)]
    start, longest, rounds = time.monotonic(), 0, 0
    figures = Figures(bench, writes + reads)
    pages = f"{bench.pages}, of fio {'2MiB-hugetlb' if bench.huge else '4KiB'}"
    print(f"{args.dir}: {args.gib:g} GiB in {bench.files} files of {args.ranks} ranks, blocks of "
          f"{args.block_mib} MiB, queue depth {args.depth}, pages of rankio {pages}", flush=True)
    while rounds < args.rounds:
        begin = time.monotonic()
        if rounds and begin - start + longest > args.budget_s:
            break
        for group in (writes, reads):
            for name, side in group if rounds % 2 == 0 else group[::-1]:
                # What was removed before is trimmed now, not in the clock of the next.
                os.sync()
                measured = side(args.gib)
                figures.add(name, measured)
                print(f"round {rounds + 1}: {name}: {measured[1]:.1f} s", file=sys.stderr)
        if not args.writes_only:
            bench.clean()
        longest = max(longest, time.monotonic() - begin)
        rounds += 1
    report(figures, bench)
    took = time.monotonic() - start
    short = "" if rounds == args.rounds else f" of {args.rounds}: --budget-s ran out"
    print(f"{rounds} rounds{short}, {took:.0f} s in all")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rankio", help="the built program")
    parser.add_argument("dir", help="a folder on the file system to measure")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--gib", type=float, default=10.0, help="of a checkpoint, all ranks")
    parser.add_argument("--python-gib", type=float, default=2.0, help="of the Python writer")
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--depth", type=int, default=8, help="io.queue_depth")
    parser.add_argument("--block-mib", type=int, default=1)
    parser.add_argument("--own-pages", action="store_true", help="rankio's default pages")
    parser.add_argument("--writes-only", action="store_true",
                        help="no restores, and half the space")
    parser.add_argument("--budget-s", type=float, default=340, help="begin no round beyond this")
    args = parser.parse_args()
    args.rankio, args.dir = os.path.abspath(args.rankio), os.path.abspath(args.dir)
    if min(args.rounds, args.ranks, args.depth, args.block_mib) < 1 \
            or min(args.gib, args.python_gib) < SMALL_GIB:
        sys.exit(f"give numbers of at least 1, and GiB of at least {SMALL_GIB}")
    # The saved checkpoint, and the files of one other side (all others remove theirs).
    needed, free = int((2 - args.writes_only) * args.gib * GIB) + SPARE_BYTES, shutil.disk_usage(args.dir).free
    if free < needed:
        sys.exit(f"{args.dir} has {free / GIB:.1f} GiB free, {needed / GIB:.1f} are needed: "
                 f"give a smaller --gib")
    # An end by a signal removes the files too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory(prefix="checkpoint-pairs-", dir=args.dir) as work, \
            tempfile.TemporaryDirectory() as results:
        measure(args, pathlib.Path(work), pathlib.Path(results))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--python-writer"]:
        python_writer(sys.argv[2])
    else:
        main()
