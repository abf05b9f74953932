"""Options that `eval` and `compare` share. Loads no torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from bigcodec_cli.evaluation.config import parse_metrics

_T = TypeVar("_T")
_Command = TypeVar("_Command", bound=Callable[..., Any])


def list_option(
    name: str, old_name: str, parse: Callable[[str], Sequence[_T]], metavar: str, help: str
) -> Callable[[_Command], _Command]:
    """An option whose text is parsed as a list; `old_name` is a hidden alias of it."""

    def keep(context: click.Context, _param: click.Parameter, value: str) -> None:
        context.meta[old_name] = value

    def parsed(context: click.Context, _param: click.Parameter, value: str) -> tuple[_T, ...]:
        try:
            return tuple(parse(value or context.meta.get(old_name, "")))
        except ValueError as error:
            raise click.BadParameter(str(error)) from error

    def decorate(command: _Command) -> _Command:
        alias = click.option(
            old_name, hidden=True, is_eager=True, expose_value=False, default="", callback=keep
        )
        return click.option(name, metavar=metavar, default="", callback=parsed, help=help)(
            alias(command)
        )

    return decorate


recognizer_option = click.option(
    "--asr",
    "recognizer",
    metavar="DIR",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of a speech recognizer, of transformers or faster-whisper: adds wer.",
)

metrics_option = list_option(
    "--metrics",
    "--measures",
    parse_metrics,
    "KEY,...",
    "Quality metrics to compute, such as pesq_wb,stoi. [default: all that are installed]",
)
