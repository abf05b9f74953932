"""Training configuration, and the recipe that each preset starts from."""

from __future__ import annotations

import dataclasses

from bigcodec_models.config import ConfigError, LiteConfig, ModelConfig
from bigcodec_models.losses import PAPER_WINDOWS


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Everything a run depends on besides its data and its model configuration.

    `max_steps` is only where to stop: no schedule depends on it. The learning rate rises to
    `learning_rate` over `warmup_steps`, then falls to `final_learning_rate` over `decay_steps`,
    in a straight line or along a cosine, and stays there.
    """

    seed: int = 0
    max_steps: int = 600_000
    batch_size: int = 8
    crop_seconds: float = 1.0
    gain_db: float = 0.0
    learning_rate: float = 1e-4
    final_learning_rate: float = 1e-5
    warmup_steps: int = 1000
    decay_steps: int = 500_000
    decay: str = "linear"
    beta1: float = 0.8
    beta2: float = 0.9
    weight_decay: float = 0.01
    clip_norm: float = 1.0
    mel_windows: tuple[int, ...] = PAPER_WINDOWS
    mel_weight: float = 15.0
    vq_weight: float = 1.0
    ema_decay: float = 0.999
    revive_every: int = 50
    checkpoint_minutes: float = 5.0
    log_every: int = 50

    def __post_init__(self) -> None:
        for name in ("max_steps", "batch_size", "decay_steps", "revive_every", "log_every"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1")
        if self.warmup_steps < 0 or not 0 <= self.seed < 1 << 63:
            raise ConfigError("warmup_steps and seed must not be negative")
        for name in ("crop_seconds", "learning_rate", "clip_norm", "checkpoint_minutes"):
            if getattr(self, name) <= 0:
                raise ConfigError(f"{name} must be above 0")
        if not 0 <= self.final_learning_rate <= self.learning_rate:
            raise ConfigError("final_learning_rate must be between 0 and learning_rate")
        for name in ("beta1", "beta2", "ema_decay"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 0 and below 1")
        for name in ("gain_db", "weight_decay", "mel_weight", "vq_weight"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} must not be negative")
        if self.decay not in ("linear", "cosine"):
            raise ConfigError("decay must be 'linear' or 'cosine'")
        if not self.mel_windows or any(w < 32 or w % 4 for w in self.mel_windows):
            raise ConfigError("mel_windows must be multiples of 4, at least 32")
        if self.crop_seconds * 16000 <= max(self.mel_windows):
            raise ConfigError("crop_seconds must be longer than the longest mel window")


def recipe_for(model: ModelConfig) -> TrainConfig:
    """The default recipe of a model: the paper's, or ours for the lite family."""
    if isinstance(model, LiteConfig):
        return TrainConfig(
            max_steps=100_000,
            batch_size=16,
            gain_db=6.0,
            learning_rate=1e-3,
            final_learning_rate=5e-5,
            warmup_steps=200,
            decay_steps=7_000,
            decay="cosine",
            beta2=0.99,
            clip_norm=5.0,
            mel_windows=(64, 128, 256, 512, 1024, 2048),
            vq_weight=4.0,
        )
    return TrainConfig()
