"""Mel cepstral distortion (Kubichek 1993), from spectral envelopes of the WORLD vocoder."""

from __future__ import annotations

import functools
import math
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from bigcodec_cli.evaluation.packages import load_extension
from bigcodec_models.arrays import Wave
from bigcodec_models.config import SAMPLE_RATE

ORDER = 24
ALPHA = 0.41
"""All-pass constant that approximates the mel scale best at 16 kHz (the value of SPTK)."""
FRAME_MS = 5.0
ACTIVE_DB = 40.0
"""Frames that are this far below the loudest frame of the original are left out, as in STOI."""

_Array = npt.NDArray[np.float64]


class CepstralDistortion:
    """Mean mel cepstral distortion in dB of a restored wave; 0 for equal waves.

    Raises:
        MissingError: pyworld is not installed.
    """

    def __init__(self) -> None:
        self._world = load_extension("pyworld", "pyworld")

    def __call__(self, original: Wave, restored: Wave) -> float:
        """Of waves (n,): frame by frame, without time warping."""
        envelopes = [envelope(self._world, wave) for wave in (original, restored)]
        active = active_frames(envelopes[0])
        cepstra = [mel_cepstra(frames[active]) for frames in envelopes]
        return distortion(*cepstra)


def envelope(world: Any, wave: Wave) -> _Array:
    """Power spectral envelopes (frames, 513): CheapTrick at the pitch of DIO and StoneMask."""
    samples = wave.astype(np.float64)
    pitch, times = world.dio(samples, SAMPLE_RATE, frame_period=FRAME_MS)
    pitch = world.stonemask(samples, pitch, times, SAMPLE_RATE)
    return cast(_Array, world.cheaptrick(samples, pitch, times, SAMPLE_RATE))


def active_frames(envelopes: _Array) -> npt.NDArray[np.bool_]:
    """Which frames are within 40 dB of the loudest one."""
    power = envelopes.sum(axis=1)
    return np.asarray(power > power.max() * 10 ** (-ACTIVE_DB / 10))


def mel_cepstra(envelopes: _Array, order: int = ORDER, alpha: float = ALPHA) -> _Array:
    """Mel cepstra (frames, order + 1) of power spectra (frames, bins).

    log |H| = sum over m of c_m cos(m w'), where w' is the warped frequency.
    """
    cepstra = np.fft.irfft(np.log(envelopes), axis=1)[:, : envelopes.shape[1]]
    cepstra[:, 0] /= (
        2  # from power to amplitude; the others need no change, as the cepstrum is two-sided
    )
    warped: _Array = cepstra @ _warping(envelopes.shape[1], order, alpha)
    return warped


def distortion(first: _Array, second: _Array) -> float:
    """Mean over frames of 10 / ln 10 * sqrt(2 sum d_m^2) in dB; c_0, the level, is left out."""
    squares = np.square(first[:, 1:] - second[:, 1:]).sum(axis=1)
    return float(10 / math.log(10) * np.sqrt(2 * squares).mean())


@functools.cache
def _warping(bins: int, order: int, alpha: float) -> _Array:
    """The frequency transformation of cepstra as a matrix (bins, order + 1).

    Oppenheim and Johnson's recursion (1972), run over the rows of the identity.
    """
    warped = np.zeros((bins, order + 1))
    for row in np.eye(bins)[:, ::-1].T:
        before = warped.copy()
        warped[:, 0] = row + alpha * before[:, 0]
        warped[:, 1] = (1 - alpha**2) * before[:, 0] + alpha * before[:, 1]
        for m in range(2, order + 1):
            warped[:, m] = before[:, m - 1] + alpha * (before[:, m] - warped[:, m - 1])
    return warped
