"""Cutting tokens that come in pieces into blocks, and coding them (SPEC section 4)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bcdc.block_coder import Coding
from bcdc.blocks import seek_table, stored_block
from bcdc.header import Header
from bcdc.prior_file import Prior
from bcdc.tokens import Tokens
from bcdc.varint import put_varint


class BlockStream:
    """Makes the blocks of one container. Up to `hold` full blocks wait to be coded together,
    which is faster."""

    def __init__(self, header: Header, prior: Prior | None, hold: int = 1) -> None:
        self.header = header
        self._coding = Coding(header, prior)
        self._hold = hold
        self._pending: list[Tokens] = []
        self._pending_frames = 0
        self._ahead: Sequence[bytes] | None = None
        self._sizes: list[int] = []

    def push(self, tokens: Tokens) -> list[bytes]:
        """Take tokens (channels, frames, codebooks); gives the blocks that this completes."""
        self._ahead = None
        self._pending.append(tokens)
        self._pending_frames += tokens.shape[1]
        if self._pending_frames < self.header.block_frames * self._hold:
            return []
        return self._cut()

    def finish(self) -> list[bytes]:
        """The remaining blocks as stored, the last of them perhaps short."""
        blocks = self._stored(self.waiting(), self._ahead)
        self._pending, self._pending_frames, self._ahead = [], 0, None
        return blocks

    def waiting(self) -> list[Tokens]:
        """Blocks (channels, frames, codebooks) that `finish` would code; the last may be short."""
        if not self._pending_frames:
            return []
        joined, full = np.concatenate(self._pending, axis=1), self.header.block_frames
        return [joined[:, start : start + full] for start in range(0, joined.shape[1], full)]

    def encode(self, blocks: Sequence[Tokens]) -> list[bytes]:
        """What the coder makes of blocks, even where that is larger than raw; for coders without
        a context."""
        return self._coding.encode_coded(blocks)

    def keep(self, payloads: Sequence[bytes]) -> None:
        """Keep the coded payloads of the blocks in `waiting`, made elsewhere, for `finish`."""
        self._ahead = payloads

    def seek_table(self) -> bytes:
        """The seek table of the blocks so far."""
        return b"".join(put_varint(size) for size in seek_table(self._sizes))

    def _cut(self) -> list[bytes]:
        if not self._pending:
            return []
        joined, full = np.concatenate(self._pending, axis=1), self.header.block_frames
        whole = joined.shape[1] // full * full
        self._pending, self._pending_frames = [joined[:, whole:]], joined.shape[1] - whole
        return self._stored([joined[:, start : start + full] for start in range(0, whole, full)])

    def _stored(
        self, blocks: Sequence[Tokens], coded: Sequence[bytes] | None = None
    ) -> list[bytes]:
        full, first = self.header.full_block_bytes, len(self._sizes)
        coded = self._coding.encode_coded(blocks) if coded is None else coded
        payloads = self._coding.or_raw(blocks, coded)
        stored = [
            stored_block(payloads[i], first + i, full, tokens.shape[1] < self.header.block_frames)
            for i, tokens in enumerate(blocks)
        ]
        self._sizes += [len(data) for data in stored]
        return stored
