"""Channels that are equal are coded once, and restored as they were."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

import bcdc
from bcdc.header import MAX_COPIES

Here = Callable[..., Any]
RATE = 22050


def noise(seconds: float, channels: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """One channel of noise, so many times."""
    wave = np.random.default_rng(3).uniform(-0.5, 0.5, round(seconds * RATE))
    return np.tile(wave[:, None], channels)


def header_of(path: Path) -> bcdc.Header:
    return bcdc.read(path.read_bytes()).header


@pytest.mark.parametrize("channels", [2, 3, MAX_COPIES + 1])
@pytest.mark.parametrize("kind", ["wav", "flac"])
def test_one_is_coded_and_all_restored(
    here: Here, tmp_path: Path, toy_model: Path, channels: int, kind: str
) -> None:
    if kind == "flac" and channels > 8:
        return  # FLAC has no more
    soundfile.write(tmp_path / f"a.{kind}", noise(3.3, channels), RATE)
    soundfile.write(tmp_path / "mono.wav", noise(3.3, 1), RATE)
    model = ["--model", toy_model]
    for name in (f"a.{kind}", "mono.wav"):
        assert here("compress", name, *model).code == 0
        ran = here("decompress", f"{Path(name).stem}.bcdc", "-o", f"{name}.out.wav", *model)
        assert ran.code == 0, ran.stderr
    header = header_of(tmp_path / "a.bcdc")
    assert (header.channels, header.copies, header.restored_channels) == (1, channels - 1, channels)
    assert (tmp_path / "a.bcdc").stat().st_size == (tmp_path / "mono.bcdc").stat().st_size
    restored, _ = soundfile.read(tmp_path / f"a.{kind}.out.wav", dtype="int16")
    mono, _ = soundfile.read(tmp_path / "mono.wav.out.wav", dtype="int16")
    assert restored.shape == (len(mono), channels)
    assert np.array_equal(restored, np.tile(mono[:, None], channels))
    facts = json.loads(here("info", "--json", "a.bcdc").stdout)
    assert (facts["channels"], facts["coded_channels"]) == (channels, 1)
    assert f"{channels} equal channels, coded once" in here("info", "a.bcdc").stdout.decode()
    part = ["--start", "1", "--duration", "1"]
    assert here("decompress", "a.bcdc", "-o", "p.wav", *part, *model).code == 0
    piece, _ = soundfile.read(tmp_path / "p.wav", dtype="int16")
    assert np.array_equal(piece, restored[RATE : 2 * RATE])


@pytest.mark.parametrize("where", [0, 100_000, -1])
def test_one_sample_that_differs_is_kept(
    here: Here, tmp_path: Path, toy_model: Path, where: int
) -> None:
    wave = noise(6, 2)
    wave[where, 1] += 0.01
    soundfile.write(tmp_path / "a.wav", wave, RATE)
    assert here("compress", "a.wav", "--model", toy_model).code == 0
    assert (header_of(tmp_path / "a.bcdc").channels, header_of(tmp_path / "a.bcdc").copies) == (
        2,
        0,
    )


def test_where_it_cannot_be_known_both_are_coded(
    here: Here, tmp_path: Path, toy_model: Path
) -> None:
    soundfile.write(tmp_path / "a.wav", noise(1, 2), RATE)
    content, model = (tmp_path / "a.wav").read_bytes(), ["--model", toy_model]
    assert here("compress", "-", "-o", "pipe.bcdc", *model, stdin=content).code == 0
    assert header_of(tmp_path / "pipe.bcdc").channels == 2
    assert here("compress", "a.wav", "--downmix", *model).code == 0
    assert header_of(tmp_path / "a.bcdc").restored_channels == 1
    raw = ["--raw", "--rate", str(RATE), "--channels", "2", "-o", "raw.bcdc"]
    (tmp_path / "a.pcm").write_bytes(content[44:])
    assert here("compress", "a.pcm", *raw, *model).code == 0
    assert header_of(tmp_path / "raw.bcdc").restored_channels == 2
    soundfile.write(tmp_path / "many.wav", noise(0.5, MAX_COPIES + 2), RATE)
    assert here("compress", "many.wav", *model).code == 0
    assert header_of(tmp_path / "many.bcdc").channels == MAX_COPIES + 2


def test_what_is_damaged_is_restored_with_all_channels(
    here: Here, tmp_path: Path, toy_model: Path
) -> None:
    soundfile.write(tmp_path / "a.wav", noise(30, 2), RATE)
    options = ["--model", toy_model]
    assert here("compress", "a.wav", "--coder", "raw", *options).code == 0
    content = bytearray((tmp_path / "a.bcdc").read_bytes())
    content[bcdc.read(bytes(content)).blocks[3].start] ^= 1
    (tmp_path / "a.bcdc").write_bytes(content)
    assert here("decompress", "--recover", "a.bcdc", "-o", "b.wav", *options).code == 1
    samples, _ = soundfile.read(tmp_path / "b.wav", dtype="int16")
    assert samples.shape == (30 * RATE, 2) and np.array_equal(samples[:, 0], samples[:, 1])
    assert not samples[6 * RATE : 8 * RATE].any() and samples.any()


def test_tokens_bring_the_file_back(here: Here, tmp_path: Path, toy_model: Path) -> None:
    soundfile.write(tmp_path / "a.wav", noise(2, 2), RATE)
    assert here("compress", "a.wav", "--model", toy_model).code == 0
    ran = here("tokens", "extract", "a.bcdc", "-o", "a.jsonl")
    assert ran.code == 0, ran.stderr
    assert here("tokens", "pack", "a.jsonl", "-o", "b.bcdc").code == 0
    assert (tmp_path / "b.bcdc").read_bytes() == (tmp_path / "a.bcdc").read_bytes()


def test_headers_refuse_what_they_cannot_hold() -> None:
    header = bcdc.Header(fingerprint=b"abcdef", sample_rate=16000, copies=MAX_COPIES)
    wrongs: list[dict[str, Any]] = [{"copies": MAX_COPIES + 1}, {"copies": -1}, {"channels": 2}]
    for wrong in wrongs:
        with pytest.raises(ValueError, match="can be equal to one"):
            dataclasses.replace(header, **wrong)
    with pytest.raises(ValueError, match="too many channels for the sample rate"):
        dataclasses.replace(header, sample_rate=768_000)
