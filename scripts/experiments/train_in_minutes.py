"""Trains a lite codec that predicts F0, in the minutes for which a GPU is lent.

    python scripts/experiments/train_in_minutes.py --speech BANK... --init WEIGHTS --out RUN

An experiment beside the project's trainer, whose modules it uses. What differs: all speech lies on
the device as 16-bit samples, every step is one CUDA graph, and schedules follow elapsed time, so
that the run ends when it must. BANK files are made by decode_speech.py; further ones that appear
beside them later are taken up while it runs. On a CPU it compares sequence layers
(`--sequence lstm`), without graphs.
"""

from __future__ import annotations

import argparse
import glob
import json
import math
import os
import time
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from bigcodec_models import codebooks
from bigcodec_models.adversarial import (
    discriminator_loss,
    feature_matching_loss,
    generator_loss,
)
from bigcodec_models.config import PITCH_TOKENS, LiteConfig, QuantizerConfig, config_to_dict
from bigcodec_models.lite import most_likely_f0
from bigcodec_models.network import CodecNetwork, F0Prediction
from bigcodec_models.recurrent import ResidualLSTM
from bigcodec_models.training.config import TrainConfig
from bigcodec_models.training.objective import Objective

RATE, HOP = 16000, 200
CONFIG = LiteConfig(
    encoder_width=320,
    encoder_blocks=6,
    latent_dim=192,
    decoder_width=448,
    decoder_blocks=8,
    quantizer=QuantizerConfig(unit_codes=True),
    harmonics=True,
    subframes=2,
    sequence="attention",
    attention_window=65,
    attention_lookahead=64,
    predict_f0=True,
)
NAMES = ("total", "mel", "loudness", "vq", "f0", "adversarial", "features", "d_real", "d_fake")


def select_rows(tokens: Tensor, table: Tensor, *_: Any) -> Tensor:
    """F.embedding whose backward pass does not ask the device for a count."""
    return table.index_select(0, tokens.flatten()).view(*tokens.shape, -1)


def f0_loss(f0: F0Prediction) -> Tensor:
    """Cross entropy, the target spread over neighboring tokens where voiced."""
    tokens = f0.tokens
    places = torch.arange(PITCH_TOKENS, device=tokens.device)
    soft = torch.exp(-0.5 * (places - tokens.unsqueeze(-1)).float().square())
    soft = soft * (places > 0)
    soft = soft / soft.sum(-1, keepdim=True).clamp(min=1e-9)
    unvoiced = (places == 0).float().expand_as(soft)
    target = torch.where((tokens > 0).unsqueeze(-1), soft, unvoiced)
    return -(target * f0.logits.log_softmax(-1)).sum(-1).mean()


@torch.no_grad()
def f0_report(f0: F0Prediction) -> list[float]:
    """Fraction of frames with right voicing; of voiced ones, that within 50 cents; mean cents."""
    predicted = most_likely_f0(f0.logits)
    both = (predicted > 0) & (f0.tokens > 0)
    error = (predicted - f0.tokens).abs()[both].float() * 25
    voicing = ((predicted > 0) == (f0.tokens > 0)).float().mean()
    return [float(voicing), float((error <= 50).float().mean()), float(error.mean())]


class Bank:
    """All speech, int16 on the device, from which crops are drawn by weight and duration."""

    def __init__(self, device: torch.device, hours: float, seed: int) -> None:
        self.audio = torch.zeros(int(hours * 3600 * RATE), dtype=torch.int16, device=device)
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
        found = np.load(path)
        names, lengths, audio = found["names"], found["lengths"], found["audio"]
        ends = np.cumsum(lengths)
        keep = np.ones(len(names), bool)
        for index, name in enumerate(names):
            # Held out by speaker: no speed version of a clip of theirs is trained on either.
            if zlib.crc32(os.path.dirname(str(name)).encode()) % 40 == 0:
                keep[index] = False
                whole = "@" not in str(name) and lengths[index] > 3 * RATE
                if whole and len(self.held) < 24 and "librispeech" in str(name):
                    start = ends[index] - lengths[index]
                    self.held.append(audio[start : start + 3 * RATE])
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
        hours = self.used / RATE / 3600
        return f"took {path}: {len(chosen) / RATE / 3600:.2f} h, {hours:.2f} h in all"

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


