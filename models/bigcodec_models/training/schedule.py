"""Learning rate as a function of the step alone, so that resuming needs no state."""

from __future__ import annotations

import math

from bigcodec_models.training.config import OptimizerConfig


def learning_rate(step: int, config: OptimizerConfig) -> float:
    """Rate for the step numbered `step` from 0: quadratic rise, then decay, then constant."""
    peak, final = config.learning_rate, config.final_learning_rate
    if step < config.warmup_steps:
        start = min(final, peak)
        return start + (peak - start) * (step / config.warmup_steps) ** 2
    progress = min(1.0, (step - config.warmup_steps) / config.decay_steps)
    if config.decay == "cosine":
        progress = (1 - math.cos(math.pi * progress)) / 2
    return peak + (final - peak) * progress
