"""Sections 4 and 5: blocks and trailer of a whole file."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import NamedTuple

from .cursor import Cursor, Refused, check32, varint_bytes
from .header import RAW, Header, read_header

SHORT = 2**31  # added to the seed of a block shorter than a full one
RUN = 16  # blocks of an entry of the seek table


@dataclass(frozen=True, kw_only=True)
class Block:
    """The tokens of all channels for so many frames."""

    payload: bytes
    frames: int


class Stored(NamedTuple):
    """A block before the number of its frames is known: whether its checksum is that of a full one,
    and the bytes it takes with length code and checksum."""

    payload: bytes
    is_full: bool
    size: int


@dataclass(frozen=True, kw_only=True)
class Container:
    """A whole file, checked, its tokens not yet decoded. Samples and frames are those of a channel,
    `entropy` is in bits a token."""

    header: Header
    blocks: tuple[Block, ...]
    samples: int
    frames: int
    entropy: float


def read_container(data: bytes) -> Container:
    """Reads a file that ends where `data` does.

    Raises:
        Refused: if it is anything but an undamaged file of version 1 within the limits.
    """
    header = read_header(data)
    cursor = Cursor(data, header.length)
    stored: list[Stored] = []
    while (block := read_block(cursor, header, len(stored))) is not None:
        if stored and not stored[-1].is_full:
            raise Refused("damaged", "a block follows a short one")
        stored.append(block)
    return read_trailer(cursor, header, stored)


def read_block(cursor: Cursor, header: Header, number: int) -> Stored | None:
    """The next block, its checksum verified, or None where the trailer follows (section 4)."""
    start = cursor.at
    if (code := cursor.integer(1)) == 0:
        return None
    largest = header.raw_bytes(header.block_frames())
    size = largest - (code - 1 if code < 240 else code - 1 + 16 * cursor.varint())
    if size < 0:
        raise Refused("damaged", f"a payload of {size} bytes")
    check, payload = cursor.integer(4), cursor.take(size)
    is_full = check == check32(number % SHORT, payload)
    if not is_full and check != check32(number % SHORT + SHORT, payload):
        raise Refused("damaged", f"checksum of block {number}")
    return Stored(payload, is_full, cursor.at - start)


def read_trailer(cursor: Cursor, header: Header, stored: list[Stored]) -> Container:
    """Section 5, from behind its first byte. The checksum comes before what is in the fields."""
    start = cursor.at
    samples, entropy = cursor.varint(), cursor.integer(2)
    table = [cursor.varint() for _ in range((len(stored) - 1) // RUN if stored else 0)]
    length = varint_bytes(cursor.at - start)[::-1]
    if cursor.take(len(length)) != length:
        raise Refused("damaged", "length of the trailer")
    check = zlib.crc32(cursor.data[start - 1 : cursor.at], zlib.crc32(cursor.data[: header.length]))
    if cursor.integer(4) != check:
        raise Refused("damaged", "checksum at the end")
    if cursor.left():
        raise Refused("damaged", f"{cursor.left()} bytes follow the end")
    if table != [sum(block.size for block in stored[i : i + RUN]) for i in range_of_runs(stored)]:
        raise Refused("damaged", "seek table")
    at_16_khz = -(-samples * 16000 // header.rate)
    frames = -(-at_16_khz // header.hop)
    if frames > 2**40:
        raise Refused("limit", f"{samples} samples")
    return Container(
        header=header,
        blocks=frames_given(header, stored, frames),
        samples=samples,
        frames=frames,
        entropy=entropy / 4096,
    )


def range_of_runs(stored: list[Stored]) -> range:
    """Where runs of 16 blocks start that are followed by another block (section 5.4)."""
    return range(0, len(stored) - RUN, RUN)


def frames_given(header: Header, stored: list[Stored], frames: int) -> tuple[Block, ...]:
    """The blocks of so many frames, with the length that each must have (section 5.2)."""
    full = header.block_frames()
    if len(stored) != -(-frames // full):
        raise Refused("damaged", f"{len(stored)} blocks for {frames} frames")
    blocks = []
    for number, block in enumerate(stored):
        length = min(full, frames - number * full)
        if block.is_full != (length == full):
            raise Refused("damaged", f"block {number} has the checksum of another length")
        if len(block.payload) > header.raw_bytes(length):
            raise Refused("damaged", f"block {number} is longer than its tokens packed raw")
        if header.coder == RAW and len(block.payload) < header.raw_bytes(length):
            raise Refused("damaged", f"block {number} is shorter than its tokens packed raw")
        blocks.append(Block(payload=block.payload, frames=length))
    return tuple(blocks)
