"""The coder `static`: tables of how often a token follows another (SPEC section 6.4)."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from bcdc import range_coder
from bcdc.code_groups import Grouping
from bcdc.fixed_point import UNIT_BITS, frequencies
from bcdc.header import Geometry
from bcdc.range_coder import Frequencies
from bcdc.tokens import Tokens

CLASS_BITS = 5
"""Bits of the class of the previous token that chooses a member table."""
COST_BITS = 4
"""Costs are stored in units of 1/16 bit."""

Costs = npt.NDArray[np.uint8]


def class_count(groups: int) -> int:
    """Classes of a previous token for the member tables, that of none included."""
    return 1 + min(groups, 1 << CLASS_BITS)


def class_of(group: npt.NDArray[np.int64], groups: int) -> npt.NDArray[np.int64]:
    """The class of a previous token by its group; group -1, that of none, has class 0."""
    return 1 + group * min(groups, 1 << CLASS_BITS) // groups


@dataclasses.dataclass(frozen=True)
class StaticTable:
    """What `static` knows of one codebook.

    `group_costs`: uint8 (groups + 1, groups), of a group by the previous token's, row 0 being for
    none; `member_costs`: uint8 (groups, classes, members). Costs are in 1/16 bit.
    """

    grouping: Grouping
    group_costs: Costs
    member_costs: Costs

    def group_frequencies(self, previous: npt.NDArray[np.int64]) -> Frequencies:
        """Frequencies (..., groups) by the group before (...), -1 for none."""
        return _of_costs(self.group_costs[previous + 1])

    def member_frequencies(
        self, group: npt.NDArray[np.int64], previous: npt.NDArray[np.int64]
    ) -> Frequencies:
        """Frequencies (..., members) by the group and the group before, both (...)."""
        return _of_costs(self.member_costs[group, class_of(previous, self.grouping.groups)])


def _of_costs(costs: Costs) -> Frequencies:
    return frequencies(-(costs.astype(np.int64) << (UNIT_BITS - COST_BITS)))


class StaticCoder:
    """Codes blocks by tables; a block needs no other."""

    def __init__(self, tables: tuple[StaticTable, ...], geometry: Geometry, channels: int) -> None:
        self._tables, self._geometry, self._channels = tables, geometry, channels
        self._ready: dict[tuple[int, int, int], range_coder.Table] = {}

    def encode(self, blocks: list[Tokens]) -> list[bytes]:
        """Payloads of blocks (channels, frames, codebooks)."""
        return [self._encode(block) for block in blocks]

    def decode(self, payloads: list[bytes], frames: int) -> list[Tokens]:
        """Tokens of payloads of blocks of `frames` frames.

        Raises:
            CorruptError: impossible tokens.
        """
        return [self._decode(payload, frames) for payload in payloads]

    def _encode(self, block: Tokens) -> bytes:
        # Two symbols a token, its group and its member: (channels, frames, codebooks, 2).
        left = np.zeros((*block.shape, 2), dtype=np.int64)
        frequency = np.full(left.shape, range_coder.TOTAL)
        for channel, k in np.ndindex(block.shape[0], block.shape[2]):
            table = self._tables[k]
            group, member = np.divmod(
                table.grouping.place[block[channel, :, k]], table.grouping.members
            )
            previous = np.append(-1, group[:-1])
            at = (channel, slice(None), k)
            rows = table.group_frequencies(previous)
            left[at][:, 0], frequency[at][:, 0] = picked(rows, group)
            if table.grouping.members > 1:
                rows = table.member_frequencies(group, previous)
                left[at][:, 1], frequency[at][:, 1] = picked(rows, member)
        coded = frequency.reshape(-1) < range_coder.TOTAL
        return range_coder.encode(left.reshape(-1)[coded], frequency.reshape(-1)[coded])

    def _decode(self, payload: bytes, frames: int) -> Tokens:
        places = np.empty((self._channels, frames, self._geometry.codebooks), dtype=np.int64)
        reader = range_coder.Reader(payload)
        for channel in range(self._channels):
            previous = [-1] * len(self._tables)
            for frame in range(frames):
                for k, table in enumerate(self._tables):
                    group = reader.symbol_of(self._group_table(k, previous[k]))
                    member, members = 0, table.grouping.members
                    if members > 1:
                        member = reader.symbol_of(self._member_table(k, group, previous[k]))
                    places[channel, frame, k] = group * members + member
                    previous[k] = group
        tokens = [table.grouping.tokens(places[..., k]) for k, table in enumerate(self._tables)]
        return np.stack(tokens, axis=-1)

    def _group_table(self, k: int, previous: int) -> range_coder.Table:
        key = (k, -1, previous)
        if key not in self._ready:
            rows = self._tables[k].group_frequencies(np.array(previous))
            self._ready[key] = range_coder.Table(rows)
        return self._ready[key]

    def _member_table(self, k: int, group: int, previous: int) -> range_coder.Table:
        grouping = self._tables[k].grouping
        kind = int(class_of(np.array(previous), grouping.groups))
        key = (k, group, kind)
        if key not in self._ready:
            rows = self._tables[k].member_frequencies(np.array(group), np.array(previous))
            self._ready[key] = range_coder.Table(rows)
        return self._ready[key]


def picked(
    rows: Frequencies, symbols: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Sum of the frequencies before each symbol, and its own, both (...), from rows (..., n)."""
    ends = rows.cumsum(axis=-1)
    index = symbols[..., None]
    frequency = np.take_along_axis(rows, index, axis=-1)[..., 0]
    return np.take_along_axis(ends, index, axis=-1)[..., 0] - frequency, frequency
