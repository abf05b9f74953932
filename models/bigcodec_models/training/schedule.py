"""What a run does when: by the number of the step, so that resuming needs no state, or by the
elapsed part of a time budget."""

from __future__ import annotations

import dataclasses
import math

from bigcodec_models.training.config import BudgetConfig, OptimizerConfig, TrainConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class Phase:
    """The learning rate of a step, whether the discriminators take part in it, and whether encoder
    and quantizer stay as they are."""

    learning_rate: float
    adversarial: bool
    decoder_only: bool = False


def phase_at(config: TrainConfig, step: int, seconds: float) -> Phase:
    """The phase of the step numbered `step` from 0, which begins after `seconds` of training.

    Without a budget only the step counts, with one only the time.
    """
    budget = config.budget
    if not budget.seconds:
        rate = learning_rate(step, config.optimizer)
        return Phase(learning_rate=rate, adversarial=config.adversarial_at(step))
    elapsed = min(1.0, seconds / budget.schedule_seconds())
    return Phase(
        learning_rate=_rate_of_budget(elapsed, budget.warmup_fraction, config.optimizer),
        adversarial=bool(config.discriminators.chosen()) and elapsed >= budget.adversarial_from,
        decoder_only=elapsed >= budget.decoder_only_from and not config.freeze_encoder,
    )


def learning_rate(step: int, config: OptimizerConfig) -> float:
    """Rate for the step numbered `step` from 0: quadratic rise, then decay, then constant."""
    if step < config.warmup_steps:
        return _rising(step / config.warmup_steps, config)
    return _falling((step - config.warmup_steps) / config.decay_steps, config)


def _rate_of_budget(elapsed: float, warmup: float, config: OptimizerConfig) -> float:
    """The same rise and decay over a budget of which a part, 0 to 1, has elapsed."""
    if elapsed < warmup:
        return _rising(elapsed / warmup, config)
    return _falling((elapsed - warmup) / (1 - warmup), config)


def _rising(progress: float, config: OptimizerConfig) -> float:
    start = min(config.final_learning_rate, config.learning_rate)
    return start + (config.learning_rate - start) * progress**2


def _falling(progress: float, config: OptimizerConfig) -> float:
    progress = min(1.0, progress)
    if config.decay == "cosine":
        progress = (1 - math.cos(math.pi * progress)) / 2
    peak, final = config.learning_rate, config.final_learning_rate
    return peak + (final - peak) * progress


class TimeBudget:
    """How far a time budget goes, if there is one: the last checkpoint and validation must still be
    within it. `saving` and `validating` are the seconds that the latest ones took."""

    def __init__(self, config: BudgetConfig) -> None:
        self._config = config
        self.saving = self.validating = 0.0

    def is_over(self, seconds: float) -> bool:
        """Whether there is no time for another step after `seconds` of training."""
        closing = max(self._config.reserve_seconds, 1.5 * (self.saving + self.validating))
        return bool(self._config.seconds) and seconds + closing >= self._config.seconds

    def expected_steps(self, step: int, seconds: float, max_steps: int) -> int:
        """Steps of the whole run, at the speed of the first `step` ones, which took `seconds`."""
        if not self._config.seconds:
            return max_steps
        return min(max_steps, round(step * self._config.seconds / seconds))
