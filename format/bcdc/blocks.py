"""Block framing that reader and writer share (SPEC sections 4.1 and 5.4)."""

from __future__ import annotations

from collections.abc import Sequence

from bcdc.integers import put_varint

END_CODE = 0
LONG_CODE = 255
INDEX_BLOCKS = 16
"""Blocks that one entry of the seek table covers."""


def length_code(size: int, full: int) -> bytes:
    """A payload length, told by how far it falls short of a full raw block (SPEC section 4.1)."""
    short = full - size
    if 0 <= short < LONG_CODE - 1:
        return bytes([1 + short])
    return bytes([LONG_CODE]) + put_varint(size)


def seek_entries(blocks: int) -> int:
    """Number of entries in the seek table of a file of `blocks` blocks."""
    return max(0, blocks - 1) // INDEX_BLOCKS


def seek_table(sizes: Sequence[int]) -> list[int]:
    """Stored bytes of each run of 16 blocks, from the size of every block; the last run, whole
    or not, needs no entry."""
    starts = range(0, seek_entries(len(sizes)) * INDEX_BLOCKS, INDEX_BLOCKS)
    return [sum(sizes[start : start + INDEX_BLOCKS]) for start in starts]
