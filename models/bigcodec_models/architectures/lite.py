"""The lite family: small enough to train and run on a CPU, with the interface of the published one.

All layers work at frame rate. Normalization is over channels only, attention has a bounded
window, and LSTMs run forward, so that no frame depends on all later ones and a long file can be
coded in chunks. ConvNeXt blocks (arXiv 2201.03545) have the one-dimensional form of Vocos
(arXiv 2306.00814), and so does the inverse-STFT head. With `harmonics` a second head filters a
harmonic excitation, as in neural source-filter models (arXiv 1904.12088), because a network at
frame rate does not keep harmonics in phase. F0 comes as tokens, or is predicted.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bigcodec_models.config import F0_BINS, LiteConfig
from bigcodec_models.layers.attention import LocalAttention
from bigcodec_models.layers.embedding import select_rows
from bigcodec_models.layers.f0 import harmonic_excitation, phase_increments, phases
from bigcodec_models.layers.sequence import sequence_layers
from bigcodec_models.layers.state_reset import run_whole

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
    """The sequence layer that has a state, or an identity."""
    if config.attention_lookahead:
        return nn.Identity()
    return next(iter(sequence_layers(width, config)), nn.Identity())


def _local_attention(width: int, config: LiteConfig) -> nn.Module:
    """The sequence layer with lookahead, which has no state, or an identity."""
    if not config.attention_lookahead:
        return nn.Identity()
    return LocalAttention(
        width,
        config.lstm_layers,
        config.attention_heads,
        config.attention_window,
        config.attention_lookahead,
    )


class F0Head(nn.Module):
    """Predicts F0 tokens from hidden frames: (B, width, T) to logits (B, T, F0_BINS)."""

    def __init__(self, width: int, config: LiteConfig) -> None:
        super().__init__()
        self.block = ConvNeXtBlock(width, config.kernel_size, config.expansion, 1)
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.output = nn.Linear(width, F0_BINS)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.output(self.norm(self.block(x).transpose(1, 2))).float()
        return logits


def most_likely_f0(logits: Tensor) -> Tensor:
    """The most likely F0 tokens of logits (B, T, F0_BINS): int64 (B, T).

    0 where "unvoiced" has more than half of the probability, elsewhere the most likely voiced one.
    """
    unvoiced = logits[..., 0] > logits[..., 1:].logsumexp(dim=-1)
    return torch.where(unvoiced, 0, 1 + logits[..., 1:].argmax(dim=-1))


class LiteEncoder(nn.Module):
    """Log-magnitude STFT, ConvNeXt blocks, residual LSTM: wave (B, 1, T*hop) to (B, dim, T)."""

    window: Tensor
    short_window: Tensor

    def __init__(self, config: LiteConfig) -> None:
        super().__init__()
        self.config = config
        width, kernel = config.encoder_width, config.kernel_size
        self.register_buffer(
            "window", torch.hann_window(config.n_fft, device="cpu"), persistent=False
        )
        bins, parts = config.n_fft // 2 + 1, config.subframes
        if parts > 1:
            short = torch.hann_window(config.n_fft // parts, device="cpu")
            self.register_buffer("short_window", short, persistent=False)
            bins += parts * (config.n_fft // parts // 4 + 1)
        self.embed = nn.Conv1d(bins, width, 3, padding=1)
        self.norm_in = nn.LayerNorm(width, eps=1e-6)
        self.blocks = nn.ModuleList(
            ConvNeXtBlock(width, kernel, config.expansion, config.encoder_blocks)
            for _ in range(config.encoder_blocks)
        )
        self.lstm = _sequence(width, config)
        self.attention = _local_attention(width, config)
        self.norm_out = nn.LayerNorm(width, eps=1e-6)
        self.project = nn.Linear(width, config.latent_dim)

    def spectrum(self, wave: Tensor) -> Tensor:
        """Log magnitudes of waves (B, 1, T*hop): (B, n_fft/2 + 1, T), frame t centered on sample
        (t + 1/2) * hop.

        With sub-frames, every second bin of their spectra follows as more channels.
        """
        config = self.config
        samples = wave.squeeze(1).float()
        spectrum = _log_magnitudes(samples, self.window, config.hop)
        if config.subframes > 1:
            short = _log_magnitudes(samples, self.short_window, config.hop // config.subframes)
            short = short[..., ::2].reshape(*spectrum.shape[:2], -1)
            spectrum = torch.cat([spectrum, short], dim=-1)
        return spectrum.transpose(1, 2)

    def forward(self, wave: Tensor) -> Tensor:
        """Wave (B, 1, T*hop) to latent (B, dim, T)."""
        return self.post_recurrence(self.lstm(self.pre_recurrence(wave)))

    def pre_recurrence(self, wave: Tensor) -> Tensor:
        """The part before the LSTM: (B, 1, T*hop) to (B, width, T)."""
        return self.from_spectrum(self.spectrum(wave))

    def from_spectrum(self, spectrum: Tensor) -> Tensor:
        """The same from the spectrum on: (B, bins, T) to (B, width, T)."""
        x: Tensor = self.embed(spectrum)
        x = self.norm_in(x.transpose(1, 2)).transpose(1, 2)
        for block in self.blocks:
            x = block(x)
        return x

    def post_recurrence(self, x: Tensor) -> Tensor:
        """The part after the LSTM, attention included: (B, width, T) to (B, dim, T)."""
        x = self.attention(x)
        latent: Tensor = self.project(self.norm_out(x.transpose(1, 2))).transpose(1, 2)
        return latent


class LiteDecoder(nn.Module):
    """Residual LSTM, ConvNeXt blocks, inverse STFT: (B, dim, T) to wave (B, 1, T*hop)."""

    window: Tensor

    def __init__(self, config: LiteConfig) -> None:
        super().__init__()
        self.config = config
        width, kernel = config.decoder_width, config.kernel_size
        self.size, self.step = config.n_fft // config.subframes, config.hop // config.subframes
        self.register_buffer("window", torch.hann_window(self.size, device="cpu"), persistent=False)
        self.embed = nn.Conv1d(config.latent_dim, width, kernel, padding=kernel // 2)
        self.norm_in = nn.LayerNorm(width, eps=1e-6)
        self.lstm = _sequence(width, config)
        self.attention = _local_attention(width, config)
        self.blocks = nn.ModuleList(
            ConvNeXtBlock(width, kernel, config.expansion, config.decoder_blocks)
            for _ in range(config.decoder_blocks)
        )
        self.norm_out = nn.LayerNorm(width, eps=1e-6)
        outputs = config.subframes * (self.size + 2)
        self.head = nn.Linear(width, outputs)
        if config.harmonics:
            # A predicted F0 is known only after the attention, so it is added there.
            self.pitch = nn.Embedding(F0_BINS, width if config.predict_f0 else config.latent_dim)
            nn.init.zeros_(self.pitch.weight)
            self.filter = nn.Linear(width, outputs)
            self._favor_harmonic_head()
        if config.predict_f0:
            self.f0_head = F0Head(width, config)

    @torch.no_grad()
    def _favor_harmonic_head(self) -> None:
        """Start with a louder harmonic head. Otherwise the other head learns voiced speech first,
        and the harmonic one is never used (docs/training-log.md)."""
        self.filter.weight.mul_(0.3)
        self.filter.bias.mul_(0.1)
        for layer, nepers in ((self.filter, 1.0), (self.head, -2.0)):
            biases = layer.bias.view(self.config.subframes, -1)
            biases[:, : biases.shape[1] // 2] += nepers

    def forward(self, latent: Tensor, f0: Tensor | None = None) -> Tensor:
        """Latent (B, dim, T), and F0 tokens (B, T) with `harmonics`, to wave (B, 1, T*hop).

        Without `f0` a model with `predict_f0` predicts the tokens.
        """
        reset_every = self.config.reset_every
        x = self.pre_recurrence(latent, f0)
        if not self.config.harmonics:
            return self.post_recurrence(run_whole(self.lstm, x, reset_every))
        width = self.config.decoder_width
        increments = x[:, width].long()
        parts = torch.split(increments, reset_every or increments.shape[1], dim=1)
        excitation = torch.cat([phases(part) for part in parts], dim=2)
        x = run_whole(self.lstm, x[:, :width], reset_every)
        return self.post_recurrence(torch.cat([x.float(), excitation], dim=1))

    def restore(
        self, latent: Tensor, f0: Tensor, use_predicted: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Models with `predict_f0`: latent (B, dim, T) to wave (B, 1, T*hop), and logits
        (B, T, F0_BINS).

        The excitation follows the tokens `f0` (B, T), or the predicted ones where `use_predicted`,
        bool (B,), is true.
        """
        x, logits = self.hidden(latent)
        if use_predicted is not None:
            predicted = most_likely_f0(logits.detach())
            f0 = torch.where(use_predicted.unsqueeze(1), predicted, f0)
        x = self.with_f0(x, f0)
        excitation = phases(x[:, -1].long())
        return self.post_recurrence(torch.cat([x[:, :-1], excitation], dim=1)), logits

    def pre_recurrence(self, latent: Tensor, f0: Tensor | None = None) -> Tensor:
        """The part before the LSTM, attention included: latent (B, dim, T) and F0 tokens (B, T) to
        (B, width, T); with `harmonics` phase increments are one more channel."""
        x, f0 = self.frames_and_f0(latent, f0)
        return x if f0 is None else self._with_increments(x, f0)

    def frames_and_f0(self, latent: Tensor, f0: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Latent (B, dim, T) and F0 tokens (B, T) to frames (B, width, T) and F0 tokens, which a
        model with `predict_f0` predicts if it is not given any."""
        if self.config.predict_f0:
            x, logits = self.hidden(latent)
            f0 = most_likely_f0(logits) if f0 is None else f0
            return x + select_rows(self.pitch.weight, f0).transpose(1, 2), f0
        if f0 is not None:
            latent = latent + select_rows(self.pitch.weight, f0).transpose(1, 2)
        return self._embedded(latent), f0

    def hidden(self, latent: Tensor) -> tuple[Tensor, Tensor]:
        """Models with `predict_f0`: latent (B, dim, T) to frames (B, width, T), and logits
        (B, T, F0_BINS) of F0 tokens."""
        x: Tensor = self.attention(self._embedded(latent))
        return x, self.f0_head(x)

    def with_f0(self, x: Tensor, f0: Tensor) -> Tensor:
        """Frames (B, width, T) plus embedded F0 tokens (B, T), with phase increments as one more
        channel: (B, width + 1, T)."""
        return self._with_increments(x + select_rows(self.pitch.weight, f0).transpose(1, 2), f0)

    def _embedded(self, latent: Tensor) -> Tensor:
        x: Tensor = self.norm_in(self.embed(latent).transpose(1, 2)).transpose(1, 2)
        return x

    def _with_increments(self, x: Tensor, f0: Tensor) -> Tensor:
        # Integers below 2^24, which float32 represents exactly and bfloat16 does not.
        increments = phase_increments(f0, self.config.hop).unsqueeze(1).float()
        return torch.cat([x.float(), increments], dim=1)

    def post_recurrence(self, x: Tensor) -> Tensor:
        """The part after the LSTM: (B, width, T) to wave (B, 1, T*hop).

        With `harmonics`, x has two more channels: phase and increment of the excitation (see
        `layers.f0.phases`).
        """
        width = self.config.decoder_width
        x, excitation = x[:, :width], x[:, width:]
        outputs = self.heads(x)
        with torch.autocast(x.device.type, enabled=False):
            spectrum = self._spectra(outputs[0])
            if self.config.harmonics:
                spectrum = spectrum + self._spectra(outputs[1]) * self._excitation(excitation)
            frames = torch.fft.irfft(spectrum, n=self.size)
            return self.overlap_add(frames).unsqueeze(1)

    def heads(self, x: Tensor) -> tuple[Tensor, ...]:
        """Frames (B, width, T) to the outputs of the head, and with `harmonics` of the harmonic
        one: (B, T, subframes * (size + 2)) each."""
        for block in self.blocks:
            x = block(x)
        with torch.autocast(x.device.type, enabled=False):
            x = self.norm_out(x.to(self.head.weight.dtype).transpose(1, 2))
            return (self.head(x), self.filter(x)) if self.config.harmonics else (self.head(x),)

    def magnitudes_and_phases(self, head: Tensor) -> tuple[Tensor, Tensor]:
        """Magnitudes and phases, each (B, T * subframes, size/2 + 1), of a head's outputs, which
        are log magnitudes and phases per sub-frame."""
        log_magnitude, phase = head.view(len(head), -1, self.size + 2).chunk(2, dim=-1)
        return log_magnitude.clamp(max=_MAX_LOG_MAGNITUDE).exp(), phase

    def _spectra(self, head: Tensor) -> Tensor:
        """Complex spectra (B, T * subframes, size/2 + 1) of a head's outputs."""
        return torch.polar(*self.magnitudes_and_phases(head))

    def _excitation(self, phases_and_increments: Tensor) -> Tensor:
        """Spectra (B, T * subframes, size/2 + 1) of the excitation with phases and increments
        (B, 2, T), scaled so that a harmonic has a peak of 1."""
        phase, increment = phases_and_increments.float().unbind(dim=1)
        wave = harmonic_excitation(phase, increment, self.config.hop)
        frames = _frames(wave, self.size, self.step)
        spectrum: Tensor = torch.fft.rfft(frames * self.window) / (self.window.sum() / 2)
        return spectrum

    def overlap_add(self, frames: Tensor) -> Tensor:
        """Windowed frames (B, F, size) to samples (B, F*step), divided by the sum of the windows.

        Frame t starts at sample t*step - (size - step)/2; samples outside [0, F*step) are dropped.
        """
        total = self._sum_shifted(frames * self.window)
        squares = self.window.square().expand(1, frames.shape[1], -1)
        return total / self._sum_shifted(squares).clamp(min=1e-4)

    def _sum_shifted(self, frames: Tensor) -> Tensor:
        step, overlap = self.step, self.size // self.step
        pieces = frames.view(*frames.shape[:2], overlap, step)
        total = sum(F.pad(pieces[:, :, k], (0, 0, k, overlap - 1 - k)) for k in range(overlap))
        assert isinstance(total, Tensor)
        margin = (self.size - step) // 2
        return total.flatten(1)[:, margin : margin + frames.shape[1] * step]


def _frames(wave: Tensor, size: int, step: int) -> Tensor:
    """Samples (B, F*step) to frames (B, F, size), frame t centered on sample (t + 1/2) * step."""
    margin = (size - step) // 2
    return F.pad(wave, (margin, margin)).unfold(1, size, step)


def _log_magnitudes(wave: Tensor, window: Tensor, step: int) -> Tensor:
    magnitude: Tensor = torch.fft.rfft(_frames(wave, len(window), step) * window).abs()
    return magnitude.clamp(min=_LOG_FLOOR).log()
