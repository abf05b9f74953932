#!/bin/sh
# The recipe of the default model, in stages. Start it again to go on where it stood; what follows
# on the command line goes to every stage's `bigcodec train`, as in --max-time 2h.
# DATA is the folder of training speech, one sub-folder a collection, of which `librispeech` is FLAC
# by speaker; NOISE one of noise; RUN the folder of the runs.
# STAGES and INIT begin later, from given weights: STAGES=continue INIT=lite-5
set -eu
here=$(dirname "$0")
DATA=${DATA:-../shared/speech/train}
NOISE=${NOISE:-../shared/speech/noise}
RUN=${RUN:-runs/default}
INIT=${INIT:-}
# glibc keeps what it has, in large pages: large tensors come and go at every step.
export MALLOC_MMAP_THRESHOLD_=4000000000 MALLOC_TRIM_THRESHOLD_=16000000000
export MALLOC_TOP_PAD_=268435456 GLIBC_TUNABLES="${GLIBC_TUNABLES:-glibc.malloc.hugetlb=1}"

# Lossless speech makes half of all crops, and all of validation: every twentieth speaker of it.
links=$RUN/speech
mkdir -p "$links/lossless" "$links/validation"
count=0
for speaker in "$DATA"/librispeech/*/; do
    count=$((count + 1))
    kind=lossless
    [ $((count % 20)) -ne 0 ] || kind=validation
    ln -sfn "$(cd "$speaker" && pwd)" "$links/$kind/$(basename "$speaker")"
done
set -- "$@" --data "$links/lossless=0.5" --validation "$links/validation"
for folder in "$DATA"/*/; do
    case $folder in
    */librispeech/) ;;
    *) set -- "$@" --data "$folder" ;;
    esac
done
for stage in ${STAGES:-1-spectral 2-adversarial}; do
    steps=$(sed -n 's/^max_steps = //p' "$here/lite/$stage.toml")
    last=$RUN/$stage/checkpoints/step-$(printf %08d "$steps")
    if ! [ -d "$last" ]; then
        bigcodec train --preset lite --out "$RUN/$stage" --config "$here/lite/$stage.toml" \
            --noise "$NOISE" ${INIT:+--init "$INIT"} "$@"
        [ -d "$last" ] || exit 0 # stopped before its end
    fi
    INIT=$RUN/$stage
done
