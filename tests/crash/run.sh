#!/bin/sh
# Kills jobs that write checkpoints at random moments until so many have died of it, and checks after
# each that no checkpoint was lost and no half one can be taken for whole.
#
#     tests/crash/run.sh [KILLS] [SEED] [OPTIONS OF cargo test ...]
#
# About two seconds for each kill; 200 is the default. The seed gives times and victims (one rank,
# all ranks, mpirun); without one the clock is taken. Ends with 0 if every check held.
set -eu
cd "$(dirname "$0")/../.."
export RANKIO_CRASH_KILLS="${1:-200}"
if [ -n "${2:-}" ]; then
    export RANKIO_CRASH_SEED="$2"
fi
shift "$(($# < 2 ? $# : 2))"
exec cargo test "$@" --test mpi_crash -- --nocapture --exact \
    a_killed_job_loses_no_checkpoint_and_leaves_no_half_one
