#!/bin/sh
# Trains a model on a folder of speech, keeps it under a name, and compresses a file with it.
#   train_then_use.sh DATA_FOLDER PRESET STEPS FILE
# STEPS is small here on purpose: for speech worth hearing leave --set max_steps out.
set -eu
bigcodec train --data "$1" --preset "$2" --out runs/mine --set max_steps="$3"
bigcodec export runs/mine -o mine.safetensors --name mine
bigcodec models import mine.safetensors
bigcodec compress --model mine "$4" -o with-mine.bcdc
bigcodec decompress with-mine.bcdc -o with-mine.wav
