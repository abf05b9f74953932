#!/bin/sh
# Compresses what a program writes while it still writes, and restores a part of it.
#   live.sh FILE START SECONDS
# The input is WAV on a pipe, here from cat; arecord, sox and ffmpeg ('-f wav -') write the same.
set -eu
cat "$1" | bigcodec compress - > live.bcdc
bigcodec test live.bcdc
bigcodec decompress live.bcdc -o part.wav --start "$2" --duration "$3"
