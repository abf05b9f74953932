"""Types of the arrays that go into the package and come out of it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Wave = npt.NDArray[np.float32]
"""Samples (n,) of one channel at `config.SAMPLE_RATE`, full scale 1.0."""
Tokens = npt.NDArray[np.int64]
"""Tokens (T,), or (T, K) of a model with K tokens a frame."""
AnyTokens = npt.NDArray[np.integer]
"""Tokens in any integer type, as they are accepted."""
