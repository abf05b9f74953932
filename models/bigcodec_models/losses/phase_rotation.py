"""Random phases for what discriminators see, after PhaseAug (arXiv 2211.04610).

Discriminators that meet the same few hours of speech again and again come to know its waveforms by
heart. A rotation of all phases, the same for a recording and what is made of it, leaves both as
good as they were, and different each time.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bigcodec_models.losses.spectral import overlap_add

_SIZE = 1024  # samples of a frame: 64 ms
_HOP = _SIZE // 4
_KNOTS = 17  # a random phase every 500 Hz, linear between them
_DEVIATION = math.pi
_ENERGY = 1.5  # the sum of squared Hann windows that lie a quarter apart


class PhaseRotation(nn.Module):
    """Turns each frequency of a wave by a phase of its own: (B, 1, N) to the same shape.

    Phases are random at every 500 Hz and linear between them, so that parts of a wave move by a
    few milliseconds, and harmonics nearby keep their places to each other.
    """

    window: Tensor

    def __init__(self) -> None:
        super().__init__()
        window = torch.hann_window(_SIZE, device="cpu")
        self.register_buffer("window", window, persistent=False)

    def draw(self, waves: int) -> Tensor:
        """Random phases for so many waves, radians: (waves, 17)."""
        return torch.randn(waves, _KNOTS, device=self.window.device) * _DEVIATION

    def forward(self, wave: Tensor, phases: Tensor) -> Tensor:
        """Waves (B, 1, N) turned by `phases` (B, 17) of `draw`: float32 (B, 1, N)."""
        with torch.autocast(wave.device.type, enabled=False):
            samples = wave.shape[-1]
            # So many that every sample lies in four frames.
            after = _SIZE - _HOP + -samples % _HOP
            padded = F.pad(wave.squeeze(1).float(), (_SIZE - _HOP, after))
            spectrum = torch.fft.rfft(padded.unfold(1, _SIZE, _HOP) * self.window)
            angle = F.interpolate(
                phases.unsqueeze(1), spectrum.shape[-1], mode="linear", align_corners=True
            )
            turned = spectrum * torch.polar(torch.ones_like(angle), angle)
            frames = torch.fft.irfft(turned, _SIZE) * (self.window / _ENERGY)
            return overlap_add(frames)[:, None, _SIZE - _HOP :][..., :samples]
