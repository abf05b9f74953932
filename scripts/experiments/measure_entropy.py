"""Sizes and speed of the entropy coders on tokens of `make_tokens.py`: the figures of ENTROPY.md.

    python scripts/experiments/measure_entropy.py TOKENS [--prior FILE] [--speed]

All bytes of the containers are counted, every recording being a file of its own; `joined` takes all
recordings of TOKENS as one file. Savings are against the bare tokens at their raw number of bits.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np

import bcdc
from bigcodec_models.config import SAMPLE_RATE

Recordings = list[tuple[str, bcdc.Tokens]]


def load(path: Path, books: int) -> Recordings:
    """Sources, by the start of the file's name, and tokens (1, T, K)."""
    tokens = np.fromfile(path.with_suffix(".tokens"), "<i4")
    recordings: Recordings = []
    for line in path.with_suffix(".jsonl").read_text().splitlines():
        row = json.loads(line)
        some = tokens[row["start"] : row["start"] + row["count"]]
        recordings.append((Path(row["file"]).name.split("_")[0], some.reshape(1, -1, books)))
    return recordings


def coded(tokens: bcdc.Tokens, coder: bcdc.Coder, prior: bcdc.Prior | None) -> bytes:
    """A container."""
    model, geometry = (prior.model, prior.geometry) if prior else (b"abcdef", bcdc.Geometry())
    header = bcdc.Header(fingerprint=model, sample_rate=SAMPLE_RATE, geometry=geometry)
    header = bcdc.header_for(header, coder, prior)
    return bcdc.write(header, tokens, tokens.shape[1] * geometry.hop, prior)


@dataclasses.dataclass
class Sum:
    """Bytes of containers and of payloads in them, and tokens, of some files."""

    stored: int = 0
    payload: int = 0
    tokens: int = 0

    def add(self, data: bytes, tokens: int) -> None:
        self.stored += len(data)
        self.payload += bcdc.read(data).payload_bytes
        self.tokens += tokens

    def words(self, raw_bits: int) -> str:
        payload, stored = (8 * x / self.tokens for x in (self.payload, self.stored))
        saved = 100 * (1 - stored / raw_bits)
        return f"{payload:7.3f} bits of payload, {stored:7.3f} with all bytes: {saved:5.1f} % saved"


def sizes(recordings: Recordings, prior: bcdc.Prior | None, raw_bits: int) -> None:
    for coder in bcdc.usable_coders(prior):
        sums: dict[str, Sum] = defaultdict(Sum)
        for source, tokens in recordings:
            data = coded(tokens, coder, prior)
            sums["all"].add(data, tokens.size)
            if coder.needs_prior:
                sums[source].add(data, tokens.size)
        for source, total in sorted(sums.items()):
            print(f"{coder.name.lower():9}{source:20}{total.words(raw_bits)}")


def joined(recordings: Recordings, prior: bcdc.Prior | None, raw_bits: int) -> None:
    tokens = np.concatenate([tokens for _, tokens in recordings], axis=1)
    for coder in bcdc.usable_coders(prior):
        total = Sum()
        total.add(coded(tokens, coder, prior), tokens.size)
        seconds = tokens.shape[1] / 80
        print(f"{coder.name.lower():9}{f'joined, {seconds:.0f} s':20}{total.words(raw_bits)}")


def speed(recordings: Recordings, prior: bcdc.Prior | None) -> None:
    """Times real time, for six seconds and for ten minutes: processor time,
    the best of three."""
    whole = np.concatenate([tokens for _, tokens in recordings], axis=1)
    for name, tokens in (("6 s", whole[:, :480]), ("long", whole[:, :48000])):
        seconds = tokens.shape[1] / 80
        for coder in bcdc.usable_coders(prior):
            data = coded(tokens, coder, prior)
            into = best(lambda t=tokens, c=coder: coded(t, c, prior))  # type: ignore[misc]
            out = best(lambda d=data: bcdc.read(d).tokens(prior=prior))  # type: ignore[misc]
            rates = f"{seconds / into:8.0f} x real time in, {seconds / out:8.0f} x out"
            print(f"{coder.name.lower():9}{name:6}{rates}")


def best(work: Callable[[], object]) -> float:
    times = []
    for _ in range(3):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return min(times)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("tokens", type=Path)
    parser.add_argument("--prior", type=Path)
    parser.add_argument("--speed", action="store_true")
    options = parser.parse_args()
    prior = bcdc.read_prior(options.prior.read_bytes()) if options.prior else None
    geometry = prior.geometry if prior else bcdc.Geometry()
    recordings = load(options.tokens, geometry.codebooks)
    if options.speed:
        speed(recordings, prior)
        return
    raw_bits = sum(geometry.token_bits) // geometry.codebooks
    sizes(recordings, prior, raw_bits)
    joined(recordings, prior, raw_bits)


if __name__ == "__main__":
    main()
