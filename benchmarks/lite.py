"""CPU speed of the built-in lite model on a long file.

python -m benchmarks.lite [--minutes 10] [--threads 2]
"""

from __future__ import annotations

import argparse

import torch

from benchmarks.checks import noise
from benchmarks.report import best_of, load_before, machine, table, write_section
from bigcodec_models.codec import Codec
from bigcodec_models.config import SAMPLE_RATE


def main() -> None:
    """Run the benchmark and write its section."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    load = load_before()
    torch.set_num_threads(options.threads)
    codec = Codec.load("lite", "cpu")
    wave = noise(int(options.minutes * 60 * SAMPLE_RATE))
    tokens = codec.encode(wave)
    seconds = best_of(
        options.rounds,
        {"encode": lambda: codec.encode(wave), "decode": lambda: codec.decode(tokens)},
    )
    rows = [
        [name, f"{value:.2f}", f"{options.minutes * 60 / value:.0f}"]
        for name, value in seconds.items()
    ]
    text = (
        f"{machine(load)}\n\n{options.minutes:g} minutes of noise in one call, {options.threads} "
        f"threads, best of {options.rounds} rounds in turn.\n\n"
        + table(["", "seconds", "times real time"], rows)
    )
    write_section("CPU, lite", text)


if __name__ == "__main__":
    main()
