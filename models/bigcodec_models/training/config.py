"""Training configuration: one class for each table of settings, and the recipe of each preset."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from bigcodec_models.config import SAMPLE_RATE, ConfigError, LiteConfig, ModelConfig
from bigcodec_models.config_values import build_dataclass, check_choice, merged
from bigcodec_models.data.crop_choice import Augmentation
from bigcodec_models.discriminators import PRESETS, DiscriminatorsConfig, expand_presets
from bigcodec_models.losses.adversarial import ADVERSARIAL_LOSSES
from bigcodec_models.losses.spectral import PAPER_WINDOWS, STFT_WINDOWS, fft_size_for
from bigcodec_models.quantization.codebooks import CODEBOOK_LOSSES


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ConfigError(message)


def _at_least_one(config: Any, *names: str) -> None:
    for name in names:
        _require(getattr(config, name) >= 1, f"{name} must be at least 1")


def _not_negative(config: Any, *names: str) -> None:
    for name in names:
        _require(getattr(config, name) >= 0, f"{name} must not be negative")
        _require(getattr(config, name) < math.inf, f"{name} must be finite")


def _above_zero(config: Any, *names: str) -> None:
    for name in names:
        _require(getattr(config, name) > 0, f"{name} must be above 0")
        _require(getattr(config, name) < math.inf, f"{name} must be finite")


def _below_one(config: Any, *names: str) -> None:
    for name in names:
        _require(0 <= getattr(config, name) < 1, f"{name} must be at least 0 and below 1")


@dataclasses.dataclass(frozen=True, kw_only=True)
class CropConfig:
    """Length and augmentation of the crops of speech to train on, and up to what size the speech is
    kept on a GPU."""

    seconds: float = 1.0
    gain_db: float = 0.0
    noise_probability: float = 0.0
    noise_snr_db: tuple[float, ...] = (5.0, 30.0)
    speed_probability: float = 0.0
    max_speed: float = 1.15
    equalizer_probability: float = 0.0
    equalizer_db: float = 6.0
    device_gigabytes: float = 16.0

    def __post_init__(self) -> None:
        _above_zero(self, "seconds")
        _not_negative(self, "gain_db", "equalizer_db", "device_gigabytes")
        for name in ("noise_probability", "speed_probability", "equalizer_probability"):
            _require(0 <= getattr(self, name) <= 1, f"{name} must be between 0 and 1")
        _require(1 <= self.max_speed <= 2, "max_speed must be between 1 and 2")
        ratios = self.noise_snr_db
        _require(all(map(math.isfinite, ratios)), "noise_snr_db must be finite")
        _require(
            len(ratios) == 2 and ratios[0] <= ratios[1],
            "noise_snr_db must be a lowest and a highest ratio",
        )

    def augmentation(self) -> Augmentation:
        """The random changes of crops."""
        return Augmentation(
            gain_db=self.gain_db,
            noise_probability=self.noise_probability,
            noise_snr_db=(self.noise_snr_db[0], self.noise_snr_db[1]),
            speed_probability=self.speed_probability,
            max_speed=self.max_speed,
            equalizer_probability=self.equalizer_probability,
            equalizer_db=self.equalizer_db,
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """The optimizers of generator and discriminators, and the schedule of their learning rate."""

    kind: str = "adamw"
    learning_rate: float = 1e-4
    final_learning_rate: float = 1e-5
    warmup_steps: int = 1000
    decay_steps: int = 500_000
    decay: str = "linear"
    beta1: float = 0.8
    beta2: float = 0.9
    weight_decay: float = 0.01
    clip_norm: float = 1.0

    def __post_init__(self) -> None:
        check_choice("kind", self.kind, ("adamw", "muon"))
        check_choice("decay", self.decay, ("linear", "cosine"))
        _at_least_one(self, "decay_steps")
        _not_negative(self, "warmup_steps", "weight_decay")
        _above_zero(self, "learning_rate", "clip_norm")
        _below_one(self, "beta1", "beta2")
        _require(
            0 <= self.final_learning_rate <= self.learning_rate,
            "final_learning_rate must be between 0 and learning_rate",
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class LossConfig:
    """Windows, in samples, and weights of the generator's losses, without the adversarial ones."""

    mel_windows: tuple[int, ...] = PAPER_WINDOWS
    mel_weight: float = 15.0
    loudness_weight: float = 0.0
    vq_weight: float = 1.0
    f0_weight: float = 10.0
    wave_l1_weight: float = 0.0
    wave_l2_weight: float = 0.0
    stft_windows: tuple[int, ...] = STFT_WINDOWS
    stft_weight: float = 0.0

    def __post_init__(self) -> None:
        _not_negative(self, "mel_weight", "loudness_weight", "vq_weight", "f0_weight")
        _not_negative(self, "wave_l1_weight", "wave_l2_weight", "stft_weight")
        usable = all(window >= 32 and window % 4 == 0 for window in self.mel_windows)
        _require(
            bool(self.mel_windows) and usable, "mel_windows must be multiples of 4, at least 32"
        )
        usable = all(32 <= window <= 1 << 14 for window in self.stft_windows)
        _require(bool(self.stft_windows) and usable, "stft_windows must be between 32 and 16384")

    def longest_window(self) -> int:
        """Samples of the longest window of all losses, those of the discriminators included."""
        # Validation has windows up to 2048, and so have the discriminators.
        return max(2048, *self.mel_windows, *map(fft_size_for, self.stft_windows))


