"""Layers with weight normalization (arXiv 1602.07868) as two ordinary parameters.

`weight_g` and `weight_v` are the names in both layouts of published checkpoints. As ordinary
parameters, rather than a parametrization, they have stable names, and `fold_weight_norm` can
replace them by the plain weight for inference.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class WeightNorm(nn.Module):
    """A weight g * v / |v|, with the norm over all dimensions except the first.

    `precomputed` is that weight where `layers.precomputed` has computed it, `folded` where it is
    all that is left.
    """

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.weight_g = nn.Parameter(torch.norm_except_dim(weight.detach(), 2, 0))
        self.weight_v = nn.Parameter(weight.detach().clone())
        self.bias = nn.Parameter(bias.detach().clone())
        self.folded: Tensor | None = None
        self.precomputed: Tensor | None = None

    def weight(self) -> Tensor:
        """The effective weight."""
        if self.folded is not None:
            return self.folded
        if self.precomputed is not None:
            return self.precomputed
        return torch._weight_norm(self.weight_v, self.weight_g, 0)

    def fold(self) -> None:
        """Compute the weight once and remove `weight_g` and `weight_v`; training is then over."""
        folded = self.weight().detach()
        del self.weight_g, self.weight_v
        del self.folded
        self.register_buffer("folded", folded)


class WeightNormLinear(WeightNorm):
    """Linear layer: (..., in) to (..., out)."""

    def __init__(self, in_features: int, out_features: int) -> None:
        layer = nn.Linear(in_features, out_features)
        super().__init__(layer.weight, layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight(), self.bias)


class WeightNormConv1d(WeightNorm):
    """Convolution: (B, in, T) to (B, out, T'). The bias starts at 0, as in the published code."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        padding: int = 0,
        dilation: int = 1,
    ) -> None:
        layer = nn.Conv1d(in_channels, out_channels, kernel_size)
        assert layer.bias is not None
        super().__init__(layer.weight, torch.zeros_like(layer.bias))
        self.stride, self.padding, self.dilation = stride, padding, dilation

    def forward(self, x: Tensor) -> Tensor:
        return F.conv1d(x, self.weight(), self.bias, self.stride, self.padding, self.dilation)


class WeightNormConvTranspose1d(WeightNorm):
    """Transposed convolution: (B, in, T) to (B, out, T * stride) for the paddings used here."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        layer = nn.ConvTranspose1d(in_channels, out_channels, 2 * stride)
        assert layer.bias is not None
        super().__init__(layer.weight, layer.bias)
        self.stride = stride
        self.padding = (stride + 1) // 2
        self.output_padding = stride % 2

    def forward(self, x: Tensor) -> Tensor:
        return F.conv_transpose1d(
            x, self.weight(), self.bias, self.stride, self.padding, self.output_padding
        )


def fold_weight_norm(module: nn.Module) -> None:
    """Fold every weight norm inside `module`, in place, for inference."""
    for child in module.modules():
        if isinstance(child, WeightNorm) and child.folded is None:
            child.fold()
