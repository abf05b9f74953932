"""Ending promptly: Python acts on a signal only between two steps of a computation."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator

_GRACE_SECONDS = 1.2
_SIGNALS = {signal.SIGINT, signal.SIGTERM}


@contextlib.contextmanager
def prompt_interrupts(clean_up: Callable[[], None]) -> Iterator[None]:
    """While entered, Ctrl-C and SIGTERM end the process after 1.2 s, if it has not ended by then.

    `clean_up` is called before, on another thread, while the main one may be in the middle of
    anything.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    done = threading.Event()
    before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    watcher = threading.Thread(target=_watch, args=(reader, done, clean_up), daemon=True)
    watcher.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        done.set()
        os.close(writer)
        watcher.join()
        os.close(reader)


def _watch(reader: int, done: threading.Event, clean_up: Callable[[], None]) -> None:
    while number := os.read(reader, 1):
        if number[0] in _SIGNALS and not done.wait(_GRACE_SECONDS):
            clean_up()
            if number[0] == signal.SIGINT:
                os.write(2, b"bigcodec: interrupted\n")
            os._exit(128 + number[0])
