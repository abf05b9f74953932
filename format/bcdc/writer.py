"""Writing containers, block by block (SPEC sections 4 and 5)."""

from __future__ import annotations

import zlib
from types import TracebackType
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from bcdc.blocks import END_CODE, length_code, seek_table
from bcdc.header import Header, write_header
from bcdc.integers import check16, put_varint
from bcdc.tokens import TokenCounts, Tokens, check_tokens, pack


class Writer:
    """Writes one container to a binary file that need not be seekable.

    Tokens may come in pieces of any length; blocks are cut on the canonical grid. The file is
    complete after `finish`, which takes the sample count; leaving the `with` statement without
    it leaves a truncated container, on purpose.
    """

    def __init__(self, file: BinaryIO, header: Header) -> None:
        self.header = header
        self._file = file
        self._crc = 0
        self._pending: list[Tokens] = []
        self._pending_frames = 0
        self._frames = 0
        self._block_sizes: list[int] = []
        self._counts = TokenCounts(header.geometry)
        self._finished = False
        self._put(write_header(header))

    def __enter__(self) -> Writer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._pending.clear()

    def write(self, tokens: npt.NDArray[np.integer]) -> None:
        """Append tokens (channels, frames, codebooks), all channels for the same frames.

        Raises:
            TypeError, ValueError: see `check_tokens`.
            OSError: the file cannot be written.
        """
        if self._finished:
            raise ValueError("the container is already finished")
        checked = check_tokens(tokens, self.header.geometry, self.header.channels)
        self._pending.append(checked)
        self._pending_frames += checked.shape[1]
        full = self.header.geometry.block_frames
        if self._pending_frames >= full:
            joined = np.concatenate(self._pending, axis=1)
            whole = joined.shape[1] // full * full
            for start in range(0, whole, full):
                self._put_block(joined[:, start : start + full])
            self._pending = [joined[:, whole:]]
            self._pending_frames = joined.shape[1] - whole

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
        if num_samples < 0 or expected != self._frames + self._pending_frames:
            raise ValueError(
                f"{num_samples} samples need {expected} frames, "
                f"but {self._frames + self._pending_frames} were written"
            )
        if self._pending_frames:
            self._put_block(np.concatenate(self._pending, axis=1))
        self._pending.clear()
        body = put_varint(num_samples) + self._counts.units().to_bytes(2, "little")
        body += b"".join(put_varint(size) for size in seek_table(self._block_sizes))
        # The length is reversed so that it can be read backwards from the end of the file.
        self._put(bytes([END_CODE]) + body + put_varint(len(body))[::-1])
        self._file.write(self._crc.to_bytes(4, "little"))
        self._finished = True

    def _put(self, data: bytes) -> None:
        self._file.write(data)
        self._crc = zlib.crc32(data, self._crc)

    def _put_block(self, tokens: Tokens) -> None:
        payload = pack(tokens, self.header.geometry)
        data = length_code(len(payload), self.header.full_block_bytes)
        data += check16(payload, len(self._block_sizes)) + payload
        self._put(data)
        self._block_sizes.append(len(data))
        self._frames += tokens.shape[1]
        self._counts.add(tokens)
