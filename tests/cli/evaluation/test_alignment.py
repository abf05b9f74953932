"""Delays that are known."""

from __future__ import annotations

import numpy as np
import pytest

from bigcodec_cli.evaluation.metrics.alignment import align, estimate_delay
from bigcodec_models.arrays import Wave


def delayed(wave: Wave, delay: int) -> Wave:
    return np.pad(wave, (max(0, delay), 0))[max(0, -delay) :]


@pytest.mark.parametrize("delay", [-3999, -137, -1, 0, 1, 480, 3999])
@pytest.mark.parametrize("gain", [0.0, 1.0])
def test_a_delay_is_estimated_to_the_sample(
    wave: Wave, noise: Wave, delay: int, gain: float
) -> None:
    coded = delayed(wave + noise * np.float32(gain), delay)
    assert estimate_delay(wave, coded) == delay
    moved, estimate = align(wave, coded)
    assert estimate == delay
    assert len(moved) == len(wave)
    inner = slice(4000, -4000)
    assert np.array_equal(moved[inner], (wave + noise * np.float32(gain))[inner])


def test_phases_do_not_matter(wave: Wave) -> None:
    """A codec like Codec 2 preserves the levels but not the phases."""
    window = np.hanning(512)
    frames = np.lib.stride_tricks.sliding_window_view(np.pad(wave, 512), 512)[::128] * window
    phases = np.random.default_rng(0).uniform(0, 2 * np.pi, (len(frames), 257))
    generated = np.fft.irfft(np.abs(np.fft.rfft(frames)) * np.exp(1j * phases), axis=1) * window
    rebuilt = np.zeros(len(wave) + 1024)
    for index, frame in enumerate(generated):
        rebuilt[index * 128 : index * 128 + 512] += frame
    coded = delayed(np.asarray(rebuilt[512:], np.float32), 320)
    assert abs(estimate_delay(wave, coded) - 320) <= 32


def test_silence_has_no_delay(wave: Wave) -> None:
    assert estimate_delay(wave, np.zeros_like(wave)) == 0
    assert estimate_delay(np.zeros_like(wave), wave) == 0
    assert align(wave[:1], wave[:1])[1] == 0
