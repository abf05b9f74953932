"""Folders, lists, resuming and removing: what people do to archives of many files."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

import bcdc

Here = Callable[..., Any]


def noise(path: Path, seconds: float = 0.2) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    wave = 0.2 * np.random.default_rng(1).standard_normal(round(seconds * 16000))
    soundfile.write(path, wave, 16000)
    return path


def tree(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


@pytest.fixture
def compress(here: Here, toy_model: Path) -> Here:
    return lambda *arguments, **options: here(
        "compress", *arguments, "--model", toy_model, **options
    )


def test_folders_are_walked_and_mirrored(
    here: Here, compress: Here, tmp_path: Path, toy_model: Path
) -> None:
    names = ["in/a.wav", "in/ä b/c\nd.flac", "in/ä b/deep/e.WAV", "in/notes.txt"]
    for name in names[:3]:
        noise(tmp_path / name)
    (tmp_path / names[3]).write_text("no audio")
    assert compress("-r", "in", "--output-dir", "out").code == 0
    expected = ["a.bcdc", "ä b/c\nd.bcdc", "ä b/deep/e.bcdc"]
    assert tree(tmp_path / "out") == expected
    assert here("test", "-r", "out", "-q").code == 0
    ran = here("decompress", "-r", "out", "--output-dir", "back", "--model", toy_model)
    assert ran.code == 0
    assert tree(tmp_path / "back") == [name.replace(".bcdc", ".wav") for name in expected]
    failed = compress("in")
    assert failed.code == 1 and "in: is a folder; use -r" in failed.stderr
    (tmp_path / "empty").mkdir()
    assert "empty: no file in it ends in" in compress("-r", "empty").stderr


def test_two_inputs_for_one_output_are_refused(compress: Here, tmp_path: Path) -> None:
    noise(tmp_path / "a.wav")
    noise(tmp_path / "a.flac")
    ran = compress("a.wav", "a.flac")
    assert ran.code == 1 and "a.flac: its output a.bcdc belongs to another" in ran.stderr
    again = compress("a.wav", "a.flac", "--skip-existing")
    assert again.code == 1 and "1 of 2 files skipped" in again.stderr


@pytest.mark.parametrize(("separator", "options"), [(b"\n", []), (b"\0", ["-0"])])
def test_lists_of_files(
    compress: Here, tmp_path: Path, separator: bytes, options: list[str]
) -> None:
    odd = "b\n c.wav" if separator == b"\0" else "b  c.wav"
    for name in ("a.wav", odd, "d.wav"):
        noise(tmp_path / name)
    listed = separator.join(os.fsencode(name) for name in ("a.wav", odd, "")) + separator
    assert compress("d.wav", "--filelist", "-", *options, stdin=listed).code == 0
    (tmp_path / "list").write_bytes(listed)
    ran = compress("--filelist", "list", "-f", "-v", *options)
    assert ran.code == 0 and ran.stderr.count(" s to ") == 2
    assert len(list(tmp_path.glob("*.bcdc"))) == 3


def test_a_list_that_is_misread_is_told(compress: Here, tmp_path: Path) -> None:
    (tmp_path / "list").write_bytes(b"a.wav\0b.wav\0")
    assert "use -0 if they separate" in compress("--filelist", "list").stderr
    assert "missing: cannot be read" in compress("--filelist", "missing").stderr
    assert compress("-0", "a.wav").code == 2
    assert "cannot be both" in compress("-", "--filelist", "-").stderr


def test_what_exists_is_skipped(compress: Here, tmp_path: Path) -> None:
    noise(tmp_path / "a.wav")
    noise(tmp_path / "b.wav")
    (tmp_path / "a.bcdc").write_text("mine")
    ran = compress("a.wav", "b.wav", "--skip-existing", "--json")
    rows = [json.loads(line) for line in ran.stdout.splitlines()[:-1]]
    assert ran.code == 0 and (tmp_path / "a.bcdc").read_text() == "mine"
    assert {row["input"]: row["status"] for row in rows} == {"a.wav": "skipped", "b.wav": "ok"}
    assert compress("a.wav", "-f", "--skip-existing").code == 2


@pytest.mark.usefixtures("imported")
def test_times_are_kept_and_inputs_removed(
    here: Here, compress: Here, tmp_path: Path, toy_model: Path
) -> None:
    noise(tmp_path / "a.wav")
    os.utime(tmp_path / "a.wav", (1_000_000_000, 1_234_567_890))
    assert compress("a.wav").code == 0
    assert (tmp_path / "a.bcdc").stat().st_mtime == 1_234_567_890
    assert compress("a.wav", "-f", "--rm").code == 0
    assert tree(tmp_path) == ["a.bcdc"]
    assert here("decompress", "a.bcdc", "--rm", "--model", toy_model).code == 0
    assert tree(tmp_path) == ["a.wav"]
    assert (tmp_path / "a.wav").stat().st_mtime == 1_234_567_890
    assert compress("a.wav", "--rm", "--no-verify").code == 2


@pytest.mark.usefixtures("imported")
def test_what_does_not_read_back_gets_no_name(
    compress: Here, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if memory or the disk had changed a token on its way into the container."""
    noise(tmp_path / "a.wav")
    honest = bcdc.Writer.write

    def faulty(self: bcdc.Writer, tokens: bcdc.Tokens) -> None:
        honest(self, np.where(tokens == tokens.flat[0], tokens ^ 1, tokens))

    monkeypatch.setattr(bcdc.Writer, "write", faulty)
    ran = compress("a.wav", "--rm")
    assert ran.code == 1 and "does not read back as what was coded" in ran.stderr
    assert tree(tmp_path) == ["a.wav"]
    assert compress("a.wav", "--no-verify").code == 0


def test_results_as_json(here: Here, compress: Here, tmp_path: Path, toy_model: Path) -> None:
    noise(tmp_path / "a.wav", 2)
    ran = compress("a.wav", "none.wav", "--json")
    good, bad, _ = (json.loads(line) for line in ran.stdout.splitlines())
    assert ran.code == 1
    assert good == {
        "input": "a.wav",
        "output": "a.bcdc",
        "status": "ok",
        "seconds": 2.0,
        "bytes": (tmp_path / "a.bcdc").stat().st_size,
        "kbps_on_disk": good["bytes"] * 8 / 2000,
        "model": toy_model.name,
    }
    assert bad["status"] == "failed" and bad["error"] == "none.wav: no such file"


def test_quiet_and_verbose(compress: Here, tmp_path: Path) -> None:
    noise(tmp_path / "a.wav")
    noise(tmp_path / "b.wav")
    assert compress("a.wav", "-q").stderr == ""
    (totals,) = compress("a.wav", "b.wav", "-f").stderr.splitlines()
    assert totals.startswith("2 files, ")
    stderr = compress("a.wav", "b.wav", "-f", "-v").stderr
    assert "a.wav: 0.20 s to" in stderr and "b.wav: 0.20 s to" in stderr
    assert compress("none.wav", "-q").stderr == "bigcodec: none.wav: no such file\n"


def test_every_failure_is_named_at_the_end(compress: Here, tmp_path: Path) -> None:
    noise(tmp_path / "a.wav")
    lines = compress("x.wav", "a.wav", "y\n.wav").stderr.splitlines()
    summary = ["bigcodec: 2 of 3 files failed:", "bigcodec:   x.wav", "bigcodec:   y\\n.wav"]
    assert lines[-3:] == summary
