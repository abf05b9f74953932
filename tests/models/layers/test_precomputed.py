"""Weights and scales that are computed for all layers at once: what each layer computes alone."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from bigcodec_models.architectures.network import CodecNetwork
from bigcodec_models.config import PRESETS
from bigcodec_models.discriminators.config import PRESETS as DISCRIMINATORS
from bigcodec_models.discriminators.registry import build_discriminators
from bigcodec_models.layers import precomputed
from bigcodec_models.layers.activation import AliasFreeSnakeBeta
from bigcodec_models.layers.weight_norm import WeightNorm


def network(preset: str = "toy") -> CodecNetwork:
    torch.manual_seed(0)
    built = CodecNetwork(PRESETS[preset]).train()
    with torch.no_grad():
        for parameter in built.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return built


def gradients(built: nn.Module, wave: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    assert isinstance(built, CodecNetwork)
    built.zero_grad()
    output = built(wave)
    (output.wave.square().sum() + output.quantized.loss).backward()
    named = built.named_parameters()
    return output.wave, {name: p.grad.clone() for name, p in named if p.grad is not None}


@pytest.mark.parametrize("large", [1 << 22, 1])
def test_values_and_gradients_stay(large: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precomputed, "_LARGE", large)
    built, wave = network(), 0.1 * torch.randn(2, 1, 3200)
    alone, expected = gradients(built, wave)
    with precomputed.precomputed(built):
        together, own = gradients(built, wave)
    assert torch.equal(together, alone) and own.keys() == expected.keys()
    for name, gradient in own.items():
        assert torch.allclose(gradient, expected[name], rtol=1e-4, atol=1e-6), name


def test_every_layer_takes_part_and_forgets_at_the_end() -> None:
    for built in (network(), build_discriminators(DISCRIMINATORS["small"])):
        layers = [m for m in built.modules() if isinstance(m, (WeightNorm, AliasFreeSnakeBeta))]
        with precomputed.precomputed(built):
            assert layers and all(layer.precomputed is not None for layer in layers)
        assert all(layer.precomputed is None for layer in layers)


def test_weights_of_discriminators_are_those_of_each_layer() -> None:
    torch.manual_seed(0)
    built = build_discriminators(DISCRIMINATORS["published"])
    layers = [layer for layer in built.modules() if isinstance(layer, WeightNorm)]
    with torch.no_grad():
        alone = [layer.weight() for layer in layers]
        with precomputed.precomputed(built):
            together = [layer.weight() for layer in layers]
    assert all(torch.equal(a, b) for a, b in zip(alone, together, strict=True))


def test_no_gradient_goes_through_what_is_frozen() -> None:
    built, wave = network(), 0.1 * torch.randn(1, 1, 3200)
    built.encoder.requires_grad_(False)
    with precomputed.precomputed(built):
        assert not built.encoder(wave).requires_grad
        assert built(wave).wave.requires_grad
