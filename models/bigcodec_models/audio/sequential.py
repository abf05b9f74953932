"""Sound files as libsndfile reads them, with the words of the system where that cannot."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import platform
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import soundfile

_MOST_TRIED, _TRIED_AT_ONCE = 1 << 24, 1 << 20
"""Bytes that are read to learn why a file cannot be opened, unless the system is to blame."""
_lock = threading.Lock()
_inside = 0
_loud: int | None = None


class SourceWithError(Protocol):
    """A file-like object for libsndfile, which learns of no exception: `error` keeps it."""

    error: OSError | None


class SequentialFile(soundfile.SoundFile):  # type: ignore[misc]
    """A sound file that is read from beginning to end.

    soundfile seeks after every read of a file that can, and fails at it where the length of the
    file is not known.

    Raises:
        OSError: the system cannot read the file.
        soundfile.LibsndfileError: it is no sound file.
    """

    def __init__(self, source: Path | SourceWithError) -> None:
        self._source = source
        with self._telling(), silent_decoders():
            super().__init__(os.fsencode(source) if isinstance(source, Path) else source)

    def seekable(self) -> bool:
        """False; see above."""
        return False

    def read(self, *arguments: Any, **options: Any) -> Any:
        """Samples, as `soundfile.SoundFile.read` gives them.

        Raises:
            OSError, soundfile.LibsndfileError: as above.
        """
        # Only the decoder of MP3 prints anything, and others are read in many small blocks.
        silent = silent_decoders() if self.format == "MP3" else contextlib.nullcontext()
        with self._telling(), silent:
            block = super().read(*arguments, **options)
        if not len(block) and not isinstance(self._source, Path) and self._source.error is not None:
            raise self._source.error
        return block

    @contextlib.contextmanager
    def _telling(self) -> Iterator[None]:
        try:
            yield
        except soundfile.LibsndfileError as error:
            if isinstance(self._source, Path):
                try_reading(self._source, error)
            elif self._source.error is not None:
                raise self._source.error from error
            raise


def try_reading(path: Path, error: Exception) -> None:
    """Read a file that libsndfile could not, to raise what the system says.

    Raises:
        OSError: it cannot be read.
    """
    blamed = path.stat().st_size if "System error" in str(error) else 0
    left = max(blamed, _MOST_TRIED)
    with path.open("rb") as file:
        while left > 0 and (data := file.read(_TRIED_AT_ONCE)):
            left -= len(data)


@contextlib.contextmanager
def silent_decoders() -> Iterator[None]:
    """While entered, C code prints nothing to its `stderr`, on any thread; Python still does.

    libmpg123 prints warnings of its own for MP3 that is cut short or joined, and libsndfile has no
    way to tell it not to. What is amiss with a file, `AudioFile.fault` says. The GNU C library
    documents that the variable may be set; on other systems nothing is done.
    """
    _enter_silence(1)
    try:
        yield
    finally:
        _enter_silence(-1)


def _enter_silence(count: int) -> None:
    """Count who is inside: the first sets the variable, and the last sets it back."""
    global _inside, _loud
    with _lock:
        before, _inside = _inside, _inside + count
        streams = _streams()
        if streams is None:
            return
        stderr, null = streams
        if not before:
            _loud, stderr.value = stderr.value, null
        elif not _inside:
            stderr.value = _loud


@functools.cache
def _streams() -> tuple[ctypes.c_void_p, int] | None:
    """The variable `stderr` of the C library, and a stream to the null device."""
    if platform.libc_ver()[0] != "glibc":
        return None
    library = ctypes.CDLL(None)
    library.fopen.restype = ctypes.c_void_p
    null = library.fopen(os.fsencode(os.devnull), b"w")
    return (ctypes.c_void_p.in_dll(library, "stderr"), null) if null else None
