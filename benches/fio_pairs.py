#!/usr/bin/env python3
"""The engine against fio in alternating pairs on one file, as ratios.

    cargo bench --no-run --bench engine          # prints the path of the program
    benches/fio_pairs.py --engine target/release/deps/engine-* --file DIR/zeros --pairs 5 --batch 1

Absolute figures of a shared or virtual machine are worth little; a ratio of two runs within
seconds of each other is worth more, and the range over the pairs says how much. Both sides use O_DIRECT, one
thread, registered buffers and files, and huge pages: reserved ones where vm.nr_hugepages gives them
(needed by fio: `sysctl vm.nr_hugepages=64`), else 4 KiB pages on both sides, which is printed.
CPU is user and system time of the process for each request.
"""
import argparse
import json
import statistics
import subprocess
import sys

PATTERNS = {
    "4k": ("randread", "4k", 32),
    "128k": ("randread", "128k", 16),
    "1m": ("read", "1m", 8),
}
HUGE_PAGES_NEEDED = 16


def free_huge_pages():
    with open("/proc/meminfo") as file:
        lines = dict(line.split(":", 1) for line in file)
    return int(lines.get("HugePages_Free", "0").split()[0])


def run(command):
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def fio(arguments, pattern, block, depth, huge):
    command = [
        "fio", "--name=pair", f"--filename={arguments.file}", "--readonly", f"--rw={pattern}",
        f"--bs={block}", f"--iodepth={depth}", "--ioengine=io_uring", "--direct=1",
        "--fixedbufs", "--registerfiles", "--nonvectored=1", "--time_based", "--norandommap",
        f"--runtime={arguments.seconds}", "--output-format=json",
    ]
    if huge:
        command += ["--iomem=mmaphuge", "--hugepage-size=2m"]
    text = run(command)
    job = json.loads(text[text.index("{"):])["jobs"][0]
    iops = job["read"]["iops"]
    runtime_us = job["job_runtime"] * 1000
    cpu = (job["usr_cpu"] + job["sys_cpu"]) / 100 * runtime_us / job["read"]["total_ios"]
    return iops, cpu, job["read"]["clat_ns"]["percentile"]["50.000000"] / 1000


def ours(arguments, pattern, block, depth, huge):
    command = [
        arguments.engine, "--path", arguments.file, "--pattern", pattern, "--block", block,
        "--depth", str(depth), "--seconds", str(arguments.seconds), "--batch",
        str(arguments.batch),
    ]
    if not huge:
        command.append("--small-pages")
    result = json.loads(run(command))
    facts = result["facts"]
    if not facts["direct"] or not facts["registered_buffers"]:
        sys.exit(f"not a fair pair: {facts}")
    return result["iops"], result["cpu_us_per_io"], result["p50_us"], facts


def span(values):
    return f"{statistics.median(values):5.2f} ({min(values):.2f}-{max(values):.2f})"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--engine", required=True, help="the built bench program `engine`")
    parser.add_argument("--file", required=True, help="file to read, at least 1 GiB")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.5)
    parser.add_argument("--batch", type=int, default=1, help="our io.submit_batch")
    parser.add_argument("--patterns", default="4k,128k,1m")
    arguments = parser.parse_args()
    huge = free_huge_pages() >= HUGE_PAGES_NEEDED
    pages = "2 MiB" if huge else "4 KiB (no reserved huge pages: sysctl vm.nr_hugepages=64)"
    print(f"{arguments.file}, pages {pages}, batch {arguments.batch}, {arguments.pairs} pairs")
    print("pattern      fio IOPS  ours IOPS  ratio (range)      CPU us fio/ours  "
          "CPU ratio (range)  p50 us fio/ours")
    for name in arguments.patterns.split(","):
        pattern, block, depth = PATTERNS[name]
        rows = []
        for pair in range(arguments.pairs):
            sides = [fio, ours] if pair % 2 == 0 else [ours, fio]
            got = {side: side(arguments, pattern, block, depth, huge) for side in sides}
            rows.append((got[fio], got[ours]))
        wanted = "2MiB-hugetlb" if huge else "4KiB"
        if rows[0][1][3]["page_size"] != wanted:
            sys.exit(f"not a fair pair: our pages are {rows[0][1][3]['page_size']}")
        middle = lambda side, i: statistics.median(row[side][i] for row in rows)
        print(f"{name:>5} QD{depth:<3} {middle(0, 0):10.0f} {middle(1, 0):10.0f}  "
              f"{span([b[0] / a[0] for a, b in rows]):18} "
              f"{middle(0, 1):6.2f}/{middle(1, 1):<6.2f}    "
              f"{span([b[1] / a[1] for a, b in rows]):18} "
              f"{middle(0, 2):.0f}/{middle(1, 2):.0f}", flush=True)


main()
