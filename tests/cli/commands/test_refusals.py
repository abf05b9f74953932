"""What is known to fail is refused before torch is loaded; and where outputs may go."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import soundfile

import bcdc
from bigcodec_cli.model_store.loading import _has_driver

Here = Callable[..., Any]
_PROGRAM = """
import sys
from bigcodec_cli.main import run
code = run(sys.argv[1:])
assert "torch" not in sys.modules, "torch was loaded"
sys.exit(code)
"""


@pytest.mark.parametrize(
    ("command", "code", "words"),
    [
        ("compress a.wav", 1, "bigcodec: a.wav: a.bcdc: already exists; use -f to overwrite it"),
        ("compress a.wav --skip-existing", 0, "1 of 1 files skipped: their outputs exist"),
        ("compress none.wav other.wav", 1, "bigcodec: 2 of 2 files failed:"),
        ("compress folder", 1, "bigcodec: folder: is a folder; use -r for the files in it"),
        ("compress a.wav -o folder", 1, "folder: is a folder; name a file, or use --output-dir"),
        ("compress a.wav -o none/a.bcdc", 1, "bigcodec: none: no such folder; make it"),
        ("compress a.wav -o /dev/null --rm", 1, "/dev/null: is no file, so that --rm would lose"),
        ("decompress a.bcdc", 1, "bigcodec: a.bcdc: a.wav: already exists; use -f to overwrite"),
        ("compress a.wav -o b --model a.wav", 1, "bigcodec: a.wav: not a usable model file"),
        ("compress folder/b.wav -o b --engine onnx --device mps", 1, "--engine onnx: runs on a"),
        ("decompress none.bcdc", 1, "bigcodec: none.bcdc: no such file"),
        ("decompress folder", 1, "bigcodec: folder: is a folder; use -r for the files in it"),
        ("decompress -r folder --skip-existing", 0, "1 of 1 files skipped: their outputs exist"),
        ("tokens extract a.bcdc -o a.npy", 1, "a.npy: already exists; use -f to overwrite it"),
        ("tokens pack none.npy --model lite", 1, "bigcodec: none.npy: no such file"),
        ("tokens pack folder", 1, "bigcodec: folder: is a folder; use -r for the files in it"),
        ("info none.bcdc", 1, "bigcodec: none.bcdc: no such file"),
        ("test --deep a.bcdc --model a.wav", 1, "bigcodec: a.wav: not a usable model file"),
        ("test --deep none.bcdc", 1, "bigcodec: none.bcdc: no such file"),
        ("compare empty.wav empty.wav", 1, "empty.wav: cannot be read as audio: the file is empty"),
        ("compare folder folder", 1, "bigcodec: folder: is a folder, not an audio file"),
        ("compare a.wav none.wav", 1, "bigcodec: none.wav: no such file"),
        ("models import a.wav", 1, "bigcodec: a.wav: not a usable model file"),
        ("models import a.wav --name a/b", 1, "a/b: a model name has letters, digits"),
        ("models show lite", 0, ""),
        ("models import folder", 1, "bigcodec: folder: is a folder, not a file of a model"),
        ("models import none.pt", 1, "bigcodec: none.pt: no such file"),
        ("export none -o x.safetensors", 1, "bigcodec: none: no such folder"),
        ("train --data none", 1, "/none: no such folder"),
        ("train --data silent", 1, "/silent: no audio files in it, nor in the folders below it"),
        ("train --data a.wav", 1, "/a.wav: not a folder"),
        ("train --data folder --validation none", 1, "bigcodec: none: no such folder"),
        ("train --data folder --noise silent", 1, "bigcodec: silent: no audio files in it"),
        ("train --data folder --out a.wav", 1, "a.wav: is a file; --out names a folder"),
        ("train --data folder --config none.toml", 1, "bigcodec: none.toml: cannot be read"),
        ("train --data folder --config folder", 1, "folder: cannot be read: Is a directory"),
        ("train --data folder --config a.wav", 1, "bigcodec: a.wav: cannot be read as TOML"),
        ("train --data folder --config none", 2, "no file and no recipe 'none'"),
        ("train --data folder --preset none", 2, "no preset 'none'; there are: bigcodec, "),
        ("train --data folder --init none", 1, "bigcodec: none: no such model or file"),
        ("train --data folder --init folder", 1, "/folder: holds no checkpoint of a training run"),
        ("train --data folder --init a.wav", 1, "a.wav: not a usable model file"),
        ("train --data folder --set steps=1", 2, "unknown setting 'steps'; did you mean"),
        ("train --data folder --set max_steps=many", 2, "max_steps must be int, not 'many'"),
        ("train --data folder --set codebook.loss=l3", 2, "loss must be one of l1, l2"),
        ("train --data folder --set discriminators.mpd.width=0", 2, "width of a discriminator"),
        ("train --data folder --set model.hop=7", 2, "unknown setting 'hop'"),
        ("train --data folder --set crops.noise_probability=1", 1, "no folder of noise is given"),
        ("train --data folder --device cuda:x", 2, "--device"),
        ("train --list --set steps=1", 2, "unknown setting 'steps'; did you mean"),
        ("train --preset lite", 2, "Missing option '--data': a folder of audio to train on"),
        ("train-prior --data none", 1, "bigcodec: none: no such folder"),
        ("train-prior --data folder --data silent", 1, "bigcodec: silent: no audio files in it"),
        ("train-prior --data folder --model none", 1, "bigcodec: none: no such model or file"),
        ("train-prior --data folder --model a.wav", 1, "bigcodec: a.wav: not a usable model file"),
        ("train-prior --data folder -o none/a", 1, "bigcodec: none: no such folder; make it"),
        ("train-prior --data folder -o folder", 1, "bigcodec: folder: is a folder; name a file\n"),
        ("train-prior --data folder -o a.wav", 1, "a.wav: already exists; use -f to overwrite it"),
        ("eval none", 1, "bigcodec: none: no such folder"),
        ("eval folder --model a.wav", 1, "bigcodec: a.wav: not a usable model file"),
        ("eval folder --csv none/a.csv", 1, "none/a.csv: its folder does not exist"),
        ("eval folder --csv a.wav", 1, "a.wav: already exists; use -f to overwrite it"),
        ("eval folder --engine onnx --device cuda", 1, "--engine onnx: runs on a CPU"),
        ("eval silent", 1, "bigcodec: silent: no audio files in it"),
        ("export folder -o x", 1, "bigcodec: folder: holds no checkpoint of a training run"),
        ("export folder -o none/x", 1, "bigcodec: none: no such folder; make it"),
        ("export folder -o x --portable --best", 2, "--portable takes everything as it is"),
        ("export none -o x --format onnx", 1, "bigcodec: none: no such model or file"),
        ("export a.wav -o x --format onnx", 1, "bigcodec: a.wav: not a usable model file"),
        ("export lite -o none/x --format onnx", 1, "bigcodec: none: no such folder; make it"),
        ("export folder -o a.wav", 1, "bigcodec: a.wav: already exists; use -f to overwrite it"),
    ],
)
def test_refusals_are_cheap(
    tmp_path: Path, packed: bytes, command: str, code: int, words: str
) -> None:
    ran = refused(tmp_path, packed, command)
    assert ran.returncode == code and words in ran.stderr, ran.stderr


def refused(tmp_path: Path, packed: bytes, command: str) -> subprocess.CompletedProcess[str]:
    """A command that leaves its folder as it is and loads no torch."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "silent").mkdir()
    for name in ("a.bcdc", "folder/b.bcdc"):
        (tmp_path / name).write_bytes(packed)
    for name in ("a.wav", "folder/b.wav", "a.npy"):
        (tmp_path / name).write_bytes(b"something")
    (tmp_path / "empty.wav").touch()
    before = sorted(tmp_path.rglob("*"))
    ran = subprocess.run(
        [sys.executable, "-c", _PROGRAM, *command.split()],
        cwd=tmp_path,
        env={**os.environ, "BIGCODEC_HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert sorted(tmp_path.rglob("*")) == before
    return ran


@pytest.mark.skipif(_has_driver(), reason="torch must be asked for a GPU here")
@pytest.mark.parametrize(
    "command",
    [
        "compress a.wav -o b",
        "decompress a.bcdc -o b.wav",
        "test --deep a.bcdc",
        "tokens extract folder/b.wav -o b.npy",
        "train --data folder",
        "train-prior --data folder",
        "eval folder",
    ],
)
def test_a_missing_gpu_is_noticed_without_torch(
    tmp_path: Path, packed: bytes, command: str
) -> None:
    ran = refused(tmp_path, packed, f"{command} --device cuda")
    assert ran.returncode == 1
    assert "--device cuda: there is no driver of a GPU here; use --device cpu" in ran.stderr


def test_the_others_of_a_batch_are_done(here: Here, tmp_path: Path, toy_model: Path) -> None:
    soundfile.write(tmp_path / "a.wav", [0.1] * 8000, 16000)
    (tmp_path / "folder").mkdir()
    options = ["--output-dir", "new/o", "--model", toy_model]
    ran = here("compress", "none.wav", "folder", "a.wav", *options)
    assert ran.code == 1 and (tmp_path / "new" / "o" / "a.bcdc").is_file()


def test_a_device_and_a_pipe_with_a_name(
    here: Here, tmp_path: Path, packed: bytes, toy_model: Path
) -> None:
    (tmp_path / "a.bcdc").write_bytes(packed)
    for kind in ("wav", "flac", "mp3"):
        options = ["-o", "/dev/null", "--format", kind, "--model", toy_model]
        ran = here("decompress", "a.bcdc", *options)
        assert ran.code == 0, ran.stderr
    assert "30.00 s to /dev/null" in ran.stderr
    assert not Path("/dev/null").is_file()
    os.mkfifo(tmp_path / "pipe")
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append((tmp_path / "pipe").read_bytes()))
    reader.start()
    assert here("decompress", "a.bcdc", "-o", "b.wav", "--model", toy_model).code == 0
    ran = here("compress", "b.wav", "-o", "pipe", "--model", toy_model)
    reader.join(60)
    assert ran.code == 0 and bcdc.read(got[0]).num_samples == 480_000
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == ["a.bcdc", "b.wav", "pipe"]
