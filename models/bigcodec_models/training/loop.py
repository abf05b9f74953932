"""The training loop: multi-scale mel and VQ losses, AdamW, moving average, code revival."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bigcodec_models.config import ModelConfig
from bigcodec_models.losses import MultiScaleMelLoss
from bigcodec_models.network import CodecNetwork
from bigcodec_models.quantizer import Codebook, Quantized
from bigcodec_models.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from bigcodec_models.training.config import TrainConfig
from bigcodec_models.training.data import CropSource
from bigcodec_models.training.schedule import learning_rate


class TrainingError(Exception):
    """Training cannot go on; the message says why. The state before the failing step is saved."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Progress:
    """What a run reports. Losses are means since the last report; `codes_used` is the number of
    codes of the first codebook drawn since the last revival check."""

    step: int
    losses: Mapping[str, float]
    gradient_norm: float
    learning_rate: float
    codes_used: int
    steps_per_second: float


class Trainer:
    """One run: weights, optimiser and data position, kept in the folder `run`."""

    def __init__(
        self, model: ModelConfig, train: TrainConfig, data: CropSource, run: Path, device: str
    ) -> None:
        torch.manual_seed(train.seed)
        self.train_config, self.data, self.run_folder = train, data, run
        self.device = torch.device(device)
        self.network = CodecNetwork(model).to(self.device).train()
        self.mel_loss = MultiScaleMelLoss(train.mel_windows).to(self.device)
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(),
            betas=(train.beta1, train.beta2),
            weight_decay=train.weight_decay,
        )
        self.ema = {k: v.detach().clone() for k, v in self.network.state_dict().items()}
        self.step = 0
        self.seconds_spent = 0.0
        self.usage = self._zero_usage()

    def _zero_usage(self) -> Tensor:
        codebooks, size = len(self.network.quantizer.codebooks), self.quantizer_config.codebook_size
        return torch.zeros(codebooks, size, dtype=torch.int64, device=self.device)

    @property
    def quantizer_config(self) -> Any:
        """Configuration of the network's quantiser."""
        return self.network.quantizer.config

    def resume(self) -> bool:
        """Take up the newest checkpoint of the run; False if there is none.

        Raises:
            TrainingError: the checkpoint is of another model configuration.
            ModelFileError: the checkpoint is damaged.
        """
        found = load_checkpoint(self.run_folder, self.train_config)
        if found is None:
            return False
        if found.model != self.network.config:
            raise TrainingError(f"{self.run_folder}: holds a run of another model configuration")
        self.network.load_state_dict(dict(found.weights))
        self.ema = {name: found.ema[name].to(self.device) for name in self.ema}
        self._load_optimizer(found.optimizer)
        self.usage = found.optimizer["usage"].to(self.device)
        self.step = found.step
        self.seconds_spent = float(found.facts.get("seconds", 0.0))
        return True

    def save(self) -> Path:
        """Write a checkpoint; returns its folder."""
        return save_checkpoint(
            self.run_folder,
            Checkpoint(
                step=self.step,
                model=self.network.config,
                train=self.train_config,
                weights={k: v.detach().cpu() for k, v in self.network.state_dict().items()},
                ema={k: v.cpu() for k, v in self.ema.items()},
                optimizer=self._optimizer_tensors(),
                facts=self.facts(),
            ),
        )

    def facts(self) -> dict[str, Any]:
        """Training facts for the model file."""
        crops = self.step * self.train_config.batch_size
        return {
            "steps": self.step,
            "seconds": round(self.seconds_spent, 1),
            "audio_hours_seen": round(crops * self.train_config.crop_seconds / 3600, 2),
            "config": dataclasses.asdict(self.train_config),
        }

    def run(self, report: Callable[[Progress], None], should_stop: Callable[[], bool]) -> None:
        """Train until `max_steps` or until `should_stop`, saving at intervals and at the end.

        Raises:
            TrainingError: a loss or gradient is not finite.
            DataError: a training file has become unreadable.
        """
        config = self.train_config
        batches = self.data.batches(self.step, config.batch_size)
        window = _Window()
        last_save = last_time = time.monotonic()
        try:
            while self.step < config.max_steps and not should_stop():
                wave = torch.from_numpy(next(batches)).unsqueeze(1).to(self.device)
                window.add(self.train_step(wave))
                now = time.monotonic()
                self.seconds_spent += now - last_time
                last_time = now
                if self.step % config.log_every == 0:
                    report(window.progress(self))
                    window = _Window()
                if now - last_save >= 60 * config.checkpoint_minutes:
                    self.save()
                    last_save = time.monotonic()
        finally:
            batches.close()
            self.save()

    def train_step(self, wave: Tensor) -> dict[str, Tensor]:
        """One optimiser step on waves (B, 1, N); returns the losses and the gradient norm."""
        config = self.train_config
        torch.manual_seed(config.seed * 1_000_003 + self.step)
        rate = learning_rate(self.step, config)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        generated, quantized = self.network(wave)
        mel = self.mel_loss(generated.squeeze(1), wave.squeeze(1))
        total = config.mel_weight * mel + config.vq_weight * quantized.loss
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), config.clip_norm)
        if not (torch.isfinite(total) and torch.isfinite(norm)):
            raise TrainingError(f"step {self.step}: the loss or its gradient is not finite")
        self.optimizer.step()
        self._update_average()
        self._watch_codes(quantized)
        self.step += 1
        losses = {"mel": mel, "vq": quantized.loss, "total": total, "gradient_norm": norm}
        return {name: value.detach() for name, value in losses.items()}

    @torch.no_grad()
    def _update_average(self) -> None:
        # A young average follows closely, so that early exports are not the random start.
        decay = min(self.train_config.ema_decay, (1 + self.step) / (10 + self.step))
        for name, value in self.network.state_dict().items():
            self.ema[name].lerp_(value, 1 - decay)

    @torch.no_grad()
    def _watch_codes(self, quantized: Quantized) -> None:
        """Count codes, and at intervals move those never drawn onto latents just seen."""
        for index in range(self.usage.shape[0]):
            tokens = quantized.tokens[..., index].flatten()
            self.usage[index] += torch.bincount(tokens, minlength=self.usage.shape[1])
        if (self.step + 1) % self.train_config.revive_every == 0:
            first = self.network.quantizer.codebooks[0]
            assert isinstance(first, Codebook)
            dead = (self.usage[0] == 0).nonzero().flatten()
            live = quantized.projected.flatten(0, 1)
            chosen = torch.randint(len(live), (len(dead),)).to(self.device)
            fresh = nn.functional.normalize(live[chosen], dim=-1)
            if not self.quantizer_config.unit_codes:
                fresh = live[chosen]
            first.codes[dead] = fresh
            self.ema["quantizer.codebooks.0.codes"][dead] = fresh
            self.last_codes_used = int((self.usage[0] > 0).sum())
            self.usage.zero_()

    last_codes_used = 0

    def _optimizer_tensors(self) -> dict[str, Tensor]:
        tensors = {"usage": self.usage.cpu()}
        for name, parameter in self.network.named_parameters():
            for key, value in self.optimizer.state.get(parameter, {}).items():
                tensors[f"{key}.{name}"] = value.detach().cpu()
        return tensors

    def _load_optimizer(self, tensors: Mapping[str, Tensor]) -> None:
        for name, parameter in self.network.named_parameters():
            state = self.optimizer.state[parameter]
            for key in ("step", "exp_avg", "exp_avg_sq"):
                value = tensors[f"{key}.{name}"].clone()
                state[key] = value if key == "step" else value.to(self.device)


class _Window:
    """Sums of losses since the last report."""

    def __init__(self) -> None:
        self.sums: dict[str, float] = {}
        self.count = 0
        self.start = time.monotonic()

    def add(self, losses: Mapping[str, Tensor]) -> None:
        self.count += 1
        for name, value in losses.items():
            self.sums[name] = self.sums.get(name, 0.0) + float(value)

    def progress(self, trainer: Trainer) -> Progress:
        means = {name: value / self.count for name, value in self.sums.items()}
        return Progress(
            step=trainer.step,
            gradient_norm=means.pop("gradient_norm"),
            losses=means,
            learning_rate=learning_rate(trainer.step - 1, trainer.train_config),
            codes_used=trainer.last_codes_used,
            steps_per_second=self.count / (time.monotonic() - self.start),
        )
