"""What a training step depends on besides weights and optimizers."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from bigcodec_models.data.device_crops import moved
from bigcodec_models.training.config import TrainConfig


@dataclasses.dataclass
class StepInputs:
    """The inputs of a step, on the device of the run.

    `wave` (B, 1, N); `use_predicted_f0`, bool (B,), whether the excitation of each crop follows the
    F0 that the decoder predicts, or None for models that predict none; scalars: `segment_start`,
    int64, the first sample that the discriminators see, and `ema_weight`, the weight of the new
    weights in their moving average.
    """

    wave: Tensor
    use_predicted_f0: Tensor | None
    segment_start: Tensor
    ema_weight: Tensor


class InputMaker:
    """Makes the inputs of steps in the process `rank` of a run. The two scalars stay where they
    are: each step overwrites those of the one before."""

    def __init__(self, config: TrainConfig, device: torch.device, rank: int) -> None:
        self._config, self._device, self._rank = config, device, rank
        self._segment_start = torch.zeros((), dtype=torch.int64, device=device)
        self._ema_weight = torch.zeros((), device=device)

    def inputs(
        self, wave: Tensor, step: int, *, adversarial: bool, predicts_f0: bool
    ) -> StepInputs:
        """The inputs of a step on waves (B, 1, N); this seeds torch's random numbers.

        The step and the seed determine all random numbers, so that resuming needs no state. The
        segment is the same in all processes; what follows, such as dropout, differs between them as
        it does within a batch.
        """
        seed = self._config.seed
        torch.manual_seed(seed * 1_000_003 + step)
        if adversarial:
            self._segment_start.fill_(self._random_start(wave.shape[-1]))
        if self._rank:
            torch.manual_seed((seed + 7919 * self._rank) * 1_000_003 + step)
        # Early in a run the average follows closely, or it would be mostly the random start.
        decay = min(self._config.ema_decay, (1 + step) / (10 + step))
        self._ema_weight.fill_(1 - decay)
        return StepInputs(
            wave=wave,
            use_predicted_f0=self._use_predicted_f0(len(wave)) if predicts_f0 else None,
            segment_start=self._segment_start,
            ema_weight=self._ema_weight,
        )

    def _random_start(self, samples: int) -> int:
        """Where the part of each crop, of `samples`, starts that the discriminators see."""
        length = self._config.adversarial.segment_samples() or samples
        return int(torch.randint(samples - length + 1, ())) if length < samples else 0

    def _use_predicted_f0(self, crops: int) -> Tensor:
        """True for the fraction `predicted_f0_fraction` of the crops, on average: the decoder
        learns both to cope with its own errors and to use the true F0 of streams that carry it."""
        return moved(torch.rand(crops) < self._config.predicted_f0_fraction, self._device)
