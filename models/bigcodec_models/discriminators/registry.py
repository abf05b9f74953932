"""Which discriminators there are, at which sizes, and how a setting chooses among them.

`KINDS` says what can be built: a further kind is a dataclass, a builder and one line there.
"""

from __future__ import annotations

import math
import types
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from torch import nn

from bigcodec_models.config import ConfigError
from bigcodec_models.discriminators.constant_q import ConstantQConfig, ConstantQDiscriminator
from bigcodec_models.discriminators.layers import Discriminator
from bigcodec_models.discriminators.spectrogram import (
    ComplexStftConfig,
    ComplexStftDiscriminator,
    MultiResolutionConfig,
    MultiResolutionDiscriminator,
    SpectralConfig,
    SpectralDiscriminator,
)
from bigcodec_models.discriminators.waveform import (
    MultiPeriodConfig,
    MultiPeriodDiscriminator,
    MultiScaleConfig,
    MultiScaleDiscriminator,
)

DiscriminatorConfig = (
    MultiPeriodConfig
    | MultiScaleConfig
    | SpectralConfig
    | ComplexStftConfig
    | MultiResolutionConfig
    | ConstantQConfig
)


class Kind(NamedTuple):
    """A kind of discriminator: its configuration, whose defaults are the full size, and its
    builder, which takes one such configuration."""

    config: type[Any]
    build: Callable[[Any], Discriminator]


KINDS: dict[str, Kind] = {
    "mpd": Kind(MultiPeriodConfig, MultiPeriodDiscriminator),
    "msd": Kind(MultiScaleConfig, MultiScaleDiscriminator),
    "spectral": Kind(SpectralConfig, SpectralDiscriminator),
    "msstft": Kind(ComplexStftConfig, ComplexStftDiscriminator),
    "mrd": Kind(MultiResolutionConfig, MultiResolutionDiscriminator),
    "mssbcqt": Kind(ConstantQConfig, ConstantQDiscriminator),
}

SMALL: Mapping[str, DiscriminatorConfig] = types.MappingProxyType(
    {  # Sizes of ours, for training on a CPU.
        "mpd": MultiPeriodConfig(width=8, max_width=128),
        "msd": MultiScaleConfig(width=16),
        "spectral": SpectralConfig(width=12, max_width=192),
        "msstft": ComplexStftConfig(width=8),
        "mrd": MultiResolutionConfig(width=8),
        "mssbcqt": ConstantQConfig(bins_per_octave=(12, 24), hops=(256, 128), width=8),
    }
)
_SMALL_SUFFIX = "-small"

PRESETS: Mapping[str, Mapping[str, DiscriminatorConfig]] = types.MappingProxyType(
    {
        # The released recipe: 10.3 M and 11.3 M parameters.
        "published": {"mpd": MultiPeriodConfig(), "spectral": SpectralConfig()},
        # Ours, for training on a CPU: 0.9 M and 1.6 M.
        "small": {name: SMALL[name] for name in ("mpd", "spectral")},
    }
)


class Choice(NamedTuple):
    """One discriminator of a run: how large it is, and the weight of its terms."""

    config: DiscriminatorConfig
    weight: float


def choose_discriminators(setting: str) -> dict[str, Choice]:
    """What `discriminators` names, by kind: `none`, one of `PRESETS`, or a list with weights.

    A list is `mpd:1,mrd-small:0.5`: kinds at their full size, or ours with `-small`, each once,
    with a weight above 0 that is 1 where it is left out. `small` is `mpd-small,spectral-small`.

    Raises:
        ConfigError: anything else.
    """
    if setting == "none":
        return {}
    if setting in PRESETS:
        return {name: Choice(config, 1.0) for name, config in PRESETS[setting].items()}
    chosen: dict[str, Choice] = {}
    for entry in setting.split(","):
        name, colon, weight = (part.strip() for part in entry.partition(":"))
        kind = name.removesuffix(_SMALL_SUFFIX)
        if kind not in KINDS:
            raise ConfigError(
                f"discriminators: {name!r} is none of {', '.join(PRESETS)}, none, or of the kinds "
                f"{', '.join(KINDS)}, each also with {_SMALL_SUFFIX}"
            )
        if kind in chosen:
            raise ConfigError(f"discriminators: {kind} is named twice")
        config = KINDS[kind].config() if kind == name else SMALL[kind]
        chosen[kind] = Choice(config, _weight(name, weight) if colon else 1.0)
    return chosen


def _weight(name: str, text: str) -> float:
    try:
        weight = float(text)
    except ValueError:
        weight = math.nan
    if not 0 < weight < math.inf:
        raise ConfigError(f"discriminators: the weight of {name} must be above 0, not {text!r}")
    return weight


def discriminators_setting(table: Mapping[str, Any]) -> str:
    """The list that `choose_discriminators` takes, from a table of weights by name.

    Raises:
        ConfigError: the table is empty, or has something other than numbers.
    """
    if not table:
        raise ConfigError("discriminators: an empty table; for none of them, write 'none'")
    for name, weight in table.items():
        if isinstance(weight, bool) or not isinstance(weight, int | float):
            raise ConfigError(f"discriminators: the weight of {name} must be a number")
    return ",".join(f"{name}:{weight!r}" for name, weight in table.items())


def build_discriminators(configs: Mapping[str, Any]) -> nn.ModuleDict:
    """A discriminator for each entry, under its kind's name: `PRESETS[...]`, or a mapping alike.

    Raises:
        ConfigError: no such kind, or a configuration that belongs to another one.
    """
    built: dict[str, nn.Module] = {}
    for name, config in configs.items():
        if name not in KINDS:
            raise ConfigError(f"unknown discriminator {name!r}; known: {', '.join(sorted(KINDS))}")
        if not isinstance(config, KINDS[name].config):
            raise ConfigError(f"{config!r} is no configuration of the discriminator {name!r}")
        built[name] = KINDS[name].build(config)
    return nn.ModuleDict(built)
