"""The trainer: steps, moving average, replacement of dead codes, checkpoints, validation."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bigcodec_models.architectures.network import CodecNetwork
from bigcodec_models.checkpoints.model_file import ModelInfo, save_model
from bigcodec_models.config import ModelConfig
from bigcodec_models.data.crops import CropSource
from bigcodec_models.errors import ConfigError, ModelFileError, NonFiniteError, TrainingError
from bigcodec_models.precision import bfloat16_pays
from bigcodec_models.quantization.quantizer import Quantized
from bigcodec_models.training.checkpoint import (
    Checkpoint,
    find_checkpoints,
    load_checkpoint,
    save_checkpoint,
    set_aside_newer,
)
from bigcodec_models.training.codebook_usage import USAGE_WINDOW, CodeUsage
from bigcodec_models.training.codec_loss import CodecLoss
from bigcodec_models.training.config import TrainConfig
from bigcodec_models.training.events import Progress, Validation
from bigcodec_models.training.optimizers import Optimizers, apply_gradients
from bigcodec_models.training.process_group import SINGLE_PROCESS, ProcessGroup
from bigcodec_models.training.running_means import GRADIENT_NORM, Clock, RunningMeans
from bigcodec_models.training.schedule import learning_rate
from bigcodec_models.training.validation import Validator

Named = Mapping[str, Tensor]


@dataclasses.dataclass(frozen=True)
class Callbacks:
    """Functions that a run calls: `progress` after every `log_every` steps, `validation` after a
    validation, and `should_stop` before every step."""

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
        self.process_group = process_group
        self._local_items = _local_items(process_group, train.batch_size)
        self.device = torch.device(device)
        self.validator = validator
        self.network = CodecNetwork(model, train.codebook.loss).to(self.device).train()
        self.codec_loss = CodecLoss(train).to(self.device)
        if train.freeze_encoder:
            self.network.encoder.requires_grad_(False)
            self.network.quantizer.requires_grad_(False)
        self.modules = {"generator": self.network, "discriminators": self.codec_loss}
        self.optimizers = {
            name: Optimizers(module, train.optimizer)
            for name, module in self.modules.items()
            if list(module.parameters())
        }
        self.ema = {k: v.detach().clone() for k, v in self.network.state_dict().items()}
        self.step = 0
        self.seconds = 0.0
        self._in_step = False  # whether a step has changed weights and is not complete
        self.best_mel = math.inf
        self.history: dict[str, Any] = {}
        self.usage = CodeUsage(self.network.quantizer, self.device)

    # ---- state ----------------------------------------------------------------------------

    def resume(self, damaged: Callable[[ModelFileError], None] | None = None) -> bool:
        """Continue from the newest checkpoint of the run; False if there is none.

        With `damaged`, as of `load_checkpoint`, damaged checkpoints after it are renamed.

        Raises:
            TrainingError: the checkpoint is of another model or of other discriminators.
            ModelFileError: the checkpoint is damaged.
        """
        checkpoint = load_checkpoint(self.run_folder, damaged)
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
        if self.process_group.is_main:
            set_aside_newer(self.run_folder, checkpoint.step)
        return True

    def start_from(
        self,
        weights: Named,
        ema: Named | None = None,
        discriminators: Named | None = None,
        step: int = 0,
        facts: Mapping[str, Any] | None = None,
    ) -> None:
        """Begin with given weights (float tensors by parameter name) and, where given, the rest.

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
            kinds = ", ".join(self.config.discriminators.chosen()) or "none"
            raise TrainingError(
                f"{self.run_folder}: the discriminators at hand are not of the kinds and sizes "
                f"of the settings, which name {kinds}"
            ) from error

    def _take_facts(self, step: int, facts: Mapping[str, Any]) -> None:
        self.step = step
        self.seconds = float(facts.get("seconds", 0.0))
        best = facts.get("best_mel")
        self.best_mel = math.inf if best is None else float(best)
        self.usage.used = int(facts.get("codes_used") or 0)
        self.usage.perplexity = float(facts.get("perplexity") or 0.0)
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
        hours = self.step * config.batch_size * config.crops.seconds / 3600
        return {
            **self.history,
            "steps": self.step,
            "seconds": round(self.seconds, 1),
            "audio_hours_seen": round(hours, 2),
            "best_mel": None if math.isinf(self.best_mel) else self.best_mel,
            "codes_used": self.usage.used or None,
            "perplexity": round(self.usage.perplexity, 1) or None,
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
        means, start = RunningMeans(), self.step
        items = self._local_items
        batches = self.data.batches(self.step, len(items), first=items.start)
        try:
            while self.step < self.config.max_steps and not self._stops(callbacks):
                with means.waiting():
                    wave = torch.from_numpy(next(batches)).unsqueeze(1).to(self.device)
                means.add(self.train_step(wave))
                self.seconds += clock.lap()
                if self.step % self.config.log_every == 0:
                    callbacks.progress(self._progress(means))
                    means = RunningMeans()
                if self._validation_is_due():
                    self._validate(callbacks)
                if self._save_is_due(clock):
                    self.save()
                    clock.saved()
        except NonFiniteError as error:
            raise TrainingError(f"step {self.step}: {error}; {self._kept(start)}") from error
        finally:
            batches.close()
            if not self._in_step and self.process_group.is_main:
                self.save()

    def _kept(self, start: int) -> str:
        """What there is of a run that began at step `start` and fails now."""
        if self._in_step:
            saved = find_checkpoints(self.run_folder)
            return "the last checkpoint stands" if saved else "nothing is saved"
        return "the state is saved" if self.step > start else "no step was taken"

    def _stops(self, callbacks: Callbacks) -> bool:
        return self.process_group.any(callbacks.should_stop(), self.device)

    def _progress(self, means: RunningMeans) -> Progress:
        return means.progress(
            step=self.step,
            learning_rate=learning_rate(self.step - 1, self.config.optimizer),
            codes_used=self.usage.used or None,
            perplexity=self.usage.perplexity or None,
        )

    def _save_is_due(self, clock: Clock) -> bool:
        if not self.process_group.is_main:
            return False
        checkpoints = self.config.checkpoints
        due = clock.since_save() >= 60 * checkpoints.every_minutes
        return due or self.step % checkpoints.keep_every == 0

    def _validation_is_due(self) -> bool:
        """At intervals, and at the end, so that the shortest run too has a best checkpoint."""
        return self.step % self.config.validation.every == 0 or self.step == self.config.max_steps

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

    # ---- a step ---------------------------------------------------------------------------

    def train_step(self, wave: Tensor) -> dict[str, Tensor]:
        """One step on waves (B, 1, N): discriminators first, then the generator against them.

        Returns losses and gradient norms by name, scalars.

        Raises:
            NonFiniteError: a loss or gradient is not finite; the step that had it is not taken.
        """
        segment = self._seed_and_choose_segment(wave.shape[-1])
        self._set_learning_rate()
        with self._autocast():
            output = self.network(wave, self._use_predicted_f0(len(wave)))
        values: dict[str, Tensor] = {}

        if segment is not None and self.step % self.config.adversarial.every == 0:
            with self._autocast():
                losses = self.codec_loss.discriminator_losses(
                    wave[..., segment], output.wave[..., segment]
                )
            values |= self._optimize("discriminators", losses.pop("total")) | losses

        with self._autocast():
            losses = self.codec_loss.generator_losses(wave, output, segment)
            losses["total"] = self.codec_loss.weighted_sum(losses)
        values |= self._optimize("generator", losses["total"]) | losses

        self._update_ema(output.quantized)
        self._update_code_usage(output.quantized)
        self.step += 1
        self._in_step = False
        values = {name: value.detach() for name, value in values.items()}
        self.process_group.all_reduce_mean(values.values())
        return values

    def _seed_and_choose_segment(self, samples: int) -> slice | None:
        """Seed the random numbers of this step; returns the samples of each crop, of `samples`,
        that the discriminators see, or None while they take no part.

        The step and the seed determine all random numbers, so that resuming needs no state. The
        segment is the same in all processes; what follows, such as dropout, differs between them as
        it does within a batch.
        """
        seed, rank = self.config.seed, self.process_group.rank
        torch.manual_seed(seed * 1_000_003 + self.step)
        segment = None
        if self.config.adversarial_at(self.step):
            length = self.config.adversarial.segment_samples() or samples
            start = int(torch.randint(samples - length + 1, ())) if length < samples else 0
            segment = slice(start, start + length)
        if rank:
            torch.manual_seed((seed + 7919 * rank) * 1_000_003 + self.step)
        return segment

    def _set_learning_rate(self) -> None:
        for optimizers in self.optimizers.values():
            optimizers.set_rate(learning_rate(self.step, self.config.optimizer))

    def _autocast(self) -> torch.autocast:
        precision = self.config.precision
        enabled = bfloat16_pays(self.device) if precision == "auto" else precision == "bfloat16"
        return torch.autocast(self.device.type, torch.bfloat16, enabled=enabled)

    def _use_predicted_f0(self, crops: int) -> Tensor | None:
        """Whether the excitation of each crop follows the F0 that the decoder predicts: bool
        (crops,), or None for models that predict none.

        On average it does for the fraction `predicted_f0_fraction` of them: the decoder learns both
        to cope with its own errors and to use the true F0 of streams that carry it.
        """
        if not self.network.predicts_f0:
            return None
        return (torch.rand(crops) < self.config.predicted_f0_fraction).to(self.device)

    def _optimize(self, name: str, total: Tensor) -> dict[str, Tensor]:
        """One step of an optimizer on a loss, a scalar; returns the gradient norm by its name."""
        norm = apply_gradients(
            total,
            self.modules[name].parameters(),
            self.optimizers[name],
            self.config.optimizer.clip_norm,
            self.process_group,
        )
        self._in_step = True
        return {GRADIENT_NORM + name: norm}

    @torch.no_grad()
    def _update_ema(self, quantized: Quantized) -> None:
        """Update the moving averages: of codes that have one, then of all weights."""
        if not self.config.freeze_encoder:
            self.network.quantizer.update_ema(quantized, self.process_group.all_reduce_sum)
        # Early in a run the average follows closely, or it would be mostly the random start.
        decay = min(self.config.ema_decay, (1 + self.step) / (10 + self.step))
        for name, value in self.network.state_dict().items():
            self.ema[name].lerp_(value, 1 - decay)

    def _update_code_usage(self, quantized: Quantized) -> None:
        """Count the tokens of this step; at intervals, replace dead codes."""
        self.usage.add(quantized, self.process_group)
        every = self.config.codebook.replace_dead_codes_every
        if (self.step + 1) % (every or USAGE_WINDOW) == 0:
            counts = self.usage.check()
            if every:
                self.usage.replace_dead_codes(counts, quantized, self.ema, self.process_group)


def _local_items(process_group: ProcessGroup, batch_size: int) -> range:
    try:
        return process_group.local_items(batch_size)
    except ValueError as error:
        raise ConfigError(str(error)) from error


def _under(prefix: str, tensors: Named) -> dict[str, Tensor]:
    start = prefix + "/"
    return {name.removeprefix(start): t for name, t in tensors.items() if name.startswith(start)}
