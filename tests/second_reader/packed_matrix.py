"""Linear maps of section 7, exact and quick enough without numpy.

A column of a matrix is kept as one big integer with 32 bits for each row. The sum of the columns,
each times its number of the vector, is then the product of matrix and vector with 32 bits for each
row: sums stay within 2^24, so that none reaches the next.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import cached_property

MIDDLE = 2**31


class LinearMap:
    """sum(matrix * vector) * factor + offset for each row."""

    def __init__(
        self, matrix: Sequence[Sequence[int]], factors: Sequence[int], offsets: Sequence[int]
    ) -> None:
        self.matrix, self.factors, self.offsets = matrix, factors, offsets

    @cached_property
    def middle(self) -> int:
        """2^31 for each row: makes all of them positive."""
        return int.from_bytes(struct.pack("<I", MIDDLE) * len(self.matrix), "little")

    @cached_property
    def columns(self) -> list[int]:
        """The columns as big integers, made when the map is first used."""
        layout = f"<{len(self.matrix)}I"
        positive = [[number + MIDDLE for number in row] for row in self.matrix]
        columns = (struct.pack(layout, *column) for column in zip(*positive, strict=True))
        return [int.from_bytes(column, "little") - self.middle for column in columns]

    def __call__(self, vector: Sequence[int]) -> list[int]:
        """The map of a vector of int8, of as many numbers as there are columns."""
        rows = len(self.matrix)
        packed = sum((c * v for c, v in zip(self.columns, vector, strict=True)), self.middle)
        sums = struct.unpack(f"<{rows}I", packed.to_bytes(4 * rows, "little"))
        rest = zip(sums, self.factors, self.offsets, strict=True)
        return [(s - MIDDLE) * factor + offset for s, factor, offset in rest]
