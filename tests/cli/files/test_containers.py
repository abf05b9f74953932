"""Tokens decoded ahead, on a thread: in order, in bounded lots, and never more than is wanted."""

from __future__ import annotations

import threading

import numpy as np
import pytest

import bcdc
from bigcodec_cli.files import containers

UNIT = 160
GEOMETRY = bcdc.Geometry(hop=200, codebook_sizes=(2,))


class Source:
    """A container whose token at frame t is t, which tells what was asked of it and where."""

    def __init__(self, frames: int, bad: int | None = None) -> None:
        self.header = bcdc.Header(
            fingerprint=bytes(6), sample_rate=16000, channels=1, geometry=GEOMETRY
        )
        self.frames, self._bad = frames, bad
        self.num_samples, self.seconds = frames * 200, frames / 80
        self.asked: list[tuple[int, int]] = []
        self.threads: list[str] = []

    def tokens(
        self, first: int = 0, last: int | None = None, prior: bcdc.Prior | None = None
    ) -> bcdc.Tokens:
        assert last is not None
        self.asked.append((first, last))
        self.threads.append(threading.current_thread().name)
        if self._bad is not None and first <= self._bad < last:
            raise bcdc.CorruptError("bad")
        return np.arange(first, last, dtype=np.int32)[None, :, None]


def joined(pieces: list[bcdc.Tokens]) -> list[int]:
    return [int(t) for piece in pieces for t in piece[0, :, 0]]


@pytest.mark.parametrize("frames", [0, 1, 640, 2560, 2561, 13_000, 200_001])
@pytest.mark.parametrize("first", [0, 1, 637, 640, 5000])
@pytest.mark.parametrize("last", [None, 1, 5555, 10**7])
def test_all_tokens_come_in_order(frames: int, first: int, last: int | None) -> None:
    source = Source(frames)
    assert source.header.block_frames == UNIT
    pieces = list(containers.token_stretches(source, None, first, last))
    assert joined(pieces) == list(range(first, frames))
    assert all(piece.shape[1] <= containers._STRETCH_FRAMES for piece in pieces)
    # No block is decoded twice.
    assert all(start == first or start % UNIT == 0 for start, _ in source.asked)


def test_one_stretch_is_decoded_ahead_and_no_more() -> None:
    source = Source(1_000_000)
    stretches = containers.token_stretches(source, None)
    for taken in range(1, 8):
        next(stretches)
        assert len(source.asked) <= taken + 1
    assert source.threads[0] == "MainThread"
    assert all(name.startswith("tokens") for name in source.threads[1:])
    stretches.close()
    assert len(source.asked) <= 8
    assert not [one for one in threading.enumerate() if one.name.startswith("tokens")]


def test_nothing_after_the_last_that_is_wanted_is_decoded_ahead() -> None:
    source = Source(1_000_000)
    stretches = containers.token_stretches(source, None, 0, 3000)
    assert joined([next(stretches), next(stretches)]) == list(range(3040))
    assert source.asked == [(0, 2560), (2560, 3040)]
    next(stretches)
    assert source.threads[2:] == ["MainThread"]


def test_damage_is_told_when_its_turn_comes() -> None:
    stretches = containers.token_stretches(Source(60_000, bad=2600), None)
    assert next(stretches).shape[1] == 2560
    with pytest.raises(bcdc.CorruptError):
        next(stretches)
