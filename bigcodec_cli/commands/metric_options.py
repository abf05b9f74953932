"""Options whose values are lists, shared by `eval` and `compare`. Loads no torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from bigcodec_cli.evaluation.config import parse_metrics

_Command = TypeVar("_Command", bound=Callable[..., Any])


def list_option(
    name: str, parse: Callable[[str], Sequence[Any]], metavar: str, help: str
) -> Callable[[_Command], _Command]:
    """An option whose text is parsed as a list; a ValueError of `parse` is a usage error."""

    def parsed(_context: click.Context, _param: click.Parameter, value: str) -> tuple[Any, ...]:
        try:
            return tuple(parse(value))
        except ValueError as error:
            raise click.BadParameter(str(error)) from error

    return click.option(name, metavar=metavar, default="", callback=parsed, help=help)


metrics_option = list_option(
    "--metrics",
    parse_metrics,
    "KEY,...",
    "Quality metrics to compute, such as pesq_wb,stoi. [default: all that are installed]",
)
