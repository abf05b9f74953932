"""Crops made on the device against those of the host loader; the changes that both make."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from bigcodec_models.data.augment import equalize, play_faster, samples_for
from bigcodec_models.data.crops import (
    Augmentation,
    Clip,
    CropChooser,
    CropSource,
    read_mono,
    scan,
    to_16_bits,
)
from bigcodec_models.data.device_crops import DeviceCrops, SampleBank
from bigcodec_models.errors import DataError

CPU = torch.device("cpu")
PLAIN = Augmentation()
EVERYTHING = Augmentation(
    gain_db=12.0,
    noise_probability=0.6,
    speed_probability=0.5,
    equalizer_probability=0.5,
)


@pytest.fixture(scope="module")
def folders(speech: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Speech of several lengths and rates, one file shorter than a crop; noise, likewise."""
    root, noise = tmp_path_factory.mktemp("speech"), tmp_path_factory.mktemp("noise")
    wave, _ = soundfile.read(speech, dtype="float32")
    soundfile.write(root / "long.flac", wave, 16000)
    soundfile.write(root / "fast.wav", wave[:30000], 22050)
    soundfile.write(root / "short.wav", wave[:3000], 16000)
    random = np.random.default_rng(3)
    soundfile.write(noise / "long.wav", 0.1 * random.standard_normal(30000), 16000)
    soundfile.write(noise / "short.wav", 0.1 * random.standard_normal(900), 16000)
    return root, noise


def read(clip: Clip) -> np.ndarray[tuple[int], np.dtype[np.int16]]:
    return to_16_bits(read_mono(clip))


def pair(
    folders: tuple[Path, Path], augmentation: Augmentation, crop: int = 6000
) -> tuple[CropSource, DeviceCrops]:
    """The host's loader and the device's, with the same options."""
    clips, noise = (scan(folder) for folder in folders)
    host = CropSource(clips, crop=crop, seed=4, augmentation=augmentation, noise=noise)
    chooser = CropChooser(clips, noise, augmentation, seed=4)
    return host, DeviceCrops(chooser, crop, lambda: SampleBank(chooser.clips(), read, CPU))


@pytest.mark.parametrize("augmentation", [PLAIN, EVERYTHING], ids=["plain", "everything"])
def test_crops_are_those_of_the_host(
    folders: tuple[Path, Path], augmentation: Augmentation
) -> None:
    host, device = pair(folders, augmentation)
    for step in (0, 1, 10**6):
        expected = host.batch(step, 40)
        batch = device.batch(step, 40)
        assert batch.dtype == torch.float32
        assert np.abs(batch.numpy() - expected).max() < (2e-5 if augmentation.gain_db else 1e-7)


def test_a_crop_depends_on_seed_step_and_place_only(folders: tuple[Path, Path]) -> None:
    _, device = pair(folders, EVERYTHING)
    batches = device.batches(7, 3, first=2)
    for step, batch in zip((7, 8, 9), batches, strict=False):
        assert torch.allclose(batch, device.batch(step, 5)[2:], atol=1e-6)
    batches.close()


def test_lost_files_are_passed_over_and_reported(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    wave, _ = soundfile.read(folders[0] / "long.flac", dtype="float32")
    for name in ("kept.wav", "lost.wav"):
        soundfile.write(tmp_path / name, wave, 16000)
    clips = scan(tmp_path)
    reports: list[Path] = []
    (tmp_path / "lost.wav").unlink()
    chooser = CropChooser(clips, [], PLAIN, seed=0)

    def load() -> SampleBank:
        return SampleBank(clips, read, CPU, lambda path, _: reports.append(path))

    batch = DeviceCrops(chooser, 4000, load).batch(0, 20)
    assert [path.name for path in reports] == ["lost.wav"]
    assert batch.abs().amax(dim=1).min() > 0
    (tmp_path / "kept.wav").unlink()
    with pytest.raises(DataError, match="20 clips in a row"):
        DeviceCrops(chooser, 4000, load).batch(0, 1)


def test_a_tone_played_faster_is_higher_and_as_loud() -> None:
    speeds, length = torch.tensor([1.0, 1.1, 1.25]), 8000
    time = torch.arange(samples_for(length, 1.25)) / 16000
    wave = torch.sin(2 * math.pi * 1000 * time).expand(3, -1)
    played = play_faster(wave, speeds, length)
    for row, speed in zip(played, speeds.tolist(), strict=True):
        start = 24 / 16000  # the interpolation needs 24 samples before
        expected = torch.sin(2 * math.pi * 1000 * (torch.arange(length) / 16000 * speed + start))
        assert (row - expected)[100:-100].abs().max() < 2e-3


def test_nothing_above_the_band_comes_back_into_it() -> None:
    """At 1.25 times the speed 7 kHz would be 8.75 kHz, and must not be heard at 7.25."""
    time = torch.arange(samples_for(8000, 1.25)) / 16000
    wave = torch.stack([torch.sin(2 * math.pi * f * time) for f in (7000.0, 5500.0)])
    above, below = play_faster(wave, torch.full((2,), 1.25), 8000)[:, 100:-100].square().mean(1)
    assert above < 1e-4 and below == pytest.approx(0.5, rel=0.05)


def test_an_equalizer_changes_each_frequency_by_its_curve() -> None:
    time = torch.arange(16000) / 16000
    wave = torch.sin(2 * math.pi * 8000 * 0.999 * time) + torch.sin(2 * math.pi * 5 * time)
    curves = torch.zeros(2, 7)
    curves[1, 6], curves[1, 0] = 6.0, -6.0
    flat, shaped = torch.fft.rfft(equalize(wave.expand(2, -1), curves)).abs() / 8000
    assert flat[5] == pytest.approx(1.0, abs=1e-3) and flat[7992] == pytest.approx(1.0, abs=1e-3)
    assert shaped[7992] == pytest.approx(10**0.3, rel=0.01)
    assert shaped[5] == pytest.approx(10**-0.3, rel=0.03)
