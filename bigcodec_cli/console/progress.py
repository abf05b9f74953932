"""Progress bars on stderr: for the seconds of long audio, and for the files of a batch."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator

from bigcodec_cli.console.messages import visible

_LONG_SECONDS = 60
_SECONDS_SHAPE = "{desc}: {percentage:3.0f}%|{bar}| {n:.0f}/{total:.0f} s of audio [{remaining}]"

Advance = Callable[[float], None]


@contextlib.contextmanager
def seconds_bar(total: float, label: str, enabled: bool = True) -> Iterator[Advance]:
    """A bar over seconds of audio, shown for at least 60 s if stderr is a terminal.

    Yields a function to call with the number of seconds done since its last call.
    """
    with _bar(total, label, enabled and total >= _LONG_SECONDS, "s", _SECONDS_SHAPE) as advance:
        yield advance


@contextlib.contextmanager
def files_bar(total: int, label: str, enabled: bool = True) -> Iterator[Advance]:
    """A bar over the files of a batch, shown for several files if stderr is a terminal."""
    with _bar(total, label, enabled and total > 1, "file", None) as advance:
        yield advance


@contextlib.contextmanager
def _bar(
    total: float, label: str, enabled: bool, unit: str, shape: str | None
) -> Iterator[Advance]:
    if not enabled or not sys.stderr.isatty():
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
