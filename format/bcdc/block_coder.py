"""The coders of a container's blocks, behind one interface (SPEC section 6)."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Protocol

from bcdc.adaptive_coder import AdaptiveCoder
from bcdc.errors import CorruptError, MissingPriorError
from bcdc.header import Coder, Geometry, Header, block_fits
from bcdc.prior_coder import NetworkCoder
from bcdc.prior_file import Prior
from bcdc.tokens import Tokens, pack, unpack


class BlockCoder(Protocol):
    """Codes consecutive blocks (channels, frames, codebooks)."""

    def encode(self, blocks: list[Tokens]) -> list[bytes]:
        """Payloads of the next blocks."""

    def decode(self, payloads: list[bytes], frames: int) -> list[Tokens]:
        """Tokens of the next payloads, of blocks of one length; raises CorruptError for impossible
        tokens."""


class _RawCoder:
    def __init__(self, geometry: Geometry, channels: int) -> None:
        self._geometry, self._channels = geometry, channels

    def encode(self, blocks: list[Tokens]) -> list[bytes]:
        return [pack(block, self._geometry) for block in blocks]

    def decode(self, payloads: list[bytes], frames: int) -> list[Tokens]:
        return [unpack(data, self._geometry, self._channels, frames) for data in payloads]


def usable_coders(prior: Prior | None) -> tuple[Coder, ...]:
    """The coders that can be used with a prior, or with none."""
    return tuple(coder for coder in Coder if prior is not None or not coder.needs_prior)


def header_for(header: Header, coder: Coder | None, prior: Prior | None = None) -> Header:
    """A header that names a coder and, where the coder needs it, a prior. Without a coder it is
    `prior` if there is a prior, else `adaptive`; `raw` where their blocks would be too large.

    Raises:
        ValueError: the prior is missing or of another model, or blocks would be too large.
    """
    if coder is None:
        coder = Coder.ADAPTIVE if prior is None else Coder.PRIOR
        if not block_fits(header.geometry, header.channels, coder):
            coder = Coder.RAW
    if not coder.needs_prior:
        return dataclasses.replace(header, coder=coder, prior_fingerprint=None)
    if prior is None:
        raise ValueError(f"the coder {coder.name.lower()} needs a prior")
    if not prior.fits(header):
        raise ValueError("the prior is of another model")
    return dataclasses.replace(header, coder=coder, prior_fingerprint=prior.name)


class Coding:
    """The coder of one container, starting at a block where its context starts anew: its
    number is a multiple of `header.coder.run_blocks`.

    Raises:
        MissingPriorError: the header names a prior, and `prior` is not it.
        CorruptError: the prior that it names is of another model.

    A block that the coder does not make smaller is stored raw, which its length shows.
    """

    def __init__(self, header: Header, prior: Prior | None) -> None:
        self._header = header
        self._raw = _RawCoder(header.geometry, header.channels)
        self._coder = _block_coder(header, prior)

    def encode(self, blocks: Sequence[Tokens]) -> list[bytes]:
        """Payloads of the next blocks (channels, frames, codebooks)."""
        return self.or_raw(blocks, self.encode_coded(blocks))

    def encode_coded(self, blocks: Sequence[Tokens]) -> list[bytes]:
        """What the coder makes of the next blocks, even where that is larger than raw."""
        return self._coder.encode(list(blocks))

    def or_raw(self, blocks: Sequence[Tokens], payloads: Sequence[bytes]) -> list[bytes]:
        """Payloads of blocks as `encode` gives them, from those of `encode_coded`."""
        return [
            payload
            if len(payload) < self._header.raw_bytes(block.shape[1])
            else self._raw.encode([block])[0]
            for payload, block in zip(payloads, blocks, strict=True)
        ]

    def decode(self, payloads: Sequence[bytes], frames: int) -> list[Tokens]:
        """Tokens of the next payloads, of blocks of `frames` frames.

        Raises:
            CorruptError: impossible tokens; without a block's number.
        """
        blocks: list[Tokens] = []
        for is_raw, some in groupby(payloads, lambda payload: self.is_raw(payload, frames)):
            coder: BlockCoder = self._raw if is_raw else self._coder
            decoded = coder.decode(list(some), frames)
            if is_raw and isinstance(self._coder, AdaptiveCoder):
                for block in decoded:
                    self._coder.learn(block)
            blocks += decoded
        return blocks

    def is_raw(self, payload: bytes, frames: int) -> bool:
        """Whether the payload of a block of `frames` frames is stored raw."""
        return len(payload) == self._header.raw_bytes(frames)

    @staticmethod
    def decode_together(parts: Sequence[tuple[Coding, bytes, int]]) -> list[Tokens]:
        """Tokens of blocks of several containers of the coder `prior`, all with the same prior,
        decoded side by side: for each block its coding, its payload and its frames.

        Raises:
            CorruptError: impossible tokens, in any of them.
        """
        coded = [part for part in parts if not part[0].is_raw(*part[1:])]
        decoded: Iterator[Tokens] = iter(())
        if coded:
            coder = coded[0][0]._coder
            assert isinstance(coder, NetworkCoder)
            shapes = [(coding._header.channels, frames) for coding, _, frames in coded]
            decoded = iter(coder.decode_shapes([payload for _, payload, _ in coded], shapes))
        return [
            coding._raw.decode([payload], frames)[0]
            if coding.is_raw(payload, frames)
            else next(decoded)
            for coding, payload, frames in parts
        ]


def _block_coder(header: Header, prior: Prior | None) -> BlockCoder:
    geometry, channels = header.geometry, header.channels
    if header.coder is Coder.RAW:
        return _RawCoder(geometry, channels)
    if header.coder is Coder.ADAPTIVE:
        return AdaptiveCoder(geometry, channels)
    name = header.prior_fingerprint
    if name is None:
        raise CorruptError("the header names no prior, which its coder needs")
    if prior is None or prior.name != name:
        raise MissingPriorError(name)
    if not prior.fits(header):
        raise CorruptError("the prior that the header names is of another model")
    return NetworkCoder(prior.network, prior.groupings, geometry, channels)
