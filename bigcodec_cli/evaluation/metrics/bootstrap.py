"""Means over files, with bootstrap intervals (Efron 1979)."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

RESAMPLES = 2000
SEED = 0
LEVEL = 0.95


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mean:
    """A mean over `files` files; `low` and `high` are None for a single file."""

    mean: float
    low: float | None
    high: float | None
    files: int


def mean_with_interval(values: Sequence[float], weights: Sequence[float] | None = None) -> Mean:
    """The weighted mean of at least one value, with its 95 % percentile bootstrap interval.

    Files are drawn with replacement, and always the same ones for the same number of files.
    """
    numbers = np.array(values, np.float64)
    file_weights = np.ones(len(numbers)) if weights is None else np.array(weights, np.float64)
    mean = float(np.average(numbers, weights=file_weights))
    if len(numbers) == 1:
        return Mean(mean=mean, low=None, high=None, files=1)
    draws = np.random.default_rng(SEED).integers(len(numbers), size=(RESAMPLES, len(numbers)))
    means = (numbers * file_weights)[draws].sum(axis=1) / file_weights[draws].sum(axis=1)
    tail = (1 - LEVEL) / 2
    low, high = (float(edge) for edge in np.quantile(means, [tail, 1 - tail]))
    return Mean(mean=mean, low=low, high=high, files=len(numbers))
