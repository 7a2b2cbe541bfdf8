#!/usr/bin/env bash
# The benchmark of domain shift of docs/results-transfer.md, a command a step. Whatever is finished is kept: a stopped command goes
# on where it was.
#   benchmarks/ood.sh data umafall /where/the/CSVs/lie      also: hapt, sp_sw_har, berkeley_mhad, daphnet
#   benchmarks/ood.sh scratch hapt_person                   ERM and fifteen algorithms, fresh networks
#   benchmarks/ood.sh data utd_mhad UTD-MHAD                what the encoders are pretrained on; also: bandai_namco
#   benchmarks/ood.sh encoder imu_video                     pretrain and export a row of configs/study/transfer
#   benchmarks/ood.sh encoder imu_video_sigmoid permuted data.control=permuted_pairs     the same under another name, changed
#   benchmarks/ood.sh pretrained hapt_person imu_video simclr_imu    the same network pretrained: fine-tuned (all), and as it is (head)
#   benchmarks/ood.sh both umafall_position comodo coral mmd         frozen, its classifier trained by these algorithms
#   benchmarks/ood.sh few hapt imu_video_sigmoid            the encoder few-shot; also: umafall, daphnet
#   benchmarks/ood.sh report                                everything measured so far, a page a table
# OOD=folder (default ood-run), WORKERS=1 (runs at a time), TRAIN: of `pretrained`, any of "all head wise" (WiSE-FT); of `both`, one.
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
ood=${OOD:-ood-run}
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}

usage() { sed -n '2,14s/^# \{0,1\}//p' "$0" >&2; exit 2; }

cut_into() { # CONFIG OUT ROOT overrides...
    imu-video build "$here/configs/data/$1.yaml" "$ood/data/$2" dataset.root="$3" "${@:4}"
}

out=scratch  # fresh networks with their grids, and pretrained ones beside plain ERM, are two tables

run() { # SCENARIO further arguments of imu-eval ood
    local data
    case $1 in
    hapt_person) data=(hapt) ;;
    hapt_umafall) data=(hapt20 umafall) ;;
    umafall_*) data=(umafall) ;;
    sp_sw_*) data=(sp_sw_har) ;;
    berkeley_*) data=(berkeley_mhad) ;;
    daphnet_*) data=(daphnet) ;;
    *) echo "no scenario $1 in configs/eval/ood" >&2; exit 2 ;;
    esac
    imu-eval ood "${data[@]/#/$ood/data/}" --config "$here/configs/eval/ood/$1.yaml" --folder "$ood/runs/$1" \
        --out "$ood/$out.jsonl" --workers "${WORKERS:-1}" "${@:2}"
}

named() { # TRAIN ENCODERS...: as arguments of imu-eval ood, in the array `encoders`: comodo, comodo_head or comodo_wise
    encoders=()
    local suffix=_$1
    [[ $1 == all ]] && suffix=
    for name in "${@:2}"; do
        [[ -f $ood/encoders/$name/config.json ]] || { echo "no encoder $ood/encoders/$name" >&2; exit 2; }
        encoders+=(--encoder "$name$suffix=$ood/encoders/$name")
    done
}

[[ $# -ge 1 ]] || usage
command=$1
shift
case $command in
data)
    [[ $# -eq 2 ]] || usage
    case $1 in
    hapt)
        cut_into hapt hapt "$2" window.seconds=2.56 window.stride_s=1.28
        cut_into hapt hapt20 "$2" window.seconds=5 window.stride_s=2.5 window.rate_hz=20
        ;;
    utd_mhad)
        cut_into utd_mhad utd "$2" window.mode=sliding window.seconds=2.56 window.stride_s=0.64 window.clip_fps=null \
            'splits.subjects={train: [s1, s2, s3, s4, s5, s6, s8], val: [s7]}'
        ;;
    bandai_namco)
        cut_into bandai_namco bandai "$2" window.seconds=2.56 window.stride_s=0.64 \
            'dataset.placements=[left_wrist, right_wrist, waist, thigh, ankle, chest]'
        imu-video embed "$ood/data/bandai" "$here/configs/teacher/efficientnet_lite0_fast.yaml"
        ;;
    *) cut_into "$1" "$1" "$2" ;;
    esac
    ;;
encoder)
    [[ $# -ge 1 ]] || usage
    config=$here/configs/study/transfer/$1.yaml name=${2:-$1}
    [[ -f $config ]] || { echo "no row $1 in configs/study/transfer" >&2; exit 2; }
    [[ -f $ood/encoders/$name/config.json ]] && exit
    root=$ood/data/bandai
    grep -q 'root: data/bandai' "$config" || root="[{root: $root}, {root: $ood/data/utd}]"
    imu-pretrain launch "$config" data.root="$root" "${@:3}" --run "$ood/pretraining/$name"
    imu-pretrain export "$ood/pretraining/$name" "$ood/encoders/$name" --checkpoint latest
    ;;
scratch)
    [[ $# -ge 1 ]] || usage
    run "$@"
    ;;
pretrained)
    [[ $# -ge 2 ]] || usage
    out=pretrained
    for train in ${TRAIN:-all head}; do
        named $train "${@:2}"
        run "$1" --set 'algorithms=[erm]' "${encoders[@]}" --train $train
    done
    ;;
both)
    [[ $# -ge 3 ]] || usage
    out=both
    named "${TRAIN:-head}" "$2"
    run "$1" --set "algorithms=[erm,$(IFS=,; echo "${*:3}")]" "${encoders[@]}" --train "${TRAIN:-head}"
    ;;
few)
    [[ $# -eq 2 ]] || usage
    imu-eval fewshot "$ood/encoders/$2" "$ood/data/$1" --config "$here/configs/eval/$1.yaml" --out "$ood/few-$2.jsonl" \
        references.supervised.episodes=0
    ;;
report)
    for table in scratch pretrained both; do
        [[ -f $ood/$table.jsonl ]] || continue
        folders=()
        for folder in "$ood"/runs/*; do folders+=(--ood-folder "$folder"); done
        imu-eval report "$ood/$table.jsonl" "$ood/report-$table" "${folders[@]}"
    done
    ;;
*) usage ;;
esac
