"""Losses of the generator on spectra and F0."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from bigcodec_models.losses.choices import PAPER_WINDOWS, STFT_WINDOWS, fft_size_for
from bigcodec_models.losses.distances import mean_distances
from bigcodec_models.losses.mel_scale import mel_filters

_POWER_FLOOR = 1e-7
_MEL_FLOOR = 1e-5
_SMALLEST = 1e-20  # a gradient over it is still finite
_LOUDNESS_EXPONENT = 0.3
"""Of magnitudes. The power laws of hearing have 0.3 to 0.6; speech enhancement does best with 0.3
(arXiv 2009.12286)."""


class MelSpectrogram(nn.Module):
    """Mel magnitudes (power 1), centered frames, hop a quarter window: (B, N) to (B, F, n_mels)."""

    window: Tensor
    filters: Tensor

    def __init__(self, n_fft: int, n_mels: int) -> None:
        super().__init__()
        self.n_fft = n_fft
        self.register_buffer("window", torch.hann_window(n_fft), persistent=False)
        self.register_buffer(
            "filters", torch.from_numpy(mel_filters(n_fft, n_mels)), persistent=False
        )

    def forward(self, wave: Tensor) -> Tensor:
        """(B, N) to (B, F, n_mels)."""
        padded = F.pad(wave.unsqueeze(1), (self.n_fft // 2, self.n_fft // 2), mode="reflect")
        return magnitudes(padded.squeeze(1), self.window) @ self.filters


def magnitudes(wave: Tensor, window: Tensor) -> Tensor:
    """Magnitudes of frames with `window` (n_fft,) and a hop of n_fft/4: (B, N) to
    (B, F, n_fft/2 + 1).

    The result is that of `torch.stft`, but faster: the gradient goes through a real transform and a
    sum of shifted frames. It is 0 where a magnitude is 0.
    """
    result: Tensor = _Magnitudes.apply(wave, window)  # type: ignore[no-untyped-call]
    return result


class _Magnitudes(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, wave: Tensor, window: Tensor) -> Tensor:
        size = len(window)
        spectrum = torch.fft.rfft(wave.unfold(1, size, size // 4) * window)
        parts = torch.view_as_real(spectrum)
        result: Tensor = torch.linalg.vector_norm(parts, dim=-1)
        ctx.save_for_backward(spectrum, result, window)
        ctx.samples = wave.shape[1]
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        spectrum, result, window = ctx.saved_tensors
        size, samples = len(window), ctx.samples
        scale = gradient / result.clamp(min=_SMALLEST) * size
        scale[..., 1:-1] *= 0.5  # the inverse transform counts these twice
        frames = torch.fft.irfft(spectrum * scale, size) * window
        total = overlap_add(frames)
        return F.pad(total, (0, samples - total.shape[1])), None


def overlap_add(frames: Tensor) -> Tensor:
    """The sum of frames (B, F, size) a quarter of their size apart: (B, (F + 3) * size / 4)."""
    batch, count, size = frames.shape
    hop = size // 4
    padded = F.pad(frames, (0, 0, 3, 3))
    # Quarter k of frame t - k is what falls on place t. All four in one pass: a GPU is bound by
    # the memory that it goes through.
    strides = (padded.stride(0), size, size - hop, 1)
    quarters = padded.as_strided((batch, count + 3, 4, hop), strides, 3 * hop)
    return quarters.sum(dim=2).flatten(1)


def f0_loss(logits: Tensor, tokens: Tensor) -> Tensor:
    """Cross entropy of predicted F0, a scalar: logits (B, T, n), tokens int64 (B, T) in [0, n).

    The target of a voiced frame is a Gaussian over the tokens around its own, with a standard
    deviation of one token, so that near misses cost less. Token 0, unvoiced, has no neighbors.
    """
    places = torch.arange(logits.shape[-1], device=logits.device)
    near = torch.exp(-0.5 * (places - tokens.unsqueeze(-1)).float().square()) * (places > 0)
    near = near / near.sum(dim=-1, keepdim=True).clamp(min=1e-9)
    target = torch.where((tokens > 0).unsqueeze(-1), near, (places == 0).float())
    return -(target * logits.float().log_softmax(dim=-1)).sum(dim=-1).mean()


class MelDistances(NamedTuple):
    """The two distances of `MultiScaleMelLoss`: scalars."""

    log: Tensor
    loudness: Tensor


class MultiScaleMelLoss(nn.Module):
    """L1 distance of log10 mel magnitudes, summed over window lengths (paper section 2.4).

    A window of w samples has w * 5 / 32 mel bands, from 5 at 32 to 320 at 2048. Magnitudes are
    clamped at 1e-5. Waves must be longer than half the longest window.
    """

    def __init__(self, windows: Sequence[int] = PAPER_WINDOWS) -> None:
        super().__init__()
        self.scales = nn.ModuleList(MelSpectrogram(w, max(1, w * 5 // 32)) for w in windows)
        for scale in self.scales:
            filters = scale.get_buffer("filters")
            scale.register_buffer("adjoint", _adjoint(filters), persistent=False)

    def forward(self, generated: Tensor, real: Tensor) -> Tensor:
        """(B, N) float32 twice to a scalar; the gradient goes to `generated` only."""
        estimates, targets = self._levels(generated, real)
        return mean_distances(estimates, targets, [1.0] * len(targets))

    def distances(self, generated: Tensor, real: Tensor) -> MelDistances:
        """The distance of `forward`, and one of loudness: L1 between magnitudes to the power 0.3,
        relative to the mean of the real ones, summed over window lengths. Loud parts count more."""
        estimates, targets = self._levels(generated, real)
        loudness = []
        for estimate, target in zip(estimates, targets, strict=True):
            louder, loud = _loudness(estimate), _loudness(target)
            loudness.append(F.l1_loss(louder, loud) / loud.mean())
        logs = mean_distances(estimates, targets, [1.0] * len(targets))
        return MelDistances(logs, torch.stack(loudness).sum())

    def _levels(self, generated: Tensor, real: Tensor) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
        """log10 mel magnitudes (B, F, n_mels) of two waves (B, N), for each window length."""
        windows, filters, adjoints = (
            [scale.get_buffer(name) for scale in self.scales]
            for name in ("window", "filters", "adjoint")
        )
        with torch.autocast(generated.device.type, enabled=False):
            margin = max(len(window) for window in windows) // 2
            padded = F.pad(generated.float().unsqueeze(1), (margin, margin), mode="reflect")
            with torch.no_grad():
                target = F.pad(real.float().unsqueeze(1), (margin, margin), mode="reflect")
            levels: tuple[Tensor, ...] = _LogMels.apply(  # type: ignore[no-untyped-call]
                padded.squeeze(1), target.squeeze(1), *windows, *filters, *adjoints
            )
        return levels[: len(windows)], levels[len(windows) :]


class _LogMels(torch.autograd.Function):
    """log10 mel magnitudes of two waves (B, N) for several windows: those of the first wave for
    each window, then those of the second, which get no gradient.

    Both have reflected ends, half of the longest window each. One function, because most of what
    the backward pass of each window does is the same for all, or can be.
    """

    @staticmethod
    def forward(ctx: Any, generated: Tensor, real: Tensor, *constants: Tensor) -> Any:
        count = len(constants) // 3
        windows, filters, adjoints = (constants[k * count : (k + 1) * count] for k in range(3))
        both = torch.cat([generated, real])
        spectra, magnitudes, mels = [], [], []
        for window, weights in zip(windows, filters, strict=True):
            part = _inner(both, len(window), windows)
            spectra.append(torch.fft.rfft(part.unfold(1, len(window), len(window) // 4) * window))
            magnitudes.append(torch.linalg.vector_norm(torch.view_as_real(spectra[-1]), dim=-1))
            mels.append(magnitudes[-1] @ weights)
        torch._foreach_clamp_min_(mels, _MEL_FLOOR)
        torch._foreach_clamp_min_(magnitudes, _SMALLEST)
        own = slice(len(generated))
        saved = [x[own] for x in (*spectra, *magnitudes, *mels)]
        ctx.save_for_backward(*saved, *windows, *adjoints)
        ctx.shape = generated.shape
        logs = torch._foreach_log10([mel[own] for mel in mels])
        targets = torch._foreach_log10([mel[own.stop :] for mel in mels])
        ctx.mark_non_differentiable(*targets)
        ctx.set_materialize_grads(False)  # nothing for the targets
        return *logs, *targets

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        count = len(gradients) // 2
        spectra, magnitudes, mels, windows, adjoints = (
            ctx.saved_tensors[k * count : (k + 1) * count] for k in range(5)
        )
        total = gradients[0].new_zeros(ctx.shape)
        relative = torch._foreach_div(gradients[:count], mels)
        for k, window in enumerate(windows):
            # Nothing where the magnitude was below the floor.
            above = torch.ops.aten.threshold_backward(relative[k], mels[k], _MEL_FLOOR)
            scale = above @ adjoints[k] / magnitudes[k]
            frames = torch.fft.irfft(spectra[k] * scale, len(window)) * window
            summed = overlap_add(frames)
            _inner(total, len(window), windows)[:, : summed.shape[1]].add_(summed)
        return (total, None, *(None for _ in range(3 * count)))


def _inner(wave: Tensor, size: int, windows: Sequence[Tensor]) -> Tensor:
    """The part of a wave with the ends of the longest window that a window of `size` needs."""
    spare = (max(len(window) for window in windows) - size) // 2
    return wave[:, spare : wave.shape[1] - spare]


def _adjoint(filters: Tensor) -> Tensor:
    """What carries the gradient of log10 mel magnitudes, times those, to the inverse transform:
    (n_mels, n_fft/2 + 1) of filters (n_fft/2 + 1, n_mels)."""
    size = 2 * (len(filters) - 1)
    weights = filters.t() * (size / math.log(10))
    weights[:, 1:-1] *= 0.5  # the inverse transform counts these twice
    return weights


def _loudness(log10: Tensor) -> Tensor:
    """Magnitudes to the power 0.3 from their logarithms, of any shape."""
    return (log10 * (_LOUDNESS_EXPONENT * math.log(10))).exp()


class MultiResolutionStftLoss(nn.Module):
    """Spectral convergence plus log-magnitude distance, the mean over window lengths (Parallel
    WaveGAN, arXiv 1910.11480, section 2.2).

    Hann windows, a fifth of their length apart, frames centered with reflected ends. Magnitudes
    are the roots of powers not below 1e-7. Waves must be longer than half of the longest FFT.
    """

    def __init__(self, windows: Sequence[int] = STFT_WINDOWS) -> None:
        super().__init__()
        self.scales = nn.ModuleList(_Spectrogram(window) for window in windows)

    def forward(self, generated: Tensor, real: Tensor) -> Tensor:
        """(B, N) float32 twice to a scalar; the gradient goes to `generated` only."""
        with torch.autocast(generated.device.type, enabled=False):
            terms = []
            for scale in self.scales:
                with torch.no_grad():
                    target = scale(real.float())
                estimate = scale(generated.float())
                error = (target - estimate).flatten(1).norm(dim=1)
                terms.append((error / target.flatten(1).norm(dim=1)).mean())
                terms.append(F.l1_loss(estimate.log(), target.log()))
            return torch.stack(terms).sum() / len(self.scales)


class _Spectrogram(nn.Module):
    """Magnitude spectrogram: (B, N) to (B, fft/2 + 1, frames)."""

    window: Tensor

    def __init__(self, window: int) -> None:
        super().__init__()
        self.register_buffer("window", torch.hann_window(window), persistent=False)

    def forward(self, wave: Tensor) -> Tensor:
        """(B, N) to (B, fft/2 + 1, frames)."""
        length = len(self.window)
        spectrum = torch.stft(
            wave,
            fft_size_for(length),
            length // 5,
            length,
            self.window,
            return_complex=True,
        )
        power = spectrum.real.square() + spectrum.imag.square()
        return power.clamp(min=_POWER_FLOOR).sqrt()
