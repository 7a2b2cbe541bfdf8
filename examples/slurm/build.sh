#!/bin/bash
# Builds a data folder on a Slurm cluster: every array task encodes its part of the subjects, a final job merges the parts.
#
#   PARTS=16 bash examples/slurm/build.sh configs/data/folder.yaml /shared/data/mine dataset.root=/shared/recordings
#
# The folder is on a disk that all nodes share. Restart a task that was killed or ran out of time unchanged (`sbatch` the
# printed line, or `scontrol requeue`): finished subjects are not encoded again. The merge starts when all tasks are done
# and gives the same bytes as a single process. Teacher features are computed in the same way:
#
#   PARTS=8 COMMAND=embed SBATCH_ARGS="--gres=gpu:1" bash examples/slurm/build.sh /shared/data/mine configs/teacher/efficientnet_lite0.yaml
set -euo pipefail
PARTS=${PARTS:-8}
COMMAND=${COMMAND:-build}
WORKERS=${WORKERS:-4}
case "$COMMAND" in
  build) DATA=${2:?usage: PARTS=n build.sh CONFIG OUT [section.key=value ...]} ;;
  embed) DATA=${1:?usage: PARTS=n COMMAND=embed build.sh DATA TEACHER [key=value ...]} ;;
  *) echo "COMMAND is build or embed, not $COMMAND" >&2; exit 2 ;;
esac
quoted() { printf '%q ' "$@"; }
# shellcheck disable=SC2086  # SBATCH_ARGS contains several words
submit() { ${SBATCH:-sbatch} --parsable ${SBATCH_ARGS:-} "$@"; }
ARRAY=$(submit --job-name "imu-video-$COMMAND" --array "1-$PARTS" --cpus-per-task "$WORKERS" --requeue --output "%x-%A-%a.log" \
  --wrap "imu-video $COMMAND $(quoted "$@")--workers $WORKERS --part \$SLURM_ARRAY_TASK_ID/$PARTS")
MERGE=$(submit --job-name imu-video-merge --dependency "afterok:$ARRAY" --output "%x-%j.log" --wrap "imu-video merge $(quoted "$DATA")")
echo "array job $ARRAY of $PARTS parts, then job $MERGE merges into $DATA"
