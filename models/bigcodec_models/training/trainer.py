"""The trainer: steps, moving average, replacement of dead codes, checkpoints, validation."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bigcodec_models.architectures.network import CodecNetwork
from bigcodec_models.checkpoints.model_file import ModelInfo, save_model
from bigcodec_models.config import ModelConfig
from bigcodec_models.data.device_crops import Crops, moved
from bigcodec_models.errors import ConfigError, ModelFileError, NonFiniteError, TrainingError
from bigcodec_models.training.checkpoint import (
    Checkpoint,
    load_checkpoint,
    save_checkpoint,
    what_stands,
)
from bigcodec_models.training.codebook_usage import USAGE_WINDOW, CodeUsage
from bigcodec_models.training.codec_loss import CodecLoss
from bigcodec_models.training.config import TrainConfig
from bigcodec_models.training.cuda_graph import GraphedStep, Step
from bigcodec_models.training.events import Callbacks, Progress
from bigcodec_models.training.optimizers import Optimizers
from bigcodec_models.training.process_group import SINGLE_PROCESS, ProcessGroup
from bigcodec_models.training.running_means import Clock, RunningMeans
from bigcodec_models.training.schedule import Phase, TimeBudget, phase_at
from bigcodec_models.training.step import StepKind, TrainingStep
from bigcodec_models.training.step_inputs import InputMaker
from bigcodec_models.training.validation import Validator

Named = Mapping[str, Tensor]


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
        data: Crops,
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
        self.best_mel = math.inf
        self.history: dict[str, Any] = {}
        self.usage = CodeUsage(self.network.quantizer, self.device)
        self._computation = TrainingStep(
            train,
            self.network,
            self.codec_loss,
            self.optimizers,
            self.ema,
            self.usage,
            process_group,
        )
        self._run_step: Step = self._computation
        self._input_maker = InputMaker(train, self.device, process_group.rank)
        self.phase = phase_at(train, 0, 0.0)
        self._budget = TimeBudget(train.budget)
        self._unchecked = 0  # steps since the last check that all were taken
        self._torn = False  # whether a step has failed after the discriminators' part of it

    # ---- state ----------------------------------------------------------------------------

    def resume(self, damaged: Callable[[ModelFileError], None] | None = None) -> bool:
        """Continue from the newest checkpoint; False if there is none. See `load_checkpoint`.

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
        self._set_ema(checkpoint.ema)
        for prefix, optimizers in self.optimizers.items():
            optimizers.load(checkpoint.optimizer, prefix + "/")
        self.usage.counts.copy_(checkpoint.optimizer["usage"])
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
        """Begin with given weights (float tensors by parameter name) and, where given, the rest.

        Raises:
            TrainingError: the discriminators are not those of this configuration.
        """
        self.network.load_state_dict({name: value.float() for name, value in weights.items()})
        self._set_ema(weights if ema is None else ema)
        if discriminators:
            self._load_discriminators(discriminators)
        self._take_facts(step, facts or {})

    def _set_ema(self, tensors: Named) -> None:
        for name, value in self.ema.items():
            value.copy_(tensors[name])

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
            tensors |= optimizers.moments(prefix + "/")
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
        """Train until `max_steps`, until the budget is used up, or until asked to stop, saving at
        intervals and at the end.

        Raises:
            TrainingError: a loss or gradient is not finite.
            DataError: the training files have become unreadable.
        """
        clock = Clock()
        means, start = RunningMeans(), self.step
        self.compile(callbacks.notice)
        items, first = self._local_items, self.step
        batches = self.data.batches(self.step, len(items), first=items.start)
        try:
            while self._goes_on(callbacks, clock):
                with means.waiting():
                    wave = moved(next(batches), self.device).unsqueeze(1)
                means.add(self.train_step(wave))
                means = self._after_step(callbacks, clock, means)
            self.check_finite()
            self._close_budget(callbacks, self.step > first)
        except NonFiniteError as error:
            saved = not self._is_torn() and self.step > start
            kept = "the state is saved" if saved else what_stands(self.run_folder)
            raise TrainingError(f"step {self.step}: {error}; {kept}") from error
        finally:
            batches.close()
            if not self._is_torn() and self.process_group.is_main:
                self.save()

    def compile(self, notice: Callable[[str], None]) -> None:
        """Take steps as CUDA graphs from now on, where that is set and possible; `notice` is told
        why it is not."""
        if not self.config.compile or self.device.type != "cuda":
            return
        if self.process_group.size > 1:
            notice("compile: no CUDA graphs with several processes")
            return
        self._run_step = GraphedStep(self._computation, self.device, notice)

    def _is_torn(self) -> bool:
        """Whether weights are those of a part of a step, which is never saved."""
        return self._torn or self._computation.in_step

    def _goes_on(self, callbacks: Callbacks, clock: Clock) -> bool:
        """Count the time until now; whether there is a next step."""
        self.seconds += clock.lap()
        if self.config.budget.seconds and self.process_group.size > 1:
            # Phases must be the same in all processes.
            seconds = torch.tensor(self.seconds, dtype=torch.float64, device=self.device)
            self.process_group.broadcast(seconds)
            self.seconds = float(seconds)
        stop = self._budget.is_over(self.seconds) or callbacks.should_stop()
        return self.step < self.config.max_steps and not self.process_group.any(stop, self.device)

    def _close_budget(self, callbacks: Callbacks, trained: bool) -> None:
        """With a budget, the last validation, if there was a step."""
        if not self.config.budget.seconds or self._validation_is_due():
            return
        if not trained:
            callbacks.notice("no step was taken; if the time is used up, raise budget.seconds")
            return
        if not self._budget.validating and self.process_group.is_main:
            self.save()  # first: nobody knows how long the validation will take
        self._validate(callbacks)

    def _after_step(self, callbacks: Callbacks, clock: Clock, means: RunningMeans) -> RunningMeans:
        """Whatever is due: report, validation, checkpoint. The host waits for the device first."""
        report = self.step % self.config.log_every == 0
        validation, save = self._validation_is_due(), self._save_is_due(clock)
        if report or validation or save:
            self.check_finite()
        self.seconds += clock.lap()
        if report:
            callbacks.progress(self._progress(means))
            means = RunningMeans()
        if validation:
            self._validate(callbacks)
        if save:
            start = time.monotonic()
            self.save()
            self._budget.saving = time.monotonic() - start
            clock.saved()
        return means

    def _progress(self, means: RunningMeans) -> Progress:
        most = self.config.max_steps
        return means.progress(
            step=self.step,
            expected_steps=self._budget.expected_steps(self.step, self.seconds, most),
            learning_rate=self.phase.learning_rate,
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
        start = time.monotonic()
        validation = self.validator.measure(self.network, self.ema, self.step, self.best_mel)
        if validation.best:
            self.best_mel = validation.mel
            info = ModelInfo(name=self.run_folder.name, license="unreleased", training=self.facts())
            path = self.run_folder / "best.safetensors"
            save_model(path, self.ema, self.network.config, info)
        callbacks.validation(validation)
        self._budget.validating = time.monotonic() - start

    # ---- a step ---------------------------------------------------------------------------

    def train_step(self, wave: Tensor) -> dict[str, Tensor]:
        """One step on waves (B, 1, N): discriminators first, then the generator against them.

        Returns losses and gradient norms by name, scalars on the device. Those of a GPU may be
        overwritten by the next step.

        Raises:
            NonFiniteError: a loss or gradient is not finite; the step that had it is not taken. On
                a GPU only `check_finite` notices.
        """
        phase = phase_at(self.config, self.step, self.seconds)
        if phase.decoder_only and not self.phase.decoder_only:
            self._freeze_averages()
        self.phase = phase
        inputs = self._input_maker.inputs(
            wave,
            self.step,
            adversarial=phase.adversarial,
            predicts_f0=self.network.predicts_f0,
        )
        for optimizers in self.optimizers.values():
            optimizers.set_rate(phase.learning_rate)
        values = self._run_step(self._kind(phase), inputs)
        self.step += 1
        self._unchecked += 1
        every = self.config.codebook.replace_dead_codes_every
        usage_is_due = self.step % (every or USAGE_WINDOW) == 0
        if usage_is_due or self.device.type == "cpu":
            self.check_finite()
        if usage_is_due:
            counts = self.usage.check()
            if every and not phase.decoder_only:
                searched = self._computation.searched
                self.usage.replace_dead_codes(counts, searched, self.ema, self.process_group)
        return values

    def check_finite(self) -> None:
        """Make sure that every step was taken; the host waits for the device.

        Raises:
            NonFiniteError: one was not, because a loss or gradient is not finite. The state is that
                before it, and so is `step`.
        """
        failed, torn, completed = self._computation.outcome.read()
        self._computation.outcome.reset()
        self.step -= self._unchecked - completed
        self._unchecked = 0
        self._torn |= torn
        if failed:
            raise NonFiniteError("the loss or its gradient is not finite")

    def _kind(self, phase: Phase) -> StepKind:
        every = self.config.adversarial.every
        return StepKind(
            adversarial=phase.adversarial,
            discriminators=phase.adversarial and self.step % every == 0,
            decoder_only=phase.decoder_only,
        )

    @torch.no_grad()
    def _freeze_averages(self) -> None:
        """Give encoder and quantizer their averages, which are exported: the decoder is to learn
        from the tokens of these."""
        for name, value in self.network.state_dict().items():
            if name.startswith(("encoder.", "quantizer.")):
                value.copy_(self.ema[name])


def _local_items(process_group: ProcessGroup, batch_size: int) -> range:
    try:
        return process_group.local_items(batch_size)
    except ValueError as error:
        raise ConfigError(str(error)) from error
