"""Changes of waves that training uses as augmentation, on any device."""

from __future__ import annotations

import math

import torch
from torch import Tensor

EQUALIZER_POINTS = 7
"""Points of an equalizer's curve, up to 8 kHz on an axis that is about logarithmic."""

_REACH = 24  # samples on either side that an interpolated one depends on
_PASS_BAND = 0.985  # of what remains below the new band's edge
_PHASES = 1024  # places between two samples at which there is a filter
_ROWS = 8  # interpolated at once: the filters of all samples are 48 times as large as the waves
_SKEW = 30.0


def samples_for(length: int, speed: float) -> int:
    """Samples that `play_faster` needs for `length` samples at `speed`, of at least 1."""
    return length if speed == 1.0 else math.ceil(length * speed) + 2 * _REACH


def play_faster(wave: Tensor, speed: Tensor, length: int) -> Tensor:
    """Rows (B, n), played `speed` (B,) times faster: (B, length).

    Interpolation with windowed sines; what would lie above the band is removed. Speeds are at least
    1, so that no part of the band is left empty. n is `samples_for` the highest speed, or more.
    """
    rows = zip(torch.split(wave, _ROWS), torch.split(speed, _ROWS), strict=True)
    return torch.cat([_faster(part, ratio, length) for part, ratio in rows])


def _faster(wave: Tensor, speed: Tensor, length: int) -> Tensor:
    device = wave.device
    place = torch.arange(length, device=device, dtype=torch.float64) * speed.double().unsqueeze(1)
    place = (place * _PHASES).round().long()
    rows = torch.arange(len(wave), device=device).unsqueeze(1)
    filters = _filters(speed)[rows, place % _PHASES]
    pieces = wave.unfold(1, 2 * _REACH, 1)[rows, place // _PHASES + 1]
    return (pieces * filters).sum(dim=-1)


def _filters(speed: Tensor) -> Tensor:
    """Windowed sines that interpolate at each of `_PHASES` places between two samples, and pass
    what stays within the band at a speed: (B,) to (B, _PHASES, 2 * _REACH)."""
    device = speed.device
    taps = torch.arange(1 - _REACH, _REACH + 1, device=device)
    x = taps - (torch.arange(_PHASES, device=device) / _PHASES).unsqueeze(-1)
    window = torch.cos(math.pi / 2 * (x / (_REACH + 1)).clamp(-1, 1)).square()
    cutoff = (_PASS_BAND / speed.float())[:, None, None]
    return cutoff * torch.sinc(cutoff * x) * window


def equalize(wave: Tensor, decibels: Tensor) -> Tensor:
    """Rows (B, n) with their spectra changed by curves of `decibels` (B, EQUALIZER_POINTS), linear
    between the points: the same shape."""
    spectrum = torch.fft.rfft(wave)
    bins = spectrum.shape[-1]
    axis = torch.linspace(0, 1, bins, device=wave.device)
    place = torch.log1p(_SKEW * axis) / math.log1p(_SKEW) * (EQUALIZER_POINTS - 1)
    low = place.long().clamp(max=EQUALIZER_POINTS - 2)
    curve = torch.lerp(decibels[:, low], decibels[:, low + 1], place - low)
    result: Tensor = torch.fft.irfft(spectrum * 10 ** (curve / 20), n=wave.shape[-1])
    return result
