"""Finding blocks at unknown places of a damaged container (SPEC section 9.1).

The checksum of a block is seeded with its number, and with whether it is short. A CRC is linear and
can be run backward, so the seed that a block would need to have is computed from its checksum, for
many places at once and in time that does not depend on the length of the payloads.
"""

from __future__ import annotations

import functools
import itertools
import zlib
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from bcdc.blocks import CHECK_BYTES, END_CODE, NUMBERS, block_check, is_short, payload_size
from bcdc.errors import BcdcError
from bcdc.header import Header
from bcdc.reader import Block

SMALLEST_BLOCK = 1 + CHECK_BYTES
_MAX_SKIPPED = 64
"""Blocks that may be missing beyond those for which there are bytes."""
_WINDOW, _MAX_WINDOW = 1 << 16, 1 << 20
"""Places that are looked at together, the more the larger blocks are; bounds memory."""
_MAX_CHECKED = 16
"""Bytes for each byte of the file whose checksums are computed: only a file made for it needs more,
and the search ends there."""
_ALL = 0xFFFFFFFF

_Words = npt.NDArray[np.uint32]


class BlockSearch:
    """The blocks before offset `stop`, where the trailer begins, if `frames`, their number, is
    known; else `stop` is the end of the data.

    `checked` counts the bytes whose checksums were computed.
    """

    def __init__(self, data: bytes, header: Header, stop: int, frames: int | None) -> None:
        self._data, self._full = data, header.full_block_bytes
        self._stop, self._frames, self._block_frames = stop, frames, header.block_frames
        most = len(data) // SMALLEST_BLOCK + _MAX_SKIPPED
        blocks = most if frames is None else -(-frames // header.block_frames)
        self._limit = min(blocks, NUMBERS)
        self.checked = 0
        self._at = 0
        self._candidates = self._possible()

    def run(self, at: int) -> Iterator[Block]:
        """Whole blocks from offset `at` on, in order."""
        index = 0
        while at < self._stop and index < self._limit and not self._spent:
            block = self._fits(at, index) or self._after(at, index) or self._next(at, index)
            if block is None:
                return
            yield block
            if block.short:
                return
            at, index = block.end, block.index + 1

    def _after(self, at: int, index: int) -> Block | None:
        """The block after a damaged one whose length code is intact."""
        span = self._payload(at)
        return None if span is None else self._fits(span[1], index + 1)

    def _next(self, at: int, index: int) -> Block | None:
        """The first block from offset `at` on, of number `index` or above, that is confirmed."""
        self._at = at
        for block in self._candidates:
            if block.code >= at and block.index >= index and self._confirmed(block):
                return block
            if self._spent:
                return None
        return None

    @property
    def _spent(self) -> bool:
        return self.checked > _MAX_CHECKED * (len(self._data) + _WINDOW)

    def _confirmed(self, block: Block) -> bool:
        if self._frames is not None and block.end == self._stop:
            return block.index == self._limit - 1
        return not block.short and self._fits(block.end, block.index + 1) is not None

    def _fits(self, at: int, index: int) -> Block | None:
        span = self._payload(at) if index < self._limit else None
        if span is None:
            return None
        start, end = span
        payload, stored = self._data[start:end], self._data[start - CHECK_BYTES : start]
        for short in self._kinds(index):
            self.checked += end - start
            if block_check(payload, index, short) == stored:
                return Block(index, at, start, end, short)
        return None

    def _kinds(self, index: int) -> tuple[bool, ...]:
        """Whether a block of that number is short; both where that is not known."""
        if self._frames is None:
            return False, True
        return (is_short(index, self._frames, self._block_frames),)

    def _payload(self, at: int) -> tuple[int, int] | None:
        """Start and end of the payload of a block at an offset, if one is possible there."""
        if at >= self._stop or self._data[at] == END_CODE:
            return None
        try:
            size, start = payload_size(self._data, at, self._full)
        except BcdcError:
            return None
        end = start + CHECK_BYTES + size
        return (start + CHECK_BYTES, end) if end <= self._stop else None

    def _possible(self) -> Iterator[Block]:
        """Blocks from offset `_at` on whose checksum is that of a block that is possible."""
        window, low = max(_WINDOW, min(self._full, _MAX_WINDOW)), self._at
        while low < self._stop:
            high = min(low + window, self._stop)
            spans = [(at, *span) for at in range(low, high) if (span := self._payload(at))]
            if spans:
                places, starts, ends = np.array(spans, np.int64).T
                seeds = self._seeds(low, starts, ends)
                for i in np.flatnonzero(seeds % NUMBERS < self._limit).tolist():
                    short, index = divmod(int(seeds[i]), NUMBERS)
                    if short in self._kinds(index):
                        place = int(places[i]), int(starts[i]), int(ends[i])
                        yield Block(index, *place, short=bool(short))
            low = max(high, self._at)

    def _seeds(
        self, low: int, starts: npt.NDArray[np.int64], ends: npt.NDArray[np.int64]
    ) -> _Words:
        """The seed (n,) that each payload (n,) would need, given that all begin after `low`."""
        data = self._data[low : int(ends.max())]
        table = _byte_table()
        running = itertools.accumulate(
            data, lambda crc, byte: table[(crc ^ byte) & 0xFF] ^ (crc >> 8), initial=0
        )
        registers = np.fromiter(running, np.uint32, len(data) + 1)
        fields = np.frombuffer(data, np.uint8)
        places = (starts - low - CHECK_BYTES)[:, None] + np.arange(CHECK_BYTES)
        stored = np.ascontiguousarray(fields[places]).view("<u4")[:, 0].astype(np.uint32)
        after = stored ^ np.uint32(_ALL) ^ registers[ends - low]
        seeded = registers[starts - low] ^ _backward(after, ends - starts)
        return _backward(seeded, np.full(len(seeded), 4)) ^ np.uint32(_ALL)


@functools.cache
def _byte_table() -> list[int]:
    """What each byte does to the register of the CRC-32."""
    return [zlib.crc32(bytes([byte]), _ALL) ^ _ALL for byte in range(256)]


def _backward(registers: _Words, counts: npt.NDArray[np.int64]) -> _Words:
    """The CRC's registers (n,) before `counts` (n,) zero bytes, from those after them."""
    for level in range(int(counts.max(initial=0)).bit_length()):
        tables = _backward_tables(level)
        some = np.flatnonzero(counts >> level & 1)
        parts = registers[some]
        moved = np.zeros_like(parts)
        for byte in range(4):
            moved ^= tables[byte][parts >> np.uint32(8 * byte) & np.uint32(0xFF)]
        registers = registers.copy()
        registers[some] = moved
    return registers


@functools.cache
def _backward_tables(level: int) -> _Words:
    """For each of the four bytes of a register, what it was 2^level zero bytes before: (4, 256)."""
    bits = _backward_bits(level)
    tables = np.zeros((4, 256), np.uint32)
    for byte, bit in itertools.product(range(4), range(8)):
        tables[byte, np.arange(256) >> bit & 1 == 1] ^= np.uint32(bits[8 * byte + bit])
    return tables


@functools.cache
def _backward_bits(level: int) -> list[int]:
    """The register 2^level zero bytes before each register of one bit."""
    if level == 0:
        table = _byte_table()
        by_top = {entry >> 24: index for index, entry in enumerate(table)}
        indices = [by_top[(1 << bit) >> 24] for bit in range(32)]
        return [
            ((1 << bit ^ table[index]) << 8 & _ALL) | index for bit, index in enumerate(indices)
        ]
    before = _backward_bits(level - 1)
    return [functools.reduce(int.__xor__, _chosen(before, column), 0) for column in before]


def _chosen(columns: list[int], bits: int) -> Iterator[int]:
    return (column for bit, column in enumerate(columns) if bits >> bit & 1)
