"""Files that ffmpeg reads: which format they are of, and whether their parts are all there.

ffmpeg reads what is left of a file that was cut short, and passes over what follows its end. So the
outermost parts are examined here: the boxes of ISO/IEC 14496-12 (MP4, M4A, MOV, 3GP) and the
elements of RFC 8794 and 9559 (Matroska, WebM).
"""

from __future__ import annotations

from bigcodec_models.audio.content import Content
from bigcodec_models.audio.tags import after_id3v2, before_tags

_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")
"""Boxes with which files of this family begin."""
_EBML_ID = 0x1A45DFA3
_ASF = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
_SEGMENT, _VOID = 0x18538067, 0xEC


def demuxer_of(content: Content) -> str | None:
    """The name that ffmpeg has for the format of a file; None if it is none of those that are read
    through ffmpeg."""
    start = content.part(0, 16)
    if start[4:8] in _BOXES:
        return "mov"
    if start[:4] == _EBML_ID.to_bytes(4, "big"):
        return "matroska"
    if start == _ASF:
        return "asf"
    if start[:4] == b"RIFF" and start[8:12] == b"AVI ":
        return "avi"
    if start[:5] == b"#!AMR":
        return "amr"
    return "aac" if _is_adts(content) else None


def _is_adts(content: Content) -> bool:
    """Whether AAC begins in the framing of ISO/IEC 14496-3, 1.A.2; MP3 has another layer there."""
    start = content.part(after_id3v2(content.part(0, 10), 0), 7)
    if len(start) < 7 or start[0] != 0xFF or start[1] & 0xF6 != 0xF0:
        return False
    return start[2] >> 2 & 15 < 13 and ((start[3] & 3) << 11 | start[4] << 3 | start[5] >> 5) >= 7


def media_fault(content: Content, demuxer: str) -> str | None:
    """What the outermost parts of a file say is missing, or more than ffmpeg reads; None where they
    say nothing."""
    if demuxer == "mov":
        return _boxes_fault(content)
    return _elements_fault(content) if demuxer == "matroska" else None


def _boxes_fault(content: Content) -> str | None:
    at, stop, is_first = 0, before_tags(content, 0, len(content)), True
    while at < stop:
        header = content.part(at, 16)
        size, name = int.from_bytes(header[:4], "big"), header[4:8]
        if size == 1:
            size = int.from_bytes(header[8:16], "big")
        elif size == 0 and name == b"mdat":  # the last one, to the end of the file
            return None
        if size < 8 or not name.isascii() or (name == b"ftyp" and not is_first):
            return _surplus(content, at)
        if at + size > len(content):
            return _lack(content, at + size)
        at, is_first = at + size, False
    return None


def _elements_fault(content: Content) -> str | None:
    at, stop, expected = 0, before_tags(content, 0, len(content)), {_EBML_ID, _VOID}
    while at < stop:
        name, start = _identifier(content, at)
        size, start = _size(content, start)
        if name not in expected:
            return _surplus(content, at)
        if size is None:  # a segment of unknown size: recorded as it was sent
            return None
        if start + size > len(content):
            return _lack(content, start + size)
        at = start + size
        expected = {_EBML_ID if name == _SEGMENT else _SEGMENT, _VOID}
    return None


def _identifier(content: Content, at: int) -> tuple[int, int]:
    """The identifier of an element that begins at a byte, and the byte after it."""
    data = content.part(at, _number_bytes(content, at))
    return int.from_bytes(data, "big"), at + len(data)


def _size(content: Content, at: int) -> tuple[int | None, int]:
    """The size that stands at a byte, None if it is unknown; and the byte after it."""
    length = _number_bytes(content, at)
    data = content.part(at, length)
    value = int.from_bytes(data, "big") % (1 << 7 * length)
    return (None if value == (1 << 7 * length) - 1 else value), at + len(data)


def _number_bytes(content: Content, at: int) -> int:
    """How many bytes a number has: as many as the first one has bits up to its first 1."""
    first = content.part(at, 1)
    return 9 - first[0].bit_length() if first else 1


def _lack(content: Content, size: int) -> str:
    return f"was cut short: {len(content)} of {size} bytes are there"


def _surplus(content: Content, at: int) -> str:
    return f"has {len(content) - at} bytes after its audio that are not read"
