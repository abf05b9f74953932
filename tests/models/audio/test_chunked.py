"""WAV and its relatives whose sizes are wrong, unknown, or of the other byte order; VOC."""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from bigcodec_models.audio.audio_file import AudioFile, Samples
from bigcodec_models.audio.chunked import UNKNOWN_SIZES

Read = Callable[[bytes], tuple[Samples, str | None]]
LENGTH = 16000


def audio(kind: str) -> bytes:
    """A second of noise, 16 kHz, mono."""
    noise = np.random.default_rng(0).standard_normal(LENGTH) * 0.1
    file = io.BytesIO()
    options = {"endian": "BIG"} if kind == "RIFX" else {}
    soundfile.write(
        file, noise, 16000, format="WAV" if kind == "RIFX" else kind, subtype="PCM_16", **options
    )
    return file.getvalue()


def with_size(content: bytes, name: bytes, size: int, order: str = "<") -> bytes:
    """With another size of the chunk of that name."""
    place = content.index(name) + len(name)
    return content[:place] + struct.pack(f"{order}I", size) + content[place + 4 :]


def killed_rf64() -> bytes:
    """As it lies there when the recorder is killed: all sizes of ds64 are 0."""
    content = with_size(audio("RF64"), b"data", 0xFFFFFFFF)
    place = content.index(b"ds64") + 8
    return content[:place] + bytes(24) + content[place + 24 :]


def test_rf64_that_was_never_completed_is_read_in_full(read: Read) -> None:
    samples, fault = read(killed_rf64())
    assert fault is None and len(samples) == LENGTH


def test_no_samples_of_a_chunk_that_has_bytes_are_a_fault(
    read: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bigcodec_models.audio.chunked._correction", lambda *_: None)
    samples, fault = read(killed_rf64())
    assert len(samples) == 0 and fault is not None


@pytest.mark.parametrize("size", [0x80010000, 0xC0000000, 0xFFFE0000])
def test_a_large_wav_that_was_cut_short_is_noticed(read: Read, size: int) -> None:
    _, fault = read(with_size(audio("WAV"), b"data", size))
    assert fault is not None and "was cut short" in fault


def test_a_size_that_fits_the_file_is_no_unknown_one(tmp_path: Path) -> None:
    size, content = 0x7FFF0000, with_size(audio("WAV"), b"data", 0x7FFF0000)
    path = tmp_path / "a.wav"
    path.write_bytes(content[:44])
    os.truncate(path, 44 + size + 5000)  # sparse
    with AudioFile(path) as file:
        assert file.fault == "has 5000 bytes after its audio that are not read"


def test_sizes_that_are_unknown() -> None:
    known = (0, 1, 0x7EFFFFFF, 0x7FFEFFFF, 0x80000001, 0xFFFEFFFF, 0x100000000)
    assert not any(size in UNKNOWN_SIZES for size in known)
    unknown = (0x7F000000, 0x7FFF0000, 0x7FFFF000, 0x80000000, 0xFFFF0000, 0xFFFFFFFF)
    assert all(size in UNKNOWN_SIZES for size in unknown)


@pytest.mark.parametrize("size", [0x7F000000, 0x7F000008, 0x7FFFFFFF, 0xFFFFFFFF])
def test_aiff_from_a_pipe_is_whole(read: Read, size: int) -> None:
    samples, fault = read(with_size(audio("AIFF"), b"SSND", size, ">"))
    assert fault is None and len(samples) == LENGTH


def test_big_endian_wav_is_examined(read: Read) -> None:
    content = audio("RIFX")
    assert content[:4] == b"RIFX"
    for whole in (content, with_size(content, b"data", 0, ">")):
        samples, fault = read(whole)
        assert fault is None and len(samples) == LENGTH
    for cut in (content[:-1000], content[:60]):
        _, fault = read(cut)
        assert fault is not None and "was cut short" in fault
    _, fault = read(content + bytes(range(256)) * 40)
    assert fault is not None and "after its audio that are not read" in fault


def test_voc_is_examined(read: Read) -> None:
    content = audio("VOC")
    samples, fault = read(content)
    assert fault is None and len(samples) == LENGTH
    _, fault = read(content[:-1000])
    assert fault is not None and "was cut short" in fault
    _, fault = read(content + content)
    assert fault is not None and "after its audio that are not read" in fault
    _, fault = read(content[:-1] + content[26:])  # a second block of sound
    assert fault is not None and "after its audio that are not read" in fault


@pytest.mark.parametrize("kind", ["WAV", "AIFF", "AU", "OGG", "FLAC"])
def test_a_file_that_shrinks_while_it_is_read_is_not_whole(tmp_path: Path, kind: str) -> None:
    noise = np.random.default_rng(0).standard_normal(1_000_000) * 0.1
    soundfile.write(path := tmp_path / "audio", noise, 16000, format=kind)
    with AudioFile(path) as file:
        blocks = file.blocks()
        count = len(next(blocks))
        os.truncate(path, path.stat().st_size // 2)
        count += sum(len(block) for block in blocks)
        assert count < 1_000_000 and file.fault is not None
