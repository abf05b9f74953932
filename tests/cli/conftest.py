"""Models and audio for tests of the command line."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from bigcodec_models import PRESETS
from bigcodec_models.model_file import ModelInfo, save_model
from bigcodec_models.network import CodecNetwork


def save_toy(preset: str, folder: Path) -> Path:
    """A model file of a preset with random weights."""
    torch.manual_seed(11)
    config = PRESETS[preset]
    path = folder / f"{preset}.safetensors"
    info = ModelInfo(name=f"my-{preset}", licence="CC0-1.0", training={"steps": 0})
    save_model(path, CodecNetwork(config).state_dict(), config, info)
    return path


@pytest.fixture(scope="session", params=["toy", "toy-lite"])
def either_model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model file of each family in turn."""
    return save_toy(request.param, tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="session")
def toy_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model file, where the family does not matter."""
    return save_toy("toy-lite", tmp_path_factory.mktemp("models"))
