"""The bytes of a file are read in large pieces, and each of them once."""

from __future__ import annotations

import io

import pytest

from bigcodec_models.audio.content import Content
from bigcodec_models.audio.flac import examine_flac

PIECE = 1 << 20


class CountingFile(io.BytesIO):
    """Bytes that know how often they were read."""

    reads = 0

    def read(self, size: int | None = -1, /) -> bytes:
        self.reads += 1
        return super().read(size)


def test_search_reads_a_file_once() -> None:
    data = b"fLaC" * 800_000
    file = CountingFile(data)
    content, at, marks = Content(file, len(data)), 0, 0
    while (at := content.find(b"fLaC", at)) >= 0:
        at, marks = at + 4, marks + 1
    assert marks == 800_000
    assert file.reads <= len(data) // PIECE + 2


def test_marks_of_streams_are_searched_in_few_reads() -> None:
    data = b"fLaC\0\0\0\x22" * 100_000
    file = CountingFile(data)
    assert examine_flac(Content(file, len(data))) is not None
    assert file.reads <= 10 + len(data) // PIECE


@pytest.mark.parametrize("place", [0, 1, PIECE - 4, PIECE - 3, PIECE - 1, PIECE, 3 * PIECE - 2])
def test_a_pattern_is_found_wherever_it_is(place: int) -> None:
    data = bytes(place) + b"OggS" + bytes(100)
    content = Content(io.BytesIO(data), len(data))
    content.part(5, 100)
    assert content.find(b"OggS", 0) == place
    assert content.find(b"OggS", place) == place
    assert content.find(b"OggS", place + 1) == -1
    assert content.find(b"OggS", len(data) - 1) == -1
