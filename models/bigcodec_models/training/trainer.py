"""The trainer: steps, moving average, dead-code replacement, checkpoints, validation."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from bigcodec_models.architectures.network import CodecNetwork
from bigcodec_models.checkpoints.model_file import ModelInfo, save_model
from bigcodec_models.config import ModelConfig
from bigcodec_models.data.crops import CropSource
from bigcodec_models.errors import ConfigError, NonFiniteError, TrainingError
from bigcodec_models.precision import bfloat16_pays
from bigcodec_models.quantization.quantizer import Codebook, Quantized
from bigcodec_models.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from bigcodec_models.training.codebook_usage import USAGE_WINDOW, CodeUsage
from bigcodec_models.training.codec_loss import CodecLoss, apply_gradients
from bigcodec_models.training.config import TrainConfig
from bigcodec_models.training.events import Progress, Validation
from bigcodec_models.training.optimizers import Optimizers
from bigcodec_models.training.process_group import SINGLE_PROCESS, ProcessGroup
from bigcodec_models.training.running_means import NORM, Clock, Window
from bigcodec_models.training.schedule import learning_rate
from bigcodec_models.training.validation import Validator

Named = Mapping[str, Tensor]


@dataclasses.dataclass(frozen=True)
class Callbacks:
    """What a run calls: after every `log_every` steps, after a validation, and to ask whether
    to stop after the step just done."""

    progress: Callable[[Progress], None] = lambda _: None
    validation: Callable[[Validation], None] = lambda _: None
    should_stop: Callable[[], bool] = lambda: False


class Trainer:
    """One run: weights, optimizers and position in the data, kept in the folder `run`.

    In a `process_group` of several each process has a trainer of its own, with the same arguments.

    Raises:
        ConfigError: the processes cannot take equal parts of the batch.
    """

    def __init__(
        self,
        model: ModelConfig,
        train: TrainConfig,
        data: CropSource,
        run: Path,
        device: str,
        validator: Validator | None = None,
        process_group: ProcessGroup = SINGLE_PROCESS,
    ) -> None:
        torch.manual_seed(train.seed)
        self.config, self.data, self.run_folder = train, data, run
        self.process_group, self._items = (
            process_group,
            _local_items(process_group, train.batch_size),
        )
        self.device = torch.device(device)
        self.validator = validator
        self.network = CodecNetwork(model).to(self.device).train()
        self.codec_loss = CodecLoss(train).to(self.device)
        for codebook in self.network.quantizer.codebooks:
            assert isinstance(codebook, Codebook)
            codebook.distance = F.l1_loss if train.codebook_loss == "l1" else F.mse_loss
        if train.freeze_encoder:
            self.network.encoder.requires_grad_(False)
            self.network.quantizer.requires_grad_(False)
        self.optimizers = {"generator": Optimizers(self.network, train)}
        if self.codec_loss.discriminators:
            self.optimizers["discriminators"] = Optimizers(self.codec_loss, train)
        self.ema = {k: v.detach().clone() for k, v in self.network.state_dict().items()}
        self.step = 0
        self.seconds = 0.0
        self._in_step = False  # whether a step has begun to change things and not ended
        self.best_mel = math.inf
        self.history: dict[str, Any] = {}
        self.usage = CodeUsage(self.network.quantizer, self.device)

    # ---- state ----------------------------------------------------------------------------

    def resume(self) -> bool:
        """Take up the newest checkpoint of the run; False if there is none.

        Raises:
            TrainingError: the checkpoint is of another model or of other discriminators.
            ModelFileError: the checkpoint is damaged.
        """
        checkpoint = load_checkpoint(self.run_folder)
        if checkpoint is None:
            return False
        if checkpoint.model != self.network.config:
            raise TrainingError(f"{self.run_folder}: holds a run of another model configuration")
        self._load_discriminators(checkpoint.discriminators)
        self.network.load_state_dict(dict(checkpoint.weights))
        self.ema = {name: checkpoint.ema[name].to(self.device) for name in self.ema}
        for prefix, optimizers in self.optimizers.items():
            optimizers.load(_under(prefix, checkpoint.optimizer))
        self.usage.counts = checkpoint.optimizer["usage"].to(self.device)
        self._take_facts(checkpoint.step, checkpoint.facts)
        return True

    def start_from(
        self,
        weights: Named,
        ema: Named | None = None,
        discriminators: Named | None = None,
        step: int = 0,
        facts: Mapping[str, Any] | None = None,
    ) -> None:
        """Begin with given weights (float tensors by our names) and, where given, the rest.

        Raises:
            TrainingError: the discriminators are not those of this configuration.
        """
        self.network.load_state_dict({name: value.float() for name, value in weights.items()})
        average = weights if ema is None else ema
        self.ema = {name: average[name].float().to(self.device).clone() for name in self.ema}
        if discriminators:
            self._load_discriminators(discriminators)
        self._take_facts(step, facts or {})

    def _load_discriminators(self, tensors: Named) -> None:
        try:
            self.codec_loss.discriminators.load_state_dict(
                {name: value.float() for name, value in tensors.items()}
            )
        except RuntimeError as error:
            raise TrainingError(
                f"{self.run_folder}: the discriminators at hand are not those that "
                f"discriminators = {self.config.discriminators!r} names"
            ) from error

    def _take_facts(self, step: int, facts: Mapping[str, Any]) -> None:
        self.step = step
        self.seconds = float(facts.get("seconds", 0.0))
        best = facts.get("best_mel")
        self.best_mel = math.inf if best is None else float(best)
        self.usage.used = int(facts.get("codes_used", 0))
        self.usage.perplexity = float(facts.get("perplexity", 0.0))
        self.history = {k: v for k, v in facts.items() if k in ("init", "inexact_resumes")}

    def save(self) -> Path:
        """Write a checkpoint; returns its folder."""
        tensors = {"usage": self.usage.counts.cpu()}
        for prefix, optimizers in self.optimizers.items():
            tensors |= {f"{prefix}/{key}": value for key, value in optimizers.moments().items()}
        discriminators = self.codec_loss.discriminators.state_dict()
        checkpoint = Checkpoint(
            step=self.step,
            model=self.network.config,
            train=self.config,
            weights={k: v.detach().cpu() for k, v in self.network.state_dict().items()},
            ema={k: v.cpu() for k, v in self.ema.items()},
            discriminators={k: v.detach().cpu() for k, v in discriminators.items()},
            optimizer=tensors,
            facts=self.facts(),
        )
        return save_checkpoint(self.run_folder, checkpoint)

    def facts(self) -> dict[str, Any]:
        """Training facts for model files: plain JSON."""
        config = self.config
        hours = self.step * config.batch_size * config.crop_seconds / 3600
        return {
            **self.history,
            "steps": self.step,
            "seconds": round(self.seconds, 1),
            "audio_hours_seen": round(hours, 2),
            "best_mel": None if math.isinf(self.best_mel) else self.best_mel,
            "codes_used": self.usage.used,
            "perplexity": round(self.usage.perplexity, 1),
            "config": dataclasses.asdict(config),
        }

    # ---- running --------------------------------------------------------------------------

    def run(self, callbacks: Callbacks) -> None:
        """Train until `max_steps` or until asked to stop, saving at intervals and at the end.

        Raises:
            TrainingError: a loss or gradient is not finite.
            DataError: the training files have become unreadable.
        """
        clock = Clock()
        window = Window()
        batches = self.data.batches(self.step, len(self._items), first=self._items.start)
        try:
            while self.step < self.config.max_steps and not self._stops(callbacks):
                with window.waiting():
                    wave = torch.from_numpy(next(batches)).unsqueeze(1).to(self.device)
                window.add(self.train_step(wave))
                self.seconds += clock.lap()
                if self.step % self.config.log_every == 0:
                    callbacks.progress(self._progress(window))
                    window = Window()
                if self._validation_is_due():
                    self._validate(callbacks)
                if self._save_is_due(clock):
                    self.save()
                    clock.saved()
        except NonFiniteError as error:
            kept = "the last checkpoint stands" if self._in_step else "the state is saved"
            raise TrainingError(f"step {self.step}: {error}; {kept}") from error
        finally:
            batches.close()
            if not self._in_step and self.process_group.is_main:
                self.save()

    def _stops(self, callbacks: Callbacks) -> bool:
        return self.process_group.any(callbacks.should_stop(), self.device)

    def _progress(self, window: Window) -> Progress:
        return window.progress(
            step=self.step,
            learning_rate=learning_rate(self.step - 1, self.config),
            codes_used=self.usage.used,
            perplexity=self.usage.perplexity,
        )

    def _save_is_due(self, clock: Clock) -> bool:
        if not self.process_group.is_main:
            return False
        due = clock.since_save() >= 60 * self.config.checkpoint_minutes
        return due or self.step % self.config.keep_every == 0

    def _validation_is_due(self) -> bool:
        """At intervals, and at the end, so that the shortest run too has a best checkpoint."""
        return self.step % self.config.validate_every == 0 or self.step == self.config.max_steps

    def _validate(self, callbacks: Callbacks) -> None:
        if not self.validator or not self.process_group.is_main:
            return
        validation = self.validator.measure(self.network, self.ema, self.step, self.best_mel)
        if validation.best:
            self.best_mel = validation.mel
            info = ModelInfo(name=self.run_folder.name, license="unreleased", training=self.facts())
            path = self.run_folder / "best.safetensors"
            save_model(path, self.ema, self.network.config, info)
        callbacks.validation(validation)

    def train_step(self, wave: Tensor) -> dict[str, Tensor]:
        """One step on waves (B, 1, N): discriminators first, then the generator against them.

        Returns losses and gradient norms by name.

        Raises:
            NonFiniteError: a loss or gradient is not finite; the step that had it is not taken.
        """
        config = self.config
        torch.manual_seed(config.seed * 1_000_003 + self.step)
        for optimizers in self.optimizers.values():
            optimizers.set_rate(learning_rate(self.step, config))
        adversarial = config.adversarial_at(self.step)
        segment = self.codec_loss.random_segment(wave.shape[-1]) if adversarial else None
        if (
            self.process_group.rank
        ):  # dropout differs from process to process, as it does within a batch
            torch.manual_seed(
                (config.seed + 7919 * self.process_group.rank) * 1_000_003 + self.step
            )
        with self._precision():
            output = self.network(wave, self._use_predicted_f0(len(wave)))
        report: dict[str, Tensor] = {}
        if segment is not None and self.step % config.discriminator_every == 0:
            report |= self._discriminator_step(wave[..., segment], output.wave[..., segment])
        with self._precision():
            losses = self.codec_loss.generator_losses(wave, output, segment)
        norm = apply_gradients(
            losses["total"],
            self.network.parameters(),
            self.optimizers["generator"],
            config.clip_norm,
            self.process_group,
        )
        if not config.freeze_encoder:
            self.network.quantizer.update_ema(output.quantized, self.process_group.all_reduce_sum)
        self._update_average()
        self._watch_codes(output.quantized)
        self.step += 1
        self._in_step = False
        report |= {**losses, NORM + "generator": norm}
        report = {name: value.detach() for name, value in report.items()}
        self.process_group.all_reduce_mean(report.values())
        return report

    def _use_predicted_f0(self, crops: int) -> Tensor | None:
        """Which crops' excitation follows the F0 that the decoder predicts, if it does: (crops,).

        As many of each batch as `predicted_f0_fraction` says, on average: the decoder learns to
        live with its own errors, and to make use of the true F0 where a stream carries it.
        """
        if not self.network.predicts_f0:
            return None
        return (torch.rand(crops) < self.config.predicted_f0_fraction).to(self.device)

    def _watch_codes(self, quantized: Quantized) -> None:
        self.usage.add(quantized, self.process_group)
        every = self.config.replace_dead_codes_every
        if (self.step + 1) % (every or USAGE_WINDOW) == 0:
            counts = self.usage.check()
            if every:
                self.usage.replace_dead_codes(counts, quantized, self.ema, self.process_group)

    def _discriminator_step(self, real: Tensor, generated: Tensor) -> dict[str, Tensor]:
        with self._precision():
            losses = self.codec_loss.discriminator_losses(real, generated)
        total = losses.pop("total")
        norm = apply_gradients(
            total,
            self.codec_loss.parameters(),
            self.optimizers["discriminators"],
            self.config.clip_norm,
            self.process_group,
        )
        self._in_step = True
        return {**losses, NORM + "discriminators": norm}

    def _precision(self) -> torch.autocast:
        precision = self.config.precision
        enabled = bfloat16_pays(self.device) if precision == "auto" else precision == "bfloat16"
        return torch.autocast(self.device.type, torch.bfloat16, enabled=enabled)

    @torch.no_grad()
    def _update_average(self) -> None:
        # A young average follows closely, so that early exports are not the random start.
        decay = min(self.config.ema_decay, (1 + self.step) / (10 + self.step))
        for name, value in self.network.state_dict().items():
            self.ema[name].lerp_(value, 1 - decay)


def _local_items(process_group: ProcessGroup, batch_size: int) -> range:
    try:
        return process_group.local_items(batch_size)
    except ValueError as error:
        raise ConfigError(str(error)) from error


def _under(prefix: str, tensors: Named) -> dict[str, Tensor]:
    start = prefix + "/"
    return {name.removeprefix(start): t for name, t in tensors.items() if name.startswith(start)}
