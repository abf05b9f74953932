"""Nothing in a step breaks a graph of `torch.compile`: traced as one, it gives what it gave.

`fullgraph=True` refuses whatever reads a value or that torch cannot trace; the backend "eager" runs
what was traced, on any device.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor

from bigcodec_models.architectures.network import CodecNetwork
from bigcodec_models.config import PRESETS
from bigcodec_models.layers.precomputed import precomputed
from bigcodec_models.losses.adversarial import feature_matching_loss, generator_loss
from bigcodec_models.training.codec_loss import CodecLoss
from bigcodec_models.training.config import recipe_for, with_settings

# Torch says that it traces the functions `_tables` and `_shares` anew, without their caches; and of
# functions with a gradient it makes instances itself, which it advises against.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Dynamo detected a call to a `functools"),
    pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning"),
]


PRESET = "toy-single"  # with attention, as `lite`; torch does not trace its LSTM


def losses() -> CodecLoss:
    small = {
        "losses": {"mel_windows": [128, 512], "loudness_weight": 5.0},
        "discriminators": {
            "mpd": {"size": "small", "periods": [2, 5]},
            "spectral": {"size": "small", "fft_sizes": [128, 512]},
        },
    }
    return CodecLoss(with_settings(recipe_for(PRESETS[PRESET]), small))


def noise(seed: int) -> Tensor:
    return 0.1 * torch.randn(2, 1, 8000, generator=torch.Generator().manual_seed(seed))


def check(function: Callable[[], Tensor], inputs: Sequence[Tensor]) -> None:
    """The same value and gradients, traced as one graph."""
    compiled = torch.compile(function, backend="eager", fullgraph=True)
    loss, traced = function(), compiled()
    assert torch.allclose(traced, loss, rtol=1e-5)
    gradients = torch.autograd.grad(loss, inputs)
    for one, other in zip(torch.autograd.grad(traced, inputs), gradients, strict=True):
        assert torch.allclose(one, other, rtol=1e-4, atol=1e-5 * float(other.abs().max()))


def test_generator_and_its_losses() -> None:
    torch.manual_seed(0)
    network, codec_loss, wave = CodecNetwork(PRESETS[PRESET]).train(), losses(), noise(1)

    def total() -> Tensor:
        return codec_loss.weighted_sum(codec_loss.generator_losses(wave, network(wave), None))

    check(total, [p for p in network.parameters() if p.requires_grad])


def test_discriminators_and_their_losses() -> None:
    torch.manual_seed(0)
    codec_loss, real, generated = losses(), noise(1), noise(2).requires_grad_()

    def total() -> Tensor:
        with precomputed(codec_loss.discriminators):
            target, features = codec_loss.discriminate(real), codec_loss.discriminate(generated)
        matching = feature_matching_loss(target, features)
        return (
            matching
            + generator_loss(features)
            + codec_loss.discriminator_losses(real, generated)["total"]
        )

    check(total, [generated, *codec_loss.discriminators.parameters()])
