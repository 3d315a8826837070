#!/usr/bin/env python3
"""Compares rankio's generator with dgen-py, one thread against one thread, in alternating runs.

Usage: dgen_compare.py BENCH_BINARY [--rounds N]

BENCH_BINARY is what `cargo bench --bench generator --no-run` names; dgen-py must be importable
(`pip install dgen-py`). Both sides fill a warm buffer of 32 MiB eight times per run. Counted is
the CPU time of the filling thread (rankio) or of the whole process (dgen-py, whose work may leave
the calling thread), so a busy machine disturbs the rates little.
"""

import argparse
import statistics
import subprocess
import time

import dgen_py

BUFFER_BYTES = 32 << 20
PASSES = 8


def rankio_rates(binary):
    """GB per CPU second of every fill case, from one run."""
    command = [binary, "--machine", "--rounds", "1", "--only", "fill "]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    rows = [line.split("\t") for line in output.splitlines()]
    return {name: int(size) / int(cpu_ns) for name, _, size, cpu_ns in rows if "row" not in name}


def dgen_rate(buffer):
    """GB per CPU second of one warmed run of dgen-py on one thread."""
    generator = dgen_py.Generator(size=BUFFER_BYTES * (PASSES + 1), max_threads=1, seed=1)
    generator.fill_chunk(buffer)
    begun_ns = time.process_time_ns()
    written = sum(generator.fill_chunk(buffer) for _ in range(PASSES))
    return written / (time.process_time_ns() - begun_ns)


def text(values, places):
    low, middle, high = min(values), statistics.median(values), max(values)
    return f"{middle:.{places}f} ({low:.{places}f}-{high:.{places}f})"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("binary", help="compiled benchmark `generator`")
    parser.add_argument("--rounds", type=int, default=9)
    arguments = parser.parse_args()

    buffer = bytearray(BUFFER_BYTES)
    dgen, ours = [], {}
    for _ in range(arguments.rounds):
        dgen.append(dgen_rate(buffer))
        for name, rate in rankio_rates(arguments.binary).items():
            ours.setdefault(name, []).append(rate)

    print(f"GB per CPU second, one thread, {arguments.rounds} alternating rounds: median (range)")
    print(f"{'dgen-py ' + dgen_py.__version__:40} {text(dgen, 1):>20}")
    for name, rates in ours.items():
        ratios = [rate / other for rate, other in zip(rates, dgen)]
        print(f"{name:40} {text(rates, 1):>20}   {text(ratios, 2)} times dgen-py")


if __name__ == "__main__":
    main()
