"""What the user sees on stderr, and how output files come into being."""

from __future__ import annotations

import contextlib
import os
import secrets
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

_T = TypeVar("_T")
_LONG_SECONDS = 60


class CliError(Exception):
    """Something failed; the message is one line that says what, where and what to do."""


def visible(text: str) -> str:
    """Text from outside (file names, tags) as it may reach a terminal: control characters and
    bytes that are no UTF-8 are written out."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def error_line(message: str) -> None:
    """One line on stderr that says what failed."""
    print(f"bigcodec: {visible(message)}", file=sys.stderr)


def note(message: str) -> None:
    """A line of information on stderr."""
    print(visible(message), file=sys.stderr)


@contextlib.contextmanager
def atomic_output(path: Path, *, overwrite: bool) -> Iterator[Path]:
    """A temporary path beside `path` to write to; it becomes `path` if no exception leaves.

    Raises:
        CliError: `path` exists and `overwrite` is false.
        OSError: the file cannot be written or renamed.
    """
    _refuse_existing(path, overwrite)
    temporary = path.with_name(f".{path.name[:40]}.{secrets.token_hex(4)}.tmp")
    try:
        yield temporary
        if overwrite:
            os.replace(temporary, path)
        else:
            _place_new(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _refuse_existing(path: Path, overwrite: bool) -> None:
    if path.is_dir():
        raise CliError(f"{path}: is a folder; name a file, or use --output-dir")
    if path.exists() and not path.is_file():
        raise CliError(f"{path}: is not a regular file and cannot be replaced by one")
    if not overwrite and os.path.lexists(path):
        raise CliError(f"{path}: already exists; use -f to overwrite it")


def _place_new(temporary: Path, path: Path) -> None:
    """Give the file its name, failing if the name was taken meanwhile."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise CliError(f"{path}: already exists; use -f to overwrite it") from None
    except OSError:  # a file system without hard links
        _refuse_existing(path, False)
        os.replace(temporary, path)


@contextlib.contextmanager
def seconds_bar(total: float, label: str) -> Iterator[Callable[[float], None]]:
    """A bar over seconds of audio, for files long enough to wait for, if stderr is a terminal.

    Gives a function to call with the seconds done since its last call.
    """
    if total < _LONG_SECONDS or not sys.stderr.isatty():
        yield lambda _: None
        return
    from tqdm import tqdm

    shape = "{desc}: {percentage:3.0f}%|{bar}| {n:.0f}/{total:.0f} s of audio [{remaining} left]"
    name = visible(label)
    with tqdm(total=total, desc=name, file=sys.stderr, leave=False, bar_format=shape) as bar:

        def advance(done: float) -> None:
            bar.update(done)

        yield advance


def progress(items: Iterable[_T], total: int, label: str) -> Iterable[_T]:
    """`items` with a progress bar on stderr, if that is a terminal."""
    if total < 2 or not sys.stderr.isatty():
        return items
    from tqdm import tqdm

    bar: Iterable[_T] = tqdm(items, total=total, desc=label, unit="file", file=sys.stderr)
    return bar
