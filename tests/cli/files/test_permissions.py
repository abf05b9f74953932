"""An output is never more readable than its source, nor than the file that it replaces."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from bigcodec_cli.files.atomic import AtomicOutput, SourceFile

Here = Callable[..., Any]
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="permissions of POSIX")


@pytest.fixture(autouse=True)
def umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def write(path: Path, permissions: int) -> Path:
    path.write_bytes(b"content")
    path.chmod(permissions)
    return path


@pytest.mark.parametrize(
    ("source", "replaced", "expected"),
    [
        (0o644, None, 0o644),
        (0o600, None, 0o600),
        (0o640, None, 0o640),
        (0o777, None, 0o644),
        (0o400, None, 0o600),  # the owner can go on with it
        (0o644, 0o600, 0o600),
        (0o600, 0o644, 0o600),
        (0o660, 0o604, 0o600),
        (None, None, 0o644),
        (None, 0o640, 0o640),
    ],
)
def test_permissions_hold_from_the_first_byte_on(
    tmp_path: Path, source: int | None, replaced: int | None, expected: int
) -> None:
    path = tmp_path / "output"
    if replaced is not None:
        write(path, replaced)
    origin = None if source is None else write(tmp_path / "source", source)
    known = None if origin is None else SourceFile(origin)
    output = AtomicOutput(path, overwrite=True, source=known)
    assert mode(output.temporary) == expected and output.temporary.stat().st_size == 0
    output.temporary.write_bytes(b"new")
    output.commit()
    assert mode(path) == expected and path.read_bytes() == b"new"


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "raw"])
def test_every_command_keeps_them(here: Here, tmp_path: Path, toy_model: Path, suffix: str) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(3200), 16000)
    (tmp_path / "a.wav").chmod(0o600)
    model = ["--model", toy_model]
    assert here("compress", "a.wav", *model).code == 0
    assert here("decompress", "a.bcdc", "-o", f"out.{suffix}", *model).code == 0
    assert here("tokens", "extract", "a.bcdc").code == 0
    assert here("tokens", "pack", "a.npy", "-o", "b.bcdc", *model).code == 0
    for name in ("a.bcdc", f"out.{suffix}", "a.npy", "b.bcdc"):
        assert mode(tmp_path / name) == 0o600, name


def test_standard_input_follows_the_umask(here: Here, tmp_path: Path, toy_model: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(3200), 16000)
    data = (tmp_path / "a.wav").read_bytes()
    assert here("compress", "-", "-o", "a.bcdc", "--model", toy_model, stdin=data).code == 0
    assert mode(tmp_path / "a.bcdc") == 0o644
    os.umask(0o077)
    assert here("compress", "-", "-o", "b.bcdc", "--model", toy_model, stdin=data).code == 0
    assert mode(tmp_path / "b.bcdc") == 0o600
