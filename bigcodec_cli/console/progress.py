"""Progress bars on stderr: over the seconds of long audio, or over the files of a batch."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator

from bigcodec_cli.console.messages import visible

_LONG_SECONDS = 60
_SECONDS_SHAPE = "{desc}: {percentage:3.0f}%|{bar}| {n:.0f}/{total:.0f} s of audio [{remaining}]"

Advance = Callable[[float], None]


@contextlib.contextmanager
def seconds_bar(total: float, label: str, shown: bool = True) -> Iterator[Advance]:
    """A bar over seconds of audio, for files long enough to wait for, if stderr is a terminal.

    Gives a function to call with the seconds done since its last call.
    """
    with _bar(total, label, shown and total >= _LONG_SECONDS, "s", _SECONDS_SHAPE) as advance:
        yield advance


@contextlib.contextmanager
def files_bar(total: int, label: str, shown: bool = True) -> Iterator[Advance]:
    """A bar over the files of a batch, if stderr is a terminal."""
    with _bar(total, label, shown and total > 1, "file", None) as advance:
        yield advance


@contextlib.contextmanager
def _bar(total: float, label: str, shown: bool, unit: str, shape: str | None) -> Iterator[Advance]:
    if not shown or not sys.stderr.isatty():
        yield lambda _: None
        return
    from tqdm import tqdm

    name = visible(label)
    with tqdm(
        total=total, desc=name, file=sys.stderr, leave=False, unit=unit, bar_format=shape
    ) as bar:

        def advance(done: float) -> None:
            bar.update(done)

        yield advance
