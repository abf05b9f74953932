"""Tables of text for terminals, split where they are too wide."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

_GAP = "  "
Rows = Sequence[Sequence[str]]


def table_text(rows: Rows, width: int, fixed: int) -> str:
    """Rows, the first of which is the head, as a table of at most `width` columns of characters.

    Cells are broken into lines where that is needed. If the table is still too wide, it becomes
    several below each other, which all begin with the `fixed` first columns; a single column may
    then be wider than `width` leaves.
    """
    whole = _aligned([[[cell] for cell in row] for row in rows])
    if _width_of(whole) <= width:
        return whole
    broken = [
        [_broken(cell, is_whole=n < fixed and row is not rows[0]) for n, cell in enumerate(row)]
        for row in rows
    ]
    parts = []
    for columns in _blocks(broken, width, fixed):
        chosen = [*range(fixed), *columns]
        parts.append(_aligned([[row[n] for n in chosen] for row in broken]))
    return "\n".join(parts)


def _broken(cell: str, is_whole: bool) -> list[str]:
    """The lines of a cell: an interval goes below its mean, words of a head below each other;
    the first columns are broken at commas alone."""
    if is_whole:
        return cell.replace(", ", ",\n").split("\n")
    value, bracket, rest = cell.partition(" [")
    if not bracket:
        return cell.split(" ")
    interval, _, files = rest.partition("]")
    return [value + files, interval.replace(", ", "–")]


def _blocks(rows: Sequence[Sequence[Sequence[str]]], width: int, fixed: int) -> list[list[int]]:
    """The columns of each table, as many as fit."""
    widths = [
        max(len(line) for cell in column for line in cell) for column in zip(*rows, strict=True)
    ]
    start = sum(widths[:fixed]) + len(_GAP) * (fixed - 1)
    blocks: list[list[int]] = [[]]
    used = start
    for column in range(fixed, len(widths)):
        needed = len(_GAP) + widths[column]
        if used + needed > width and blocks[-1]:
            blocks.append([])
            used = start
        blocks[-1].append(column)
        used += needed
    return blocks


def _aligned(rows: Sequence[Sequence[Sequence[str]]]) -> str:
    """Rows of cells of one or more lines as columns of equal width: the first to the left, the
    others to the right; numbers stand in the first line of a row, names of the head in the last."""
    widths = [
        max(len(line) for cell in column for line in cell) for column in zip(*rows, strict=True)
    ]
    lines = []
    for number, row in enumerate(rows):
        height = max(map(len, row))
        cells = [[*[""] * (height - len(c)), *c] if number == 0 else c for c in row]
        for parts in itertools.zip_longest(*cells, fillvalue=""):
            first, *others = (p.rjust(w) for p, w in zip(parts, widths, strict=True))
            line = _GAP.join([parts[0].ljust(len(first)), *others])
            lines.append(line.rstrip())
    return "\n".join(lines) + "\n"


def _width_of(text: str) -> int:
    return max(map(len, text.splitlines()))
