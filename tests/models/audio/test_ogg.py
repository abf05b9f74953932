"""Ogg with streams side by side, and with tags behind it."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable

import numpy as np
import pytest
import soundfile

from bigcodec_models.audio.audio_file import Samples
from bigcodec_models.audio.ogg import ogg_checksum

Read = Callable[[bytes], tuple[Samples, str | None]]
LENGTH = 16000
ENDS = {
    "zeros": bytes(7),
    "many zeros": bytes(3_000_000),
    "ID3v1": b"TAG".ljust(128, b"x"),
    "both": bytes(500) + b"TAG".ljust(128, b"\0"),
}


def ogg(subtype: str = "VORBIS") -> bytes:
    """A second of noise, 16 kHz, mono."""
    file = io.BytesIO()
    noise = np.random.default_rng(0).standard_normal(LENGTH) * 0.1
    soundfile.write(file, noise, 16000, format="OGG", subtype=subtype)
    return file.getvalue()


def pages(content: bytes, serial: int) -> list[bytes]:
    """The pages of a stream, with another serial number."""
    result = list[bytes]()
    while content:
        table = content[27 : 27 + content[26]]
        size = 27 + len(table) + sum(table)
        page = bytearray(content[:size])
        page[14:18], page[22:26] = struct.pack("<I", serial), bytes(4)
        page[22:26] = struct.pack("<I", ogg_checksum(bytes(page)))
        result.append(bytes(page))
        content = content[size:]
    return result


@pytest.mark.parametrize("subtypes", ["VORBIS VORBIS", "VORBIS OPUS", "OPUS VORBIS"])
def test_a_second_audio_stream_in_a_link_is_named(read: Read, subtypes: str) -> None:
    first, second = (pages(ogg(name), serial) for serial, name in enumerate(subtypes.split()))
    content = b"".join([first[0], second[0], *first[1:], *second[1:]])
    _, fault = read(content)
    assert fault == "holds several audio streams side by side, of which one is read"


def test_streams_one_after_the_other_are_no_fault(read: Read) -> None:
    first, second = (pages(ogg(), serial) for serial in (1, 2))
    samples, fault = read(b"".join([*first, *second]))
    assert fault is None and len(samples) == 2 * LENGTH


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
@pytest.mark.parametrize("end", ENDS)
def test_tags_and_zeros_behind_the_last_page_are_no_fault(
    read: Read, subtype: str, end: str
) -> None:
    content = ogg(subtype)
    whole, _ = read(content)
    samples, fault = read(content + ENDS[end])
    assert fault is None and np.array_equal(samples, whole)
    samples, fault = read(content + ENDS[end] + content)
    assert fault is None and len(samples) == 2 * LENGTH


def test_other_bytes_behind_the_last_page_are_a_fault(read: Read) -> None:
    content = ogg()
    for rest in (b"x", b"OggS", b"TAG".ljust(127, b"x"), content[:100], bytes(9) + b"x"):
        _, fault = read(content + rest)
        assert fault is not None
    _, fault = read(content[:-200] + ENDS["both"])
    assert fault is not None
