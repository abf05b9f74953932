"""The delay of a codec, estimated by cross-correlation and removed."""

from __future__ import annotations

import functools
from typing import cast

import numpy as np
import numpy.typing as npt

from bigcodec_cli.evaluation.metrics.waveform import fit
from bigcodec_models.arrays import Wave
from bigcodec_models.config import SAMPLE_RATE
from bigcodec_models.losses.mel_scale import mel_filters

_HOP = SAMPLE_RATE // 1000
_WINDOW = 512
_BANDS = 24
_MAX_SAMPLES = 30 * SAMPLE_RATE
_SEARCH = 2 * _HOP
_MIN_CORRELATION = 0.3
"""Normalized correlation from which two waveforms are similar enough to be aligned."""

_Array = npt.NDArray[np.float64]


def align(original: Wave, coded: Wave, limit: int = SAMPLE_RATE // 4) -> tuple[Wave, int]:
    """`coded` without its delay and as long as `original`; and the delay in samples."""
    delay = estimate_delay(original, coded, limit)
    moved = coded[delay:] if delay >= 0 else np.pad(coded, (-delay, 0))
    return fit(moved, len(original)), delay


def estimate_delay(original: Wave, coded: Wave, limit: int = SAMPLE_RATE // 4) -> int:
    """Samples by which `coded` lags `original`; below 0 if it leads; at most `limit` either way.

    First to the millisecond, from the levels in mel bands, which codecs such as Codec 2 preserve
    although they do not preserve phases. Then to the sample, from the waveforms, if they are
    similar enough. Only the first 30 s are used.
    """
    length = min(_MAX_SAMPLES, max(len(original), len(coded)))
    first, second = fit(original, length).astype(np.float64), fit(coded, length).astype(np.float64)
    if not first.any() or not second.any():
        return 0
    steps, scores = _correlation(_levels(first), _levels(second), limit // _HOP)
    coarse = int(steps[np.argmax(scores)]) * _HOP
    lags, scores = _correlation(first[:, None], second[:, None], limit)
    scores = scores / float(np.linalg.norm(first) * np.linalg.norm(second))
    near = np.abs(lags - coarse) <= _SEARCH
    best = int(np.argmax(np.where(near, scores, -np.inf)))
    return int(lags[best]) if scores[best] >= _MIN_CORRELATION else coarse


def _levels(wave: _Array) -> _Array:
    """Log levels in mel bands (milliseconds, bands), minus the mean of each band."""
    padded = np.pad(wave, _WINDOW // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, _WINDOW)[::_HOP]
    spectrum = np.abs(np.fft.rfft(frames * np.hanning(_WINDOW), axis=1))
    bands = spectrum @ _filters()
    # More than 50 dB below the loudest there is mostly noise, often of the codec itself.
    levels = np.log(np.maximum(bands, bands.max() * 10 ** (-50 / 20)))
    return cast(_Array, levels - levels.mean(axis=0))


@functools.cache
def _filters() -> _Array:
    return mel_filters(_WINDOW, _BANDS).astype(np.float64)


def _correlation(first: _Array, second: _Array, limit: int) -> tuple[npt.NDArray[np.intp], _Array]:
    """Lags from -limit to limit, and the correlation of (n, columns) at each, over all columns."""
    size = 1 << (len(first) + len(second) - 1).bit_length()
    spectra = np.conj(np.fft.rfft(first, size, axis=0)) * np.fft.rfft(second, size, axis=0)
    scores = np.fft.irfft(spectra.sum(axis=1), size)
    limit = min(limit, len(first) - 1)
    lags = np.arange(-limit, limit + 1)
    return lags, scores[lags]
