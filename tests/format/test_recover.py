"""Recovering damaged containers: what is whole comes back, and nothing else is taken for it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import bcdc
from bcdc.blocks import stored_block
from bcdc.header import write_header
from bcdc.recover import salvage

FRAMES = 160 * 24 + 33
SMALL = bcdc.Geometry(hop=400, codebook_sizes=(64, 300))
WITH_F0 = bcdc.Geometry(hop=400, codebook_sizes=(64, 154), f0=True)


def make(
    coder: bcdc.Coder = bcdc.Coder.RAW,
    geometry: bcdc.Geometry | None = None,
    tags: tuple[tuple[str, str], ...] = (),
) -> tuple[bytes, bcdc.Tokens]:
    geometry = geometry or bcdc.Geometry()
    generator = np.random.default_rng(3)
    columns = [generator.integers(0, size, (2, FRAMES)) for size in geometry.codebook_sizes]
    tokens = np.stack(columns, axis=2).astype(np.int32)
    header = bcdc.Header(
        fingerprint=b"abcdef",
        sample_rate=16000,
        channels=2,
        geometry=geometry,
        coder=coder,
        tags=tags,
    )
    return bcdc.write(header, tokens, FRAMES * geometry.hop - 7), tokens


DATA, TOKENS = make()
BLOCKS = bcdc.read(DATA).blocks


def check(data: bytes, lost: list[tuple[int, int]], frames: int = FRAMES) -> None:
    """What is not lost is exact; losses are in blocks."""
    restored = salvage(data).decode()
    assert [*restored.lost] == [(160 * a, min(160 * b, FRAMES)) for a, b in lost]
    assert restored.frames == frames
    keep = np.ones(frames, bool)
    for start, stop in restored.lost:
        keep[start:stop] = False
    assert np.array_equal(restored.tokens()[:, keep], TOKENS[:, :frames][:, keep])


def test_an_undamaged_file_loses_nothing() -> None:
    check(DATA, [])
    salvaged = salvage(DATA)
    assert salvaged.has_trailer and not salvaged.header_repaired
    assert salvaged.num_samples == FRAMES * 200 - 7


def test_damage_in_payloads_lengths_and_checksums() -> None:
    for block in (0, 7, 23, 24):
        for at in (BLOCKS[block].code, BLOCKS[block].code + 1, BLOCKS[block].start + 9):
            data = bytearray(DATA)
            data[at] ^= 0x15
            check(bytes(data), [(block, block + 1)])


def test_bytes_lost_and_bytes_put_between() -> None:
    check(DATA[: BLOCKS[5].start + 30] + DATA[BLOCKS[9].start + 3 :], [(5, 10)])
    check(DATA[: BLOCKS[5].code] + DATA[BLOCKS[9].code :], [(5, 9)])
    junk = np.random.default_rng(0).bytes(3000)
    check(DATA[: BLOCKS[5].code] + junk + DATA[BLOCKS[5].code :], [])
    check(DATA[: BLOCKS[5].start] + junk + DATA[BLOCKS[5].start :], [(5, 6)])


def test_truncation_keeps_what_came_before() -> None:
    for cut in (BLOCKS[9].code, BLOCKS[9].start + 50):
        check(DATA[:cut], [], 9 * 160)
    check(DATA[:-3], [], FRAMES)
    assert salvage(DATA[: BLOCKS[0].start]).frames == 0


@pytest.mark.parametrize("geometry", [None, SMALL, WITH_F0])
def test_one_damaged_byte_of_the_header_is_put_right(geometry: bcdc.Geometry | None) -> None:
    data, tokens = make(geometry=geometry)
    header = bcdc.read(data).header
    for at in range(bcdc.read(data).blocks[0].code):
        changed = bytearray(data)
        changed[at] ^= 0x21
        try:
            salvaged = salvage(bytes(changed))
        except bcdc.BcdcError:
            assert geometry is not None and at >= bcdc.HEADER_BYTES  # lengths of the extension
            continue
        assert salvaged.header == header, at
        assert salvaged.header_repaired and np.array_equal(salvaged.decode().tokens(), tokens)


def test_blocks_that_need_a_lost_one_are_lost_too() -> None:
    data, tokens = make(bcdc.Coder.ADAPTIVE)
    blocks = bcdc.read(data).blocks
    changed = bytearray(data)
    changed[blocks[2].start + 5] ^= 1
    restored = salvage(bytes(changed)).decode()
    assert restored.lost == ((2 * 640, FRAMES),)
    assert np.array_equal(restored.tokens(0, 1280), tokens[:, :1280])


def test_other_files_are_refused_by_their_kind() -> None:
    with pytest.raises(bcdc.NotBcdcError):
        salvage(b"RIFF" + DATA[4:6] + b"x" + DATA[7:])
    with pytest.raises(bcdc.NotBcdcError):
        salvage(b"")
    newer = b"\x02" + DATA[7:18]
    with pytest.raises(bcdc.UnsupportedError):
        salvage(DATA[:4] + bcdc.varint.check16(newer) + newer + DATA[18:])


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.lists(st.tuples(st.integers(0, len(DATA) - 1), st.integers(1, 255)), max_size=12),
    st.integers(0, len(DATA)),
    st.binary(max_size=40),
)
def test_whatever_is_done_to_it_nothing_false_comes_back(
    changes: list[tuple[int, int]], cut: int, tail: bytes
) -> None:
    data = bytearray(DATA)
    for at, value in changes:
        data[at] ^= value
    try:
        restored = salvage(bytes(data[:cut]) + tail).decode()
    except bcdc.BcdcError:
        return
    assert restored.frames <= 160 * (len(data) // 4 + 16)
    lost = np.zeros(restored.frames, bool)
    for start, stop in restored.lost:
        lost[start:stop] = True
    kept = np.flatnonzero(~lost)
    if restored.header == bcdc.read(DATA).header and len(kept) and kept[-1] < FRAMES:
        assert np.array_equal(restored.tokens()[:, kept], TOKENS[:, kept])


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.binary(max_size=600))
def test_any_bytes_behind_a_header_give_something_or_one_of_our_errors(junk: bytes) -> None:
    try:
        salvaged = salvage(DATA[:18] + junk)
    except bcdc.BcdcError:
        return
    assert salvaged.frames <= 160 * 160


def test_a_few_bytes_cannot_ask_for_gigabytes() -> None:
    """Blocks of no bytes stand for millions of tokens each, and the trailer may declare more."""
    header = bcdc.Header(
        fingerprint=b"abcdef",
        sample_rate=16000,
        channels=16,
        geometry=bcdc.Geometry(hop=32, codebook_sizes=(2,)),
        coder=bcdc.Coder.ADAPTIVE,
    )
    full = header.full_block_bytes
    blocks = [stored_block(b"", number, full) for number in range(600)]
    data = write_header(header) + b"".join(blocks)
    assert len(data) < 5000
    salvaged = salvage(data)
    assert len(salvaged.blocks) == 600 and salvaged.frames == 600 * header.block_frames
    with pytest.raises(bcdc.LimitError, match="38400000 tokens, too many at once"):
        salvaged.decode()


def test_a_block_near_the_end_is_not_taken_for_one_far_beyond_it(
    toy_prior: Callable[..., bcdc.Prior],
) -> None:
    """Ten damaged bytes once made six minutes fifteen hours: among thousands one number fits."""
    generator = np.random.default_rng(8)
    prior = toy_prior(SMALL)
    columns = [generator.integers(0, size, (1, 640 * 46)) for size in SMALL.codebook_sizes]
    header = bcdc.Header(fingerprint=prior.model, sample_rate=16000, geometry=SMALL)
    coded = bcdc.header_for(header, bcdc.Coder.PRIOR, prior)
    tokens = np.stack(columns, axis=2).astype(np.int32)
    whole = bcdc.write(coded, tokens, 640 * 46 * SMALL.hop, prior)
    for _ in range(60):
        data = bytearray(whole)
        for at in generator.integers(100, len(whole) - 300, 10):
            data[at] ^= int(generator.integers(1, 256))
        salvaged = salvage(bytes(data))
        assert salvaged.has_trailer and salvaged.frames == 640 * 46
        assert len(salvaged.blocks) >= 92 - 20 and max(salvaged.blocks) < 92
