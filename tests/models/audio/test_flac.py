"""FLAC with tags behind it, and with pictures that look like FLAC."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable

import numpy as np
import pytest
import soundfile

from bigcodec_models.audio.audio_file import Samples

Read = Callable[[bytes], tuple[Samples, str | None]]
LENGTH = 16000
ID3V1 = b"TAG".ljust(128, b"x")
ID3V2 = b"ID3\x03\x00\x00\x00\x00\x02\x00" + bytes([1]) * 256
APE_ITEM = b"\x05\x00\x00\x00\x00\x00\x00\x00Title\x00hello"


def ape_tag(with_header: bool) -> bytes:
    """An APEv2 tag, or an APEv1 tag, which has a footer alone."""
    version, flags = (2000, 1 << 31) if with_header else (1000, 0)
    ends = (
        b"APETAGEX" + struct.pack("<4I8x", version, len(APE_ITEM) + 32, 1, flags | header << 29)
        for header in (1, 0)
    )
    header, footer = ends
    return (header if with_header else b"") + APE_ITEM + footer


TAGS = {
    "ID3v1": ID3V1,
    "APEv1": ape_tag(False),
    "APEv2": ape_tag(True),
    "both": ape_tag(True) + ID3V1,
    "zeros": bytes(5000),
    "many zeros": bytes(200_000),
    "ID3v2": ID3V2,
}


@pytest.fixture(scope="module")
def flac() -> bytes:
    """A second of noise, 16 kHz, mono."""
    file = io.BytesIO()
    noise = np.random.default_rng(0).standard_normal(LENGTH) * 0.1
    soundfile.write(file, noise, 16000, format="FLAC", subtype="PCM_16")
    return file.getvalue()


def without_length(flac: bytes) -> bytes:
    """As a program writes it to a pipe: STREAMINFO says 0 samples (RFC 9639, 8.2)."""
    return flac[:21] + bytes([flac[21] & 0xF0]) + bytes(4) + flac[26:]


@pytest.mark.parametrize("tag", TAGS)
def test_a_tag_behind_the_audio_takes_nothing_away(read: Read, flac: bytes, tag: str) -> None:
    whole, _ = read(flac)
    for content in (flac, without_length(flac)):
        samples, fault = read(content + TAGS[tag])
        assert fault is None and np.array_equal(samples, whole)
        samples, fault = read(content + TAGS[tag] + content)
        assert fault is None and len(samples) == 2 * LENGTH


def test_a_tag_behind_audio_that_was_cut_short_hides_nothing(read: Read, flac: bytes) -> None:
    for content in (flac, without_length(flac)):
        _, fault = read(content[: len(content) // 2] + ID3V1)
        assert fault is not None


def test_a_picture_that_looks_like_flac_is_no_stream(read: Read, flac: bytes) -> None:
    block = struct.pack(">II9sI4II", 3, 9, b"image/png", 0, 1, 1, 24, 0, 42) + flac[:42]
    picture = b"\x06" + len(block).to_bytes(3, "big") + block
    content = flac[:42] + picture + flac[42:]
    whole, _ = read(flac)
    samples, fault = read(content)
    assert fault is None and np.array_equal(samples, whole)
    samples, fault = read(content + content)
    assert fault is None and len(samples) == 2 * LENGTH


@pytest.mark.parametrize("rest", [b"\xff\xf8" * 4000, b"RIFF" * 3000, bytes([1]) * 5000])
def test_bytes_behind_the_audio_that_are_no_tag_are_named(
    read: Read, flac: bytes, rest: bytes
) -> None:
    samples, fault = read(flac + rest)
    assert len(samples) == LENGTH
    assert fault is not None and "bytes after its audio that are not read" in fault
    _, fault = read(flac + b"x" + flac[1:])  # the mark of the second stream is damaged
    assert fault is not None
