"""Training configuration: one class for each table of settings, and the recipe of each preset."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from bigcodec_models.config import SAMPLE_RATE, ConfigError, LiteConfig, ModelConfig
from bigcodec_models.config_values import build_dataclass, check_choice, merged, setting
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
    """Length and augmentation of the crops of speech to train on."""

    seconds: float = setting(1.0, "length of a crop", former=("crop_seconds",))
    gain_db: float = setting(
        0.0, "the level of each crop changes at random, by at most this, up or down"
    )
    noise_probability: float = setting(
        0.0, "fraction of crops to which noise from --noise is added"
    )
    noise_snr_db: tuple[float, ...] = setting(
        (5.0, 30.0), "lowest and highest speech-to-noise ratio"
    )

    def __post_init__(self) -> None:
        _above_zero(self, "seconds")
        _not_negative(self, "gain_db", "noise_probability")
        _require(self.noise_probability <= 1, "noise_probability must be at most 1")
        ratios = self.noise_snr_db
        _require(all(map(math.isfinite, ratios)), "noise_snr_db must be finite")
        _require(
            len(ratios) == 2 and ratios[0] <= ratios[1],
            "noise_snr_db must be a lowest and a highest ratio",
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """The optimizers of generator and discriminators, and the schedule of their learning rate."""

    kind: str = setting(
        "adamw",
        "or muon: Muon for the inner matrices of the generator, AdamW for all else",
        former=("optimizer",),
    )
    learning_rate: float = setting(1e-4, "highest learning rate")
    final_learning_rate: float = setting(
        1e-5, "learning rate of the first step, and after the decay"
    )
    warmup_steps: int = setting(1000, "steps of the quadratic rise")
    decay_steps: int = setting(500_000, "steps of the decay that follows")
    decay: str = setting("linear", "shape of the decay")
    beta1: float = setting(0.8, "of AdamW")
    beta2: float = setting(0.9, "of AdamW")
    weight_decay: float = setting(0.01, "of AdamW and Muon")
    clip_norm: float = setting(
        1.0, "gradients are clipped at this norm, those of generator and discriminators each"
    )

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

    mel_windows: tuple[int, ...] = setting(
        PAPER_WINDOWS, "windows of the multi-scale mel loss, in samples"
    )
    mel_weight: float = setting(15.0, "weight of the mel loss")
    loudness_weight: float = setting(
        0.0,
        "weight of the mel loss with magnitudes to the power 0.3 in place of logarithms, "
        "in which loud parts count more",
    )
    vq_weight: float = setting(1.0, "weight of codebook and commitment loss")
    f0_weight: float = setting(
        10.0, "weight of the cross entropy of predicted F0, in models with model.predict_f0"
    )
    wave_l1_weight: float = setting(
        0.0, "weight of the mean absolute distance of the waves (blurs, according to the paper)"
    )
    wave_l2_weight: float = setting(
        0.0, "weight of the mean squared distance of the waves (likewise)"
    )
    stft_windows: tuple[int, ...] = setting(
        STFT_WINDOWS, "windows of the multi-resolution STFT loss, in samples"
    )
    stft_weight: float = setting(0.0, "weight of the STFT loss")

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

    loss: str = setting("least_squares", "or hinge, or bce", former=("adversarial_loss",))
    weight: float = setting(
        1.0,
        "weight of the adversarial loss, of generator and discriminators",
        former=("adversarial_weight",),
    )
    feature_weight: float = setting(1.0, "weight of feature matching")
    start_step: int = setting(
        0,
        "steps before the discriminators take part",
        former=(
            "discriminator_start_step",
            "generator_only_steps",
        ),
    )
    every: int = setting(
        1, "steps of the generator per step of the discriminators", former=("discriminator_every",)
    )
    segment_seconds: float = setting(
        0.0,
        "length of the part of each crop, at a random place, that the discriminators see;"
        " 0: all of it",
        former=(
            "discriminator_segment_seconds",
            "adversarial_seconds",
        ),
    )

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

    loss: str = setting(
        "l2",
        "distance of codes and latents: l2 as released, or l1 as in the paper",
        former=("codebook_loss",),
    )
    replace_dead_codes_every: int = setting(
        0,
        "steps between replacements of dead codes by latents of the batch; 0: never",
        former=("revive_every",),
    )

    def __post_init__(self) -> None:
        check_choice("loss", self.loss, tuple(CODEBOOK_LOSSES))
        _not_negative(self, "replace_dead_codes_every")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ValidationConfig:
    """Steps between validations, and the clips that they are made on."""

    every: int = setting(1000, "steps between validations", former=("validate_every",))
    fraction: float = setting(
        0.02, "fraction of the audio held out", former=("validation_fraction",)
    )
    clips: int = setting(16, "number of excerpts to validate on", former=("validation_clips",))
    seconds: float = setting(4.0, "length of an excerpt, at most", former=("validation_seconds",))

    def __post_init__(self) -> None:
        _at_least_one(self, "every")
        _below_one(self, "fraction")
        _not_negative(self, "clips")
        _above_zero(self, "seconds")
        _require(self.seconds >= 0.5, "seconds must be at least 0.5")


@dataclasses.dataclass(frozen=True, kw_only=True)
class CheckpointConfig:
    """Minutes between checkpoints, and the multiple of steps at which they are kept for good."""

    every_minutes: float = setting(
        5.0, "minutes between checkpoints", former=("checkpoint_minutes",)
    )
    keep_every: int = setting(50_000, "checkpoints at multiples of this number of steps are kept")

    def __post_init__(self) -> None:
        _above_zero(self, "every_minutes")
        _at_least_one(self, "keep_every")


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Everything a run depends on besides its data and its model configuration.

    docs/training.md describes each setting; defaults are the published recipe. `max_steps` is only
    where to stop: no schedule depends on it.
    """

    seed: int = setting(0, "start of all random numbers")
    max_steps: int = setting(600_000, "where to stop; no schedule depends on it")
    batch_size: int = setting(8, "crops per step")
    precision: str = setting(
        "float32",
        "or bfloat16: autocast, with the quantizer in float32. auto takes bfloat16 where "
        "it is faster: on GPUs, and on CPUs with AMX or AMD's AVX512-BF16",
    )
    ema_decay: float = setting(
        0.999, "decay of the moving average of the weights, which is what is exported"
    )
    freeze_encoder: bool = setting(
        False,
        "keep encoder and codebooks as they are: tokens stay the same, and a prior fitted"
        " to them stays valid",
    )
    predicted_f0_fraction: float = setting(
        0.5,
        "fraction of crops whose excitation follows the predicted F0, in models with "
        "model.predict_f0; the excitation of the others follows the tracker's F0",
    )
    log_every: int = setting(50, "steps between reports")
    crops: CropConfig = CropConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    losses: LossConfig = LossConfig()
    codebook: CodebookConfig = CodebookConfig()
    discriminators: DiscriminatorsConfig = PRESETS["published"]
    adversarial: AdversarialConfig = AdversarialConfig()
    validation: ValidationConfig = ValidationConfig()
    checkpoints: CheckpointConfig = CheckpointConfig()

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
