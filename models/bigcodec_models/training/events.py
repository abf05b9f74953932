"""What a run reports while it trains: created by the trainer, shown by the command line."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt


@dataclasses.dataclass(frozen=True, kw_only=True)
class Progress:
    """One report, over the steps since the last one.

    `losses` and `gradient_norms` are means. `codes_used` and `perplexity` are means over codebooks,
    of the tokens up to the last check of code usage, None before the first one. `data_wait` is the
    fraction of the time, 0 to 1, spent waiting for training data. `expected_steps` is how many
    there will be in all: with a time budget, at the speed until now.
    """

    step: int
    expected_steps: int
    losses: Mapping[str, float]
    gradient_norms: Mapping[str, float]
    learning_rate: float
    codes_used: int | None
    perplexity: float | None
    steps_per_second: float
    data_wait: float


@dataclasses.dataclass(frozen=True)
class ValidationClip:
    """A validation clip and its reconstruction by the model, both float32 (n,) at 16 kHz."""

    name: str
    original: npt.NDArray[np.float32]
    restored: npt.NDArray[np.float32]


@dataclasses.dataclass(frozen=True)
class F0Validation:
    """F0 of models that predict it: the mean mel distance with the true F0 in place of the
    predicted one, and fractions: frames with the right voicing, voiced frames within 50 cents (None
    where no clip has any)."""

    mel_coded: float
    voicing: float
    within_50_cents: float | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Validation:
    """One validation of the averaged weights.

    `mel` is the mean multi-scale mel distance; `stoi` and `pesq` (wide band) are means, or None
    where the package is not installed or the metric failed on every clip. `best` says that no
    earlier validation of the run had a lower mel distance. For models that predict F0, all of these
    use the predicted one, and `f0` is set.
    """

    step: int
    mel: float
    stoi: float | None
    pesq: float | None
    best: bool
    clips: tuple[ValidationClip, ...]
    f0: F0Validation | None = None

    def numbers(self) -> dict[str, float | int | bool | None]:
        """Everything but the audio, ready for JSON."""
        f0 = {} if self.f0 is None else {f"f0_{k}": v for k, v in vars(self.f0).items()}
        return {
            "step": self.step,
            "mel": self.mel,
            "stoi": self.stoi,
            "pesq": self.pesq,
            "best": self.best,
            **f0,
        }


@dataclasses.dataclass(frozen=True)
class Callbacks:
    """Functions that a run calls: `progress` after every `log_every` steps, `validation` after a
    validation, `should_stop` before every step, and `notice` with a line that a user should see."""

    progress: Callable[[Progress], None] = lambda _: None
    validation: Callable[[Validation], None] = lambda _: None
    should_stop: Callable[[], bool] = lambda: False
    notice: Callable[[str], None] = lambda _: None
