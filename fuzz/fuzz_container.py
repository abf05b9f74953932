"""Fuzzes the container: any bytes give tokens or one of our errors, in bounded memory and time.

    fuzzenv/bin/python fuzz/fuzz_container.py CORPUS -max_len=4096 -timeout=10

Mutated files mostly have their checksums put right, so that the coders behind them are reached.
"""

from __future__ import annotations

import random
import resource
import sys
import time
from pathlib import Path

import atheris
import numpy as np

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests" / "format"))

with atheris.instrument_imports(include=["bcdc"]):
    from repair import repaired, with_header_checks, with_trailer_check

    import bcdc
    from bcdc.recover import salvage

PRIOR = bcdc.read_prior((ROOT / "tests" / "vectors" / "good-prior.bcdp").read_bytes())
MAX_TOKENS = 1 << 9
"""Tokens that are decoded of one input: a block may stand for 8000 times as many, at some
microseconds each, and files of that size would be all that the fuzzer ever does."""
MAX_REWRITTEN = 1 << 7
MAX_SECONDS = 8.0
MAX_MEMORY = 700 << 20


def check(data: bytes) -> None:
    """The property. Anything but our errors is a finding."""
    started = time.process_time()
    tokens = read_tokens(data)
    restore(data, tokens)
    assert time.process_time() - started < MAX_SECONDS, "too slow"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10 < MAX_MEMORY, "too much memory"


def read_tokens(data: bytes) -> bcdc.Tokens | None:
    """Tokens of a file that is whole and small."""
    try:
        container = bcdc.read(data)
        if size_of(container.header, container.frames) > MAX_TOKENS:
            if size_of(container.header, container.header.block_frames) <= MAX_TOKENS:
                container.tokens(0, min(container.header.block_frames, container.frames), PRIOR)
            return None
        tokens = container.tokens(prior=PRIOR)
    except bcdc.BcdcError:
        return None
    header = container.header
    assert tokens.shape == (header.channels, container.frames, header.geometry.codebooks)
    assert tokens.dtype == np.int32
    if 0 < tokens.size <= MAX_REWRITTEN:
        check_rewritten(container, tokens)
    return tokens


def check_rewritten(container: bcdc.Container, tokens: bcdc.Tokens) -> None:
    """Tokens that came out of a file can be put into one."""
    prior = PRIOR if container.header.coder.needs_prior else None
    data = bcdc.write(container.header, tokens, container.num_samples, prior)
    assert np.array_equal(bcdc.read(data).tokens(prior=PRIOR), tokens), "not the same"


def restore(data: bytes, tokens: bcdc.Tokens | None) -> None:
    """What `--recover` does; of an undamaged file it loses nothing."""
    try:
        salvaged = salvage(data)
        frames = max(salvaged.frames, salvaged.whole_frames)
        if size_of(salvaged.header, frames) > MAX_TOKENS:
            return
        restored = salvaged.decode(PRIOR)
    except bcdc.BcdcError:
        # Of an empty file no prior is needed to read nothing, but one is to restore nothing.
        assert tokens is None or not tokens.size, "an undamaged file cannot be restored"
        return
    if tokens is not None:
        assert restored.has_trailer and not restored.lost
        assert np.array_equal(restored.tokens(), tokens)


def size_of(header: bcdc.Header, frames: int) -> int:
    """Tokens of so many frames."""
    return frames * header.channels * header.geometry.codebooks


REPAIRS = [bytes, with_header_checks, with_trailer_check, repaired, repaired, repaired, repaired]


def mutate(data: bytes, max_size: int, seed: int) -> bytes:
    """libFuzzer's own change, or one inside the bytes, then some of the checksums put right."""
    choice = random.Random(seed)
    if choice.random() < 0.5:
        data = bytes(atheris.Mutate(data, max_size))
    else:
        changed = bytearray(data or b"\0")
        for _ in range(choice.randint(1, 4)):
            changed[choice.randrange(len(changed))] = choice.randrange(256)
        data = bytes(changed)
    return choice.choice(REPAIRS)(data)[:max_size]


def main() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))
    atheris.Setup(sys.argv, check, custom_mutator=mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
