"""Properties that the metrics must have."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from bigcodec_cli.audio.pcm import Encoding, to_int16
from bigcodec_cli.audio.writer import AudioForm, open_sink
from bigcodec_cli.evaluation.metrics.compute import QualityMetrics
from bigcodec_cli.evaluation.metrics.definitions import METRICS, QUALITY
from bigcodec_cli.evaluation.metrics.waveform import as_stored
from bigcodec_models.arrays import Wave
from bigcodec_models.config import SAMPLE_RATE
from bigcodec_models.losses.spectral import MultiScaleMelLoss

BEST = {
    "pesq_wb": 4.644,
    "pesq_nb": 4.549,
    "stoi": 1.0,
    "estoi": 1.0,
    "mcd": 0.0,
    "sim": 1.0,
    "mel": 0.0,
}


@pytest.fixture(scope="module")
def metrics() -> QualityMetrics:
    return QualityMetrics([metric.key for metric in QUALITY])


@pytest.fixture(scope="module")
def quick() -> QualityMetrics:
    """All but DNSMOS, which takes seconds."""
    return QualityMetrics([metric.key for metric in QUALITY if metric.key != "dnsmos"])


def values_of(metrics: QualityMetrics, original: Wave, restored: Wave) -> dict[str, float]:
    values, failed = metrics.compute(original, restored)
    assert not failed
    return values


def test_identity_gives_the_best(metrics: QualityMetrics, wave: Wave) -> None:
    values = values_of(metrics, wave, wave)
    present = set(BEST) - set(metrics.missing)
    assert present <= set(values)
    assert {key: values[key] for key in present} == pytest.approx(
        {key: BEST[key] for key in present}, abs=2e-3
    )


def test_more_noise_is_worse_by_every_metric(
    metrics: QualityMetrics, wave: Wave, noise: Wave
) -> None:
    levels = [values_of(metrics, wave, wave + noise * gain) for gain in (0.01, 0.1, 1.0)]
    for metric in QUALITY:
        if metric.key in levels[0]:
            values = [level[metric.key] for level in levels]
            assert values == sorted(values, reverse=metric.better == "high"), metric.key
            assert len(set(values)) == 3, metric.key


def test_wide_band_pesq_needs_the_upper_band(quick: QualityMetrics, wave: Wave) -> None:
    if "pesq_wb" in quick.missing:
        pytest.skip(quick.missing["pesq_wb"].reason)
    spectrum = np.fft.rfft(wave)
    spectrum[int(len(spectrum) * 3.8 / 8) :] = 0
    dull = np.fft.irfft(spectrum, len(wave)).astype(np.float32)
    values = values_of(quick, wave, dull)
    assert values["pesq_nb"] > 4.4  # nothing is missing below 3.4 kHz
    assert values["pesq_wb"] < 4.3


def test_mel_is_the_training_loss(quick: QualityMetrics, wave: Wave, noise: Wave) -> None:
    noisy = wave + noise * np.float32(0.3)
    expected = MultiScaleMelLoss()(torch.from_numpy(noisy)[None], torch.from_numpy(wave)[None])
    assert values_of(quick, wave, noisy)["mel"] == pytest.approx(float(expected))


def test_dnsmos_needs_no_original(metrics: QualityMetrics, wave: Wave, noise: Wave) -> None:
    if "dnsmos" in metrics.missing:
        pytest.skip(metrics.missing["dnsmos"].reason)
    clean, _ = metrics.compute_without_original(wave)
    noisy, _ = metrics.compute_without_original(wave + noise)
    assert {"dnsmos"} <= set(clean) <= {"dnsmos", "distillmos"}
    assert 1 <= noisy["dnsmos"] < clean["dnsmos"] - 1 < 4


def test_silence_is_a_failure(quick: QualityMetrics, wave: Wave) -> None:
    metrics, silent = quick, np.zeros_like(wave)
    values, failed = metrics.compute(silent, wave)
    assert not values
    assert set(failed.values()) == {"the original is silent"}
    values, failed = metrics.compute(wave, silent)
    assert failed["sim"] == "the wave is silent"
    assert not {"sim", "pesq_wb"} & set(values)


@pytest.mark.parametrize("samples", [0, 1, 3000])
def test_too_little_speech_is_a_failure_with_a_reason(
    quick: QualityMetrics, wave: Wave, samples: int
) -> None:
    metrics = quick
    short = wave[20000 : 20000 + samples]
    values, failed = metrics.compute(short, short)
    assert set(values) | set(failed) == {m.key for m in QUALITY} - {*metrics.missing, "dnsmos"}
    assert {"pesq_wb", "pesq_nb", "stoi", "estoi"} - set(metrics.missing) <= set(failed)
    assert all(reason and "\n" not in reason for reason in failed.values())
    if samples == 3000:
        assert failed["stoi"] == "less than 0.4 s of speech without its pauses"
        assert failed["pesq_wb"] == "Buffer needs to be at least 1/4 of a second long"


@pytest.mark.parametrize(
    ("package", "keys"),
    [("pesq", {"pesq_wb", "pesq_nb"}), ("pystoi", {"stoi", "estoi"}), ("speechmos", {"dnsmos"})],
)
def test_missing_packages_are_named(
    monkeypatch: pytest.MonkeyPatch, package: str, keys: set[str]
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setitem(sys.modules, f"{package}.dnsmos", None)
    missing = QualityMetrics(sorted(keys)).missing
    assert all(missing[key].reason.startswith(f"{package} is not installed") for key in keys)


@pytest.mark.parametrize(("package", "key"), [("pyworld", "mcd"), ("resemblyzer", "sim")])
def test_missing_folders_are_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, package: str, key: str
) -> None:
    others = [p for p in sys.path if not (Path(p) / package).exists()]
    monkeypatch.setattr(sys, "path", others)
    missing = QualityMetrics([key, "mel"]).missing
    assert set(missing) == {key}
    assert missing[key].reason.startswith(f"{package} is not installed")


def test_waves_are_rounded_as_in_a_file(tmp_path: Path, wave: Wave) -> None:
    loud = wave / np.abs(wave).max() * np.float32(1.5)
    form = AudioForm(
        kind="wav", encoding=Encoding.S16, rate=SAMPLE_RATE, channels=1, frames=len(loud)
    )
    with contextlib.closing(open_sink(tmp_path / "a.wav", form)) as sink:
        sink.write(loud[None])
        sink.finish()
    restored, _ = soundfile.read(tmp_path / "a.wav", dtype="float32")
    assert np.array_equal(as_stored(loud), restored)
    assert np.array_equal(to_int16(loud), np.round(restored * 32768))


def test_keys_are_those_of_the_documentation() -> None:
    page = Path(__file__).parents[3] / "docs" / "evaluation.md"
    text = page.read_text(encoding="utf-8")
    for metric in METRICS:
        assert f"`{metric.key}`" in text