@dataclasses.dataclass(frozen=True, kw_only=True)
class AdversarialConfig:
    """How the discriminators take part: loss, weights, when, and on how much of each crop."""

    loss: str = "least_squares"
    weight: float = 1.0
    feature_weight: float = 1.0
    start_step: int = 0
    every: int = 1
    segment_seconds: float = 0.0
    rotate_phases: bool = False

    def __post_init__(self) -> None:
        check_choice("loss", self.loss, ADVERSARIAL_LOSSES)
        _not_negative(self, "weight", "feature_weight", "start_step", "segment_seconds")
        _at_least_one(self, "every")

    def segment_samples(self) -> int:
        """Samples of a crop that the discriminators see; 0 for all of them."""
        return round(self.segment_seconds * SAMPLE_RATE)


@dataclasses.dataclass(frozen=True, kw_only=True)
class CodebookConfig:
    """The loss between codes and latents, and the replacement of dead codes (0: never)."""

    loss: str = "l2"
    replace_dead_codes_every: int = 0

    def __post_init__(self) -> None:
        check_choice("loss", self.loss, tuple(CODEBOOK_LOSSES))
        _not_negative(self, "replace_dead_codes_every")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ValidationConfig:
    """Steps between validations, and the clips that they are made on."""

    every: int = 1000
    fraction: float = 0.02
    clips: int = 16
    seconds: float = 4.0

    def __post_init__(self) -> None:
        _at_least_one(self, "every")
        _below_one(self, "fraction")
        _not_negative(self, "clips")
        _above_zero(self, "seconds")
        _require(self.seconds >= 0.5, "seconds must be at least 0.5")


@dataclasses.dataclass(frozen=True, kw_only=True)
class CheckpointConfig:
    """Minutes between checkpoints, and the multiple of steps at which they are kept for good."""

    every_minutes: float = 5.0
    keep_every: int = 50_000

    def __post_init__(self) -> None:
        _above_zero(self, "every_minutes")
        _at_least_one(self, "keep_every")


