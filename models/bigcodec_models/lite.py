"""The lite family: made to train and run on a CPU, under the interface of the published one.

Everything works at frame rate. Normalisation is over channels only and the LSTMs run forward,
so the right context is finite and a long file can be coded in pieces. ConvNeXt blocks are from
arXiv 2201.03545 in the one-dimensional form of Vocos (arXiv 2306.00814), whose inverse-STFT
head this is too. With `harmonics` a second head filters a tone, as in neural source-filter models
(arXiv 1904.12088): a network that works frame by frame keeps no phases of harmonics together.
"""

from __future__ import annotations

import copy
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bigcodec_models.config import SAMPLE_RATE, LiteConfig
from bigcodec_models.pitch import HIGHEST, LOWEST, PHASE_UNITS, smoothed, tone
from bigcodec_models.sequence import sequence_layers

_LOG_FLOOR = 1e-5
_MAX_LOG_MAGNITUDE = 4.6  # exp(4.6) is about 100, the cap that Vocos uses


class ConvNeXtBlock(nn.Module):
    """Depthwise convolution, layer norm over channels, two-layer perceptron, scaled residual."""

    def __init__(self, width: int, kernel_size: int, expansion: int, depth: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv1d(
            width, width, kernel_size, padding=kernel_size // 2, groups=width
        )
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.expand = nn.Linear(width, expansion * width)
        self.contract = nn.Linear(expansion * width, width)
        self.scale = nn.Parameter(torch.full((width,), 1.0 / max(depth, 1)))

    def forward(self, x: Tensor) -> Tensor:
        """(B, width, T) to the same shape."""
        # The two-dimensional form has the faster CPU kernel for a depthwise convolution.
        weight = self.depthwise.weight.unsqueeze(2)
        padding = (0, self.depthwise.kernel_size[0] // 2)
        y = F.conv2d(
            x.unsqueeze(2), weight, self.depthwise.bias, padding=padding, groups=x.shape[1]
        )
        y = self.norm(y.squeeze(2).transpose(1, 2))
        y = self.contract(F.gelu(self.expand(y)))
        output: Tensor = x + (self.scale * y).transpose(1, 2)
        return output


def _sequence(width: int, config: LiteConfig) -> nn.Module:
    return next(iter(sequence_layers(width, config)), nn.Identity())


class LiteEncoder(nn.Module):
    """Log-magnitude STFT, ConvNeXt blocks, residual LSTM: wave (B, 1, T*hop) to (B, dim, T)."""

    window: Tensor

    def __init__(self, config: LiteConfig) -> None:
        super().__init__()
        self.config = config
        width, kernel = config.encoder_width, config.kernel_size
        self.register_buffer(
            "window", torch.hann_window(config.n_fft, device="cpu"), persistent=False
        )
        self.embed = nn.Conv1d(config.n_fft // 2 + 1, width, 3, padding=1)
        self.norm_in = nn.LayerNorm(width, eps=1e-6)
        self.blocks = nn.ModuleList(
            ConvNeXtBlock(width, kernel, config.expansion, config.encoder_blocks)
            for _ in range(config.encoder_blocks)
        )
        self.lstm = _sequence(width, config)
        self.norm_out = nn.LayerNorm(width, eps=1e-6)
        self.project = nn.Linear(width, config.latent_dim)

    def spectrum(self, wave: Tensor) -> Tensor:
        """Log magnitudes, frame t centred on sample (t + 1/2) * hop: (B, n_fft/2 + 1, T)."""
        config = self.config
        margin = (config.n_fft - config.hop) // 2
        padded = F.pad(wave.squeeze(1).float(), (margin, margin))
        frames = padded.unfold(1, config.n_fft, config.hop)
        magnitude = torch.fft.rfft(frames * self.window).abs()
        spectrum: Tensor = magnitude.clamp(min=_LOG_FLOOR).log().transpose(1, 2)
        return spectrum

    def forward(self, wave: Tensor) -> Tensor:
        return self.back(self.lstm(self.front(wave)))

    def front(self, wave: Tensor) -> Tensor:
        """What comes before the LSTM: (B, 1, T*hop) to (B, width, T)."""
        x: Tensor = self.embed(self.spectrum(wave))
        x = self.norm_in(x.transpose(1, 2)).transpose(1, 2)
        for block in self.blocks:
            x = block(x)
        return x

    def back(self, x: Tensor) -> Tensor:
        """What comes after the LSTM: (B, width, T) to (B, dim, T)."""
        latent: Tensor = self.project(self.norm_out(x.transpose(1, 2))).transpose(1, 2)
        return latent


class PitchReadout(nn.Module):
    """The pitch that a quantised latent stands for, each frame by itself."""

    def __init__(self, config: LiteConfig) -> None:
        super().__init__()
        self.hop = config.hop
        self.hidden = nn.Linear(config.latent_dim, 64)
        self.output = nn.Linear(64, 2)

    def forward(self, latent: Tensor) -> tuple[Tensor, Tensor]:
        """(B, dim, T) to cycles a frame and logits of voicing, (B, T) each."""
        with torch.autocast(latent.device.type, enabled=False):
            hidden = self.hidden(latent.to(self.hidden.weight.dtype).transpose(1, 2))
            height, voicing = self.output(F.gelu(hidden)).unbind(dim=-1)
            octaves = math.log2(HIGHEST / LOWEST) * torch.sigmoid(height)
            return torch.exp2(octaves) * (LOWEST * self.hop / SAMPLE_RATE), voicing

    def whole(self, latent: Tensor) -> tuple[Tensor, Tensor]:
        """(B, dim, T) to steps in `PHASE_UNITS` and voicing from 1 to 255: int64 (B, T) each.

        In double precision, so that rounding hides the order in which sums are taken, and on the
        CPU, since not every device has it.
        """
        steps, voicing = copy.deepcopy(self).cpu().double()(latent.cpu().double())
        shares = (255 * torch.sigmoid(voicing)).round().clamp(min=1)
        units = (PHASE_UNITS * steps).round()
        return units.long().to(latent.device), shares.long().to(latent.device)


class LiteDecoder(nn.Module):
    """Residual LSTM, ConvNeXt blocks, inverse STFT: (B, dim, T) to wave (B, 1, T*hop)."""

    window: Tensor

    def __init__(self, config: LiteConfig) -> None:
        super().__init__()
        self.config = config
        width, kernel = config.decoder_width, config.kernel_size
        self.register_buffer(
            "window", torch.hann_window(config.n_fft, device="cpu"), persistent=False
        )
        self.embed = nn.Conv1d(config.latent_dim, width, kernel, padding=kernel // 2)
        self.norm_in = nn.LayerNorm(width, eps=1e-6)
        self.lstm = _sequence(width, config)
        self.blocks = nn.ModuleList(
            ConvNeXtBlock(width, kernel, config.expansion, config.decoder_blocks)
            for _ in range(config.decoder_blocks)
        )
        self.norm_out = nn.LayerNorm(width, eps=1e-6)
        self.head = nn.Linear(width, config.n_fft + 2)
        if config.harmonics:
            self.pitch = PitchReadout(config)
            self.filter = nn.Linear(width, config.n_fft + 2)

    def forward(self, latent: Tensor) -> Tensor:
        return self.restore(latent)[0]

    def restore(self, latent: Tensor) -> tuple[Tensor, Tensor | None]:
        """The wave, and what was read of pitch, (B, 2, T): cycles a frame, smoothed, and logits of
        voicing; None without `harmonics`. The wave's losses do not reach the pitch."""
        x = self.lstm(self.front(latent))
        if not self.config.harmonics:
            return self.back(x), None
        steps, voicing = self.pitch(latent)
        pitch = torch.stack([smoothed(steps, torch.sigmoid(voicing)), voicing], dim=1)
        with torch.no_grad():
            units = (
                pitch[:, 0] * PHASE_UNITS if self.training else smoothed(*self.pitch.whole(latent))
            )
            source = self.source(units.round().long())
        return self.back(torch.cat([x.float(), source], dim=1)), pitch

    @staticmethod
    def source(steps: Tensor, before: Tensor | int = 0) -> Tensor:
        """Phase at the begin of frames and step, in cycles (B, 2, T), of steps in `PHASE_UNITS`,
        int64 (B, T). Sums are of whole numbers: they do not depend on how a stream is cut."""
        phases = (before + steps.cumsum(dim=1) - steps) % PHASE_UNITS
        return torch.stack([phases, steps], dim=1).float() / PHASE_UNITS

    def front(self, latent: Tensor) -> Tensor:
        """What comes before the LSTM: (B, dim, T) to (B, width, T)."""
        x: Tensor = self.norm_in(self.embed(latent).transpose(1, 2)).transpose(1, 2)
        return x

    def back(self, x: Tensor) -> Tensor:
        """What comes after the LSTM: (B, width, T) to wave (B, 1, T*hop).

        With `harmonics` two channels more: a tone's phase and step (see `pitch.tone`).
        """
        x, source = x.split([self.config.decoder_width, x.shape[1] - self.config.decoder_width], 1)
        for block in self.blocks:
            x = block(x)
        with torch.autocast(x.device.type, enabled=False):
            x = self.norm_out(x.to(self.head.weight.dtype).transpose(1, 2))
            spectrum = _polar(self.head(x))
            if self.config.harmonics:
                spectrum = spectrum + _polar(self.filter(x)) * self._tone_spectrum(source)
            frames = torch.fft.irfft(spectrum, n=self.config.n_fft)
            return self.overlap_add(frames).unsqueeze(1)

    def _tone_spectrum(self, source: Tensor) -> Tensor:
        """Spectra (B, T, n_fft/2 + 1) of the tone of (B, 2, T), its harmonics peaking at 1."""
        phase, step = source.float().unbind(dim=1)
        margin = (self.config.n_fft - self.config.hop) // 2
        wave = F.pad(tone(phase, step, self.config.hop), (margin, margin))
        frames = wave.unfold(1, self.config.n_fft, self.config.hop)
        return torch.fft.rfft(frames * self.window) / (self.window.sum() / 2)

    def overlap_add(self, frames: Tensor) -> Tensor:
        """Windowed frames (B, T, n_fft) to samples (B, T*hop), the window's sum divided out.

        Frame t covers samples from t*hop - (n_fft - hop)/2; what lies outside is dropped.
        """
        total = self._sum_shifted(frames * self.window)
        squares = self.window.square().expand(1, frames.shape[1], -1)
        return total / self._sum_shifted(squares).clamp(min=1e-4)

    def _sum_shifted(self, frames: Tensor) -> Tensor:
        hop, overlap = self.config.hop, self.config.n_fft // self.config.hop
        pieces = frames.view(*frames.shape[:2], overlap, hop)
        total = sum(F.pad(pieces[:, :, k], (0, 0, k, overlap - 1 - k)) for k in range(overlap))
        assert isinstance(total, Tensor)
        margin = (self.config.n_fft - hop) // 2
        return total.flatten(1)[:, margin : margin + frames.shape[1] * hop]


def _polar(head: Tensor) -> Tensor:
    """Log magnitudes and phases (B, T, n_fft + 2) to spectra (B, T, n_fft/2 + 1)."""
    log_magnitude, phase = head.chunk(2, dim=-1)
    return torch.polar(log_magnitude.clamp(max=_MAX_LOG_MAGNITUDE).exp(), phase)
