"""Ogg files: chains of streams, each in pages with a checksum (RFC 3533)."""

from __future__ import annotations

import dataclasses
import struct
import zlib
from collections.abc import Iterator

from bigcodec_models.audio.content import Content
from bigcodec_models.audio.layout import Layout, Part, whole
from bigcodec_models.audio.tags import before_tags

_MAGIC = b"OggS"
_HEADER_BYTES = 27
_MOST_BYTES = _HEADER_BYTES + 255 + 255 * 255
_FIRST, _LAST = 2, 4
_MOST_BAD = 1000
"""Damaged pages after which the rest of the file is given up."""
_AUDIO = (b"\x01vorbis", b"OpusHead", b"\x7fFLAC", b"Speex   ")
"""How the first packet of an audio stream begins."""
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Page:
    """A page from byte `start` to `stop`. `is_audio`: it begins like an audio stream."""

    start: int
    stop: int
    flags: int
    serial: int
    number: int
    is_audio: bool


def examine_ogg(content: Content) -> Layout | None:
    """The layout of an Ogg file, a part for each link of its chain; None for other files."""
    if content.part(0, 4) != _MAGIC:
        return None
    starts, stops = list[int](), list[int]()
    numbers: dict[int, int] = {}  # next page of each stream that is open
    end, faults, in_header, is_audio = 0, list[str](), False, False
    for page in _pages(content):
        if page.start > end and before_tags(content, end, page.start, zeros=1) > end:
            faults.append(f"has {page.start - end} bytes at {end} that are no page")
        if page.flags & _FIRST:
            if in_header and is_audio and page.is_audio:
                faults.append("holds several audio streams side by side, of which one is read")
            is_audio = page.is_audio or (in_header and is_audio)
            if not in_header:
                starts.append(page.start)
                stops.append(end)  # of the link before it
                faults += ["a link of its chain has no end"] * bool(numbers)
                numbers.clear()
            numbers[page.serial] = page.number
        in_header = bool(page.flags & _FIRST)
        if numbers.get(page.serial) != page.number:
            faults.append(f"lacks pages before byte {page.start}")
        numbers[page.serial] = page.number + 1
        if page.flags & _LAST:
            del numbers[page.serial]
        end = page.stop
    stop = len(content)
    if before_tags(content, end, stop, zeros=1) == end:
        stop = end
    if numbers or end < stop:
        faults.append("was cut short: its last page is missing")
    if not starts:
        return whole(content, "begins without the header of a stream")
    bounds = zip(starts, [*stops[1:], stop], strict=True)
    parts = tuple(Part(start=first, stop=last) for first, last in bounds)
    return Layout(parts=parts, fault=faults[0] if faults else None)


def _pages(content: Content) -> Iterator[_Page]:
    """Pages whose checksum is right; bytes between them are passed over."""
    at = bad = 0
    while bad <= _MOST_BAD and (at := content.find(_MAGIC, at)) >= 0:
        page = _page_at(content, at)
        if page is None:
            at, bad = at + 1, bad + 1
            continue
        yield page
        at = page.stop


def _page_at(content: Content, at: int) -> _Page | None:
    page = content.part(at, _MOST_BYTES)
    if len(page) < _HEADER_BYTES:
        return None
    flags, serial, number, checksum, segments = struct.unpack_from("<xB8xIIIB", page, 4)
    body = _HEADER_BYTES + segments
    size = body + sum(page[_HEADER_BYTES:body])
    if size > len(page) or checksum != ogg_checksum(page[:22] + bytes(4) + page[26:size]):
        return None
    return _Page(
        start=at,
        stop=at + size,
        flags=flags,
        serial=serial,
        number=number,
        is_audio=page.startswith(_AUDIO, body),
    )


def ogg_checksum(page: bytes) -> int:
    """The checksum of a page whose checksum field is 0: CRC-32 with the bits of every byte in the
    other order than zlib's, beginning with 0."""
    mirrored = zlib.crc32(page.translate(_REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{mirrored:032b}"[::-1], 2)
