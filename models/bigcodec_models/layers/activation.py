"""The alias-free SnakeBeta activation (BigVGAN, arXiv 2206.04658; filters after StyleGAN3), and
plain Snake for comparison.

The plain form of SnakeBeta is the reference and runs on every device; where `kernels.snake_beta`
has kernels for the device, they are used instead.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bigcodec_models.kernels.low_pass import LOW_PASS, TAPS
from bigcodec_models.kernels.snake_beta import kernels_for, scales_of, snake_beta


class AliasFreeSnakeBeta(nn.Module):
    """Upsample twice, x + sin^2(e^alpha x) / (e^beta + 1e-9), downsample twice.

    Edges are replicate-padded before each filter. `alpha` and `beta` (channels,) are logarithms.
    With `fused` set to False, on an instance or on the class, the plain form is used.
    `precomputed` are the scales of the fused form where `layers.precomputed` has computed them.
    """

    taps: Tensor
    fused = True

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.zeros(channels))
        self.beta = nn.Parameter(torch.zeros(channels))
        self.precomputed: Tensor | None = None
        taps = torch.tensor(LOW_PASS, device="cpu").view(1, 1, TAPS)
        self.register_buffer("taps", taps, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(..., channels, T) to the same shape."""
        kernels = kernels_for(x) if self.fused else None
        if kernels is None:
            return self.plain(x)
        scales = self.precomputed
        if scales is None:
            scales = scales_of(self.alpha, self.beta)
        return snake_beta(x, scales, kernels)

    def plain(self, x: Tensor) -> Tensor:
        """The reference for `forward` in torch operations: (..., channels, T) to the same shape."""
        shape, channels = x.shape, x.shape[-2]
        taps = self.taps.to(x.dtype).expand(channels, 1, TAPS)
        margin = TAPS // 2 - 1
        x = F.pad(x.reshape(-1, channels, shape[-1]), (margin, margin), mode="replicate")
        x = 2 * F.conv_transpose1d(x, taps, stride=2, groups=channels)
        x = x[..., 3 * margin : -3 * margin]
        x = x + self.alpha_scaled_sine(x)
        x = F.pad(x, (margin, margin + 1), mode="replicate")
        return F.conv1d(x, taps, stride=2, groups=channels).view(shape)

    def alpha_scaled_sine(self, x: Tensor) -> Tensor:
        """The periodic part, sin^2(e^alpha x) / (e^beta + 1e-9), of x (B, channels, T)."""
        frequency = self.alpha.exp().unsqueeze(-1)
        amplitude = 1.0 / (self.beta.exp().unsqueeze(-1) + 1e-9)
        return amplitude * torch.sin(x * frequency).square()


class Snake(nn.Module):
    """x + sin^2(e^alpha x) / (e^alpha + 1e-9), without resampling (arXiv 2006.08195).

    `alpha` (channels,) are logarithms; the frequency starts at 1, as in DAC (arXiv 2306.06546).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """(..., channels, T) to the same shape."""
        frequency = self.alpha.exp().unsqueeze(-1)
        return x + torch.sin(x * frequency).square() / (frequency + 1e-9)


def make_activation(name: str, channels: int) -> nn.Module:
    """The activation that `BigCodecConfig.activation` names."""
    return Snake(channels) if name == "snake" else AliasFreeSnakeBeta(channels)
