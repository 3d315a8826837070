#!/usr/bin/env bash
# The main job on one machine, no batch system needed: builds rankio, lets two MPI ranks generate a dataset
# and train over it. The last line says where the results are.
#
#   slurm/local.sh [WORKLOAD.yaml [more arguments for `rankio run`]]
#
# RANKS (2), DATA_DIR (./data/<workload>) and RESULTS_DIR (./results) may be set.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
workload=${1:-workloads/quick.yaml}
shift || true
name=$(basename "$workload" .yaml)
ranks=${RANKS:-2}
data=${DATA_DIR:-./data/$name}
results=${RESULTS_DIR:-./results}

tests/setup build
cargo build --release --locked
binary=${CARGO_TARGET_DIR:-target}/release/rankio

# A rank bound to one core would share it with its own I/O threads.
launch=(mpirun -n "$ranks" --bind-to none)
if mpirun --version 2>/dev/null | grep -q 'Open MPI'; then
  # Open MPI refuses to start more ranks than there are cores (two hardware threads are one core), and to
  # start as root, unless told so.
  launch+=(--oversubscribe)
  [[ $(id -u) != 0 ]] || export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
fi
exec "${launch[@]}" "$binary" run "$workload" \
  --data-dir "$data" --results-dir "$results" "$@"
