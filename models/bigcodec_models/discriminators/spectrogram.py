"""Discriminators of short-time spectra: magnitudes (`spectral`), complex (`msstft`), and complex
in bands (`mrd`)."""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bigcodec_models.discriminators.config import (
    ComplexStftConfig,
    MultiResolutionConfig,
    SpectralConfig,
)
from bigcodec_models.discriminators.layers import (
    BandDiscriminator,
    Discriminator,
    SubDiscriminator,
    WeightNormConv2d,
    widths_of,
)
from bigcodec_models.losses.spectral import magnitudes

_SPECTRAL_LAYERS = 5
_STFT_SLOPE = 0.2
_BAND_SLOPE = 0.1

_DILATIONS = (1, 2, 4)  # over frames, in the strided layers of `msstft`
_BAND_EDGES = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0)  # of DAC, as parts of the range up to Nyquist

_MAGNITUDE_RANGE = (1e-7**0.5, 1e3**0.5)
"""Roots of the bounds of powers in the published code. The upper one acts at an FFT of 2048."""


class Magnitude(nn.Module):
    """Magnitude spectrogram, Hann window, frames centered with reflected ends, always float32.

    (B, 1, N) to (B, 1, fft_size/2 + 1, 1 + N // hop), the hop a quarter of `fft_size`; N must be
    above fft_size/2. Magnitudes are clamped: no gradient goes through what is hardly there.
    """

    window: Tensor

    def __init__(self, fft_size: int) -> None:
        super().__init__()
        self.fft_size = fft_size
        self.register_buffer("window", torch.hann_window(fft_size), persistent=False)

    def forward(self, wave: Tensor) -> Tensor:
        size = self.fft_size
        with torch.autocast(wave.device.type, enabled=False):
            padded = F.pad(wave.float(), (size // 2, size // 2), mode="reflect").squeeze(1)
            spectrum = magnitudes(padded, self.window).clamp(*_MAGNITUDE_RANGE)
            return spectrum.transpose(1, 2).unsqueeze(1)


class ComplexSpectrum(nn.Module):
    """Real and imaginary parts of a spectrogram as two channels, always float32.

    (B, 1, N) to (B, 2, frames, fft_size/2 + 1), the hop a quarter of `fft_size`. `centered` frames
    are 1 + N // hop with reflected ends, and N must be above fft_size/2. Others lie inside the
    wave and are 1 + (N - fft_size) // hop; a wave shorter than a frame is filled up with zeros. The
    Hann window is scaled to unit energy, so that noise has the same level at every size.
    """

    window: Tensor

    def __init__(self, fft_size: int, centered: bool) -> None:
        super().__init__()
        self.fft_size, self.centered = fft_size, centered
        window = torch.hann_window(fft_size)
        self.register_buffer("window", window / window.norm(), persistent=False)

    def forward(self, wave: Tensor) -> Tensor:
        size = self.fft_size
        with torch.autocast(wave.device.type, enabled=False):
            wave = wave.squeeze(1).float()
            if not self.centered:
                wave = F.pad(wave, (0, max(0, size - wave.shape[-1])))
            spectrum = torch.stft(
                wave,
                size,
                size // 4,
                window=self.window,
                center=self.centered,
                return_complex=True,
            )
            return torch.stack([spectrum.real, spectrum.imag], 1).transpose(2, 3)


class SpectralDiscriminator(Discriminator):
    """Sees magnitude spectrograms of several resolutions: 6 feature maps each."""

    def __init__(self, config: SpectralConfig) -> None:
        super().__init__(config, (_spectral_part(config, size) for size in config.fft_sizes))


class ComplexStftDiscriminator(Discriminator):
    """Sees complex spectrograms, frames by frequencies: 6 feature maps each.

    Kernels are 3 frames by 9 frequencies, as released (the paper says 3 by 8). The released code
    leaves weight norm off the first layer; here it is everywhere.
    """

    def __init__(self, config: ComplexStftConfig) -> None:
        super().__init__(config, (_complex_part(config, size) for size in config.fft_sizes))


class MultiResolutionDiscriminator(Discriminator):
    """Sees five bands of complex spectrograms: 26 feature maps each, band after band.

    DAC removes the mean of a wave and scales it to one peak before all of its discriminators;
    here waves keep their level, so that a wrong level is visible.
    """

    def __init__(self, config: MultiResolutionConfig) -> None:
        super().__init__(config, (_band_part(config, size) for size in config.fft_sizes))


def time_frequency_layers(width: int, dilations: tuple[int, ...]) -> list[WeightNormConv2d]:
    """EnCodec's layers for maps (B, 2, frames, frequencies): one at full resolution, one for each
    dilation that halves the frequencies, and a last one of 3 by 3."""
    return [
        WeightNormConv2d(2, width, (3, 9)),
        *(WeightNormConv2d(width, width, (3, 9), (1, 2), (over, 1)) for over in dilations),
        WeightNormConv2d(width, width, (3, 3)),
    ]


def _spectral_part(config: SpectralConfig, fft_size: int) -> SubDiscriminator:
    widths = widths_of(config.width, 2, config.max_width, _SPECTRAL_LAYERS)
    layers = [
        WeightNormConv2d(narrow, wide, (5, 5), (2, 2))
        for narrow, wide in zip(widths[:-2], widths[1:-1], strict=True)
    ]
    layers.append(WeightNormConv2d(widths[-2], widths[-1], (3, 3)))
    score = WeightNormConv2d(widths[-1], 1, (3, 3))
    return SubDiscriminator(Magnitude(fft_size), layers, score, _STFT_SLOPE)


def _complex_part(config: ComplexStftConfig, fft_size: int) -> SubDiscriminator:
    return SubDiscriminator(
        ComplexSpectrum(fft_size, centered=False),
        time_frequency_layers(config.width, _DILATIONS),
        WeightNormConv2d(config.width, 1, (3, 3)),
        _STFT_SLOPE,
    )


def _band_part(config: MultiResolutionConfig, fft_size: int) -> BandDiscriminator:
    frequencies = [int(edge * (fft_size // 2 + 1)) for edge in _BAND_EDGES]
    edges = list(itertools.pairwise(frequencies))
    return BandDiscriminator(
        ComplexSpectrum(fft_size, centered=True),
        edges,
        [time_frequency_layers(config.width, (1, 1, 1)) for _ in edges],
        WeightNormConv2d(config.width, 1, (3, 3)),
        _BAND_SLOPE,
    )
