"""The coder `adaptive`: learns from the recording itself (SPEC section 6.4).

A token is first looked up among those that followed the previous token earlier; the previous token
itself is always one of them. Otherwise it is coded by how often each token has occurred.
"""

from __future__ import annotations

import numpy as np

from bcdc import range_coder
from bcdc.fixed_point import count_frequencies
from bcdc.header import Coder, Geometry
from bcdc.range_coder import Frequencies
from bcdc.tokens import Tokens

REFRESH = 64
"""Tokens of a codebook after which the table of how often each occurs is computed again."""
_AGES = 32

Coding = range_coder.Writer | range_coder.Reader


class AdaptiveCoder:
    """Codes consecutive blocks of one recording, starting with the first block of a run."""

    def __init__(self, geometry: Geometry, channels: int) -> None:
        self._geometry, self._channels = geometry, channels
        self._blocks = 0
        self._forget()

    def encode(self, blocks: list[Tokens]) -> list[bytes]:
        """Payloads of the next blocks (channels, frames, codebooks)."""
        payloads = []
        for block in blocks:
            writer = range_coder.Writer()
            self._code(writer, block)
            payloads.append(writer.finish())
        return payloads

    def decode(self, payloads: list[bytes], frames: int) -> list[Tokens]:
        """Tokens of the payloads of the next blocks, all of `frames` frames.

        Raises:
            CorruptError: impossible tokens.
        """
        shape = (self._channels, frames, self._geometry.codebooks)
        blank = np.zeros(shape, dtype=np.int32)
        return [self._code(range_coder.Reader(payload), blank) for payload in payloads]

    def learn(self, block: Tokens) -> None:
        """Learn from the next block (channels, frames, codebooks), whose tokens were stored raw."""
        self._code(range_coder.Writer(), block)

    def _forget(self) -> None:
        self._books = [_Codebook(size) for size in self._geometry.codebook_sizes]
        self._last: list[int | None] = [None] * (self._channels * self._geometry.codebooks)

    def _code(self, coding: Coding, block: Tokens) -> Tokens:
        if self._blocks % Coder.ADAPTIVE.run_blocks == 0:
            self._forget()
        self._blocks += 1
        tokens: list[int] = []
        count = self._geometry.codebooks
        for at, token in enumerate(block.reshape(-1).tolist()):
            book, k = at // (block.shape[1] * count) * count + at % count, at % count
            token = self._books[k].code(coding, self._last[book], token)
            self._last[book] = token
            tokens.append(token)
        return np.array(tokens, dtype=np.int32).reshape(block.shape)


class _Codebook:
    """The statistics of one codebook so far."""

    def __init__(self, size: int) -> None:
        self._counts = np.ones(size, dtype=np.int64)
        self._coded = 0
        self._table = range_coder.Table(count_frequencies(self._counts))
        self._followers: dict[int, _Followers] = {}
        self._known = [[2, 1] for _ in range(_AGES)]
        """For each age, how often a token was new and how often known."""

    def code(self, coding: Coding, previous: int | None, token: int) -> int:
        """Code a token that follows `previous` in its channel, and learn from it."""
        if previous is None:
            token = coding.symbol_of(self._table, token)
        else:
            followers = self._followers.setdefault(previous, _Followers(previous))
            counts = self._known[followers.age()]
            known = coding.symbol(_flag(*counts), int(token in followers))
            counts[known] += 2
            token = followers.code(coding, token) if known else coding.symbol_of(self._table, token)
            followers.add(token)
        self._counts[token] += 1
        self._coded += 1
        if self._coded % REFRESH == 0:
            self._table = range_coder.Table(count_frequencies(self._counts))
        return token


class _Followers:
    """Tokens that have followed a token, in order of their first time, and how often each."""

    def __init__(self, token: int) -> None:
        self._tokens, self._places, self._total = [token], {token: 0}, 1
        self._counts = np.ones(4, dtype=np.int64)  # with room at its end for more of them

    def __contains__(self, token: int) -> bool:
        return token in self._places

    def age(self) -> int:
        """How much is known, on a scale with two steps an octave."""
        bits = self._total.bit_length()
        half = self._total >> (bits - 2) & 1 if bits > 1 else 0
        return min(2 * bits - 2 + half, _AGES - 1)

    def code(self, coding: Coding, token: int) -> int:
        """Code a token that is one of them."""
        if len(self._tokens) == 1:
            return self._tokens[0]
        counts = self._counts[: len(self._tokens)]
        return self._tokens[coding.symbol(count_frequencies(counts), self._places.get(token, 0))]

    def add(self, token: int) -> None:
        """Count one more follower."""
        self._total += 1
        place = self._places.setdefault(token, len(self._tokens))
        if place < len(self._tokens):
            self._counts[place] += 1
            return
        self._tokens.append(token)
        if len(self._tokens) > len(self._counts):
            self._counts = np.concatenate([self._counts, np.ones_like(self._counts)])


def _flag(new: int, known: int) -> Frequencies:
    return count_frequencies(np.array([new, known], dtype=np.int64))
