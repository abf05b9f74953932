"""Changed containers and priors: damaged, and damaged with every checksum made right again."""

from __future__ import annotations

import importlib.util
import random
from pathlib import Path
from types import ModuleType

from .random_files import Sample


def _loaded(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


repair = _loaded(Path(__file__).parents[1] / "format" / "repair.py")


def damaged(draw: random.Random, data: bytes) -> bytes:
    """`data`, not empty, with one bit inverted, cut short, with more at the end, or with bytes
    changed, lost, or doubled."""
    changed, kind = bytearray(data), draw.randrange(6)
    first = draw.randrange(len(data))
    last = first + draw.randint(1, 20)
    if kind == 0:
        changed[first] ^= 1 << draw.randrange(8)
    elif kind == 1:
        del changed[first:]
    elif kind == 2:
        changed += bytes(draw.choices((0, 1, 2, 255), k=last - first))
    elif kind == 3:
        for _ in range(draw.randint(1, 5)):
            changed[draw.randrange(len(data))] = draw.randrange(256)
    elif kind == 4:
        del changed[first:last]
    else:
        changed[first:first] = changed[first:last]
    return bytes(changed)


def with_right_checksums(draw: random.Random, sample: Sample) -> bytes:
    """A damaged container of which the checksums are right, or one with payloads of noise."""
    if draw.random() < 0.6:
        repaired: bytes = repair.repaired(damaged(draw, sample.data))
        return repaired
    header, frames = sample.header, sample.tokens.shape[1]
    full = header.block_frames
    lengths = [min(full, frames - first) for first in range(0, frames, full)]
    payloads = [noise(draw, draw.randint(0, header.raw_bytes(length))) for length in lengths]
    changed: bytes = repair.with_payloads(header, payloads, sample.samples)
    return changed


def noise(draw: random.Random, size: int) -> bytes:
    """Bytes of any value, or all the least or the greatest."""
    kinds = (draw.randbytes(size), draw.randbytes(size), bytes(size), b"\xff" * size)
    return draw.choice(kinds)


def changed_prior(draw: random.Random, data: bytes) -> bytes:
    """A damaged prior, mostly with the right checksum."""
    changed = damaged(draw, data)
    if draw.random() < 0.2 or len(changed) < 4:
        return changed
    right: bytes = repair.with_last_check(changed)
    return right
