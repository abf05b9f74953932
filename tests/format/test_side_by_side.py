"""Blocks of different shapes, and many short containers, coded side by side: the same bytes and
tokens as one by one."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import bcdc
from bcdc.blocks import block_check
from bcdc.prior_coder import NetworkCoder

MODEL = bytes.fromhex("0123456789ab")
ToyPrior = Callable[..., bcdc.Prior]
SMALL = bcdc.Geometry(hop=1600, codebook_sizes=(300, 5))


def steady(frames: int, channels: int = 1, seed: int = 0, geometry: bcdc.Geometry = SMALL):  # type: ignore[no-untyped-def]
    """Tokens that stay the same for a while."""
    random = np.random.default_rng(seed)
    sizes = np.array(geometry.codebook_sizes)
    fresh = random.integers(0, sizes, (channels, frames // 9 + 1, len(sizes)))
    return np.repeat(fresh, 9, axis=1)[:, :frames].astype(np.int32)


def coder_of(prior: bcdc.Prior, channels: int) -> NetworkCoder:
    return NetworkCoder(prior.network, prior.groupings, prior.geometry, channels)


shapes = st.lists(st.tuples(st.integers(1, 3), st.integers(1, 60)), max_size=7)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    shapes=shapes,
    sizes=st.sampled_from([(300, 5), (2,), (33,), (7, 1025, 2)]),
    seed=st.integers(0, 99),
    at_once=st.sampled_from([1, 150, 1 << 18]),
)
def test_blocks_of_any_shapes_are_coded_as_one_by_one(  # type: ignore[no-untyped-def]
    toy_prior: ToyPrior, shapes, sizes, seed, at_once
) -> None:
    geometry = bcdc.Geometry(hop=1600, codebook_sizes=sizes)
    prior = toy_prior(geometry)
    blocks = [steady(n, c, seed + i, geometry) for i, (c, n) in enumerate(shapes)]
    alone = [coder_of(prior, len(block)).encode([block])[0] for block in blocks]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bcdc.prior_coder._STATES_AT_ONCE", at_once)
        patch.setattr("bcdc.prior_coder._DECODED_AT_ONCE", max(1, at_once // 50))
        assert coder_of(prior, 1).encode(blocks) == alone
        together = coder_of(prior, 1).decode_shapes(alone, shapes)
    one_by_one = [
        coder_of(prior, c).decode([payload], n)[0]
        for payload, (c, n) in zip(alone, shapes, strict=True)
    ]
    for table, other, block in zip(together, one_by_one, blocks, strict=True):
        assert np.array_equal(table, block) and np.array_equal(other, block)


def written(
    recordings: Sequence[bcdc.Tokens],
    priors: Sequence[bcdc.Prior | None],
    coder: bcdc.Coder,
    hold: int,
    ahead: bool,
) -> list[bytes]:
    """Containers of recordings whose writers are finished together."""
    files, writers = [io.BytesIO() for _ in recordings], []
    for file, tokens, prior in zip(files, recordings, priors, strict=True):
        header = bcdc.Header(
            fingerprint=MODEL, sample_rate=16000, channels=len(tokens), geometry=SMALL
        )
        header = bcdc.header_for(header, coder, prior)
        writers.append(bcdc.Writer(file, header, prior, hold))
        for start in range(0, tokens.shape[1], 50):
            writers[-1].write(tokens[:, start : start + 50])
    if ahead:
        bcdc.code_ahead(writers)
    for writer, tokens in zip(writers, recordings, strict=True):
        writer.finish(tokens.shape[1] * SMALL.hop)
    return [file.getvalue() for file in files]


LENGTHS = (1, 200, 80, 0, 17, 161, 1500, 9)


def recordings() -> list[bcdc.Tokens]:
    return [steady(n, 1 + i % 2, i) for i, n in enumerate(LENGTHS)]


@pytest.mark.parametrize("hold", [1, 16])
def test_writers_coded_ahead_write_the_same(
    toy_prior: ToyPrior, hold: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two priors, one after the other; with nothing left for `finish` to code by a network."""
    one, other = toy_prior(SMALL), toy_prior(SMALL, seed=1)
    priors = [one if i % 3 else other for i in range(len(LENGTHS))]
    coder = bcdc.Coder.PRIOR
    expected = written(recordings(), priors, coder, 1, ahead=False)
    honest, calls = NetworkCoder.encode, list[int]()

    def counted(self: NetworkCoder, blocks: Sequence[bcdc.Tokens]) -> list[bytes]:
        calls.append(len(blocks))
        return honest(self, blocks)

    short = [tokens[:, :79] for tokens in recordings()]
    alone = written(short, priors, coder, hold, ahead=False)
    monkeypatch.setattr(NetworkCoder, "encode", counted)
    assert written(recordings(), priors, coder, hold, ahead=True) == expected
    calls.clear()
    assert written(short, priors, coder, hold, ahead=True) == alone
    assert sorted(calls) == [2, 5]  # an empty recording has no block


