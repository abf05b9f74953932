"""Presets against the paper's sizes, and configurations as data."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from bigcodec_cli.training.plan import preset_names
from bigcodec_models.architectures.network import CodecNetwork
from bigcodec_models.config import (
    PRESETS,
    BigCodecConfig,
    ConfigError,
    LiteConfig,
    QuantizerConfig,
    config_from_dict,
    config_to_dict,
)


def parameters(preset: str) -> tuple[float, float, float]:
    """Millions of parameters: the encoder's, the rest's, all."""
    with torch.device("meta"):
        network = CodecNetwork(PRESETS[preset])
    encoder = sum(p.numel() for p in network.encoder.parameters()) / 1e6
    total = sum(p.numel() for p in network.parameters()) / 1e6
    return encoder, total - encoder, total


@pytest.mark.parametrize(
    ("preset", "low", "high"),
    [
        ("bigcodec", 159.4, 159.5),
        ("bigcodec-base", 16.7, 16.8),
        ("bigcodec-300m", 290, 310),
        ("bigcodec-small-enc", 84, 90),
        ("bigcodec-no-lstm", 139, 145),
        ("lite", 20, 22),
    ],
)
def test_presets_have_the_size_that_their_source_gives(
    preset: str, low: float, high: float
) -> None:
    assert low <= parameters(preset)[2] <= high


def test_the_full_preset_is_split_as_published() -> None:
    encoder, rest, _ = parameters("bigcodec")
    assert round(encoder, 1) == 76.5
    assert round(rest, 1) == 82.9


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_are_frozen_and_come_back_from_json_form(preset: str) -> None:
    config = PRESETS[preset]
    assert config_from_dict(config_to_dict(config)) == config
    assert config.hop == 200
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.latent_dim = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"family": "other"},
        {"family": "lite", "depth": 3},
        {"family": "lite", "hop": "200"},
        {"family": "lite", "hop": True},
        {"family": "lite", "hop": 0},
        {"family": "lite", "n_fft": 600},
        {"family": "lite", "kernel_size": 4},
        {"family": "lite", "decoder_width": 1 << 40},
        {"family": "lite", "quantizer": {"codebook_size": 1}},
        {"family": "lite", "quantizer": 3},
        {"family": "bigcodec", "encoder_strides": []},
        {"family": "bigcodec", "encoder_strides": [2, "2"]},
        {"family": "bigcodec", "encoder_strides": [2, 2, 2, 5, 4]},
        {"family": "bigcodec", "decoder_width": 48},
        {"family": "bigcodec", "encoder_width": 8000},
        {"family": "bigcodec", "dilations": [0]},
        {"family": "bigcodec", "lstm_dropout": 1.0},
    ],
)
def test_bad_configurations_are_refused(data: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        config_from_dict(data)


def test_integers_serve_as_floats() -> None:
    config = config_from_dict({"family": "bigcodec", "quantizer": {"commitment": 1}})
    assert config == BigCodecConfig(quantizer=QuantizerConfig(commitment=1.0))
    assert isinstance(config.quantizer.commitment, float)


def test_hop_follows_from_the_strides() -> None:
    assert BigCodecConfig(encoder_strides=(2, 5), decoder_strides=(5, 2)).hop == 10
    assert LiteConfig(hop=100, n_fft=400).hop == 100


def test_toy_presets_are_not_listed_for_users() -> None:
    assert preset_names() == [
        "bigcodec",
        "bigcodec-base",
        "bigcodec-300m",
        "bigcodec-small-enc",
        "bigcodec-no-lstm",
        "lite",
    ]
    assert {"toy", "toy-lite", "toy-single", "toy-harmonic"} == set(PRESETS) - set(preset_names())
