"""Sound and pictures inside a page: FLAC, and spectrograms as PNG."""

from __future__ import annotations

import base64
import dataclasses
import io
import struct
import zlib

import numpy as np
import numpy.typing as npt
import soundfile

from bigcodec_cli.audio.pcm import to_int16
from bigcodec_models.arrays import Wave
from bigcodec_models.config import SAMPLE_RATE

MAX_SECONDS = 12
"""The page has at most so much of a clip."""

_WINDOW, _HOP = 512, 200
_RANGE_DB = 70.0
_WHITE = 15


@dataclasses.dataclass(frozen=True)
class Sound:
    """A clip for the page: FLAC and PNG files."""

    flac: bytes
    spectrogram: bytes


def make_sound(wave: Wave, loudest: float) -> Sound:
    """The first 12 s of a wave (n,); `loudest` is the magnitude that is drawn black."""
    cut = wave[: MAX_SECONDS * SAMPLE_RATE]
    file = io.BytesIO()
    soundfile.write(file, to_int16(cut), SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    return Sound(file.getvalue(), spectrogram_png(cut, loudest))


def loudest_magnitude(wave: Wave) -> float:
    """The highest magnitude in a wave's spectrogram."""
    return float(_magnitudes(wave).max())


def spectrogram_png(wave: Wave, loudest: float) -> bytes:
    """A spectrogram, 80 columns a second, 0 to 8 kHz in 128 rows, black at `loudest`, white
    70 dB below."""
    return grey_png(spectrogram_shades(wave, loudest))


def spectrogram_shades(wave: Wave, loudest: float) -> npt.NDArray[np.uint8]:
    """The pixels of `spectrogram_png`: (128, columns) in 16 shades, 0 black and 15 white."""
    magnitudes = _magnitudes(wave)[:, :256].reshape(-1, 128, 2).max(axis=2)
    decibels = 20 * np.log10(np.maximum(magnitudes, 1e-9) / max(loudest, 1e-9))
    shades = np.round(np.clip(-decibels / _RANGE_DB, 0, 1) * _WHITE)
    return np.asarray(shades.T[::-1], dtype=np.uint8)


def grey_png(pixels: npt.NDArray[np.uint8]) -> bytes:
    """A PNG file of pixels (rows, columns) in 16 shades, 0 black and 15 white (RFC 2083).

    By hand, since none of the packages that are always installed writes PNG.
    """
    rows, columns = pixels.shape
    padded = np.pad(pixels, ((0, 0), (0, columns % 2)))
    packed = padded[:, ::2] << 4 | padded[:, 1::2]
    lines = b"".join(b"\0" + row.tobytes() for row in packed)
    header = struct.pack(">IIBBBBB", columns, rows, 4, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(lines, 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*chunk) for chunk in chunks)


def data_uri(kind: str, data: bytes) -> str:
    """The content of a file as a data URI."""
    return f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}"


def _chunk(kind: bytes, data: bytes) -> bytes:
    checksum = zlib.crc32(kind + data)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)


def _magnitudes(wave: Wave) -> npt.NDArray[np.float64]:
    """Magnitudes (frames, 257)."""
    padded = np.pad(wave, _WINDOW // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, _WINDOW)[::_HOP]
    return np.abs(np.fft.rfft(frames * np.hanning(_WINDOW), axis=1))
