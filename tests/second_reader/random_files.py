"""Containers and priors made by `bcdc` from random settings, small and of every kind."""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import cache

import numpy as np

import bcdc

MODEL = bytes.fromhex("0123456789ab")
SIZES = (2, 3, 4, 5, 8, 9, 16, 100, 154, 256, 300)
RATES = (1, 7, 8000, 11025, 16000, 44100, 48000, 262144)
HOPS = (32000, 31999, 16001, 16000, 10667, 8000, 5000, 3000)
LETTERS = "abcxyz =\n\0\x7f\u00e9\u4e2d\U0001f3a4"
PRIOR_LAYOUTS = (
    (32000, (2,)),
    (16000, (3, 2)),
    (8000, (5,)),
    (8000, (9, 154)),
    (5000, (64, 16, 7)),
    (10667, (300, 5)),
)


@dataclass(frozen=True)
class Sample:
    """A container, the header and the tokens (channels, frames, codebooks) it was written from, and
    the number of samples a channel."""

    data: bytes
    header: bcdc.Header
    tokens: bcdc.Tokens
    samples: int


@cache
def prior_files() -> tuple[bytes, ...]:
    """Priors of MODEL for each of PRIOR_LAYOUTS, every second one with numbers of any size."""
    return tuple(prior_file(*layout, seed) for seed, layout in enumerate(PRIOR_LAYOUTS))


@cache
def priors() -> dict[bytes, bcdc.Prior]:
    """Those of `prior_files`, by the name that a container has for them."""
    read = (bcdc.read_prior(data) for data in prior_files())
    return {prior.name: prior for prior in read}


def prior_file(hop: int, sizes: tuple[int, ...], seed: int) -> bytes:
    """A prior with random numbers in it."""
    draw = np.random.default_rng(seed)
    inputs, width, hidden = (int(n) for n in draw.integers(1, 9, 3))
    geometry = bcdc.Geometry(hop=hop, codebook_sizes=sizes)
    shape = bcdc.PriorShape(
        model=MODEL, geometry=geometry, inputs=inputs, width=width, hidden=hidden
    )
    arrays = {}
    for name, kind, dims in shape.arrays():
        largest = int(np.iinfo(kind).max)
        if name.endswith(".order"):
            arrays[name] = draw.permutation(dims[0])
        elif kind == "<i4" and seed % 2 == 0:  # predictions neither flat nor certain
            largest = 3000 if name.endswith(".factor") else 1 << 25
            arrays[name] = draw.integers(-largest, largest, dims)
        else:
            arrays[name] = draw.integers(-largest - 1, largest, dims, endpoint=True)
    return bcdc.write_prior(shape, arrays)


def random_sample(draw: random.Random) -> Sample:
    """A container of at most some hundred tokens."""
    coder = draw.choice(list(bcdc.Coder))
    prior = draw.choice(list(priors().values())) if coder is bcdc.Coder.PRIOR else None
    geometry = random_geometry(draw, None if prior is None else prior.geometry)
    header = random_header(draw, geometry)
    try:
        header = bcdc.header_for(header, coder, prior)
    except ValueError:  # a coded block would have too many tokens
        header = bcdc.header_for(header, bcdc.Coder.RAW)
    samples = random_length(draw, header)
    tokens = random_tokens(draw, header, header.frames_of(samples))
    return Sample(bcdc.write(header, tokens, samples, prior), header, tokens, samples)


def random_geometry(draw: random.Random, known: bcdc.Geometry | None) -> bcdc.Geometry:
    """That of a prior, the default one, or another; with F0 where that is possible."""
    if known is None and draw.random() < 0.1:
        return bcdc.Geometry()
    hop, sizes = draw.choice(HOPS), tuple(draw.choices(SIZES, k=draw.randint(1, 4)))
    if known is None and draw.random() < 0.1:
        sizes = (*sizes, draw.choice((8192, 65536)))
    if known is None and draw.random() < 0.3:
        sizes = (*sizes, bcdc.F0_BINS)
    if known is not None:
        hop, sizes = known.layout
    f0 = len(sizes) > 1 and sizes[-1] == bcdc.F0_BINS and draw.random() < 0.7
    return bcdc.Geometry(hop=hop, codebook_sizes=sizes, f0=f0)


def random_header(draw: random.Random, geometry: bcdc.Geometry) -> bcdc.Header:
    """Rate, channels, equal channels and tags."""
    channels = draw.choice((1, 1, 1, 2, 3, 5))
    copies = draw.choice((0, 0, 1, 2, 15)) if channels == 1 else 0
    texts = ["".join(draw.choices(LETTERS, k=draw.choice((0, 1, 3, 130)))) for _ in range(6)]
    tags = list(zip(texts[::2], texts[1::2], strict=True))[: draw.choice((0, 0, 1, 3))]
    return bcdc.Header(
        fingerprint=MODEL,
        sample_rate=draw.choice(RATES),
        channels=channels,
        copies=copies,
        geometry=geometry,
        tags=tuple(tags),
    )


def random_length(draw: random.Random, header: bcdc.Header) -> int:
    """Samples of none to some hundred tokens: often none, one, or the end of a block."""
    most = max(2, 150 // header.channels // header.geometry.codebooks)
    frames = min(draw.choice((0, 1, 2, 5, 20, 150)), most)
    if frames > header.block_frames and draw.random() < 0.3:
        frames -= frames % header.block_frames
    samples = frames * header.geometry.hop * header.sample_rate // bcdc.MODEL_RATE
    return max(0, samples - draw.choice((0, 0, 1, header.sample_rate // 100)))


def random_tokens(draw: random.Random, header: bcdc.Header, frames: int) -> bcdc.Tokens:
    """Tokens that are the same, walk about, come back or are any."""
    numbers = np.random.default_rng(draw.randrange(1 << 32))
    sizes = np.array(header.geometry.codebook_sizes)
    shape = (header.channels, frames, len(sizes))
    kinds = (
        np.zeros(shape, np.int64) + sizes - 1,
        numbers.integers(-2, 3, shape).cumsum(axis=1) % sizes,
        numbers.integers(0, 4, shape) * 977 % sizes,
        numbers.integers(0, sizes, shape),
    )
    return draw.choice(kinds).astype(np.int32)
