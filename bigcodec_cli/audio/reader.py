"""Reading audio by blocks: whatever soundfile or ffmpeg reads, WAV from pipes, and raw PCM."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soundfile

from bigcodec_cli.audio.channels import Samples
from bigcodec_cli.audio.pcm import RawFormat
from bigcodec_cli.audio.resampling import resample
from bigcodec_cli.audio.wav_stream import FrameReader, WavSamples, read_header
from bigcodec_cli.console.messages import CliError
from bigcodec_cli.console.streams import standard_input
from bigcodec_cli.files.atomic import temporary_folder
from bigcodec_models.audio.audio_file import reason_of
from bigcodec_models.audio.source import open_source
from bigcodec_models.errors import FfmpegMissingError

__all__ = ["Audio", "AudioInput", "Samples", "open_audio", "read_audio", "resample"]

_MAX_SAMPLES = 1 << 33
_MOST_AT_ONCE, _MOST_A_BYTE = 1 << 25, 64
"""Samples that `read_audio` holds of any file, or for each byte of a file: as many as Opus has at
6 kbit/s and 48 kHz."""
_COPY_BYTES = 1 << 20


@dataclasses.dataclass(frozen=True)
class Audio:
    """Samples (channels, n), float32, full scale 1.0, at `rate` samples per second. `fault` says
    why they are not all that the file should hold, None if they are; `tags` are the file's."""

    samples: Samples
    rate: int
    fault: str | None = None
    tags: tuple[tuple[str, str], ...] = ()

    @property
    def seconds(self) -> float:
        """Duration."""
        return int(self.samples.shape[1]) / self.rate


@dataclasses.dataclass(frozen=True, kw_only=True)
class AudioInput:
    """An open audio file. `frames` is None where its length is not known beforehand; `declared` is
    then what it says of itself in seconds, None if it does not.

    `blocks` gives its samples (channels, n), float32, once; it raises CliError. When it has ended,
    `fault` says why that was not all of the audio, None if it was. `doubt` says why nobody can tell
    that the file holds no more, None if `fault` does; `remark` what of it is not read at all.
    """

    name: str
    rate: int
    channels: int
    frames: int | None
    blocks: Iterator[Samples]
    fault: Callable[[], str | None] = lambda: None
    declared: float | None = None
    doubt: str | None = None
    remark: str | None = None
    tags: tuple[tuple[str, str], ...] = ()

    @property
    def seconds(self) -> float | None:
        """Duration, where it is known beforehand, if not to the sample."""
        return self.declared if self.frames is None else self.frames / self.rate


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
            if path is not None and _begins_with(path, b"BCDC"):
                raise CliError(
                    f"{name}: is a .bcdc file; 'bigcodec decompress' restores it"
                ) from None
            if isinstance(error, FfmpegMissingError):
                raise CliError(f"{name}: {error}") from error
            raise CliError(f"{name}: cannot be read as audio: {reason_of(error)}") from error
        yield dataclasses.replace(source, blocks=_checked(source))


def read_audio(path: Path) -> Audio:
    """All of an audio file.

    Raises:
        CliError: missing, unreadable, in no known format, not finite, or too long to be held in
            memory: a small file may stand for days of silence.
    """
    most = max(_MOST_AT_ONCE, _MOST_A_BYTE * path.stat().st_size if path.is_file() else 0)
    with open_audio(path) as source:
        blocks, count = [np.zeros((source.channels, 0), np.float32)], 0
        for block in source.blocks:
            count += block.size
            if count > most:
                raise CliError(f"{path}: holds more than {most} samples, too many at once")
            blocks.append(block)
        try:
            samples = np.concatenate(blocks, axis=1)
        except MemoryError:
            raise CliError(f"{path}: does not fit into memory") from None
        return Audio(samples, source.rate, source.fault(), source.tags)


def _open(
    path: Path | None, name: str, raw: RawFormat | None, stack: contextlib.ExitStack
) -> AudioInput:
    if path is not None:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise CliError(f"{path}: is a folder, not an audio file")
        if stat.S_ISREG(mode) and raw is None:
            return _open_file(path, name, stack)
    file = standard_input() if path is None else stack.enter_context(path.open("rb"))
    if raw is not None:
        reader = FrameReader(file, raw.encoding, raw.channels)
        return AudioInput(
            name=name,
            rate=raw.rate,
            channels=raw.channels,
            frames=None,
            blocks=iter(reader),
            fault=lambda: reader.fault,
        )
    return _open_stream(file, name, stack)


def _open_stream(file: BinaryIO, name: str, stack: contextlib.ExitStack) -> AudioInput:
    """WAV is coded as it comes; what can only be read with seeking goes into a file first."""
    form, start = read_header(file)
    if form is not None:
        samples = WavSamples(file, form)
        return AudioInput(
            name=name,
            rate=form.rate,
            channels=form.channels,
            frames=form.frames,
            blocks=iter(samples),
            fault=lambda: samples.fault,
            tags=form.tags,
        )
    spool = stack.enter_context(temporary_folder()) / "input"
    with spool.open("wb") as copy:
        copy.write(start)
        while data := file.read(_COPY_BYTES):
            copy.write(data)
    return _open_file(spool, name, stack)


def _open_file(path: Path, name: str, stack: contextlib.ExitStack) -> AudioInput:
    file = stack.enter_context(open_source(path))
    if file.frames is not None and file.frames * file.channels > _MAX_SAMPLES:
        raise CliError(f"{name}: declares more samples than can be read")
    return AudioInput(
        name=name,
        rate=file.rate,
        channels=file.channels,
        frames=file.frames,
        blocks=(np.ascontiguousarray(block.T) for block in file.blocks()),
        fault=lambda: file.fault,
        declared=file.seconds,
        doubt=file.doubt,
        remark=file.remark,
        tags=file.tags,
    )


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
        raise CliError(f"{source.name}: cannot be read as audio: {reason_of(error)}") from error


def _begins_with(path: Path, magic: bytes) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(magic)) == magic
    except OSError:
        return False
