"""Native FLAC (RFC 9639), one stream or several in a row."""

from __future__ import annotations

from collections.abc import Iterator

from bigcodec_models.audio.content import Content
from bigcodec_models.audio.layout import Layout, Part
from bigcodec_models.audio.tags import before_tags

_MARKER = b"fLaC"
_STREAMINFO = (b"\x00\x00\x00\x22", b"\x80\x00\x00\x22")
"""The header of STREAMINFO, which is the first block and always 34 bytes long."""
_LAST_TYPE = 6
"""The highest type of a metadata block (RFC 9639, 8.1)."""

_FRAME_MARKS = (b"\xff\xf8", b"\xff\xf9")
_CHECKSUM_BYTES = 2
_LONGEST, _MOST_MARKS = 1 << 16, 64
"""How far from the end, and at how many places, the beginning of the last frame is searched."""


def examine_flac(content: Content) -> Layout | None:
    """The layout of a FLAC file, a part for each stream; None for other files.

    Whether a stream is complete shows when it is decoded: it declares its samples, or the decoder
    stops at a broken frame. Tags and zeros at the end of a stream are left out; where something
    else follows its last frame, there may be audio in it.
    """
    starts = list(_streams(content))
    if not starts:
        return None
    parts, fault = list[Part](), None
    for start, stop in zip([0, *starts[1:]], [*starts[1:], len(content)], strict=True):
        end, is_whole = _end(content, start, before_tags(content, start, stop), stop)
        parts.append(Part(start=start, stop=end))
        fault = fault if is_whole else "has bytes after its audio that are not read"
    return Layout(parts=tuple(parts), fault=fault)


def _end(content: Content, start: int, end: int, stop: int) -> tuple[int, bool]:
    """Where the audio of a stream ends, and whether its last frame ends there.

    `end` is where tags and zeros begin: the last bytes of a checksum may be zeros too.
    """
    marker = content.find(_MARKER, start)
    longest = int.from_bytes(content.part(marker + 15, 3), "big")
    audio = _after_metadata(content, marker)
    if end <= audio:
        return end, True
    for place in range(end, min(end + _CHECKSUM_BYTES, stop) + 1):
        length = min(place - audio, longest or _LONGEST)
        if _ends_with_frame(content.part(place - length, length)):
            return place, True
    return (stop, False) if longest else (end, True)  # without that length no more than a guess


def _ends_with_frame(piece: bytes) -> bool:
    """Whether a frame ends these bytes: the checksum over all of it is then 0 (RFC 9639, 9.3)."""
    at = len(piece)
    for _ in range(_MOST_MARKS):
        at = max(piece.rfind(mark, 0, at + 1) for mark in _FRAME_MARKS)
        if at < 0:
            return False
        checksum = 0
        for byte in piece[at:]:
            checksum = checksum << 8 & 0xFF00 ^ _CRC[checksum >> 8 ^ byte]
        if checksum == 0:
            return True
    return False


def _crc_of(byte: int) -> int:
    """A remainder of the checksum of frames, whose polynomial is x^16 + x^15 + x^2 + 1."""
    value = byte << 8
    for _ in range(8):
        value = value << 1 ^ (0x18005 if value & 0x8000 else 0)
    return value


def _streams(content: Content) -> Iterator[int]:
    """Where streams begin; a picture in their metadata may look like another."""
    at = 0
    while (at := content.find(_MARKER, at)) >= 0:
        if content.part(at + 4, 4) not in _STREAMINFO:
            at += 4
            continue
        yield at
        at = _after_metadata(content, at)


def _after_metadata(content: Content, start: int) -> int:
    """The byte after the metadata of a stream; that after its marker if they are damaged."""
    at, is_last = start + 4, False
    while not is_last:
        header = content.part(at, 4)
        if len(header) < 4 or header[0] & 0x7F > _LAST_TYPE:
            return start + 4
        is_last = header[0] >= 0x80
        at += 4 + int.from_bytes(header[1:], "big")
    return at if at <= len(content) else start + 4


_CRC = tuple(_crc_of(byte) for byte in range(256))
