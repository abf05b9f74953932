"""Recovery writes what a checksum vouches for, and nothing else; and its search is linear."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import bcdc
from bcdc import block_search
from bcdc.blocks import stored_block, trailer_check
from bcdc.header import write_header
from bcdc.recover import salvage
from bcdc.varint import check32, put_varint

GEOMETRY = bcdc.Geometry(hop=1600, codebook_sizes=(64, 300))
"""Blocks of few frames, which take little time."""
FRAMES = 5 * GEOMETRY.block_frames - 11
"""In raw blocks, and in those of the other coders, a last one that is short."""
ToyPrior = Callable[..., bcdc.Prior]
Coded = tuple[bytes, bcdc.Tokens, bcdc.Prior]


def coded(toy_prior: ToyPrior, coder: bcdc.Coder, frames: int, channels: int = 1) -> Coded:
    """A container of that many frames, the last of them cut short, its tokens and its prior."""
    prior = toy_prior(GEOMETRY)
    header = bcdc.Header(
        fingerprint=prior.model, sample_rate=16000, channels=channels, geometry=GEOMETRY
    )
    steps = np.random.default_rng(4).integers(-3, 4, (channels, frames, 2)).cumsum(axis=1)
    tokens: bcdc.Tokens = (steps % GEOMETRY.codebook_sizes).astype(np.int32)
    used = prior if coder.needs_prior else None
    header = bcdc.header_for(header, coder, used)
    return bcdc.write(header, tokens, frames * GEOMETRY.hop - 7, used), tokens, prior


def check_true(data: bytes, tokens: bcdc.Tokens, prior: bcdc.Prior) -> int:
    """What is restored are tokens of the recording, in their places, or is named as lost; how many
    frames are not lost."""
    restored = salvage(data).decode(prior)
    assert restored.frames <= tokens.shape[1]
    kept = np.ones(restored.frames, bool)
    for start, stop in restored.lost:
        kept[start:stop] = False
    assert np.array_equal(restored.tokens()[:, kept], tokens[:, : restored.frames][:, kept])
    return int(kept.sum())


@pytest.mark.parametrize("coder", bcdc.Coder)
@pytest.mark.parametrize("junk", [b"\0", b"\1", b"\xff", None])
def test_random_bytes_behind_a_header_restore_nothing(
    toy_prior: ToyPrior, coder: bcdc.Coder, junk: bytes | None
) -> None:
    data, tokens, prior = coded(toy_prior, coder, 3)
    for seed in range(12):
        tail = np.random.default_rng(seed).bytes(2000) if junk is None else junk * 500
        salvaged = salvage(data[: bcdc.read(data).blocks[0].code] + tail)
        assert not salvaged.blocks and salvaged.last is None and salvaged.frames == 0
        assert check_true(data[: bcdc.read(data).blocks[0].code] + tail, tokens, prior) == 0


@pytest.mark.parametrize("coder", bcdc.Coder)
@pytest.mark.parametrize("channels", [1, 2])
def test_without_its_end_a_file_has_no_more_frames_than_its_blocks_show(
    toy_prior: ToyPrior, coder: bcdc.Coder, channels: int
) -> None:
    """Cut anywhere in its last block or trailer, and also with other bytes put there instead."""
    data, tokens, prior = coded(toy_prior, coder, FRAMES, channels)
    last = bcdc.read(data).blocks[-1]
    noise = np.random.default_rng(0).bytes(900)
    for length in (
        last.start + 1,
        last.end - 1,
        last.end,
        last.end + 1,
        len(data) - 6,
        len(data) - 1,
    ):
        for tail in (b"", noise):
            restored = salvage(data[:length] + tail).decode(prior)
            assert not restored.has_trailer
            check_true(data[:length] + tail, tokens, prior)


@pytest.mark.parametrize("coder", bcdc.Coder)
@pytest.mark.parametrize("channels", [1, 3])
def test_a_file_cut_in_the_middle_of_a_block_keeps_all_blocks_before_it(
    toy_prior: ToyPrior, coder: bcdc.Coder, channels: int
) -> None:
    full = GEOMETRY.block_frames * coder.block_units
    data, tokens, prior = coded(toy_prior, coder, 3 * full + 11, channels)
    noise = np.random.default_rng(0).bytes(900)
    for block in bcdc.read(data).blocks:
        for length in (block.code, block.start, (block.start + block.end) // 2):
            for tail in (b"", noise):
                restored = salvage(data[:length] + tail).decode(prior)
                assert restored.frames == block.index * full and not restored.lost
                assert np.array_equal(restored.tokens(), tokens[:, : restored.frames])


@pytest.mark.parametrize("coder", bcdc.Coder)
@pytest.mark.parametrize("channels", [1, 3])
def test_a_clip_of_one_full_block_needs_no_trailer(
    toy_prior: ToyPrior, coder: bcdc.Coder, channels: int
) -> None:
    full = GEOMETRY.block_frames * coder.block_units
    data, tokens, prior = coded(toy_prior, coder, full, channels)
    for length in range(bcdc.read(data).blocks[0].end, len(data)):
        restored = salvage(data[:length]).decode(prior)
        assert restored.frames == full and not restored.lost and not restored.has_trailer
        assert np.array_equal(restored.tokens(), tokens)


@pytest.mark.parametrize("short", [False, True])
def test_a_damaged_trailer_must_fit_the_last_block(short: bool) -> None:
    """Junk follows it, so that it is looked for behind the last block."""
    header = bcdc.Header(fingerprint=b"abcdef", sample_rate=16000)
    full, start = header.full_block_bytes, write_header(header)
    block = stored_block(bytes(full), 0, full, short)
    body = put_varint(160 * 200) + bytes(2)
    trailer = b"\0" + body + put_varint(len(body))[::-1]
    data = start + block + trailer + trailer_check(start, trailer) + b"junk"
    assert salvage(data).has_trailer is not short


def test_nothing_follows_a_short_block() -> None:
    header = bcdc.Header(fingerprint=b"abcdef", sample_rate=16000)
    full = header.full_block_bytes
    payload = bytes(header.raw_bytes(90))
    short, next_one = stored_block(payload, 0, full, True), stored_block(bytes(full), 1, full)
    restored = salvage(write_header(header) + short + next_one).decode()
    assert restored.frames == 90 and not restored.lost


def test_a_short_block_as_long_as_a_full_one_is_lost() -> None:
    """Only a file made for it has one."""
    header = bcdc.Header(fingerprint=b"abcdef", sample_rate=16000)
    full = header.full_block_bytes
    assert salvage(write_header(header) + stored_block(bytes(full), 0, full, True)).frames == 0


def test_a_last_block_shows_how_many_frames_it_has_at_least(toy_prior: ToyPrior) -> None:
    """But for a few whose bits lie in bytes that the frames before them need, and unless it may
    be fewer frames, packed raw."""
    geometry = bcdc.Geometry(hop=400, codebook_sizes=(64, 256))
    prior = toy_prior(geometry)
    header = bcdc.Header(fingerprint=prior.model, sample_rate=16000, geometry=geometry)
    header = bcdc.header_for(header, bcdc.Coder.PRIOR, prior)
    likely = bcdc.Coding(header, prior).decode([np.random.default_rng(0).bytes(300)], 320)[0]
    shown = []
    for frames in (5, 60, 61, 62, 190, 191, 192, 193):
        data = bcdc.write(header, likely[:, :frames], frames * geometry.hop, prior)
        missing = frames - check_true(data[:-6], likely, prior)
        assert missing in (*range(5), frames)
        shown.append(missing < 5)
    assert sum(shown) >= 2


@pytest.mark.parametrize("coder", bcdc.Coder)
def test_one_damaged_bit_of_the_trailer_loses_nothing(
    toy_prior: ToyPrior, coder: bcdc.Coder
) -> None:
    data, tokens, prior = coded(toy_prior, coder, FRAMES, 2)
    for bit in range(8 * (bcdc.read(data).blocks[-1].end - len(data)), 0, 5):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        restored = salvage(bytes(changed)).decode(prior)
        assert restored.num_samples == FRAMES * GEOMETRY.hop - 7 and not restored.lost
        assert np.array_equal(restored.tokens(), tokens)


@pytest.mark.parametrize("coder", bcdc.Coder)
def test_two_damaged_bytes_of_the_trailer_invent_nothing(
    toy_prior: ToyPrior, coder: bcdc.Coder
) -> None:
    data, tokens, prior = coded(toy_prior, coder, FRAMES)
    random = np.random.default_rng(1)
    for _ in range(20):
        changed = bytearray(data)
        for at in random.choice(range(bcdc.read(data).blocks[-1].end - len(data), 0), 2, False):
            changed[at] ^= int(random.integers(1, 256))
        check_true(bytes(changed), tokens, prior)


def test_a_trailer_is_found_before_bytes_that_follow_it(toy_prior: ToyPrior) -> None:
    data, tokens, prior = coded(toy_prior, bcdc.Coder.PRIOR, FRAMES)
    restored = salvage(data + b"abc" * 50).decode(prior)
    assert restored.num_samples == FRAMES * GEOMETRY.hop - 7 and not restored.lost
    assert np.array_equal(restored.tokens(), tokens)


def test_random_payloads_in_place_of_blocks_are_refused(toy_prior: ToyPrior) -> None:
    """A 16 bit checksum would accept some of these 200 000 with a chance of 95 %."""
    header = bcdc.read(coded(toy_prior, bcdc.Coder.RAW, 3)[0]).header
    random, start, full = np.random.default_rng(2), write_header(header), header.full_block_bytes
    payloads = random.bytes(200_000 + full)
    for at in range(0, 200_000, 1000):
        block = stored_block(payloads[at : at + full], 1, full)
        assert salvage(start + block).last is None
    assert all(
        check32(payloads[at : at + 20], 0) != payloads[at + 20 : at + 24] for at in range(200_000)
    )


def test_a_header_is_repaired_only_if_the_trailer_confirms_it(toy_prior: ToyPrior) -> None:
    """Some other byte fits the header's 16 bits as well, and would give another sample rate."""
    data, tokens, prior = coded(toy_prior, bcdc.Coder.PRIOR, FRAMES)
    for at in range(4, bcdc.HEADER_BYTES):
        changed = bytearray(data)
        changed[at] ^= 0x5A
        assert salvage(bytes(changed)).header == bcdc.read(data).header
        with pytest.raises(bcdc.BcdcError):
            salvage(bytes(changed[:-2]))


