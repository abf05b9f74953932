"""Every coder gives back any tokens, in blocks that can be read alone (SPEC sections 4, 6, 9)."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import bcdc
from bcdc import range_coder
from bcdc.blocks import block_check

MODEL = bytes.fromhex("0123456789ab")
ToyPrior = Callable[..., bcdc.Prior]
SMALL = bcdc.Geometry(hop=1600, codebook_sizes=(300, 5))
"""Eighty frames a block, two unlike codebooks, the last groups of both not full."""


def write(
    tokens: bcdc.Tokens,
    geometry: bcdc.Geometry,
    coder: bcdc.Coder | None,
    prior: bcdc.Prior | None,
    piece: int = 10**9,
    hold: int = 1,
) -> bytes:
    """A container's bytes; coder None is auto."""
    header = bcdc.Header(
        fingerprint=MODEL, sample_rate=16000, channels=tokens.shape[0], geometry=geometry
    )
    file = io.BytesIO()
    with bcdc.Writer(file, bcdc.header_for(header, coder, prior), prior, hold) as writer:
        for start in range(0, tokens.shape[1], piece):
            writer.write(tokens[:, start : start + piece])
        writer.finish(tokens.shape[1] * geometry.hop)
    return file.getvalue()


def like_speech(
    geometry: bcdc.Geometry, frames: int, channels: int = 1, seed: int = 0
) -> bcdc.Tokens:
    """Tokens that repeat and follow each other, as those of a codec do."""
    random = np.random.default_rng(seed)
    shape = (channels, frames)
    columns = []
    for size in geometry.codebook_sizes:
        fresh = (random.random(shape) ** 3 * size).astype(np.int32)
        for at in range(1, frames):
            same = random.random(channels) < 0.3
            fresh[same, at] = fresh[same, at - 1]
        columns.append(fresh)
    return np.stack(columns, axis=2)


geometries = st.builds(
    bcdc.Geometry,
    hop=st.integers(400, 8000),
    codebook_sizes=st.lists(
        st.one_of(st.sampled_from([2, 3, 1025]), st.integers(2, 400)), min_size=1, max_size=3
    ).map(tuple),
)


@pytest.mark.parametrize("coder", [None, *bcdc.Coder])
@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    geometry=st.one_of(st.just(SMALL), geometries),
    channels=st.integers(1, 3),
    frames=st.integers(0, 150),
    piece=st.integers(1, 99),
    data=st.data(),
)
def test_any_tokens_come_back(  # type: ignore[no-untyped-def]
    toy_prior: ToyPrior, coder, geometry, channels, frames, piece, data
) -> None:
    seed = data.draw(st.integers(0, 1 << 30))
    sizes = np.array(geometry.codebook_sizes)
    random = np.random.default_rng(seed)
    tokens = random.integers(0, sizes, (channels, frames, len(sizes))).astype(np.int32)
    if seed % 2:
        tokens = like_speech(geometry, frames, channels, seed)
    prior = toy_prior(geometry)
    stored = write(tokens, geometry, coder, prior, piece)
    container = bcdc.read(stored)
    decoded = container.tokens(prior=prior)
    assert decoded.dtype == np.int32
    assert np.array_equal(decoded, tokens)
    first = data.draw(st.integers(0, frames))
    last = data.draw(st.integers(first, frames))
    assert np.array_equal(bcdc.read(stored).tokens(first, last, prior), tokens[:, first:last])
    assert np.array_equal(container.tokens(first, last, prior), tokens[:, first:last])
    for block in container.blocks:
        rest = frames - block.index * container.header.block_frames
        full = container.header.raw_bytes(min(rest, container.header.block_frames))
        assert block.end - block.start <= full


@pytest.mark.parametrize("coder", bcdc.Coder)
def test_the_bytes_do_not_depend_on_how_tokens_were_handed_over(
    toy_prior: ToyPrior, coder: bcdc.Coder
) -> None:
    prior, tokens = toy_prior(SMALL), like_speech(SMALL, 250, 2)
    whole = write(tokens, SMALL, coder, prior)
    for piece in (1, 79, 80, 81):
        assert write(tokens, SMALL, coder, prior, piece) == whole
        assert write(tokens, SMALL, coder, prior, piece, hold=3) == whole


