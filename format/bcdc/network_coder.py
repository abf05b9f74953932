"""The coder `prior`: a network predicts each token (SPEC section 6.6)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from bcdc import range_coder
from bcdc.grouping import Grouping
from bcdc.header import Geometry
from bcdc.integer_math import frequencies
from bcdc.network import Network, small
from bcdc.static_coder import picked
from bcdc.tokens import Tokens

_ROWS_AT_ONCE = 2048
"""States whose distributions are worked out together; bounds memory."""
_STATES_AT_ONCE = 1 << 18
"""States that are kept while encoding, beyond those of one block; bounds memory."""


class NetworkCoder:
    """Codes blocks with a network; a block, and a channel in it, needs no other."""

    def __init__(
        self, network: Network, groupings: Sequence[Grouping], geometry: Geometry, channels: int
    ) -> None:
        self._network, self._groupings = network, groupings
        self._channels, self._codebooks = channels, geometry.codebooks
        self._sizes = geometry.codebook_sizes
        self._first_row = np.cumsum([1, *self._sizes])[:-1]

    def encode(self, blocks: list[Tokens]) -> list[bytes]:
        """Payloads of blocks (channels, frames, codebooks), all of the same number of frames."""
        step = max(1, _STATES_AT_ONCE // max(1, blocks[0].size)) if blocks else 1
        starts = range(0, len(blocks), step)
        return [data for at in starts for data in self._encode(blocks[at : at + step])]

    def _encode(self, blocks: list[Tokens]) -> list[bytes]:
        rows = np.stack([self._places(block) for block in blocks])
        sequences = rows.reshape(len(blocks) * self._channels, -1)
        states = self._states(sequences)
        left = np.zeros((*sequences.shape, 2), dtype=np.int64)
        frequency = np.full(left.shape, range_coder.TOTAL)
        for k in range(self._codebooks):
            part = (slice(None), slice(k, None, self._codebooks))
            count = sequences[part].size
            found = self._intervals(k, states[part].reshape(count, -1), sequences[part].reshape(-1))
            left[part], frequency[part] = (x.reshape(*sequences[part].shape, 2) for x in found)
        pairs = zip(left.reshape(len(rows), -1), frequency.reshape(len(rows), -1), strict=True)
        return [
            range_coder.encode(a[b < range_coder.TOTAL], b[b < range_coder.TOTAL]) for a, b in pairs
        ]

    def _places(self, block: Tokens) -> npt.NDArray[np.int64]:
        places = [group.place[block[:, :, k]] for k, group in enumerate(self._groupings)]
        return np.stack(places, axis=2)

    def _states(self, sequences: npt.NDArray[np.int64]) -> npt.NDArray[np.int8]:
        """Small states (n, length, width) before each token of sequences (n, length) of places."""
        network = self._network
        state = network.first_state(len(sequences))
        found = np.empty((*sequences.shape, network.width), dtype=np.int8)
        rows = np.zeros(len(sequences), dtype=np.int64)
        for at in range(sequences.shape[1]):
            state = network.next_state(network.input_parts(rows), state)
            found[:, at] = small(state)
            rows = sequences[:, at] + self._first_row[at % self._codebooks]
        return found

    def _intervals(
        self, k: int, states: npt.NDArray[np.int8], places: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Sums before, and frequencies of, group and member of places (n,): both (n, 2)."""
        grouping, head = self._groupings[k], self._network.heads[k]
        left = np.zeros((len(places), 2), dtype=np.int64)
        frequency = np.full(left.shape, range_coder.TOTAL)
        groups, members = np.divmod(places, grouping.members)
        for start in range(0, len(places), _ROWS_AT_ONCE):
            some = slice(start, start + _ROWS_AT_ONCE)
            state, group = states[some].astype(np.float32), groups[some]
            found = picked(frequencies(head.group_logits(state)), group)
            left[some, 0], frequency[some, 0] = found
            if grouping.members > 1:
                found = picked(frequencies(head.member_logits(state, group)), members[some])
                left[some, 1], frequency[some, 1] = found
        return left, frequency

    def decode(self, payloads: list[bytes], frames: int) -> list[Tokens]:
        """Tokens of payloads of blocks of `frames` frames.

        The blocks advance side by side, so that many cost little more than one.

        Raises:
            CorruptError: impossible tokens.
        """
        readers = [range_coder.Reader(payload) for payload in payloads]
        shape = (len(payloads), self._channels, frames * self._codebooks)
        places = np.empty(shape, dtype=np.int64)
        for channel in range(self._channels):
            self._decode_channel(readers, places[:, channel])
        table = places.reshape(len(payloads), self._channels, frames, self._codebooks)
        tokens = [group.tokens(table[..., k]) for k, group in enumerate(self._groupings)]
        return list(np.stack(tokens, axis=-1))

    def _decode_channel(
        self, readers: list[range_coder.Reader], places: npt.NDArray[np.int64]
    ) -> None:
        """Fill places (n, length), one row a reader."""
        network = self._network
        state = network.first_state(len(readers))
        rows = np.zeros(len(readers), dtype=np.int64)
        for at in range(places.shape[1]):
            k = at % self._codebooks
            state = network.next_state(network.input_parts(rows), state)
            places[:, at] = self._choose(readers, k, small(state))
            # Impossible places are found at the end; until then they must name some row.
            rows = np.minimum(places[:, at], self._sizes[k] - 1) + self._first_row[k]

    def _choose(
        self, readers: list[range_coder.Reader], k: int, state: npt.NDArray[np.float32]
    ) -> npt.NDArray[np.int64]:
        head, members = self._network.heads[k], self._groupings[k].members
        rows = frequencies(head.group_logits(state))
        found = [reader.symbol(row) for reader, row in zip(readers, rows, strict=True)]
        group = np.array(found, dtype=np.int64)
        if members == 1:
            return group
        rows = frequencies(head.member_logits(state, group))
        found = [reader.symbol(row) for reader, row in zip(readers, rows, strict=True)]
        return group * members + np.array(found, dtype=np.int64)