def test_the_number_of_a_block_follows_from_its_checksum() -> None:
    header = bcdc.Header(fingerprint=b"abcdef", sample_rate=16000)
    random, full = np.random.default_rng(3), header.full_block_bytes
    sizes = [0, 1, 2, 3, 4, 5, 8, 17, 63, 64, 65, 127, 128, 200, 255, 256, 259, 260]
    blocks = [stored_block(random.bytes(size), 90 + n, full) for n, size in enumerate(sizes)]
    data = random.bytes(700) + b"".join(blocks)
    search = block_search.BlockSearch(data, header, len(data), 200 * header.block_frames)
    places = [(block.index, block.end - block.start) for block in search.run(0)]
    assert places == [(90 + n, size) for n, size in enumerate(sizes)]


@pytest.mark.parametrize("kind", ["random", "blocks without checksums", "made for it"])
def test_the_search_is_linear(kind: str) -> None:
    """Counted in bytes that go through checksums; all else is a fixed number of steps a byte."""
    header = bcdc.Header(fingerprint=b"abcdef", sample_rate=16000, channels=100)
    checked = []
    for size in (50_000, 100_000, 200_000):
        data = junk(kind, header, size)
        search = block_search.BlockSearch(data, header, len(data), None)
        list(search.run(0))
        checked.append(search.checked)
    full = header.full_block_bytes
    assert all(count <= 16 * (size + 65536) + 2 * full for count, size in zip(
        checked, (50_000, 100_000, 200_000), strict=True
    ))  # fmt: skip


def junk(kind: str, header: bcdc.Header, size: int) -> bytes:
    full = header.full_block_bytes
    if kind == "random":
        return np.random.default_rng(0).bytes(size)
    if kind == "blocks without checksums":
        return b"\x01" * size
    data = np.random.default_rng(0).bytes(full + 10)
    while len(data) < size:  # each place a block of a number above the last one, and none follows
        payload = data[:full]
        data = stored_block(payload, 1_000_000 - len(data), full) + data
    return data


def test_a_seek_table_that_declares_much_costs_no_more_than_the_file() -> None:
    header = bcdc.Header(fingerprint=b"abcdef", sample_rate=16000)
    body = put_varint(1 << 50) + bytes(2) + b"\x7f" * 5000
    data = write_header(header) + b"\0" + body + put_varint(len(body))[::-1] + bytes(4)
    assert salvage(data).frames == 0
