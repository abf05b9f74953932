#!/bin/sh
# Makes docs/listen.html: the clips of examples/listen as recorded, as lite-5 restores them in either
# F0 mode, and as Opus and Codec 2 do. Needs the extras eval and distillmos, opus-tools and codec2.
# Options are those of `bigcodec eval`, such as --device cuda.
set -e
cd "$(dirname "$0")/.."
exec bigcodec eval examples/listen --model lite-5 --f0 predicted --f0 coded \
    --baselines opus:6,codec2:1200 --metrics pesq_wb,stoi,sim,distillmos \
    --page clips --players 10 --report docs/listen.html --force "$@"
