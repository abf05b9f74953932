"""Mel cepstra against SPTK and against their definition; the distortion by hand."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from bigcodec_cli.evaluation.metrics.mcd import (
    ALPHA,
    CepstralDistortion,
    active_frames,
    distortion,
    envelope,
    mel_cepstra,
)
from bigcodec_cli.evaluation.packages import MissingError, load_extension
from bigcodec_models.arrays import Wave

GOLDEN = np.load(Path(__file__).parent / "golden.npz")


@pytest.fixture(scope="module")
def metric() -> CepstralDistortion:
    try:
        return CepstralDistortion()
    except MissingError as error:
        pytest.skip(str(error))


def test_mel_cepstra_are_those_of_sptk() -> None:
    cepstra = mel_cepstra(GOLDEN["envelope"])
    assert cepstra.shape == (6, 25)
    assert np.abs(cepstra - GOLDEN["mel_cepstra"]).max() < 1e-9


def test_mel_cepstra_are_the_cosine_series_on_the_warped_axis() -> None:
    """c_m = (2 - [m = 0]) / pi times the integral of log |H(w)| cos(m w') over w'."""
    frequency = np.linspace(0, math.pi, 513)
    log_power = 3 * np.exp(-((frequency - 0.6) ** 2) / 0.1) - frequency
    warped = frequency + 2 * np.arctan(ALPHA * np.sin(frequency) / (1 - ALPHA * np.cos(frequency)))
    axis = np.linspace(0, math.pi, 20001)
    log_amplitude = np.interp(np.interp(axis, warped, frequency), frequency, log_power / 2)
    orders = np.arange(25)[:, None]
    expected = np.array(
        np.trapezoid(log_amplitude * np.cos(orders * axis), axis, axis=1) * 2 / math.pi
    )
    expected[0] /= 2
    assert np.abs(mel_cepstra(np.exp(log_power)[None])[0] - expected).max() < 1e-3


def test_distortion_by_hand() -> None:
    generator = np.random.default_rng(1)
    first, second = generator.standard_normal((2, 7, 25))
    total = 0.0
    for a, b in zip(first.tolist(), second.tolist(), strict=True):
        squares = sum((x - y) ** 2 for x, y in zip(a[1:], b[1:], strict=True))
        total += 10 / math.log(10) * math.sqrt(2 * squares)
    assert distortion(first, second) == pytest.approx(total / 7)


def test_the_whole_metric_by_hand(metric: CepstralDistortion, wave: Wave, noise: Wave) -> None:
    world = load_extension("pyworld", "pyworld")
    noisy = wave + noise * np.float32(0.1)
    first, second = (envelope(world, w) for w in (wave, noisy))
    assert first.shape == (len(wave) // 80 + 1, 513)
    loud = first.sum(axis=1) > first.sum(axis=1).max() / 10**4
    assert 0 < loud.sum() < len(loud)
    assert np.array_equal(active_frames(first), loud)
    expected = distortion(mel_cepstra(first[loud]), mel_cepstra(second[loud]))
    assert metric(wave, noisy) == pytest.approx(expected)


def test_the_level_does_not_matter(metric: CepstralDistortion, wave: Wave) -> None:
    assert metric(wave, wave * np.float32(0.25)) < 0.1
