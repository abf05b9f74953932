"""Statistics of tokens: order-0 entropy, perplexity, codes used."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from bigcodec_models.arrays import AnyTokens


@dataclasses.dataclass(frozen=True, kw_only=True)
class TokenStatistics:
    """`entropy_bits` a token and `perplexity` are means over codebooks; `used` is a sum."""

    entropy_bits: float
    perplexity: float
    used: int


def token_statistics(recordings: Sequence[AnyTokens]) -> TokenStatistics | None:
    """Statistics of the tokens (T, K) of all recordings together; None if there are none.

    The entropy is that of the empirical distribution. With few tokens it is too low: that of n
    tokens is at most log2 n bits.
    """
    tokens = np.concatenate(recordings) if recordings else np.zeros((0, 1), np.int64)
    if not tokens.size:
        return None
    counts = [np.unique(column, return_counts=True)[1] for column in tokens.T]
    entropies = np.array([_entropy(column) for column in counts])
    return TokenStatistics(
        entropy_bits=float(entropies.mean()),
        perplexity=float(np.exp2(entropies).mean()),
        used=sum(map(len, counts)),
    )


def _entropy(counts: npt.NDArray[np.intp]) -> float:
    probabilities = counts / counts.sum()
    return max(0.0, float(-(probabilities * np.log2(probabilities)).sum()))
