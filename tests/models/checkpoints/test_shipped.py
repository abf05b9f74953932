"""The shipped weights: that the table is true of them, and that real speech survives them."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pystoi
import pytest
import soundfile
import torch

from bigcodec_models import Codec
from bigcodec_models.registry import BuiltinModel, builtin_models, find_builtin

WEIGHTS = Path(__file__).parents[3] / "models" / "bigcodec_models" / "weights"
SIZES = {"lite-5": (8192,)}
FLOORS = {"lite-5": (0.917, 2.80)}
"""STOI and PESQ-WB on the shared clip, a little below what was measured: 0.927 and 2.902."""
every_model = pytest.mark.parametrize("model", builtin_models(), ids=lambda model: model.name)


def test_lite_is_the_newest() -> None:
    newest = builtin_models()[-1]
    assert newest.name.startswith("lite-")
    assert find_builtin("lite") == newest
    assert find_builtin("nothing") is None


@every_model
def test_the_table_is_true(model: BuiltinModel) -> None:
    codec = Codec.load(model.name)
    assert codec.fingerprint == model.fingerprint
    assert (codec.info.name, codec.info.license) == (model.name, model.license)
    assert codec.info.training["steps"] > 0
    assert (codec.hop, codec.config.token_sizes) == (200, SIZES[model.name])


@every_model
def test_files_are_small_and_loaded_without_random_weights(model: BuiltinModel) -> None:
    """Weights that are about to be replaced would take seconds to draw."""
    assert model.path.stat().st_size <= 44_000_000
    state = torch.get_rng_state()
    Codec.load(model.name)
    assert torch.equal(torch.get_rng_state(), state)


@every_model
def test_every_model_has_a_card(model: BuiltinModel) -> None:
    card = (WEIGHTS / f"{model.name.upper()}.md").read_text(encoding="utf-8")
    assert card.startswith(f"# {model.name}\n") and "@" not in card
    for word in ("parameters", "data", "steps", "license", "STOI", "PESQ-WB"):
        assert word in card


@every_model
def test_speech_is_as_good_as_the_card_says(model: BuiltinModel, speech: Path) -> None:
    wave, rate = soundfile.read(speech, dtype="float32")
    codec = Codec.load(model.name)
    tokens = codec.encode(wave)
    restored = codec.decode(tokens, len(wave))
    stoi, pesq_wb = FLOORS[model.name]
    assert pystoi.stoi(wave, restored, rate) > stoi
    if importlib.util.find_spec("pesq"):
        from pesq import pesq

        assert pesq(rate, wave, restored, "wb") > pesq_wb
    codes = tokens if tokens.ndim == 1 else tokens[:, 0]
    assert len(np.unique(codes)) > len(codes) / 2
    level = np.sqrt(np.mean(restored**2)) / np.sqrt(np.mean(wave**2))
    assert 0.9 < level < 1.1
