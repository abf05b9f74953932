"""What `eval` and `compare` have in common on the command line. Loads no torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import click

from bigcodec_cli.evaluation.config import parse_measures

_T = TypeVar("_T")


def parsed(parse: Callable[[str], Sequence[_T]], text: str, option: str) -> tuple[_T, ...]:
    """An option's text, parsed.

    Raises:
        click.BadParameter: in place of the ValueError of `parse`.
    """
    try:
        return tuple(parse(text))
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint=option) from error


def _measures(_ctx: click.Context, _param: click.Parameter, value: str) -> tuple[str, ...]:
    return parsed(parse_measures, value, "--measures")


measures_option = click.option(
    "--measures",
    metavar="KEY,...",
    default="",
    callback=_measures,
    help="Measures of quality to take, such as pesq_wb,stoi. Default: all that are installed.",
)