@pytest.mark.parametrize("coder", bcdc.Coder)
def test_stretches_of_any_length_give_the_same_tokens(
    toy_prior: ToyPrior, coder: bcdc.Coder
) -> None:
    short = bcdc.Geometry(hop=8000, codebook_sizes=(300,))
    frames = 75 * 16 + 150  # more than a run of the adaptive coder's blocks
    prior, tokens = toy_prior(short), like_speech(short, frames)
    container = bcdc.read(write(tokens, short, coder, prior))
    assert len(container.blocks) == -(-frames // container.header.block_frames)
    for step in (70, 320):
        parts = [
            container.tokens(start, min(start + step, frames), prior)
            for start in range(0, frames, step)
        ]
        assert np.array_equal(np.concatenate(parts, axis=1), tokens)
    # Backwards; with the adaptive coder, from its second run of blocks to its first.
    for first, last in ((frames - 50, frames), (frames - 400, frames - 370), (5, 6), (16, 32)):
        assert np.array_equal(container.tokens(first, last, prior), tokens[:, first:last])


def test_auto_is_prior_where_there_is_one_and_else_adaptive(toy_prior: ToyPrior) -> None:
    prior, tokens = toy_prior(SMALL), like_speech(SMALL, 800)
    by = {coder: write(tokens, SMALL, coder, prior) for coder in bcdc.Coder}
    assert write(tokens, SMALL, None, prior) == by[bcdc.Coder.PRIOR]
    assert write(tokens, SMALL, None, None) == by[bcdc.Coder.ADAPTIVE]
    assert bcdc.usable_coders(prior) == tuple(bcdc.Coder)
    assert bcdc.usable_coders(None) == (bcdc.Coder.RAW, bcdc.Coder.ADAPTIVE)


def test_auto_is_raw_where_coded_blocks_would_be_too_large() -> None:
    geometry = bcdc.Geometry(hop=1, codebook_sizes=(2,) * 32)
    tokens = np.zeros((2, 50, 32), dtype=np.int32)
    assert bcdc.read(write(tokens, geometry, None, None)).header.coder is bcdc.Coder.RAW
    with pytest.raises(ValueError, match="too large"):
        write(tokens, geometry, bcdc.Coder.ADAPTIVE, None)


@pytest.mark.parametrize("hold", [1, 3])
def test_blocks_are_written_once_as_many_as_are_held_are_full(
    toy_prior: ToyPrior, hold: int
) -> None:
    header = bcdc.Header(fingerprint=MODEL, sample_rate=16000, geometry=SMALL)
    header = bcdc.header_for(header, bcdc.Coder.PRIOR, toy_prior(SMALL))
    file = io.BytesIO()
    with bcdc.Writer(file, header, toy_prior(SMALL), hold) as writer:
        start = len(file.getvalue())
        writer.write(like_speech(SMALL, 80 * hold - 1))
        assert len(file.getvalue()) == start
        writer.write(like_speech(SMALL, 1))
        assert len(file.getvalue()) > start
        writer.finish(80 * hold * SMALL.hop)


def test_a_missing_prior_is_named(toy_prior: ToyPrior) -> None:
    prior, other = toy_prior(SMALL), toy_prior(SMALL, seed=1)
    container = bcdc.read(write(like_speech(SMALL, 100), SMALL, bcdc.Coder.PRIOR, prior))
    assert container.header.prior_fingerprint == prior.fingerprint[:4]
    for wrong in (None, other):
        with pytest.raises(bcdc.MissingPriorError, match=prior.name.hex()) as caught:
            container.tokens(prior=wrong)
        assert caught.value.fingerprint == prior.name
    assert container.tokens(prior=prior).shape == (1, 100, 2)


def test_a_prior_is_for_its_own_model_only(toy_prior: ToyPrior) -> None:
    prior = toy_prior(SMALL)
    other = bcdc.Header(fingerprint=b"others", sample_rate=16000, geometry=SMALL)
    with pytest.raises(ValueError, match="another model"):
        bcdc.header_for(other, bcdc.Coder.PRIOR, prior)
    with pytest.raises(ValueError, match="another model"):
        bcdc.header_for(bcdc.Header(fingerprint=MODEL, sample_rate=16000), bcdc.Coder.PRIOR, prior)


def test_the_coder_of_the_header_wants_its_prior(toy_prior: ToyPrior) -> None:
    header = bcdc.Header(fingerprint=MODEL, sample_rate=16000, geometry=SMALL)
    named = bcdc.header_for(header, bcdc.Coder.PRIOR, toy_prior(SMALL))
    with pytest.raises(ValueError, match="needs a prior"):
        bcdc.Writer(io.BytesIO(), named)
    with pytest.raises(ValueError, match="another prior"):
        bcdc.Writer(io.BytesIO(), named, toy_prior(SMALL, seed=1))


def test_bits_per_token_count_the_payload(toy_prior: ToyPrior) -> None:
    container = bcdc.read(write(like_speech(SMALL, 80), SMALL, bcdc.Coder.RAW, None))
    assert container.bits_per_token == 8 * container.payload_bytes / 160 == 6.0
    empty = bcdc.read(write(like_speech(SMALL, 0), SMALL, None, None))
    assert empty.bits_per_token == 0.0


@pytest.mark.parametrize("coder", bcdc.Coder)
@settings(max_examples=40, deadline=None)
@given(
    changes=st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(0, 255)), max_size=8),
    length=st.integers(0, 60),
    cut=st.booleans(),
)
def test_any_payload_gives_tokens_or_our_error(  # type: ignore[no-untyped-def]
    toy_prior: ToyPrior, coder: bcdc.Coder, changes, length, cut
) -> None:
    """Payloads as no writer makes them, as if every checksum were right: tokens of the declared
    number within their codebooks, or CorruptError, and nothing else."""
    prior = toy_prior(SMALL)
    header = bcdc.header_for(
        bcdc.Header(fingerprint=MODEL, sample_rate=16000, geometry=SMALL, channels=2), coder, prior
    )
    good = bcdc.Coding(header, prior).encode([like_speech(SMALL, 20, 2)])[0]
    payload = bytearray(good[:length] if cut else good)
    for at, value in changes:
        if payload:
            payload[at % len(payload)] = value
    try:
        (tokens,) = bcdc.Coding(header, prior).decode([bytes(payload)], 20)
    except bcdc.CorruptError:
        return
    assert tokens.shape == (2, 20, 2)
    assert (tokens >= 0).all() and (tokens < np.array(SMALL.codebook_sizes)).all()


