"""The coder `prior`: a network predicts each token (SPEC section 6.5)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from bcdc import range_coder
from bcdc.blas_threads import one_thread
from bcdc.code_groups import Grouping
from bcdc.fixed_point import frequencies
from bcdc.header import Geometry
from bcdc.prior_network import Network, small
from bcdc.range_coder import Frequencies
from bcdc.tokens import Tokens

_ROWS_AT_ONCE = 2048
"""States whose distributions are computed together; bounds memory."""
_STATES_AT_ONCE = 1 << 18
"""States that are kept while encoding, beyond those of one block; bounds memory."""

_DECODED_AT_ONCE = 256
"""Blocks that are decoded side by side; bounds memory."""


class NetworkCoder:
    """Codes blocks with a network; no block, and no channel of a block, needs another."""

    def __init__(
        self, network: Network, groupings: Sequence[Grouping], geometry: Geometry, channels: int
    ) -> None:
        self._network, self._groupings = network, groupings
        self._channels, self._codebooks = channels, geometry.codebooks
        self._sizes = geometry.codebook_sizes
        self._first_row = np.cumsum([1, *self._sizes])[:-1]

    def encode(self, blocks: Sequence[Tokens]) -> list[bytes]:
        """Payloads of blocks (channels, frames, codebooks), of any shapes.

        The blocks advance side by side, so that many take little longer than one.
        """
        payloads = [b""] * len(blocks)
        for batch in _batches(blocks):
            with one_thread():
                coded = self._encode([blocks[i] for i in batch])
            for i, payload in zip(batch, coded, strict=True):
                payloads[i] = payload
        return payloads

    def _encode(self, blocks: list[Tokens]) -> list[bytes]:
        """Payloads of blocks, the longest first."""
        rows = [row for block in blocks for row in self._places(block)]
        lengths = np.array([len(row) for row in rows])
        sequences = np.zeros((len(rows), int(lengths.max(initial=0))), dtype=np.int64)
        there = np.arange(sequences.shape[1]) < lengths[:, None]
        sequences[there] = np.concatenate(rows)
        states = self._states(sequences, lengths)
        left = np.zeros((*sequences.shape, 2), dtype=np.int64)
        frequency = np.full(left.shape, range_coder.TOTAL)
        for k in range(self._codebooks):
            part = np.zeros_like(there)
            part[:, k :: self._codebooks] = there[:, k :: self._codebooks]
            left[part], frequency[part] = self._intervals(k, states[part], sequences[part])
        ends = np.cumsum([len(block) for block in blocks])[:-1]
        pairs = zip(np.split(left, ends), np.split(frequency, ends), strict=True)
        return [
            range_coder.encode(a[b < range_coder.TOTAL], b[b < range_coder.TOTAL]) for a, b in pairs
        ]

    def _places(self, block: Tokens) -> npt.NDArray[np.int64]:
        """Places (channels, frames * codebooks) of a block."""
        places = [group.place[block[:, :, k]] for k, group in enumerate(self._groupings)]
        return np.stack(places, axis=2).reshape(len(block), -1)

    def _states(
        self, sequences: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.int8]:
        """Small states (n, length, width) before each token of sequences (n, length) of places,
        the longest first."""
        network = self._network
        state = network.first_state(len(sequences))
        states = np.empty((*sequences.shape, network.width), dtype=np.int8)
        rows = np.zeros(len(sequences), dtype=np.int64)
        for at, active in enumerate(_active(lengths)):
            state = network.next_state(network.input_parts(rows[:active]), state[:active])
            states[:active, at] = small(state)
            rows = sequences[:, at] + self._first_row[at % self._codebooks]
        return states

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
            rows = frequencies(head.group_logits(state))
            left[some, 0], frequency[some, 0] = _intervals_of(rows, group)
            if grouping.members > 1:
                rows = frequencies(head.member_logits(state, group))
                left[some, 1], frequency[some, 1] = _intervals_of(rows, members[some])
        return left, frequency

    def decode(self, payloads: Sequence[bytes], frames: int) -> list[Tokens]:
        """Tokens of payloads of blocks of `frames` frames.

        Raises:
            CorruptError: impossible tokens.
        """
        return self.decode_shapes(payloads, [(self._channels, frames)] * len(payloads))

    def decode_shapes(
        self, payloads: Sequence[bytes], shapes: Sequence[tuple[int, int]]
    ) -> list[Tokens]:
        """Tokens of payloads of blocks of any shapes (channels, frames), side by side.

        Raises:
            CorruptError: impossible tokens, in any of them.
        """
        order = sorted(range(len(payloads)), key=lambda i: -shapes[i][1])
        tokens = [np.zeros((0, 0, 0), dtype=np.int32)] * len(payloads)
        for start in range(0, len(order), _DECODED_AT_ONCE):
            batch = order[start : start + _DECODED_AT_ONCE]
            with one_thread():
                decoded = self._decode([payloads[i] for i in batch], [shapes[i] for i in batch])
            for i, places in zip(batch, decoded, strict=True):
                tokens[i] = self._tokens(places)
        return tokens

    def _decode(
        self, payloads: list[bytes], shapes: list[tuple[int, int]]
    ) -> list[npt.NDArray[np.int64]]:
        """Places (channels, frames * codebooks) of payloads of blocks, the longest first."""
        readers = [range_coder.Reader(payload) for payload in payloads]
        places = [np.empty((c, n * self._codebooks), dtype=np.int64) for c, n in shapes]
        for channel in range(max(c for c, _ in shapes)):
            some = [i for i, (count, _) in enumerate(shapes) if count > channel]
            lengths = np.array([places[i].shape[1] for i in some])
            rows = self._decode_channel([readers[i] for i in some], lengths)
            for i, row in zip(some, rows, strict=True):
                places[i][channel] = row[: places[i].shape[1]]
        return places

    def _tokens(self, places: npt.NDArray[np.int64]) -> Tokens:
        """Tokens (channels, frames, codebooks) at places (channels, frames * codebooks)."""
        tokens = [
            group.tokens(places[:, k :: self._codebooks]) for k, group in enumerate(self._groupings)
        ]
        return np.stack(tokens, axis=-1)

    def _decode_channel(
        self, readers: list[range_coder.Reader], lengths: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.int64]:
        """Places (n, length) of one channel of each reader's block, the longest first."""
        network = self._network
        places = np.zeros((len(readers), int(lengths.max(initial=0))), dtype=np.int64)
        state = network.first_state(len(readers))
        rows = np.zeros(len(readers), dtype=np.int64)
        for at, active in enumerate(_active(lengths)):
            k = at % self._codebooks
            state = network.next_state(network.input_parts(rows[:active]), state[:active])
            place = self._read_places(readers[:active], k, small(state))
            places[:active, at] = place
            # Impossible places are refused at the end; until then they must name some row.
            rows = np.minimum(place, self._sizes[k] - 1) + self._first_row[k]
        return places

    def _read_places(
        self, readers: list[range_coder.Reader], k: int, state: npt.NDArray[np.float32]
    ) -> npt.NDArray[np.int64]:
        """The next place (n,) of codebook `k` from each of n readers, given states (n, width)."""
        head, members = self._network.heads[k], self._groupings[k].members
        group = range_coder.symbols(readers, frequencies(head.group_logits(state)))
        if members == 1:
            return group
        rows = frequencies(head.member_logits(state, group))
        return group * members + range_coder.symbols(readers, rows)


