"""Parts of discriminators: configuration, convolution, sub-discriminators, a set of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bigcodec_models.discriminators.config import DiscriminatorConfig
from bigcodec_models.layers.weight_norm import WeightNorm

Features = list[Tensor]
"""Feature maps of one sub-discriminator, in order, its score last."""

_NARROW = 192  # channels up to which CPU convolutions are faster with the channels innermost


class WeightNormConv2d(WeightNorm):
    """Convolution with half padding: (B, in, H, W) to (B, out, H', W').

    Initial weights and bias are those of PyTorch's convolution: the published code initializes the
    weights differently, but weight normalization overwrites them in the first forward pass.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: tuple[int, int],
        stride: tuple[int, int] = (1, 1),
        dilation: tuple[int, int] = (1, 1),
        groups: int = 1,
    ) -> None:
        layer = nn.Conv2d(in_channels, out_channels, kernel_size, groups=groups)
        assert layer.bias is not None
        super().__init__(layer.weight, layer.bias)
        self.stride, self.dilation, self.groups = stride, dilation, groups
        self.padding = (kernel_size[0] // 2 * dilation[0], kernel_size[1] // 2 * dilation[1])

    def forward(self, x: Tensor, swapped: bool = False) -> Tensor:
        """(B, in, H, W) to (B, out, H', W'); with `swapped`, both have (W, H) for (H, W)."""
        weight = self.weight()
        stride, padding, dilation = self.stride, self.padding, self.dilation
        if swapped:
            weight = weight.transpose(2, 3)
            stride, padding, dilation = stride[::-1], padding[::-1], dilation[::-1]
        if x.device.type == "cpu":
            innermost = self.groups == 1 and max(weight.shape[:2]) <= _NARROW
            x = _channels_innermost(x) if innermost else x.contiguous()
        else:  # the layout that matrix units of GPUs use without a copy
            x = x.contiguous(memory_format=torch.channels_last)
        return F.conv2d(x, weight, self.bias, stride, padding, dilation, self.groups)


def _channels_innermost(x: Tensor) -> Tensor:
    """Maps (B, C, H, W) in the memory format `channels_last`, also in strides if C is 1."""
    if x.shape[1] == 1:
        return x.squeeze(1).contiguous().unsqueeze(3).permute(0, 3, 1, 2)
    return x.contiguous(memory_format=torch.channels_last)


def _activated(layers: Iterable[nn.Module], x: Tensor, slope: float, swapped: bool) -> Features:
    """The output of each layer, one after the other, with a leaky ReLU: maps (B, C, H, W)."""
    features: Features = []
    for layer in layers:
        # In place: the values before it are not needed, and would be half of the memory.
        x = F.leaky_relu(layer(x, swapped), slope, inplace=True)
        features.append(x)
    return features


class SubDiscriminator(nn.Module):
    """A front end, layers each followed by a leaky ReLU, and a last layer for the score."""

    def __init__(
        self, front: nn.Module, layers: Iterable[nn.Module], score: nn.Module, slope: float
    ) -> None:
        super().__init__()
        self.front, self.layers, self.score = front, nn.ModuleList(layers), score
        self.slope = slope

    def forward(self, wave: Tensor) -> Features:
        """A wave (B, 1, N) to feature maps (B, C, H, W), the score last."""
        x = self.front(wave)
        # CPU convolutions are up to several times faster with the longer axis last.
        swapped = x.shape[2] > x.shape[3]
        x = x.transpose(2, 3) if swapped else x
        features = _activated(self.layers, x, self.slope, swapped)
        features.append(self.score(features[-1], swapped))
        return [x.transpose(2, 3) for x in features] if swapped else features


class BandDiscriminator(nn.Module):
    """A sub-discriminator with layers of its own for each band of frequencies.

    The front end gives (B, C, frames, frequencies); `edges` are the first frequency of each band
    and the one after its last. The score is computed from the concatenated bands.
    """

    def __init__(
        self,
        front: nn.Module,
        edges: Sequence[tuple[int, int]],
        bands: Iterable[Iterable[nn.Module]],
        score: nn.Module,
        slope: float,
    ) -> None:
        super().__init__()
        self.front, self.score = front, score
        self.bands = nn.ModuleList(nn.ModuleList(layers) for layers in bands)
        self.edges, self.slope = tuple(edges), slope

    def forward(self, wave: Tensor) -> Features:
        """A wave (B, 1, N) to feature maps (B, C, H, W), band after band, the score last."""
        x = self.front(wave)
        swapped = x.shape[2] > x.shape[3]
        axis = 2 if swapped else 3
        x = x.transpose(2, 3) if swapped else x
        features: Features = []
        ends: list[Tensor] = []
        for (low, high), layers in zip(self.edges, self.bands, strict=True):
            assert isinstance(layers, nn.ModuleList)
            features += _activated(layers, x.narrow(axis, low, high - low), self.slope, swapped)
            ends.append(features[-1])
        features.append(self.score(torch.cat(ends, axis), swapped))
        return [x.transpose(2, 3) for x in features] if swapped else features


class Discriminator(nn.Module):
    """Several sub-discriminators, each with the whole wave as its input."""

    def __init__(self, config: DiscriminatorConfig, parts: Iterable[nn.Module]) -> None:
        super().__init__()
        self.config = config
        self.parts = nn.ModuleList(parts)

    def forward(self, wave: Tensor) -> list[Features]:
        """A wave (B, 1, N) to the features of every part."""
        return [part(wave) for part in self.parts]


def widths_of(first: int, growth: int, limit: int, count: int) -> list[int]:
    """One input channel, then the widths of `count` layers."""
    return [1, *(min(first * growth**index, limit) for index in range(count))]
