"""The mel scale and its filters. Loads no torch."""

from __future__ import annotations

import math
from typing import cast

import numpy as np
import numpy.typing as npt

from bigcodec_models.config import SAMPLE_RATE


def hertz_to_mel(hertz: float) -> float:
    """The mel scale of Slaney: linear to 1 kHz, logarithmic above (Auditory Toolbox, 1998)."""
    if hertz < 1000:
        return hertz * 3 / 200
    return 15 + 27 * math.log(hertz / 1000) / math.log(6.4)


def mel_to_hertz(mel: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Inverse of `hertz_to_mel`, elementwise, for any shape."""
    log_part = 1000 * np.exp((mel - 15) * math.log(6.4) / 27)
    return cast(npt.NDArray[np.float64], np.where(mel < 15, mel * 200 / 3, log_part))


def mel_filters(n_fft: int, n_mels: int) -> npt.NDArray[np.float32]:
    """Triangular mel filters with Slaney's area normalization: (n_fft/2 + 1, n_mels)."""
    nyquist = SAMPLE_RATE / 2
    frequencies = np.linspace(0, nyquist, n_fft // 2 + 1)[:, None]
    edges = mel_to_hertz(np.linspace(0, hertz_to_mel(nyquist), n_mels + 2))
    low, centre, high = edges[:-2], edges[1:-1], edges[2:]
    rising = (frequencies - low) / (centre - low)
    falling = (high - frequencies) / (high - centre)
    triangles = np.maximum(0, np.minimum(rising, falling)) * 2 / (high - low)
    return triangles.astype(np.float32)
