"""Discriminators of the wave itself: multi-period (`mpd`) and multi-scale (`msd`)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from bigcodec_models.discriminators.config import MultiPeriodConfig, MultiScaleConfig
from bigcodec_models.discriminators.layers import (
    Discriminator,
    SubDiscriminator,
    WeightNormConv2d,
    widths_of,
)

_PERIOD_STRIDES = (3, 3, 3, 3, 1)
_PERIOD_GROWTH = 4
_SLOPE = 0.1

# HiFi-GAN's table: kernel, stride, groups, and width as a multiple of the first.
_SCALE_LAYERS = (
    (15, 1, 1, 1),
    (41, 2, 4, 1),
    (41, 2, 16, 2),
    (41, 4, 16, 4),
    (41, 4, 16, 8),
    (41, 1, 16, 8),
    (5, 1, 1, 8),
)


class Fold(nn.Module):
    """A wave as rows of `period` samples, reflected at its end to fill the last row.

    (B, 1, N) to (B, 1, ceil(N / period), period); N must be at least `period`.
    """

    def __init__(self, period: int) -> None:
        super().__init__()
        self.period = period

    def forward(self, wave: Tensor) -> Tensor:
        padded = F.pad(wave, (0, -wave.shape[-1] % self.period), mode="reflect")
        return padded.view(*wave.shape[:-1], -1, self.period)


class Pool(nn.Module):
    """A wave whose sample rate is halved `times` times: (B, 1, N) to (B, 1, 1, N').

    Each time, means of 4 samples are taken at every second sample; N' is N // 2 + 1 after one time.
    """

    def __init__(self, times: int) -> None:
        super().__init__()
        self.times = times

    def forward(self, wave: Tensor) -> Tensor:
        for _ in range(self.times):
            wave = F.avg_pool1d(wave, 4, 2, padding=2)
        return wave.unsqueeze(2)


class MultiPeriodDiscriminator(Discriminator):
    """Sees every period-th sample, for several periods: 6 feature maps each."""

    def __init__(self, config: MultiPeriodConfig) -> None:
        super().__init__(config, (_period_part(config, period) for period in config.periods))


class MultiScaleDiscriminator(Discriminator):
    """Sees the wave, and the wave at lower sample rates: 8 feature maps (B, C, 1, N') each.

    All layers have weight norm, as in MelGAN. HiFi-GAN has spectral norm at the first scale, whose
    state changes in every forward pass, even while the generator is trained.
    """

    def __init__(self, config: MultiScaleConfig) -> None:
        super().__init__(config, (_scale_part(config, times) for times in range(config.scales)))


def _period_part(config: MultiPeriodConfig, period: int) -> SubDiscriminator:
    widths = widths_of(config.width, _PERIOD_GROWTH, config.max_width, len(_PERIOD_STRIDES))
    layers = [
        WeightNormConv2d(narrow, wide, (5, 1), (stride, 1))
        for narrow, wide, stride in zip(widths, widths[1:], _PERIOD_STRIDES, strict=False)
    ]
    score = WeightNormConv2d(widths[-1], 1, (2, 1))
    return SubDiscriminator(Fold(period), layers, score, _SLOPE)


def _scale_part(config: MultiScaleConfig, times: int) -> SubDiscriminator:
    widths = [1, *(config.width * multiple for _, _, _, multiple in _SCALE_LAYERS)]
    layers = [
        WeightNormConv2d(narrow, wide, (1, kernel), (1, stride), groups=groups)
        for narrow, wide, (kernel, stride, groups, _) in zip(
            widths, widths[1:], _SCALE_LAYERS, strict=False
        )
    ]
    score = WeightNormConv2d(widths[-1], 1, (1, 3))
    return SubDiscriminator(Pool(times), layers, score, _SLOPE)
