"""What the device computes in a training step. Shapes are static and nothing is read back, so that
a step can be captured as a CUDA graph, and the host never waits for one."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from bigcodec_models.architectures.network import CodecNetwork, Reconstruction
from bigcodec_models.layers.precomputed import precomputed
from bigcodec_models.precision import bfloat16_pays
from bigcodec_models.quantization.codebooks import EMACodebook
from bigcodec_models.quantization.quantizer import Quantized
from bigcodec_models.training.codebook_usage import CodeUsage
from bigcodec_models.training.codec_loss import CodecLoss, frozen
from bigcodec_models.training.config import TrainConfig
from bigcodec_models.training.optimizers import Optimizers, clipped_gradients
from bigcodec_models.training.process_group import ProcessGroup
from bigcodec_models.training.running_means import GRADIENT_NORM
from bigcodec_models.training.step_inputs import StepInputs


@dataclasses.dataclass(frozen=True, kw_only=True)
class StepKind:
    """What a step consists of: whether the discriminators take part in the generator's loss
    (`adversarial`), whether they take a step of their own before (`discriminators`), and whether
    encoder and quantizer stay as they are (`decoder_only`)."""

    adversarial: bool
    discriminators: bool
    decoder_only: bool = False


class StepOutcome:
    """What became of the steps since the last reset: float32 scalars on the device.

    Once a loss or a gradient is not finite, `failed` is 1, and no update is made any more: weights,
    averages and optimizers stay as they are. `torn` is then 1 if the discriminators had taken their
    part of the step that failed. `completed` is the number of steps before it.
    """

    def __init__(self, device: torch.device) -> None:
        self._values = torch.zeros(3, device=device)
        self.failed, self.torn, self.completed = self._values.unbind()

    def read(self) -> tuple[bool, bool, int]:
        """`failed`, `torn` and `completed`. The host waits for the device here."""
        failed, torn, completed = self._values.tolist()
        return bool(failed), bool(torn), int(completed)

    def reset(self) -> None:
        """Begin again, with updates."""
        self._values.zero_()


class TrainingStep:
    """The computation of a step: discriminators first, then the generator against them, then moving
    averages and counts of codes.

    `ema` are the moving averages by name in the network's state. After a step `searched` are the
    inputs of the codebooks' searches, (B, T, codebook_dim) each. `outcome` tells whether steps were
    taken.
    """

    def __init__(
        self,
        config: TrainConfig,
        network: CodecNetwork,
        codec_loss: CodecLoss,
        optimizers: Mapping[str, Optimizers],
        ema: Mapping[str, Tensor],
        usage: CodeUsage,
        process_group: ProcessGroup,
    ) -> None:
        self.config, self.network, self.codec_loss = config, network, codec_loss
        self.process_group = process_group
        self._optimizers, self._usage = optimizers, usage
        state = network.state_dict()
        self._ema = list(ema.values())
        self._weights = [state[name] for name in ema]
        self._averaged_codes = [
            buffer
            for codebook in network.quantizer.codebooks
            if isinstance(codebook, EMACodebook)
            for buffer in (codebook.codes, codebook.counts)
        ]
        self.device = self._weights[0].device
        self.outcome = StepOutcome(self.device)
        self.searched: tuple[Tensor, ...] = ()
        self.in_step = False
        """Whether a step has changed weights and is not complete."""

    def __call__(self, kind: StepKind, inputs: StepInputs) -> dict[str, Tensor]:
        """Take a step; returns losses and gradient norms by name, scalars."""
        wave = inputs.wave
        still = [self.network.encoder, self.network.quantizer] if kind.decoder_only else []
        with frozen(*still):
            with self._autocast(), precomputed(self.network):
                output = self.network(wave, inputs.use_predicted_f0)
            seen = self._seen(wave, output.wave, inputs.segment_start) if kind.adversarial else None
            values: dict[str, Tensor] = {}
            if kind.discriminators and seen is not None:
                values |= self._discriminators_step(*seen)
            values |= self._generator_step(wave, output, seen, torn=kind.discriminators)
        if not (kind.decoder_only or self.config.freeze_encoder):
            self._update_averaged_codes(output.quantized)
        approach(self._ema, self._weights, inputs.ema_weight * (1 - self.outcome.failed))
        self._usage.add(output.quantized, 1 - self.outcome.failed, self.process_group)
        self.outcome.completed += 1 - self.outcome.failed
        self._keep(output.quantized.searched)
        values = {name: value.detach() for name, value in values.items()}
        self.process_group.all_reduce_mean(values.values())
        self.in_step = False
        return values

    def _seen(self, wave: Tensor, generated: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
        """The parts of waves (B, 1, N) that the discriminators see, from sample `start` on."""
        length = self.config.adversarial.segment_samples()
        if not length or length >= wave.shape[-1]:
            return wave, generated
        where = start + torch.arange(length, device=self.device)
        return wave.index_select(2, where), generated.index_select(2, where)

    def _discriminators_step(self, real: Tensor, generated: Tensor) -> dict[str, Tensor]:
        with self._autocast():
            losses = self.codec_loss.discriminator_losses(real, generated)
        return self._optimize("discriminators", losses.pop("total")) | losses

    def _generator_step(
        self,
        wave: Tensor,
        output: Reconstruction,
        seen: tuple[Tensor, Tensor] | None,
        *,
        torn: bool,
    ) -> dict[str, Tensor]:
        with self._autocast():
            losses = self.codec_loss.generator_losses(wave, output, seen)
            losses["total"] = self.codec_loss.weighted_sum(losses)
        before = self.outcome.failed.clone()
        values = self._optimize("generator", losses["total"]) | losses
        if torn:
            self.outcome.torn += self.outcome.failed - before
        return values

    def _optimize(self, name: str, total: Tensor) -> dict[str, Tensor]:
        """One step of an optimizer on a loss, a scalar; returns the gradient norm by its name."""
        optimizer, outcome = self._optimizers[name], self.outcome
        optimizer.zero_grad()
        norm, finite = clipped_gradients(
            total, optimizer.parameters(), self.config.optimizer.clip_norm, self.process_group
        )
        outcome.failed.copy_(torch.maximum(outcome.failed, 1 - finite))
        optimizer.step(skip=outcome.failed)
        self.in_step = True
        return {GRADIENT_NORM + name: norm}

    def _autocast(self) -> torch.autocast:
        return autocast_of(self.config, self.device)

    @torch.no_grad()
    def _update_averaged_codes(self, quantized: Quantized) -> None:
        """Update codes that are moving averages of latents."""
        before = [buffer.clone() for buffer in self._averaged_codes]
        self.network.quantizer.update_ema(quantized, self.process_group.all_reduce_sum)
        for buffer, old in zip(self._averaged_codes, before, strict=True):
            buffer.copy_(torch.where(self.outcome.failed > 0, old, buffer))

    def _keep(self, searched: Sequence[Tensor]) -> None:
        """Store the inputs of the searches where they outlast the step."""
        if [x.shape for x in searched] != [x.shape for x in self.searched]:
            self.searched = tuple(torch.empty_like(x) for x in searched)
        for kept, x in zip(self.searched, searched, strict=True):
            kept.copy_(x)


def autocast_of(config: TrainConfig, device: torch.device) -> torch.autocast:
    """The context in which a run computes its passes: `precision`, "auto" where bfloat16 pays."""
    precision = config.precision
    enabled = bfloat16_pays(device) if precision == "auto" else precision == "bfloat16"
    return torch.autocast(device.type, torch.bfloat16, enabled=enabled)


@torch.no_grad()
def approach(tensors: list[Tensor], targets: list[Tensor], weight: Tensor) -> None:
    """Move tensors toward targets of the same shapes by `weight`, a scalar in [0, 1]."""
    if weight.device.type == "cpu":
        torch._foreach_lerp_(tensors, targets, [weight] * len(tensors))
        return
    # On a GPU this form of lerp would take a launch for each tensor.
    differences = torch._foreach_sub(targets, tensors)
    torch._foreach_mul_(differences, weight)
    torch._foreach_add_(tensors, differences)
