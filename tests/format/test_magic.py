"""The magic of SPEC.md, section 3.8, as `file` reads it."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

import bcdc

ROOT = Path(__file__).parents[2]
VECTORS = ROOT / "tests" / "vectors"
pytestmark = pytest.mark.skipif(shutil.which("file") is None, reason="needs file")


@pytest.fixture
def magic(tmp_path: Path) -> Path:
    text = (ROOT / "format" / "SPEC.md").read_text(encoding="utf-8")
    (fragment,) = re.findall(r"```magic\n(.*?)```", text, re.DOTALL)
    path = tmp_path / "magic"
    path.write_text(fragment)
    return path


def described(magic: Path, path: Path, *options: str) -> str:
    command: list[str | Path] = ["file", "--brief", *options, "-m", magic, path]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    assert run.stderr == ""
    return run.stdout.strip()


@pytest.mark.parametrize(
    ("name", "rest"),
    [
        ("good-one-sample", "coder raw, 16000 Hz, channels 1"),
        ("good-adaptive", "coder adaptive, 16000 Hz, channels 2"),
        ("good-prior", "coder prior, 16000 Hz, channels 2"),
        ("good-highest-rate", "coder raw, 768000 Hz, channels 5"),
        ("good-most-channels", "coder raw, 16448 Hz, channels 255"),
        ("good-equal-channels", "coder raw, 16000 Hz, channels 1, and 15 equal to it"),
    ],
)
def test_containers_are_described(magic: Path, name: str, rest: str) -> None:
    path = VECTORS / f"{name}.bcdc"
    assert described(magic, path) == f"BigCodec compressed speech, version {bcdc.VERSION}, {rest}"
    assert described(magic, path, "--mime-type") == "audio/x-bcdc"


def test_priors_are_described(magic: Path) -> None:
    path = VECTORS / "good-prior-of-one-codebook.bcdp"
    assert described(magic, path) == "BigCodec prior, version 1"
    assert described(magic, path, "--extension") == "bcdp"


def test_others_are_not(magic: Path, speech: Path) -> None:
    assert "BigCodec" not in described(magic, speech)
    assert "BigCodec" not in described(magic, VECTORS / "bad-foreign.bcdc")
