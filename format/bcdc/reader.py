"""Reading containers (SPEC sections 4, 5 and 9)."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence

from bcdc.block_decoder import Decoding, decode_together
from bcdc.blocks import (
    CHECK_BYTES,
    END_CODE,
    block_check,
    is_short,
    payload_size,
    seek_entries,
    seek_table,
    trailer_check,
)
from bcdc.errors import BcdcError, CorruptError, LimitError, TruncatedError
from bcdc.header import Coder, Header, read_header
from bcdc.prior_file import Prior
from bcdc.tokens import ENTROPY_UNIT, Tokens
from bcdc.varint import get_varint, put_varint

MAX_FRAMES = 1 << 40


@dataclasses.dataclass(frozen=True, slots=True)
class Block:
    """The place of a block: offsets of its length code, of its payload and of its end. `short` if
    its checksum is that of a block shorter than a full one."""

    index: int
    code: int
    start: int
    end: int
    short: bool


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

    @property
    def bits_per_token(self) -> float:
        """Bits of payload a token; 0 for no tokens."""
        count = self.frames * self.header.channels * self.header.geometry.codebooks
        return 8 * self.payload_bytes / count if count else 0.0

    def tokens(self, first: int = 0, last: int | None = None, prior: Prior | None = None) -> Tokens:
        """Tokens of frames `first` up to but not including `last`: (channels, frames, codebooks).

        Only the blocks that hold them are decoded, and those that they need for their context; a
        range that follows the last one decodes nothing twice.

        Raises:
            ValueError: the range does not lie within the file.
            MissingPriorError: the container needs a prior, and `prior` is not it.
            CorruptError: a block's tokens are impossible.
        """
        last = self.frames if last is None else last
        if not 0 <= first <= last <= self.frames:
            raise ValueError(f"frames {first} to {last} are not within 0 to {self.frames}")
        full = self.header.block_frames
        tokens = self._decoding.blocks(first // full, -(-last // full), prior)
        offset = first // full * full
        return tokens[:, first - offset : last - offset]

    @functools.cached_property
    def _decoding(self) -> Decoding:
        view = memoryview(self.data)
        payloads = [view[block.start : block.end] for block in self.blocks]
        return Decoding(self.header, payloads, self.frames)


def read(data: bytes) -> Container:
    """Open a container held in memory, verifying every checksum; tokens stay undecoded.

    Raises:
        NotBcdcError, UnsupportedError, CorruptError, TruncatedError, LimitError: see `errors`.
    """
    header, first = read_header(data)
    blocks, at = _walk(data, first, header)
    trailer = read_trailer(data, at, len(blocks), data[:first])
    if trailer.end != len(data):
        raise CorruptError(f"{len(data) - trailer.end} bytes follow the end of the container")
    frames = header.frames_of(trailer.samples)
    if frames > MAX_FRAMES:
        raise LimitError(f"the file declares {frames} frames, above the limit of {MAX_FRAMES}")
    if -(-frames // header.block_frames) != len(blocks):
        raise CorruptError("the number of blocks does not fit the number of samples")
    _check_checksums(header, blocks, frames)
    _check_lengths(header, blocks, frames)
    if trailer.index != seek_table([block.end - block.code for block in blocks]):
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


def decode_ahead(containers: Sequence[Container], prior: Prior) -> None:
    """Decode short containers side by side, which is faster for many; their `tokens`, called with
    this prior, then give what was decoded.

    This applies to containers coded with this prior. If one of them is damaged, none is decoded
    here: its own `tokens` raises the error.
    """
    decode_together([container._decoding for container in containers], prior)


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
        size, at = payload_size(data, at, full)
    except TruncatedError as error:
        raise TruncatedError(f"the file ends inside block {index}: it was cut short") from error
    except BcdcError as error:
        raise CorruptError(f"block {index} is damaged: {error}", index) from error
    start, end = at + CHECK_BYTES, at + CHECK_BYTES + size
    if end > len(data):
        raise TruncatedError(f"the file ends inside block {index}: it was cut short")
    for short in (False, True):
        if block_check(data[start:end], index, short) == data[at:start]:
            return Block(index, code, start, end, short), end
    raise CorruptError(f"block {index} is damaged: its checksum does not match", index)


def _check_checksums(header: Header, blocks: list[Block], frames: int) -> None:
    """Only a last block that is short has the checksum of one (SPEC 4)."""
    for block in blocks:
        if block.short != is_short(block.index, frames, header.block_frames):
            words = f"block {block.index} is damaged: its checksum does not fit its length"
            raise CorruptError(words, block.index)


def _check_lengths(header: Header, blocks: list[Block], frames: int) -> None:
    """Raw blocks have the length that their tokens give them, others at most that (SPEC 6.1)."""
    full = header.block_frames
    for block in blocks:
        size = block.end - block.start
        raw = header.raw_bytes(min(full, frames - block.index * full))
        if size > raw or (size < raw and header.coder is Coder.RAW):
            raise CorruptError(f"block {block.index} has the wrong length for its tokens")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trailer:
    """The trailer of a container: `index` is its seek table, `end` the offset after it."""

    samples: int
    entropy_units: int
    index: list[int]
    end: int


def read_trailer(data: bytes, start: int, blocks: int, header: bytes) -> Trailer:
    """The trailer whose body starts at offset `start`, after an end code and that many blocks;
    `header` are the bytes of header and extension.

    Raises:
        TruncatedError: the data end inside it.
        CorruptError: its checksum does not match.
    """
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
    check = trailer_check(header, data[start - 1 : end])
    if data[at:end] != length or data[end : end + 4] != check:
        raise CorruptError("the trailer is damaged: the last checksum does not match")
    return Trailer(samples=samples, entropy_units=entropy, index=index, end=end + 4)
