"""The range coder, from the constriction library, fed with exact integers (SPEC section 6.2).

constriction takes probabilities as floats and makes its own integers of them. Given float64
weights that are whole numbers and add up to 2^24 less the number of symbols, its scale is exactly
one and every sum exact, so that the integers it uses are these plus one, on every machine. It
notices little of damaged data: the container has lengths and checksums for that.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import constriction  # type: ignore[import-untyped]
import numpy as np
import numpy.typing as npt

from bcdc.errors import CorruptError

TOTAL = 1 << 24
"""What the frequencies of an alphabet add up to."""
MIN_FREQUENCY = 2
"""The least frequency of a symbol; `encode` needs something on either side of it."""

Frequencies = npt.NDArray[np.int64]

_MODEL = constriction.stream.model.Categorical(perfect=False)
_STATE_BITS, _WORD_BYTES = 64, 4


def encode(left: Frequencies, frequency: Frequencies) -> bytes:
    """The shortest bytes for n symbols, each given by its frequency and the sum of those before.

    Both arrays are (n,), with 0 <= left and left + frequency <= TOTAL, and frequency as well as
    what lies left and right of it at least MIN_FREQUENCY or, left and right, nothing.
    """
    right = TOTAL - left - frequency
    if min(len(left), 1) and min(int(left.min()), int(right.min()), int(frequency.min()) - 1) < 0:
        raise ValueError("frequencies out of range")
    weights = np.stack([left, frequency, right], axis=1)
    symbols = np.ones(len(left), dtype=np.int32)
    # A symbol at either end of its alphabet: split the other side, since no weight may be 0.
    weights[left == 0] = np.stack([frequency, right - 1, np.ones_like(left)], axis=1)[left == 0]
    weights[right == 0] = np.stack([np.ones_like(left), left - 1, frequency], axis=1)[right == 0]
    symbols[left == 0], symbols[right == 0] = 0, 2
    encoder = constriction.stream.queue.RangeEncoder()
    if len(left):
        encoder.encode(symbols, _MODEL, (weights - 1).astype(np.float64))
    return _shortest(encoder)


def _shortest(encoder: Any) -> bytes:
    """The fewest bytes that, with zeros after them, lie in the coder's last interval."""
    position: tuple[int, tuple[int, int]] = encoder.pos()
    words, (lower, width) = position
    compressed: bytes = encoder.get_compressed().astype(">u4").tobytes()
    size = words * _WORD_BYTES + _STATE_BITS // 8
    point = int.from_bytes(compressed.ljust(size, b"\0")[:size], "big")
    # The sealed point lies in the interval, and the interval is narrower than its last 64 bits.
    start = point - ((point - lower) & ((1 << _STATE_BITS) - 1))
    # At most one multiple of 2^64 lies in it: where one does, its trailing zeros are dropped.
    for bits in range(_STATE_BITS, -1, -8):
        value = -(-start >> bits) << bits
        if value < start + width:
            return int(value).to_bytes(size, "big").rstrip(b"\0")
    raise AssertionError("an interval is never empty")


class Table:
    """Frequencies (n,) of an alphabet that is used for many symbols."""

    def __init__(self, frequencies: Frequencies) -> None:
        self.frequencies = frequencies

    @functools.cached_property
    def ends(self) -> Frequencies:
        """Running sums of the frequencies."""
        return self.frequencies.cumsum()

    @functools.cached_property
    def model(self) -> Any:
        """What constriction decodes with."""
        weights = _weights(self.frequencies)
        return constriction.stream.model.Categorical(weights, perfect=False, lazy=False)


class Writer:
    """Collects symbols one by one; the counterpart of `Reader`."""

    def __init__(self) -> None:
        self._left: list[int] = []
        self._frequency: list[int] = []

    def symbol(self, frequencies: Frequencies, symbol: int) -> int:
        """Append a symbol, given the frequencies (n,) of its alphabet, n at least 2."""
        self._left.append(int(frequencies[:symbol].sum()))
        self._frequency.append(int(frequencies[symbol]))
        return symbol

    def symbol_of(self, table: Table, symbol: int) -> int:
        """Append a symbol of a table's alphabet."""
        frequency = int(table.frequencies[symbol])
        self._left.append(int(table.ends[symbol]) - frequency)
        self._frequency.append(frequency)
        return symbol

    def finish(self) -> bytes:
        """All that was appended, as `encode` gives it."""
        return encode(np.array(self._left, np.int64), np.array(self._frequency, np.int64))


class Reader:
    """Reads symbols from bytes of `encode`; beyond their end there are zeros.

    `symbol` and `symbol_of` take a symbol as those of `Writer` do, and ignore it.
    """

    def __init__(self, data: bytes) -> None:
        padded = data + bytes(-len(data) % _WORD_BYTES)
        words = np.frombuffer(padded, dtype=">u4").astype(np.uint32)
        self._decoder = constriction.stream.queue.RangeDecoder(words)

    def symbol(self, frequencies: Frequencies, _: int = 0) -> int:
        """The next symbol, given the frequencies (n,) of its alphabet, n at least 2.

        Raises:
            CorruptError: the bytes stand for no symbols.
        """
        return self.symbol_by(_weights(frequencies)[None])

    def symbol_by(self, weights: npt.NDArray[np.float64]) -> int:
        """The next symbol, given the frequencies less one (1, n) of its alphabet.

        Raises:
            CorruptError: the bytes stand for no symbols.
        """
        return int(self._decode(_MODEL, weights)[0])

    def symbol_of(self, table: Table, _: int = 0) -> int:
        """The next symbol of a table's alphabet.

        Raises:
            CorruptError: the bytes stand for no symbols.
        """
        return int(self._decode(table.model))

    def _decode(self, *arguments: Any) -> Any:
        try:
            return self._decoder.decode(*arguments)
        except AssertionError as error:
            raise CorruptError("its bytes stand for no tokens") from error


def symbols(readers: Sequence[Reader], rows: Frequencies) -> npt.NDArray[np.int64]:
    """The next symbol of each of n readers, given a row of the frequencies (n, m) each.

    Raises:
        CorruptError: the bytes of one stand for no symbols.
    """
    weights = _weights(rows)[:, None]
    read = [reader.symbol_by(row) for reader, row in zip(readers, weights, strict=True)]
    return np.array(read, dtype=np.int64)


def _weights(frequencies: Frequencies) -> npt.NDArray[np.float64]:
    """What constriction is given for frequencies; it adds one to each."""
    return np.subtract(frequencies, 1, dtype=np.float64)
