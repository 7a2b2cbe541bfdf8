#!/usr/bin/env bash
# The whole road in one go, as a person would type it: `make demo` runs this. Argument: the folder to make.
set -euo pipefail
out=${1:-demo-run}
started=$SECONDS

step() { printf '\n\033[1m[%3ds] %s\033[0m\n' "$((SECONDS - started))" "$1"; shift; echo "  \$ $*"; "$@"; }

rm -rf "$out"
mkdir -p "$out"
full=$(cd "$out" && pwd)

step "Simulate people, film them, cut everything into shards" \
    imu-video build configs/data/demo.yaml "$out/data" --workers 2
step "A frozen ImageNet teacher looks at every clip, once" \
    imu-video embed "$out/data" configs/teacher/efficientnet_lite0_fast.yaml
step "An IMU student learns from the teacher; it sees no label" \
    imu-pretrain launch configs/pretrain/demo.yaml "data.root=$out/data" --run "$out/run"
step "The encoder leaves as a folder that explains itself" \
    imu-pretrain export "$out/run" "$out/encoder"
step "Few-shot on people, a placement, a sensor and a population it never saw" \
    imu-eval fewshot "$out/encoder" "$out/data" --config configs/eval/demo.yaml --out "$out/results.jsonl"
step "Zero-shot from video prototypes" \
    imu-eval zeroshot --mode video "$out/encoder" "$out/data" --config configs/eval/demo.yaml --out "$out/results.jsonl"
step "Retrieval between motion and video" \
    imu-eval retrieval "$out/encoder" "$out/data" --config configs/eval/demo.yaml --out "$out/results.jsonl"
step "A report with plots" \
    imu-eval report "$out/results.jsonl" "$out/report" --run "$out/run" --encoder "$out/encoder" --data "$out/data"

cat <<END

Done in $((SECONDS - started)) s. What it made:
  recordings as shards   $full/data/         (imu-video inspect $out/data --html samples.html)
  training run           $full/run/          (imu-pretrain status $out/run)
  encoder                $full/encoder/      (imu_video.load_encoder("$out/encoder"))
  every measurement      $full/results.jsonl
  report                 $full/report/report.html
END
