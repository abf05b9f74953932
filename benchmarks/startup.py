"""How long the command takes from start to exit on small inputs.

    python -m benchmarks.startup

Runs the `bigcodec` of this environment. The first run ever is measured with an empty cache for
compiled code.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import soundfile

from benchmarks.report import load_before, machine, table, write_section
from bigcodec_models.config import SAMPLE_RATE

_COMMAND = Path(sys.executable).with_name("bigcodec")
_ROUNDS = 3


def main() -> None:
    """Run the benchmark and write its section."""
    load = load_before()
    with tempfile.TemporaryDirectory() as folder:
        rows = _measure(Path(folder))
    text = (
        f"{machine(load)}\n\nFrom start to exit, best of {_ROUNDS}; the first run ever once.\n\n"
        + table(["command", "seconds"], [[name, f"{value:.2f}"] for name, value in rows])
    )
    write_section("Starting", text)


def _measure(folder: Path) -> list[tuple[str, float]]:
    clip, long, small = folder / "clip.wav", folder / "long.wav", folder / "clip.bcdc"
    random = np.random.default_rng(0)
    for path, seconds in ((clip, 1), (long, 20)):
        samples = 0.1 * random.standard_normal(seconds * SAMPLE_RATE)
        soundfile.write(path, samples.astype(np.float32), SAMPLE_RATE)
    fresh = {"NUMBA_CACHE_DIR": str(folder / "compiled")}
    compress = ["compress", "-f", "-q", str(clip), "-o", str(small)]
    longer = ["compress", "-f", "-q", str(long), "-o", str(folder / "long.bcdc")]
    restore = ["decompress", "-f", "-q", str(small), "-o", str(folder / "out.wav")]
    return [
        ("compress, 1 s, lite, first run ever", _once(compress, fresh)),
        ("compress, 20 s, lite, first run ever", _once(longer, fresh)),
        ("compress, 1 s, lite", _best(compress, fresh)),
        ("decompress, 1 s, lite", _best(restore, fresh)),
        ("compress, 20 s, lite", _best(longer, fresh)),
        ("--help", _best(["--help"], fresh)),
        ("info", _best(["info", str(small)], fresh)),
    ]


def _best(arguments: list[str], environment: Mapping[str, str]) -> float:
    return min(_once(arguments, environment) for _ in range(_ROUNDS))


def _once(arguments: list[str], environment: Mapping[str, str]) -> float:
    start = time.perf_counter()
    subprocess.run(
        [str(_COMMAND), *arguments],
        check=True,
        stdout=subprocess.DEVNULL,
        env={**os.environ, **environment},
    )
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