@dataclasses.dataclass(frozen=True, kw_only=True)
class BudgetConfig:
    """A time budget (0: none), and the parts of it after which the phases of a run begin.

    `reserve_seconds` are left at the end for the last validation and checkpoint.
    """

    seconds: float = 0.0
    reserve_seconds: float = 5.0
    warmup_fraction: float = 0.02
    adversarial_from: float = 0.3
    decoder_only_from: float = 1.0

    def __post_init__(self) -> None:
        _not_negative(self, "seconds", "reserve_seconds")
        _below_one(self, "warmup_fraction")
        for name in ("adversarial_from", "decoder_only_from"):
            _require(0 <= getattr(self, name) <= 1, f"{name} must be between 0 and 1")

    def schedule_seconds(self) -> float:
        """Seconds over which the schedules run: at least half of the budget."""
        return max(self.seconds - self.reserve_seconds, self.seconds / 2)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Everything a run depends on besides its data and its model configuration.

    docs/training.md describes each setting; defaults are the published recipe. `max_steps` is only
    where to stop: no schedule depends on it. With a `budget` schedules follow the time.
    """

    seed: int = 0
    max_steps: int = 600_000
    batch_size: int = 8
    precision: str = "float32"
    compile: bool = True
    ema_decay: float = 0.999
    freeze_encoder: bool = False
    predicted_f0_fraction: float = 0.5
    log_every: int = 50
    crops: CropConfig = CropConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    losses: LossConfig = LossConfig()
    codebook: CodebookConfig = CodebookConfig()
    discriminators: DiscriminatorsConfig = PRESETS["published"]
    adversarial: AdversarialConfig = AdversarialConfig()
    validation: ValidationConfig = ValidationConfig()
    checkpoints: CheckpointConfig = CheckpointConfig()
    budget: BudgetConfig = BudgetConfig()

    def __post_init__(self) -> None:
        _not_negative(self, "seed")
        _require(self.seed < 1 << 31, "seed must be below 2^31")
        _at_least_one(self, "max_steps", "batch_size", "log_every")
        check_choice("precision", self.precision, ("float32", "bfloat16", "auto"))
        _below_one(self, "ema_decay")
        fraction = self.predicted_f0_fraction
        _require(0 <= fraction <= 1, "predicted_f0_fraction must be between 0 and 1")
        _require(
            not (self.freeze_encoder and self.codebook.replace_dead_codes_every),
            "freeze_encoder keeps the codes as they are: "
            "codebook.replace_dead_codes_every must be 0",
        )
        self._check_lengths()

    def _check_lengths(self) -> None:
        longest = self.losses.longest_window() / SAMPLE_RATE
        _require(
            self.crops.seconds > longest,
            f"crops.seconds must be longer than the longest window, {longest:.3f}",
        )
        segment = self.adversarial.segment_seconds
        _require(
            segment == 0 or longest < segment <= self.crops.seconds,
            f"adversarial.segment_seconds must be 0, or above {longest:.3f} "
            "and at most crops.seconds",
        )

    def adversarial_at(self, step: int) -> bool:
        """Whether the discriminators take part in the step numbered `step` from 0."""
        return bool(self.discriminators.chosen()) and step >= self.adversarial.start_step


def with_settings(config: TrainConfig, settings: Mapping[str, Any]) -> TrainConfig:
    """`config` with the settings of a nested table in place of its own.

    The table is as TOML has it: {"max_steps": 100, "optimizer": {"learning_rate": 1e-3}}. That of
    the discriminators may name a `preset`, and a `size` for each kind (see `expand_presets`).

    Raises:
        ConfigError: an unknown setting, a wrong type, or a value that is refused.
    """
    changes = dict(settings)
    if "discriminators" in changes:
        changes["discriminators"] = expand_presets(changes["discriminators"])
    changed: TrainConfig = build_dataclass(TrainConfig, merged(dataclasses.asdict(config), changes))
    return changed


def recipe_for(model: ModelConfig) -> TrainConfig:
    """The default recipe of a model: the published one, or that of the lite family."""
    if not isinstance(model, LiteConfig):
        return TrainConfig()
    return TrainConfig(
        batch_size=16,
        crops=CropConfig(gain_db=6.0),
        optimizer=OptimizerConfig(
            learning_rate=1e-3,
            final_learning_rate=1e-4,
            warmup_steps=200,
            decay_steps=7_000,
            decay="cosine",
            beta2=0.99,
            clip_norm=5.0,
        ),
        losses=LossConfig(mel_windows=(64, 128, 256, 512, 1024, 2048), vq_weight=4.0),
        codebook=CodebookConfig(replace_dead_codes_every=50),
        discriminators=PRESETS["small"],
        adversarial=AdversarialConfig(start_step=7_000, every=2),
    )
