"""The transforms in numpy: against those in torch, and against what is known of them."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bigcodec_models.architectures.lite import LiteDecoder, LiteEncoder
from bigcodec_models.config import F0_BINS, PRESETS, LiteConfig
from bigcodec_models.f0_scale import PHASE_UNITS, increments_of_tokens
from bigcodec_models.layers import f0 as in_torch
from bigcodec_models.onnx.f0_tracker import track_f0
from bigcodec_models.onnx.transforms import (
    excitation_spectra,
    log_spectra,
    overlap_add,
    phase_increments,
    phases,
)

CONFIG = PRESETS["toy-single"]
assert isinstance(CONFIG, LiteConfig)
CONFIGS = [CONFIG, dataclasses.replace(CONFIG, subframes=1)]


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("frames", [1, 2, 77])
def test_spectra_are_those_of_torch(config: LiteConfig, frames: int) -> None:
    wave = (0.1 * np.random.default_rng(frames).standard_normal(frames * config.hop)).astype("f4")
    expected = LiteEncoder(config).spectrum(torch.from_numpy(wave)[None, None]).numpy()
    # Logarithms: a bin that is nearly 0 has few exact digits.
    assert np.abs(log_spectra(wave, config) - expected).max() < 2e-3
    assert np.abs(log_spectra(wave, config) - expected).mean() < 1e-6


@pytest.mark.parametrize("config", CONFIGS)
def test_a_tone_has_its_peak_in_its_bin(config: LiteConfig) -> None:
    tone = np.cos(2 * np.pi * 1000 * np.arange(20 * config.hop) / 16000).astype(np.float32)
    spectra = log_spectra(tone, config)[0]
    assert (spectra[: config.n_fft // 2 + 1, 5:15].argmax(axis=0) == 1000 / 16000 * 800).all()


@pytest.mark.parametrize("config", CONFIGS)
def test_overlapping_windows_give_back_a_wave(config: LiteConfig) -> None:
    """The spectra of its windowed frames, added up, are the wave again."""
    size, step = config.n_fft // config.subframes, config.hop // config.subframes
    wave = np.random.default_rng(0).standard_normal(30 * config.hop).astype(np.float32)
    padded = np.pad(wave, (size - step) // 2)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)
    frames = np.lib.stride_tricks.sliding_window_view(padded, size)[::step] * window
    spectra = np.fft.rfft(frames).astype(np.complex64)
    restored = overlap_add(spectra, config)
    assert restored.dtype == np.float32
    assert np.abs(restored - wave)[size:-size].max() < 1e-5
    in_torch_too = LiteDecoder(config).overlap_add(
        torch.fft.irfft(torch.from_numpy(spectra)[None], n=size)
    )
    assert np.abs(restored - in_torch_too[0].numpy()).max() < 1e-5


@given(st.lists(st.integers(0, F0_BINS - 1), min_size=1, max_size=40), st.integers(0, 1 << 20))
@settings(max_examples=50, deadline=None)
def test_phases_are_the_integers_of_torch(tokens: list[int], before: int) -> None:
    f0 = np.array(tokens)
    increments = phase_increments(f0, 200)
    assert np.array_equal(increments, in_torch.phase_increments(torch.from_numpy(f0)[None], 200)[0])
    assert increments.min() >= min(increments_of_tokens(200)[1:])
    expected = in_torch.phases(torch.from_numpy(increments)[None], before).numpy()
    result = phases(increments[None], before)
    assert result.dtype == np.float32 and np.array_equal(result, expected)


@pytest.mark.parametrize("config", CONFIGS)
def test_the_excitation_is_that_of_torch(config: LiteConfig) -> None:
    increments = np.random.default_rng(1).integers(721_000, 6_400_000, 50)
    cycles = phases(increments[None] % PHASE_UNITS + 721_000)
    expected = LiteDecoder(config)._excitation(torch.from_numpy(cycles))[0].numpy()
    assert np.abs(excitation_spectra(cycles[0], config) - expected).max() < 1e-3


def test_f0_is_that_of_torch(speech: object) -> None:
    wave, _ = soundfile.read(speech, dtype="float32")
    wave = np.concatenate([np.zeros(3000, np.float32), wave[:80_000]])
    wave = wave[: len(wave) // 200 * 200]
    expected = in_torch.F0Tracker()(torch.from_numpy(wave)[None], 200)[0].numpy()
    result = track_f0(wave, 200)
    assert (expected > 0).mean() > 0.5
    assert (result != expected).sum() <= 2  # near-ties
    assert track_f0(wave[:200], 200).shape == (1,)


def test_f0_of_a_tone() -> None:
    """A buzz of 220 Hz is two octaves above the lowest tone."""
    time = np.arange(16_000) / 16_000
    wave = sum(np.cos(2 * np.pi * 220 * k * time) for k in range(1, 20)) * 0.02
    tokens = track_f0(np.asarray(wave, np.float32), 200)
    assert (tokens[10:-10] == 1 + 2 * 48).all()
