"""Speaker similarity against the published encoder, and voices that differ."""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr

from bigcodec_cli.evaluation.metrics.speaker_similarity import (
    WAVLM,
    ResemblyzerSimilarity,
    WavlmSimilarity,
)
from bigcodec_cli.evaluation.packages import MissingError
from bigcodec_models.arrays import Wave

GOLDEN = np.load(Path(__file__).parent / "golden.npz")
PARTS = {"whole": slice(0, None), "start": slice(0, 16000), "quiet": slice(40000, 80000)}


@pytest.fixture(scope="module")
def metric() -> ResemblyzerSimilarity:
    try:
        return ResemblyzerSimilarity()
    except MissingError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("part", PARTS)
def test_embeddings_are_those_of_the_published_package(
    metric: ResemblyzerSimilarity, speech: Path, part: str
) -> None:
    samples, _ = soundfile.read(speech, dtype="float32")
    loud = samples[PARTS[part]] * np.float32(0.05 if part == "quiet" else 1)
    assert np.abs(metric.embed(loud) - GOLDEN[f"embedding_{part}"]).max() < 1e-5


def test_a_raised_voice_is_another(metric: ResemblyzerSimilarity, wave: Wave) -> None:
    higher = soxr.resample(wave, 16000, 12000)
    slightly = soxr.resample(wave, 16000, 15500)
    assert metric(wave, higher) < 0.9 < metric(wave, slightly) < 1


def test_the_level_does_not_matter(metric: ResemblyzerSimilarity, wave: Wave) -> None:
    assert metric(wave * np.float32(0.01), wave * np.float32(0.02)) == pytest.approx(1)


def test_wavlm_has_its_own_column_when_its_weights_are_here(huggingface: Path, wave: Wave) -> None:
    transformers = importlib.import_module("transformers")
    with pytest.raises(MissingError, match=f"weights of {WAVLM} are not on this machine"):
        WavlmSimilarity()
    config = transformers.WavLMConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        conv_dim=(8,) * 7,
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=2,
        tdnn_dim=(16,) * 5,
        xvector_output_dim=8,
    )
    folder = huggingface / f"models--{WAVLM.replace('/', '--')}"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text("0" * 40)
    snapshot = folder / "snapshots" / ("0" * 40)
    transformers.WavLMForXVector(config).save_pretrained(snapshot)
    transformers.Wav2Vec2FeatureExtractor().save_pretrained(snapshot)
    metric = WavlmSimilarity()
    assert metric.embed(wave).shape == (8,)
    assert metric(wave, wave) == pytest.approx(1)
    assert metric(wave, wave[::-1].copy()) < 1
