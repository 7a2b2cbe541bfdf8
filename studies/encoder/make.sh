#!/usr/bin/env bash
# The shipped encoders from recordings to exported folders. Finished steps are skipped; results.md has the time of the steps.
#
#     studies/encoder/make.sh CMU-MOCAP SP-SW-HAR-DATA WISDM51-WATCH                        # shipped mixture
#     studies/encoder/make.sh CMU-MOCAP SP-SW-HAR-DATA WISDM51-WATCH --with bandai BVH      # with motion capture under CC BY-NC
set -euo pipefail
if [ $# -lt 3 ]; then
    sed -n '2,6s/^# \{0,1\}//p' "$0"
    exit 2
fi
cmu=$1 sp_sw=$2 wisdm=$3
shift 3
run() { python -P "$(dirname "$0")/run.py" "$@"; }
more=()
if [ "${1-}" = --with ]; then
    [ "${2-}" = bandai ] && [ $# -eq 3 ] || { echo "expected: --with bandai BVH" >&2; exit 2; }
    run data bandai_namco "$3"
    more=(--with bandai_namco)
fi
run data world
run data cmu_mocap "$cmu"
run data sp_sw_har "$sp_sw"
run data wisdm51 "$wisdm"
run pretrain small ${more[@]+"${more[@]}"} &
small=$!
run pretrain base ${more[@]+"${more[@]}"}
wait "$small"
