"""Finding every whole block of a damaged or truncated container.

The checksum of a block is seeded with its number (SPEC section 4), so a block found anywhere can
be identified. Where the chain of blocks breaks, the scan looks for the next place where two blocks
in a row, or one block and the end, are valid: four bytes of checksum.
"""

from __future__ import annotations

import dataclasses
import math
import zlib
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from bcdc.block_coder import Coding
from bcdc.blocks import END_CODE, payload_size, seek_entries
from bcdc.errors import BcdcError, CorruptError, LimitError, NotBcdcError, TruncatedError
from bcdc.header import HEADER_BYTES, MAGIC, MODEL_RATE, Coder, Header, check_start, read_header
from bcdc.prior_file import Prior
from bcdc.reader import Block
from bcdc.tokens import Tokens
from bcdc.varint import check16, get_varint

_MAX_BLOCKS = 1 << 16
"""Block numbers that are tried after a break: 36 hours."""
_MAX_REPAIRED = 64
"""Longest header or extension in which one damaged byte is searched for."""
_SMALLEST_BLOCK = 4
_MAX_KNOWN = 512
_MAX_TOKENS = 1 << 26
"""Tokens that are restored at once: 200 hours of one channel. A block of a few bytes may stand for
millions, and a damaged trailer for as many blocks as there are bytes."""
_AT_ONCE = 64
_TRAILER_BYTES = 32  # the largest trailer without its seek table


