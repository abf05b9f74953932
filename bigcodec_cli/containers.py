"""Opening container files with errors that a user understands. Loads no torch."""

from __future__ import annotations

import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Protocol

import bcdc
from bigcodec_cli.output import CliError

MAX_BYTES = 1 << 30
"""The largest container that is read, for it is held in memory: some 2000 hours by lite-1."""
_STRETCH_FRAMES = 10240
"""Frames whose tokens are decoded at a time, in whole blocks: two minutes or so."""
_STRETCH_TOKENS = 1 << 21
"""Tokens that are decoded at a time, though at least those of one block."""


class Headed(Protocol):
    """What has a container's header."""

    @property
    def header(self) -> bcdc.Header:
        """Its header."""


class TokenSource(Headed, Protocol):
    """What tokens can be had from: a container, or what is left of one."""

    @property
    def num_samples(self) -> int:
        """Length of a channel at the header's rate."""

    @property
    def frames(self) -> int:
        """Frames of a channel."""

    @property
    def seconds(self) -> float:
        """Duration."""

    def tokens(
        self, first: int = 0, last: int | None = None, prior: bcdc.Prior | None = None
    ) -> bcdc.Tokens:
        """Tokens (channels, frames, codebooks) of a range of frames."""


def read_bytes(path: Path | None, *, check: bool = True) -> bytes:
    """The bytes of a container file, or of standard input (None), good or damaged.

    Raises:
        CliError: missing, unreadable, above MAX_BYTES, or, with `check`, it does not begin like
            a container.
    """
    name = "stdin" if path is None else str(path)
    try:
        if path is None:
            return _read(sys.stdin.buffer, name, check)
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise CliError(f"{path}: is a folder, not a .bcdc file")
        if not stat.S_ISREG(mode) and not stat.S_ISFIFO(mode):
            raise CliError(f"{path}: is not a regular file")
        with path.open("rb") as file:
            return _read(file, name, check)
    except FileNotFoundError:
        raise CliError(f"{name}: no such file") from None
    except OSError as error:
        raise CliError(f"{name}: cannot be read: {error.strerror}") from error
    except bcdc.NotBcdcError as error:
        raise CliError(f"{name}: {error}") from error


def open_container(path: Path | None) -> bcdc.Container:
    """Open and verify a container file, or standard input (None).

    Raises:
        CliError: missing, unreadable, or not a good container.
    """
    data = read_bytes(path)
    try:
        return bcdc.read(data)
    except bcdc.BcdcError as error:
        raise CliError(f"{'stdin' if path is None else path}: {error}") from error


def token_stretches(container: TokenSource, prior: bcdc.Prior | None) -> Iterator[bcdc.Tokens]:
    """All tokens of a container, (channels, n, codebooks), a few minutes at a time.

    Raises:
        BcdcError: they are impossible, or need another prior.
    """
    unit = container.header.block_frames
    tokens = unit * container.header.channels * container.header.geometry.codebooks
    step = max(1, min(_STRETCH_FRAMES // unit, _STRETCH_TOKENS // tokens)) * unit
    for start in range(0, container.frames, step):
        yield container.tokens(start, min(start + step, container.frames), prior)


def _read(file: BinaryIO, name: str, check: bool) -> bytes:
    start = file.read(bcdc.HEADER_BYTES)
    if check:
        bcdc.check_start(start)  # before the whole of some other file is read
    parts, left = [start], MAX_BYTES - len(start)
    while piece := file.read(1 << 20):  # a pipe does not say how much is to come
        left -= len(piece)
        if left < 0:
            raise CliError(f"{name}: is larger than {MAX_BYTES} bytes, which is too much at once")
        parts.append(piece)
    return b"".join(parts)
