"""Discriminators for adversarial training.

Every discriminator maps a wave (B, 1, N) in [-1, 1] to one list of feature maps per
sub-discriminator; the last map of a list is the score, the others are for feature matching.

layers.py     their parts                   waveform.py     of the wave: `mpd`, `msd`
registry.py   kinds, sizes and presets      spectrogram.py  of spectra: `spectral`, `msstft`, `mrd`
published.py  names in published files      constant_q.py   of constant-Q spectra: `mssbcqt`
"""

from __future__ import annotations

from bigcodec_models.discriminators.constant_q import (
    ConstantQ,
    ConstantQConfig,
    ConstantQDiscriminator,
)
from bigcodec_models.discriminators.layers import (
    BandDiscriminator,
    Discriminator,
    DiscriminatorConfig,
    Features,
    SubDiscriminator,
    WeightNormConv2d,
)
from bigcodec_models.discriminators.published import adapt_discriminators, parameter_name
from bigcodec_models.discriminators.registry import (
    KINDS,
    PRESETS,
    DiscriminatorsConfig,
    Kind,
    build_discriminators,
    expand_presets,
)
from bigcodec_models.discriminators.spectrogram import (
    ComplexSpectrum,
    ComplexStftConfig,
    ComplexStftDiscriminator,
    Magnitude,
    MultiResolutionConfig,
    MultiResolutionDiscriminator,
    SpectralConfig,
    SpectralDiscriminator,
)
from bigcodec_models.discriminators.waveform import (
    Fold,
    MultiPeriodConfig,
    MultiPeriodDiscriminator,
    MultiScaleConfig,
    MultiScaleDiscriminator,
    Pool,
)

__all__ = [
    "KINDS",
    "PRESETS",
    "BandDiscriminator",
    "ComplexSpectrum",
    "ComplexStftConfig",
    "ComplexStftDiscriminator",
    "ConstantQ",
    "ConstantQConfig",
    "ConstantQDiscriminator",
    "Discriminator",
    "DiscriminatorConfig",
    "DiscriminatorsConfig",
    "Features",
    "Fold",
    "Kind",
    "Magnitude",
    "MultiPeriodConfig",
    "MultiPeriodDiscriminator",
    "MultiResolutionConfig",
    "MultiResolutionDiscriminator",
    "MultiScaleConfig",
    "MultiScaleDiscriminator",
    "Pool",
    "SpectralConfig",
    "SpectralDiscriminator",
    "SubDiscriminator",
    "WeightNormConv2d",
    "adapt_discriminators",
    "build_discriminators",
    "expand_presets",
    "parameter_name",
]
