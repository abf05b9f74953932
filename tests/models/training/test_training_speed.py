"""Fast implementations for training against PyTorch's plain ones."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from bigcodec_models.config import PRESETS
from bigcodec_models.discriminators.config import PRESETS as DISCRIMINATORS
from bigcodec_models.discriminators.layers import WeightNormConv2d
from bigcodec_models.discriminators.registry import build_discriminators
from bigcodec_models.losses.adversarial import discriminator_loss
from bigcodec_models.losses.distances import mean_distances
from bigcodec_models.training.codec_loss import CodecLoss
from bigcodec_models.training.config import recipe_for


@pytest.mark.parametrize("channels", [(1, 8), (8, 24), (1, 200), (200, 3)])
@pytest.mark.parametrize("shape", [(40, 6), (6, 40)])
def test_the_layout_in_memory_changes_no_convolution(
    channels: tuple[int, int], shape: tuple[int, int]
) -> None:
    torch.manual_seed(0)
    layer = WeightNormConv2d(*channels, (5, 3), (3, 2))
    parameters = list(layer.parameters())
    x = torch.randn(2, channels[0], *shape, requires_grad=True)
    expected = F.conv2d(x, layer.weight(), layer.bias, (3, 2), (2, 1))
    grad = torch.randn_like(expected)
    exact = torch.autograd.grad(expected, [x, *parameters], grad)
    for swapped in (False, True):
        output = layer(x.transpose(2, 3), True).transpose(2, 3) if swapped else layer(x)
        assert torch.allclose(output, expected, atol=1e-5)
        gradients = torch.autograd.grad(output, [x, *parameters], grad)
        for gradient, reference in zip(gradients, exact, strict=True):
            assert torch.allclose(gradient, reference, rtol=1e-4, atol=1e-4)


def plain_features(part: Any, wave: Tensor) -> list[Tensor]:
    """A sub-discriminator by the book: convolutions over (H, W), one after the other."""
    x = part.front(wave)
    features = []
    for layer in part.layers:
        x = F.conv2d(x, layer.weight(), layer.bias, layer.stride, layer.padding)
        x = F.leaky_relu(x, part.slope)
        features.append(x)
    score = part.score
    return [*features, F.conv2d(x, score.weight(), score.bias, score.stride, score.padding)]


def test_features_are_in_their_usual_shape() -> None:
    torch.manual_seed(0)
    wave = 0.1 * torch.randn(2, 1, 4001)
    for discriminator in build_discriminators(DISCRIMINATORS["small"]).values():
        assert isinstance(discriminator.parts, torch.nn.ModuleList)
        for part in discriminator.parts:
            for feature, expected in zip(part(wave), plain_features(part, wave), strict=True):
                assert feature.shape == expected.shape
                assert torch.allclose(feature, expected, atol=1e-5)


def test_real_and_generated_waves_do_not_mix_in_their_batch() -> None:
    torch.manual_seed(0)
    codec_loss = CodecLoss(recipe_for(PRESETS["toy-lite"]))
    real, generated = 0.1 * torch.randn(2, 1, 4000), 0.1 * torch.randn(3, 1, 4000)
    joined = codec_loss.discriminator_losses(real, generated)
    alone = discriminator_loss(codec_loss.discriminate(real), codec_loss.discriminate(generated))
    assert torch.allclose(joined["discriminator_real"], alone.real, rtol=1e-5)
    assert torch.allclose(joined["discriminator_fake"], alone.fake, rtol=1e-5)


def test_mean_distance_is_the_l1_loss() -> None:
    torch.manual_seed(0)
    estimate = torch.randn(3, 4, 5).transpose(1, 2).requires_grad_()
    target = torch.randn(3, 5, 4)
    target[0, 0, 0] = estimate[0, 0, 0].detach()
    loss, expected = mean_distances([estimate], [target], [1.0]), F.l1_loss(estimate, target)
    assert torch.allclose(loss, expected, rtol=1e-6)
    (gradient,), (exact,) = (torch.autograd.grad(x * 3, [estimate]) for x in (loss, expected))
    assert torch.allclose(gradient, exact)
    assert gradient.stride() == estimate.stride() and gradient[0, 0, 0] == 0


def test_mean_distances_are_weighted_l1_losses() -> None:
    torch.manual_seed(0)
    shapes = [(3, 4, 5), (2, 1, 7), (1, 2, 2)]
    estimates = [torch.randn(shape, requires_grad=True) for shape in shapes]
    targets = [torch.randn(shape) for shape in shapes]
    factors = [0.5, 1.0, 3.0]
    loss = mean_distances(estimates, targets, factors)
    pairs = zip(estimates, targets, factors, strict=True)
    expected = torch.stack([f * F.l1_loss(x, y) for x, y, f in pairs]).sum()
    assert torch.allclose(loss, expected, rtol=1e-6)
    for one, other in zip(
        torch.autograd.grad(loss * 3, estimates),
        torch.autograd.grad(expected * 3, estimates),
        strict=True,
    ):
        assert torch.allclose(one, other)
