"""Formats made of chunks with declared sizes: WAV, RIFX, RF64, Wave64, AIFF, CAF; AU and SPHERE.

Sources: Microsoft/IBM "Multimedia Programming Interface and Data Specifications 1.0" (1991), EBU
Tech 3306 (RF64), Sony "Wave64 File Format Specification" (2003), Apple "Audio Interchange File
Format AIFF-C" (1991) and "Core Audio Format Specification 1.0", Sun's audio(4) manual (AU), NIST
SPHERE 2.6 (SPH).
"""

from __future__ import annotations

import dataclasses
import io
import math
import re
import struct
from collections.abc import Iterator

from bigcodec_models.audio.content import Content
from bigcodec_models.audio.layout import Layout, Part, whole


class _UnknownSizes:
    """Sizes with which programs say that they do not know the length yet.

    At or just below 2^31 or 2^32; SoX writes the header of AIFF for 0x7F000000 bytes.
    """

    _RANGES = (
        range(0x7F000000, 0x7F000009),
        range(0x7FFF0000, 0x80000001),
        range(0xFFFF0000, 0x100000000),
    )

    def __contains__(self, size: int) -> bool:
        return any(size in sizes for sizes in self._RANGES)


UNKNOWN_SIZES = _UnknownSizes()
_MAX_SIZE = 0xFFFFFFFF
_LONGEST_PADDING = 16
_FILES = (b"RIFF", b"RIFX", b"RF64", b"FORM")
"""How files begin, and no chunk within one."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Grammar:
    """How chunks follow one another: names of `name_bytes`, sizes by struct format `size`, the
    first at `start`, each padded to a multiple of `align`. `header_counts`: sizes include the
    chunk's own header. `data` is the name of the chunk with the audio, in which `before` bytes
    precede the samples."""

    start: int
    name_bytes: int
    size: str
    align: int
    data: bytes
    header_counts: bool = False
    before: int = 0


_RIFF = _Grammar(start=12, name_bytes=4, size="<I", align=2, data=b"data")
_RIFX = dataclasses.replace(_RIFF, size=">I")
_AIFF = _Grammar(start=12, name_bytes=4, size=">I", align=2, data=b"SSND", before=8)
_CAF = _Grammar(start=8, name_bytes=4, size=">q", align=1, data=b"data", before=4)
_W64_DATA = b"data" + bytes.fromhex("f3acd3118cd100c04f8edb8a")
_W64 = _Grammar(start=40, name_bytes=16, size="<Q", align=8, data=_W64_DATA, header_counts=True)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Chunk:
    """A chunk: its content begins at `start`, and has `size` bytes, as declared."""

    name: bytes
    start: int
    size: int


def examine_chunked(content: Content) -> Layout | None:
    """The layout of a file of one of these formats; None if it is of another.

    Where a WAV file was never completed, as its recorder was killed, its data chunk has size 0
    or an impossible one: it then extends to the end of the file.
    """
    magic = content.part(0, 16)
    if magic[:4] in (b"RIFF", b"RF64", b"RIFX") and magic[8:12] == b"WAVE":
        return _of_chunks(content, _RIFX if magic[:4] == b"RIFX" else _RIFF)
    if magic[:4] == b"FORM" and magic[8:12] in (b"AIFF", b"AIFC"):
        return _of_chunks(content, _AIFF)
    if magic[:4] == b"caff":
        return _of_chunks(content, _CAF)
    if magic[:4] == b"riff" and magic[4:8] == bytes.fromhex("2e91cf11"):
        return _of_chunks(content, _W64)
    if magic[:4] == b".snd" and len(content) >= 24:
        return whole(content, _au_fault(content))
    if magic[:8] == b"NIST_1A\n":
        return whole(content, _sphere_fault(content))
    return None


def are_riff_chunks(rest: bytes) -> bool:
    """Whether bytes that follow the samples of a WAV are chunks, up to the end."""
    return _are_chunks(Content(io.BytesIO(rest), len(rest)), 0, _RIFF)


def _of_chunks(content: Content, grammar: _Grammar) -> Layout:
    """The layout of a file of chunks. If it has audio, no samples at all are a fault."""
    large, ds64 = 0, None
    for chunk in _chunks(content, grammar):
        if chunk.name == b"ds64":
            ds64, large = chunk, int.from_bytes(content.part(chunk.start + 8, 8), "little")
        if chunk.name == grammar.data:
            size = large if large and chunk.size == _MAX_SIZE else chunk.size
            fault = _data_fault(content, grammar, chunk.start, size, bool(large))
            correction = _correction(content, grammar, chunk, None if large else ds64)
            is_filled = size != 0 or correction is not None
            least = int(is_filled and len(content) - chunk.start > grammar.before)
            part = Part(start=0, stop=len(content), least=least)
            return Layout(parts=(part,), fault=fault, correction=correction)
    return whole(content)  # no audio at all: whoever decodes it says so


def _data_fault(
    content: Content, grammar: _Grammar, start: int, size: int, is_large: bool
) -> str | None:
    left = len(content) - start
    is_unknown = size in UNKNOWN_SIZES and size > left and not is_large
    if grammar in (_RIFF, _RIFX, _AIFF) and is_unknown:
        return None
    if grammar in (_RIFF, _RIFX) and size == 0:
        return None
    if grammar is _CAF and size == -1:
        return None
    if size > left:
        return f"was cut short: {left} of {size} bytes of its audio are there"
    after = start + size
    if not _are_chunks(content, after + (-size) % grammar.align, grammar):
        return f"has {len(content) - after} bytes after its audio that are not read"
    return None


def _correction(
    content: Content, grammar: _Grammar, data: _Chunk, ds64: _Chunk | None
) -> tuple[int, bytes] | None:
    """The size of a WAV file's data chunk, where it says 0 and samples follow; or that in the ds64
    chunk, which is 0 and stands for it."""
    left = len(content) - data.start
    if grammar not in (_RIFF, _RIFX) or _are_chunks(content, data.start, grammar):
        return None
    if ds64 is not None and data.size == _MAX_SIZE:
        return ds64.start + 8, struct.pack("<Q", left)
    if data.size or left > _MAX_SIZE:
        return None
    return data.start - 4, struct.pack(grammar.size, left)


def _are_chunks(content: Content, at: int, grammar: _Grammar) -> bool:
    """Whether the bytes from `at` on are chunks, and a few zeros at most.

    In Wave64 not even those: libsndfile takes what follows for audio.
    """
    end = at
    for chunk in _chunks(content, dataclasses.replace(grammar, start=at)):
        name = chunk.name[:4]
        is_name = all(32 <= byte < 127 for byte in name) and name.upper() not in _FILES
        if not is_name or chunk.start + chunk.size > len(content):
            break
        end = chunk.start + chunk.size + (-chunk.size) % grammar.align
    rest = content.part(end, _LONGEST_PADDING + 1)
    return len(rest) <= _LONGEST_PADDING and not any(rest) and (grammar is not _W64 or not rest)


def _chunks(content: Content, grammar: _Grammar) -> Iterator[_Chunk]:
    at, header = grammar.start, grammar.name_bytes + struct.calcsize(grammar.size)
    while at + header <= len(content):
        start = content.part(at, header)
        name = start[: grammar.name_bytes]
        (size,) = struct.unpack(grammar.size, start[grammar.name_bytes :])
        size -= header if grammar.header_counts else 0
        yield _Chunk(name=name, start=at + header, size=size)
        if size < 0:
            return
        at += header + size + (-size) % grammar.align


def _au_fault(content: Content) -> str | None:
    start, size = struct.unpack(">II", content.part(4, 8))
    return None if size == _MAX_SIZE else _size_fault(size, len(content) - start)


def _sphere_fault(content: Content) -> str | None:
    """Of a NIST SPHERE file, whose header is text: its length, and lines such as `rate -i 8000`."""
    length = content.part(8, 8).strip()
    start, fields = int(length) if length.isdigit() else 1024, dict[bytes, int]()
    for line in content.part(16, start - 16).splitlines():
        if match := re.fullmatch(rb"(\w+) -i (\d{1,12})\s*", line):
            fields[match[1]] = int(match[2])
    names = (b"sample_count", b"channel_count", b"sample_n_bytes")
    if not all(name in fields for name in names):
        return None
    size, left = math.prod(fields[name] for name in names), len(content) - start
    return _size_fault(size, left)


def _size_fault(size: int, left: int) -> str | None:
    """Of audio that ends the file: `size` bytes are declared, `left` are there."""
    if size > left:
        return f"was cut short: {left} of {size} bytes of its audio are there"
    if size < left:
        return f"has {left - size} bytes after its audio that are not read"
    return None
