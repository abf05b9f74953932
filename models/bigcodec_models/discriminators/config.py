"""Configurations of discriminators, and how a table of settings chooses among them. Loads no torch.

A further kind is a configuration, a field of `DiscriminatorsConfig` and a line in `SMALL` here; and
a class, with a line in `KINDS` of registry.py.
"""

from __future__ import annotations

import dataclasses
import math
import types
from collections.abc import Iterable, Mapping
from typing import Any

from bigcodec_models.config_values import check_choice
from bigcodec_models.errors import ConfigError

MAX_WIDTH = 4096
MAX_PARTS = 16
_MOST_GROUPS = 16


def check_sizes(name: str, values: Iterable[int], low: int, high: int) -> None:
    """Refuse values outside [low, high].

    Raises:
        ConfigError: there is such a value.
    """
    for value in values:
        if not low <= value <= high:
            raise ConfigError(f"{name} must be between {low} and {high}, not {value}")


def check_widths(width: int, max_width: int) -> None:
    """Refuse numbers of channels outside the supported range.

    Raises:
        ConfigError: they are out of range, or `width` is above `max_width`.
    """
    check_sizes("max_width of a discriminator", [max_width], 1, MAX_WIDTH)
    check_sizes("width of a discriminator", [width], 1, max_width)


