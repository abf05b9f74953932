"""numba's cache of compiled code, where damaged files in it are compiled anew.

numba takes what it reads for a pickle, and raises whatever comes of that: a file that was cut short
as a disk was full would end every later run.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

from numba.core.caching import FunctionCache


class SafeCache(FunctionCache):
    """A cache for a function that forgets what it cannot read.

    Raises:
        RuntimeError: there is no folder that a cache could be written to.
    """

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Code for a signature, or None."""
        try:
            return super().load_overload(sig, target_context)  # type: ignore[no-untyped-call]
        except Exception:  # whatever a damaged pickle leads to
            with contextlib.suppress(OSError):
                self.flush()  # type: ignore[no-untyped-call]
            return None


def forget(function: Callable[..., Any]) -> None:
    """Empty the cache of a function, if there is one that can be written to."""
    with contextlib.suppress(OSError, RuntimeError):
        SafeCache(function).flush()  # type: ignore[no-untyped-call]