@pytest.mark.parametrize("coder", [bcdc.Coder.ADAPTIVE, bcdc.Coder.PRIOR])
def test_a_block_with_impossible_tokens_is_named(toy_prior: ToyPrior, coder: bcdc.Coder) -> None:
    """The largest payload stands for the last symbols of all alphabets, places that no code has,
    or for none at all."""
    prior, tokens = toy_prior(SMALL), like_speech(SMALL, 240)
    stored = write(tokens, SMALL, coder, prior)
    block = bcdc.read(stored).blocks[1]
    payload = b"\xff" * (block.end - block.start)
    check = block_check(payload, 1)
    changed = stored[: block.start - 4] + check + payload + stored[block.end :]
    container = bcdc.read(changed)
    with pytest.raises(bcdc.CorruptError, match="block 1: ") as caught:
        container.tokens(prior=prior)
    assert caught.value.block == 1
    assert np.array_equal(container.tokens(0, 80, prior), tokens[:, :80])
    if coder.run_blocks == 1:
        assert np.array_equal(container.tokens(160, 240, prior), tokens[:, 160:])


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(2, 9), st.integers(0, 8), st.integers(0, 99)), max_size=60))
def test_symbols_come_back_in_the_fewest_bytes(choices: list[tuple[int, int, int]]) -> None:
    rows, symbols = [], []
    for size, symbol, seed in choices:
        weights = np.random.default_rng(seed).integers(1, 1 << 20, size)
        row = 2 + weights * (range_coder.TOTAL - 2 * size) // weights.sum()
        row[0] += range_coder.TOTAL - row.sum()
        rows.append(row)
        symbols.append(symbol % size)
    writer = range_coder.Writer()
    for row, symbol in zip(rows, symbols, strict=True):
        writer.symbol(row, symbol)
    data = writer.finish()
    reader = range_coder.Reader(data)
    assert [reader.symbol(row) for row in rows] == symbols
    bits = sum(-np.log2(row[s] / range_coder.TOTAL) for row, s in zip(rows, symbols, strict=True))
    assert len(data) <= bits / 8 + 1.01
    assert not data.endswith(b"\0")


def test_coding_prints_nothing() -> None:
    """constriction prints a warning to stdout unless the argument `perfect` is given."""
    code = (
        "import io, numpy as np, bcdc\n"
        "file = io.BytesIO()\n"
        "header = bcdc.Header(fingerprint=b'abcdef', sample_rate=16000)\n"
        "with bcdc.Writer(file, bcdc.header_for(header, None)) as writer:\n"
        "    writer.write(np.zeros((1, 800, 1), np.int32))\n"
        "    writer.finish(160000)\n"
        "assert not bcdc.read(file.getvalue()).tokens().any()\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert (result.stdout, result.stderr) == (b"", b"")
