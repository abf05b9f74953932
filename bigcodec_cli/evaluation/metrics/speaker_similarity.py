"""The similarity of two voices, by published speaker encoders."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bigcodec_cli.evaluation.local_models import load_local, load_local_processor
from bigcodec_cli.evaluation.packages import MissingError, package_folder
from bigcodec_models.arrays import Wave
from bigcodec_models.config import SAMPLE_RATE
from bigcodec_models.losses.mel_scale import mel_filters

WAVLM = "microsoft/wavlm-base-plus-sv"

_WINDOW, _HOP, _BANDS = 400, 160, 40
_FRAMES = 160  # 1.6 s, the length the encoder was trained on
_STEP = 77  # 1.3 windows a second
_COVERAGE = 0.75
_LEVEL_DB = -30.0

Embedding = npt.NDArray[np.float32]


class ResemblyzerSimilarity:
    """Cosine similarity of two voices by Resemblyzer's encoder (GE2E, arXiv 1710.10467).

    The weights are those in Resemblyzer's package; the package itself is not imported, because it
    needs modules that scipy and setuptools no longer have. Pauses are not removed.

    Raises:
        MissingError: Resemblyzer is not installed.
    """

    def __init__(self) -> None:
        path = package_folder("resemblyzer") / "pretrained.pt"
        if not path.is_file():
            raise MissingError(f"{path} is missing; install Resemblyzer again")
        state = torch.load(path, map_location="cpu", weights_only=True)["model_state"]
        self._network = _VoiceEncoder()
        self._network.load_state_dict({k: v for k, v in state.items() if "similarity" not in k})
        self._network.eval()

    def __call__(self, original: Wave, restored: Wave) -> float:
        """At most 1, for waves (n,)."""
        return _cosine(self.embed(original), self.embed(restored))

    @torch.inference_mode()
    def embed(self, wave: Wave) -> Embedding:
        """The voice embedding (256,) of a wave (n,), of norm 1.

        Raises:
            ValueError: the wave is silent.
        """
        starts = _window_starts(len(wave))
        length = max(len(wave), (starts[-1] + _FRAMES) * _HOP)
        loud = torch.from_numpy(_amplified(wave))
        mel = self._network.spectrogram(F.pad(loud, (0, length - len(wave))))
        windows = torch.stack([mel[start : start + _FRAMES] for start in starts])
        mean = self._network(windows).mean(dim=0)
        voice: Embedding = (mean / mean.norm()).numpy()
        return voice


class _VoiceEncoder(nn.Module):
    """Three LSTM layers and a rectified projection: (B, frames, 40) to (B, 256)."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(_BANDS, 256, 3, batch_first=True)
        self.linear = nn.Linear(256, 256)
        self._filters = torch.from_numpy(mel_filters(_WINDOW, _BANDS))
        self._window = torch.hann_window(_WINDOW)

    def spectrogram(self, wave: Tensor) -> Tensor:
        """Mel power spectrogram (frames, 40) of a wave (n,)."""
        frames = F.pad(wave, (_WINDOW // 2, _WINDOW // 2)).unfold(0, _WINDOW, _HOP)
        power = torch.fft.rfft(frames * self._window).abs().square()
        mel: Tensor = power @ self._filters
        return mel

    def forward(self, mel: Tensor) -> Tensor:
        _, (hidden, _) = self.lstm(mel)
        voices: Tensor = torch.relu(self.linear(hidden[-1]))
        return F.normalize(voices, dim=1)


class WavlmSimilarity:
    """Cosine similarity by WavLM with an x-vector head, as in the BigCodec paper.

    Raises:
        MissingError: transformers is not installed, or the weights are not on this machine.
    """

    def __init__(self) -> None:
        self._prepare = load_local_processor(WAVLM, "Wav2Vec2FeatureExtractor")
        self._network = load_local(WAVLM, "WavLMForXVector")

    def __call__(self, original: Wave, restored: Wave) -> float:
        """At most 1, for waves (n,)."""
        return _cosine(self.embed(original), self.embed(restored))

    @torch.inference_mode()
    def embed(self, wave: Wave) -> Embedding:
        """The voice embedding (E,) of a wave (n,)."""
        inputs = self._prepare(wave, sampling_rate=SAMPLE_RATE, return_tensors="pt")
        embedding: Embedding = self._network(**inputs).embeddings[0].numpy()
        return embedding


def _window_starts(samples: int) -> list[int]:
    """First frames of the windows over a wave, without a last one that is mostly padding."""
    frames = math.ceil((samples + 1) / _HOP)
    starts = list(range(0, max(1, frames - _FRAMES + _STEP + 1), _STEP))
    covered = (samples - starts[-1] * _HOP) / (_FRAMES * _HOP)
    return starts[:-1] if covered < _COVERAGE and len(starts) > 1 else starts


def _amplified(wave: Wave) -> Wave:
    """A wave amplified to a level of -30 dB full scale if its level is lower."""
    level = float(np.sqrt(np.mean(np.square(wave, dtype=np.float64)))) if len(wave) else 0.0
    if not level:
        raise ValueError("the wave is silent")
    return np.asarray(wave * max(1.0, 10 ** (_LEVEL_DB / 20) / level), np.float32)


def _cosine(first: Embedding, second: Embedding) -> float:
    a, b = first.astype(np.float64), second.astype(np.float64)
    return min(1.0, float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b))))
