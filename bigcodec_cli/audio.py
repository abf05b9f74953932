"""Reading any audio that soundfile reads, writing WAV, and resampling."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from bigcodec_cli.output import CliError

Samples = npt.NDArray[np.float32]

_MAX_SAMPLES = 1 << 33


@dataclasses.dataclass(frozen=True)
class Audio:
    """Samples (channels, n), float32, full scale 1.0, at `rate` samples per second."""

    samples: Samples
    rate: int

    @property
    def seconds(self) -> float:
        """Duration."""
        return int(self.samples.shape[1]) / self.rate


def read_audio(path: Path) -> Audio:
    """All of an audio file.

    Raises:
        CliError: missing, unreadable, in no known format, too large, or not finite.
    """
    if path.is_dir():
        raise CliError(f"{path}: is a folder, not an audio file")
    try:
        with soundfile.SoundFile(os.fsencode(path)) as file:
            if file.frames * file.channels > _MAX_SAMPLES:
                raise CliError(f"{path}: declares more samples than can be read")
            rate, samples = file.samplerate, file.read(dtype="float32", always_2d=True)
    except FileNotFoundError:
        raise CliError(f"{path}: no such file") from None
    except MemoryError:
        raise CliError(f"{path}: does not fit into memory") from None
    except (soundfile.LibsndfileError, OSError, TypeError, ValueError) as error:
        # TypeError: a name that ends in .raw, for which soundfile wants to be told the rate
        if not os.path.lexists(path):
            raise CliError(f"{path}: no such file") from None
        raise CliError(f"{path}: cannot be read as audio: {_reason(error)}") from error
    if not np.isfinite(samples).all():
        raise CliError(f"{path}: holds samples that are not finite numbers; repair it first")
    return Audio(np.ascontiguousarray(samples.T), rate)


def write_wav(path: Path, audio: Audio) -> None:
    """Write 16-bit PCM, samples beyond full scale clipped.

    Raises:
        OSError: the file cannot be written.
    """
    scaled = np.round(np.clip(audio.samples.T, -1.0, 1.0) * 32767).astype(np.int16)
    try:
        soundfile.write(os.fsencode(path), scaled, audio.rate, format="WAV", subtype="PCM_16")
    except soundfile.LibsndfileError as error:
        raise OSError(_reason(error)) from error


def resample(wave: Samples, rate: int, new_rate: int, length: int) -> Samples:
    """A wave (n,) at another rate, cut or zero-padded to `length` samples."""
    changed = wave
    if rate != new_rate and len(wave):
        changed = np.asarray(soxr.resample(wave, rate, new_rate, quality="VHQ"), np.float32)
    return np.pad(changed[:length], (0, max(0, length - len(changed))))


def _reason(error: Exception) -> str:
    text = getattr(error, "error_string", None) or getattr(error, "strerror", None) or str(error)
    return str(text).strip().rstrip(".")
