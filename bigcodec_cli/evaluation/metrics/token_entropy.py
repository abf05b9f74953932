"""What token counts say: order-0 entropy, perplexity, codes used."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from bigcodec_models.arrays import Tokens


@dataclasses.dataclass(frozen=True, kw_only=True)
class TokenStatistics:
    """`entropy_bits` a token and `perplexity` are means over codebooks; `used` is a sum."""

    entropy_bits: float
    perplexity: float
    used: int


def token_statistics(pieces: Sequence[Tokens]) -> TokenStatistics | None:
    """Of the tokens (T, K) of several recordings taken together; None if there are none.

    The entropy is that of the counts as they are. It is too low where tokens are few: n tokens
    never show more than log2 n bits.
    """
    tokens = np.concatenate(pieces) if pieces else np.zeros((0, 1), np.int64)
    if not tokens.size:
        return None
    counts = [np.unique(column, return_counts=True)[1] for column in tokens.T]
    entropies = np.array([_entropy(found) for found in counts])
    return TokenStatistics(
        entropy_bits=float(entropies.mean()),
        perplexity=float(np.exp2(entropies).mean()),
        used=sum(map(len, counts)),
    )


def _entropy(counts: npt.NDArray[np.intp]) -> float:
    shares = counts / counts.sum()
    return max(0.0, float(-(shares * np.log2(shares)).sum()))