@dataclasses.dataclass(frozen=True, kw_only=True)
class DiscriminatorConfig:
    """What the configurations of all kinds have.

    `weight` multiplies the adversarial and feature-matching terms of the discriminator in the
    generator's loss. How the discriminator itself learns does not depend on it.
    """

    weight: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.weight < math.inf:
            raise ConfigError(f"weight must be above 0 and finite, not {self.weight}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class MultiPeriodConfig(DiscriminatorConfig):
    """HiFi-GAN's multi-period discriminator (arXiv 2010.05646), at the published size.

    `width` is that of the first layer; each further one has four times it, up to `max_width`.
    """

    periods: tuple[int, ...] = (2, 3, 5, 7, 11)
    width: int = 16
    max_width: int = 512

    def __post_init__(self) -> None:
        super().__post_init__()
        check_sizes("number of periods", [len(self.periods)], 1, MAX_PARTS)
        check_sizes("periods", self.periods, 1, 256)
        check_widths(self.width, self.max_width)


@dataclasses.dataclass(frozen=True, kw_only=True)
class MultiScaleConfig(DiscriminatorConfig):
    """HiFi-GAN's multi-scale discriminator (arXiv 2010.05646, after MelGAN's, 1910.06711).

    `scales` sub-discriminators see the wave, the wave at half the sample rate, at a quarter of it,
    and so on. `width` is that of the first layer; later layers have up to eight times as many.
    """

    scales: int = 3
    width: int = 128

    def __post_init__(self) -> None:
        super().__post_init__()
        check_sizes("scales", [self.scales], 1, 8)
        check_widths(self.width, 512)
        if self.width % _MOST_GROUPS:
            raise ConfigError(f"width of a multi-scale one must be a multiple of {_MOST_GROUPS}")


def _check_fft_sizes(fft_sizes: tuple[int, ...]) -> None:
    check_sizes("number of fft_sizes", [len(fft_sizes)], 1, MAX_PARTS)
    check_sizes("fft_sizes", fft_sizes, 16, 1 << 14)
    if any(size % 4 for size in fft_sizes):
        raise ConfigError("fft_sizes must be multiples of 4")


@dataclasses.dataclass(frozen=True, kw_only=True)
class SpectralConfig(DiscriminatorConfig):
    """The discriminator of magnitude spectrograms in the released code, at its size.

    An FFT size, in samples, is also the window length; frames are a quarter of it apart.
    `width` is that of the first layer; each further one has twice it, up to `max_width`.
    """

    fft_sizes: tuple[int, ...] = (128, 256, 512, 1024, 2048)
    width: int = 32
    max_width: int = 512

    def __post_init__(self) -> None:
        super().__post_init__()
        check_widths(self.width, self.max_width)
        _check_fft_sizes(self.fft_sizes)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ComplexStftConfig(DiscriminatorConfig):
    """EnCodec's multi-scale STFT discriminator (arXiv 2210.13438), all layers of one width.

    An FFT size, in samples, is also the window length; frames are a quarter of it apart.
    """

    fft_sizes: tuple[int, ...] = (2048, 1024, 512, 256, 128)
    width: int = 32

    def __post_init__(self) -> None:
        super().__post_init__()
        check_widths(self.width, 1024)
        _check_fft_sizes(self.fft_sizes)


@dataclasses.dataclass(frozen=True, kw_only=True)
class MultiResolutionConfig(DiscriminatorConfig):
    """DAC's multi-band multi-resolution discriminator (arXiv 2306.06546), after UnivNet's.

    An FFT size, in samples, is also the window length; frames are a quarter of it apart.
    """

    fft_sizes: tuple[int, ...] = (2048, 1024, 512)
    width: int = 32

    def __post_init__(self) -> None:
        super().__post_init__()
        check_widths(self.width, 1024)
        _check_fft_sizes(self.fft_sizes)
        check_sizes("fft_sizes in bands", self.fft_sizes, 32, 1 << 14)  # no band may be empty


@dataclasses.dataclass(frozen=True, kw_only=True)
class ConstantQConfig(DiscriminatorConfig):
    """The multi-scale sub-band constant-Q discriminator, with the widths of its released code.

    `octaves` is their number, down from 8 kHz, half the sample rate. Each resolution has an entry
    in `bins_per_octave` and one in `hops`, in samples. The paper, at 24 kHz, has nine octaves from
    32.7 Hz; at 16 kHz there are eight from 31.25 Hz. The paper counts hops at twice the sample
    rate: its 512, 256 and 256 are 256, 128 and 128 here.
    """

    octaves: int = 8
    bins_per_octave: tuple[int, ...] = (24, 36, 48)
    hops: tuple[int, ...] = (256, 128, 128)
    width: int = 32

    def __post_init__(self) -> None:
        super().__post_init__()
        check_sizes("octaves", [self.octaves], 2, 10)
        check_sizes("number of bins_per_octave", [len(self.bins_per_octave)], 1, MAX_PARTS)
        check_sizes("bins_per_octave", self.bins_per_octave, 4, 96)
        check_sizes("hops", self.hops, 1, 1 << 12)
        check_widths(self.width, 1024)
        if len(self.hops) != len(self.bins_per_octave):
            raise ConfigError("hops must be as many as bins_per_octave")
        step = 1 << (self.octaves - 2)
        if any(hop % step for hop in self.hops):
            raise ConfigError(f"hops must be multiples of {step} with {self.octaves} octaves")


_SMALL_MPD = MultiPeriodConfig(width=8, max_width=128)
_SMALL_SPECTRAL = SpectralConfig(width=12, max_width=192)

SMALL: Mapping[str, DiscriminatorConfig] = types.MappingProxyType(
    {
        "mpd": _SMALL_MPD,
        "msd": MultiScaleConfig(width=16),
        "spectral": _SMALL_SPECTRAL,
        "msstft": ComplexStftConfig(width=8),
        "mrd": MultiResolutionConfig(width=8),
        "mssbcqt": ConstantQConfig(bins_per_octave=(12, 24), hops=(256, 128), width=8),
    }
)
"""Each kind at the small size, for training on a CPU. The published size is the default of the
configuration."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class DiscriminatorsConfig:
    """The discriminators of a run, at most one of each kind; None leaves a kind out."""

    mpd: MultiPeriodConfig | None = None
    msd: MultiScaleConfig | None = None
    spectral: SpectralConfig | None = None
    msstft: ComplexStftConfig | None = None
    mrd: MultiResolutionConfig | None = None
    mssbcqt: ConstantQConfig | None = None

    def chosen(self) -> dict[str, DiscriminatorConfig]:
        """The configurations of the kinds that take part, by kind."""
        return {kind: config for kind, config in vars(self).items() if config is not None}


PRESETS: Mapping[str, DiscriminatorsConfig] = types.MappingProxyType(
    {
        "none": DiscriminatorsConfig(),
        # The released recipe: 10.3 M and 11.3 M parameters.
        "published": DiscriminatorsConfig(mpd=MultiPeriodConfig(), spectral=SpectralConfig()),
        # For training on a CPU: 0.9 M and 1.6 M.
        "small": DiscriminatorsConfig(mpd=_SMALL_MPD, spectral=_SMALL_SPECTRAL),
    }
)


def expand_presets(table: Any) -> dict[str, Any]:
    """A table of settings for `DiscriminatorsConfig`, with the values behind `preset` and `size`.

    `preset`, a name of `PRESETS`, sets every kind; `size` of a kind, "published" or "small", sets
    everything but its weight. Settings beside them take precedence.

    Raises:
        ConfigError: not a table, or no such preset or size.
    """
    if not isinstance(table, Mapping):
        raise ConfigError(
            f"discriminators must be a table, not {table!r}; "
            f"discriminators.preset may be {', '.join(PRESETS)}"
        )
    expanded: dict[str, Any] = {}
    if "preset" in table:
        check_choice("discriminators.preset", table["preset"], tuple(PRESETS))
        expanded = dataclasses.asdict(PRESETS[table["preset"]])
    for kind, settings in table.items():
        if kind in SMALL and isinstance(settings, Mapping):
            settings = _expand_size(kind, settings)
            if "preset" in table:  # complete, so that nothing of another preset is left
                published = dataclasses.asdict(type(SMALL[kind])())
                settings = {**(expanded[kind] or published), **settings}
        if kind != "preset":
            expanded[kind] = settings
    return expanded


def _expand_size(kind: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    if "size" not in settings:
        return dict(settings)
    small = SMALL[kind]
    sizes = {"published": type(small)(), "small": small}
    check_choice(f"discriminators.{kind}.size", settings["size"], tuple(sizes))
    expanded = dataclasses.asdict(sizes[settings["size"]])
    del expanded["weight"]
    return {name: value for name, value in {**expanded, **settings}.items() if name != "size"}
