"""What the tests of the metrics share."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from bigcodec_models.arrays import Wave


@pytest.fixture(scope="session")
def wave(speech: Path) -> Wave:
    """Three seconds of real speech at 16 kHz."""
    samples, _ = soundfile.read(speech, dtype="float32")
    return np.asarray(samples[8000:56000])


@pytest.fixture(scope="session")
def noise(wave: Wave) -> Wave:
    """White noise as loud as the speech."""
    samples = np.random.default_rng(5).standard_normal(len(wave))
    return np.asarray(samples * np.sqrt(np.mean(wave**2)), np.float32)


@pytest.fixture
def huggingface(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of Hugging Face models in place of the user's."""
    pytest.importorskip("transformers")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"
