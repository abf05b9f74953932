"""Keeping numpy's matrix products on one thread while they are small.

The OpenBLAS that numpy's wheels hold starts all processors for a product of some ten
microseconds, and has them spin until the next: twice the processor time for little gain, and
where other work runs on those processors, such as a model's, a hundred times the time.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

_PREFIXES = ("scipy_openblas_", "openblas_")
_SUFFIXES = ("64_", "")


class _Threads:
    """The number of threads of a library, and how many callers want one at present."""

    def __init__(self, get: Callable[[], int], put: Callable[[int], Any]) -> None:
        self._get, self._put = get, put
        self._lock, self._callers, self._before = threading.Lock(), 0, 1

    def enter(self) -> None:
        """One more caller; the first has the number set."""
        with self._lock:
            if not self._callers:
                self._before = self._get()
                self._put(1)
            self._callers += 1

    def leave(self) -> None:
        """One caller less; the last has the number restored."""
        with self._lock:
            self._callers -= 1
            if not self._callers:
                self._put(self._before)


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Numpy's products on one thread meanwhile, where it has an OpenBLAS of its own."""
    threads = _numpy_threads()
    if threads is None:
        yield
        return
    threads.enter()
    try:
        yield
    finally:
        threads.leave()


@functools.cache
def _numpy_threads() -> _Threads | None:
    folder = Path(np.__file__).parent
    for place in (folder.parent / "numpy.libs", folder / ".dylibs"):
        for path in sorted(place.glob("*openblas*")):
            if (found := _threads_of(path)) is not None:
                return found
    return None


def _threads_of(path: Path) -> _Threads | None:
    try:
        library = ctypes.CDLL(str(path))  # numpy has loaded it: this is another name for it
    except OSError:
        return None
    for prefix in _PREFIXES:
        for suffix in _SUFFIXES:
            get = getattr(library, f"{prefix}get_num_threads{suffix}", None)
            put = getattr(library, f"{prefix}set_num_threads{suffix}", None)
            if get is not None and put is not None:
                return _Threads(get, put)
    return None
