"""F0 of speech: its tokens, and the harmonic excitation of a decoder.

The tracker follows P. Boersma, "Accurate short-term analysis of the fundamental frequency and the
harmonics-to-noise ratio of a sampled sound", IFA Proceedings 17 (1993): the autocorrelation is
divided by that of the window, and a path with the lowest cost is chosen through its peaks. Here
each frame has a short path of its own, so that a stream can be tracked in pieces.
"""

from __future__ import annotations

import functools
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bigcodec_models.config import F0_BINS
from bigcodec_models.f0_scale import (
    DEFAULT_TOKEN,
    HARMONIC_BAND,
    LOWEST,
    PHASE_UNITS,
    STEPS_AN_OCTAVE,
    TAPS,
    TRACKER_CANDIDATES,
    TRACKER_CHANGE,
    TRACKER_FFT,
    TRACKER_FINER,
    TRACKER_HIGHER,
    TRACKER_JUMP,
    TRACKER_LAG_RATE,
    TRACKER_LONGEST,
    TRACKER_NEVER,
    TRACKER_REACH,
    TRACKER_SHORTEST,
    TRACKER_SILENCE,
    TRACKER_VOICED_FROM,
    TRACKER_WINDOW,
    increments_of_tokens,
)


class F0Tracker(nn.Module):
    """F0 tokens of waves: (B, N) to int64 (B, N // hop), each in [0, F0_BINS).

    Frame t is centered on sample (t + 1/2) * hop. Its token depends on
    `tracker_receptive_field(hop)` frames on either side.
    """

    window: Tensor
    weight: Tensor

    def __init__(self) -> None:
        super().__init__()
        window = torch.hann_window(TRACKER_WINDOW, device="cpu")
        correlation = _autocorrelation(torch.fft.rfft(window, TRACKER_FFT))
        self.register_buffer("window", window, persistent=False)
        self.register_buffer("weight", correlation[:1] / correlation, persistent=False)

    @torch.no_grad()
    def forward(self, wave: Tensor, hop: int) -> Tensor:
        correlation, peak = self._correlation(wave.float(), hop)
        lags, strengths = _peaks(correlation)
        strengths = strengths - TRACKER_HIGHER * torch.log2(LOWEST / TRACKER_LAG_RATE * lags)
        silent = TRACKER_VOICED_FROM + (2 - peak / TRACKER_SILENCE).clamp(min=0)
        strengths = torch.cat([silent.unsqueeze(-1), strengths], dim=-1)
        octaves = F.pad(torch.log2(TRACKER_LAG_RATE / lags / LOWEST), (1, 0))
        tokens = 1 + (STEPS_AN_OCTAVE * octaves).round().long().clamp(0, F0_BINS - 2)
        tokens[..., :1].zero_()
        chosen = _cheapest_path(octaves, strengths).unsqueeze(-1)
        f0: Tensor = tokens.gather(-1, chosen).squeeze(-1)
        return f0

    def _correlation(self, wave: Tensor, hop: int) -> tuple[Tensor, Tensor]:
        """Autocorrelations (B, T, lags) at lags from 0, and the peak magnitude of frames (B, T)."""
        frames = wave.shape[-1] // hop
        padded = F.pad(wave, ((TRACKER_WINDOW - hop) // 2, TRACKER_WINDOW))
        pieces = padded.unfold(1, TRACKER_WINDOW, hop)[:, :frames]
        pieces = pieces - pieces.mean(dim=-1, keepdim=True)
        correlation = _autocorrelation(torch.fft.rfft(pieces * self.window, TRACKER_FFT))
        correlation = correlation / correlation[..., :1].clamp(min=1e-12) * self.weight
        return correlation, pieces.abs().amax(dim=-1)


def _autocorrelation(spectrum: Tensor) -> Tensor:
    """Autocorrelation (..., lags) at lags from 0, in steps of 1/`TRACKER_FINER` of a sample."""
    correlation: Tensor = torch.fft.irfft(spectrum.abs().square(), TRACKER_FINER * TRACKER_FFT)
    return correlation[..., : TRACKER_LONGEST + 2]


def _peaks(correlation: Tensor) -> tuple[Tensor, Tensor]:
    """Lags, in 1/`TRACKER_LAG_RATE` seconds, and heights of the highest peaks: (B, T, candidates).

    Peaks between lags are interpolated by parabolas. Where there are fewer, the height is 0.
    """
    left, middle, right = (
        correlation[..., TRACKER_SHORTEST + k : TRACKER_LONGEST + k] for k in (0, 1, 2)
    )  # at lags from TRACKER_SHORTEST + 1
    is_peak = (middle > left) & (middle >= right)
    heights, index = torch.where(is_peak, middle, 0.0).topk(TRACKER_CANDIDATES, dim=-1)
    left, right = left.gather(-1, index), right.gather(-1, index)
    curvature = (2 * heights - left - right).clamp(min=1e-9)
    shift = torch.where(heights > 0, (right - left) / (2 * curvature), 0.0).clamp(-0.5, 0.5)
    return index + TRACKER_SHORTEST + 1 + shift, heights + (right - left) * shift / 4


def _cheapest_path(octaves: Tensor, strengths: Tensor) -> Tensor:
    """Indices (B, T) of the candidates on the best path of each frame, which runs over the frame
    and `TRACKER_REACH` frames on either side.

    `octaves` and `strengths` (B, T, C) are those of the candidates; the first is "unvoiced".
    """
    frames, around = octaves.shape[1], (0, 0, TRACKER_REACH, TRACKER_REACH)
    octaves = F.pad(octaves, around)
    strengths = F.pad(strengths, around, value=-TRACKER_NEVER)
    voiced = torch.arange(strengths.shape[-1], device=strengths.device) > 0
    changes = TRACKER_CHANGE * (voiced[:, None] ^ voiced[None, :])
    jumps = TRACKER_JUMP * (voiced[:, None] & voiced[None, :])
    # From each frame to the next: paths of all frames that pass there share these costs.
    distances = (octaves[:, :-1, :, None] - octaves[:, 1:, None, :]).abs()
    costs = changes + jumps * distances
    best, steps = strengths[:, :frames], []
    for place in range(2 * TRACKER_REACH):
        cost, gain = costs[:, place : place + frames], strengths[:, place + 1 : place + 1 + frames]
        best, step = (best.unsqueeze(3) - cost).max(dim=2)
        best = best + gain
        steps.append(step)
    choice = best.argmax(dim=2, keepdim=True)
    for step in reversed(steps[TRACKER_REACH:]):
        choice = step.gather(2, choice)
    return choice.squeeze(2)


def phase_increments(tokens: Tensor, hop: int) -> Tensor:
    """Phase increments per frame, in `PHASE_UNITS`, of smoothed F0 tokens: int64 (B, T) to int64
    (B, T).

    Computed in integers, and therefore the same on every machine. A frame depends on
    `len(TAPS) // 2` frames on either side.
    """
    table, taps = _tables(hop, tokens.device)
    total, weight = (
        (F.pad(values, (len(TAPS) // 2,) * 2).unfold(-1, len(TAPS), 1) * taps).sum(dim=-1)
        for values in (table[tokens] * (tokens > 0), (tokens > 0).long())
    )
    return torch.where(weight > 0, total // weight.clamp(min=1), table[DEFAULT_TOKEN])


@functools.lru_cache
def _tables(hop: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Phase increments (F0_BINS,) by token, and `TAPS`. Cached: copies to a device are slow."""
    increments = torch.tensor(increments_of_tokens(hop), device=device)
    return increments, torch.tensor(TAPS, device=device)


def phases(increments: Tensor, before: Tensor | int = 0) -> Tensor:
    """Phase at the start of each frame and increment, in cycles: (B, 2, T).

    `increments` (B, T) are int64, in `PHASE_UNITS`, and `before` is the phase before the first one.
    Sums of integers do not depend on how a stream is split.
    """
    starts = (before + increments.cumsum(dim=1) - increments) % PHASE_UNITS
    return torch.stack([starts, increments], dim=1).float() / PHASE_UNITS


def harmonic_excitation(phase: Tensor, increment: Tensor, hop: int) -> Tensor:
    """The sum of the cosines of all harmonics below 0.48 of the sample rate: (B, T * hop).

    `phase` (B, T) is in cycles at the start of each frame, `increment` (B, T) in cycles per frame,
    above 0. Each cosine has amplitude 1. The sum has a closed form, the Dirichlet kernel.
    """
    ramp = torch.arange(hop, dtype=phase.dtype, device=phase.device) / hop
    cycles = phase.unsqueeze(-1) + increment.unsqueeze(-1) * ramp
    angle = math.tau * (cycles - cycles.round())
    count = (HARMONIC_BAND * hop / increment).floor().unsqueeze(-1)
    ratio = torch.sin((count + 0.5) * angle) / (2 * torch.sin(angle / 2))
    return torch.where(angle.abs() < 1e-6, count, ratio - 0.5).flatten(1)
