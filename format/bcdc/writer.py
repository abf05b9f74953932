"""Writing containers, block by block (SPEC sections 4 and 5)."""

from __future__ import annotations

import io
from collections.abc import Sequence
from types import TracebackType
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from bcdc.block_coder import header_for
from bcdc.block_encoder import BlockStream
from bcdc.blocks import END_CODE, trailer_check
from bcdc.header import Coder, Header, write_header
from bcdc.prior_file import Prior
from bcdc.tokens import TokenCounts, check_tokens
from bcdc.varint import put_varint


class Writer:
    """Writes one container to a binary file that need not be seekable.

    Tokens may come in pieces of any length; blocks are cut on the canonical grid. The file is
    complete after `finish`, which takes the sample count. Leaving the `with` statement without
    `finish` leaves a truncated container, on purpose.

    The coder is that of the header. Blocks are written once `hold` of them are full, and coded
    together: for the coder `prior` more of them at a time are faster. The bytes are the same.

    Raises:
        ValueError: the coder needs a prior and none was given, or that of another model.
    """

    def __init__(
        self, file: BinaryIO, header: Header, prior: Prior | None = None, hold: int = 1
    ) -> None:
        self.header = header
        self._file = file
        self._frames = 0
        self._counts = TokenCounts(header.geometry)
        self._finished = False
        if header_for(header, header.coder, prior) != header:
            raise ValueError("the header names another prior than the one given")
        self._stream = BlockStream(header, prior, hold)
        self._header_bytes = write_header(header)
        file.write(self._header_bytes)

    def __enter__(self) -> Writer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._finished = True

    def write(self, tokens: npt.NDArray[np.integer]) -> None:
        """Append tokens (channels, frames, codebooks), all channels for the same frames.

        Raises:
            TypeError, ValueError: see `check_tokens`.
            OSError: the file cannot be written.
        """
        if self._finished:
            raise ValueError("the container is already finished")
        checked = check_tokens(tokens, self.header.geometry, self.header.channels)
        self._frames += checked.shape[1]
        self._counts.add(checked)
        self._file.write(b"".join(self._stream.push(checked)))

    def finish(self, num_samples: int) -> None:
        """Write what is left and the trailer. `num_samples` is a channel's length, at the
        header's sample rate.

        Raises:
            ValueError: it does not fit the number of frames written.
            OSError: the file cannot be written.
        """
        if self._finished:
            raise ValueError("the container is already finished")
        expected = self.header.frames_of(num_samples)
        if num_samples < 0 or expected != self._frames:
            raise ValueError(
                f"{num_samples} samples need {expected} frames, but {self._frames} were written"
            )
        self._file.write(b"".join(self._stream.finish()))
        body = put_varint(num_samples) + self._counts.units().to_bytes(2, "little")
        body += self._stream.seek_table()
        # The length is reversed so that it can be read backwards from the end of the file.
        trailer = bytes([END_CODE]) + body + put_varint(len(body))[::-1]
        self._file.write(trailer + trailer_check(self._header_bytes, trailer))
        self._finished = True


def write(
    header: Header, tokens: npt.NDArray[np.integer], num_samples: int, prior: Prior | None = None
) -> bytes:
    """A container of tokens (channels, frames, codebooks) that are all at hand: what `read` opens.

    Raises:
        TypeError, ValueError: see `Writer`.
    """
    file = io.BytesIO()
    with Writer(file, header, prior) as writer:
        writer.write(tokens)
        writer.finish(num_samples)
    return file.getvalue()


def code_ahead(writers: Sequence[Writer]) -> None:
    """Code the blocks that `finish` of each writer would code, side by side: for many short
    containers that is faster, and the bytes are the same.

    Only the coder `prior` becomes faster; other writers code in `finish` as usual.
    """
    streams = [writer._stream for writer in writers if writer._stream.header.coder is Coder.PRIOR]
    for name in {stream.header.prior_fingerprint for stream in streams}:
        some = [stream for stream in streams if stream.header.prior_fingerprint == name]
        blocks = [stream.waiting() for stream in some]
        payloads = iter(some[0].encode([block for waiting in blocks for block in waiting]))
        for stream, waiting in zip(some, blocks, strict=True):
            stream.keep([next(payloads) for _ in waiting])
