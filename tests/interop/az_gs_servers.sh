#!/bin/sh
# Interoperability: az:// on Azurite, Microsoft's emulator of Azure Blob Storage, and gs:// on the
# server of the tests, which speaks Google's dialect.
#
#   tests/interop/az_gs_servers.sh
#
# Azurite is taken from the variable AZURITE, else from PATH (azurite-blob), else from the npm
# registry. Where it cannot be had, az:// is left out, and said.
#
# The store's contract is checked on both; then datagen, training, verification of everything,
# checkpoints saved, kept and restored, and the object micro-benchmark, each with two ranks.
set -eu

cd "$(dirname "$0")/../.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM

if [ -z "${AZURITE:-}" ] && ! command -v azurite-blob >/dev/null 2>&1; then
    if command -v npm >/dev/null 2>&1 &&
        (cd "$work" && npm install --no-audit --no-fund --no-save azurite >npm.log 2>&1); then
        export AZURITE="$work/node_modules/.bin/azurite-blob"
    else
        echo "skipped: no Azurite on this machine, so nothing on az://"
    fi
fi

one() {
    if ! cargo test --all-features --locked "$@" -- --test-threads=1 >"$work/log" 2>&1; then
        echo "FAILED: cargo test $*" >&2
        cat "$work/log" >&2
        exit 1
    fi
    grep '^test result' "$work/log"
}

one --test storage_conformance
one --test mpi_az_gs
echo "az:// and gs://: the contract holds, datasets, checkpoints and objects came back"
