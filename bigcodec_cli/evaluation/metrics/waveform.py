"""Reading, resampling and rounding of waves."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from bigcodec_cli.audio.pcm import Encoding, decode, encode
from bigcodec_cli.audio.reader import read_audio, resample
from bigcodec_models.arrays import Wave
from bigcodec_models.config import SAMPLE_RATE


@dataclasses.dataclass(frozen=True)
class LoadedWave:
    """A wave (n,) at 16 kHz; `fault` says why it is not all that its file should hold, None if it
    is. `tags` are the file's, by name."""

    wave: Wave
    fault: str | None
    tags: Mapping[str, str] = dataclasses.field(default_factory=dict)


def load_wave(path: Path) -> LoadedWave:
    """An audio file as a wave: its channels averaged, resampled to 16 kHz.

    Raises:
        CliError: it cannot be read.
    """
    audio = read_audio(path)
    mono = audio.samples.mean(axis=0, dtype=np.float32)
    return LoadedWave(change_rate(mono, audio.rate, SAMPLE_RATE), audio.fault, dict(audio.tags))


def change_rate(wave: Wave, rate: int, new_rate: int) -> Wave:
    """A wave (n,) at another rate, ceil(n * new_rate / rate) samples long."""
    return resample(wave, rate, new_rate, -(-len(wave) * new_rate // rate))


def as_stored(wave: Wave) -> Wave:
    """A wave clipped and rounded as in a 16-bit file."""
    stored: Wave = decode(encode(wave[None], Encoding.S16), Encoding.S16, channels=1)[0]
    return stored


def fit(wave: Wave, length: int) -> Wave:
    """A wave cut or zero-padded at its end to `length` samples."""
    return np.pad(wave[:length], (0, max(0, length - len(wave))))
