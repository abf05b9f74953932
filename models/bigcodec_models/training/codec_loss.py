"""The losses of one training step, their weights, and the discriminators."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bigcodec_models.architectures.network import Reconstruction
from bigcodec_models.discriminators.layers import Discriminator, Features
from bigcodec_models.discriminators.registry import build_discriminators
from bigcodec_models.layers.precomputed import precomputed
from bigcodec_models.losses.adversarial import (
    discriminator_loss,
    feature_matching_loss,
    generator_loss,
)
from bigcodec_models.losses.phase_rotation import PhaseRotation
from bigcodec_models.losses.spectral import MultiResolutionStftLoss, MultiScaleMelLoss, f0_loss
from bigcodec_models.training.config import TrainConfig

Losses = dict[str, Tensor]
"""Scalars by name."""


class CodecLoss(nn.Module):
    """Losses and discriminators of a run, with their weights (paper section 2.4).

    `weights` are those of the generator's losses, by name.
    """

    def __init__(self, config: TrainConfig) -> None:
        super().__init__()
        losses, adversarial = config.losses, config.adversarial
        self.config = config
        self.weights = {
            "mel": losses.mel_weight,
            "vq": losses.vq_weight,
            "loudness": losses.loudness_weight,
            "f0": losses.f0_weight,
            "wave_l1": losses.wave_l1_weight,
            "wave_l2": losses.wave_l2_weight,
            "stft": losses.stft_weight,
            "adversarial": adversarial.weight,
            "feature_matching": adversarial.feature_weight,
        }
        self.mel = MultiScaleMelLoss(losses.mel_windows)
        self.stft = MultiResolutionStftLoss(losses.stft_windows)
        self.discriminators = build_discriminators(config.discriminators)
        self.rotation = PhaseRotation() if adversarial.rotate_phases else None

    def discriminate(self, wave: Tensor) -> list[Features]:
        """Features of a wave (B, 1, N) from every sub-discriminator."""
        return [features for part in self.discriminators.values() for features in part(wave)]

    def discriminator_losses(self, real: Tensor, generated: Tensor) -> Losses:
        """Losses of the discriminators on waves (B, 1, N), and their weighted `total`.

        `generated` is detached here. The weights of single discriminators do not act here: one
        with a small weight should still learn at full speed. All waves go through in one batch,
        which is faster than two; nothing mixes the waves of a batch.
        """
        pair = self._rotated(real, generated.detach())
        with precomputed(self.discriminators):
            both = self.discriminate(torch.cat([pair[0], pair[1].to(pair[0].dtype)]))
        scores = [torch.split(features[-1], [len(real), len(generated)]) for features in both]
        loss = discriminator_loss(
            [[score] for score, _ in scores],
            [[score] for _, score in scores],
            self.config.adversarial.loss,
        )
        total = self.config.adversarial.weight * (loss.real + loss.fake)
        return {"discriminator_real": loss.real, "discriminator_fake": loss.fake, "total": total}

    def generator_losses(
        self, real: Tensor, output: Reconstruction, seen: tuple[Tensor, Tensor] | None
    ) -> Losses:
        """Losses of the generator, without weights, against waves `real` (B, 1, N).

        `seen` are the parts of the real and the generated waves, (B, 1, n), that the frozen
        discriminators see; None leaves them out. Called after the discriminators' own step: the
        updated ones are used, so the features of the real wave are computed again.
        """
        losses = self._mel_losses(real.squeeze(1), output.wave.squeeze(1))
        losses["vq"] = output.quantized.loss
        if output.f0 is not None:
            losses["f0"] = f0_loss(*output.f0)
        losses |= self._further_losses(real, output.wave)
        if seen is not None:
            losses |= self._adversarial_losses(*seen)
        return losses

    def weighted_sum(self, losses: Losses) -> Tensor:
        """What the generator minimizes, a scalar: its losses times their weights, added up."""
        terms = [weight * losses[name] for name, weight in self.weights.items() if name in losses]
        return sum(terms[1:], start=terms[0])

    def _mel_losses(self, real: Tensor, generated: Tensor) -> Losses:
        """Distances of waves (B, N)."""
        if not self.weights["loudness"]:
            return {"mel": self.mel(generated, real)}
        distances = self.mel.distances(generated, real)
        return {"mel": distances.log, "loudness": distances.loudness}

    def _further_losses(self, real: Tensor, generated: Tensor) -> Losses:
        """Losses on waves (B, 1, N) that are not part of the published recipe, where they have a
        weight."""
        losses: Losses = {}
        if self.weights["wave_l1"]:
            losses["wave_l1"] = F.l1_loss(generated.float(), real)
        if self.weights["wave_l2"]:
            losses["wave_l2"] = F.mse_loss(generated.float(), real)
        if self.weights["stft"]:
            losses["stft"] = self.stft(generated.squeeze(1), real.squeeze(1))
        return losses

    def _adversarial_losses(self, real: Tensor, generated: Tensor) -> Losses:
        """Losses that the discriminators give on waves (B, 1, N), each times its own weight."""
        weights = self._discriminator_weights()
        real, generated = self._rotated(real, generated)
        with frozen(self.discriminators), precomputed(self.discriminators):
            with torch.no_grad():
                real_features = self.discriminate(real)
            features = self.discriminate(generated)
        return {
            "adversarial": generator_loss(features, self.config.adversarial.loss, weights),
            "feature_matching": feature_matching_loss(real_features, features, weights),
        }

    def _rotated(self, real: Tensor, generated: Tensor) -> tuple[Tensor, Tensor]:
        """Waves (B, 1, N), those of a pair by the same random phases where a run asks for it."""
        if self.rotation is None:
            return real, generated
        phases = self.rotation.draw(len(real))
        return self.rotation(real, phases), self.rotation(generated, phases)

    def _discriminator_weights(self) -> list[float]:
        """The weight of each sub-discriminator, in the order of `discriminate`."""
        weights: list[float] = []
        for discriminator in self.discriminators.values():
            assert isinstance(discriminator, Discriminator)
            weights += [discriminator.config.weight] * len(discriminator.parts)
        return weights


@contextlib.contextmanager
def frozen(*modules: nn.Module) -> Iterator[None]:
    """No gradient reaches the parameters of `modules`; all of them have one otherwise."""
    for module in modules:
        module.requires_grad_(False)
    try:
        yield
    finally:
        for module in modules:
            module.requires_grad_(True)
