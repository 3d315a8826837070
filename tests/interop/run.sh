#!/bin/sh
# Interoperability: readers that are not ours open what rankio writes, and rankio trains on what
# DLIO wrote.
#
#   tests/interop/run.sh RANKIO_BINARY [SHARED_DIR]
#
# Makes a Python environment in a temporary folder (requirements.txt), so it needs python3 with venv
# and a package index. SHARED_DIR holds fixtures/dlio-2.0.0/data; without
# it that half is left out.
set -eu

if [ $# -lt 1 ] || [ $# -gt 2 ]; then
    echo "usage: $0 RANKIO_BINARY [SHARED_DIR]" >&2
    exit 2
fi
rankio=$(realpath "$1")
fixtures=${2:+$(realpath "$2")/fixtures/dlio-2.0.0/data}
here=$(cd "$(dirname "$0")" && pwd)
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

quietly python3 -m venv "$work/venv"
quietly "$work/venv/bin/pip" install --disable-pip-version-check -r "$here/requirements.txt"

# One dataset for each format; the second has odd sides, wide elements and files of many chunks.
for format in npz npy tfrecord jpeg png hdf5 csv indexed_binary mmap_indexed_binary parquet; do
    quietly "$rankio" datagen "$here/small.yaml" --set "dataset.format=$format" \
        --data-dir "$work/small/$format" --results-dir "$work/results"
    quietly "$rankio" datagen "$here/small.yaml" --set "dataset.format=$format" \
        --set 'dataset.record_dims=[301, 517]' --set dataset.record_element_type=float32 \
        --set dataset.num_files_train=2 \
        --data-dir "$work/wide/$format" --results-dir "$work/results"
done
# HDF5 again: chunks of two samples, and datasets that share a record.
for datasets in 1 3; do
    quietly "$rankio" datagen "$here/small.yaml" --set dataset.format=hdf5 \
        --set 'dataset.record_dims=[6, 20, 30]' --set dataset.record_element_type=int16 \
        --set "dataset.hdf5.num_dset_per_record=$datasets" \
        --set 'dataset.hdf5.chunk_dims=[2, 2, 16, 7]' \
        --data-dir "$work/chunks/$datasets" --results-dir "$work/results"
done
quietly "$rankio" datagen "$here/parquet.yaml" --data-dir "$work/columns" \
    --results-dir "$work/results"
# The same columns under every codec and behind dictionaries.
for codec in gzip snappy zstd lz4; do
    quietly "$rankio" datagen "$here/parquet.yaml" --set "dataset.compression=$codec" \
        --data-dir "$work/codec/$codec" --results-dir "$work/results"
done
quietly "$rankio" datagen "$here/parquet.yaml" --set dataset.parquet.encoding=dictionary \
    --data-dir "$work/dictionary" --results-dir "$work/results"
quietly "$rankio" datagen "$here/small.yaml" --set dataset.format=csv \
    --set dataset.compression=gzip --data-dir "$work/csv" --results-dir "$work/results"
# A checkpoint with every kind of tensor: layers of their own files, heads and optimizer shards.
quietly "$rankio" run "$here/checkpoint.yaml" --checkpoint-dir "$work/checkpoint" \
    --results-dir "$work/results"
echo "rankio's files in other readers:"
"$work/venv/bin/python" "$here/readers.py" "$work/small" --samples 3 --dtype uint8
"$work/venv/bin/python" "$here/readers.py" "$work/wide" --samples 3 --dtype float32
"$work/venv/bin/python" "$here/readers.py" "$work/chunks" --samples 3 --dtype int16 --chunks 2,2,16,7
"$work/venv/bin/python" "$here/readers.py" "$work/columns" --samples 5003
"$work/venv/bin/python" "$here/readers.py" "$work/checkpoint/global_epoch1_step1"
for codec in gzip snappy zstd lz4; do
    echo "$codec, values of the plain files:"
    "$work/venv/bin/python" "$here/readers.py" "$work/codec/$codec" --samples 5003 \
        --same-as "$work/columns" --compression "$(echo "$codec" | tr a-z A-Z)"
done
echo "dictionaries and gzipped csv, values of the plain files:"
"$work/venv/bin/python" "$here/readers.py" "$work/dictionary" --samples 5003 \
    --same-as "$work/columns"
"$work/venv/bin/python" "$here/readers.py" "$work/csv" --samples 3 --same-as "$work/small/csv"

echo "pyarrow's files in rankio, decoded:"
quietly "$work/venv/bin/python" "$here/write_parquet.py" "$work/pyarrow"
for file in "$work"/pyarrow/*.parquet; do
    name=$(basename "$file" .parquet)
    mkdir -p "$work/foreign/$name/train"
    for index in 0 1; do cp "$file" "$work/foreign/$name/train/img_${index}_of_2.parquet"; done
    quietly "$rankio" run "$here/small.yaml" --set dataset.format=parquet \
        --set dataset.num_files_train=2 --set dataset.num_samples_per_file=700 \
        --set reader.sample_shuffle=off --set io.decode=True --run-id "$name" \
        --data-dir "$work/foreign/$name" --results-dir "$work/results"
    echo "$name: trained"
done

if [ -z "$fixtures" ]; then
    echo "left out: DLIO's files in rankio (no SHARED_DIR given)"
    exit 0
fi
if [ ! -d "$fixtures" ]; then
    echo "FAILED: no datasets at $fixtures" >&2
    exit 1
fi
echo "DLIO's files in rankio:"
for format in npz npy tfrecord jpeg png hdf5 csv indexed_binary; do
    # DLIO wrote its TFRecord fixture without subfolders.
    subfolders=2
    if [ "$format" = tfrecord ]; then subfolders=1; fi
    quietly "$rankio" run "$here/small.yaml" --set "dataset.format=$format" \
        --set dataset.num_files_train=4 --set "dataset.num_subfolders_train=$subfolders" \
        --data-dir "$fixtures/$format" --results-dir "$work/results"
    echo "$format: trained"
done
