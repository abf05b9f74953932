"""Settings of training: the schedule they give, and which are refused."""

from __future__ import annotations

import dataclasses
import math

import pytest

from bigcodec_models import PRESETS
from bigcodec_models.config import ConfigError
from bigcodec_models.training.config import TrainConfig, recipe_for
from bigcodec_models.training.schedule import learning_rate


def test_learning_rate_follows_the_published_schedule() -> None:
    recipe = recipe_for(PRESETS["bigcodec"])
    assert learning_rate(0, recipe) == pytest.approx(1e-5)
    assert learning_rate(500, recipe) == pytest.approx(1e-5 + 9e-5 / 4)
    assert learning_rate(1000, recipe) == pytest.approx(1e-4)
    assert learning_rate(251_000, recipe) == pytest.approx(5.5e-5)
    assert learning_rate(10**9, recipe) == pytest.approx(1e-5)
    cosine = dataclasses.replace(recipe, decay="cosine")
    assert learning_rate(251_000, cosine) == pytest.approx(5.5e-5)
    assert learning_rate(126_000, cosine) > learning_rate(126_000, recipe)


@pytest.mark.parametrize(
    "changes",
    [
        {"batch_size": 0},
        {"learning_rate": 0.0},
        {"beta1": 1.0},
        {"decay": "steps"},
        {"mel_windows": ()},
        {"mel_windows": (30,)},
        {"crop_seconds": 0.1},
        {"final_learning_rate": 1.0},
        {"seed": -1},
        {"vq_weight": -1.0},
        {"discriminators": "huge"},
        {"precision": "int8"},
        {"codebook_loss": "l3"},
        {"noise_probability": 1.5},
        {"noise_snr_db": (3.0,)},
        {"validate_every": 0},
        {"discriminator_segment_seconds": 0.1},
        {"discriminator_segment_seconds": 1.1},
        {"crop_seconds": math.inf},
        {"gain_db": math.inf},
        {"learning_rate": math.nan},
        {"loudness_weight": -1.0},
        {"optimizer": "sgd"},
        {"freeze_encoder": True, "replace_dead_codes_every": 50},
    ],
)
def test_impossible_settings_are_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        dataclasses.replace(TrainConfig(), **changes)  # type: ignore[arg-type]
