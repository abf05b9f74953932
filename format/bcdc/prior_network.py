"""The network of a prior: a gated recurrent unit over tokens, in integers (SPEC section 7).

Matrix products run in float32 over whole numbers of at most 7 bits, at most 1024 to a sum, so
that every partial sum is below 2^24 and exact, in whatever order a library adds.
"""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
import numpy.typing as npt

from bcdc.fixed_point import ONE_BITS, Ints, lookup, sigmoid_table, tanh_table

MAX_WIDTH = 1024
SCALE_BITS = 16
_SMALL_SHIFT = 8
"""From units of 2^-15 to units of 2^-7."""

Small = npt.NDArray[np.int8]
Floats = npt.NDArray[np.float32]


@dataclasses.dataclass(frozen=True)
class Linear:
    """A matrix (out, in) of int8, and for each row a factor and an offset, int32.

    It stands for (matrix @ x * factor + offset) / 2^16, rounded down.
    """

    matrix: Small
    factor: npt.NDArray[np.int32]
    offset: npt.NDArray[np.int32]

    @functools.cached_property
    def _transposed(self) -> Floats:
        return np.ascontiguousarray(self.matrix.T, dtype=np.float32)

    @functools.cached_property
    def _factor(self) -> Ints:
        return self.factor.astype(np.int64)

    @functools.cached_property
    def _offset(self) -> Ints:
        return self.offset.astype(np.int64)

    def scaled(self, x: Floats) -> Ints:
        """Whole numbers (..., in) of at most 7 bits mapped to units of 2^-26, (..., out)."""
        sums: Ints = np.multiply(
            x @ self._transposed, self._factor, dtype=np.int64, casting="unsafe"
        )
        sums += self._offset
        return sums

    def __call__(self, x: Floats) -> Ints:
        """Whole numbers (..., in) of at most 7 bits mapped to units of 2^-10, (..., out)."""
        sums = self.scaled(x)
        sums >>= SCALE_BITS
        return sums


@dataclasses.dataclass(frozen=True)
class Head:
    """Makes logits for the tokens of one codebook from a state.

    `group_hidden` and `group`: state to hidden to logits of groups; `member_hidden`: state to
    hidden, to which a row of `group_shift` (groups, hidden), int16 in units of 2^-10, is added;
    `member`: one row a place, of which a group's are used.
    """

    group_hidden: Linear
    group: Linear
    member_hidden: Linear
    group_shift: npt.NDArray[np.int16]
    member: Linear

    @functools.cached_property
    def _members(self) -> tuple[Floats, Ints, Ints]:
        """The map `member` by groups: (groups, members, hidden), and (groups, members) twice."""
        groups, hidden = self.group_shift.shape
        return (
            self.member.matrix.astype(np.float32).reshape(groups, -1, hidden),
            self.member.factor.astype(np.int64).reshape(groups, -1),
            self.member.offset.astype(np.int64).reshape(groups, -1),
        )

    def group_logits(self, state: Floats) -> Ints:
        """Logits (n, groups) of states (n, width)."""
        return self.group(lookup(_small_tanh_table(), self.group_hidden(state)))

    def member_logits(self, state: Floats, group: npt.NDArray[np.int64]) -> Ints:
        """Logits (n, members) of states (n, width) and the groups (n,) that were chosen."""
        raw = self.member_hidden(state)
        raw += self.group_shift.take(group, axis=0)
        hidden = lookup(_small_tanh_table(), raw)
        matrix, factor, offset = self._members
        sums = np.matmul(matrix.take(group, axis=0), hidden[..., None])[..., 0]
        logits: Ints = sums.astype(np.int64)
        logits *= factor.take(group, axis=0)
        logits += offset.take(group, axis=0)
        logits >>= SCALE_BITS
        return logits


@dataclasses.dataclass(frozen=True)
class Network:
    """Predicts each token of a sequence from those before it.

    `embedding`: int8 (1 + all codebook sizes, inputs), row 0 for the start, then a row for each
    code of the first codebook, and so on; `from_input`, `from_state`: to the reset, update and
    candidate parts, 3 * width rows each; `heads`: one a codebook.
    """

    embedding: Small
    from_input: Linear
    from_state: Linear
    heads: tuple[Head, ...]

    @functools.cached_property
    def _inputs(self) -> Floats:
        return self.embedding.astype(np.float32)

    @property
    def width(self) -> int:
        """Numbers in a state."""
        return int(self.from_state.matrix.shape[1])

    def input_parts(self, rows: npt.NDArray[np.int64]) -> Ints:
        """What embedding rows (...) add to the three parts, in units of 2^-26: (..., 3 * width)."""
        return self.from_input.scaled(self._inputs[rows])

    def first_state(self, count: int) -> Ints:
        """States before the first token, (count, width), in units of 2^-15."""
        return np.zeros((count, self.width), dtype=np.int64)

    def next_state(self, parts: Ints, state: Ints) -> Ints:
        """The states (n, width) that follow `state` (n, width), given the `input_parts`
        (n, 3 * width) of the last tokens."""
        width = self.width
        own = self.from_state.scaled(small(state))
        raw = parts[:, : 2 * width] + own[:, : 2 * width]
        raw >>= SCALE_BITS
        gates = lookup(sigmoid_table(), raw)
        reset, update = gates[:, :width], gates[:, width:]
        candidate = own[:, 2 * width :] >> SCALE_BITS
        candidate *= reset
        candidate >>= ONE_BITS
        candidate += parts[:, 2 * width :] >> SCALE_BITS
        fresh = lookup(tanh_table(), candidate)
        change = state - fresh
        change *= update
        change += 1 << (ONE_BITS - 1)
        change >>= ONE_BITS
        change += fresh
        return change


@functools.cache
def _small_tanh_table() -> Floats:
    """`small` of each entry of the table of tanh."""
    return small(tanh_table())


def small(values: Ints) -> Floats:
    """Units of 2^-15 rounded to units of 2^-7, at most 127, as whole float32 numbers."""
    rounded = values + (1 << (_SMALL_SHIFT - 1))
    rounded >>= _SMALL_SHIFT
    limited: Floats = np.minimum(rounded, 127, out=rounded).astype(np.float32)
    return limited
