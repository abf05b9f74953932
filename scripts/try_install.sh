#!/bin/sh
# Installs a wheel with pip, pipx and uv into empty environments of each Python named, and has the
# installed command compress and restore a clip from another folder.
#   try_install.sh WHEEL PYTHON...      METHODS="pip pipx uv" by default
# Needs an index to fetch the dependencies from; settings of pip and uv in the environment hold.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
wheel=$(realpath "$1")
shift
work=$(mktemp -d "${TMPDIR:-/tmp}/bigcodec-install.XXXXXX")
trap 'rm -rf "$work"' EXIT
unset PYTHONPATH
export PIP_CONSTRAINT="$root/constraints.txt" UV_CONSTRAINT="$root/constraints.txt"
export PIPX_HOME="$work/pipx" PIPX_BIN_DIR="$work/pipx-bin" PIPX_MAN_DIR="$work/pipx-man"
export UV_TOOL_DIR="$work/uv" UV_TOOL_BIN_DIR="$work/uv-bin" UV_PYTHON_DOWNLOADS=never
export BIGCODEC_HOME="$work/home"
"${1:?name a Python}" -m venv "$work/tools"
"$work/tools/bin/python" -m pip --quiet install pipx uv

install_with() {  # METHOD PYTHON: sets `command` to what it installed
    case $1 in
    pip)
        "$2" -m venv "$work/pip"
        "$work/pip/bin/python" -m pip --quiet install "$wheel"
        test -s "$work/pip/share/man/man1/bigcodec.1"
        command=$work/pip/bin/bigcodec ;;
    pipx)
        "$work/tools/bin/pipx" install --python "$2" "$wheel"
        test -s "$PIPX_MAN_DIR/man1/bigcodec.1"
        command=$PIPX_BIN_DIR/bigcodec ;;
    uv)
        "$work/tools/bin/uv" tool install --quiet --python "$2" "$wheel"
        command=$UV_TOOL_BIN_DIR/bigcodec ;;
    esac
}

for python; do
    python=$(command -v "$python")
    for method in ${METHODS:-pip pipx uv}; do
        started=$(date +%s)
        install_with "$method" "$python"
        size=$(du -smc "$work/pip" "$work/pipx" "$work/uv" 2>/dev/null | tail -n 1 | cut -f 1)
        mkdir "$work/elsewhere"
        cd "$work/elsewhere"
        "$command" compress "$root/examples/speech.flac" -o clip.bcdc
        "$command" decompress clip.bcdc -o clip.wav
        test "$(wc -c <clip.wav)" -gt 100000
        printf '%s, %s: %s installed and works, %s MB, %s s\n' "$("$python" --version)" "$method" \
            "$("$command" --version)" "$size" $(($(date +%s) - started))
        cd "$root"
        rm -rf "$work/pip" "$work/pipx" "$work/uv" "$work"/*-bin "$work/pipx-man" "$work/elsewhere"
    done
done
