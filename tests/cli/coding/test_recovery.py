"""`decompress --recover` says what is lost and that an end is missing, and leaves no empty file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

import bcdc

Here = Callable[..., Any]
RATE = 16000


@pytest.fixture
def coded(here: Here, tmp_path: Path, toy_model: Path) -> bytes:
    """8.46 seconds of noise, coded in two blocks: the second is mostly not there."""
    wave = 0.1 * np.random.default_rng(0).standard_normal(int(8.46 * RATE))
    soundfile.write(tmp_path / "a.wav", wave, RATE)
    assert here("compress", "a.wav", "--coder", "adaptive", "--model", toy_model).code == 0
    assert here("decompress", "a.bcdc", "-o", "whole.wav", "--model", toy_model).code == 0
    return (tmp_path / "a.bcdc").read_bytes()


@pytest.mark.parametrize("missing", [1, 6, 11])
def test_a_missing_end_is_named_and_nothing_put_there(
    here: Here, tmp_path: Path, toy_model: Path, coded: bytes, missing: int
) -> None:
    (tmp_path / "cut.bcdc").write_bytes(coded[:-missing])
    ran = here("decompress", "--recover", "--json", "cut.bcdc", "--model", toy_model)
    facts = json.loads(ran.stdout)
    assert ran.code == 1 and facts["end_missing"] and facts["lost_seconds"] == []
    assert "0.00 s" not in ran.stderr and "; the end is missing" in ran.stderr
    wave, _ = soundfile.read(tmp_path / "cut.wav", dtype="int16")
    whole, _ = soundfile.read(tmp_path / "whole.wav", dtype="int16")
    assert len(wave) == 8 * RATE and facts["seconds"] == 8
    assert np.abs(wave[: 6 * RATE].astype(int) - whole[: len(wave)][: 6 * RATE]).max() <= 1
    assert "its end is missing" in here("test", "cut.bcdc").stderr


@pytest.mark.parametrize("at", [-11, -8, -1])
def test_a_damaged_bit_of_the_trailer_loses_nothing(
    here: Here, tmp_path: Path, toy_model: Path, coded: bytes, at: int
) -> None:
    data = bytearray(coded)
    data[at] ^= 0x20
    (tmp_path / "bit.bcdc").write_bytes(data)
    ran = here("decompress", "--recover", "--json", "bit.bcdc", "--model", toy_model)
    facts = json.loads(ran.stdout)
    assert ran.code == 1 and not facts["end_missing"] and facts["lost_seconds"] == []
    assert "nothing is lost" in ran.stderr
    assert (tmp_path / "bit.wav").read_bytes() == (tmp_path / "whole.wav").read_bytes()


@pytest.mark.parametrize("tail", ["noise", "zeros", "nothing", "another file's blocks"])
def test_a_recovered_file_of_nothing_is_not_left_behind(
    here: Here, tmp_path: Path, toy_model: Path, coded: bytes, tail: str
) -> None:
    first, second = bcdc.read(coded).blocks
    rest = {
        "noise": np.random.default_rng(1).bytes(5000),
        "zeros": bytes(5000),
        "nothing": b"",
        "another file's blocks": coded[second.code : second.end] + b"x" * 9,
    }[tail]
    (tmp_path / "none.bcdc").write_bytes(coded[: first.code] + rest)
    ran = here("decompress", "--recover", "none.bcdc", "--model", toy_model)
    assert ran.code == 1 and "nothing of it can be restored" in ran.stderr
    assert not (tmp_path / "none.wav").exists()
    ran = here("test", "none.bcdc")
    assert ran.code == 1 and "restores" not in ran.stderr
