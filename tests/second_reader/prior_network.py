"""Section 7: the network of a prior, in integers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache

from .cursor import Refused
from .prior_file import Prior
from .range_decoder import RangeDecoder, cumulative

ONE = 2**15
LIMIT = 8192  # arguments of sigmoid and tanh are from -LIMIT to LIMIT - 1


@cache
def sigmoids() -> list[int]:
    """2^15 / (1 + exp(-i / 1024)) for i from -8192."""
    values = (ONE / (1 + math.exp(-i / 1024)) for i in range(-LIMIT, LIMIT))
    return [min(ONE - 1, round(value)) for value in values]


@cache
def tanhs() -> list[int]:
    """2^15 tanh(i / 1024) for i from -8192."""
    values = (ONE * math.tanh(i / 1024) for i in range(-LIMIT, LIMIT))
    return [min(ONE - 1, round(value)) for value in values]


@cache
def powers() -> list[int]:
    """2^(24 - i / 1024) for i from 0 to 1023."""
    return [round(2 ** (24 - i / 1024)) for i in range(1024)]


def sigmoid(argument: int) -> int:
    """From 0 to 2^15 - 1; the argument in 1/1024."""
    return sigmoids()[max(-LIMIT, min(LIMIT - 1, argument)) + LIMIT]


def tanh(argument: int) -> int:
    """From -2^15 to 2^15 - 1; the argument in 1/1024."""
    return tanhs()[max(-LIMIT, min(LIMIT - 1, argument)) + LIMIT]


def small(values: Sequence[int]) -> list[int]:
    """Values in 2^-15 as int8."""
    return [min(127, (value + 128) >> 8) for value in values]


def starts_of(logits: Sequence[int]) -> list[int]:
    """Where the frequencies of symbols with these logits, in 1/1024 bit, begin."""
    largest = max(logits)
    distances = [largest - logit for logit in logits]
    return cumulative([powers()[d % 1024] >> min(25, d >> 10) for d in distances])


class Network:
    """The state of the network within one channel of one block."""

    def __init__(self, prior: Prior) -> None:
        self.prior = prior
        self.state = [0] * prior.width
        self.input = prior.embedding[0]

    def decode(self, decoder: RangeDecoder, codebook: int) -> int:
        """The next token, of this codebook."""
        self.step()
        book, state = self.prior.books[codebook], small(self.state)
        hidden = small([tanh(value >> 16) for value in book.group_hidden(state)])
        group = decoder.symbol(starts_of([value >> 16 for value in book.group(hidden)]))
        place = group * book.members
        if book.members > 1:
            shifted = zip(book.member_hidden(state), book.group_shift[group], strict=True)
            hidden = small([tanh((value >> 16) + shift) for value, shift in shifted])
            member = book.member[group](hidden)
            place += decoder.symbol(starts_of([value >> 16 for value in member]))
        if place >= book.size:
            raise Refused("damaged", f"place {place} of {book.size}")
        self.input = self.prior.embedding[1 + sum(self.prior.sizes[:codebook]) + place]
        return book.order[place]

    def step(self) -> None:
        """Section 7.2: the state before the next token."""
        a = self.prior.from_input(self.input)
        b = self.prior.from_state(small(self.state))
        width = self.prior.width
        for i, old in enumerate(self.state):
            reset = sigmoid((a[i] + b[i]) >> 16)
            update = sigmoid((a[width + i] + b[width + i]) >> 16)
            inner = (a[2 * width + i] >> 16) + ((reset * (b[2 * width + i] >> 16)) >> 15)
            new = tanh(inner)
            self.state[i] = new + ((update * (old - new) + 2**14) >> 15)
