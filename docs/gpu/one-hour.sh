#!/usr/bin/env bash
# One hour of one GPU, in parts that take at most ten minutes each and may be stopped and called again at any time:
#
#   bash docs/gpu/one-hour.sh                    all parts, one after the other; what stands is not made again
#   bash docs/gpu/one-hour.sh check posgen       some of them: check, posgen, search, finetune, benchmarks
#
# From a clone with its installation (README). What comes out lies in hour/NAME: numbers, pages, logs, and what made them
# (hour/NAME/provenance.json), ready to be committed under docs/results/gpu. NAME is the GPU's, or `cpu`: on a machine
# without a GPU everything runs at the size of a test.
#
#   RUN="uv run"     what stands before each command; empty in an environment that is active
#   MINUTES=10       most minutes of a part
#   CORES=8          jobs beside each other on the card, each with a thread or two
#   OUT=hour         where results are collected
set -uo pipefail
cd "$(dirname "$0")/../.."
ALL=(check posgen search finetune benchmarks)
PARTS=("$@")
[ $# -gt 0 ] || PARTS=("${ALL[@]}")
for name in "${PARTS[@]}"; do
    if [[ " ${ALL[*]} " != *" $name "* ]]; then
        echo "one-hour.sh: there is no part '$name'; expected some of ${ALL[*]}." >&2
        exit 2
    fi
done
RUN="${RUN-uv run}"
MINUTES="${MINUTES:-10}"
# Small models leave most of a card free, so that jobs share it.
export ROPEWALK_SHARE_GPU=1 OMP_NUM_THREADS=1

if $RUN python -c 'import sys, torch; sys.exit(not torch.cuda.is_available())'; then
    NAME="$($RUN python -c 'import torch; print(torch.cuda.get_device_name().replace(" ", "-").lower())')"
    CORES="${CORES:-$(nproc)}"
    STUDY=(config/h100-hour.yaml)
    RESULTS=results/h100-hour
    POSGEN=(--size paper --precision high --models 20)
    FINETUNE=(--config "$RESULTS/models/smollm2/config.json" --length 8192 --sequences 4 --steps 20)
    LONG=(--lengths 8192,32768,65536)
else
    NAME=cpu
    CORES="${CORES:-$(nproc)}"
    STUDY=(config/h100-hour.yaml docs/gpu/reduced.yaml)
    RESULTS=results/h100-hour-reduced
    POSGEN=(--models 2 --steps 2)
    FINETUNE=(--length 64 --sequences 2 --steps 2 --vocabulary 256)
    LONG=(--lengths 128)
fi
FOLDER="${OUT:-hour}/$NAME"
mkdir -p "$FOLDER"
failed=0

# Run a command for at most MINUTES, its words on the screen and in a log.
part() {
    local log="$FOLDER/$1.log"
    shift
    echo "== $*"
    # As Ctrl-C would: a workflow then ends its jobs, which go on from their last checkpoint next time.
    timeout --signal=INT --kill-after=60 "$((MINUTES * 60))" "$@" 2>&1 | tee -a "$log"
    local status="${PIPESTATUS[0]}"
    if [ "$status" = 124 ]; then
        echo "== stopped after $MINUTES minutes; call the part again to go on"
    fi
    [ "$status" = 0 ] || failed=1
    return "$status"
}

run() {
    case "$1" in
    check) part check $RUN python docs/gpu/check.py -o "$FOLDER/check.json" ;;
    posgen | search | finetune) part "$1" $RUN snakemake --cores "$CORES" --rerun-incomplete "$1" --configfile "${STUDY[@]}" ;;
    benchmarks)
        part benchmarks $RUN python benchmarks/posgen.py "${POSGEN[@]}"
        part benchmarks $RUN python benchmarks/finetune.py "${FINETUNE[@]}"
        part benchmarks $RUN python benchmarks/longctx.py "${LONG[@]}"
        ;;
    collect) part collect $RUN python docs/gpu/collect.py "$RESULTS" "$FOLDER" ;;
    esac
}

for name in "${PARTS[@]}"; do run "$name"; done
run collect
exit "$failed"
