"""Discriminators for adversarial training, and how the published checkpoints name their tensors.

Every discriminator maps a wave (B, 1, N) in [-1, 1] to one list of feature maps per
sub-discriminator; the last map of a list is the score, the others are there to be matched.
`KINDS` says what can be built: a further kind is a dataclass, a builder and one line there.
"""

from __future__ import annotations

import dataclasses
import re
import types
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bigcodec_models.config import ConfigError
from bigcodec_models.weight_norm import _WeightNorm

Features = list[Tensor]
"""Feature maps of one sub-discriminator, in order, its score last."""

_MAX_WIDTH = 4096
_MAX_PARTS = 16

_PERIOD_STRIDES = (3, 3, 3, 3, 1)
_PERIOD_GROWTH = 4
_PERIOD_SLOPE = 0.1

_SPECTRAL_LAYERS = 5
_SPECTRAL_SLOPE = 0.2
_NARROW = 192  # channels up to which CPU convolutions are faster with the channels innermost

_POWER_RANGE = (1e-7, 1e3)  # the upper bound acts at an FFT of 2048, and the published one has it


def _check_sizes(name: str, values: Iterable[int], low: int, high: int) -> None:
    for value in values:
        if not low <= value <= high:
            raise ConfigError(f"{name} must be between {low} and {high}, not {value}")


def _check_widths(width: int, max_width: int) -> None:
    _check_sizes("max_width of a discriminator", [max_width], 1, _MAX_WIDTH)
    _check_sizes("width of a discriminator", [width], 1, max_width)


@dataclasses.dataclass(frozen=True, kw_only=True)
class MultiPeriodConfig:
    """HiFi-GAN's multi-period discriminator (arXiv 2010.05646), at the published size.

    `width` is that of the first layer; each further one has four times it, up to `max_width`.
    """

    periods: tuple[int, ...] = (2, 3, 5, 7, 11)
    width: int = 16
    max_width: int = 512

    def __post_init__(self) -> None:
        _check_sizes("number of periods", [len(self.periods)], 1, _MAX_PARTS)
        _check_sizes("periods", self.periods, 1, 256)
        _check_widths(self.width, self.max_width)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SpectralConfig:
    """The discriminator of magnitude spectrograms in the released code, at its size.

    An FFT size, in samples, is also the window length; frames are a quarter of it apart.
    `width` is that of the first layer; each further one has twice it, up to `max_width`.
    """

    fft_sizes: tuple[int, ...] = (128, 256, 512, 1024, 2048)
    width: int = 32
    max_width: int = 512

    def __post_init__(self) -> None:
        _check_sizes("number of fft_sizes", [len(self.fft_sizes)], 1, _MAX_PARTS)
        _check_sizes("fft_sizes", self.fft_sizes, 16, 1 << 14)
        _check_widths(self.width, self.max_width)
        if any(size % 4 for size in self.fft_sizes):
            raise ConfigError("fft_sizes must be multiples of 4")


DiscriminatorConfig = MultiPeriodConfig | SpectralConfig


