"""Samples as the bytes of PCM: the encodings that WAV files and raw streams hold."""

from __future__ import annotations

import dataclasses
import enum

import numpy as np
import numpy.typing as npt

from bigcodec_cli.audio.channels import Samples


class Encoding(enum.Enum):
    """How one sample is stored, little-endian; the value: its bytes, and whether it is a float."""

    U8 = (1, False)
    S16 = (2, False)
    S24 = (3, False)
    S32 = (4, False)
    F32 = (4, True)
    F64 = (8, True)

    @property
    def size(self) -> int:
        """Bytes of a sample."""
        return int(self.value[0])

    @property
    def is_float(self) -> bool:
        """Whether samples are floating-point numbers, which may exceed full scale."""
        return bool(self.value[1])


PCM_NAMES = {"16": Encoding.S16, "24": Encoding.S24, "float": Encoding.F32}
"""The encodings that the commands offer."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class RawFormat:
    """What headerless PCM does not say about itself."""

    rate: int
    channels: int
    encoding: Encoding


def decode(data: bytes, encoding: Encoding, channels: int) -> Samples:
    """Bytes of whole frames, channels interleaved, as samples (channels, n) in [-1, 1)."""
    if encoding.is_float:
        flat: Samples = np.frombuffer(data, f"<f{encoding.size}").astype(np.float32)
    elif encoding is Encoding.U8:
        flat = np.frombuffer(data, np.uint8).astype(np.float32) / np.float32(128) - np.float32(1)
    elif encoding is Encoding.S24:
        flat = _wide(data).astype(np.float32) / np.float32(1 << 31)
    else:
        integers = np.frombuffer(data, f"<i{encoding.size}")
        flat = integers.astype(np.float32) / np.float32(1 << (8 * encoding.size - 1))
    return np.ascontiguousarray(flat.reshape(-1, channels).T)


def _wide(data: bytes) -> npt.NDArray[np.int32]:
    """24-bit integers in the upper three bytes of 32-bit ones."""
    bytes_of = np.zeros((len(data) // 3, 4), np.uint8)
    bytes_of[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)
    return bytes_of.reshape(-1).view("<i4")


def encode(samples: Samples, encoding: Encoding) -> bytes:
    """Inverse of `decode`; integers are rounded, and clipped beyond full scale."""
    flat = np.ascontiguousarray(samples.T).reshape(-1)
    if encoding.is_float:
        return flat.astype(f"<f{encoding.size}").tobytes()
    bits = 8 * encoding.size
    top = 1 << (bits - 1)
    # float64: a float32 cannot hold 2^31 - 1.
    integers = np.clip(np.rint(flat.astype(np.float64) * top), -top, top - 1).astype(np.int64)
    if encoding is Encoding.U8:
        return (integers + 128).astype(np.uint8).tobytes()
    if encoding is Encoding.S24:
        return (integers.astype("<i4").view(np.uint8).reshape(-1, 4)[:, :3]).tobytes()
    return integers.astype(f"<i{encoding.size}").tobytes()


def to_int16(wave: npt.NDArray[np.float32]) -> npt.NDArray[np.int16]:
    """A wave (n,) as 16-bit samples, clipped at full scale."""
    return np.frombuffer(encode(wave[None], Encoding.S16), "<i2")
