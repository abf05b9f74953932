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
from bigcodec_models.errors import NonFiniteError
from bigcodec_models.losses.adversarial import (
    discriminator_loss,
    feature_matching_loss,
    generator_loss,
)
from bigcodec_models.losses.spectral import MultiResolutionStftLoss, MultiScaleMelLoss, f0_loss
from bigcodec_models.training.config import TrainConfig
from bigcodec_models.training.process_group import SINGLE_PROCESS, ProcessGroup

Losses = dict[str, Tensor]
"""Scalars by name; `total` is the one to differentiate."""


class CodecLoss(nn.Module):
    """Losses and discriminators of a run, with their weights (paper section 2.4)."""

    def __init__(self, config: TrainConfig) -> None:
        super().__init__()
        self.config = config
        self.mel = MultiScaleMelLoss(config.mel_windows)
        self.stft = MultiResolutionStftLoss(config.stft_windows)
        chosen = choose_discriminators(config.discriminators)
        self.weights = {name: choice.weight for name, choice in chosen.items()}
        self.discriminators = build_discriminators({k: v.config for k, v in chosen.items()})

    def discriminate(self, wave: Tensor) -> list[Features]:
        """Features of a wave (B, 1, N) from every sub-discriminator."""
        return [features for part in self.discriminators.values() for features in part(wave)]

    def discriminator_losses(self, real: Tensor, generated: Tensor) -> Losses:
        """Losses of the discriminators on waves (B, 1, N); `generated` is detached here.

        The weights of single discriminators act on the generator only: a discriminator with a
        small weight should still learn at full speed.

        Both go through in one batch, which is faster than two: nothing mixes the waves of a batch.
        """
        both = self.discriminate(torch.cat([real, generated.detach().to(real.dtype)]))
        scores = [features[-1] for features in both]
        loss = discriminator_loss(
            [[score[: len(real)]] for score in scores],
            [[score[len(real) :]] for score in scores],
            self.config.adversarial_loss,
        )
        total = self.config.adversarial_weight * (loss.real + loss.fake)
        return {"discriminator_real": loss.real, "discriminator_fake": loss.fake, "total": total}

    def random_segment(self, samples: int) -> slice:
        """The samples of this step's crops that the discriminators see, at a random place."""
        length = self.config.segment_samples() or samples
        start = int(torch.randint(samples - length + 1, ())) if length < samples else 0
        return slice(start, start + length)

    def generator_losses(
        self, real: Tensor, output: Reconstruction, segment: slice | None
    ) -> Losses:
        """Losses of the generator against waves `real` (B, 1, N).

        The frozen discriminators see the samples of `segment`; None leaves them out. Called after
        the discriminators' own step: the updated ones are used, so the features of the real wave
        are computed again.
        """
        config = self.config
        losses = self._mel_losses(real.squeeze(1), output.wave.squeeze(1))
        losses["vq"] = output.quantized.loss
        total = config.mel_weight * losses["mel"] + config.vq_weight * losses["vq"]
        if "loudness" in losses:
            total = total + config.loudness_weight * losses["loudness"]
        if output.f0 is not None:
            losses["f0"] = f0_loss(*output.f0)
            total = total + config.f0_weight * losses["f0"]
        for name, weight, loss in self._further_losses(real, output.wave):
            losses[name] = loss
            total = total + weight * loss
        if segment is not None:
            losses |= self._adversarial_losses(real[..., segment], output.wave[..., segment])
            total = total + config.adversarial_weight * losses["adversarial"]
            total = total + config.feature_weight * losses["feature_matching"]
        return {**losses, "total": total}

    def _mel_losses(self, real: Tensor, generated: Tensor) -> Losses:
        if not self.config.loudness_weight:
            return {"mel": self.mel(generated, real)}
        distances = self.mel.distances(generated, real)
        return {"mel": distances.log, "loudness": distances.loudness}

    def _further_losses(
        self, real: Tensor, generated: Tensor
    ) -> Iterator[tuple[str, float, Tensor]]:
        """Name, weight and value of each loss that is not part of the published recipe."""
        config = self.config
        if config.wave_l1_weight:
            yield "wave_l1", config.wave_l1_weight, F.l1_loss(generated.float(), real)
        if config.wave_l2_weight:
            yield "wave_l2", config.wave_l2_weight, F.mse_loss(generated.float(), real)
        if config.stft_weight:
            yield "stft", config.stft_weight, self.stft(generated.squeeze(1), real.squeeze(1))

    def _adversarial_losses(self, real: Tensor, generated: Tensor) -> Losses:
        """Each discriminator's terms weighted as `discriminators` says."""
        weights = self._weights()
        self.discriminators.requires_grad_(False)
        with torch.no_grad():
            real_features = self.discriminate(real)
        features = self.discriminate(generated)
        losses = {
            "adversarial": generator_loss(features, self.config.adversarial_loss, weights),
            "feature_matching": feature_matching_loss(real_features, features, weights),
        }
        self.discriminators.requires_grad_(True)
        return losses

    def _weights(self) -> list[float]:
        """The weight of each sub-discriminator, in the order of `discriminate`."""
        weights: list[float] = []
        for name, discriminator in self.discriminators.items():
            assert isinstance(discriminator, Discriminator)
            weights += [self.weights.get(name, 1.0)] * len(discriminator.parts)
        return weights


class Stepping(Protocol):
    """An optimizer, or several as one."""

    def zero_grad(self) -> None: ...

    def step(self) -> Any: ...


def apply_gradients(
    total: Tensor,
    parameters: Iterable[nn.Parameter],
    optimizer: Stepping,
    clip: float,
    process_group: ProcessGroup = SINGLE_PROCESS,
) -> Tensor:
    """Differentiate, average over all processes, clip by norm, and step, unless something is not
    finite; returns the norm.

    Raises:
        NonFiniteError: before the optimizer's step, in every process.
    """
    parameters = list(parameters)
    optimizer.zero_grad()
    total.backward()  # type: ignore[no-untyped-call]
    mean = total.detach().clone()
    process_group.all_reduce_mean([mean, *(p.grad for p in parameters if p.grad is not None)])
    norm = nn.utils.clip_grad_norm_(parameters, clip)
    if not (torch.isfinite(mean) and torch.isfinite(norm)):
        optimizer.zero_grad()
        raise NonFiniteError("the loss or its gradient is not finite")
    optimizer.step()
    return norm
