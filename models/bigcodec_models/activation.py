"""The alias-free SnakeBeta activation (BigVGAN, arXiv 2206.04658; filters after StyleGAN3)."""

from __future__ import annotations

import functools

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

TAPS = 12
_CUTOFF = 0.25
_HALF_WIDTH = 0.3


@functools.cache
def low_pass_taps() -> tuple[float, ...]:
    """The 12-tap Kaiser-windowed sinc that both resamplers use, cutoff 0.25, summing to 1.

    The Kaiser beta comes from the usual attenuation estimate for the given transition width
    (Oppenheim and Schafer, "Discrete-Time Signal Processing", section 7.6).
    """
    half = TAPS // 2
    attenuation = 2.285 * (half - 1) * np.pi * 4 * _HALF_WIDTH + 7.95
    if attenuation > 50:
        beta = 0.1102 * (attenuation - 8.7)
    else:
        beta = 0.5842 * (attenuation - 21) ** 0.4 + 0.07886 * (attenuation - 21)
    time = np.arange(-half, half) + 0.5
    taps = 2 * _CUTOFF * np.sinc(2 * _CUTOFF * time) * np.kaiser(TAPS, beta)
    return tuple(float(tap) for tap in taps / taps.sum())


class AliasFreeSnakeBeta(nn.Module):
    """Upsample twice, x + sin^2(e^alpha x) / (e^beta + 1e-9), downsample twice.

    Edges are replicate-padded before each filter. `alpha` and `beta` are logs, one a channel.
    """

    taps: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.zeros(channels))
        self.beta = nn.Parameter(torch.zeros(channels))
        taps = torch.tensor(low_pass_taps(), device="cpu").view(1, 1, TAPS)
        self.register_buffer("taps", taps, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, T) to the same shape."""
        channels = x.shape[1]
        taps = self.taps.to(x.dtype).expand(channels, 1, TAPS)
        margin = TAPS // 2 - 1
        x = F.pad(x, (margin, margin), mode="replicate")
        x = 2 * F.conv_transpose1d(x, taps, stride=2, groups=channels)
        x = x[..., 3 * margin : -3 * margin]
        x = x + self.alpha_scaled_sine(x)
        x = F.pad(x, (margin, margin + 1), mode="replicate")
        return F.conv1d(x, taps, stride=2, groups=channels)

    def alpha_scaled_sine(self, x: Tensor) -> Tensor:
        """The periodic part, sin^2(e^alpha x) / (e^beta + 1e-9)."""
        frequency = self.alpha.exp().unsqueeze(-1)
        amplitude = 1.0 / (self.beta.exp().unsqueeze(-1) + 1e-9)
        return amplitude * torch.sin(x * frequency).square()
