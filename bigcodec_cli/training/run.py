"""Execution of a training plan: data, trainer, log, signals."""

from __future__ import annotations

import dataclasses
import functools
import shlex
import signal
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import torch

from bigcodec_cli.console.messages import CliError, note
from bigcodec_cli.files.reporting import note_unread
from bigcodec_cli.pages.charts import count_text
from bigcodec_cli.training.cost import step_cost
from bigcodec_cli.training.distributed import agreed, joined, leave, main_process_first
from bigcodec_cli.training.initial_weights import start_from
from bigcodec_cli.training.log import RunLog
from bigcodec_cli.training.plan import Plan
from bigcodec_cli.training.run_folder import run_folder
from bigcodec_cli.training.summary import write_summary
from bigcodec_models.arrays import Wave
from bigcodec_models.config import SAMPLE_RATE
from bigcodec_models.data.crop_choice import Augmentation
from bigcodec_models.data.crops import Clip, excerpts, scan, split
from bigcodec_models.data.device_crops import DeviceCrops
from bigcodec_models.data.sources import crop_source
from bigcodec_models.errors import DataError, ModelFileError, ModelsError
from bigcodec_models.training.checkpoint import set_aside_newer
from bigcodec_models.training.config import CropConfig, ValidationConfig
from bigcodec_models.training.events import Callbacks
from bigcodec_models.training.process_group import ProcessGroup
from bigcodec_models.training.trainer import Trainer
from bigcodec_models.training.validation import Validator


def carry_out(plan: Plan, device: str, seconds: float | None) -> None:
    """Train as planned until `max_steps`, a signal, or `seconds` have passed.

    Raises:
        CliError: the data, the initial weights or the state of the run cannot be used, a loss is
            not finite, or a file cannot be written.
        SystemExit: a signal stopped the run, which is saved. One of several processes ends here.
    """
    stop = StopRequest(seconds)
    start = time.monotonic()
    try:
        with joined(device) as (process_group, chosen):
            plan = dataclasses.replace(plan, run=agreed(process_group, plan.run))
            with run_folder(plan.run, process_group) as keep:
                trainer = _prepared(plan, chosen, process_group)
                if plan.train.budget.seconds:
                    trainer.seconds += time.monotonic() - start
                _train(plan, trainer, stop, keep)
            _note(trainer, f"saved at step {trainer.step} in {plan.run}")
            _say_what_next(plan, trainer)
    except ModelsError as error:
        raise CliError(str(error)) from error
    except OSError as error:
        raise CliError(f"{plan.run}: {error.strerror or error}") from error
    code = 128 + stop.received if stop.received else 0
    if process_group.size > 1:
        leave(code)
    if code:
        raise SystemExit(code)


def _prepared(plan: Plan, device: str, process_group: ProcessGroup) -> Trainer:
    with main_process_first(process_group):
        trainer = _make_trainer(plan, device, process_group)
        _begin(plan, trainer)
        if process_group.is_main:
            plan.save()
    return trainer


def _note(trainer: Trainer, message: str) -> None:
    """Print a line of information, from the main process only."""
    if trainer.process_group.is_main:
        note(message)


def _say_what_next(plan: Plan, trainer: Trainer) -> None:
    run, name = shlex.quote(str(plan.run)), shlex.quote(f"{plan.run.name}.safetensors")
    if trainer.step < plan.train.max_steps:
        _note(trainer, f"to go on: bigcodec train --out {run}")
    if trainer.step:
        _note(trainer, f"next: bigcodec export {run} -o {name}")


