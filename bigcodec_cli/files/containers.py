"""Opening container files with errors that a user understands. Loads no torch."""

from __future__ import annotations

import stat
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO, Protocol

import bcdc
from bigcodec_cli.console.messages import CliError
from bigcodec_cli.console.streams import standard_input

MAX_BYTES = 1 << 30
"""The largest container that is read, for it is held in memory: some 2000 hours of speech."""
_STRETCH_FRAMES = 40960
"""Frames whose tokens are decoded at a time, in whole blocks: about eight minutes."""
_FIRST_FRAMES, _GROWTH = 2560, 4
"""Frames decoded first, so that the receiver can begin, and the factor by which later stretches
grow."""
_STRETCH_TOKENS = 1 << 21
"""Tokens that are decoded at a time, though at least those of one block."""
_FREE_TOKENS, _TOKENS_A_BYTE = 1 << 17, 8
"""A file of few bytes that holds more tokens than this is not decoded unasked. Speech takes about a
byte a token; only minutes of digital silence take so little."""
_FREE_SECONDS, _FREE_SAMPLES = 3600, 3600 * 48000
_BYTES_A_SECOND = 20
"""Speech takes 60 and more, of each channel."""


class WithHeader(Protocol):
    """Something with the header of a container."""

    @property
    def header(self) -> bcdc.Header:
        """The header."""


class TokenSource(WithHeader, Protocol):
    """A container, or what is left of a damaged one."""

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
            return _read(standard_input(), name, check)
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


def too_many_tokens(header: bcdc.Header, frames: int, size: int) -> str | None:
    """Why the tokens of `frames` frames are not to be decoded from `size` bytes unasked: it could
    take hours. None if they are."""
    tokens = frames * header.channels * header.geometry.codebooks
    if tokens <= _FREE_TOKENS + _TOKENS_A_BYTE * size:
        return None
    return f"{tokens} tokens in {size} bytes, far more than speech has"


def frames_unasked(header: bcdc.Header, size: int) -> int:
    """How many frames' tokens may be decoded from `size` bytes unasked."""
    return (_FREE_TOKENS + _TOKENS_A_BYTE * size) // (header.channels * header.geometry.codebooks)


def too_much_audio(header: bcdc.Header, samples: int, size: int) -> str | None:
    """Why `samples` samples a channel are not to be written from `size` bytes unasked: they last
    over an hour, or are as many, and speech would take far more bytes; None if they are."""
    seconds = samples / header.sample_rate
    total = samples * header.restored_channels
    large = seconds > _FREE_SECONDS or total > _FREE_SAMPLES
    if not large or size >= _BYTES_A_SECOND * seconds * header.channels:
        return None
    hours = seconds * header.restored_channels / 3600
    return f"{hours:.1f} hours of audio, {total} samples, in {size} bytes, far too few for speech"


def token_stretches(
    container: TokenSource,
    prior: bcdc.Prior | None,
    first: int = 0,
    last: int | None = None,
) -> Generator[bcdc.Tokens, None, None]:
    """All tokens of a container from frame `first` on, (channels, n, codebooks), a few minutes at
    a time.

    While one stretch is in use, the next is decoded on a thread, but not beyond frame `last`: up
    to there the receiver is sure to take all.

    Raises:
        BcdcError: they are impossible, or need another prior.
    """
    unit, frames = container.header.block_frames, container.frames
    last = frames if last is None else min(-(-last // unit) * unit, frames)
    spans = _spans(container, first, last)
    with ThreadPoolExecutor(1, thread_name_prefix="tokens") as pool:
        span, decoding = next(spans, None), None
        while span is not None:
            tokens = container.tokens(*span, prior) if decoding is None else decoding.result()
            span = next(spans, None)
            decoding = pool.submit(container.tokens, *span, prior) if span is not None else None
            yield tokens
    for span in _spans(container, max(first, last), frames):
        yield container.tokens(*span, prior)


def _spans(container: TokenSource, first: int, last: int) -> Iterator[tuple[int, int]]:
    """Frames `first` to `last` in stretches that grow, and begin at blocks."""
    unit = container.header.block_frames
    tokens = unit * container.header.channels * container.header.geometry.codebooks
    most = max(1, min(_STRETCH_FRAMES // unit, _STRETCH_TOKENS // tokens))
    blocks = min(most, max(1, _FIRST_FRAMES // unit))
    while first < last:
        end = min((first // unit + blocks) * unit, last)
        yield first, end
        first, blocks = end, min(most, blocks * _GROWTH)


def _read(file: BinaryIO, name: str, check: bool) -> bytes:
    start = file.read(bcdc.HEADER_BYTES)
    if check:
        bcdc.check_start(start)  # before all of some other file is read
    parts, left = [start], MAX_BYTES - len(start)
    while piece := file.read(1 << 20):  # a pipe does not say how much is to come
        left -= len(piece)
        if left < 0:
            raise CliError(f"{name}: is larger than {MAX_BYTES} bytes, which is too much at once")
        parts.append(piece)
    return b"".join(parts)