def _batches(blocks: Sequence[Tokens]) -> Iterator[list[int]]:
    """Indices of all blocks, the longest first, in batches of at most `_STATES_AT_ONCE` states
    after padding, or of one block."""
    batch: list[int] = []
    size = 0
    for i in sorted(range(len(blocks)), key=lambda i: -blocks[i].shape[1]):
        longest = blocks[batch[0] if batch else i][0].size
        more = len(blocks[i]) * longest  # shorter ones are padded
        if batch and size + more > _STATES_AT_ONCE:
            yield batch
            batch, size = [], 0
            more = blocks[i].size
        batch.append(i)
        size += more
    if batch:
        yield batch


def _active(lengths: npt.NDArray[np.int64]) -> list[int]:
    """For each step, how many sequences are longer than that, the longest being first."""
    steps = np.arange(int(lengths.max(initial=0)))
    active: list[int] = np.searchsorted(-lengths, -steps, side="left").tolist()
    return active


def _intervals_of(
    rows: Frequencies, symbols: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Sum of the frequencies before each symbol, and its own, both (...), from rows (..., n)."""
    ends = rows.cumsum(axis=-1)
    index = symbols[..., None]
    frequency = np.take_along_axis(rows, index, axis=-1)[..., 0]
    return np.take_along_axis(ends, index, axis=-1)[..., 0] - frequency, frequency
