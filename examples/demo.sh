#!/bin/sh
# Compresses the speech clip beside this script and restores it into ./demo-output.
set -eu
here=$(dirname "$0")
mkdir -p demo-output
bigcodec compress -f "$here/speech.flac" -o demo-output/speech.bcdc
bigcodec info demo-output/speech.bcdc
bigcodec decompress -f demo-output/speech.bcdc -o demo-output/restored.wav

original=$(wc -c <"$here/speech.flac")
small=$(wc -c <demo-output/speech.bcdc)
printf '\n%s (FLAC): %d bytes; compressed: %d bytes, %d times smaller\n' \
    "$here/speech.flac" "$original" "$small" $((original / small))
printf 'Listen to demo-output/restored.wav beside %s\n' "$here/speech.flac"
