"""Learning rate as a function of the step alone, so that resuming needs no state."""

from __future__ import annotations

import math

from bigcodec_models.training.config import TrainConfig


def learning_rate(step: int, config: TrainConfig) -> float:
    """Rate for the step numbered `step` from 0: quadratic rise, then decay, then constant."""
    peak, final = config.learning_rate, config.final_learning_rate
    if step < config.warmup_steps:
        start = min(final, peak)
        return start + (peak - start) * (step / config.warmup_steps) ** 2
    done = min(1.0, (step - config.warmup_steps) / config.decay_steps)
    if config.decay == "cosine":
        done = (1 - math.cos(math.pi * done)) / 2
    return peak + (final - peak) * done
