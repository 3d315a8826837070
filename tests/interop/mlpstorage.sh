#!/bin/sh
# MLPerf's own tools on what rankio leaves in `mlperf/`: the report generator and the submission
# checker of the package `mlpstorage`.
#
#   tests/interop/mlpstorage.sh RANKIO_BINARY [CHECKOUT]
#
# CHECKOUT (or MLPSTORAGE) is a checkout of the benchmark's repository with the folder mlpstorage_py;
# without it an installed package of that name is taken (PYTHON chooses the interpreter), and without
# that the script says so and ends. Nothing is fetched but the Python packages that the checkers import,
# where they are missing. Needs mpirun; takes a few minutes.
set -eu

if [ $# -lt 1 ] || [ $# -gt 2 ]; then
    echo "usage: $0 RANKIO_BINARY [CHECKOUT]" >&2
    exit 2
fi
rankio=$(realpath "$1")
checkout=${2:-${MLPSTORAGE:-}}
python=${PYTHON:-python3}
here=$(cd "$(dirname "$0")" && pwd)
workloads=$here/../../workloads

if [ -n "$checkout" ]; then
    if [ ! -d "$checkout/mlpstorage_py" ]; then
        echo "FAILED: no mlpstorage_py in $checkout" >&2
        exit 1
    fi
    PYTHONPATH=$(realpath "$checkout")
    export PYTHONPATH
elif ! "$python" -c 'import mlpstorage_py' 2>/dev/null; then
    echo "skipped: give a checkout of mlpstorage, or PYTHON with the package mlpstorage installed"
    exit 0
fi
if ! command -v mpirun >/dev/null; then
    echo "skipped: no mpirun"
    exit 0
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM

# What a step printed is shown only when the step failed.
quietly() {
    if ! "$@" >"$work/log" 2>&1; then
        echo "FAILED: $*" >&2
        cat "$work/log" >&2
        exit 1
    fi
}

if ! "$python" -c 'import psutil, pyarrow, yaml, packaging, rich, dotenv' 2>/dev/null; then
    quietly "$python" -m venv "$work/venv"
    python=$work/venv/bin/python
    quietly "$python" -m pip install --disable-pip-version-check \
        psutil pyarrow pyyaml packaging rich python-dotenv
fi

mpirun="mpirun --bind-to none --oversubscribe"
if [ "$(id -u)" = 0 ]; then mpirun="$mpirun --allow-run-as-root"; fi
runs=$work/runs

# Copies the mlperf/ folder of run $1 to a folder in $2 that is named by its time.
place() {
    for metadata in "$1"/mlperf/*_metadata.json; do
        stamp=$(basename "$metadata" _metadata.json)
        mkdir -p "$2"
        cp -r "$1/mlperf" "$2/${stamp#*_}"
    done
}

# retinanet: the benchmark's settings but for the number of files. Buffered, because the rules allow
# O_DIRECT for unet3d only.
few="--set dataset.num_files_train=96 --set io.cache=keep"
quietly "$rankio" datagen "$workloads/retinanet_datagen.yaml" $few \
    --data-dir "$work/data/retinanet" --results-dir "$runs" --run-id retinanet-datagen
quietly $mpirun -n 2 "$rankio" run "$workloads/retinanet_b200.yaml" $few \
    --data-dir "$work/data/retinanet" --results-dir "$runs" --run-id retinanet
# The same with the compute time of no accelerator, read past the page cache.
quietly "$rankio" run "$workloads/retinanet_b200.yaml" --set dataset.num_files_train=96 \
    --set train.computation_time=0.01 \
    --data-dir "$work/data/retinanet" --results-dir "$runs" --run-id changed
# llama3-8b on its eight ranks, but with a tiny model: 10 checkpoints written and 10 read.
quietly $mpirun -n 8 "$rankio" run "$workloads/llama3_8b.yaml" --set model.num_layers=1 \
    --set model.transformer.vocab_size=512 --set model.transformer.hidden_size=256 \
    --set model.transformer.ffn_hidden_size=512 --set checkpoint.time_between_checkpoints=0 \
    --checkpoint-dir "$work/data/checkpoints" --results-dir "$runs" --run-id checkpoints
# unet3d with small samples: the series of a submission, each run some seconds long.
small="--set dataset.num_files_train=84 --set dataset.record_length_bytes=65536"
small="$small --set dataset.record_length_bytes_stdev=0"
quietly "$rankio" datagen "$workloads/unet3d_datagen.yaml" $small \
    --data-dir "$work/data/unet3d" --results-dir "$runs" --run-id unet3d-datagen
quietly $mpirun -n 2 "$rankio" run "$workloads/unet3d_h100.yaml" $small --set metric.au=0.5 \
    --repeat 5 --warmup-runs 1 \
    --data-dir "$work/data/unet3d" --results-dir "$runs" --run-id unet3d

# The tree of a results folder.
results=$work/results
place "$runs/retinanet-datagen" "$results/training/retinanet/datagen"
place "$runs/retinanet" "$results/training/retinanet/run"
changed=$work/changed
place "$runs/changed" "$changed/training/retinanet/run"
checkpoints=$work/checkpoints
place "$runs/checkpoints" "$checkpoints/checkpointing/llama3-8b"

# The tree of a submission. What describes the system is the submitter's to write; the checker wants a
# file.
lab=$work/submission/closed/lab
place "$runs/unet3d-datagen" "$lab/results/sut/training/unet3d/datagen"
series=$runs/unet3d/training/unet3d/run
for run in "$series"/*/; do place "${run%/}" "$lab/results/sut/training/unet3d/run"; done
cp "$series/results.json" "$lab/results/sut/training/unet3d/run/"
place "$runs/checkpoints" "$lab/results/sut/checkpointing/llama3-8b"
mkdir -p "$lab/systems"
echo "System: {name: sut}" >"$lab/systems/sut.yaml"

cd "$work"
echo "report generator:"
"$python" "$here/mlpstorage.py" report "$results" \
    'retinanet datagen: INVALID: Insufficient number of training files' \
    'retinanet run b200: INVALID: Insufficient number of training files'
why='Disallowed parameter override: train.computation_time = 0.01'
why="$why | Insufficient number of training files"
why="$why | The reader.odirect option is only supported for unet3d"
"$python" "$here/mlpstorage.py" report "$changed" "retinanet run b200: INVALID: $why"
"$python" "$here/mlpstorage.py" report "$checkpoints" 'llama3-8b run: CLOSED'
echo "submission checker:"
# One of its checks fails on every training: it looks for the model among those of checkpoints.
"$python" "$here/mlpstorage.py" check "$work/submission" \
    'training: Dataset size mismatch | closed_checkpoint_parameters raises' \
    'checkpointing: no complaint'
echo "the verdicts are those expected"