class WeightNormConv2d(_WeightNorm):
    """Convolution with half padding: (B, in, H, W) to (B, out, H', W').

    It starts as PyTorch's own convolution does, bias included: the published code draws other
    weights, but weight normalisation overwrites them at the first forward.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: tuple[int, int],
        stride: tuple[int, int] = (1, 1),
    ) -> None:
        layer = nn.Conv2d(in_channels, out_channels, kernel_size)
        assert layer.bias is not None
        super().__init__(layer.weight, layer.bias)
        self.stride = stride
        self.padding = (kernel_size[0] // 2, kernel_size[1] // 2)

    def forward(self, x: Tensor, swapped: bool = False) -> Tensor:
        """With `swapped`, `x` and the result have their last two axes in the other order."""
        weight, stride, padding = self.weight(), self.stride, self.padding
        if swapped:
            weight, stride, padding = weight.transpose(2, 3), stride[::-1], padding[::-1]
        if x.device.type == "cpu":
            x = _channels_innermost(x) if max(weight.shape[:2]) <= _NARROW else x.contiguous()
        return F.conv2d(x, weight, self.bias, stride, padding)


def _channels_innermost(x: Tensor) -> Tensor:
    """The same maps in the memory format `channels_last`, by its strides even for one channel."""
    if x.shape[1] == 1:
        return x.squeeze(1).contiguous().unsqueeze(3).permute(0, 3, 1, 2)
    return x.contiguous(memory_format=torch.channels_last)


class SubDiscriminator(nn.Module):
    """A front end, layers each followed by a leaky ReLU, and a last one that gives the score."""

    def __init__(
        self, front: nn.Module, layers: Iterable[nn.Module], score: nn.Module, slope: float
    ) -> None:
        super().__init__()
        self.front, self.layers, self.score = front, nn.ModuleList(layers), score
        self.slope = slope

    def forward(self, wave: Tensor) -> Features:
        x = self.front(wave)
        # CPU convolutions are up to several times faster with the longer axis last.
        swapped = x.shape[2] > x.shape[3]
        x = x.transpose(2, 3) if swapped else x
        features: Features = []
        for layer in self.layers:
            # In place: nothing needs the values before it, and they are half of the memory.
            x = F.leaky_relu(layer(x, swapped), self.slope, inplace=True)
            features.append(x)
        features.append(self.score(x, swapped))
        return [x.transpose(2, 3) for x in features] if swapped else features


class Discriminator(nn.Module):
    """Several sub-discriminators, each looking at the whole wave in its own way."""

    def __init__(self, parts: Iterable[nn.Module]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)

    def forward(self, wave: Tensor) -> list[Features]:
        """(B, 1, N) to the features of every part."""
        return [part(wave) for part in self.parts]


class Fold(nn.Module):
    """Wave to rows of `period` samples, reflected at the end to fill the last one.

    (B, 1, N) to (B, 1, ceil(N / period), period); N must be at least `period`.
    """

    def __init__(self, period: int) -> None:
        super().__init__()
        self.period = period

    def forward(self, wave: Tensor) -> Tensor:
        padded = F.pad(wave, (0, -wave.shape[-1] % self.period), mode="reflect")
        return padded.view(*wave.shape[:-1], -1, self.period)


class Magnitude(nn.Module):
    """Magnitude spectrogram, Hann window, frames centred with reflected ends, always float32.

    (B, 1, N) to (B, 1, fft_size/2 + 1, 1 + N // hop), the hop a quarter of `fft_size`; N must be
    above fft_size/2. The power is clamped before its root, whose slope at 0 is infinite.
    """

    window: Tensor

    def __init__(self, fft_size: int) -> None:
        super().__init__()
        self.fft_size = fft_size
        self.register_buffer("window", torch.hann_window(fft_size), persistent=False)

    def forward(self, wave: Tensor) -> Tensor:
        size = self.fft_size
        with torch.autocast(wave.device.type, enabled=False):
            spectrum = torch.stft(
                wave.squeeze(1).float(), size, size // 4, window=self.window, return_complex=True
            )
            power = spectrum.real.square() + spectrum.imag.square()
            return power.clamp(*_POWER_RANGE).sqrt().unsqueeze(1)


class MultiPeriodDiscriminator(Discriminator):
    """Looks at every period-th sample, for several periods: 6 feature maps each."""

    def __init__(self, config: MultiPeriodConfig) -> None:
        super().__init__(_period_part(config, period) for period in config.periods)
        self.config = config


class SpectralDiscriminator(Discriminator):
    """Looks at magnitude spectrograms of several resolutions: 6 feature maps each."""

    def __init__(self, config: SpectralConfig) -> None:
        super().__init__(_spectral_part(config, size) for size in config.fft_sizes)
        self.config = config


def _widths(first: int, growth: int, limit: int, count: int) -> list[int]:
    """One input channel, then `count` layers."""
    return [1, *(min(first * growth**index, limit) for index in range(count))]


def _period_part(config: MultiPeriodConfig, period: int) -> SubDiscriminator:
    widths = _widths(config.width, _PERIOD_GROWTH, config.max_width, len(_PERIOD_STRIDES))
    layers = [
        WeightNormConv2d(narrow, wide, (5, 1), (stride, 1))
        for narrow, wide, stride in zip(widths, widths[1:], _PERIOD_STRIDES, strict=False)
    ]
    score = WeightNormConv2d(widths[-1], 1, (2, 1))
    return SubDiscriminator(Fold(period), layers, score, _PERIOD_SLOPE)


def _spectral_part(config: SpectralConfig, fft_size: int) -> SubDiscriminator:
    widths = _widths(config.width, 2, config.max_width, _SPECTRAL_LAYERS)
    layers = [
        WeightNormConv2d(narrow, wide, (5, 5), (2, 2))
        for narrow, wide in zip(widths[:-2], widths[1:-1], strict=True)
    ]
    layers.append(WeightNormConv2d(widths[-2], widths[-1], (3, 3)))
    score = WeightNormConv2d(widths[-1], 1, (3, 3))
    return SubDiscriminator(Magnitude(fft_size), layers, score, _SPECTRAL_SLOPE)


class Kind(NamedTuple):
    """A kind of discriminator: its configuration, whose defaults are the full size, and its
    builder, which takes one such configuration."""

    config: type[Any]
    build: Callable[[Any], Discriminator]


KINDS: dict[str, Kind] = {
    "mpd": Kind(MultiPeriodConfig, MultiPeriodDiscriminator),
    "spectral": Kind(SpectralConfig, SpectralDiscriminator),
}

PRESETS: Mapping[str, Mapping[str, DiscriminatorConfig]] = types.MappingProxyType(
    {
        # The released recipe: 10.3 M and 11.3 M parameters.
        "published": {"mpd": MultiPeriodConfig(), "spectral": SpectralConfig()},
        # Ours, for training on a CPU: 0.9 M and 1.6 M.
        "small": {
            "mpd": MultiPeriodConfig(width=8, max_width=128),
            "spectral": SpectralConfig(width=12, max_width=192),
        },
    }
)


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


_TENSOR = r"(bias|weight_g|weight_v)"
_PERIOD = r"discriminator\.discriminators\.(\d+)"
_SPECTRAL = r"spec_discriminator\.model\.disc_(\d+)\.model\.layer_"
_PUBLISHED_NAMES = (
    (re.compile(rf"{_PERIOD}\.convs\.(\d+)\.0\.{_TENSOR}"), r"mpd.parts.\1.layers.\2.\3"),
    (re.compile(rf"{_PERIOD}\.output_conv\.{_TENSOR}"), r"mpd.parts.\1.score.\2"),
    (re.compile(rf"{_SPECTRAL}(\d+)\.0\.{_TENSOR}"), r"spectral.parts.\1.layers.\2.\3"),
    (re.compile(rf"{_SPECTRAL}\d+\.{_TENSOR}"), r"spectral.parts.\1.score.\2"),
)


def our_name(published: str) -> str | None:
    """Where `build_discriminators` has a tensor that the published code calls `published`."""
    for pattern, ours in _PUBLISHED_NAMES:
        if match := pattern.fullmatch(published):
            return match.expand(ours)
    return None


def adapt_discriminators(upstream: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Our names for the discriminator tensors of a published state dict, other tensors left out.

    Names may stand behind `model.`, as Lightning writes them. Without any discriminator, as in
    the release file, the result is empty; with published sizes it loads into
    `build_discriminators(PRESETS["published"])`.

    Raises:
        ConfigError: a discriminator has a tensor of no known name, or two in one place.
    """
    adapted: dict[str, Tensor] = {}
    for name, tensor in upstream.items():
        bare = name.removeprefix("model.")
        if not bare.startswith(("discriminator.", "spec_discriminator.")):
            continue
        ours = our_name(bare)
        if ours is None or ours in adapted:
            raise ConfigError(f"tensor {name} has no place in the known discriminators")
        adapted[ours] = tensor
    return adapted
