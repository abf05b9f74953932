"""Messages on stderr."""

from __future__ import annotations

import sys

NEEDS_TORCH = (
    "this needs torch, which is not installed: pip install bigcodec-cli (without CUDA after "
    "pip install torch --index-url https://download.pytorch.org/whl/cpu)"
)
WITH_TORCH = ("torch", "safetensors", "numba")
"""Packages without which that is said: an install without torch leaves them out."""


class CliError(Exception):
    """A command failed; the message is one line that names the cause and the cure."""


def visible(text: str) -> str:
    """Text from files (names, tags) made safe for a terminal: control characters and bytes that are
    not UTF-8 are replaced by escapes."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def error_line(message: str) -> None:
    """Print an error as one line on stderr."""
    note(f"bigcodec: {message}")


def note(message: str) -> None:
    """Print a line of information on stderr, above a progress bar if there is one."""
    bars = sys.modules.get("tqdm")
    if bars is not None:
        bars.tqdm.write(visible(message), file=sys.stderr)
    else:
        print(visible(message), file=sys.stderr)
