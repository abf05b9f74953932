"""`bcdc` and the second reader agree on every file: what it holds, or that it is refused.

Files are made from the numbers of `SEEDS`, so that every run tests the same ones.
"""

from __future__ import annotations

import random
from collections import Counter
from functools import cache

import numpy as np
import pytest

import bcdc

from .changed_files import changed_prior, damaged, with_right_checksums
from .container import Container, read_container
from .cursor import Refused
from .prior_file import Prior, read_prior
from .random_files import (
    MODEL,
    PRIOR_LAYOUTS,
    Sample,
    prior_files,
    priors,
    random_sample,
    random_tokens,
)
from .tokens import all_tokens, part_tokens

FILES = 1000
AT_ONCE = 100
SEEDS = [range(first, first + AT_ONCE) for first in range(0, FILES, AT_ONCE)]
Result = tuple[tuple[object, ...], list[list[list[int]]]]


@cache
def sample_of(seed: int) -> Sample:
    return random_sample(random.Random(seed))


@cache
def second_priors() -> list[Prior]:
    return [read_prior(data) for data in prior_files()]


def by_bcdc(data: bytes) -> Result | None:
    """What is in a container, and its tokens; None if it is refused."""
    try:
        container = bcdc.read(data)
        tokens = container.tokens(prior=priors().get(container.header.prior_fingerprint or b""))
    except bcdc.BcdcError:
        return None
    return (*header_of(container.header), container.num_samples, container.entropy), tokens.tolist()


def header_of(header: bcdc.Header) -> tuple[object, ...]:
    """All fields, in the order of the second reader's."""
    geometry = header.geometry
    recording = (header.sample_rate, header.channels, header.copies)
    tokens = (geometry.hop, geometry.codebook_sizes, geometry.f0)
    names = (header.prior_fingerprint, header.tags)
    return (int(header.coder), header.fingerprint, *recording, *tokens, *names)


def by_second(data: bytes) -> Result | None:
    """The same, by the second reader."""
    try:
        container = read_container(data)
        tokens = all_tokens(container, second_priors())
    except Refused:
        return None
    return fields_of(container), [[list(row) for row in channel] for channel in tokens]


def fields_of(container: Container) -> tuple[object, ...]:
    header = container.header
    _, *fields = vars(header).values()  # all but its length
    return (*fields, container.samples, container.entropy)


@pytest.mark.parametrize("seeds", SEEDS, ids=str)
def test_random_files(seeds: range) -> None:
    for seed in seeds:
        sample = sample_of(seed)
        result = by_second(sample.data)
        assert result == by_bcdc(sample.data), seed
        assert result is not None, seed
        assert result[1] == sample.tokens.tolist(), seed
        assert result[0][:-1] == (*header_of(sample.header), sample.samples), seed


def test_the_files_are_of_every_kind() -> None:
    kinds: Counter[str] = Counter()
    for seed in range(300):
        sample = sample_of(seed)
        header, frames = sample.header, sample.tokens.shape[1]
        full = header.block_frames
        kinds[header.coder.name] += 1
        kinds[f"{header.channels} channels"] += 1
        kinds[f"{min(frames, 2)} frames"] += 1
        kinds["equal channels"] += header.copies > 0
        kinds["tags"] += bool(header.tags)
        kinds["f0"] += header.geometry.f0
        kinds["seek table"] += frames > 16 * full
        kinds["full last block"] += frames > 0 and frames % full == 0
    assert len(kinds) == 15 and min(kinds.values()) >= 10, kinds


@pytest.mark.parametrize("seeds", SEEDS, ids=str)
def test_changed_files(seeds: range) -> None:
    """Damage as it comes is refused; where the checksums are right, both read the same."""
    read = 0
    for seed in seeds:
        draw, sample = random.Random(-1 - seed), sample_of(seed)
        if (data := damaged(draw, sample.data)) != sample.data:
            assert by_second(data) is None and by_bcdc(data) is None, seed
        data = with_right_checksums(draw, sample)
        result = by_second(data)
        assert result == by_bcdc(data), seed
        read += result is not None
    assert AT_ONCE // 4 < read < AT_ONCE


def test_changed_priors() -> None:
    """Both read a prior, and then the tokens coded with it, or both refuse it."""
    draw, read = random.Random(5), 0
    for _ in range(300):
        which = draw.randrange(len(PRIOR_LAYOUTS))
        data = changed_prior(draw, prior_files()[which])
        try:
            prior = bcdc.read_prior(data)
        except bcdc.PriorError:
            with pytest.raises(Refused):
                read_prior(data)
            continue
        read += 1
        second = read_prior(data)
        header = bcdc.Header(fingerprint=prior.model, sample_rate=8000, geometry=prior.geometry)
        header = bcdc.header_for(header, bcdc.Coder.PRIOR, prior)
        samples = 5 * header.geometry.hop * header.sample_rate // bcdc.MODEL_RATE
        tokens = random_tokens(draw, header, header.frames_of(samples))
        container = read_container(bcdc.write(header, tokens, samples, prior))
        assert np.array_equal(np.array(all_tokens(container, [second])), tokens)
    assert 50 < read < 250


def adaptive_sample(draw: random.Random, channels: int, frames: int) -> Sample:
    """Blocks of four frames, the tokens of which are partly any, partly the same."""
    geometry = bcdc.Geometry(hop=32000, codebook_sizes=(16, 3))
    header = bcdc.Header(
        fingerprint=MODEL,
        sample_rate=16000,
        channels=channels,
        geometry=geometry,
        coder=bcdc.Coder.ADAPTIVE,
    )
    parts = [random_tokens(draw, header, min(20, frames - i)) for i in range(0, frames, 20)]
    tokens = np.concatenate(parts, axis=1)
    samples = frames * geometry.hop
    return Sample(bcdc.write(header, tokens, samples), header, tokens, samples)


@pytest.mark.parametrize("channels", [1, 3])
def test_adaptive_runs(channels: int) -> None:
    """Over the end of a run of 75 blocks, some of which are packed raw; read whole and in part."""
    sample = adaptive_sample(random.Random(channels), channels, 4 * 80 + 3)
    container = read_container(sample.data)
    header, blocks = container.header, container.blocks
    raw = [len(block.payload) == header.raw_bytes(block.frames) for block in blocks]
    assert len(blocks) == 81 and 10 < sum(raw) < 70
    assert np.array_equal(np.array(all_tokens(container)), sample.tokens)
    for start, stop in ((0, 1), (3, 5), (299, 301), (300, 300), (310, 323)):
        part = np.array(part_tokens(container, start, stop)).reshape(channels, stop - start, 2)
        assert np.array_equal(part, sample.tokens[:, start:stop])
