#!/bin/sh
# Compresses every audio file under a folder into a folder like it. Stopped and started again, it
# goes on where it was.
#   batch.sh FOLDER OUTPUT_FOLDER
set -eu
bigcodec compress -r "$1" --output-dir "$2" --skip-existing
