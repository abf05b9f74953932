"""Plain Snake in the place of the alias-free activation."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from bigcodec_models.architectures.network import CodecNetwork
from bigcodec_models.config import PRESETS, BigCodecConfig, ConfigError, config_to_dict
from bigcodec_models.data.crops import CropSource, scan
from bigcodec_models.inference.receptive_field import receptive_fields
from bigcodec_models.layers.activation import AliasFreeSnakeBeta, Snake
from bigcodec_models.training.config import recipe_for, with_settings
from bigcodec_models.training.trainer import Trainer


def plain_snake() -> BigCodecConfig:
    toy = PRESETS["toy"]
    assert isinstance(toy, BigCodecConfig)
    return replace(toy, activation="snake")


def test_it_is_its_formula() -> None:
    snake = Snake(3)
    with torch.no_grad():
        snake.alpha.copy_(torch.tensor([-1.0, 0.0, 2.0]))
    x = torch.randn(2, 3, 50, generator=torch.Generator().manual_seed(1))
    a = np.exp([[-1.0], [0.0], [2.0]])
    expected = x.numpy() + np.sin(a * x.numpy()) ** 2 / a
    assert np.allclose(snake(x).detach(), expected, atol=1e-5)
    # Its slope is never negative: 1 + sin(2 a x).
    x.requires_grad_(True)
    (slope,) = torch.autograd.grad(snake(x).sum(), x)
    assert np.allclose(slope, 1 + np.sin(2 * a * x.detach().numpy()), atol=1e-4)


def test_it_replaces_every_activation_and_narrows_the_context() -> None:
    config = plain_snake()
    kinds = {type(part) for part in CodecNetwork(config).modules()}
    assert Snake in kinds and AliasFreeSnakeBeta not in kinds
    assert Snake not in {type(part) for part in CodecNetwork(PRESETS["toy"]).modules()}
    narrow, wide = receptive_fields(config), receptive_fields(PRESETS["toy"])
    assert narrow.encoder_pre.left < wide.encoder_pre.left
    assert narrow.encoder_post == (1, 1)
    assert "activation" not in config_to_dict(PRESETS["toy"])
    assert config_to_dict(config)["activation"] == "snake"
    with pytest.raises(ConfigError, match="activation must be one of"):
        replace(config, activation="relu")


def test_it_learns_a_fixed_batch(speech: Path, tmp_path: Path) -> None:
    wave, _ = soundfile.read(speech, dtype="float32")
    soundfile.write(tmp_path / "one.wav", wave, 16000)
    source = CropSource(scan(tmp_path), crop=8000, seed=4)
    settings = {
        "batch_size": 2,
        "crops": {"seconds": 0.5},
        "optimizer": {"learning_rate": 2e-3, "final_learning_rate": 2e-3, "warmup_steps": 0},
        "losses": {"mel_windows": [128, 512]},
        "discriminators": {"preset": "none"},
    }
    recipe = with_settings(recipe_for(plain_snake()), settings)
    trainer = Trainer(plain_snake(), recipe, source, tmp_path / "run", "cpu")
    batch = torch.from_numpy(source.batch(0, 2)).unsqueeze(1)
    before = {k: v.clone() for k, v in trainer.network.named_parameters() if "alpha" in k}
    losses = [float(trainer.train_step(batch)["mel"]) for _ in range(6)]
    assert losses[-1] < 0.95 * losses[0]
    logging.info("%s: mel %.2f to %.2f in %d steps", "snake", losses[0], losses[-1], len(losses))
    after = dict(trainer.network.named_parameters())
    assert before and all(not torch.equal(after[k], v) for k, v in before.items())
