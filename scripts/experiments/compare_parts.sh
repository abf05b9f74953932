#!/bin/sh
# A small comparison of parts: LSTM against attention from random weights, then sets of
# discriminators, each from the weights that the LSTM's run left. Same data, seed and minutes, one
# thread each. docs/parts.md says how to read it; scripts/experiments/draw_comparison.py draws it.
#   MINUTES  of each run, by the clock (8)      JOBS  runs at once, one core each (1)
#   DATA     training speech, one sub-folder a collection      RUN  folder of the runs
#   SETS     the sets of discriminators, between spaces: a preset, or kinds with commas between them,
#            at the small size
#   EVERY, ADVERSARIAL_EVERY  steps between validations, of the first two runs and of the others
# Started again, it leaves runs that are done as they are.
set -eu
here=$(dirname "$0")/comparison
MINUTES=${MINUTES:-8}
JOBS=${JOBS:-1}
DATA=${DATA:-../shared/speech/train}
RUN=${RUN:-runs/comparison}
SETS=${SETS:-small mpd,mrd msstft}
EVERY=${EVERY:-200}
ADVERSARIAL_EVERY=${ADVERSARIAL_EVERY:-100}
export OMP_NUM_THREADS=1
for folder in "$DATA"/*/; do
    case $folder in
    */asterisk-es-sharealike/) ;; # its license would bind the weights
    *) set -- "$@" --data "$folder" ;;
    esac
done

# discriminators SET: the options of `bigcodec train` that choose it.
discriminators() {
    case $1 in
    small | published) echo "--set discriminators.preset=$1" ;;
    *)
        echo "--set discriminators.preset=none"
        for kind in $(echo "$1" | tr , ' '); do
            echo "--set discriminators.$kind.size=small"
        done
        ;;
    esac
}
# run NAME OPTIONS...: for $MINUTES, then one more step, after which a run validates.
run() {
    out=$RUN/$1
    shift
    if [ -e "$out/done" ]; then
        return
    fi
    rm -rf "$out" # was interrupted, and its minutes are to be of one piece
    mkdir -p "$out"
    cp "$RUN/index/index.json" "$out/" # or its first half minute would go into opening files
    bigcodec train --out "$out" --max-time "${MINUTES}m" "$@"
    last=$(ls "$out/checkpoints" | sed -n 's/^step-0*//p' | sort -n | tail -n 1)
    bigcodec train --out "$out" "$@" --set max_steps=$((last + 1))
    touch "$out/done"
}

processes=
started=0
# start NAME OPTIONS...: beside at most JOBS - 1 others.
start() {
    run "$@" &
    processes="$processes $!"
    started=$((started + 1))
    if [ $((started % JOBS)) = 0 ]; then
        finish
    fi
}
# finish: until all that were started have ended, each of them well.
finish() {
    for process in $processes; do
        wait "$process"
    done
    processes=
    started=0
}

if ! [ -e "$RUN/index/index.json" ]; then
    bigcodec train --out "$RUN/index" --config "$here/model.toml" "$@" --set max_steps=1
fi
for sequence in lstm attention; do
    start "$sequence" --config "$here/model.toml" "$@" \
        --set "model.sequence=$sequence" --set "validation.every=$EVERY"
done
finish
for set in $SETS; do
    # shellcheck disable=SC2046 # options, to be split
    start "$(echo "$set" | tr , -)" --config "$here/adversarial.toml" "$@" \
        --init "$RUN/lstm" $(discriminators "$set") --set "validation.every=$ADVERSARIAL_EVERY"
done
finish
