"""Training configuration: one class for each table of settings, and the recipe of each preset.

Loads no torch, so that wrong settings are refused at once.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from bigcodec_models.config import CODEBOOK_LOSSES, SAMPLE_RATE, LiteConfig, ModelConfig
from bigcodec_models.config_values import (
    above_zero,
    at_least_one,
    below_one,
    build_dataclass,
    check_choice,
    merged,
    not_negative,
    require,
    setting,
)
from bigcodec_models.discriminators.config import PRESETS, DiscriminatorsConfig, expand_presets
from bigcodec_models.losses.choices import (
    ADVERSARIAL_LOSSES,
    PAPER_WINDOWS,
    STFT_WINDOWS,
    fft_size_for,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class CropConfig:
    """Length and augmentation of the crops of speech to train on, and up to what size the speech is
    kept on a GPU."""

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
    speed_probability: float = setting(
        0.0, "fraction of crops that are played faster, and therefore higher"
    )
    max_speed: float = setting(1.15, "how many times faster, at most")
    equalizer_probability: float = setting(
        0.0, "fraction of crops whose spectrum is changed by a smooth random curve"
    )
    equalizer_db: float = setting(6.0, "by at most this, up or down")
    device_gigabytes: float = setting(
        16.0,
        "on a GPU: up to this size all speech is decoded once and kept there as 16-bit "
        "samples (8.7 hours take 1 GB), and crops are made there; 0: never",
    )

    def __post_init__(self) -> None:
        above_zero(self, "seconds")
        not_negative(self, "gain_db", "equalizer_db", "device_gigabytes")
        for name in ("noise_probability", "speed_probability", "equalizer_probability"):
            require(0 <= getattr(self, name) <= 1, f"{name} must be between 0 and 1")
        require(1 <= self.max_speed <= 2, "max_speed must be between 1 and 2")
        ratios = self.noise_snr_db
        require(all(map(math.isfinite, ratios)), "noise_snr_db must be finite")
        require(
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
        at_least_one(self, "decay_steps")
        not_negative(self, "warmup_steps", "weight_decay")
        above_zero(self, "learning_rate", "clip_norm")
        below_one(self, "beta1", "beta2")
        require(
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
        not_negative(self, "mel_weight", "loudness_weight", "vq_weight", "f0_weight")
        not_negative(self, "wave_l1_weight", "wave_l2_weight", "stft_weight")
        usable = all(window >= 32 and window % 4 == 0 for window in self.mel_windows)
        require(
            bool(self.mel_windows) and usable, "mel_windows must be multiples of 4, at least 32"
        )
        usable = all(32 <= window <= 1 << 14 for window in self.stft_windows)
        require(bool(self.stft_windows) and usable, "stft_windows must be between 32 and 16384")

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
        former=("discriminator_start_step", "generator_only_steps"),
    )
    every: int = setting(
        1, "steps of the generator per step of the discriminators", former=("discriminator_every",)
    )
    segment_seconds: float = setting(
        0.0,
        "length of the part of each crop, at a random place, that the discriminators see;"
        " 0: all of it",
        former=("discriminator_segment_seconds", "adversarial_seconds"),
    )
    rotate_phases: bool = setting(
        False,
        "turn the phases of what discriminators see at random, a recording and its copy "
        "alike (after PhaseAug, arXiv 2211.04610), so that they do not learn little "
        "speech by heart",
    )

    def __post_init__(self) -> None:
        check_choice("loss", self.loss, ADVERSARIAL_LOSSES)
        not_negative(self, "weight", "feature_weight", "start_step", "segment_seconds")
        at_least_one(self, "every")

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
        check_choice("loss", self.loss, CODEBOOK_LOSSES)
        not_negative(self, "replace_dead_codes_every")


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
        at_least_one(self, "every")
        below_one(self, "fraction")
        not_negative(self, "clips")
        above_zero(self, "seconds")
        require(self.seconds >= 0.5, "seconds must be at least 0.5")


@dataclasses.dataclass(frozen=True, kw_only=True)
class CheckpointConfig:
    """Minutes between checkpoints, and the multiple of steps at which they are kept for good."""

    every_minutes: float = setting(
        5.0, "minutes between checkpoints", former=("checkpoint_minutes",)
    )
    keep_every: int = setting(50_000, "checkpoints at multiples of this number of steps are kept")

    def __post_init__(self) -> None:
        above_zero(self, "every_minutes")
        at_least_one(self, "keep_every")


@dataclasses.dataclass(frozen=True, kw_only=True)
class BudgetConfig:
    """A time budget (0: none), and the parts of it after which the phases of a run begin.

    `reserve_seconds` are left at the end for the last validation and checkpoint.
    """

    seconds: float = setting(0.0, "time for the run in which schedules follow the time; 0: none")
    reserve_seconds: float = setting(
        5.0, "seconds left at the end for the last validation and checkpoint"
    )
    warmup_fraction: float = setting(0.02, "part of the time in which the learning rate rises")
    adversarial_from: float = setting(
        0.3, "part of the time after which the discriminators take part"
    )
    decoder_only_from: float = setting(
        1.0, "part of the time after which encoder and codebooks stay as they are"
    )

    def __post_init__(self) -> None:
        not_negative(self, "seconds", "reserve_seconds")
        below_one(self, "warmup_fraction")
        for name in ("adversarial_from", "decoder_only_from"):
            require(0 <= getattr(self, name) <= 1, f"{name} must be between 0 and 1")

    def schedule_seconds(self) -> float:
        """Seconds over which the schedules run: at least half of the budget."""
        return max(self.seconds - self.reserve_seconds, self.seconds / 2)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Everything a run depends on besides its data and its model configuration.

    docs/training.md describes each setting; defaults are the published recipe. `max_steps` is only
    where to stop: no schedule depends on it. With a `budget` schedules follow the time.
    """

    seed: int = setting(0, "start of all random numbers")
    max_steps: int = setting(600_000, "where to stop; no schedule depends on it")
    batch_size: int = setting(8, "crops per step")
    precision: str = setting(
        "float32",
        "or bfloat16: autocast, with the quantizer in float32. auto takes bfloat16 where "
        "it is faster: on GPUs, and on CPUs with AMX or AMD's AVX512-BF16",
    )
    compile: bool = setting(True, "on a GPU, capture steps as CUDA graphs; has no effect elsewhere")
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
    budget: BudgetConfig = BudgetConfig()

    def __post_init__(self) -> None:
        not_negative(self, "seed")
        require(self.seed < 1 << 31, "seed must be below 2^31")
        at_least_one(self, "max_steps", "batch_size", "log_every")
        check_choice("precision", self.precision, ("float32", "bfloat16", "auto"))
        below_one(self, "ema_decay")
        fraction = self.predicted_f0_fraction
        require(0 <= fraction <= 1, "predicted_f0_fraction must be between 0 and 1")
        require(
            not (self.freeze_encoder and self.codebook.replace_dead_codes_every),
            "freeze_encoder keeps the codes as they are: "
            "codebook.replace_dead_codes_every must be 0",
        )
        self._check_lengths()

    def _check_lengths(self) -> None:
        longest = self.losses.longest_window() / SAMPLE_RATE
        require(
            self.crops.seconds > longest,
            f"crops.seconds must be longer than the longest window, {longest:.3f}",
        )
        segment = self.adversarial.segment_seconds
        require(
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
