"""Adversarial losses, as functions of the outputs of discriminators.

Outputs are a list of the features of sub-discriminators, with the score last. The lists of several
discriminators are joined (`a + b`) to sum over all of them, as in the published recipe.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from bigcodec_models.losses.distances import mean_distances

_Term = Callable[[Tensor], Tensor]

Outputs = Sequence[Sequence[Tensor]]
"""For each sub-discriminator, its feature maps (B, C, H, W), the last one being the score."""

Weights = Sequence[float] | None
"""A factor for the terms of each sub-discriminator; None for 1 everywhere."""


class DiscriminatorLoss(NamedTuple):
    """Two scalars, whose sum is minimized: on the real waves, and on the generated ones."""

    real: Tensor
    fake: Tensor


def discriminator_loss(
    real: Outputs, fake: Outputs, kind: str = "least_squares"
) -> DiscriminatorLoss:
    """Losses of the discriminators; `kind` is one of `ADVERSARIAL_LOSSES`.

    Each is the mean over a score map, summed over sub-discriminators. Least squares has the targets
    1 for real and 0 for generated waves, without the paper's factor 1/2. `fake` must come from
    detached waves. At least one sub-discriminator is needed.
    """
    terms: dict[str, tuple[_Term, _Term]] = {
        "least_squares": (lambda x: (x - 1).square(), torch.square),
        "hinge": (lambda x: F.relu(1 - x), lambda x: F.relu(1 + x)),
        "bce": (lambda x: F.softplus(-x), F.softplus),
    }
    of_real, of_fake = terms[kind]
    return DiscriminatorLoss(_total(real, of_real, None), _total(fake, of_fake, None))


def generator_loss(fake: Outputs, kind: str = "least_squares", weights: Weights = None) -> Tensor:
    """Loss of the generator, a scalar: the same sum with `weights`.

    The target of generated scores is 1 with least squares and cross entropy. Hinge takes minus the
    score, which has no lower bound.
    """
    terms: dict[str, _Term] = {
        "least_squares": lambda x: (x - 1).square(),
        "hinge": torch.neg,
        "bce": lambda x: F.softplus(-x),
    }
    return _total(fake, terms[kind], weights)


def feature_matching_loss(real: Outputs, fake: Outputs, weights: Weights = None) -> Tensor:
    """L1 between features of real and generated waves, scores excluded (MelGAN, arXiv 1910.06711).

    A scalar: the mean over a feature map, summed over layers, and over sub-discriminators with
    `weights`, which HiFi-GAN and the published code do not have. The gradient goes to `fake` only.
    """
    terms = [
        (generated, target, weight)
        for weight, reals, fakes in zip(_each(weights, fake), real, fake, strict=True)
        for target, generated in zip(reals[:-1], fakes[:-1], strict=True)
    ]
    generated, targets, factors = zip(*terms, strict=True)
    return mean_distances(generated, targets, factors)


def _total(outputs: Outputs, term: _Term, weights: Weights) -> Tensor:
    """The weighted sum of the means of a term over the score maps, all maps in one tensor."""
    factors = _each(weights, outputs)
    scores = [_flat(features[-1]) for features in outputs]
    joined = torch.cat(scores).float()
    pairs = zip(scores, factors, strict=True)
    shares = _shares(tuple((len(score), f / len(score)) for score, f in pairs), joined.device)
    return (term(joined) * shares).sum()


def _flat(score: Tensor) -> Tensor:
    """A map (B, 1, H, W) in any order, which a mean does not depend on: that of the memory."""
    return (score if score.is_contiguous() else score.mT).flatten()


@functools.cache
def _shares(parts: tuple[tuple[int, float], ...], device: torch.device) -> Tensor:
    """Each number of `parts` as often as the count before it says: (sum of the counts,). Cached for
    good: copies to a device are slow, and a step captured as a CUDA graph goes on reading it."""
    shares = torch.cat([torch.full((count,), value, device="cpu") for count, value in parts])
    return shares.to(device)


def _each(weights: Weights, outputs: Outputs) -> Sequence[float]:
    return [1.0] * len(outputs) if weights is None else weights
