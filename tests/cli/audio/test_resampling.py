"""Resampling over the grid: truth from soxr in one piece, and independence of how samples come."""

from __future__ import annotations

import numpy as np
import pytest
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st

from bigcodec_cli.audio.channels import Samples
from bigcodec_cli.audio.resampling import Grid, Resampler, resample, resample_stream

RATES = [
    (44100, 16000),
    (16000, 44100),
    (8000, 16000),
    (96000, 16000),
    (16000, 22051),
    (300, 16000),
]


def noise(channels: int, samples: int) -> Samples:
    generator = np.random.default_rng(samples)
    return (0.2 * generator.standard_normal((channels, samples))).astype(np.float32)


def through(pieces: list[Samples], rate: int, new_rate: int) -> Samples:
    return np.concatenate([*resample_stream(pieces, rate, new_rate)], axis=1)


@pytest.mark.parametrize(("rate", "new_rate"), RATES)
@pytest.mark.parametrize("seconds", [0.001, 1, 7.99, 8, 9, 16.5])
def test_it_is_what_soxr_gives_in_one_piece(rate: int, new_rate: int, seconds: float) -> None:
    samples = max(1, int(rate * seconds))
    wave = noise(2, samples)
    resampled = through([wave], rate, new_rate)
    whole = soxr.resample(wave.T, rate, new_rate, quality="VHQ").T
    assert resampled.shape == (2, -(-samples * new_rate // rate))
    common = min(resampled.shape[1], whole.shape[1])
    assert resampled.shape[1] - common <= 1
    assert np.abs(resampled[:, :common] - whole[:, :common]).max(initial=0) < 3e-5


@settings(max_examples=15, deadline=None)
@given(st.sampled_from(RATES[:3]), st.lists(st.integers(0, 200_000), max_size=6))
def test_it_does_not_depend_on_how_the_samples_come(rates: tuple[int, int], at: list[int]) -> None:
    rate, new_rate = rates
    wave = noise(1, 20 * rate + 17)
    pieces = np.split(wave, sorted(at), axis=1)
    assert np.array_equal(through(pieces, *rates), through([wave], *rates))


@pytest.mark.parametrize(("rate", "new_rate"), RATES)
def test_a_start_in_the_middle_gives_the_same_samples(rate: int, new_rate: int) -> None:
    grid = Grid(rate, new_rate)
    wave = noise(1, rate * grid.window * 3 + 1)
    whole = through([wave], rate, new_rate)
    for window in (1, 2, 3):
        resampler = Resampler(grid, window)
        rest = wave[:, grid.input_start(window) :]
        resampled = np.concatenate([*resampler.push(rest), *resampler.finish()], axis=1)
        assert np.array_equal(resampled, whole[:, window * grid.window * new_rate :])


def test_a_tone_keeps_its_pitch_and_level() -> None:
    """At any place in the file, across the seams of windows too."""
    seconds = np.arange(44100 * 20) / 44100
    tone = (0.5 * np.sin(2 * np.pi * 1000 * seconds)).astype(np.float32)
    resampled = resample(tone, 44100, 16000, 320000)
    expected = 0.5 * np.sin(2 * np.pi * 1000 * np.arange(320000) / 16000)
    assert np.abs(resampled - expected)[1000:-1000].max() < 1e-5


def test_length_is_cut_or_filled() -> None:
    wave = noise(1, 100)[0]
    assert np.array_equal(resample(wave, 16000, 16000, 60), wave[:60])
    assert np.array_equal(resample(wave, 16000, 16000, 130), np.pad(wave, (0, 30)))
    assert resample(wave[:0], 44100, 16000, 5).tolist() == [0] * 5
