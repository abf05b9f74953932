"""The scripts under examples/, run as a user runs them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import soundfile

import bcdc

ROOT = Path(__file__).parents[3]


def run(folder: Path, script: str, *arguments: str) -> str:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "BIGCODEC_HOME": str(folder / "home")}
    environment.pop("BIGCODEC_MODEL", None)
    command: list[str | Path] = ["sh", ROOT / "examples" / script, *arguments]
    return subprocess.check_output(command, cwd=folder, env=environment, text=True)


def test_demo(tmp_path: Path, speech: Path) -> None:
    output = run(tmp_path, "demo.sh")
    assert "times smaller" in output and "kbit/s" in output
    restored = soundfile.info(tmp_path / "demo-output" / "restored.wav")
    assert restored.frames == soundfile.info(speech).frames


def test_batch(tmp_path: Path, speech: Path) -> None:
    (tmp_path / "in" / "deep er").mkdir(parents=True)
    shutil.copy(speech, tmp_path / "in" / "one.flac")
    shutil.copy(speech, tmp_path / "in" / "deep er" / "zwei drei.flac")
    run(tmp_path, "batch.sh", "in", "out")
    containers = sorted(
        str(path.relative_to(tmp_path / "out")) for path in tmp_path.rglob("*.bcdc")
    )
    assert containers == ["deep er/zwei drei.bcdc", "one.bcdc"]
    assert bcdc.read((tmp_path / "out" / "one.bcdc").read_bytes()).header.sample_rate == 16000


def test_live(tmp_path: Path, speech: Path) -> None:
    soundfile.write(tmp_path / "in.wav", *soundfile.read(speech, dtype="int16"))
    assert "live.bcdc: ok" in run(tmp_path, "live.sh", "in.wav", "1.5", "2")
    assert soundfile.info(tmp_path / "part.wav").frames == 32000


def test_train_then_use(tmp_path: Path, speech: Path) -> None:
    (tmp_path / "data").mkdir()
    shutil.copy(speech, tmp_path / "data")
    run(tmp_path, "train_then_use.sh", "data", "toy-lite", "3", str(speech))
    assert soundfile.info(tmp_path / "with-mine.wav").frames == soundfile.info(speech).frames
