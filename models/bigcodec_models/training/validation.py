"""Validation on fixed clips: mel distance, and STOI and PESQ if they are installed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from bigcodec_models.architectures.lite import most_likely_f0
from bigcodec_models.architectures.network import CodecNetwork, Reconstruction
from bigcodec_models.arrays import Wave
from bigcodec_models.config import SAMPLE_RATE
from bigcodec_models.f0_scale import STEPS_AN_OCTAVE
from bigcodec_models.losses.spectral import MultiScaleMelLoss
from bigcodec_models.training.events import F0Validation, Validation, ValidationClip
from bigcodec_models.training.speech_metrics import pesq, stoi

_NEAR_CENTS = 50.0


class Validator:
    """Measures a network on clips, pairs of a name and a wave, float32 (n,) at 16 kHz."""

    def __init__(self, clips: Sequence[tuple[str, Wave]], device: torch.device) -> None:
        self._clips = [(name, _at_least(wave, SAMPLE_RATE // 4)) for name, wave in clips]
        self._mel = MultiScaleMelLoss().to(device)
        self._device = device

    def __bool__(self) -> bool:
        return bool(self._clips)

    def measure(
        self, network: CodecNetwork, weights: Mapping[str, Tensor], step: int, best_mel: float
    ) -> Validation:
        """Measure `network` with `weights`, tensors by parameter name, in place of its own.

        Its own weights do not change. `best_mel` is the lowest mel distance of the run so far.
        """
        training = network.training
        network.eval()
        with torch.no_grad():
            restored = [self._restore(network, weights, wave) for _, wave in self._clips]
            mels = [
                float(self._mel(self._tensor(estimate), self._tensor(wave)))
                for (_, wave), estimate in zip(self._clips, restored, strict=True)
            ]
            f0 = self._f0(network, weights)
        network.train(training)
        pairs = [
            (wave, estimate) for (_, wave), estimate in zip(self._clips, restored, strict=True)
        ]
        mel = float(np.mean(mels))
        return Validation(
            step=step,
            mel=mel,
            stoi=_mean(_score(stoi, *pair) for pair in pairs),
            pesq=_mean(_score(pesq, *pair) for pair in pairs),
            best=mel < best_mel,
            f0=f0,
            clips=tuple(
                ValidationClip(name, wave, estimate)
                for (name, wave), estimate in zip(self._clips, restored, strict=True)
            ),
        )

    def _f0(self, network: CodecNetwork, weights: Mapping[str, Tensor]) -> F0Validation | None:
        """Accuracy of the F0 that the decoder predicts, and the mel distance with the true one."""
        if not network.predicts_f0:
            return None
        mels, voicing, near = [], [], []
        for _, wave in self._clips:
            output = self._pass(network, weights, wave, predicted=False)
            restored = output.wave[0, :, : len(wave)].float()
            mels.append(float(self._mel(restored, self._tensor(wave))))
            assert output.f0 is not None
            accuracy = f0_accuracy(*output.f0)
            voicing.append(accuracy.voicing)
            near.append(accuracy.within_50_cents)
        known = (value for value in near if not math.isnan(value))
        return F0Validation(float(np.mean(mels)), float(np.mean(voicing)), _mean(known))

    def _tensor(self, wave: Wave) -> Tensor:
        return torch.from_numpy(wave).unsqueeze(0).to(self._device)

    def _pass(
        self, network: CodecNetwork, weights: Mapping[str, Tensor], wave: Wave, *, predicted: bool
    ) -> Reconstruction:
        padded = np.pad(wave, (0, -len(wave) % network.config.hop))
        inputs = self._tensor(padded).unsqueeze(1)
        use = torch.ones(1, dtype=torch.bool, device=self._device) if predicted else None
        output: Reconstruction = torch.func.functional_call(network, dict(weights), (inputs, use))
        return output

    def _restore(self, network: CodecNetwork, weights: Mapping[str, Tensor], wave: Wave) -> Wave:
        output = self._pass(network, weights, wave, predicted=network.predicts_f0)
        restored: Wave = output.wave[0, 0, : len(wave)].float().cpu().numpy()
        return restored


class F0Accuracy(NamedTuple):
    """Fractions: of frames with the right voicing, and of the frames voiced in both, those within
    50 cents (NaN where there are none)."""

    voicing: float
    within_50_cents: float


def f0_accuracy(logits: Tensor, tokens: Tensor) -> F0Accuracy:
    """Accuracy of predicted F0: logits (B, T, n), and the tracker's tokens (B, T)."""
    predicted = most_likely_f0(logits)
    both = (predicted > 0) & (tokens > 0)
    cents = 1200 / STEPS_AN_OCTAVE * (predicted - tokens).abs()[both].float()
    voicing = ((predicted > 0) == (tokens > 0)).float().mean()
    return F0Accuracy(float(voicing), float((cents <= _NEAR_CENTS).float().mean()))


def _at_least(wave: Wave, length: int) -> Wave:
    """A wave (n,), filled up with zeros to `length` samples if it is shorter."""
    return np.pad(wave, (0, max(0, length - len(wave))))


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _score(metric: Callable[[Wave, Wave], float], original: Wave, restored: Wave) -> float | None:
    """A metric, or None where its package is not installed or it gives no result."""
    try:
        return metric(original, restored)
    except (ImportError, ValueError):
        return None
