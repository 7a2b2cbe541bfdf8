#!/bin/bash
# The benchmark of domain shift on a Slurm cluster: every array task does its share of the runs, a last job makes the tables.
#
#   PARTS=16 bash configs/launch/slurm_ood.sh /shared/data/hapt --config configs/eval/ood/hapt_person.yaml --folder /shared/runs/hapt_person
#
# The words are those of `imu-eval ood`. Folder, data and encoders lie on a disk that all nodes share. A task that was killed is
# started again as it was (`scontrol requeue`): finished runs are kept. The last job starts when all tasks are done.
set -euo pipefail
PARTS=${PARTS:-8}
WORKERS=${WORKERS:-4}
: "${1:?usage: PARTS=n slurm_ood.sh DATA... --config CONFIG --folder FOLDER [options of imu-eval ood]}"
quoted() { printf '%q ' "$@"; }
# shellcheck disable=SC2086  # SBATCH_ARGS holds several words
submit() { ${SBATCH:-sbatch} --parsable ${SBATCH_ARGS:-} "$@"; }
ARRAY=$(submit --job-name imu-eval-ood --array "0-$((PARTS - 1))" --cpus-per-task "$WORKERS" --requeue --output "%x-%A-%a.log" \
  --wrap "imu-eval ood $(quoted "$@")--workers $WORKERS --part \$SLURM_ARRAY_TASK_ID/$PARTS")
GATHER=$(submit --job-name imu-eval-ood-tables --dependency "afterok:$ARRAY" --output "%x-%j.log" --wrap "imu-eval ood $(quoted "$@")")
echo "array job $ARRAY of $PARTS parts, then job $GATHER makes the tables"
