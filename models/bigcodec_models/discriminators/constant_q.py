"""The discriminator of constant-Q spectra (`mssbcqt`, arXiv 2311.14957), and that transform."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bigcodec_models.discriminators.config import ConstantQConfig
from bigcodec_models.discriminators.layers import Discriminator, SubDiscriminator, WeightNormConv2d
from bigcodec_models.discriminators.spectrogram import time_frequency_layers

_DILATIONS = (1, 2, 4)
_SLOPE = 0.1

# The filter before each halving of the sample rate. By Kaiser's formula it attenuates by 109 dB
# above 0.36 of the rate, and is as flat below 0.14. An octave ends at 1/8, its bins a bit above.
_HALF_TAPS = 16
_KAISER = 11.05


class ConstantQ(nn.Module):
    """Constant-Q transform, always float32: (B, 1, N) to (B, 2, 1 + N // hop, bins * octaves).

    Bin k, counted from the lowest, has the frequency f_k = 8000 * 2**(k / bins - octaves) Hz and
    the length n_k = q * 16000 / f_k, q = 1 / (2**(1 / bins) - 1). Its value at sample s is

        sqrt(n_k) * sum over n of x[s + n] * w(n / n_k) * exp(-2 pi i f_k n / 16000)

    with the Hann window w over |n| < n_k / 2, scaled to the sum 1: the definition of Brown (JASA
    89, 1991) in the scale of librosa. Samples outside of the wave are 0. Channels are the real and
    the imaginary part.

    The two upper octaves are computed from the wave, and each further one from a wave of half the
    sample rate of the one before, with the same kernels (Schoerkhuber and Klapuri, 2010). These lie
    in the second quarter of its frequency range, far from aliasing.
    """

    upper: Tensor
    lower: Tensor
    low_pass: Tensor

    def __init__(self, bins: int, octaves: int, hop: int) -> None:
        super().__init__()
        self.bins, self.octaves, self.hop = bins, octaves, hop
        self.register_buffer("upper", _kernels(bins, 1 / 4), persistent=False)
        self.register_buffer("lower", _kernels(bins, 1 / 8), persistent=False)
        self.register_buffer("low_pass", _half_band(), persistent=False)

    def forward(self, wave: Tensor) -> Tensor:
        """(B, 1, N) to (B, 2, 1 + N // hop, bins * octaves)."""
        count = 1 + wave.shape[-1] // self.hop
        # Zeros before and after, in whole frames, for the tails of the filters.
        lead = -(-(_HALF_TAPS << (self.octaves - 2)) // self.hop)
        with torch.autocast(wave.device.type, enabled=False):
            wave = F.pad(wave.float(), (lead * self.hop, lead * self.hop))
            octaves = [_frames(wave, self.upper, self.hop)[:, lead : lead + count]]
            for index in range(self.octaves - 1):
                if index:
                    wave = F.conv1d(wave, self.low_pass, stride=2, padding=_HALF_TAPS)
                part = _frames(wave, self.lower, self.hop >> index)[:, lead : lead + count]
                octaves.append(part * 2 ** (index / 2))
            parts = [part.reshape(len(wave), count, 2, self.bins) for part in octaves[::-1]]
            return torch.cat(parts, dim=3).transpose(1, 2)


def _kernels(bins: int, lowest: float) -> Tensor:
    """Kernels of the octave above `lowest`, in cycles per sample: (taps, 2 * bins), real parts
    first."""
    frequency = lowest * 2 ** (np.arange(bins) / bins)
    length = 1 / (2 ** (1 / bins) - 1) / frequency
    half = int(length[0] / 2)
    time = np.arange(-half, half + 1)[:, None]
    inside = np.abs(time) < length / 2
    window = np.where(inside, 1 + np.cos(2 * np.pi * time / length), 0.0) / np.sqrt(length)
    phase = 2 * np.pi * frequency * time
    kernels = np.concatenate([window * np.cos(phase), -window * np.sin(phase)], axis=1)
    return torch.from_numpy(kernels).float()


def _half_band() -> Tensor:
    """Low-pass filter at a quarter of the sample rate, with unit gain: (1, 1, taps)."""
    time = np.arange(-_HALF_TAPS, _HALF_TAPS + 1)
    taps = np.sinc(time / 2) * np.kaiser(len(time), _KAISER)
    return torch.from_numpy(taps / taps.sum()).float().view(1, 1, -1)


def _frames(wave: Tensor, kernels: Tensor, hop: int) -> Tensor:
    """(B, 1, N) times kernels centered at every hop-th sample: (B, at least 1 + N // hop, K)."""
    half = len(kernels) // 2
    padded = F.pad(wave.squeeze(1), (half, half + hop))
    return padded.unfold(1, len(kernels), hop) @ kernels


class SubBands(nn.Module):
    """Constant-Q spectrum with a convolution for each octave, the sub-band processor of the paper:
    (B, 1, N) to (B, 2, 1 + N // hop, bins * octaves)."""

    def __init__(self, bins: int, octaves: int, hop: int) -> None:
        super().__init__()
        self.spectrum = ConstantQ(bins, octaves, hop)
        self.layers = nn.ModuleList(WeightNormConv2d(2, 2, (3, 9)) for _ in range(octaves))

    def forward(self, wave: Tensor) -> Tensor:
        octaves = self.spectrum(wave).split(self.spectrum.bins, dim=3)
        return torch.cat([layer(x) for layer, x in zip(self.layers, octaves, strict=True)], dim=3)


class ConstantQDiscriminator(Discriminator):
    """Sees constant-Q spectrograms of several resolutions: 6 feature maps each.

    The outputs of the sub-band processors are not among the feature maps, as in the released code.
    All layers have weight norm; the released code has none in the processors and the first layer.
    """

    def __init__(self, config: ConstantQConfig) -> None:
        resolutions = zip(config.bins_per_octave, config.hops, strict=True)
        super().__init__(config, (_part(config, bins, hop) for bins, hop in resolutions))


def _part(config: ConstantQConfig, bins: int, hop: int) -> SubDiscriminator:
    return SubDiscriminator(
        SubBands(bins, config.octaves, hop),
        time_frequency_layers(config.width, _DILATIONS),
        WeightNormConv2d(config.width, 1, (3, 3)),
        _SLOPE,
    )
