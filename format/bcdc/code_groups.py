"""Codebooks cut into groups of similar codes, so that a token is two small symbols
(SPEC section 6.3)."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
import numpy.typing as npt

from bcdc.errors import CorruptError
from bcdc.tokens import Tokens

Places = npt.NDArray[np.int64]


def group_shape(size: int) -> tuple[int, int]:
    """Number of groups, at least 2, and members of each, for a codebook of `size` entries.

    The last group may have places that no code takes.
    """
    members = 1 << ((size - 1).bit_length() // 2)
    return -(-size // members), members


@dataclasses.dataclass(frozen=True)
class Grouping:
    """An order of a codebook's codes: `order` (size,) names the code at each place.

    A token's place // `members` is its group, the remainder its number within the group.
    """

    order: npt.NDArray[np.int64]

    def __post_init__(self) -> None:
        if not np.array_equal(np.sort(self.order), np.arange(len(self.order))):
            raise ValueError("the order of a codebook is not a permutation")

    @property
    def groups(self) -> int:
        """Number of groups."""
        return group_shape(len(self.order))[0]

    @property
    def members(self) -> int:
        """Places in each group."""
        return group_shape(len(self.order))[1]

    @functools.cached_property
    def place(self) -> Places:
        """The place of each code, (size,)."""
        return np.argsort(self.order, kind="stable")

    def tokens(self, places: Places) -> Tokens:
        """The codes (...) at places (...).

        Raises:
            CorruptError: no code has one of them.
        """
        if places.size and int(places.max()) >= len(self.order):
            raise CorruptError("a token is outside its codebook")
        return self.order[places].astype(np.int32)
