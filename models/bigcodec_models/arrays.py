"""The arrays that packages and scripts exchange. Loads no torch."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Wave = npt.NDArray[np.float32]
"""One channel (n,) at `config.SAMPLE_RATE`, full scale 1.0."""

Tokens = npt.NDArray[np.integer]
"""Tokens (T, K) of T frames and K codebooks; (T,) where there is one codebook."""
