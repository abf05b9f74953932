"""Standard input and output, which whoever starts the command may have closed."""

from __future__ import annotations

import io
import os
import sys
from typing import BinaryIO

from bigcodec_cli.console.messages import CliError

_closed: set[str] = set()


def repair_standard_streams() -> None:
    """Put the null device in the place of closed standard streams, and let the others print any
    text, whatever their encoding.

    Otherwise the next file that is opened would get the number of standard output or error, and
    what a library prints would go into it.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free
        stream = getattr(sys, name)
        if stream is None:
            _closed.add(name)
            setattr(sys, name, open(os.devnull, "w" if number else "r", encoding="utf-8"))
        elif number and isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def standard_input() -> BinaryIO:
    """Standard input as bytes.

    Raises:
        CliError: it is closed.
    """
    if "stdin" in _closed:
        raise CliError("standard input is closed; name a file in place of '-'")
    return sys.stdin.buffer


def standard_output() -> BinaryIO:
    """Standard output as bytes.

    Raises:
        CliError: it is closed.
    """
    if "stdout" in _closed:
        raise CliError("standard output is closed; name a file with -o")
    return sys.stdout.buffer
