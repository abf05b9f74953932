"""What is held in memory has a bound, however much there is to read."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import bcdc
from bigcodec_cli.console.messages import CliError
from bigcodec_cli.files import containers

Here = Callable[..., Any]


class Endless(io.RawIOBase):
    """A container's magic and then zeros for ever, counted."""

    given = 0

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        assert size >= 0, "all of it is asked for"
        start = b"BCDC"[self.given : self.given + size]
        self.given += size
        return start.ljust(size, b"\0")


def test_an_endless_pipe_is_read_up_to_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(containers, "MAX_BYTES", 5 << 20)
    source = Endless()
    with pytest.raises(CliError, match="a pipe: is larger than 5242880 bytes"):
        containers._read(source, "a pipe", True)  # type: ignore[arg-type]
    assert source.given <= 7 << 20


@pytest.mark.parametrize("command", ["info", "test", "decompress"])
def test_a_container_above_the_limit_is_refused(
    here: Here, monkeypatch: pytest.MonkeyPatch, packed: bytes, command: str
) -> None:
    monkeypatch.setattr(containers, "MAX_BYTES", len(packed))
    assert here("info", "-", stdin=packed).code == 0
    result = here(command, "-", stdin=packed + b"x")
    assert result.code == 1
    assert result.stderr == (
        f"bigcodec: stdin: is larger than {len(packed)} bytes, which is too much at once\n"
    )


def test_tokens_come_in_pieces_of_bounded_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where a block holds many: it is then one block at a time."""
    header = bcdc.Header(
        fingerprint=bytes(6),
        sample_rate=16000,
        channels=3,
        geometry=bcdc.Geometry(hop=8000, codebook_sizes=(2, 2)),
    )
    tokens = np.random.default_rng(0).integers(0, 2, (3, 42, 2), dtype=np.int32)
    container = bcdc.read(bcdc.write(header, tokens, 42 * 8000))
    for limit, lengths in ((1, [4] * 10 + [2]), (70, [8] * 5 + [2]), (1 << 20, [42])):
        monkeypatch.setattr(containers, "_STRETCH_TOKENS", limit)
        pieces = list(containers.token_stretches(container, None))
        assert [piece.shape[1] for piece in pieces] == lengths
        assert np.array_equal(np.concatenate(pieces, axis=1), tokens)
