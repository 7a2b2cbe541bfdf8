#!/usr/bin/env bash
# The UTD-MHAD study of docs/results-utd-mhad.md, a command a row. Whatever is finished is kept: a stopped command goes on where it was.
#   benchmarks/utd_mhad.sh data UTD-MHAD               cut the recordings, fit and run the frozen skeleton teacher
#   benchmarks/utd_mhad.sh scratch                     the references: from scratch, random encoder, frozen teacher
#   benchmarks/utd_mhad.sh row imu_video               pretrain every seed, export, limited labels against simclr_imu
#   benchmarks/utd_mhad.sh row hard_negative beta_2 loss.0.beta=2.0      the same config under another name, changed
#   benchmarks/utd_mhad.sh teacher supervised supervised=true            row imu2clip with another skeleton teacher, and its own probe
#   benchmarks/utd_mhad.sh finetune imu_video          the row's encoders trained along with the labels, and from scratch
#   benchmarks/utd_mhad.sh few imu_video DATA configs/eval/hapt.yaml     the row's encoders, few-shot on other data
#   benchmarks/utd_mhad.sh table                       everything measured so far as one report
# Words after UTD-MHAD or a teacher's name change configs/teacher/skeleton.yaml, those after a further -- the pretraining; `teacher` keeps data
# and results in STUDY/teachers/NAME.
# `data` with DEPTH=1 embeds depth video too.
# STUDY=folder (default study-run), SEEDS="0 1 2 3 4", AGAINST=row, LABELS=a config of configs/labels or a file in place of the
# command's own (utd_mhad_probes where the row has a student of its own). One thread a run: start several rows at once.
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
study=${STUDY:-study-run}
seeds=(${SEEDS:-0 1 2 3 4})
against=${AGAINST:-simclr_imu}
data=$study/data
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}

usage() { sed -n '2,15s/^# \{0,1\}//p' "$0" >&2; exit 2; }

pretrained() { # CONFIG NAME SEED overrides...: one encoder, unless it is there
    local config=$1 name=$2 seed=$3 out run
    shift 3
    out=$study/encoders/$name/seed$seed run=$study/runs/$name-$seed
    [[ -f $out/config.json ]] && return
    imu-pretrain launch "$config" seed="$seed" data.root="$data" run.threads=1 "$@" --run "$run"
    if grep -q '^tower: {' "$config"; then
        imu-pretrain export "$run" "$out" --checkpoint latest --with-skeleton
    else
        imu-pretrain export "$run" "$out" --checkpoint latest
    fi
}

labels() { # CONFIG ENCODERS further arguments of imu-eval labels
    local config=${LABELS:-$1} encoders=$2
    shift 2
    [[ -f $config ]] || config=$here/configs/labels/$config.yaml
    imu-eval labels "$encoders" "$data" --config "$config" \
        "seeds=[$(IFS=,; echo "${seeds[*]}")]" --out "$study/results.jsonl" "$@"
}

row() { # CONFIG NAME overrides...: pretrain every seed, then the labels
    local config=$here/configs/study/utd_mhad/$1.yaml name=$2 todo=0 seed more=()
    [[ -f $config ]] || { echo "no row $1 in configs/study/utd_mhad" >&2; exit 2; }
    shift 2
    for seed in "${seeds[@]}"; do [[ -f $study/encoders/$name/seed$seed/config.json ]] || todo=$((todo + 1)); done
    echo "$name: $todo of ${#seeds[@]} pretrainings to do, about $((todo * 35)) s of one core; then the labels"
    for seed in "${seeds[@]}"; do pretrained "$config" "$name" "$seed" "$@"; done
    [[ $name != "$against" && -d $study/encoders/$against ]] && more=(--against "$study/encoders/$against")
    labels utd_mhad "$study/encoders/$name" "${more[@]}"
}

[[ $# -ge 1 ]] || usage
command=$1
shift
case $command in
data)
    [[ $# -ge 1 ]] || usage
    root=$1
    shift
    imu-video build "$here/configs/data/utd_mhad.yaml" "$data" dataset.root="$root"
    imu-video embed "$data" "$here/configs/teacher/skeleton.yaml" "$@"
    [[ -z ${DEPTH:-} ]] || imu-video embed "$data" "$here/configs/teacher/efficientnet_lite0.yaml"
    ;;
scratch)
    # Any encoder of the study's architecture lends its shape; none of its weights enter.
    pretrained "$here/configs/study/utd_mhad/simclr_imu.yaml" shape 0 optim.steps=1 "$@"
    only='{"name":"random","start":"random"},{"name":"skeleton","inputs":"teacher"}'
    only+=',{"name":"scratch","start":"random","learn":"all"}'
    only+=',{"name":"scratch spread","start":"random","learn":"all","spread":{"inputs":"teacher"}}'
    labels utd_mhad "$study/encoders/shape/seed0" --name none "methods=[$only]"
    ;;
finetune)
    [[ $# -eq 1 ]] || usage
    labels utd_mhad_finetune "$study/encoders/$1"
    ;;
row)
    [[ $# -ge 1 ]] || usage
    row "$1" "${2:-$1}" "${@:3}"
    ;;
teacher)
    [[ $# -ge 1 ]] || usage
    name=$1 words=()
    shift
    while [[ $# -gt 0 && $1 != -- ]]; do words+=("$1"); shift; done
    study=$study/teachers/$name
    if [[ ! -f $study/data/index.json ]]; then # two skeleton teachers in one folder would have to be told apart by fingerprint
        mkdir -p "$study/data"
        cp -r "$data/build.yaml" "$data/shards" "$data/columns" "$data/index.json" "$study/data/"
    fi
    data=$study/data
    imu-video embed "$data" "$here/configs/teacher/skeleton.yaml" "${words[@]}"
    LABELS=${LABELS:-utd_mhad_probes} row imu2clip "$name" "${@:2}"
    ;;
few)
    [[ $# -ge 3 ]] || usage
    name=$1 other=$2 config=$3
    shift 3
    for seed in "${seeds[@]}"; do
        imu-eval fewshot "$study/encoders/$name/seed$seed" "$other" --config "$config" --out "$study/few-$name.jsonl" "$@"
    done
    ;;
table)
    imu-eval report "$study/results.jsonl" "$study/report"
    ;;
*)
    usage
    ;;
esac
