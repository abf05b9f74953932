"""Training configuration, and the recipe that each preset starts from."""

from __future__ import annotations

import dataclasses
import math

from bigcodec_models.config import SAMPLE_RATE, ConfigError, LiteConfig, ModelConfig
from bigcodec_models.discriminators import choose_discriminators
from bigcodec_models.losses.adversarial import ADVERSARIAL_LOSSES
from bigcodec_models.losses.spectral import PAPER_WINDOWS, STFT_WINDOWS, fft_size_for

_AT_LEAST_ONE = (
    "max_steps",
    "batch_size",
    "decay_steps",
    "discriminator_every",
    "log_every",
    "validate_every",
    "keep_every",
)
_NOT_NEGATIVE = (
    "seed",
    "gain_db",
    "noise_probability",
    "warmup_steps",
    "discriminator_start_step",
    "weight_decay",
    "mel_weight",
    "vq_weight",
    "wave_l1_weight",
    "wave_l2_weight",
    "stft_weight",
    "loudness_weight",
    "f0_weight",
    "discriminator_segment_seconds",
    "adversarial_weight",
    "feature_weight",
    "validation_clips",
    "replace_dead_codes_every",
)
_ABOVE_ZERO = (
    "crop_seconds",
    "learning_rate",
    "clip_norm",
    "checkpoint_minutes",
    "validation_seconds",
)
_BELOW_ONE = ("beta1", "beta2", "ema_decay", "validation_fraction")
_CHOICES = {
    "decay": ("linear", "cosine"),
    "codebook_loss": ("l1", "l2"),
    "precision": ("float32", "bfloat16", "auto"),
    "optimizer": ("adamw", "muon"),
    "adversarial_loss": ADVERSARIAL_LOSSES,
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Everything a run depends on besides its data and its model configuration.

    docs/training.md says what each setting does; defaults are the published recipe. `max_steps`
    is only where to stop: no schedule depends on it.
    """

    seed: int = 0
    max_steps: int = 600_000
    batch_size: int = 8
    crop_seconds: float = 1.0
    gain_db: float = 0.0
    noise_probability: float = 0.0
    noise_snr_db: tuple[float, ...] = (5.0, 30.0)
    learning_rate: float = 1e-4
    final_learning_rate: float = 1e-5
    warmup_steps: int = 1000
    decay_steps: int = 500_000
    decay: str = "linear"
    optimizer: str = "adamw"
    beta1: float = 0.8
    beta2: float = 0.9
    weight_decay: float = 0.01
    clip_norm: float = 1.0
    precision: str = "float32"
    mel_windows: tuple[int, ...] = PAPER_WINDOWS
    mel_weight: float = 15.0
    vq_weight: float = 1.0
    codebook_loss: str = "l2"
    wave_l1_weight: float = 0.0
    wave_l2_weight: float = 0.0
    stft_windows: tuple[int, ...] = STFT_WINDOWS
    stft_weight: float = 0.0
    loudness_weight: float = 0.0
    f0_weight: float = 10.0
    predicted_f0_fraction: float = 0.5
    discriminators: str = "published"
    adversarial_loss: str = "least_squares"
    adversarial_weight: float = 1.0
    feature_weight: float = 1.0
    discriminator_start_step: int = 0
    discriminator_every: int = 1
    discriminator_segment_seconds: float = 0.0
    ema_decay: float = 0.999
    replace_dead_codes_every: int = 0
    freeze_encoder: bool = False
    checkpoint_minutes: float = 5.0
    keep_every: int = 50_000
    log_every: int = 50
    validate_every: int = 1000
    validation_fraction: float = 0.02
    validation_clips: int = 16
    validation_seconds: float = 4.0

    def __post_init__(self) -> None:
        for name in _AT_LEAST_ONE:
            _require(getattr(self, name) >= 1, f"{name} must be at least 1")
        for name in _NOT_NEGATIVE:
            _require(getattr(self, name) >= 0, f"{name} must not be negative")
        for name in _ABOVE_ZERO:
            _require(getattr(self, name) > 0, f"{name} must be above 0")
        for name in _BELOW_ONE:
            _require(0 <= getattr(self, name) < 1, f"{name} must be at least 0 and below 1")
        for name, allowed in _CHOICES.items():
            _require(getattr(self, name) in allowed, f"{name} must be one of {', '.join(allowed)}")
        for name, value in dataclasses.asdict(self).items():
            numbers = value if isinstance(value, tuple) else (value,)
            finite = all(not isinstance(n, float) or math.isfinite(n) for n in numbers)
            _require(finite, f"{name} must be finite")
        _require(self.seed < 1 << 31, "seed must be below 2^31")
        _require(self.noise_probability <= 1, "noise_probability must be at most 1")
        fraction = self.predicted_f0_fraction
        _require(0 <= fraction <= 1, "predicted_f0_fraction must be between 0 and 1")
        low_high = self.noise_snr_db
        _require(
            len(low_high) == 2 and low_high[0] <= low_high[1],
            "noise_snr_db must be a lowest and a highest ratio",
        )
        _require(
            0 <= self.final_learning_rate <= self.learning_rate,
            "final_learning_rate must be between 0 and learning_rate",
        )
        _require(
            not (self.freeze_encoder and self.replace_dead_codes_every),
            "freeze_encoder keeps the codes as they are: replace_dead_codes_every must be 0",
        )
        choose_discriminators(self.discriminators)
        self._check_windows()

    def _check_windows(self) -> None:
        usable = all(window >= 32 and window % 4 == 0 for window in self.mel_windows)
        _require(
            bool(self.mel_windows) and usable, "mel_windows must be multiples of 4, at least 32"
        )
        usable = all(32 <= window <= 1 << 14 for window in self.stft_windows)
        _require(bool(self.stft_windows) and usable, "stft_windows must be between 32 and 16384")
        # Validation has windows to 2048, and so have the discriminators.
        windows = (2048, *self.mel_windows, *map(fft_size_for, self.stft_windows))
        longest = max(windows) / SAMPLE_RATE
        _require(
            self.crop_seconds > longest,
            f"crop_seconds must be longer than the longest window, {longest:.3f}",
        )
        segment = self.discriminator_segment_seconds
        _require(
            segment == 0 or longest < segment <= self.crop_seconds,
            f"discriminator_segment_seconds must be 0, or above {longest:.3f} "
            "and at most crop_seconds",
        )
        _require(self.validation_seconds >= 0.5, "validation_seconds must be at least 0.5")

    def adversarial_at(self, step: int) -> bool:
        """Whether the discriminators take part in the step numbered `step` from 0."""
        return self.discriminators != "none" and step >= self.discriminator_start_step

    def segment_samples(self) -> int:
        """Samples of a crop that the discriminators are shown; 0 for all of them."""
        return round(self.discriminator_segment_seconds * SAMPLE_RATE)


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ConfigError(message)


def recipe_for(model: ModelConfig) -> TrainConfig:
    """The default recipe of a model: the published one, or ours for the lite family."""
    if isinstance(model, LiteConfig):
        return TrainConfig(
            batch_size=16,
            gain_db=6.0,
            learning_rate=1e-3,
            final_learning_rate=1e-4,
            warmup_steps=200,
            decay_steps=7_000,
            decay="cosine",
            beta2=0.99,
            clip_norm=5.0,
            mel_windows=(64, 128, 256, 512, 1024, 2048),
            vq_weight=4.0,
            discriminators="small",
            discriminator_start_step=7_000,
            discriminator_every=2,
            replace_dead_codes_every=50,
        )
    return TrainConfig()
