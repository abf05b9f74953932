"""Peak resident memory of the command, for long files and short ones.

    python -m benchmarks.memory [--lite-minutes 60] [--full-minutes 10]

Files are noise at 16 kHz. The 159M preset has random weights. Models are in a temporary
folder (BIGCODEC_HOME), so the models of the user stay as they are.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import soundfile

from benchmarks.checks import random_model
from benchmarks.report import load_before, machine, table, write_section
from bigcodec_models.checkpoints.model_file import save_model
from bigcodec_models.config import PRESETS, SAMPLE_RATE

_COMMAND = Path(sys.executable).with_name("bigcodec")
_ALLOWED_MB = 200


def main() -> None:
    """Run the benchmark and write its section."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lite-minutes", type=int, default=60)
    parser.add_argument("--full-minutes", type=int, default=10)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    load = load_before()
    environment = {"OMP_NUM_THREADS": str(options.threads)}
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        environment["BIGCODEC_HOME"] = name
        model = _random_model(folder)
        for model_name, choice, minutes in (
            ("lite", "lite", options.lite_minutes),
            ("bigcodec, random weights", str(model), options.full_minutes),
        ):
            short = _peaks(folder, choice, 1, environment)
            long = _peaks(folder, choice, minutes, environment)
            for command in short:
                rows.append(
                    _row(f"{command}, {model_name}", minutes, short[command], long[command])
                )
    head = ["", "1 minute", "long file", "difference", f"at most {_ALLOWED_MB} MB"]
    text = (
        f"{machine(load)}\n\nPeak resident memory of the whole process, in MB (of 1e6 bytes).\n\n"
        + table(head, rows)
    )
    write_section("Memory", text)


def _random_model(folder: Path) -> Path:
    path, model = folder / "random.safetensors", random_model(PRESETS["bigcodec"])
    save_model(path, model.tensors, model.config, model.info)
    return path


def _row(name: str, minutes: int, short: float, long: float) -> list[str]:
    verdict = "yes" if long - short <= _ALLOWED_MB else "NO"
    return [name, f"{short:.0f}", f"{long:.0f} ({minutes} minutes)", f"{long - short:.0f}", verdict]


def _peaks(
    folder: Path, model: str, minutes: int, environment: Mapping[str, str]
) -> dict[str, float]:
    wave, small, restored = folder / "in.wav", folder / "in.bcdc", folder / "out.wav"
    _write_noise(wave, minutes)
    chosen = ["--model", model]
    return {
        "compress": _peak(["compress", *chosen, str(wave), "-o", str(small)], environment),
        "decompress": _peak(["decompress", *chosen, str(small), "-o", str(restored)], environment),
    }


def _write_noise(path: Path, minutes: int) -> None:
    random = np.random.default_rng(0)
    with soundfile.SoundFile(path, "w", SAMPLE_RATE, 1, "PCM_16") as file:
        for _ in range(minutes):
            file.write((0.1 * random.standard_normal(60 * SAMPLE_RATE)).astype(np.float32))


# A process of its own, and a small one: a child's peak begins with the memory of its parent.
_WATCH = (
    "import resource, subprocess, sys; code = subprocess.call(sys.argv[1:]);"
    "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss); sys.exit(code)"
)


def _peak(arguments: list[str], environment: Mapping[str, str]) -> float:
    """Peak resident memory of one command, in 1e6 bytes."""
    start = time.perf_counter()
    command = [str(_COMMAND), arguments[0], "-f", "-q", *arguments[1:]]
    watched = [sys.executable, "-c", _WATCH, *command]
    result = subprocess.run(
        watched, env={**os.environ, **environment}, check=True, stdout=subprocess.PIPE, text=True
    )
    peak = int(result.stdout.split()[-1]) * (1 if sys.platform == "darwin" else 1024) / 1e6
    print(f"{arguments[0]}: {time.perf_counter() - start:.1f} s, {peak:.0f} MB", file=sys.stderr)
    return peak


if __name__ == "__main__":
    main()
