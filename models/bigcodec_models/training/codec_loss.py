"""The losses of one training step, and the order in which they are taken."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bigcodec_models.architectures.network import Reconstruction
from bigcodec_models.discriminators import (
    Discriminator,
    Features,
    build_discriminators,
    choose_discriminators,
)
from bigcodec_models.losses.adversarial import (
    discriminator_loss,
    feature_matching_loss,
    generator_loss,
)
from bigcodec_models.losses.spectral import MultiResolutionStftLoss, MultiScaleMelLoss, f0_loss
from bigcodec_models.training.config import TrainConfig
from bigcodec_models.training.process_group import ALONE, Team

Losses = dict[str, Tensor]
"""Scalars by name; `total` is the one to differentiate."""


class Objective(nn.Module):
    """Losses and discriminators of a run, with their weights (paper section 2.4)."""

    def __init__(self, config: TrainConfig) -> None:
        super().__init__()
        self.config = config
        self.mel = MultiScaleMelLoss(config.mel_windows)
        self.stft = MultiResolutionStftLoss(config.stft_windows)
        chosen = choose_discriminators(config.discriminators)
        self.shares = {name: choice.weight for name, choice in chosen.items()}
        self.discriminators = build_discriminators({k: v.config for k, v in chosen.items()})

    def judge(self, wave: Tensor) -> list[Features]:
        """Features of a wave (B, 1, N) from every sub-discriminator."""
        return [features for part in self.discriminators.values() for features in part(wave)]

    def discriminator_losses(self, real: Tensor, generated: Tensor) -> Losses:
        """Losses of the discriminators on waves (B, 1, N); `generated` is detached here.

        The weights of single discriminators do not act here: each has parameters of its own, and
        one that counts for less with the generator should not learn less well for that.

        Both go through in one batch, which is faster than two: nothing mixes the waves of a batch.
        """
        both = self.judge(torch.cat([real, generated.detach().to(real.dtype)]))
        scores = [features[-1] for features in both]
        loss = discriminator_loss(
            [[score[: len(real)]] for score in scores],
            [[score[len(real) :]] for score in scores],
            self.config.adversarial_loss,
        )
        total = self.config.adversarial_weight * (loss.real + loss.fake)
        return {"discriminator_real": loss.real, "discriminator_fake": loss.fake, "total": total}

    def choose_judged(self, samples: int) -> slice:
        """The part of this step's crops that the discriminators see: see `adversarial_seconds`."""
        length = self.config.judged_samples() or samples
        start = int(torch.randint(samples - length + 1, ())) if length < samples else 0
        return slice(start, start + length)

    def generator_losses(self, real: Tensor, made: Reconstruction, judged: slice | None) -> Losses:
        """Losses of the generator; `judged` samples are put to the discriminators, frozen.

        Called after the discriminators' own step, so that it is the updated ones that judge; the
        features of the real wave are computed anew for the same reason.
        """
        config = self.config
        losses = self._mel_losses(real.squeeze(1), made.wave.squeeze(1))
        losses["vq"] = made.quantized.loss
        total = config.mel_weight * losses["mel"] + config.vq_weight * losses["vq"]
        if "loudness" in losses:
            total = total + config.loudness_weight * losses["loudness"]
        if made.f0 is not None:
            losses["f0"] = f0_loss(*made.f0)
            total = total + config.f0_weight * losses["f0"]
        for name, weight, loss in self._further_losses(real, made.wave):
            losses[name] = loss
            total = total + weight * loss
        if judged is not None:
            losses |= self._adversarial_losses(real[..., judged], made.wave[..., judged])
            total = total + config.adversarial_weight * losses["adversarial"]
            total = total + config.feature_weight * losses["feature_matching"]
        return {**losses, "total": total}

    def _mel_losses(self, real: Tensor, made: Tensor) -> Losses:
        if not self.config.loudness_weight:
            return {"mel": self.mel(made, real)}
        found = self.mel.distances(made, real)
        return {"mel": found.log, "loudness": found.loudness}

    def _further_losses(self, real: Tensor, made: Tensor) -> Iterator[tuple[str, float, Tensor]]:
        """Name, weight and value of each loss that is not part of the published recipe."""
        config = self.config
        if config.wave_l1_weight:
            yield "wave_l1", config.wave_l1_weight, F.l1_loss(made.float(), real)
        if config.wave_l2_weight:
            yield "wave_l2", config.wave_l2_weight, F.mse_loss(made.float(), real)
        if config.stft_weight:
            yield "stft", config.stft_weight, self.stft(made.squeeze(1), real.squeeze(1))

    def _adversarial_losses(self, real: Tensor, made: Tensor) -> Losses:
        """Each discriminator's terms weighted as `discriminators` says."""
        weights = self._weights()
        self.discriminators.requires_grad_(False)
        with torch.no_grad():
            wanted = self.judge(real)
        found = self.judge(made)
        losses = {
            "adversarial": generator_loss(found, self.config.adversarial_loss, weights),
            "feature_matching": feature_matching_loss(wanted, found, weights),
        }
        self.discriminators.requires_grad_(True)
        return losses

    def _weights(self) -> list[float]:
        """The weight of each sub-discriminator, in the order of `judge`."""
        weights: list[float] = []
        for name, found in self.discriminators.items():
            assert isinstance(found, Discriminator)
            weights += [self.shares.get(name, 1.0)] * len(found.parts)
        return weights


class Stepping(Protocol):
    """An optimiser, or several as one."""

    def zero_grad(self) -> None: ...

    def step(self) -> Any: ...


class NonFiniteError(Exception):
    """A loss or gradient is not finite; nothing has been changed by the step that had it."""


def apply_gradients(
    total: Tensor,
    parameters: Iterable[nn.Parameter],
    optimizer: Stepping,
    clip: float,
    team: Team = ALONE,
) -> Tensor:
    """Differentiate, average over the team, clip by norm, and step, unless something is not
    finite; returns the norm.

    Raises:
        NonFiniteError: before the optimiser's step, in every process of the team.
    """
    parameters = list(parameters)
    optimizer.zero_grad()
    total.backward()  # type: ignore[no-untyped-call]
    mean = total.detach().clone()
    team.average([mean, *(p.grad for p in parameters if p.grad is not None)])
    norm = nn.utils.clip_grad_norm_(parameters, clip)
    if not (torch.isfinite(mean) and torch.isfinite(norm)):
        optimizer.zero_grad()
        raise NonFiniteError("the loss or its gradient is not finite")
    optimizer.step()
    return norm
