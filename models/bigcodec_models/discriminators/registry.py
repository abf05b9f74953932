"""The class of each kind of discriminator; what can be configured of it is in config.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from bigcodec_models.discriminators.config import DiscriminatorsConfig
from bigcodec_models.discriminators.constant_q import ConstantQDiscriminator
from bigcodec_models.discriminators.layers import Discriminator
from bigcodec_models.discriminators.spectrogram import (
    ComplexStftDiscriminator,
    MultiResolutionDiscriminator,
    SpectralDiscriminator,
)
from bigcodec_models.discriminators.waveform import (
    MultiPeriodDiscriminator,
    MultiScaleDiscriminator,
)

KINDS: dict[str, Callable[[Any], Discriminator]] = {
    "mpd": MultiPeriodDiscriminator,
    "msd": MultiScaleDiscriminator,
    "spectral": SpectralDiscriminator,
    "msstft": ComplexStftDiscriminator,
    "mrd": MultiResolutionDiscriminator,
    "mssbcqt": ConstantQDiscriminator,
}
"""What builds a discriminator of a configuration, by kind."""


def build_discriminators(config: DiscriminatorsConfig) -> nn.ModuleDict:
    """The chosen discriminators, each under the name of its kind."""
    return nn.ModuleDict(
        {kind: KINDS[kind](settings) for kind, settings in config.chosen().items()}
    )
