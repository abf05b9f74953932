"""Token arrays: checking, raw packing and order-0 entropy (SPEC sections 6.1 and 5.3)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from bcdc.errors import CorruptError
from bcdc.header import Geometry

Tokens = npt.NDArray[np.int32]
"""Tokens of a stretch of time: (channels, frames, codebooks)."""

ENTROPY_UNIT = 1 / 4096


def check_tokens(tokens: npt.NDArray[np.integer], geometry: Geometry, channels: int) -> Tokens:
    """`tokens` as a contiguous int32 array, shape and range checked.

    Raises:
        TypeError: not an array of integers.
        ValueError: wrong shape, or a token outside its codebook.
    """
    if not isinstance(tokens, np.ndarray) or tokens.dtype.kind not in "iu":
        raise TypeError("tokens must be a numpy array of integers")
    if tokens.ndim != 3 or tokens.shape[0] != channels or tokens.shape[2] != geometry.codebooks:
        raise ValueError(
            f"tokens have shape {tokens.shape}, expected ({channels}, frames, {geometry.codebooks})"
        )
    sizes = np.array(geometry.codebook_sizes)
    if tokens.size and (int(tokens.min()) < 0 or bool((tokens >= sizes).any())):
        raise ValueError("a token is outside its codebook")
    return np.ascontiguousarray(tokens, dtype=np.int32)


def pack(tokens: Tokens, geometry: Geometry) -> bytes:
    """Tokens (channels, frames, codebooks) as fixed-width big-endian bit fields, in C order."""
    columns = [_to_bits(tokens[:, :, k], bits) for k, bits in enumerate(geometry.token_bits)]
    bits = np.concatenate(columns, axis=2).reshape(-1)
    return np.packbits(bits).tobytes()


def unpack(data: bytes, geometry: Geometry, channels: int, frames: int) -> Tokens:
    """Inverse of `pack`.

    Raises:
        CorruptError: wrong length, padding that is not zero, or a token outside its codebook.
    """
    if len(data) != geometry.raw_bytes(frames, channels):
        raise CorruptError("a block has the wrong length for its tokens")
    width = sum(geometry.token_bits)
    bits = np.unpackbits(np.frombuffer(data, dtype=np.uint8))
    used = channels * frames * width
    if bits[used:].any():
        raise CorruptError("a block's padding bits are not zero")
    table = bits[:used].reshape(channels, frames, width)
    tokens = np.empty((channels, frames, geometry.codebooks), dtype=np.int32)
    at = 0
    for k, count in enumerate(geometry.token_bits):
        tokens[:, :, k] = table[:, :, at : at + count] @ _place_values(count)
        at += count
    if (tokens >= np.array(geometry.codebook_sizes)).any():
        raise CorruptError("a token is outside its codebook")
    return tokens


def _place_values(bits: int) -> npt.NDArray[np.int32]:
    return np.left_shift(1, np.arange(bits - 1, -1, -1, dtype=np.int32))


def _to_bits(tokens: npt.NDArray[np.int32], bits: int) -> npt.NDArray[np.uint8]:
    shifts = np.arange(bits - 1, -1, -1, dtype=np.int32)
    return (tokens[:, :, None] >> shifts & 1).astype(np.uint8)


class TokenCounts:
    """Running counts of each codebook's tokens, for the order-0 entropy."""

    def __init__(self, geometry: Geometry) -> None:
        self._counts = [np.zeros(size, dtype=np.int64) for size in geometry.codebook_sizes]

    def add(self, tokens: Tokens) -> None:
        """Count tokens (channels, frames, codebooks)."""
        for k, counts in enumerate(self._counts):
            counts += np.bincount(tokens[:, :, k].reshape(-1), minlength=len(counts))

    def bits_per_token(self) -> float:
        """Order-0 entropy: bits a token, the mean over codebooks; 0 for no tokens."""
        return float(np.mean([_entropy(counts) for counts in self._counts]))

    def units(self) -> int:
        """`bits_per_token` in units of 1/4096 bit, as the container stores it."""
        return min(65535, round(self.bits_per_token() / ENTROPY_UNIT))


def _entropy(counts: npt.NDArray[np.int64]) -> float:
    total = int(counts.sum())
    if not total:
        return 0.0
    shares = counts[counts > 0] / total
    return float(-(shares * np.log2(shares)).sum())
