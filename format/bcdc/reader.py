"""Reading containers (SPEC sections 4, 5 and 7)."""

from __future__ import annotations

import dataclasses
import zlib

import numpy as np

from bcdc.blocks import END_CODE, LONG_CODE, seek_entries, seek_table
from bcdc.errors import BcdcError, CorruptError, LimitError, TruncatedError
from bcdc.header import Header, read_header
from bcdc.integers import check16, get_varint, put_varint
from bcdc.tokens import ENTROPY_UNIT, Tokens, unpack

MAX_FRAMES = 1 << 40


@dataclasses.dataclass(frozen=True, slots=True)
class Block:
    """Where a block lies: offsets of its length code, of its payload and of its end."""

    index: int
    code: int
    start: int
    end: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Container:
    """A container whose checksums have been verified.

    `num_samples` is a channel's length at `header.sample_rate`; `entropy` the order-0 entropy of
    the tokens in bits a token; `frames` the number of frames a channel.
    """

    header: Header
    num_samples: int
    entropy: float
    frames: int
    size: int
    blocks: tuple[Block, ...] = dataclasses.field(repr=False)
    data: bytes = dataclasses.field(repr=False)

    @property
    def seconds(self) -> float:
        """Duration."""
        return self.num_samples / self.header.sample_rate

    @property
    def payload_bytes(self) -> int:
        """Bytes of coded tokens: the size of the file without everything else."""
        return sum(block.end - block.start for block in self.blocks)

    def tokens(self, first: int = 0, last: int | None = None) -> Tokens:
        """Tokens of frames `first` up to but not including `last`: (channels, frames, codebooks).

        Only the blocks that hold them are decoded.

        Raises:
            ValueError: the range does not lie within the file.
            CorruptError: a block's tokens are impossible.
        """
        last = self.frames if last is None else last
        if not 0 <= first <= last <= self.frames:
            raise ValueError(f"frames {first} to {last} are not within 0 to {self.frames}")
        geometry, full = self.header.geometry, self.header.geometry.block_frames
        parts = [np.zeros((self.header.channels, 0, geometry.codebooks), dtype=np.int32)]
        for block in self.blocks[first // full : -(-last // full)]:
            parts.append(self._decode(block, min(full, self.frames - block.index * full)))
        joined = np.concatenate(parts, axis=1)
        offset = first // full * full
        return joined[:, first - offset : last - offset]

    def _decode(self, block: Block, frames: int) -> Tokens:
        try:
            payload = self.data[block.start : block.end]
            return unpack(payload, self.header.geometry, self.header.channels, frames)
        except CorruptError as error:
            raise CorruptError(f"block {block.index}: {error}", block.index) from error


def read(data: bytes) -> Container:
    """Open a container held in memory, verifying every checksum; tokens stay undecoded.

    Raises:
        NotBcdcError, UnsupportedError, CorruptError, TruncatedError, LimitError: see `errors`.
    """
    header, at = read_header(data)
    blocks, at = _walk(data, at, header)
    trailer = _read_trailer(data, at, len(blocks))
    frames = header.frames_of(trailer.samples)
    if frames > MAX_FRAMES:
        raise LimitError(f"the file declares {frames} frames, above the limit of {MAX_FRAMES}")
    if -(-frames // header.geometry.block_frames) != len(blocks):
        raise CorruptError("the number of blocks does not fit the number of samples")
    _check_lengths(header, blocks, frames)
    if trailer.index != seek_table([_stored_size(block) for block in blocks]):
        raise CorruptError("the seek table does not fit the blocks")
    return Container(
        header=header,
        num_samples=trailer.samples,
        entropy=trailer.entropy_units * ENTROPY_UNIT,
        frames=frames,
        size=len(data),
        blocks=tuple(blocks),
        data=data,
    )


def _walk(data: bytes, at: int, header: Header) -> tuple[list[Block], int]:
    """Blocks from offset `at` on, and the offset after the end code."""
    blocks: list[Block] = []
    full = header.full_block_bytes
    while True:
        if at >= len(data):
            raise TruncatedError(f"the file ends after block {len(blocks) - 1}: it was cut short")
        if data[at] == END_CODE:
            return blocks, at + 1
        block, at = _walk_block(data, at, len(blocks), full)
        blocks.append(block)


def _walk_block(data: bytes, at: int, index: int, full: int) -> tuple[Block, int]:
    code = at
    try:
        size, at = _payload_size(data, at, full)
    except TruncatedError as error:
        raise TruncatedError(f"the file ends inside block {index}: it was cut short") from error
    except BcdcError as error:
        raise CorruptError(f"block {index} is damaged: {error}", index) from error
    start, end = at + 2, at + 2 + size
    if end > len(data):
        raise TruncatedError(f"the file ends inside block {index}: it was cut short")
    if check16(data[start:end], index) != data[at:start]:
        raise CorruptError(f"block {index} is damaged: its checksum does not match", index)
    return Block(index, code, start, end), end


def _payload_size(data: bytes, at: int, full: int) -> tuple[int, int]:
    if data[at] != LONG_CODE:
        size, at = full - (data[at] - 1), at + 1
    else:
        size, at = get_varint(data, at + 1)
        if full - size < LONG_CODE - 1:
            raise CorruptError("its length is not in its shortest form, or too large")
    if size < 1:
        raise CorruptError("its length is not above 0")
    return size, at


def _check_lengths(header: Header, blocks: list[Block], frames: int) -> None:
    """Raw blocks have the length that their tokens give them, and no other (SPEC 6.1)."""
    full = header.geometry.block_frames
    for block in blocks:
        wanted = header.geometry.raw_bytes(min(full, frames - block.index * full), header.channels)
        if block.end - block.start != wanted:
            raise CorruptError(f"block {block.index} has the wrong length for its tokens")


@dataclasses.dataclass(frozen=True)
class _Trailer:
    samples: int
    entropy_units: int
    index: list[int]


def _read_trailer(data: bytes, start: int, blocks: int) -> _Trailer:
    """The trailer whose body starts at `start`, trusted only once the file's checksum is right."""
    try:
        samples, at = get_varint(data, start)
        entropy = int.from_bytes(data[at : at + 2], "little")
        at, index = at + 2, []
        for _ in range(seek_entries(blocks)):
            size, at = get_varint(data, at)
            index.append(size)
    except TruncatedError as error:
        raise TruncatedError("the file ends inside its trailer: it was cut short") from error
    length = put_varint(at - start)[::-1]
    end = at + len(length)
    if end + 4 > len(data):
        raise TruncatedError("the file ends inside its trailer: it was cut short")
    if data[at:end] != length or zlib.crc32(data[:end]) != int.from_bytes(
        data[end : end + 4], "little"
    ):
        raise CorruptError("the file is damaged: its last checksum does not match")
    if end + 4 != len(data):
        raise CorruptError(f"{len(data) - end - 4} bytes follow the end of the container")
    return _Trailer(samples, entropy, index)


def _stored_size(block: Block) -> int:
    return block.end - block.code
