"""What the crops of a training step are, as a function of seed, step and place in the batch."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from bigcodec_models.data.augment import EQUALIZER_POINTS, samples_for
from bigcodec_models.errors import DataError

if TYPE_CHECKING:
    from bigcodec_models.data.index import Clip

Source = tuple[Sequence["Clip"], float | None]
"""Clips, and the fraction of all crops that come from them; None for a fraction by duration."""

CROP_PEAK = 0.99
"""The highest peak of a crop."""
SILENCE = 1e-7
"""Mean square below which a wave is silent, -70 dB of full scale: no noise is added to it."""
ATTEMPTS = 20
"""Choices for one crop, of clips that cannot be read, before it is an error."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Augmentation:
    """Random changes of crops.

    With probability `noise_probability` noise is added at a signal-to-noise ratio from the uniform
    distribution over `noise_snr_db`. With `speed_probability` a crop is played up to `max_speed`
    times faster, and higher. With `equalizer_probability` its spectrum is changed by a smooth
    random curve of up to `equalizer_db` in either direction. The level is changed by up to
    `gain_db` in either direction.

    Raises:
        ValueError: an option is out of range.
    """

    gain_db: float = 0.0
    noise_probability: float = 0.0
    noise_snr_db: tuple[float, float] = (0.0, 20.0)
    speed_probability: float = 0.0
    max_speed: float = 1.15
    equalizer_probability: float = 0.0
    equalizer_db: float = 6.0

    def __post_init__(self) -> None:
        probabilities = (self.noise_probability, self.speed_probability, self.equalizer_probability)
        if not all(0 <= p <= 1 for p in probabilities):
            raise ValueError("a probability must be between 0 and 1")
        if self.noise_snr_db[0] > self.noise_snr_db[1]:
            raise ValueError("noise_snr_db must be a lowest and a highest ratio")
        if not 1 <= self.max_speed <= 2:
            raise ValueError("max_speed must be between 1 and 2")


UNCHANGED = Augmentation()
"""Crops as they are in the files, but for peaks."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class NoiseChoice:
    """Noise to add: a clip, a position in it in [0, 1), and the signal-to-noise ratio in dB."""

    clip: Clip
    position: float
    snr_db: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class CropChoice:
    """One crop: the clip, the position in [0, 1) among the possible starts, and what is changed.

    `speed` is at least 1; `equalizer` has decibels at `EQUALIZER_POINTS` points, or is empty;
    `gain` is a factor.
    """

    clip: Clip
    position: float
    noise: NoiseChoice | None
    gain: float
    speed: float = 1.0
    equalizer: tuple[float, ...] = ()

    def samples(self, crop: int) -> int:
        """Samples that are read for a crop of `crop` samples."""
        return samples_for(crop, self.speed)

    def start(self, crop: int) -> int:
        """The first of these samples in the clip."""
        return first_sample(self.clip, self.position, self.samples(crop))


class CropChooser:
    """Chooses crops from weighted sources of clips (see `crop_fractions`), and from clips of noise.

    Within a source, the probability of a clip is proportional to its duration, and all starts of a
    crop are equally likely.

    Raises:
        DataError: there are no clips, or the weights are wrong; see `crop_fractions`.
        ValueError: noise is to be added, and there is none.
    """

    def __init__(
        self,
        sources: Sequence[Clip] | Sequence[Source],
        noise: Sequence[Clip],
        augmentation: Augmentation,
        seed: int,
    ) -> None:
        if augmentation.noise_probability and not noise:
            raise ValueError("noise_probability without clips of noise")
        pairs = _pairs(sources)
        self.fractions = crop_fractions(pairs)
        self.groups = [ClipGroup(clips) for clips, _ in pairs]
        self.noise = ClipGroup(noise) if noise else None
        self.augmentation, self._seed = augmentation, seed
        self._ends = np.cumsum(self.fractions)

    def clips(self) -> list[Clip]:
        """All clips, each once, noise last."""
        groups = [*self.groups, *([self.noise] if self.noise is not None else [])]
        return list(dict.fromkeys(clip for group in groups for clip in group.clips))

    def random(self, step: int, item: int) -> np.random.Generator:
        """The random numbers of a crop, by step and place in the batch."""
        return np.random.default_rng((self._seed, step, item))

    def choose(self, random: np.random.Generator) -> CropChoice:
        """The next choice by these random numbers."""
        options = self.augmentation
        source = int(np.searchsorted(self._ends, random.random(), side="right"))
        clip = self.groups[min(source, len(self.groups) - 1)].choose(random)
        position = random.random()
        noise = None
        if self.noise is not None and random.random() < options.noise_probability:
            noise = NoiseChoice(
                clip=self.noise.choose(random),
                position=random.random(),
                snr_db=random.uniform(*options.noise_snr_db),
            )
        gain = 10 ** (random.uniform(-options.gain_db, options.gain_db) / 20)
        speed, curve = 1.0, ()
        if options.speed_probability and random.random() < options.speed_probability:
            speed = random.uniform(1.0, options.max_speed)
        if options.equalizer_probability and random.random() < options.equalizer_probability:
            decibels = random.uniform(-1, 1, EQUALIZER_POINTS) * options.equalizer_db
            curve = tuple(decibels.tolist())
        return CropChoice(
            clip=clip, position=position, noise=noise, gain=gain, speed=speed, equalizer=curve
        )


class ClipGroup:
    """Clips that are chosen with probabilities proportional to their duration."""

    def __init__(self, clips: Sequence[Clip]) -> None:
        self.clips = list(clips)
        self._ends = np.cumsum([clip.seconds for clip in clips])
        self.seconds = float(self._ends[-1])

    def choose(self, random: np.random.Generator) -> Clip:
        """One of the clips."""
        index = int(np.searchsorted(self._ends, random.random() * self.seconds, side="right"))
        return self.clips[min(index, len(self.clips) - 1)]


def first_sample(clip: Clip, position: float, length: int) -> int:
    """Where a crop of `length` samples starts in a clip; `position` in [0, 1) chooses."""
    return int(position * max(1, clip.samples - length + 1))


def crop_fractions(sources: Sequence[Source]) -> list[float]:
    """The fraction of all crops that come from each source; they sum to 1.

    A weight is a fraction, and sources without one divide the rest in proportion to their duration.
    Where all sources have weights, these need not sum to 1.

    Raises:
        DataError: a source is empty, a weight is not above 0, or the weights leave no rest.
    """
    weights = [weight for _, weight in sources if weight is not None]
    if not sources or not all(clips for clips, _ in sources):
        raise DataError("a source of training data has no clips")
    if not all(0 < weight < math.inf for weight in weights):
        raise DataError("weights of data must be above 0")
    given = math.fsum(weights)
    if len(weights) == len(sources):
        return [weight / given for weight in weights]
    if given >= 1:
        raise DataError(f"weights sum to {given:g}: no crops are left for data without a weight")
    unweighted = [math.fsum(clip.seconds for clip in clips) for clips, w in sources if w is None]
    scale = (1 - given) / math.fsum(unweighted)
    durations = iter(unweighted)
    return [next(durations) * scale if weight is None else weight for _, weight in sources]


def _pairs(sources: Sequence[Clip] | Sequence[Source]) -> list[Source]:
    pairs = [source for source in sources if isinstance(source, tuple)]
    clips = [source for source in sources if not isinstance(source, tuple)]
    return [(clips, None)] if clips else pairs
