#!/bin/bash
# The benchmark of domain shift on a Slurm cluster: every array task executes its part of the runs, a final job writes the tables.
#
#   PARTS=16 bash examples/slurm/ood.sh /shared/data/hapt --config configs/eval/ood/hapt_person.yaml --folder /shared/runs/hapt_person
#
# The arguments are those of `imu-eval ood`. Folder, data and encoders are on a disk that all nodes share. Restart a task that was
# killed unchanged (`scontrol requeue`): finished runs are kept. The final job starts when all tasks are done.
set -euo pipefail
PARTS=${PARTS:-8}
WORKERS=${WORKERS:-4}
: "${1:?usage: PARTS=n ood.sh DATA... --config CONFIG --folder FOLDER [options of imu-eval ood]}"
quoted() { printf '%q ' "$@"; }
# shellcheck disable=SC2086  # SBATCH_ARGS contains several words
submit() { ${SBATCH:-sbatch} --parsable ${SBATCH_ARGS:-} "$@"; }
ARRAY=$(submit --job-name imu-eval-ood --array "1-$PARTS" --cpus-per-task "$WORKERS" --requeue --output "%x-%A-%a.log" \
  --wrap "imu-eval ood $(quoted "$@")--workers $WORKERS --part \$SLURM_ARRAY_TASK_ID/$PARTS")
GATHER=$(submit --job-name imu-eval-ood-tables --dependency "afterok:$ARRAY" --output "%x-%j.log" --wrap "imu-eval ood $(quoted "$@")")
echo "array job $ARRAY of $PARTS parts, then job $GATHER writes the tables"
