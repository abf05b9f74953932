"""Recordings of phones, by the real ffmpeg, through the commands."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import soundfile

import bcdc

pytestmark = pytest.mark.skipif(
    shutil.which("ffmpeg") is None or shutil.which("ffprobe") is None, reason="needs ffmpeg"
)
Here = Callable[..., Any]
Encode = Callable[..., Path]


@pytest.fixture
def encode(tmp_path: Path, speech: Path) -> Encode:
    """Encodes the clip of speech by ffmpeg to a file of a name."""

    def encoded(name: str, *options: str, before: tuple[str, ...] = ()) -> Path:
        command: list[str | Path] = [
            "ffmpeg",
            "-v",
            "error",
            *before,
            "-i",
            speech,
            *options,
            tmp_path / name,
        ]
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
        return tmp_path / name

    return encoded


@pytest.mark.usefixtures("imported")
def test_a_folder_of_a_phone(here: Here, tmp_path: Path, encode: Encode, toy_model: Path) -> None:
    notes = tmp_path / "notes"
    notes.mkdir()
    encode("notes/a.m4a", "-ar", "44100", "-ac", "2", "-metadata", "title=Milk")
    encode("notes/b.webm")
    video = encode("notes/c.mp4", before=("-f", "lavfi", "-i", "testsrc=d=1:s=32x32:r=5"))
    whole = encode("d.m4a", "-movflags", "faststart").read_bytes()
    (notes / "d.m4a").write_bytes(whole[: len(whole) // 2])
    for name in ("x.txt", "y.txt", "z.pdf", "._a.m4a"):
        (notes / name).write_bytes(b"x")
    ran = here("compress", "-r", "notes", "--rm", "--output-dir", "o", "--model", toy_model)
    assert ran.code == 1
    assert "left out 3 files: .txt .pdf" in ran.stderr.splitlines()
    assert "notes/c.mp4: holds video, which is not kept, and was not removed" in ran.stderr
    assert f"notes/d.m4a: was cut short: {len(whole) // 2} of {len(whole)} bytes" in ran.stderr
    left = sorted(path.name for path in notes.iterdir())
    assert left == ["._a.m4a", video.name, "d.m4a", "x.txt", "y.txt", "z.pdf"]
    header = bcdc.read((tmp_path / "o" / "a.bcdc").read_bytes()).header
    assert (header.sample_rate, header.channels, header.tags) == (44100, 2, (("title", "Milk"),))
    assert {path.name for path in (tmp_path / "o").iterdir()} == {
        f"{letter}.bcdc" for letter in "abcd"
    }


def test_by_a_pipe(here: Here, tmp_path: Path, encode: Encode, toy_model: Path) -> None:
    content = encode("a.m4a").read_bytes()
    ran = here("compress", "-", "-o", "a.bcdc", "--model", toy_model, stdin=content)
    assert ran.code == 0, ran.stderr
    assert 5.8 < bcdc.read((tmp_path / "a.bcdc").read_bytes()).seconds < 6


def test_errors_are_one_line(
    here: Here, tmp_path: Path, encode: Encode, toy_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = encode("a.m4a").read_bytes()
    (tmp_path / "b.m4a").write_bytes(whole[:20000])
    ran = here("compress", "b.m4a", "-o", "b.bcdc", "--model", toy_model, "-q")
    assert ran.code == 1 and not (tmp_path / "b.bcdc").exists()
    assert ran.stderr == ("bigcodec: b.m4a: cannot be read as audio: ffmpeg: moov atom not found\n")
    monkeypatch.setenv("PATH", str(tmp_path))
    ran = here("compress", "a.m4a", "-o", "b.bcdc", "--model", toy_model, "-q")
    assert ran.code == 1 and ran.stderr.count("\n") == 1
    assert ran.stderr.startswith("bigcodec: a.m4a: needs ffmpeg, which is not on PATH; install it")


def test_compare_and_eval(here: Here, tmp_path: Path, encode: Encode, toy_model: Path) -> None:
    (tmp_path / "clips").mkdir()
    path = encode("clips/a.m4a", "-b:a", "96k")
    wave = encode("a.wav")
    ran = here("compare", wave, path, "--metrics", "mel", "--json")
    assert ran.code == 0, ran.stderr
    assert abs(json.loads(ran.stdout)["seconds"] - soundfile.info(wave).duration) < 0.001
    ran = here("eval", "clips", "--model", toy_model, "--metrics", "mel", "--json", "eval.json")
    assert ran.code == 0, ran.stderr
    content = (tmp_path / "eval.json").read_text()
    assert "a.m4a" in content and not json.loads(content)["unread"]


def test_train_prior(here: Here, tmp_path: Path, encode: Encode, toy_model: Path) -> None:
    (tmp_path / "data").mkdir()
    for name in ("a.m4a", "b.webm"):
        encode(f"data/{name}")
    options = ["--epochs", "1", "--width", "4", "--versions", "1", "-o", "p.bcdp"]
    ran = here("train-prior", "--data", "data", "--model", toy_model, *options)
    assert ran.code == 0, ran.stderr
    assert "cannot be read" not in ran.stderr and (tmp_path / "p.bcdp").stat().st_size > 0