def test_tokens_that_follow_are_coded_too(toy_prior: ToyPrior) -> None:
    prior, tokens = toy_prior(SMALL), steady(150)
    (expected,) = written([tokens], [prior], bcdc.Coder.PRIOR, 1, ahead=False)
    file = io.BytesIO()
    header = bcdc.Header(fingerprint=MODEL, sample_rate=16000, geometry=SMALL)
    with bcdc.Writer(file, bcdc.header_for(header, None, prior), prior, 16) as writer:
        writer.write(tokens[:, :70])
        bcdc.code_ahead([writer])
        writer.write(tokens[:, 70:])
        writer.finish(150 * SMALL.hop)
    assert file.getvalue() == expected


def test_containers_decoded_ahead_have_the_same_tokens(
    toy_prior: ToyPrior, monkeypatch: pytest.MonkeyPatch
) -> None:
    prior, other = toy_prior(SMALL), toy_prior(SMALL, seed=1)
    tables = recordings()
    stored = written(tables, [prior] * len(tables), bcdc.Coder.PRIOR, 1, ahead=False)
    foreign = written(tables[:1], [other], bcdc.Coder.PRIOR, 1, ahead=False)
    raw = written(tables[1:2], [None], bcdc.Coder.RAW, 1, ahead=False)
    containers = [bcdc.read(data) for data in [*stored, *foreign, *raw]]
    bcdc.decode_ahead(containers, prior)
    with pytest.raises(bcdc.MissingPriorError):
        containers[1].tokens(prior=other)
    with pytest.raises(bcdc.MissingPriorError):
        containers[len(tables)].tokens(prior=prior)
    assert np.array_equal(containers[-1].tokens(), tables[1])
    assert np.array_equal(containers[6].tokens(prior=prior), tables[6])  # too long to go along
    assert np.array_equal(containers[1].tokens(100, 170, prior), tables[1][:, 100:170])
    monkeypatch.setattr(NetworkCoder, "decode_shapes", None)
    for index in (0, 1, 2, 3, 4, 5, 7):
        assert np.array_equal(containers[index].tokens(prior=prior), tables[index])


def damaged(data: bytes) -> bytes:
    """A container whose first block has a payload of no tokens, every checksum being right."""
    block = bcdc.read(data).blocks[0]
    payload = b"\xff" * (block.end - block.start)
    check = block_check(payload, 0, block.short)
    return data[: block.start - 4] + check + payload + data[block.end :]


def test_a_damaged_container_fails_alone(toy_prior: ToyPrior) -> None:
    prior, tables = toy_prior(SMALL), recordings()
    stored = written(tables, [prior] * len(tables), bcdc.Coder.PRIOR, 1, ahead=False)
    header = bcdc.read(stored[1]).header
    first = bcdc.read(stored[1]).blocks[0]
    assert first.end - first.start < header.raw_bytes(80)  # else it would be good, and raw
    containers = [bcdc.read(damaged(d) if i == 1 else d) for i, d in enumerate(stored)]
    bcdc.decode_ahead(containers, prior)
    with pytest.raises(bcdc.CorruptError, match="block 0: "):
        containers[1].tokens(prior=prior)
    for index in (0, *range(2, len(tables))):
        assert np.array_equal(containers[index].tokens(prior=prior), tables[index])
