"""Decoding the blocks of one container, in stretches."""

from __future__ import annotations

import numpy as np

from bcdc.coders import Coding
from bcdc.errors import CorruptError
from bcdc.header import Header
from bcdc.prior_file import Prior
from bcdc.tokens import Tokens

_AT_ONCE = 64
"""Blocks decoded side by side; bounds memory."""


class Decoding:
    """Tokens of blocks, given all payloads and the number of frames of a container.

    Stretches that follow one another go on from where the last one stopped.
    """

    def __init__(self, header: Header, payloads: list[memoryview], frames: int) -> None:
        self._header, self._payloads, self._frames = header, payloads, frames
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
        shape = (self._header.channels, 0, self._header.geometry.codebooks)
        return np.concatenate([np.zeros(shape, dtype=np.int32), *parts], axis=1)

    def _decode(self, last: int) -> list[Tokens]:
        """The blocks from the next one up to but not including `last`."""
        if self._coding is None:
            self._coding = Coding(self._header, self._prior)
        found: list[Tokens] = []
        ends = {min(last, self._frames // self._header.block_frames), last}
        for end in sorted(end for end in ends if end > self._next):
            found += self._same_length(self._coding, self._next, end)
            self._next = end
        self._last = found[-1]
        return found

    def _same_length(self, coding: Coding, first: int, last: int) -> list[Tokens]:
        full = self._header.block_frames
        frames = min(full, self._frames - first * full)
        payloads = [bytes(payload) for payload in self._payloads[first:last]]
        try:
            return coding.decode(payloads, frames)
        except CorruptError as error:
            self._restart(0, self._prior)
            index = _culprit(self._header, self._prior, payloads, frames)
            where = first + index if self._header.coder.run_blocks == 1 else first
            raise CorruptError(f"block {where}: {error}", where) from error


def _culprit(header: Header, prior: Prior | None, payloads: list[bytes], frames: int) -> int:
    """Which of blocks of one length cannot be decoded, where a block needs no other."""
    for index, payload in enumerate(payloads):
        try:
            Coding(header, prior).decode([payload], frames)
        except CorruptError:
            return index
    return 0
