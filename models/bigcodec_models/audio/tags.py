"""Tags that programs put at the end of any audio file (ID3v2.4 with ID3v1, APEv2)."""

from __future__ import annotations

from bigcodec_models.audio.content import Content

ID3V1_BYTES, APE_BYTES = 128, 32
_PIECE_BYTES = 1 << 16
"""How much of the end is searched at a time."""
_MANY_ZEROS = 16
"""So many zeros in a row are padding, and no end of a checksum."""


def before_tags(content: Content, start: int, stop: int) -> int:
    """Where the tags and zeros begin that end bytes `start` to `stop`; `stop` if there are none."""
    while (place := _before_tag(content, start, stop)) < stop and place > start:
        stop = place
    return stop


def _before_tag(content: Content, start: int, stop: int) -> int:
    if content.part(max(stop - ID3V1_BYTES, 0), 3) == b"TAG":
        return stop - ID3V1_BYTES
    footer = content.part(max(stop - APE_BYTES, 0), APE_BYTES)
    if footer[:8] == b"APETAGEX":
        size, flags = (int.from_bytes(footer[at : at + 4], "little") for at in (12, 20))
        is_header, has_header = flags >> 29 & 1, flags >> 31
        return stop - (APE_BYTES if is_header else size + APE_BYTES * has_header)
    length = min(stop - start, _PIECE_BYTES)
    piece = content.part(stop - length, length)
    zeros = len(piece) - len(piece.rstrip(b"\0"))
    return stop - (_id3v2_bytes(piece) or (zeros if zeros >= _MANY_ZEROS else 0))


def _id3v2_bytes(piece: bytes) -> int:
    """The length of an ID3v2 tag that ends these bytes, such as stands before the next stream."""
    at = -1
    while (at := piece.find(b"ID3", at + 1)) >= 0:
        if after_id3v2(piece[at : at + 10], at) == len(piece):
            return len(piece) - at
    return 0


def after_id3v2(header: bytes, at: int) -> int:
    """The byte after an ID3v2 tag whose header of 10 bytes begins at a byte; that byte if it is
    none."""
    if len(header) < 10 or header[:3] != b"ID3" or any(byte & 0x80 for byte in header[6:]):
        return at
    size = header[6] << 21 | header[7] << 14 | header[8] << 7 | header[9]
    return at + 10 + size + (10 if header[5] & 0x10 else 0)
