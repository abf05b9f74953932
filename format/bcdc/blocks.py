"""Block framing that reader and writer share (SPEC sections 4.1 and 5.4)."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

from bcdc.errors import CorruptError
from bcdc.varint import check32, get_varint, put_varint

END_CODE = 0
_LONG_CODE = 240
_LOW_STEPS = 256 - _LONG_CODE
CHECK_BYTES = 4
INDEX_BLOCKS = 16
"""Blocks that one entry of the seek table covers."""
NUMBERS = 1 << 31
"""Block numbers that checksums tell apart; added to the number, it marks a short block."""


def length_code(size: int, full: int) -> bytes:
    """Code of a payload's length: how much shorter it is than a full raw block (SPEC 4.1)."""
    short = full - size
    if short < _LONG_CODE - 1:
        return bytes([1 + short])
    rest, low = divmod(short - (_LONG_CODE - 1), _LOW_STEPS)
    return bytes([_LONG_CODE + low]) + put_varint(rest)


def payload_size(data: bytes, at: int, full: int) -> tuple[int, int]:
    """The payload's length by the code at offset `at`, and the offset after the code.

    Raises:
        TruncatedError: the data end inside the code.
        CorruptError: the code is malformed, or the length below 0.
    """
    code, at = data[at], at + 1
    short = code - 1
    if code >= _LONG_CODE:
        rest, at = get_varint(data, at)
        short = _LONG_CODE - 1 + code - _LONG_CODE + _LOW_STEPS * rest
    if short > full:
        raise CorruptError("its length is below 0")
    return full - short, at


def block_check(payload: bytes, index: int, short: bool = False) -> bytes:
    """The checksum of a block's payload, which tells its number and whether it is shorter than a
    full one (SPEC section 4)."""
    return check32(payload, index % NUMBERS + NUMBERS * short)


def is_short(index: int, frames: int, full: int) -> bool:
    """Whether a block is shorter than the `full` frames of others, in a file of `frames` frames."""
    return frames < (index + 1) * full


def stored_block(payload: bytes, index: int, full: int, short: bool = False) -> bytes:
    """A block as it is in the file: length code, checksum, payload (SPEC section 4)."""
    return length_code(len(payload), full) + block_check(payload, index, short) + payload


def seek_entries(blocks: int) -> int:
    """Number of entries in the seek table of a file of `blocks` blocks."""
    return max(0, blocks - 1) // INDEX_BLOCKS


def seek_table(sizes: Sequence[int]) -> list[int]:
    """Stored bytes of each run of 16 blocks, from the size of every block; the last run, whole
    or not, needs no entry."""
    starts = range(0, seek_entries(len(sizes)) * INDEX_BLOCKS, INDEX_BLOCKS)
    return [sum(sizes[start : start + INDEX_BLOCKS]) for start in starts]


def trailer_check(header: bytes, trailer: bytes) -> bytes:
    """The file's last four bytes, from those of header and extension, and those of the trailer
    before its checksum, end code included (SPEC section 5.5)."""
    return zlib.crc32(trailer, zlib.crc32(header)).to_bytes(4, "little")
