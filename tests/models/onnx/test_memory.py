"""What the engine does about memory."""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path

import numpy as np
import pytest

from bigcodec_models.onnx.sessions import return_free_memory


def resident() -> int:
    """Bytes of this process that are in memory."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


@pytest.mark.skipif(
    sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="needs glibc"
)
def test_freed_memory_below_memory_in_use_goes_back() -> None:
    """Small enough for the heap of the C library, which only shrinks from its end."""
    below = [np.ones(12_000) for _ in range(1000)]
    in_use = np.ones(12_000)
    before = resident()
    del below
    return_free_memory()
    assert before - resident() > 60e6
    assert in_use.sum() == 12_000
