"""Progress bars on stderr: for the seconds of long audio, and for the files of a batch."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from bigcodec_cli.console.messages import visible

_LONG_SECONDS = 60
_LONGEST_LABEL = 20
_USUAL_COLUMNS = 80
_SECONDS_SHAPE = "{percentage:3.0f}%|{bar}| {n:.0f}/{total:.0f} s of audio [{remaining}]"
_BATCH_SHAPE = "{percentage:3.0f}%|{bar}| {desc} [{remaining}]"
_FILES_SHAPE = "{percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} files [{remaining}]"

Advance = Callable[[float], None]


@contextlib.contextmanager
def seconds_bar(total: float, label: str, enabled: bool = True) -> Iterator[Advance]:
    """A bar over seconds of audio, shown for at least 60 s if stderr is a terminal.

    Yields a function to call with the number of seconds done since its last call.
    """
    with _bar(total, label, enabled and total >= _LONG_SECONDS, _SECONDS_SHAPE) as bar:
        yield (lambda _: None) if bar is None else bar.update


@contextlib.contextmanager
def files_bar(total: int, label: str, enabled: bool = True) -> Iterator[Advance]:
    """A bar over the files of a batch, shown for several files if stderr is a terminal."""
    with _bar(total, label, enabled and total > 1, _FILES_SHAPE) as bar:
        yield (lambda _: None) if bar is None else bar.update


class BatchBar:
    """A bar over a batch of files that also moves within them: see `batch_bar`."""

    def __init__(self, bar: Any, files: int) -> None:
        self._bar, self._files = bar, files
        self._done, self._seconds = 0, 0.0

    def advance(self, weight: float, seconds: float = 0.0, files: int = 0) -> None:
        """So much more of the total is done, with seconds of audio and whole files."""
        self._done += files
        self._seconds += seconds
        if self._bar is not None:
            audio = f", {clock_text(self._seconds)} of audio" if self._seconds else ""
            text = f"{self._done}/{self._files} files{audio}"
            self._bar.set_description_str(text, refresh=False)
            self._bar.update(weight)


@contextlib.contextmanager
def batch_bar(total: float, files: int, label: str, enabled: bool = True) -> Iterator[BatchBar]:
    """A bar over several files of a `total` weight, shown if stderr is a terminal."""
    text = f"0/{files} files"
    with _bar(total, label, enabled and files > 1, _BATCH_SHAPE, text) as bar:
        yield BatchBar(bar, files)


def clock_text(seconds: float) -> str:
    """Seconds as 0:42 or 1:02:03."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def as_many_as_fit(parts: Sequence[str], width: int) -> str:
    """The first of some parts, joined by commas, in `width` columns: none of them is cut."""
    text = ""
    for part in parts:
        longer = f"{text}, {part}" if text else part
        if len(longer) > width:
            break
        text = longer
    return text


def stderr_columns() -> int:
    """The width of the terminal that stderr is, or else what the environment says."""
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns or _USUAL_COLUMNS
    except (OSError, ValueError):
        return shutil.get_terminal_size().columns


@contextlib.contextmanager
def _bar(
    total: float, label: str, enabled: bool, shape: str, text: str | None = None
) -> Iterator[Any]:
    """A bar of tqdm, None if there is to be none; `text` stands in the place of {desc}."""
    if not enabled or not sys.stderr.isatty():
        yield None
        return
    from tqdm import tqdm

    name = visible(label)
    if len(name) > _LONGEST_LABEL:
        name = f"{name[: _LONGEST_LABEL // 2 - 1]}…{name[-_LONGEST_LABEL // 2 :]}"
    name = name.replace("{", "{{").replace("}", "}}")
    with tqdm(
        total=total,
        desc=text,
        file=sys.stderr,
        leave=False,
        dynamic_ncols=True,
        bar_format=f"{name} {shape}",
    ) as bar:
        yield bar