class BatchedMuon:
    """torch.optim.Muon with `match_rms_adamw`, matrices of one shape together."""

    def __init__(self, parameters: list[nn.Parameter], rate: Tensor, decay: float) -> None:
        shapes: dict[torch.Size, list[nn.Parameter]] = {}
        for parameter in parameters:
            shapes.setdefault(parameter.shape, []).append(parameter)
        self.groups = list(shapes.values())
        self.momenta = [torch.zeros(len(g), *g[0].shape, device=rate.device) for g in self.groups]
        self.rate, self.decay = rate, decay

    @torch.no_grad()
    def step(self) -> None:
        for group, momentum in zip(self.groups, self.momenta, strict=True):
            gradients = torch.stack([p.grad for p in group if p.grad is not None])
            momentum.lerp_(gradients, 0.05)
            update = orthogonalized(gradients.lerp(momentum, 0.95), 4 if momentum.is_cuda else 3)
            scale = 0.2 * math.sqrt(max(group[0].shape)) * self.rate
            updates = list((update.float() * scale).unbind())
            for parameter, change in zip(group, updates, strict=True):
                parameter.mul_(1 - self.rate * self.decay).sub_(change)


def orthogonalized(x: Tensor, steps: int = 3) -> Tensor:
    """Newton and Schulz's iteration on matrices (n, rows, columns)."""
    a, b, c = 3.4445, -4.775, 2.0315
    x = x.bfloat16() if x.is_cuda else x
    flipped = x.shape[1] > x.shape[2]
    x = x.mT if flipped else x
    x = x / x.flatten(1).norm(dim=1).clamp(min=1e-7).view(-1, 1, 1).to(x.dtype)
    for _ in range(steps):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    found: Tensor = x.mT if flipped else x
    return found


def cosine(x: float, high: float, low: float) -> float:
    return low + (high - low) * 0.5 * (1 + math.cos(math.pi * min(max(x, 0.0), 1.0)))


_OUTER = ("quantizer.", "encoder.project.", "decoder.head.", "decoder.filter.", "decoder.pitch.")