class StopRequest:
    """Whether to stop: after Ctrl-C or SIGTERM, or `seconds` after the object was created."""

    def __init__(self, seconds: float | None) -> None:
        self._end = None if seconds is None else time.monotonic() + seconds
        self.received = 0
        """The number of the received signal, or 0."""

    def listen(self) -> None:
        """From now on the two signals request a stop; before, they end the process at once."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._remember)

    def _remember(self, number: int, _frame: FrameType | None) -> None:
        self.received = number

    def __call__(self) -> bool:
        return bool(self.received) or (self._end is not None and time.monotonic() >= self._end)


def _train(plan: Plan, trainer: Trainer, stop: StopRequest, keep: Callable[[], None]) -> None:
    start = trainer.step
    if trainer.device.type == "cpu" and trainer.process_group.is_main and not start:
        _say_cost(plan, trainer)
    stop.listen()
    try:
        _run(plan, trainer, stop)
    finally:
        if trainer.step > start:
            keep()


def _run(plan: Plan, trainer: Trainer, stop: StopRequest) -> None:
    steps = plan.train.max_steps
    pace = (
        _Pace(trainer, plan)
        if trainer.device.type == "cpu" and trainer.process_group.is_main
        else stop
    )
    if not trainer.process_group.is_main:
        trainer.run(Callbacks(should_stop=stop))
        return
    with RunLog(plan.run, max_steps=steps, config=plan.to_json(), start=trainer.step) as log:
        callbacks = Callbacks(
            progress=log.progress,
            validation=log.validation,
            notice=log.note,
            should_stop=lambda: pace() or stop(),
        )
        trainer.run(callbacks)
    if trainer.step:
        note(f"summary: {write_summary(plan.run)}")


def _say_cost(plan: Plan, trainer: Trainer) -> None:
    """Before the first of many steps on a CPU: what each of them will take."""
    cost = step_cost(trainer)
    size = f"{count_text(float(f'{cost.parameters:.3g}'))} parameters"
    memory = f"{cost.memory / 1e9:.1f} GB of memory"
    time = f"{cost.seconds:.2g} s" if cost.seconds < 90 else f"{cost.seconds / 60:.0f} min"
    note(f"{plan.preset} has {size}: on this CPU about {memory} and {time} a step{_advice(plan)}")


def _advice(plan: Plan) -> str:
    return "" if "lite" in plan.preset else "; --preset lite is made for a CPU"


class _Pace:
    """Prints once, after the third step, how long the run will take on this CPU."""

    def __init__(self, trainer: Trainer, plan: Plan) -> None:
        self._trainer, self._plan = trainer, plan
        self._times: list[float] = []

    def __call__(self) -> bool:
        self._times.append(time.monotonic())
        if len(self._times) == 4 and not self._plan.train.budget.seconds:
            each = (self._times[3] - self._times[1]) / 2
            left = (self._plan.train.max_steps - self._trainer.step) * each / 3600
            advice = _advice(self._plan)
            note(f"about {each:.2g} s a step on this CPU, {_hours(left)} to max_steps{advice}")
        return False


def _hours(hours: float) -> str:
    return f"{hours / 24:.0f} days" if hours >= 72 else f"{hours:.1f} hours"


def _make_trainer(plan: Plan, device: str, process_group: ProcessGroup) -> Trainer:
    train = plan.train
    training, held_out = _load_data(plan, process_group)
    crops, validation = train.crops, train.validation
    crop = round(crops.seconds * SAMPLE_RATE) // plan.model.hop * plan.model.hop
    noise = _scan(plan, plan.noise) if plan.noise is not None else []
    source = crop_source(
        training,
        crop=crop,
        seed=train.seed,
        augmentation=_augmentation(crops),
        noise=noise,
        device=torch.device(device),
        device_gigabytes=crops.device_gigabytes,
        failed=note_unread,
    )
    if isinstance(source, DeviceCrops) and process_group.is_main:
        note(f"the speech is kept on {device}: {source.gigabytes:.1f} GB")
    validator = Validator(_validation_clips(held_out, validation), torch.device(device))
    return Trainer(plan.model, train, source, plan.run, device, validator, process_group)


def _augmentation(crops: CropConfig) -> Augmentation:
    return Augmentation(
        gain_db=crops.gain_db,
        noise_probability=crops.noise_probability,
        noise_snr_db=(crops.noise_snr_db[0], crops.noise_snr_db[1]),
        speed_probability=crops.speed_probability,
        max_speed=crops.max_speed,
        equalizer_probability=crops.equalizer_probability,
        equalizer_db=crops.equalizer_db,
    )


def _validation_clips(clips: list[Clip], config: ValidationConfig) -> list[tuple[str, Wave]]:
    """The excerpts to validate on; none, with a line that says so, if no clip can be read."""
    try:
        return excerpts(clips, config.clips, config.seconds, note_unread)
    except DataError as error:
        note(f"{error}; no clip to validate on can be read: the run goes without validation")
        return []


def _load_data(
    plan: Plan, process_group: ProcessGroup
) -> tuple[list[tuple[list[Clip], float | None]], list[Clip]]:
    """Training clips with their fractions of the crops, and validation clips."""
    training: list[tuple[list[Clip], float | None]] = []
    held_out: list[Clip] = []
    for folder, weight in plan.data:
        clips = _scan(plan, folder)
        if plan.validation is None:
            clips, held = split(clips, plan.train.validation.fraction)
            held_out += held
        training.append((clips, weight))
    if plan.validation is not None:
        held_out = _scan(plan, plan.validation)
    clips = [clip for clips, _ in training for clip in clips]
    if process_group.is_main:
        note(
            f"training on {len(clips)} files, {sum(clip.seconds for clip in clips) / 3600:.2f} "
            f"hours; validating on excerpts of {len(held_out)} files"
        )
    return training, held_out


def _scan(plan: Plan, folder: Path) -> list[Clip]:
    return scan(folder, plan.run / "index.json", note_unread)


def _begin(plan: Plan, trainer: Trainer) -> None:
    """Resume the run, or start it from the weights that the plan names, or from random ones."""
    if trainer.resume(_note_damage(trainer)):
        if trainer.process_group.is_main:
            set_aside_newer(plan.run, trainer.step)
        _note(trainer, f"resumed {plan.run} at step {trainer.step}")
    elif plan.init is not None:
        start_from(plan.init, trainer, functools.partial(_note, trainer))
        _note(trainer, f"new run in {plan.run}, from {plan.init}")
    else:
        _note(trainer, f"new run in {plan.run}")


def _note_damage(trainer: Trainer) -> Callable[[ModelFileError], None]:
    return lambda error: _note(trainer, f"{error}; the checkpoint before it is used")
