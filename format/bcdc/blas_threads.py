"""Keeping numpy's matrix products on one thread while they are small.

The OpenBLAS that numpy's wheels hold starts all processors for a product of some ten
microseconds, and has them spin until the next: twice the processor time for little gain, and
where other work runs on those processors, such as a model's, a hundred times the time.
"""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Iterator

from threadpoolctl import ThreadpoolController


class _OneThread:
    """Limits all BLAS libraries of the process to one thread while any caller wants that.

    `ThreadpoolController.limit` alone would not do: of two callers that overlap, the second would
    restore the limit of the first, for ever.
    """

    def __init__(self) -> None:
        self._libraries = ThreadpoolController().select(user_api="blas")
        self._lock, self._callers, self._limit = threading.Lock(), 0, contextlib.ExitStack()

    def __enter__(self) -> None:
        with self._lock:
            if not self._callers:
                self._limit.enter_context(self._libraries.limit(limits=1))
            self._callers += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._callers -= 1
            if not self._callers:
                self._limit.close()


@functools.cache
def _one_thread() -> _OneThread:
    return _OneThread()


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """All BLAS products of the process on one thread meanwhile."""
    with _one_thread():
        yield