class Learner:
    """Network, discriminators, optimizers and averages, and a step over buffers that stay where
    they are, so that it can be captured."""

    def __init__(self, options: argparse.Namespace, device: torch.device) -> None:
        o = self.o = options
        self.device = device
        self.network = build_network(o.sequence).to(device).train()
        self.config = TrainConfig(
            precision="bfloat16",
            mel_windows=(32, 64, 128, 256, 512, 1024, 2048),
            discriminators="published",
            crop_seconds=o.crop,
        )
        self.objective = Objective(self.config).to(device)
        self.rate, self.rate_d, self.fresh, self.predicted_share = (
            torch.zeros((), device=device) for _ in range(4)
        )
        self.crop = int(o.crop * RATE)
        self.segment = int(o.segment * RATE)
        self.wave = torch.zeros(o.batch, 1, self.crop, device=device)
        self.segment_start = torch.zeros((), dtype=torch.int64, device=device)
        self.draws = torch.zeros(o.batch, device=device)
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
        self.muon = BatchedMuon(inner, self.rate, 0.01)
        parts = list(self.objective.discriminators.parameters())
        self.adam_d = torch.optim.AdamW(parts, betas=(0.8, 0.95), **adam)
        for optimizer, rate in ((self.adam, self.rate), (self.adam_d, self.rate_d)):
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
        """One step on what `wave`, `segment_start` and `draws` hold; losses are added to `sums`."""
        zero = self.sums.new_zeros(())
        d_real = d_fake = d_norm = adversarial_loss = features = zero
        o, objective = self.o, self.objective
        with self.autocast():
            made = self.network(self.wave, self.draws < self.predicted_share)
        assert made.f0 is not None
        if adversarial:
            where = self.segment_start + torch.arange(self.segment, device=self.device)
            real, fake = (x.index_select(2, where) for x in (self.wave, made.wave))
            d_real, d_fake, d_norm = self._discriminators_step(real, fake.detach())
        with self.autocast():
            mel = objective.mel.distances(made.wave.squeeze(1), self.wave.squeeze(1))
            f0 = f0_loss(made.f0)
            vq = made.quantized.loss
            total = 12 * mel.log + 20 * mel.loudness + 4 * vq + o.f0_weight * f0
            if adversarial:
                objective.discriminators.requires_grad_(False)
                with torch.no_grad():
                    target = objective.judge(real)
                found = objective.judge(fake)
                objective.discriminators.requires_grad_(True)
                adversarial_loss = generator_loss(found)
                features = feature_matching_loss(target, found)
                total = total + adversarial_loss + features
        self.adam.zero_grad(set_to_none=True)
        for parameter in (p for group in self.muon.groups for p in group):
            parameter.grad = None
        total.backward()
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), 5.0, foreach=True)
        self.adam.step()
        self.muon.step()
        with torch.no_grad():
            difference = torch._foreach_sub(self.live, self.mean)
            torch._foreach_mul_(difference, self.fresh)
            torch._foreach_add_(self.mean, difference)
            tokens = made.quantized.tokens.flatten()
            self.counts.scatter_add_(0, tokens, torch.ones_like(tokens, dtype=torch.float32))
            searched = made.quantized.searched[0].flatten(0, 1)
            self.searched = searched if self.searched is None else self.searched.copy_(searched)
            losses = (total, mel.log, mel.loudness, vq, f0, adversarial_loss, features)
            values = (*losses, d_real, d_fake, norm, d_norm)
            self.sums += torch.stack([v.detach().float() for v in values])

    def _discriminators_step(self, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        with self.autocast():
            both = self.objective.judge(torch.cat([real, fake.to(real.dtype)]))
            scores = [features[-1] for features in both]
            loss = discriminator_loss(
                [[s[: len(real)]] for s in scores], [[s[len(real) :]] for s in scores]
            )
        self.adam_d.zero_grad(set_to_none=True)
        (loss.real + loss.fake).backward()  # type: ignore[no-untyped-call]
        parameters = self.objective.discriminators.parameters()
        norm = nn.utils.clip_grad_norm_(parameters, 50.0, foreach=True)
        self.adam_d.step()
        return loss.real, loss.fake, norm

    @torch.no_grad()
    def replace_dead_codes(self) -> tuple[int, float]:
        """Move codes without a count onto latents of the last step; codes used, and perplexity."""
        share = self.counts / self.counts.sum()
        perplexity = float(torch.special.entr(share).sum().exp())
        dead = (self.counts == 0).nonzero().flatten()
        used = len(self.counts) - len(dead)
        assert self.searched is not None
        codes = dict(self.network.named_parameters())["quantizer.codebooks.0.codes"]
        if len(dead) and used:
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
                made = self.network(wave, torch.full((len(wave),), share > 0, device=self.device))
            values.append(float(self.objective.mel(made.wave.squeeze(1).float(), wave.squeeze(1))))
        torch._foreach_copy_(self.live, kept)
        return " ".join(f"{v:.4f}" for v in values + f0_report(made.f0))

    def load(self, path: str) -> str:
        """Take weights that fit by name and shape; what the rest is."""
        tensors = load_file(path)
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
            sets["discriminators"] = self.objective.discriminators.state_dict()
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


def build_network(sequence: str) -> CodecNetwork:
    """The network, or for comparison the same with LSTMs in the place of attention."""
    network = CodecNetwork(CONFIG)
    if sequence == "lstm":
        network.encoder.attention = ResidualLSTM(CONFIG.encoder_width, 2)
        network.decoder.attention = ResidualLSTM(CONFIG.decoder_width, 2)
    return network


def graphed(step: Callable[[], None], say: Callable[[str], None]) -> Callable[[], None]:
    """The step as one CUDA graph, after three steps that warm it up; itself if that fails."""
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    torch.cuda.synchronize()
    try:
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            step()
    except Exception as error:
        say(f"no graph: {error!r}")
        torch.cuda.synchronize()
        return step
    return graph.replay


def parse() -> argparse.Namespace:
    p = argparse.ArgumentParser()
    p.add_argument("--speech", nargs="+", required=True, help="globs of banks")
    p.add_argument("--noise")
    p.add_argument("--init")
    p.add_argument("--out", required=True)
    p.add_argument("--device", default="cuda")
    p.add_argument("--sequence", default="attention")
    p.add_argument("--seconds", type=float, default=600)
    p.add_argument("--deadline", type=float, default=0, help="unix time; overrides --seconds")
    p.add_argument("--first-phase", type=float, default=0.3, help="share without discriminators")
    p.add_argument("--batch", type=int, default=64)
    p.add_argument("--crop", type=float, default=3.0)
    p.add_argument("--segment", type=float, default=0.6, help="that discriminators see")
    p.add_argument("--hours", type=float, default=60)
    p.add_argument("--weights", default="{}")
    p.add_argument("--rates", type=float, nargs=4, default=[1.5e-3, 7e-4, 6e-4, 1e-5])
    p.add_argument("--rate-d", type=float, default=3e-4)
    p.add_argument("--f0-weight", type=float, default=10.0)
    p.add_argument("--predicted", type=float, nargs=2, default=[0.2, 0.7])
    p.add_argument("--eq-db", type=float, default=6.0)
    p.add_argument("--eq-share", type=float, default=0.5)
    p.add_argument("--noise-share", type=float, default=0.3)
    p.add_argument("--gain-db", type=float, default=8.0)
    p.add_argument("--ema", type=float, default=0.999)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--max-steps", type=int, default=10**9)
    p.add_argument("--every", type=int, default=100)
    p.add_argument("--validate", type=int, default=1000)
    p.add_argument("--no-graph", action="store_true")
    return p.parse_args()


def main() -> None:
    o = parse()
    device = torch.device(o.device)
    os.makedirs(o.out, exist_ok=True)
    torch.manual_seed(o.seed)
    nn.functional.embedding = select_rows  # type: ignore[assignment]
    if device.type == "cuda":
        codebooks._SCORES_AT_ONCE = 1 << 28
    log = open(f"{o.out}/log.txt", "a", buffering=1)  # noqa: SIM115
    begin = time.time()

    def say(line: str) -> None:
        text = f"{time.time() - begin:.0f}s {line}"
        print(text, flush=True)
        log.write(text + "\n")

    learner = Learner(o, device)
    say(f"parameters {sum(p.numel() for p in learner.network.parameters()) / 1e6:.2f} M; {vars(o)}")
    if o.init:
        for path in sorted(glob.glob(o.init)):
            say(learner.load(path))
    bank = Bank(device, o.hours, o.seed)
    factors = json.loads(o.weights)
    while not bank.used:
        for line in bank.take_new(o.speech, factors):
            say(line)
        time.sleep(0.2)
    noise = torch.from_numpy(np.load(o.noise)["audio"]).to(device) if o.noise else None
    batches = Batches(bank, noise, o)
    started = time.time()
    end = o.deadline or started + o.seconds
    total, step, last = end - started, 0, time.time()
    run, phase = None, -1
    saved = time.time()
    kept: list[Tensor] = []
    used, perplexity = 0, 0.0
    random = torch.Generator().manual_seed(o.seed + 2)
    while time.time() < end and step < o.max_steps:
        x = (time.time() - started) / total
        first = x < o.first_phase
        if first:
            y = x / max(o.first_phase, 1e-9)
            rate = cosine(y, o.rates[0], o.rates[1]) * min(1.0, (step + 1) / 200)
        else:
            y = (x - o.first_phase) / (1 - o.first_phase)
            rate = cosine(y, o.rates[2], o.rates[3]) * min(1.0, y * 50 + 0.1)
        learner.rate.fill_(rate)
        learner.rate_d.fill_(cosine(y, o.rate_d, 1e-5))
        learner.fresh.fill_(1 - min(o.ema, (1 + step) / (10 + step)))
        learner.predicted_share.fill_(o.predicted[0] + (o.predicted[1] - o.predicted[0]) * x)
        learner.wave.copy_(batches.next(o.batch, learner.crop))
        learner.draws.uniform_()
        spare = learner.crop - learner.segment
        learner.segment_start.fill_(int(torch.randint(spare + 1, (), generator=random)))
        if phase != int(not first):
            phase = int(not first)
            plain = (lambda: learner.step(False)) if first else (lambda: learner.step(True))
            run = plain
            if device.type == "cuda" and not o.no_graph:
                run = graphed(plain, say)
            say(f"phase {phase} begins at step {step}, {time.time() - last:.1f} s to prepare")
        assert run is not None
        run()  # type: ignore[no-untyped-call]
        step += 1
        if step % 50 == 0:
            used, perplexity = learner.replace_dead_codes()
        if step % o.every == 0:
            sums = (learner.sums / o.every).tolist()
            learner.sums.zero_()
            if not all(map(math.isfinite, sums)) and kept:
                say("not finite: back to the last good weights")
                torch._foreach_copy_([*learner.live, *learner.mean], kept)
                learner.muon.momenta = [m.zero_() for m in learner.muon.momenta]
                continue
            kept = [v.clone() for v in (*learner.live, *learner.mean)]
            text = " ".join(
                f"{n} {v:.4g}" for n, v in zip((*NAMES, "norm", "norm_d"), sums, strict=True)
            )
            now = time.time()
            say(
                f"step {step} rate {rate:.2e} {(now - last) / o.every * 1000:.0f} ms "
                f"used {used} perplexity {perplexity:.0f} {text}"
            )
            last = time.time()
            for line in bank.take_new(o.speech, factors):
                say(line)
            if os.path.exists(f"{o.out}/deadline"):
                with open(f"{o.out}/deadline") as file:
                    end = float(file.read())
                total = end - started
        if step % o.validate == 0:
            say(f"step {step} val {learner.validate(bank.held)}")
        if time.time() - saved > 90:
            learner.save(o.out, step, discriminators=False)
            saved = time.time()
    learner.save(o.out, step, discriminators=not first)
    memory = torch.cuda.max_memory_allocated() / 1e9 if device.type == "cuda" else 0
    say(f"done, step {step}, val {learner.validate(bank.held)}, memory {memory:.1f} GB")
    with open(f"{o.out}/done", "w") as file:
        file.write("done")


if __name__ == "__main__":
    main()
