#!/bin/sh
# DLIO 2.0.0 trains on datasets that rankio made. By hand: PyTorch and TensorFlow are large.
#
#   tests/interop/dlio.sh RANKIO_BINARY [VENV_DIR]
#
# VENV_DIR keeps the Python environment (7 GB with PyTorch's default build) for another run; without
# it a temporary one is made and removed. DATASETS=DIR uses DIR/<format> as they are and makes none.
# FORMATS and RANKS choose what runs. Needs mpirun and python3 with venv.

set -eu

if [ $# -lt 1 ] || [ $# -gt 2 ]; then
    echo "usage: $0 RANKIO_BINARY [VENV_DIR]" >&2
    exit 2
fi
rankio=$1
formats=${FORMATS:-npz npy jpeg png tfrecord}
ranks=${RANKS:-1 2}
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
venv=${2:-$work/venv}

# DLIO's own requirements name DALI, torchaudio and torchvision, which these formats do not use.
if [ ! -x "$venv/bin/dlio_benchmark" ]; then
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet numpy h5py omegaconf hydra-core pandas Pillow psutil PyYAML \
        mpi4py pydftracer==1.0.2 torch tensorflow-cpu
    "$venv/bin/pip" install --quiet --no-deps dlio-benchmark==2.0.0
fi

data=${DATASETS:-$work/data}
mpirun=mpirun
if [ "$(id -u)" = 0 ]; then mpirun="mpirun --allow-run-as-root"; fi
for format in $formats; do
    framework=pytorch
    if [ "$format" = tfrecord ]; then framework=tensorflow; fi
    if [ -z "${DATASETS:-}" ]; then
        "$rankio" datagen "$here/small.yaml" --set "dataset.format=$format" \
            --data-dir "$data/$format" --results-dir "$work/results"
    fi
    for count in $ranks; do
        out="$work/dlio-$format-$count"
        if ! $mpirun --oversubscribe -n "$count" "$venv/bin/dlio_benchmark" \
            "--config-dir=$here/dlio" workload=rankio \
            "++workload.framework=$framework" "++workload.reader.data_loader=$framework" \
            "++workload.dataset.format=$format" \
            "++workload.dataset.data_folder=$data/$format" \
            "hydra.run.dir=$out" >"$work/log" 2>&1 || [ ! -s "$out/summary.json" ]; then
            echo "FAILED: DLIO on $format with $count ranks" >&2
            cat "$work/log" >&2
            exit 1
        fi
        echo "$format, $count ranks:"
        grep METRIC "$work/log" | grep -v ====
    done
done
