"""Reading audio by blocks: whatever soundfile reads, WAV from pipes, and raw PCM."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import stat
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
import soundfile

from bigcodec_cli.audio.channels import Samples
from bigcodec_cli.audio.pcm import RawFormat
from bigcodec_cli.audio.resampling import resample
from bigcodec_cli.audio.wav_stream import WavFormat, read_frames, read_header
from bigcodec_cli.console.messages import CliError

__all__ = ["Audio", "AudioInput", "Samples", "open_audio", "read_audio", "resample"]

_BLOCK_FRAMES = 1 << 16
_MAX_SAMPLES = 1 << 33
_COPY_BYTES = 1 << 20
TAG_NAMES = (
    "title",
    "artist",
    "album",
    "date",
    "tracknumber",
    "genre",
    "comment",
    "copyright",
    "license",
)
"""Tags that soundfile knows and that are carried through."""


@dataclasses.dataclass(frozen=True)
class Audio:
    """Samples (channels, n), float32, full scale 1.0, at `rate` samples per second."""

    samples: Samples
    rate: int

    @property
    def seconds(self) -> float:
        """Duration."""
        return int(self.samples.shape[1]) / self.rate


@dataclasses.dataclass(frozen=True, kw_only=True)
class AudioInput:
    """An open audio file. `frames` is None where its length is not known beforehand.

    `blocks` gives its samples (channels, n), float32, once; it raises CliError.
    """

    name: str
    rate: int
    channels: int
    frames: int | None
    blocks: Iterator[Samples]
    tags: tuple[tuple[str, str], ...] = ()

    @property
    def seconds(self) -> float | None:
        """Duration, where it is known beforehand."""
        return None if self.frames is None else self.frames / self.rate


@contextlib.contextmanager
def open_audio(path: Path | None, raw: RawFormat | None = None) -> Iterator[AudioInput]:
    """Open an audio file, a pipe, or standard input (None), to be read by blocks.

    Raises:
        CliError: missing, unreadable, in no known format, or too large.
    """
    name = "stdin" if path is None else str(path)
    with contextlib.ExitStack() as stack:
        try:
            source = _open(path, name, raw, stack)
        except FileNotFoundError:
            raise CliError(f"{name}: no such file") from None
        except (soundfile.LibsndfileError, OSError, TypeError, ValueError) as error:
            # TypeError: a name that ends in .raw, for which soundfile needs the rate
            if path is not None and not os.path.lexists(path):
                raise CliError(f"{name}: no such file") from None
            raise CliError(f"{name}: cannot be read as audio: {_reason(error)}") from error
        yield dataclasses.replace(source, blocks=_checked(source))


def read_audio(path: Path) -> Audio:
    """All of an audio file.

    Raises:
        CliError: missing, unreadable, in no known format, too large, or not finite.
    """
    with open_audio(path) as source:
        try:
            empty = np.zeros((source.channels, 0), np.float32)
            samples = np.concatenate([empty, *source.blocks], axis=1)
        except MemoryError:
            raise CliError(f"{path}: does not fit into memory") from None
        return Audio(samples, source.rate)


def _open(
    path: Path | None, name: str, raw: RawFormat | None, stack: contextlib.ExitStack
) -> AudioInput:
    if path is not None:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise CliError(f"{path}: is a folder; use -r for the audio files in it")
        if stat.S_ISREG(mode) and raw is None:
            return _open_file(path, name, stack)
    file = sys.stdin.buffer if path is None else stack.enter_context(path.open("rb"))
    if raw is not None:
        blocks = read_frames(file, raw.encoding, raw.channels, None)
        return AudioInput(
            name=name, rate=raw.rate, channels=raw.channels, frames=None, blocks=blocks
        )
    return _open_stream(cast(BinaryIO, file), name, stack)


def _open_stream(file: BinaryIO, name: str, stack: contextlib.ExitStack) -> AudioInput:
    """WAV is coded as it comes; what can only be read with seeking goes into a file first."""
    form, start = read_header(file)
    if form is not None:
        return AudioInput(
            name=name,
            rate=form.rate,
            channels=form.channels,
            frames=form.frames,
            blocks=_expected(read_frames(file, form.encoding, form.channels, form.frames), form),
            tags=form.tags,
        )
    spool = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "input"
    with spool.open("wb") as copy:
        copy.write(start)
        while data := file.read(_COPY_BYTES):
            copy.write(data)
    return _open_file(spool, name, stack)


def _open_file(path: Path, name: str, stack: contextlib.ExitStack) -> AudioInput:
    file = stack.enter_context(soundfile.SoundFile(os.fsencode(path)))
    if file.frames * file.channels > _MAX_SAMPLES:
        raise CliError(f"{name}: declares more samples than can be read")
    tags = ((tag, getattr(file, tag)) for tag in TAG_NAMES)
    return AudioInput(
        name=name,
        rate=file.samplerate,
        channels=file.channels,
        frames=file.frames,
        blocks=_soundfile_blocks(file),
        tags=tuple((tag, text) for tag, text in tags if text),
    )


def _soundfile_blocks(file: soundfile.SoundFile) -> Iterator[Samples]:
    while True:
        block = file.read(_BLOCK_FRAMES, dtype="float32", always_2d=True)
        if not len(block):
            return
        yield np.ascontiguousarray(block.T)


def _expected(blocks: Iterator[Samples], form: WavFormat) -> Iterator[Samples]:
    count = 0
    for block in blocks:
        count += block.shape[1]
        yield block
    if form.frames is not None and count < form.frames:
        raise CliError(f"ends after {count} of the {form.frames} samples that it declares")


def _checked(source: AudioInput) -> Iterator[Samples]:
    """The blocks of an input, every fault raised as a CliError with its name."""
    try:
        for block in source.blocks:
            if not np.isfinite(block).all():
                raise CliError("holds samples that are not finite numbers; repair it first")
            yield block
    except CliError as error:
        raise CliError(f"{source.name}: {error}") from error
    except (soundfile.LibsndfileError, OSError, ValueError) as error:
        raise CliError(f"{source.name}: cannot be read as audio: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    text = getattr(error, "error_string", None) or getattr(error, "strerror", None) or str(error)
    return str(text).strip().rstrip(".")
