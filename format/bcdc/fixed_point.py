"""Exact integer forms of the functions that decide a probability (SPEC section 7.1).

Tables are computed once, in floating point. No entry lies within 10^-6 of a rounding boundary, as
a test shows, so any math library gives the same table.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from bcdc.range_coder import MIN_FREQUENCY, TOTAL, Frequencies

Ints = npt.NDArray[np.int64]

UNIT_BITS = 10
"""Logits and activations are in units of 2^-10: of a bit, and of one."""
ONE_BITS = 15
"""Values of sigmoid and tanh are in units of 2^-15, at most 2^15 - 1."""
_TABLE_HALF = 8 << UNIT_BITS
_EXP_BITS = 24


@functools.cache
def exp2_table() -> Ints:
    """round(2^(24 - i / 1024)) for i in [0, 1024)."""
    steps = range(1 << UNIT_BITS)
    return np.array([round(2 ** (_EXP_BITS - i / (1 << UNIT_BITS))) for i in steps], np.int64)


@functools.cache
def sigmoid_table() -> Ints:
    """min(32767, round(2^15 / (1 + exp(-i / 1024)))) for i from -8192 to 8191."""
    return _filled(lambda x: 1 / (1 + math.exp(-x)))


@functools.cache
def tanh_table() -> Ints:
    """min(32767, round(2^15 tanh(i / 1024))) for i from -8192 to 8191."""
    return _filled(math.tanh)


def _filled(function: Callable[[float], float]) -> Ints:
    steps = range(-_TABLE_HALF, _TABLE_HALF)
    exact = [round((1 << ONE_BITS) * function(i / (1 << UNIT_BITS))) for i in steps]
    return np.minimum(np.array(exact, np.int64), (1 << ONE_BITS) - 1)


_Entry = TypeVar("_Entry", bound=np.generic)


def lookup(table: npt.NDArray[_Entry], values: Ints) -> npt.NDArray[_Entry]:
    """Entries (...) of `table` at `values` (...), which are first limited to its range."""
    return table.take(values + _TABLE_HALF, mode="clip")


def frequencies(logits: Ints) -> Frequencies:
    """Frequencies (..., n) from logits (..., n) in units of 1/1024 bit: integers in proportion to
    2^logit, at least MIN_FREQUENCY, that add up to TOTAL. What rounding leaves over goes to the
    first of the most likely symbols."""
    below = logits.max(axis=-1, keepdims=True) - logits
    weights = exp2_table().take(below & ((1 << UNIT_BITS) - 1))
    below >>= UNIT_BITS
    weights >>= np.minimum(below, _EXP_BITS + 1, out=below)
    return _shared(weights, logits.argmax(axis=-1))


def count_frequencies(counts: Ints) -> Frequencies:
    """Frequencies (n,) in proportion to counts (n,), not all 0, of less than 2^38 in all."""
    return _shared(counts, counts.argmax())


def _shared(weights: Ints, best: np.intp | npt.NDArray[np.intp]) -> Frequencies:
    """Frequencies (..., n) in proportion to weights (..., n), of which `best` (...) names the
    place that gets what rounding leaves over."""
    free = TOTAL - MIN_FREQUENCY * weights.shape[-1]
    shared: Frequencies = weights * free
    shared //= np.add.reduce(weights, axis=-1, keepdims=True)
    shared += MIN_FREQUENCY
    rows = shared.reshape(-1, weights.shape[-1])
    places = np.arange(0, rows.size, rows.shape[1]) + best.reshape(-1)
    rows.reshape(-1)[places] += TOTAL - np.add.reduce(rows, axis=1)
    return shared
