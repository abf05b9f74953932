"""A step of training over buffers that stay where they are, so that it can be captured."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
from collections.abc import Callable
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from bigcodec_models.architectures.lite import LiteEncoder
from bigcodec_models.architectures.network import CodecNetwork, Reconstruction
from bigcodec_models.config import PRESETS, SAMPLE_RATE, LiteConfig, config_to_dict
from bigcodec_models.layers.lstm import ResidualLSTM
from bigcodec_models.losses.adversarial import (
    discriminator_loss,
    feature_matching_loss,
    generator_loss,
)
from bigcodec_models.losses.phase_rotation import PhaseRotation
from bigcodec_models.losses.spectral import f0_loss
from bigcodec_models.quantization.quantizer import Quantized
from bigcodec_models.training.codec_loss import CodecLoss
from bigcodec_models.training.config import CropConfig, TrainConfig
from bigcodec_models.training.muon import Muon
from bigcodec_models.training.validation import f0_accuracy

CONFIG = PRESETS["lite"]
NAMES = ("total", "mel", "loudness", "vq", "f0", "adversarial", "features", "d_real", "d_fake")


_OUTER = ("quantizer.", "encoder.project.", "decoder.head.", "decoder.filter.", "decoder.pitch.")


class Learner:
    """Network, discriminators, optimizers and averages, and a step over buffers that stay where
    they are, so that it can be captured."""

    def __init__(self, options: argparse.Namespace, device: torch.device) -> None:
        o = self.o = options
        self.device = device
        self.network = build_network(o.sequence).to(device).train()
        if o.mask_frames:
            assert isinstance(self.network.encoder, LiteEncoder)
            self.network.encoder.norm_in.register_forward_pre_hook(self._mask_frames)
        self.frozen = frozen_features(o.frozen, device) if o.frozen else None
        self.config = TrainConfig(
            precision="bfloat16",
            crops=CropConfig(seconds=o.crop),
        )
        self.codec_loss = CodecLoss(self.config).to(device)
        self.rate, self.rate_d, self.fresh, self.predicted_share = (
            torch.zeros((), device=device) for _ in range(4)
        )
        self.crop = int(o.crop * SAMPLE_RATE)
        self.segment = int(o.segment * SAMPLE_RATE)
        self.wave = torch.zeros(o.batch, 1, self.crop, device=device)
        self.segment_start = torch.zeros((), dtype=torch.int64, device=device)
        self.f0_random = torch.zeros(o.batch, device=device)
        self.rotation = PhaseRotation().to(device) if o.rotate_phases else None
        # Of the discriminators' step and of the generator's.
        self.phases = torch.zeros(2, *PhaseRotation().draw(o.batch).shape, device=device)
        self.sums = torch.zeros(len(NAMES) + 2, device=device)
        self.counts = torch.zeros(CONFIG.quantizer.codebook_size, device=device)
        inner: list[nn.Parameter] = []
        outer: list[nn.Parameter] = []
        for name, parameter in self.network.named_parameters():
            matrix = parameter.dim() == 2 and not name.startswith(_OUTER)
            (inner if matrix and "distances" not in name else outer).append(parameter)
        adam: dict[str, Any] = {"weight_decay": 0.01, "fused": True}
        if device.type == "cuda":
            adam["capturable"] = True
        self.adam = torch.optim.AdamW(outer, betas=(0.8, 0.99), **adam)
        self.muon = Muon(inner, iterations=4 if device.type == "cuda" else 3)
        parts = list(self.codec_loss.discriminators.parameters())
        self.adam_d = torch.optim.AdamW(parts, betas=(0.8, 0.95), **adam)
        rates = ((self.adam, self.rate), (self.muon, self.rate), (self.adam_d, self.rate_d))
        for optimizer, rate in rates:
            optimizer.param_groups[0]["lr"] = rate
        self.live = [v for v in self.network.state_dict().values() if v.is_floating_point()]
        self.names = [k for k, v in self.network.state_dict().items() if v.is_floating_point()]
        self.mean = [v.detach().clone() for v in self.live]
        self.searched: Tensor | None = None

    def autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda")

    def average(self) -> dict[str, Tensor]:
        return dict(zip(self.names, self.mean, strict=True))

    def step(self, adversarial: bool) -> None:
        """One step on the contents of `wave`, `segment_start`, `f0_random` and `phases`; adds
        losses to `sums`."""
        zero = self.sums.new_zeros(())
        d_losses = (zero, zero, zero)
        with self.autocast():
            output = self.network(self.wave, self.f0_random < self.predicted_share)
        segments: tuple[Tensor, Tensor] | None = None
        if adversarial:
            where = self.segment_start + torch.arange(self.segment, device=self.device)
            segments = (self.wave.index_select(2, where), output.wave.index_select(2, where))
            d_losses = self._discriminators_step(
                *self._rotated(segments[0], segments[1].detach(), self.phases[0])
            )
            segments = self._rotated(*segments, self.phases[1])
        losses = self._generator_losses(output, segments)
        self.adam.zero_grad(set_to_none=True)
        self.muon.zero_grad(set_to_none=True)
        losses[0].backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), 5.0, foreach=True)
        self.adam.step()
        self.muon.step()
        d_real, d_fake, d_norm = d_losses
        self._keep_track(output.quantized, (*losses, d_real, d_fake, norm, d_norm))

    def _rotated(self, real: Tensor, fake: Tensor, phases: Tensor) -> tuple[Tensor, Tensor]:
        """Waves (B, 1, N), turned by `phases` where the run asks for it."""
        if self.rotation is None:
            return real, fake
        return self.rotation(real, phases), self.rotation(fake, phases)

    def _generator_losses(
        self, output: Reconstruction, segments: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, ...]:
        """Losses in the order of `NAMES`, up to those of the discriminators."""
        codec_loss, adversarial = self.codec_loss, self.sums.new_zeros(())
        features = adversarial
        assert output.f0 is not None
        with self.autocast():
            mel = codec_loss.mel.distances(output.wave.squeeze(1), self.wave.squeeze(1))
            f0, vq = f0_loss(*output.f0), output.quantized.loss
            total = 12 * mel.log + 20 * mel.loudness + 4 * vq + self.o.f0_weight * f0
            if segments is not None:
                codec_loss.discriminators.requires_grad_(False)
                with torch.no_grad():
                    target = codec_loss.discriminate(segments[0])
                generated = codec_loss.discriminate(segments[1])
                codec_loss.discriminators.requires_grad_(True)
                adversarial = generator_loss(generated)
                features = feature_matching_loss(target, generated)
                total = total + adversarial + features
            if self.frozen is not None:
                total = total + self.o.frozen_weight * self.frozen(output.wave, self.wave)
        return total, mel.log, mel.loudness, vq, f0, adversarial, features

    @torch.no_grad()
    def _keep_track(self, quantized: Quantized, values: tuple[Tensor, ...]) -> None:
        """Averages of the weights, counts of codes, sums of losses."""
        difference = torch._foreach_sub(self.live, self.mean)
        torch._foreach_mul_(difference, self.fresh)
        torch._foreach_add_(self.mean, difference)
        tokens = quantized.tokens.flatten()
        self.counts.scatter_add_(0, tokens, torch.ones_like(tokens, dtype=torch.float32))
        searched = quantized.searched[0].flatten(0, 1)
        self.searched = searched if self.searched is None else self.searched.copy_(searched)
        self.sums += torch.stack([v.detach().float() for v in values])

    def _mask_frames(self, _: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:
        """Noise in place of a fraction of the encoder's frames, (B, T, width), while it trains."""
        (x,) = inputs
        if not self.network.training:
            return inputs
        masked = torch.rand(*x.shape[:2], 1, device=x.device) < self.o.mask_frames
        return (torch.where(masked, x.std() * torch.randn_like(x), x),)

    def _discriminators_step(self, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        with self.autocast():
            both = self.codec_loss.discriminate(torch.cat([real, fake.to(real.dtype)]))
            scores = [features[-1] for features in both]
            loss = discriminator_loss(
                [[s[: len(real)]] for s in scores], [[s[len(real) :]] for s in scores]
            )
        self.adam_d.zero_grad(set_to_none=True)
        (loss.real + loss.fake).backward()  # type: ignore[no-untyped-call]
        parameters = self.codec_loss.discriminators.parameters()
        norm = nn.utils.clip_grad_norm_(parameters, 50.0, foreach=True)
        self.adam_d.step()
        return loss.real, loss.fake, norm

    @torch.no_grad()
    def count_codes(self, replace: bool) -> tuple[int, float]:
        """Codes used since the last call, and perplexity; with `replace`, move those without a
        count onto latents of the last step."""
        share = self.counts / self.counts.sum()
        perplexity = float(torch.special.entr(share).sum().exp())
        dead = (self.counts == 0).nonzero().flatten()
        used = len(self.counts) - len(dead)
        assert self.searched is not None
        codes = dict(self.network.named_parameters())["quantizer.codebooks.0.codes"]
        if replace and len(dead) and used:
            chosen = torch.randint(len(self.searched), (len(dead),), device=self.device)
            fresh = F.normalize(self.searched[chosen], dim=-1)
            fresh = fresh * codes[self.counts > 0].norm(dim=-1).mean()
            codes[dead] = fresh
            self.average()["quantizer.codebooks.0.codes"][dead] = fresh
        self.counts.zero_()
        return used, perplexity

    @torch.no_grad()
    def validate(self, held: list[np.ndarray[Any, Any]]) -> str:
        """Mel distance with the tracker's F0 and the predicted one, and how good the latter is."""
        if not held:
            return "none held"
        wave = torch.from_numpy(np.stack(held)).to(self.device).float().unsqueeze(1) / 32768
        kept = [v.clone() for v in self.live]
        torch._foreach_copy_(self.live, self.mean)
        values = []
        for share in (0.0, 1.0):
            with self.autocast():
                output = self.network(wave, torch.full((len(wave),), share > 0, device=self.device))
            values.append(
                float(self.codec_loss.mel(output.wave.squeeze(1).float(), wave.squeeze(1)))
            )
        torch._foreach_copy_(self.live, kept)
        return " ".join(f"{v:.4f}" for v in (*values, *f0_accuracy(*output.f0)))

    def load(self, path: str) -> str:
        """Take the weights of a file that fit by name and shape, and say which."""
        tensors = load_file(path)
        if os.path.basename(path).startswith("discriminators"):
            parts = self.codec_loss.discriminators
            parts.load_state_dict({k: v.float() for k, v in tensors.items()}, strict=False)
            return f"{len(tensors)} tensors of {path}"
        state = self.network.state_dict()
        renamed = {"decoder.pitch_head.0.": "decoder.f0_head.norm."}
        for old, new in renamed.items():
            for key in [k for k in tensors if k.startswith(old)]:
                tensors[key.replace(old, new)] = tensors.pop(key)
        fit = {k: v.float() for k, v in tensors.items() if k in state and v.shape == state[k].shape}
        self.network.load_state_dict(fit, strict=False)
        for value, mean in zip(self.live, self.mean, strict=True):
            mean.copy_(value)
        fresh = sorted({k.rsplit(".", 2)[0] for k in state if k not in fit})
        return f"{len(fit)} tensors of {path}; fresh: {' '.join(fresh)}"

    def save(self, folder: str, step: int, discriminators: bool) -> None:
        """Averages in half precision, in parts below 16 MiB; discriminators beside them."""
        sets = {"ema": self.average()}
        if discriminators:
            sets["discriminators"] = self.codec_loss.discriminators.state_dict()
        facts = {"model": json.dumps(config_to_dict(CONFIG)), "step": str(step)}
        for kind, tensors in sets.items():
            parts: list[dict[str, Tensor]] = [{}]
            size = 0
            for name, value in tensors.items():
                half = value.detach().half().cpu().contiguous()
                if size + half.nbytes > 15_500_000:
                    parts.append({})
                    size = 0
                parts[-1][name] = half
                size += half.nbytes
            for index, part in enumerate(parts):
                path = f"{folder}/{kind}.{index}.safetensors"
                save_file(part, path + ".tmp", facts)
                os.replace(path + ".tmp", path)


def frozen_features(folder: str, device: torch.device) -> Callable[[Tensor, Tensor], Tensor]:
    """L1 between the convolutional features that distillmos (MIT, unpacked in `folder`) has of two
    waves (B, 1, N), relative to their size, the mean over layers. What that imports beside torch is
    not needed for them."""
    for name in ("torchaudio", "xls_r_sqa", "xls_r_sqa.config", "xls_r_sqa.sqa_model"):
        sys.modules.setdefault(name, MagicMock())
    sys.path.append(folder)
    package = importlib.import_module("distillmos.sqa")
    weights = torch.load(package.DEFAULT_WEIGHTS_CHKPT, map_location="cpu", weights_only=True)
    model = package._ComplexSpecCNN(package.CNN_FINAL_CHANNELS, package.N_LAYERS_CNN)
    named = {k[4:]: v for k, v in weights["model"].items() if k.startswith("cnn.")}
    model.load_state_dict(named)
    model = model.to(device).eval().requires_grad_(False)
    kept: list[Tensor] = []
    for layer in model.cnn:
        if isinstance(layer, nn.LeakyReLU):
            layer.register_forward_hook(lambda _module, _inputs, output: kept.append(output))

    def features(wave: Tensor, peak: Tensor) -> list[Tensor]:
        kept.clear()
        model(wave.squeeze(1).float() / peak)
        return list(kept)

    def distance(generated: Tensor, target: Tensor) -> Tensor:
        peak = target.squeeze(1).abs().amax(dim=1, keepdim=True).clamp(min=1e-3)
        sides = features(generated, peak), features(target, peak)
        terms = [(a - b).abs().mean() / b.abs().mean() for a, b in zip(*sides, strict=True)]
        return torch.stack(terms).mean()

    return distance


def build_network(sequence: str) -> CodecNetwork:
    """The network, or for comparison the same with LSTMs in the place of attention."""
    network = CodecNetwork(CONFIG)
    assert isinstance(CONFIG, LiteConfig)
    if sequence == "lstm":
        network.encoder.attention = ResidualLSTM(CONFIG.encoder_width, 2)
        network.decoder.attention = ResidualLSTM(CONFIG.decoder_width, 2)
    return network
