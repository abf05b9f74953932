"""Adversarial losses, as functions of what the discriminators give.

Their argument is a list of sub-discriminators' features, scores last: join the lists of several
discriminators (`a + b`) to sum over all of them, as the published recipe does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

Outputs = Sequence[Sequence[Tensor]]
"""Per sub-discriminator, its feature maps, the last one being the score."""


class DiscriminatorLoss(NamedTuple):
    """Two scalars to minimise the sum of: on the real waves, and on the generated ones."""

    real: Tensor
    fake: Tensor


def discriminator_loss(real: Outputs, fake: Outputs) -> DiscriminatorLoss:
    """Least squares: real scores to 1, generated ones to 0 (LSGAN, arXiv 1611.04076).

    The mean over a score map, without the paper's factor 1/2, summed over sub-discriminators.
    `fake` must come from detached waves. At least one sub-discriminator is needed.
    """
    return DiscriminatorLoss(_distance(real, 1.0), _distance(fake, 0.0))


def generator_loss(fake: Outputs) -> Tensor:
    """Least squares: generated scores to 1, the same sum (LSGAN, arXiv 1611.04076)."""
    return _distance(fake, 1.0)


def feature_matching_loss(real: Outputs, fake: Outputs) -> Tensor:
    """L1 between features of real and generated waves, scores excluded (MelGAN, arXiv 1910.06711).

    The mean over a feature map, summed over layers and sub-discriminators without weights, as
    HiFi-GAN's and the published code do. The gradient goes to `fake` only.
    """
    return torch.stack(
        [
            mean_distance(ours.float(), target.detach().float())
            for reals, fakes in zip(real, fake, strict=True)
            for target, ours in zip(reals[:-1], fakes[:-1], strict=True)
        ]
    ).sum()


def _distance(outputs: Outputs, target: float) -> Tensor:
    scores = [features[-1].float() for features in outputs]
    return torch.stack([(score - target).square().mean() for score in scores]).sum()


class _MeanDistance(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, ours: Tensor, target: Tensor) -> Tensor:
        difference = ours - target
        ctx.save_for_backward(difference)
        return difference.abs().mean()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (difference,) = ctx.saved_tensors
        return difference.sign().mul_(grad / difference.numel()), None


def mean_distance(ours: Tensor, target: Tensor) -> Tensor:
    """`l1_loss` with a gradient to `ours` only, made in one pass and in the layout of its input.

    PyTorch's own takes three passes and forgets the layout, which slows down all that follows.
    """
    result: Tensor = _MeanDistance.apply(ours, target)  # type: ignore[no-untyped-call]
    return result
