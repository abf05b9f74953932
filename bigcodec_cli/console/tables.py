"""Tables on stdout."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence

from bigcodec_cli.console.messages import visible

_NARROWEST = 12
_UNLIMITED = 10_000
"""Columns of what is no terminal: whoever reads it does not want lines wrapped."""


def print_table(
    titles: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    right: Sequence[str] = (),
    folding: Sequence[str] = (),
) -> None:
    """Print rows under titles, those of `right` aligned to the right. On a terminal the columns of
    `folding` may take several lines; the others never break."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for title in titles:
        table.add_column(
            title,
            justify="right" if title in right else "left",
            no_wrap=title not in folding,
            overflow="fold",
            min_width=_NARROWEST if title in folding else None,
        )
    for row in rows:
        table.add_row(*map(visible, row))
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else _UNLIMITED
    Console(width=width, markup=False, highlight=False).print(table)
