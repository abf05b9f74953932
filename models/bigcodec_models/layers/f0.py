"""Pitch of speech: the tokens that name it, and the tone that a decoder filters.

The tracker is that of P. Boersma, "Accurate short-term analysis of the fundamental frequency and
the harmonics-to-noise ratio of a sampled sound", IFA Proceedings 17 (1993): autocorrelation
divided by that of the window, and the cheapest path through its peaks; here the path of each
frame is its own and short, so that a stream can be tracked in pieces.
"""

from __future__ import annotations

import functools
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bigcodec_models.config import PITCH_TOKENS, SAMPLE_RATE

LOWEST = 55.0
"""Hertz of token 1; token 0 is "no pitch"."""
STEPS_AN_OCTAVE = 48
HIGHEST = LOWEST * 2 ** ((PITCH_TOKENS - 2) / STEPS_AN_OCTAVE)
PHASE_UNITS = 1 << 20
"""Parts of a cycle that phases are summed up in, which float32 holds exactly."""
TAPS = (1, 3, 5, 6, 5, 3, 1)
"""Weights of a frame and its neighbours in a smoothed pitch."""

_REACH = 8  # frames on either side that a frame's path runs over
_WINDOW = 960  # 60 ms: more than three periods of the lowest pitch
_FFT = 1280  # room for the window and the longest lag
_FINER = 4  # lags a sample: short periods fall between samples, their multiples less so
_LAG_RATE = _FINER * SAMPLE_RATE
_SHORTEST, _LONGEST = int(_LAG_RATE / HIGHEST), math.ceil(_LAG_RATE / LOWEST)
_CANDIDATES = 5
# Costs of the paper's method, at their usual values for speech; what is below -60 dB is silent.
_VOICED_FROM, _HIGHER, _JUMP, _CHANGE, _SILENCE = 0.45, 0.05, 0.35, 0.14, 1e-3
_NEVER = 1e3
_BAND = 0.48  # of the sample rate: how far up the harmonics of a tone go
_ANY = 1 + STEPS_AN_OCTAVE  # where no frame near has a pitch


class PitchTracker(nn.Module):
    """Tokens of pitch of waves: (B, N) to int64 (B, N // hop), each in [0, PITCH_TOKENS).

    Frame t is centred on sample (t + 1/2) * hop, and depends on `context(hop)` frames around it.
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
        correlation, peak = self._correlation(wave.float(), hop)
        lags, strengths = _peaks(correlation)
        strengths = strengths - _HIGHER * torch.log2(LOWEST / _LAG_RATE * lags)
        silent = _VOICED_FROM + (2 - peak / _SILENCE).clamp(min=0)
        strengths = torch.cat([silent.unsqueeze(-1), strengths], dim=-1)
        octaves = F.pad(torch.log2(_LAG_RATE / lags / LOWEST), (1, 0))
        tokens = 1 + (STEPS_AN_OCTAVE * octaves).round().long().clamp(0, PITCH_TOKENS - 2)
        tokens[..., :1].zero_()
        chosen = _cheapest_path(octaves, strengths).unsqueeze(-1)
        found: Tensor = tokens.gather(-1, chosen).squeeze(-1)
        return found

    @staticmethod
    def context(hop: int) -> int:
        """Frames before and after a frame that its token depends on."""
        return _REACH + -(-(_WINDOW - hop) // (2 * hop))

    def _correlation(self, wave: Tensor, hop: int) -> tuple[Tensor, Tensor]:
        """Correlations (B, T, lags) at lags from 0, and the largest magnitude of frames (B, T)."""
        frames = wave.shape[-1] // hop
        padded = F.pad(wave, ((_WINDOW - hop) // 2, _WINDOW))
        pieces = padded.unfold(1, _WINDOW, hop)[:, :frames]
        pieces = pieces - pieces.mean(dim=-1, keepdim=True)
        found = _correlated(torch.fft.rfft(pieces * self.window, _FFT))
        found = found / found[..., :1].clamp(min=1e-12) * self.weight
        return found, pieces.abs().amax(dim=-1)


def _correlated(spectrum: Tensor) -> Tensor:
    """Autocorrelation at lags from 0, a `_FINER`-th of a sample apart: (..., lags)."""
    found: Tensor = torch.fft.irfft(spectrum.abs().square(), _FINER * _FFT)
    return found[..., : _LONGEST + 2]


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


def _cheapest_path(octaves: Tensor, strengths: Tensor) -> Tensor:
    """What each frame is on the best path through it and `_REACH` frames on either side, of
    candidates (B, T, C) of which the first is "no pitch": indices (B, T)."""
    batch, frames, _ = octaves.shape
    around = (0, 0, _REACH, _REACH)
    octaves = F.pad(octaves, around).unfold(1, 2 * _REACH + 1, 1).flatten(0, 1).movedim(-1, 0)
    strengths = F.pad(strengths, around, value=-_NEVER)
    strengths = strengths.unfold(1, 2 * _REACH + 1, 1).flatten(0, 1).movedim(-1, 0).contiguous()
    voiced = torch.arange(strengths.shape[-1], device=strengths.device) > 0
    changes = _CHANGE * (voiced[:, None] ^ voiced[None, :])
    jumps = _JUMP * (voiced[:, None] & voiced[None, :])
    best, steps = strengths[0], []
    for before, here, gain in zip(octaves, octaves[1:], strengths[1:], strict=False):
        cost = changes + jumps * (before[:, :, None] - here[:, None, :]).abs()
        best, step = (best.unsqueeze(2) - cost).max(dim=1)
        best = best + gain
        steps.append(step)
    place = best.argmax(dim=1, keepdim=True)
    for step in reversed(steps[_REACH:]):
        place = step.gather(1, place)
    return place.view(batch, frames)


def source(tokens: Tensor, hop: int) -> Tensor:
    """Cycles a frame of tokens int64 (B, T), smoothed, in `PHASE_UNITS`: int64 (B, T).

    Whole numbers throughout, and so the same on every machine. Depends on `len(TAPS) // 2`
    frames on either side.
    """
    table, taps = _tables(hop, tokens.device)
    total, weight = (
        (F.pad(values, (len(TAPS) // 2,) * 2).unfold(-1, len(TAPS), 1) * taps).sum(dim=-1)
        for values in (table[tokens] * (tokens > 0), (tokens > 0).long())
    )
    return torch.where(weight > 0, total // weight.clamp(min=1), table[_ANY])


@functools.lru_cache
def _tables(hop: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Cycles a frame by token, and `TAPS`. Made once: a copy to a device would wait for it."""
    hertz = [LOWEST * 2 ** ((token - 1) / STEPS_AN_OCTAVE) for token in range(PITCH_TOKENS)]
    cycles = [round(PHASE_UNITS * pitch * hop / SAMPLE_RATE) for pitch in hertz]
    return torch.tensor(cycles, device=device), torch.tensor(TAPS, device=device)


def phases(steps: Tensor, before: Tensor | int = 0) -> Tensor:
    """Phase at the begin of frames and step, in cycles (B, 2, T), of steps in `PHASE_UNITS`,
    int64 (B, T). Sums are of whole numbers: they do not depend on how a stream is cut."""
    begins = (before + steps.cumsum(dim=1) - steps) % PHASE_UNITS
    return torch.stack([begins, steps], dim=1).float() / PHASE_UNITS


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
