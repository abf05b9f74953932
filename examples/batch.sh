#!/bin/sh
# Compresses every WAV and FLAC file under a folder, two processes at a time, forty files each.
#   batch.sh FOLDER OUTPUT_FOLDER
set -eu
find "$1" -type f \( -name '*.wav' -o -name '*.flac' \) -print0 |
    xargs -0 -n 40 -P 2 bigcodec compress --output-dir "$2"
