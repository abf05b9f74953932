"""Decoding the blocks of one container, range by range."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bcdc.block_coder import Coding
from bcdc.errors import BcdcError, CorruptError
from bcdc.header import Coder, Header
from bcdc.prior_file import Prior
from bcdc.tokens import Tokens

_AT_ONCE = 64
"""Blocks decoded side by side; bounds memory."""
_AHEAD = 16
"""Largest number of blocks of a container that is decoded together with others: longer ones gain
little."""


class Decoding:
    """Tokens of blocks, given all payloads and the number of frames of a container.

    A range that follows the last one goes on from there and decodes nothing twice.
    """

    def __init__(self, header: Header, payloads: list[memoryview], frames: int) -> None:
        self._header, self._payloads, self._frames = header, payloads, frames
        self._ahead: tuple[Tokens, Prior] | None = None
        self._restart(0, None)

    def _restart(self, block: int, prior: Prior | None) -> None:
        self._prior, self._next = prior, block
        self._coding: Coding | None = None
        self._last: Tokens | None = None

    def blocks(self, first: int, last: int, prior: Prior | None) -> Tokens:
        """Tokens of blocks `first` up to but not including `last`, joined.

        Raises:
            MissingPriorError: the container needs another prior.
            CorruptError: a block's tokens are impossible; it is named.
        """
        if self._ahead is not None and self._ahead[1] is prior:
            return self._ahead[0][:, first * self._full : last * self._full]
        run = self._header.coder.run_blocks
        again = self._last is not None and self._next == first + 1 and self._prior is prior
        if not again and not first // run * run <= self._next <= first or self._prior is not prior:
            self._restart(first // run * run, prior)
        parts = [self._last] if again and self._last is not None else []
        step = _AT_ONCE if run == 1 else 1
        while self._next < first:
            self._decode(min(first, self._next + step))
        while self._next < last:
            parts += self._decode(min(last, self._next + step))
        return self._joined(parts)

    @property
    def _full(self) -> int:
        return self._header.block_frames

    def _joined(self, parts: Sequence[Tokens]) -> Tokens:
        shape = (self._header.channels, 0, self._header.geometry.codebooks)
        return np.concatenate([np.zeros(shape, dtype=np.int32), *parts], axis=1)

    def parts(self, prior: Prior) -> list[tuple[Coding, bytes, int]]:
        """What `Coding.decode_together` needs to decode all blocks; empty if there are many, or if
        they are not coded with `prior`."""
        if self._header.coder is not Coder.PRIOR or len(self._payloads) > _AHEAD:
            return []
        try:
            coding = Coding(self._header, prior)
        except BcdcError:
            return []
        lengths = [self._length(block) for block in range(len(self._payloads))]
        return [(coding, bytes(p), n) for p, n in zip(self._payloads, lengths, strict=True)]

    def keep(self, blocks: Sequence[Tokens], prior: Prior) -> None:
        """Keep the tokens of all blocks, decoded elsewhere with `prior`."""
        self._ahead = self._joined(blocks), prior

    def _length(self, block: int) -> int:
        """Frames of a block."""
        return min(self._full, self._frames - block * self._full)

    def _decode(self, last: int) -> list[Tokens]:
        """The blocks from the next one up to but not including `last`."""
        if self._coding is None:
            self._coding = Coding(self._header, self._prior)
        blocks: list[Tokens] = []
        ends = {min(last, self._frames // self._full), last}
        for end in sorted(end for end in ends if end > self._next):
            blocks += self._same_length(self._coding, self._next, end)
            self._next = end
        self._last = blocks[-1]
        return blocks

    def _same_length(self, coding: Coding, first: int, last: int) -> list[Tokens]:
        frames = self._length(first)
        payloads = [bytes(payload) for payload in self._payloads[first:last]]
        try:
            return coding.decode(payloads, frames)
        except CorruptError as error:
            self._restart(0, self._prior)
            index = _first_corrupt(self._header, self._prior, payloads, frames)
            where = first + index if self._header.coder.run_blocks == 1 else first
            raise CorruptError(f"block {where}: {error}", where) from error


def _first_corrupt(header: Header, prior: Prior | None, payloads: list[bytes], frames: int) -> int:
    """Index of the first payload that cannot be decoded, where no block needs another; all blocks
    have `frames` frames."""
    for index, payload in enumerate(payloads):
        try:
            Coding(header, prior).decode([payload], frames)
        except CorruptError:
            return index
    return 0


def decode_together(decodings: Sequence[Decoding], prior: Prior) -> None:
    """Decode short containers side by side. If one is damaged, none is decoded."""
    parts = [(decoding, decoding.parts(prior)) for decoding in decodings]
    try:
        decoded = iter(Coding.decode_together([part for _, some in parts for part in some]))
    except CorruptError:
        return
    for decoding, some in parts:
        if some:
            decoding.keep([next(decoded) for _ in some], prior)
