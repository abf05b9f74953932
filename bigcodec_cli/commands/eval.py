"""bigcodec eval"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bigcodec_cli.commands.completing import complete_models
from bigcodec_cli.commands.metric_options import list_option, metrics_option, recognizer_option
from bigcodec_cli.commands.options import device_option, engine_option
from bigcodec_cli.console.messages import CliError, error_line, note, visible
from bigcodec_cli.evaluation.config import (
    PAGES,
    BaselineError,
    BaselineName,
    EvalConfig,
    model_name,
    parse_baselines,
    with_recognizer,
)
from bigcodec_cli.files.atomic import atomic_output, refuse_existing
from bigcodec_cli.files.inputs import require_audio_folders
from bigcodec_cli.model_store.loading import choose_device
from bigcodec_cli.model_store.store import default_model, model_path
from bigcodec_models.config import F0_MODES

if TYPE_CHECKING:
    from bigcodec_cli.evaluation.results import Evaluation

_LEAST_COLUMNS = 60
_OUTPUT = click.Path(path_type=Path)


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "--model",
    "models",
    metavar="NAME|PATH",
    multiple=True,
    help="Codec model; may be given more than once. [default: see 'models list']",
    shell_complete=complete_models,
)
@click.option(
    "--f0",
    "f0_modes",
    type=click.Choice(F0_MODES),
    multiple=True,
    help="Code F0 as one more token a frame, or leave it out, for the decoder to predict; given "
    "twice, each model is evaluated in both modes. 'models show' lists what a model knows; its "
    "first is the default.",
)
@list_option(
    "--baselines",
    "--against",
    parse_baselines,
    "CODEC:RATE,...",
    "Other codecs: opus:KBPS, codec2:MODE, encodec:KBPS, dac:KBPS.",
)
@metrics_option
@recognizer_option
@click.option(
    "--report", metavar="FILE", type=_OUTPUT, help="An HTML page with tables, charts and players."
)
@click.option(
    "--page",
    type=click.Choice(PAGES),
    default=PAGES[0],
    show_default=True,
    help="What the page has: all, or for listeners the clips first and then the means.",
)
@click.option("--json", "as_json", metavar="FILE", type=_OUTPUT, help="All results as JSON.")
@click.option(
    "--csv", "as_csv", metavar="FILE", type=_OUTPUT, help="A row per file and codec, as CSV."
)
@click.option(
    "--by",
    type=click.Choice(["folder", "prefix"]),
    default="folder",
    show_default=True,
    help="Groups: DIR's subfolders, or file names up to the first '-' or '_'.",
)
@click.option(
    "--players",
    metavar="N",
    type=click.IntRange(0, 200),
    default=8,
    show_default=True,
    help="Number of files with players on the page.",
)
@click.option(
    "--jobs",
    metavar="N",
    type=click.IntRange(1, 256),
    default=1,
    show_default=True,
    help="Number of processes. With several, they share the machine, and speeds are lower.",
)
@device_option
@engine_option
@click.option("-f", "--force", is_flag=True, help="Overwrite existing files.")
def command(
    folder: Path,
    models: tuple[str, ...],
    f0_modes: tuple[str, ...],
    baselines: tuple[BaselineName, ...],
    metrics: tuple[str, ...],
    recognizer: Path | None,
    report: Path | None,
    page: str,
    as_json: Path | None,
    as_csv: Path | None,
    by: str,
    players: int,
    jobs: int,
    device: str,
    engine: str,
    force: bool,
) -> None:
    """Evaluate models and other codecs on the speech in a folder.

    Codes every audio file to bytes on disk and back, and reports quality (PESQ, STOI, MCD, speaker
    similarity, ...) and bit rate, with 95 % bootstrap intervals. The metrics need the `eval` extra;
    those that are not installed are named and left out.
    """
    outputs = {"html": report, "json": as_json, "csv": as_csv}
    paths = {kind: path for kind, path in outputs.items() if path is not None}
    config = EvalConfig(
        models=_check_models(models),
        baselines=baselines,
        metrics=with_recognizer(metrics, recognizer),
        device=device,
        engine=engine,
        jobs=jobs,
        f0=tuple(dict.fromkeys(f0_modes)),
        recognizer=recognizer,
    )
    require_audio_folders([folder])
    _check_outputs(list(paths.values()), force)
    choose_device(device, engine)
    if report is not None:
        import jinja2  # noqa: F401  an install without it is to say so before hours of work
    with contextlib.ExitStack() as stack:
        files = {
            kind: stack.enter_context(atomic_output(path, overwrite=force))
            for kind, path in paths.items()
        }
        evaluation = _evaluate(folder, by, players if report else 0, config)
        _write(evaluation, files, page)
    if evaluation.is_incomplete:
        raise click.exceptions.Exit(1)


def _check_outputs(paths: list[Path], force: bool) -> None:
    if len(set(paths)) < len(paths):
        raise click.UsageError("--report, --json and --csv must name different files")
    for path in paths:
        if not path.parent.is_dir():
            raise CliError(f"{path}: its folder does not exist")
        refuse_existing(path, force)


def _evaluate(folder: Path, by: str, players: int, config: EvalConfig) -> Evaluation:
    from bigcodec_cli.evaluation.clips import choose_players, find_clips
    from bigcodec_cli.evaluation.run import evaluate

    clips, unread = find_clips(folder, by)
    try:
        return evaluate(folder, choose_players(clips, players), unread, config, note)
    except BaselineError as error:
        raise click.BadParameter(str(error), param_hint="--baselines") from error


def _check_models(models: tuple[str, ...]) -> tuple[str, ...]:
    """Models that are there, under different names; the default one if none is named."""
    models = models or (default_model(),)
    for model in models:
        model_path(model)
    names = [model_name(model) for model in models]
    if len(set(names)) < len(names):
        raise click.UsageError(f"models need different names: {', '.join(names)}")
    return models


def _write(evaluation: Evaluation, files: Mapping[str, Path], page: str) -> None:
    """Print the results, and write them to the file of each kind."""
    from bigcodec_cli.evaluation.report.exports import to_csv, to_json, to_text
    from bigcodec_cli.evaluation.report.html import to_html

    for name, reason in evaluation.unread.items():
        error_line(f"{name}: {reason}")
    width = max(_LEAST_COLUMNS, shutil.get_terminal_size().columns)
    click.echo("\n".join(map(visible, to_text(evaluation, width).split("\n"))), nl=False)
    formats: dict[str, Callable[[Evaluation], str]] = {
        "html": partial(to_html, page=page),
        "json": to_json,
        "csv": to_csv,
    }
    for kind, path in files.items():
        path.write_text(formats[kind](evaluation), encoding="utf-8")
