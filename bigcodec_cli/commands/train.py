"""bigcodec train"""

from __future__ import annotations

import dataclasses
import json
import signal
import time
import tomllib
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import click

from bigcodec_cli.output import CliError, note

if TYPE_CHECKING:
    from bigcodec_models.training.config import TrainConfig
    from bigcodec_models.training.data import Clip
    from bigcodec_models.training.loop import Progress


@click.command()
@click.option(
    "--data",
    "folders",
    metavar="DIR",
    multiple=True,
    required=True,
    type=click.Path(path_type=Path),
    help="Folder of audio, searched through; may be given again.",
)
@click.option("--preset", required=True, help="Model to train: lite, bigcodec-base, toy, ...")
@click.option(
    "--out",
    "run",
    metavar="RUN",
    required=True,
    type=click.Path(path_type=Path),
    help="Folder of the run. A run that is there goes on where it stood.",
)
@click.option("--set", "settings", metavar="KEY=VALUE", multiple=True, help="Change a setting.")
@click.option(
    "--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True
)
def command(
    folders: tuple[Path, ...], preset: str, run: Path, settings: tuple[str, ...], device: str
) -> None:
    """Train a model on random crops of speech; mel and VQ losses.

    Saves every few minutes and at the end; Ctrl-C and SIGTERM save too. Settings and their
    defaults are listed in docs/training.md.
    """
    from bigcodec_models.config import PRESETS, ConfigError, build_dataclass
    from bigcodec_models.training.config import recipe_for

    if preset not in PRESETS:
        raise click.UsageError(f"no preset {preset!r}; there are: {', '.join(PRESETS)}")
    model = PRESETS[preset]
    try:
        recipe = dataclasses.asdict(recipe_for(model)) | dict(map(_setting, settings))
        config = build_dataclass(type(recipe_for(model)), recipe)
    except ConfigError as error:
        raise click.UsageError(str(error)) from error
    clips = _scan(folders)
    _train(model, config, clips, run, device)


def _setting(text: str) -> tuple[str, Any]:
    """A KEY=VALUE pair, the value read as TOML, or as a string if that fails."""
    name, equals, value = text.partition("=")
    if not equals:
        raise click.UsageError(f"--set {text}: must be KEY=VALUE")
    try:
        return name, tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return name, value


def _scan(folders: tuple[Path, ...]) -> list[Clip]:
    from bigcodec_models.training.data import DataError, scan

    clips: list[Clip] = []
    for folder in folders:
        try:
            clips += scan(folder, lambda path, why: note(f"skipped {path}: {why}"))
        except DataError as error:
            raise CliError(str(error)) from error
    hours = sum(clip.seconds for clip in clips) / 3600
    note(f"{len(clips)} files, {hours:.2f} hours")
    return clips


def _train(model: Any, config: TrainConfig, clips: list[Clip], run: Path, device: str) -> None:
    from bigcodec_cli.loading import choose_device
    from bigcodec_models.config import SAMPLE_RATE
    from bigcodec_models.model_file import ModelFileError
    from bigcodec_models.training.data import CropSource, DataError
    from bigcodec_models.training.loop import Trainer, TrainingError

    crop = round(config.crop_seconds * SAMPLE_RATE) // model.hop * model.hop
    source = CropSource(clips, crop=crop, seed=config.seed, gain_db=config.gain_db)
    try:
        run.mkdir(parents=True, exist_ok=True)
        trainer = Trainer(model, config, source, run, choose_device(device))
        note(f"resumed at step {trainer.step}" if trainer.resume() else f"new run in {run}")
        (run / "config.json").write_text(json.dumps(dataclasses.asdict(config), indent=1) + "\n")
        with (run / "log.jsonl").open("a", encoding="utf-8") as log:
            trainer.run(lambda progress: _report(progress, log.write), _stop_on_signal())
    except (TrainingError, ModelFileError, DataError) as error:
        raise CliError(str(error)) from error
    except OSError as error:
        raise CliError(f"{run}: cannot be written: {error.strerror or error}") from error
    note(f"saved at step {trainer.step} in {run}")


def _stop_on_signal() -> Callable[[], bool]:
    """Ctrl-C and SIGTERM end the run after the step that is being done."""
    received: list[int] = []

    def remember(number: int, _frame: FrameType | None) -> None:
        received.append(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, remember)
    return lambda: bool(received)


def _report(progress: Progress, write: Callable[[str], Any]) -> None:
    row = {"time": round(time.time(), 1), **dataclasses.asdict(progress)}
    write(json.dumps(row) + "\n")
    losses = " ".join(f"{name} {value:.4f}" for name, value in progress.losses.items())
    note(
        f"step {progress.step}: {losses} grad {progress.gradient_norm:.1f} "
        f"lr {progress.learning_rate:.2e} codes {progress.codes_used} "
        f"{progress.steps_per_second:.2f} steps/s"
    )
