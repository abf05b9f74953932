"""What the user sees on stderr."""

from __future__ import annotations

import sys


class CliError(Exception):
    """Something failed; the message is one line that says what, where and what to do."""


def visible(text: str) -> str:
    """Text from outside (file names, tags) as it may reach a terminal: control characters and
    bytes that are no UTF-8 are written out."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def error_line(message: str) -> None:
    """One line on stderr that says what failed."""
    note(f"bigcodec: {message}")


def note(message: str) -> None:
    """A line of information on stderr, above a progress bar if there is one."""
    bars = sys.modules.get("tqdm")
    if bars is not None:
        bars.tqdm.write(visible(message), file=sys.stderr)
    else:
        print(visible(message), file=sys.stderr)
