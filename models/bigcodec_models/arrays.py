"""Types of the arrays that go into the package, through it and out of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Wave = npt.NDArray[np.float32]
"""Samples (n,) of one channel at `config.SAMPLE_RATE`, full scale 1.0."""
Tokens = npt.NDArray[np.int64]
"""Tokens (T,), or (T, K) of a model with K tokens a frame."""
AnyTokens = npt.NDArray[np.integer]
"""Tokens in any integer type, as they are accepted."""
Array = Any
"""An array of an engine: a torch tensor, or a numpy array."""


def join(parts: Sequence[Array], axis: int = -1) -> Array:
    """Arrays of one engine, joined along an axis."""
    if len(parts) == 1:
        return parts[0]
    if isinstance(parts[0], np.ndarray):
        return np.concatenate(parts, axis)
    import torch  # loaded already, since they are tensors

    return torch.cat(list(parts), axis)
