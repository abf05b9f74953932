"""The published training step, driven by a minimal loop that does the same as its trainer.

The checkout's own training module computes the losses. What it imports besides torch and einops
is not needed for that, so stand-ins do: of Lightning and Hydra nothing but a base class and a
folder's name, and of torchaudio the mel spectrogram, which is torch's STFT and one product.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import sys
import types
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import yaml  # type: ignore[import-untyped]
from torch import Tensor, nn

from benchmarks.published import WIDTHS
from bigcodec_models.config import SAMPLE_RATE
from bigcodec_models.losses.mel_scale import mel_filters

_PUBLISHED_LOSSES = {
    "mel": ("mel_loss",),
    "vq": ("vq_loss",),
    "adversarial": ("adv_loss",),
    "feature_matching": ("fm_loss", "spec_fm_loss"),
    "discriminator_real": ("real_loss",),
    "discriminator_fake": ("fake_loss",),
}


class PublishedStep:
    """The published modules with seeded random weights, and their optimizers."""

    def __init__(self, checkout: Path, preset: str) -> None:
        torch.manual_seed(0)
        with contextlib.redirect_stdout(io.StringIO()):  # it prints all that it builds
            self._module = _load_module(checkout, preset).train()
            self._optimizers, self._schedules = self._module.configure_optimizers()

    def weights(self) -> dict[str, Tensor]:
        """All weights under their published names."""
        state = self._module.model.state_dict()
        return {name: value.detach().clone() for name, value in state.items()}

    def step(self, wave: Tensor) -> dict[str, float]:
        """One step on waves (B, 1, N) in float32; its losses under the names of this package."""
        generator, discriminators = self._optimizers
        settings = self._module.cfg.train
        batch = {"wav": wave.squeeze(1)}
        output = self._module(batch)
        losses = self._module.compute_disc_loss(batch, output)
        _update(discriminators, losses["disc_loss"], settings.disc_grad_clip)
        losses |= self._module.compute_gen_loss(batch, output)
        _update(generator, losses["gen_loss"], settings.gen_grad_clip)
        for schedule in self._schedules:
            schedule.step()
        return {
            loss: sum(float(losses[name].detach()) for name in published)
            for loss, published in _PUBLISHED_LOSSES.items()
        }


def _update(optimizer: torch.optim.Optimizer, loss: Tensor, clip: float) -> None:
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    nn.utils.clip_grad_norm_(parameters, clip)
    optimizer.step()


class _Table(dict[str, Any]):
    """A table of settings whose entries are attributes too."""

    __getattr__ = dict.__getitem__


def _load_module(checkout: Path, preset: str) -> Any:
    sys.modules |= _stand_ins()
    sys.path.insert(0, str(checkout))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the old form of weight norm
        lightning_module = importlib.import_module("lightning_module")
        return lightning_module.CodecLightningModule(_settings(checkout, preset))


def _settings(checkout: Path, preset: str) -> _Table:
    """The published settings, with the widths of a preset."""
    settings = _Table()
    for part in ("model", "train", "preprocess"):
        text = (checkout / "config" / part / "default.yaml").read_text(encoding="utf-8")
        settings[part] = _table(yaml.safe_load(text))
    for part, widths in zip(("codec_encoder", "codec_decoder"), WIDTHS[preset], strict=True):
        settings["model"][part].update(widths)
    return settings


def _table(value: Any) -> Any:
    if isinstance(value, Mapping):
        return _Table({key: _table(entry) for key, entry in value.items()})
    return value


def _stand_ins() -> dict[str, types.ModuleType]:
    """Stand-ins for modules that the training module imports but does not need here."""
    names = ("hydra", "librosa", "pytorch_lightning", "torchaudio", "torchaudio.transforms")
    modules: dict[str, Any] = {name: types.ModuleType(name) for name in names}
    modules["hydra"].utils = types.SimpleNamespace(get_original_cwd=lambda: "")
    modules["pytorch_lightning"].LightningModule = _Module
    modules["torchaudio"].transforms = modules["torchaudio.transforms"]
    modules["torchaudio.transforms"].MelSpectrogram = _MelSpectrogram
    return modules


class _Module(nn.Module):
    def save_hyperparameters(self) -> None:
        """Nothing is kept."""


class _MelSpectrogram(nn.Module):
    """As torchaudio computes it, for the options that the published loss gives."""

    window: Tensor
    filters: Tensor

    def __init__(self, *, n_fft: int, hop_length: int, n_mels: int, **options: Any) -> None:
        super().__init__()
        expected = {"power": 1.0, "center": True, "norm": "slaney", "mel_scale": "slaney"}
        assert options == {"sample_rate": SAMPLE_RATE, **expected}
        self.hop = hop_length
        self.register_buffer("window", torch.hann_window(n_fft))
        self.register_buffer("filters", torch.from_numpy(mel_filters(n_fft, n_mels)))

    def forward(self, wave: Tensor) -> Tensor:
        size = len(self.window)
        spectrum = torch.stft(wave, size, self.hop, window=self.window, return_complex=True)
        mel: Tensor = (spectrum.abs().transpose(1, 2) @ self.filters).transpose(1, 2)
        return mel
