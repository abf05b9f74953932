"""The constant-Q transform against its definition, tones, and librosa where it is installed."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import soundfile
import torch

from bigcodec_models.discriminators.constant_q import ConstantQ


def constant_q(wave: npt.NDArray[Any], bins: int, octaves: int, hop: int) -> npt.NDArray[Any]:
    """The definition in `ConstantQ`, sum by sum in double precision: (frames, bins * octaves)."""
    columns = []
    for k in range(bins * octaves):
        frequency = 8000 * 2 ** (k / bins - octaves)
        length = 16000 / frequency / (2 ** (1 / bins) - 1)
        half = math.ceil(length / 2)
        time = np.arange(-half, half + 1)
        window = np.where(np.abs(time) < length / 2, np.cos(np.pi * time / length) ** 2, 0)
        kernel = window / window.sum() * np.exp(-2j * np.pi * frequency * time / 16000)
        padded = np.pad(wave, half)
        starts = range(0, len(wave) + 1, hop)
        sums = [np.dot(padded[s : s + 2 * half + 1], kernel[: len(padded) - s]) for s in starts]
        columns.append(math.sqrt(length) * np.array(sums))
    return np.stack(columns, axis=1)


@pytest.mark.parametrize(("bins", "octaves", "hop"), [(24, 8, 256), (12, 8, 64), (36, 3, 100)])
def test_constant_q_is_its_definition(speech: Path, bins: int, octaves: int, hop: int) -> None:
    """Noise and speech; each octave is held to its own loudest value."""
    clip = soundfile.read(speech, dtype="float64")[0][20000:23300]
    for wave in (clip, np.random.default_rng(0).standard_normal(3001)):
        spectrum = ConstantQ(bins, octaves, hop)(torch.from_numpy(wave).float().view(1, 1, -1))[0]
        values = spectrum[0].double().numpy() + 1j * spectrum[1].double().numpy()
        expected = constant_q(wave, bins, octaves, hop)
        assert values.shape == expected.shape == (1 + len(wave) // hop, bins * octaves)
        for low in range(0, bins * octaves, bins):
            octave = expected[:, low : low + bins]
            assert np.abs(values[:, low : low + bins] - octave).max() < 3e-4 * np.abs(octave).max()


@pytest.mark.parametrize("tone", [50.0, 440.0, 3000.0, 7000.0])
def test_constant_q_sees_a_tone_where_it_is(tone: float) -> None:
    time = torch.arange(32000) / 16000
    spectrum = ConstantQ(24, 8, 256)(torch.sin(2 * math.pi * tone * time).view(1, 1, -1))[0]
    level = spectrum.square().sum(0).sqrt()[60]
    assert abs(int(level.argmax()) - 24 * math.log2(tone / 31.25)) <= 0.51


def test_constant_q_is_near_that_of_librosa(speech: Path) -> None:
    """Its kernels are 1.5 % longer, by another rule for the bandwidth, and cut to whole samples."""
    librosa = pytest.importorskip("librosa")
    wave = soundfile.read(speech, dtype="float32")[0][:48000]
    spectrum = (
        ConstantQ(24, 7, 256)(torch.from_numpy(wave).view(1, 1, -1))[0].square().sum(0).sqrt()
    )
    expected = np.abs(
        librosa.cqt(
            wave,
            sr=16000,
            hop_length=256,
            fmin=62.5,
            n_bins=144,
            bins_per_octave=24,
            pad_mode="constant",
        )
    ).T
    difference = spectrum[:, :144].numpy() - expected
    assert np.linalg.norm(difference) < 0.025 * np.linalg.norm(expected)
