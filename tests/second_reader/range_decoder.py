"""Section 6.2 and the frequencies of section 7.1."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

from .cursor import Refused

WORD = 2**64 - 1
TOTAL = 2**24


def cumulative(weights: Sequence[int]) -> list[int]:
    """Section 7.1: where the symbols' frequencies begin, n + 1 numbers from 0 to 2^24."""
    rest, total = TOTAL - 2 * len(weights), sum(weights)
    frequencies = [2 + weight * rest // total for weight in weights]
    frequencies[weights.index(max(weights))] += TOTAL - sum(frequencies)
    return list(accumulate(frequencies, initial=0))


class RangeDecoder:
    """The symbols of one block's payload."""

    def __init__(self, payload: bytes) -> None:
        self.payload, self.at = payload, 0
        self.low, self.range = 0, WORD
        self.point = self.next_bytes(8)

    def next_bytes(self, size: int) -> int:
        """The next bytes of the payload, zeros after its end, as a big-endian number."""
        self.at += size
        return int.from_bytes(self.payload[self.at - size : self.at].ljust(size, b"\0"), "big")

    def symbol(self, starts: list[int]) -> int:
        """The next symbol, by the result of `cumulative` for its alphabet."""
        scale = self.range >> 24
        quantile = (self.point - self.low & WORD) // scale
        if quantile >= TOTAL:
            raise Refused("damaged", "a payload stands for no symbol")
        symbol = bisect_right(starts, quantile) - 1
        self.low = self.low + scale * starts[symbol] & WORD
        self.range = scale * (starts[symbol + 1] - starts[symbol])
        if self.range < 2**32:
            self.low = self.low << 32 & WORD
            self.range <<= 32
            self.point = (self.point << 32 | self.next_bytes(4)) & WORD
        return symbol
