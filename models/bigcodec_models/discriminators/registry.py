"""Which discriminators there are, at which sizes, and how a table of settings chooses among them.

A further kind is a configuration, a class, a field of `DiscriminatorsConfig` and a line in `KINDS`.
"""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from torch import nn

from bigcodec_models.config import ConfigError
from bigcodec_models.config_values import check_choice
from bigcodec_models.discriminators.constant_q import ConstantQConfig, ConstantQDiscriminator
from bigcodec_models.discriminators.layers import Discriminator, DiscriminatorConfig
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


class Kind(NamedTuple):
    """A kind of discriminator: its class, which takes a configuration, and the small size for
    training on a CPU. The published size is the default of the configuration."""

    build: Callable[[Any], Discriminator]
    small: DiscriminatorConfig


_SMALL_MPD = MultiPeriodConfig(width=8, max_width=128)
_SMALL_SPECTRAL = SpectralConfig(width=12, max_width=192)

KINDS: dict[str, Kind] = {
    "mpd": Kind(MultiPeriodDiscriminator, _SMALL_MPD),
    "msd": Kind(MultiScaleDiscriminator, MultiScaleConfig(width=16)),
    "spectral": Kind(SpectralDiscriminator, _SMALL_SPECTRAL),
    "msstft": Kind(ComplexStftDiscriminator, ComplexStftConfig(width=8)),
    "mrd": Kind(MultiResolutionDiscriminator, MultiResolutionConfig(width=8)),
    "mssbcqt": Kind(
        ConstantQDiscriminator,
        ConstantQConfig(bins_per_octave=(12, 24), hops=(256, 128), width=8),
    ),
}


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
        if kind in KINDS and isinstance(settings, Mapping):
            settings = _expand_size(kind, settings)
            if "preset" in table:  # complete, so that nothing of another preset is left
                published = dataclasses.asdict(type(KINDS[kind].small)())
                settings = {**(expanded[kind] or published), **settings}
        if kind != "preset":
            expanded[kind] = settings
    return expanded


def _expand_size(kind: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    if "size" not in settings:
        return dict(settings)
    small = KINDS[kind].small
    sizes = {"published": type(small)(), "small": small}
    check_choice(f"discriminators.{kind}.size", settings["size"], tuple(sizes))
    expanded = dataclasses.asdict(sizes[settings["size"]])
    del expanded["weight"]
    return {name: value for name, value in {**expanded, **settings}.items() if name != "size"}


def build_discriminators(config: DiscriminatorsConfig) -> nn.ModuleDict:
    """The chosen discriminators, each under the name of its kind."""
    return nn.ModuleDict(
        {kind: KINDS[kind].build(settings) for kind, settings in config.chosen().items()}
    )
