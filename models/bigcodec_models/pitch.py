"""Pitch of speech: a tracker for training, and the tone that decoders with a pitch filter.

The tracker is that of P. Boersma, "Accurate short-term analysis of the fundamental frequency and
the harmonics-to-noise ratio of a sampled sound", IFA Proceedings 17 (1993): autocorrelation
divided by that of the window, and the cheapest path through its peaks.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bigcodec_models.config import SAMPLE_RATE

LOWEST, HIGHEST = 55.0, 500.0
"""Hertz that a pitch lies between."""
PHASE_UNITS = 1 << 20
"""Parts of a cycle that phases are summed up in, which float32 holds exactly."""
TAPS = (1, 3, 5, 6, 5, 3, 1)
"""Weights of a frame and its neighbours in a smoothed pitch."""

_WINDOW, _FFT = 960, 2048  # 60 ms: more than three periods of the lowest pitch
_FINER = 4  # lags a sample: short periods fall between samples, their multiples less so
_LAG_RATE = _FINER * SAMPLE_RATE
_SHORTEST, _LONGEST = int(_LAG_RATE / HIGHEST), math.ceil(_LAG_RATE / LOWEST)
_CANDIDATES = 5
# Costs of the paper's method, at their usual values for speech.
_VOICED_FROM, _SILENCE, _HIGHER = 0.45, 0.03, 0.05
_JUMP, _CHANGE = 0.35, 0.14
_BAND = 0.48  # of the sample rate: how far up the harmonics of a tone go


class PitchTracker(nn.Module):
    """Waves (B, N) and a hop to pitch in Hz, (B, N // hop) float32, 0 where there is none.

    Frame t is centred on sample (t + 1/2) * hop.
    """

    window: Tensor
    weight: Tensor

    def __init__(self) -> None:
        super().__init__()
        window = torch.hann_window(_WINDOW, device="cpu")
        own = _correlated(torch.fft.rfft(window, _FFT))
        self.register_buffer("window", window, persistent=False)
        self.register_buffer("weight", own[:1] / own, persistent=False)

    @torch.no_grad()
    def forward(self, wave: Tensor, hop: int) -> Tensor:
        correlation, level = self._correlation(wave.float(), hop)
        lags, strengths = _peaks(correlation)
        quiet = (2 - level / (_SILENCE / (1 + _VOICED_FROM))).clamp(min=0)
        silent = _VOICED_FROM + quiet
        strengths = strengths - _HIGHER * torch.log2(LOWEST / _LAG_RATE * lags)
        strengths = torch.cat([silent.unsqueeze(-1), strengths], dim=-1)
        pitches = F.pad(_LAG_RATE / lags, (1, 0))
        return pitches.gather(-1, _cheapest_path(pitches, strengths).unsqueeze(-1)).squeeze(-1)

    def _correlation(self, wave: Tensor, hop: int) -> tuple[Tensor, Tensor]:
        """Correlations (B, T, lags) at lags from 0, and peak levels (B, T) against the wave's."""
        frames = wave.shape[-1] // hop
        before = (_WINDOW - hop) // 2
        padded = F.pad(wave, (before, _WINDOW))
        pieces = padded.unfold(1, _WINDOW, hop)[:, :frames]
        pieces = pieces - pieces.mean(dim=-1, keepdim=True)
        largest = wave.abs().amax(dim=-1, keepdim=True).clamp(min=1e-9)
        level = pieces.abs().amax(dim=-1) / largest
        found = _correlated(torch.fft.rfft(pieces * self.window, _FFT))
        return found / found[..., :1].clamp(min=1e-12) * self.weight, level


def _correlated(spectrum: Tensor) -> Tensor:
    """Autocorrelation at lags from 0, a `_FINER`-th of a sample apart: (..., lags)."""
    return torch.fft.irfft(spectrum.abs().square(), _FINER * _FFT)[..., : _LONGEST + 2]


def _peaks(correlation: Tensor) -> tuple[Tensor, Tensor]:
    """Lags (of `_LAG_RATE`) and heights of the highest peaks, (B, T, candidates), between lags by
    parabolas; height 0 where there are fewer."""
    left, middle, right = (
        correlation[..., _SHORTEST + k : _LONGEST + k] for k in (0, 1, 2)
    )  # at lags from _SHORTEST + 1
    is_peak = (middle > left) & (middle >= right)
    heights, where = torch.where(is_peak, middle, 0.0).topk(_CANDIDATES, dim=-1)
    left, right = left.gather(-1, where), right.gather(-1, where)
    bend = (2 * heights - left - right).clamp(min=1e-9)
    shift = torch.where(heights > 0, (right - left) / (2 * bend), 0.0).clamp(-0.5, 0.5)
    return where + _SHORTEST + 1 + shift, heights + (right - left) * shift / 4


def _cheapest_path(pitches: Tensor, strengths: Tensor) -> Tensor:
    """Viterbi over candidates (B, T, C), of which the first is "no pitch": indices (B, T)."""
    voiced = pitches > 0
    octaves = torch.where(voiced, pitches, 1.0).log2()
    best, steps = strengths[:, 0], []
    for t in range(1, pitches.shape[1]):
        both = voiced[:, t - 1, :, None] & voiced[:, t, None, :]
        differ = voiced[:, t - 1, :, None] ^ voiced[:, t, None, :]
        jump = (octaves[:, t - 1, :, None] - octaves[:, t, None, :]).abs()
        cost = torch.where(both, _JUMP * jump, _CHANGE * differ)
        best, step = (best.unsqueeze(2) - cost).max(dim=1)
        best = best + strengths[:, t]
        steps.append(step)
    path = [best.argmax(dim=1)]
    for step in reversed(steps):
        path.append(step.gather(1, path[-1].unsqueeze(1)).squeeze(1))
    return torch.stack(path[::-1], dim=1)


def smoothed(steps: Tensor, voicing: Tensor) -> Tensor:
    """Means of each frame's step and its neighbours', by `TAPS` times voicing: (B, T) twice.

    Integers give integers, rounded down, and so the same ones on every machine.
    """
    taps = torch.tensor(TAPS, dtype=steps.dtype, device=steps.device)
    total, weight = (
        (F.pad(values, (len(TAPS) // 2,) * 2).unfold(-1, len(TAPS), 1) * taps).sum(dim=-1)
        for values in (steps * voicing, voicing)
    )
    return total / weight if steps.is_floating_point() else total // weight


def tone(phase: Tensor, step: Tensor, hop: int) -> Tensor:
    """Cosines of all harmonics below 0.48 of the sample rate, at amplitude 1: (B, T * hop).

    `phase` (B, T): cycles at the begin of each frame; `step` (B, T): cycles in it, above 0.
    The sum has a closed form, Dirichlet's kernel.
    """
    ramp = torch.arange(hop, dtype=phase.dtype, device=phase.device) / hop
    cycles = phase.unsqueeze(-1) + step.unsqueeze(-1) * ramp
    angle = math.tau * (cycles - cycles.round())
    count = (_BAND * hop / step).floor().unsqueeze(-1)
    ratio = torch.sin((count + 0.5) * angle) / (2 * torch.sin(angle / 2))
    return torch.where(angle.abs() < 1e-6, count, ratio - 0.5).flatten(1)
