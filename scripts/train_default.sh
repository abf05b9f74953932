#!/bin/sh
# The recipe of the default model. Start it again to go on where it stood.
# DATA is the folder of training speech, one sub-folder a collection; RUN is the folder of the run.
set -eu
DATA=${DATA:-../shared/speech/train}
RUN=${RUN:-runs/lite}
set --
for folder in "$DATA"/*/; do
    case $folder in
    */asterisk-es-sharealike/) ;; # its licence would bind the weights
    *) set -- "$@" --data "$folder" ;;
    esac
done
exec bigcodec train "$@" --preset lite --out "$RUN"
