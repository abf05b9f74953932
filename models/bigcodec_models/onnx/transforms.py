"""The transforms that stay outside of the graphs, in numpy: spectra of waves, the excitation, and
waves of spectra. The forms in torch are in `architectures.lite` and `layers.f0`.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
import numpy.typing as npt

from bigcodec_models.arrays import Tokens, Wave
from bigcodec_models.config import LiteConfig
from bigcodec_models.f0_scale import (
    DEFAULT_TOKEN,
    HARMONIC_BAND,
    PHASE_UNITS,
    TAPS,
    increments_of_tokens,
)

Floats = npt.NDArray[Any]
"""Of float32."""
Complex = npt.NDArray[Any]
"""Of complex64."""

_LOG_FLOOR = np.float32(1e-5)
_LEAST_WINDOWS = np.float32(1e-4)
_FRAMES_AT_ONCE = 256
"""Frames whose windowed samples are in memory, and in the cache of a processor, at once."""


def log_spectra(wave: Wave, config: LiteConfig) -> Floats:
    """The encoder's input: samples (T*hop,) to log magnitudes (1, bins, T).

    Frame t is centered on sample (t + 1/2) * hop. With sub-frames, every second bin of their
    spectra follows as more channels.
    """
    spectra = _log_magnitudes(wave, config.n_fft, config.hop)
    if config.subframes > 1:
        short = (size // config.subframes for size in (config.n_fft, config.hop))
        parts = _log_magnitudes(wave, *short)[:, ::2].reshape(len(spectra), -1)
        spectra = np.concatenate([spectra, parts], axis=1)
    return np.ascontiguousarray(spectra.T)[None]


def phase_increments(f0: Tokens, hop: int) -> Tokens:
    """Phase increments per frame, in `PHASE_UNITS`, of smoothed F0 tokens: int64 (T,) to (T,)."""
    table, taps = np.array(increments_of_tokens(hop)), np.array(TAPS)
    margin = len(TAPS) // 2
    total, weight = (
        np.lib.stride_tricks.sliding_window_view(np.pad(values, margin), len(TAPS)) @ taps
        for values in (table[f0] * (f0 > 0), (f0 > 0).astype(np.int64))
    )
    smoothed: Tokens = np.where(weight > 0, total // np.maximum(weight, 1), table[DEFAULT_TOKEN])
    return smoothed


def phases(increments: Tokens, before: int = 0) -> Floats:
    """Phase at the start of each frame and increment, in cycles: (B, T) to (B, 2, T).

    `increments` are int64, in `PHASE_UNITS`, and `before` is the phase before the first one.
    """
    starts = (before + increments.cumsum(axis=1) - increments) % PHASE_UNITS
    return np.stack([starts, increments], axis=1).astype(np.float32) / np.float32(PHASE_UNITS)


def excitation_spectra(excitation: Floats, config: LiteConfig) -> Complex:
    """Spectra (F, bins) of the excitation with phases and increments (2, T), in cycles, scaled so
    that a harmonic has a peak of 1. There are F = T * subframes frames."""
    size, step = config.n_fft // config.subframes, config.hop // config.subframes
    window = hann_window(size)
    frames = _frames(_harmonics(excitation[0], excitation[1], config.hop), size, step)
    spectra = _rfft(frames, window)
    spectra /= window.sum() / np.float32(2)
    return spectra


def overlap_add(spectra: Complex, config: LiteConfig) -> Wave:
    """Samples (F*step,) of spectra (F, bins): inverse transforms, windowed, summed and divided by
    the sum of the squared windows."""
    size, step = config.n_fft // config.subframes, config.hop // config.subframes
    window = hann_window(size)
    inverse = np.fft.irfft(spectra, size, axis=-1).astype(np.float32, copy=False)
    squares = _sum_shifted(np.broadcast_to(window * window, inverse.shape), size, step)
    squares = np.maximum(squares, _LEAST_WINDOWS)
    inverse *= window
    wave: Wave = np.divide(_sum_shifted(inverse, size, step), squares, dtype=np.float32)
    return wave


@functools.lru_cache(maxsize=8)
def hann_window(size: int) -> Floats:
    """The periodic Hann window of `size` samples."""
    turns = np.arange(size) / size
    window: Floats = (0.5 - 0.5 * np.cos(math.tau * turns)).astype(np.float32)
    return window


def _log_magnitudes(wave: Wave, size: int, step: int) -> Floats:
    magnitudes = np.abs(_rfft(_frames(wave, size, step), hann_window(size)))
    return np.log(np.maximum(magnitudes, _LOG_FLOOR))


def _rfft(frames: Floats, window: Floats) -> Complex:
    """Spectra (F, size / 2 + 1) of frames (F, size), which are multiplied with the window."""
    # complex64 also of numpy before version 2, which transforms in double precision
    spectra = np.empty((len(frames), frames.shape[1] // 2 + 1), np.complex64)
    for start in range(0, len(frames), _FRAMES_AT_ONCE):
        rows = slice(start, start + _FRAMES_AT_ONCE)
        spectra[rows] = np.fft.rfft(frames[rows] * window, axis=-1)
    return spectra


def _frames(wave: Wave, size: int, step: int) -> Floats:
    """Samples (F*step,) to frames (F, size), frame t centered on sample (t + 1/2) * step."""
    padded = np.pad(wave, (size - step) // 2)
    frames: Floats = np.lib.stride_tricks.sliding_window_view(padded, size)[::step]
    return frames


def _sum_shifted(frames: npt.NDArray[Any], size: int, step: int) -> Wave:
    """Frames (F, size), each `step` samples after the one before, summed to (F*step,)."""
    count, overlap = len(frames), size // step
    total = np.zeros((count + overlap - 1, step), np.float32)
    for k in range(overlap):
        total[k : k + count] += frames[:, k * step : (k + 1) * step]
    margin = (size - step) // 2
    return total.reshape(-1)[margin : margin + count * step]


def _harmonics(phase: Floats, increment: Floats, hop: int) -> Wave:
    """The sum of the cosines of all harmonics below 0.48 of the sample rate, of amplitude 1 each:
    (T,) to (T * hop,). `phase` is in cycles at the start of each frame, `increment` in cycles per
    frame. The sum has a closed form, the Dirichlet kernel."""
    ramp = np.arange(hop, dtype=np.float32) / np.float32(hop)
    cycles = phase[:, None] + increment[:, None] * ramp
    angle = np.float32(math.tau) * (cycles - np.rint(cycles))
    count = np.floor(np.float32(HARMONIC_BAND * hop) / increment)[:, None]
    middle = np.abs(angle) < np.float32(1e-6)
    half = np.where(middle, np.float32(1), angle / np.float32(2))
    ratio = np.sin((count + np.float32(0.5)) * angle) / (np.float32(2) * np.sin(half))
    wave: Wave = np.where(middle, count, ratio - np.float32(0.5)).reshape(-1)
    return wave
