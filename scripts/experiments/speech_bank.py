"""Speech on a device as 16-bit samples, and batches of its crops."""

from __future__ import annotations

import argparse
import glob
import math
import os
import zlib
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bigcodec_models.config import SAMPLE_RATE


class Bank:
    """All speech, int16 on the device; crops are chosen by weight and duration."""

    def __init__(self, device: torch.device, hours: float, seed: int) -> None:
        self.audio = torch.zeros(int(hours * 3600 * SAMPLE_RATE), dtype=torch.int16, device=device)
        self.used, self.device = 0, device
        self.starts: list[Tensor] = []
        self.lengths: list[Tensor] = []
        self.weights: list[Tensor] = []
        self.random = torch.Generator(device=device).manual_seed(seed)
        self.held: list[np.ndarray[Any, Any]] = []
        self.taken: set[str] = set()

    def take_new(self, patterns: list[str], factors: dict[str, float]) -> list[str]:
        """Read the files that have appeared; returns a line on each."""
        lines = []
        for path in sorted(p for pattern in patterns for p in glob.glob(pattern)):
            if path not in self.taken and ".tmp" not in path:
                self.taken.add(path)
                lines.append(self._take(path, factors))
        return lines

    def _take(self, path: str, factors: dict[str, float]) -> str:
        bank = np.load(path)
        names, lengths, audio = bank["names"], bank["lengths"], bank["audio"]
        ends = np.cumsum(lengths)
        keep = np.ones(len(names), bool)
        for index, name in enumerate(names):
            # Held out by speaker: their clips are not used at other speeds either.
            if zlib.crc32(os.path.dirname(str(name)).encode()) % 40 == 0:
                keep[index] = False
                whole = "@" not in str(name) and lengths[index] > 3 * SAMPLE_RATE
                if whole and len(self.held) < 24 and "librispeech" in str(name):
                    start = ends[index] - lengths[index]
                    self.held.append(audio[start : start + 3 * SAMPLE_RATE])
        keep &= self.used + np.cumsum(lengths * keep) < len(self.audio)
        pieces = np.split(audio, ends[:-1])
        chosen = np.concatenate([p for p, k in zip(pieces, keep, strict=True) if k])
        lengths = lengths[keep]
        weights = np.array([factors.get(str(n).split("/")[0], 1.0) for n in names[keep]])
        self.audio[self.used : self.used + len(chosen)] = torch.from_numpy(chosen).to(self.device)
        self.starts.append(torch.from_numpy(self.used + np.cumsum(lengths) - lengths))
        self.lengths.append(torch.from_numpy(lengths))
        self.weights.append(torch.from_numpy(weights))
        self.used += len(chosen)
        starts, sizes, factors_ = (
            torch.cat(parts) for parts in (self.starts, self.lengths, self.weights)
        )
        share = (factors_ * sizes.double()).cumsum(0)
        self.table = tuple(t.to(self.device) for t in (starts, sizes, share / share[-1]))
        hours = self.used / SAMPLE_RATE / 3600
        return f"took {path}: {len(chosen) / SAMPLE_RATE / 3600:.2f} h, {hours:.2f} h in all"

    def crops(self, count: int, length: int) -> Tensor:
        """Float crops (count, length); one that is longer than its clip goes on in the next."""
        starts, lengths, ends = self.table
        u, v = torch.rand(
            2, count, generator=self.random, device=self.device, dtype=torch.float64
        ).unbind()
        which = torch.searchsorted(ends, u).clamp(max=len(ends) - 1)
        room = (lengths[which] - length + 1).clamp(min=1)
        first = (starts[which] + (v * room).long()).clamp(max=self.used - length)
        return self.audio[first[:, None] + torch.arange(length, device=self.device)].float() / 32768


class Batches:
    """Crops with a random equalizer, noise and level."""

    def __init__(self, bank: Bank, noise: Tensor | None, options: argparse.Namespace) -> None:
        self.bank, self.noise, self.options = bank, noise, options
        self.random = torch.Generator(device=bank.device).manual_seed(options.seed + 1)

    def _rand(self, *shape: int) -> Tensor:
        return torch.rand(*shape, generator=self.random, device=self.bank.device)

    @torch.no_grad()
    def next(self, count: int, length: int) -> Tensor:
        """(count, 1, length)"""
        o, device = self.options, self.bank.device
        spectrum = torch.fft.rfft(self.bank.crops(count, length))
        points = 7
        curve = (self._rand(count, points) * 2 - 1) * o.eq_db * (self._rand(count, 1) < o.eq_share)
        place = torch.linspace(0, 1, spectrum.shape[1], device=device).clamp(min=1e-4)
        place = ((place * 30 + 1).log() / math.log(31)) * (points - 1)
        low = place.floor().long().clamp(max=points - 2)
        decibels = torch.lerp(curve[:, low], curve[:, low + 1], place - low)
        wave = torch.fft.irfft(spectrum * 10 ** (decibels / 20), n=length)
        if self.noise is not None:
            start = (self._rand(count) * (len(self.noise) - length)).long()
            noise = self.noise[start[:, None] + torch.arange(length, device=device)].float() / 32768
            power, disturbance = wave.square().mean(1), noise.square().mean(1)
            snr = 15 + 30 * self._rand(count)
            scale = (power / disturbance.clamp(min=1e-12) / 10 ** (snr / 10)).sqrt()
            audible = (disturbance > 1e-8) & (power > 1e-7)
            wave = wave + noise * (scale * audible * (self._rand(count) < o.noise_share))[:, None]
        gain = 10 ** ((self._rand(count) * 2 - 1) * o.gain_db / 20)
        peak = wave.abs().amax(1).clamp(min=1e-6)
        scaled: Tensor = wave * torch.minimum(gain, 0.99 / peak)[:, None]
        return scaled.unsqueeze(1)