@dataclasses.dataclass(frozen=True, kw_only=True)
class Salvage:
    """What is left of a container.

    `blocks` are the whole ones, by number. `num_samples` is the length that the trailer declares,
    or that of the recovered blocks if the trailer is lost (`has_trailer`). `header_repaired` means
    that the header was damaged and that one byte, most likely the right one, was restored by the
    checksum.
    """

    header: Header
    num_samples: int
    frames: int
    blocks: dict[int, Block] = dataclasses.field(repr=False)
    has_trailer: bool
    header_repaired: bool
    data: bytes = dataclasses.field(repr=False)

    def decode(self, prior: Prior | None = None) -> Restored:
        """Tokens of the blocks that are whole and do not need one that is not.

        Raises:
            MissingPriorError: the tokens are coded with a prior, and `prior` is not it.
            CorruptError: the prior that the header names is of another model.
            LimitError: there are too many tokens to hold at once.
        """
        shape = (self.header.channels, self.frames, self.header.geometry.codebooks)
        if math.prod(shape) > _MAX_TOKENS:
            raise LimitError(f"what is left declares {math.prod(shape)} tokens, too many at once")
        tokens, lost, end = np.zeros(shape, np.int32), list[tuple[int, int]](), 0
        for start, decoded in self._decoded(prior):
            if start > end:
                lost.append((end, start))
            end = start + decoded.shape[1]
            tokens[:, start:end] = decoded
        if end < self.frames:
            lost.append((end, self.frames))
        for start, stop in lost:
            if start:
                tokens[:, start:stop] = tokens[:, start - 1 : start]
        return Restored(
            header=self.header,
            num_samples=self.num_samples,
            frames=self.frames,
            lost=tuple(lost),
            table=tokens,
        )

    def _decoded(self, prior: Prior | None) -> Iterator[tuple[int, Tokens]]:
        """First frame and tokens (channels, frames, codebooks) of each whole block, in order."""
        full, run = self.header.block_frames, self.header.coder.run_blocks
        coding, expected = Coding(self.header, prior), 0
        for first, last in self._stretches():
            if run > 1 and first % run and first != expected:
                continue  # what it needs for its context is lost
            if run > 1 and first % run == 0:
                coding = Coding(self.header, prior)
            for index, tokens in self._decode(coding, first, last):
                yield index * full, tokens
                expected = index + 1

    def _stretches(self) -> Iterator[tuple[int, int]]:
        """Runs of whole blocks of one length, short enough to be decoded side by side."""
        step = _AT_ONCE if self.header.coder.run_blocks == 1 else 1
        count = -(-self.frames // self.header.block_frames)
        first = 0
        for index in range(count + 1):
            gap = index == count or index not in self.blocks
            if gap or index == count - 1 or index - first == step:
                if first < index:
                    yield first, index
                first = index + 1 if gap else index

    def _decode(self, coding: Coding, first: int, last: int) -> Iterator[tuple[int, Tokens]]:
        full = self.header.block_frames
        frames = min(full, self.frames - first * full)
        spans = [self.blocks[index] for index in range(first, last)]
        payloads = [self.data[block.start : block.end] for block in spans]
        try:
            yield from enumerate(coding.decode(payloads, frames), first)
        except CorruptError:
            if last - first > 1:
                for index in range(first, last):
                    yield from self._decode(coding, index, index + 1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Restored:
    """Tokens of a damaged container. `lost` are the ranges of frames that are gone; in `table`
    (channels, frames, codebooks) the frame before them stands in for them."""

    header: Header
    num_samples: int
    frames: int
    lost: tuple[tuple[int, int], ...]
    table: Tokens = dataclasses.field(repr=False)

    @property
    def seconds(self) -> float:
        """Duration."""
        return self.num_samples / self.header.sample_rate

    def tokens(self, first: int = 0, last: int | None = None, prior: Prior | None = None) -> Tokens:
        """Tokens of frames `first` up to but not including `last`; they need no prior any more."""
        return self.table[:, first:last]


def salvage(data: bytes) -> Salvage:
    """Find everything that is whole in the bytes of a container.

    Raises:
        BcdcError: the header is not that of a container, or is damaged beyond repair.
    """
    best: Salvage | None = None
    for header, at, repaired in _headers(data):
        candidate = _salvage(data, header, at, repaired)
        if best is None or _score(candidate) > _score(best):
            best = candidate
    if best is None or (best.header_repaired and not best.blocks):
        read_header(data)  # raises the error that describes it
        raise CorruptError("the header is damaged beyond repair")
    return best


def _score(candidate: Salvage) -> tuple[int, bool]:
    return len(candidate.blocks), candidate.has_trailer


def _salvage(data: bytes, header: Header, at: int, repaired: bool) -> Salvage:
    samples = _declared_samples(data, header, at)
    known = None if samples is None else -(-header.frames_of(samples) // header.block_frames)
    blocks = {block.index: block for block in _Scan(data, header, known).blocks(at)}
    frames = header.frames_of(samples) if samples is not None else -1
    full = header.block_frames
    if samples is None or frames <= max(blocks, default=-1) * full:
        frames, samples = 0, None
        if blocks:
            last = blocks[max(blocks)]
            frames = last.index * full + _block_frames(header, last)
    return Salvage(
        header=header,
        num_samples=_samples_of(header, frames) if samples is None else samples,
        frames=frames,
        blocks=blocks,
        has_trailer=samples is not None,
        header_repaired=repaired,
        data=data,
    )


def _block_frames(header: Header, block: Block) -> int:
    """Frames of a block, by the length of a raw one; any other is taken to be full."""
    if header.coder is not Coder.RAW:
        return header.block_frames
    bits = 8 * (block.end - block.start)
    return min(header.block_frames, bits // (header.channels * sum(header.geometry.token_bits)))


def _samples_of(header: Header, frames: int) -> int:
    """The most samples that `frames` frames hold."""
    return frames * header.geometry.hop * header.sample_rate // MODEL_RATE


def _headers(data: bytes) -> Iterator[tuple[Header, int, bool]]:
    """Every header the data may begin with, the offset after it, and whether it was repaired."""
    if data[:4] != MAGIC and data[4:6] != check16(data[6:HEADER_BYTES]):
        check_start(data)
    try:
        yield *read_header(data), False
        return
    except (CorruptError, TruncatedError, NotBcdcError):
        pass
    start = MAGIC + data[4:HEADER_BYTES]
    if len(start) < HEADER_BYTES:
        raise TruncatedError("the data end inside the header")
    for fixed in _repairs(start, 6, HEADER_BYTES, 4):
        rest = data[HEADER_BYTES:]
        try:
            yield *read_header(fixed + rest), True
        except CorruptError:
            yield from _extensions(fixed, rest)
        except BcdcError:
            continue


def _extensions(fixed: bytes, rest: bytes) -> Iterator[tuple[Header, int, bool]]:
    """Headers whose extension has one damaged byte."""
    try:
        size, start = get_varint(rest, 0)
    except BcdcError:
        return
    stop = start + size
    if size > _MAX_REPAIRED or stop + 2 > len(rest):
        return
    for extension in _repairs(rest[: stop + 2], start, stop, stop):
        try:
            yield *read_header(fixed + extension + rest[stop + 2 :]), True
        except BcdcError:
            continue


def _repairs(data: bytes, start: int, stop: int, check: int) -> Iterator[bytes]:
    """`data` with one byte between `start` and `stop`, or the checksum at `check`, corrected."""
    stored = data[check : check + 2]
    if check16(data[start:stop]) == stored:
        yield data
        return
    whole = bytearray(data)
    for at in range(start, stop):
        for value in range(256):
            whole[at] = value
            if check16(bytes(whole[start:stop])) == stored:
                yield bytes(whole)
        whole[at] = data[at]
    whole[check : check + 2] = check16(data[start:stop])
    yield bytes(whole)


def _declared_samples(data: bytes, header: Header, first: int) -> int | None:
    """Samples that the trailer at the end of the data declares; None if it is not whole.

    Its checksum covers the damage too, so it cannot help: instead all fields must agree.
    """
    end = len(data) - 4
    try:
        length, digits = get_varint(data[max(first, end - 8) : end][::-1], 0)
    except BcdcError:
        return None
    start = end - digits - length
    if start <= first or data[start - 1] != END_CODE:
        return None
    try:
        samples, at = get_varint(data, start)
        at, sizes = at + 2, 0
        blocks = -(-header.frames_of(samples) // header.block_frames)
        for _ in range(min(seek_entries(blocks), length)):
            size, at = get_varint(data, at)
            sizes += size
    except BcdcError:
        return None
    fits = at == end - digits and seek_entries(blocks) <= length and sizes <= len(data)
    return samples if fits and blocks <= len(data) // _SMALLEST_BLOCK + 1 else None


class _Scan:
    """Searches the bytes of a container for its blocks; a trailer declares `known` blocks, or is
    lost (None)."""

    def __init__(self, data: bytes, header: Header, known: int | None) -> None:
        self._data, self._full = data, header.full_block_bytes
        count = min(len(data) // _SMALLEST_BLOCK + 64, _MAX_BLOCKS)
        count = count if known is None else min(count, known)
        seeds = [zlib.crc32(number.to_bytes(4, "little")) for number in range(count)]
        self._seeds = np.array(seeds, np.uint32)
        self._known: dict[int, npt.NDArray[np.uint16]] = {}

    def blocks(self, at: int) -> Iterator[Block]:
        """Whole blocks from offset `at` on, in order."""
        index = 0
        while at < len(self._data):
            block = self._fits(at, index) or self._after(at, index) or self._next(at, index)
            if block is None:
                return
            yield block
            at, index = block.end, block.index + 1

    def _after(self, at: int, index: int) -> Block | None:
        """The block after a damaged one whose length code is intact."""
        span = self._payload(at)
        if span is None or span[1] >= len(self._data):
            return None
        return self._fits(span[1], index + 1)

    def _next(self, at: int, index: int) -> Block | None:
        """The first block from offset `at` on, of number `index` or above, that is confirmed."""
        for place in range(at, len(self._data)):
            for block in self._candidates(place, index):
                if self._confirmed(block):
                    return block
        return None

    def _confirmed(self, block: Block) -> bool:
        at = block.end
        if at >= len(self._data):
            return False  # two bytes fit some number among thousands too easily
        if self._fits(at, block.index + 1) is not None:
            return True
        most = _TRAILER_BYTES + 4 * seek_entries(block.index + 1)
        return self._data[at] == END_CODE and len(self._data) - at <= most

    def _fits(self, at: int, index: int) -> Block | None:
        span = self._payload(at)
        if span is None:
            return None
        start, end = span
        good = check16(self._data[start:end], index) == self._data[start - 2 : start]
        return Block(index, at, start, end) if good else None

    def _candidates(self, at: int, index: int) -> Iterator[Block]:
        """Blocks at an offset that have the checksum of some number from `index` on.

        A CRC is linear: with another seed it differs by something that depends on the seed and
        the length alone, so all numbers are tried at once.
        """
        span = self._payload(at)
        if span is None:
            return
        start, end = span
        stored = int.from_bytes(self._data[start - 2 : start], "little")
        difference = (zlib.crc32(self._data[start:end]) & 0xFFFF) ^ stored
        for number in np.flatnonzero(self._shifts(end - start)[index:] == difference):
            yield Block(index + int(number), at, start, end)

    def _payload(self, at: int) -> tuple[int, int] | None:
        """Start and end of the payload of a block at an offset, if one is possible there."""
        if self._data[at] == END_CODE:
            return None
        try:
            size, start = payload_size(self._data, at, self._full)
        except BcdcError:
            return None
        end = start + 2 + size
        return (start + 2, end) if end <= len(self._data) else None

    def _shifts(self, length: int) -> npt.NDArray[np.uint16]:
        """How each number's seed changes the checksum of a payload of this length."""
        if length not in self._known:
            if len(self._known) > _MAX_KNOWN:
                self._known.clear()
            self._known[length] = self._make_shifts(length)
        return self._known[length]

    def _make_shifts(self, length: int) -> npt.NDArray[np.uint16]:
        zeros = bytes(length)
        nothing = zlib.crc32(zeros)
        changed = np.zeros(len(self._seeds), np.uint32)
        for bit in range(32):
            effect = np.uint32(zlib.crc32(zeros, 1 << bit) ^ nothing)
            changed ^= np.where(self._seeds >> np.uint32(bit) & np.uint32(1), effect, np.uint32(0))
        return (changed & np.uint32(0xFFFF)).astype(np.uint16)
