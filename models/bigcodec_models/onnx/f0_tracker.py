"""The F0 tracker in numpy; `layers.f0.F0Tracker` explains the method, and is the form in torch."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import numpy.typing as npt

from bigcodec_models.arrays import Tokens, Wave
from bigcodec_models.config import F0_BINS
from bigcodec_models.f0_scale import (
    LOWEST,
    STEPS_AN_OCTAVE,
    TRACKER_CANDIDATES,
    TRACKER_CHANGE,
    TRACKER_FFT,
    TRACKER_FINER,
    TRACKER_HIGHER,
    TRACKER_JUMP,
    TRACKER_LAG_RATE,
    TRACKER_LONGEST,
    TRACKER_NEVER,
    TRACKER_REACH,
    TRACKER_SHORTEST,
    TRACKER_SILENCE,
    TRACKER_VOICED_FROM,
    TRACKER_WINDOW,
)
from bigcodec_models.onnx.transforms import hann_window

Floats = npt.NDArray[Any]
"""Of float32."""


def track_f0(wave: Wave, hop: int) -> Tokens:
    """F0 tokens of a wave: (N,) to int64 (N // hop,), each in [0, F0_BINS)."""
    correlation, peak = _correlation(wave, hop)
    lags, strengths = _peaks(correlation)
    strengths = strengths - TRACKER_HIGHER * np.log2(LOWEST / TRACKER_LAG_RATE * lags)
    silent = TRACKER_VOICED_FROM + np.maximum(2 - peak / np.float32(TRACKER_SILENCE), 0)
    strengths = np.concatenate([silent[:, None], strengths], axis=1).astype(np.float32)
    octaves = np.log2(np.float32(TRACKER_LAG_RATE) / lags / np.float32(LOWEST))
    octaves = np.pad(octaves, ((0, 0), (1, 0)))
    steps = np.rint(STEPS_AN_OCTAVE * octaves).astype(np.int64)
    tokens = 1 + np.clip(steps, 0, F0_BINS - 2)
    tokens[:, 0] = 0
    chosen = _cheapest_path(octaves, strengths)
    f0: Tokens = np.take_along_axis(tokens, chosen[:, None], axis=1)[:, 0]
    return f0


def _correlation(wave: Wave, hop: int) -> tuple[Floats, Floats]:
    """Autocorrelations (T, lags) at lags from 0, and the peak magnitude of frames (T,)."""
    padded = np.pad(wave, ((TRACKER_WINDOW - hop) // 2, TRACKER_WINDOW))
    pieces = np.lib.stride_tricks.sliding_window_view(padded, TRACKER_WINDOW)[::hop]
    pieces = pieces[: len(wave) // hop]
    pieces = pieces - pieces.mean(axis=1, keepdims=True)
    window, weight = _window_and_weight()
    correlation = _autocorrelation(pieces * window)
    correlation = correlation / np.maximum(correlation[:, :1], np.float32(1e-12)) * weight
    return correlation, np.abs(pieces).max(axis=1)


@functools.lru_cache
def _window_and_weight() -> tuple[Floats, Floats]:
    """The tracker's window, and what corrects an autocorrelation for it."""
    window = hann_window(TRACKER_WINDOW)
    correlation = _autocorrelation(window)
    return window, correlation[:1] / correlation


def _autocorrelation(frames: npt.NDArray[Any]) -> Floats:
    """Autocorrelations (..., lags) of windowed frames at lags from 0, in steps of
    1/`TRACKER_FINER` of a sample."""
    spectrum = np.fft.rfft(frames, TRACKER_FFT, axis=-1)
    correlation = np.fft.irfft(np.abs(spectrum) ** 2, TRACKER_FINER * TRACKER_FFT, axis=-1)
    result: Floats = correlation[..., : TRACKER_LONGEST + 2].astype(np.float32, copy=False)
    return result


def _peaks(correlation: Floats) -> tuple[Floats, Floats]:
    """Lags and heights of the highest peaks: (T, candidates)."""
    left, middle, right = (
        correlation[:, TRACKER_SHORTEST + k : TRACKER_LONGEST + k] for k in (0, 1, 2)
    )
    is_peak = (middle > left) & (middle >= right)
    heights = np.where(is_peak, middle, np.float32(0))
    # Of equal heights, which only 0 is likely to have, the first.
    index = np.argsort(-heights, axis=1, kind="stable")[:, :TRACKER_CANDIDATES]
    heights, left, right = (
        np.take_along_axis(values, index, axis=1) for values in (heights, left, right)
    )
    curvature = np.maximum(2 * heights - left - right, np.float32(1e-9))
    shift = np.where(heights > 0, (right - left) / (2 * curvature), np.float32(0))
    shift = np.clip(shift, -0.5, 0.5)
    lags = (index + TRACKER_SHORTEST + 1 + shift).astype(np.float32)
    return lags, heights + (right - left) * shift / 4


def _cheapest_path(octaves: Floats, strengths: Floats) -> npt.NDArray[np.int64]:
    """Indices (T,) of the candidates on the best path of each frame, which runs over the frame
    and the frames that it reaches. `octaves` and `strengths` (T, C); the first is "unvoiced"."""
    around = ((TRACKER_REACH, TRACKER_REACH), (0, 0))
    octaves = np.pad(octaves, around)
    strengths = np.pad(strengths, around, constant_values=-TRACKER_NEVER)
    frames = len(octaves) - 2 * TRACKER_REACH
    voiced = np.arange(strengths.shape[1]) > 0
    changes = np.float32(TRACKER_CHANGE) * (voiced[:, None] ^ voiced[None, :])
    jumps = np.float32(TRACKER_JUMP) * (voiced[:, None] & voiced[None, :])
    best, steps = strengths[:frames], []
    for place in range(1, 2 * TRACKER_REACH + 1):
        before, here = octaves[place - 1 : place - 1 + frames], octaves[place : place + frames]
        cost = changes + jumps * np.abs(before[:, :, None] - here[:, None, :])
        totals = best[:, :, None] - cost.astype(np.float32)
        step = totals.argmax(axis=1)
        best = np.take_along_axis(totals, step[:, None], axis=1)[:, 0]
        best = best + strengths[place : place + frames]
        steps.append(step)
    choice = best.argmax(axis=1)[:, None]
    for step in reversed(steps[TRACKER_REACH:]):
        choice = np.take_along_axis(step, choice, axis=1)
    chosen: npt.NDArray[np.int64] = choice[:, 0]
    return chosen
