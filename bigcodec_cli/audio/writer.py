"""Writing audio by blocks: WAV and raw PCM to files and pipes; FLAC, Vorbis, Opus, MP3 to files."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np
import numpy.typing as npt
import soundfile

from bigcodec_cli.audio.channels import Samples
from bigcodec_cli.audio.pcm import Encoding, encode
from bigcodec_cli.audio.resampling import Grid, Resampler
from bigcodec_cli.audio.wav_stream import WavFormat, WavWriter
from bigcodec_cli.console.messages import CliError
from bigcodec_cli.console.streams import standard_output
from bigcodec_models.audio.sequential import silent_decoders

SUFFIXES = {
    ".wav": "wav",
    ".flac": "flac",
    ".ogg": "ogg",
    ".oga": "ogg",
    ".opus": "opus",
    ".mp3": "mp3",
    ".raw": "raw",
    ".pcm": "raw",
}
"""The kinds of files that can be written, by suffix."""
KINDS = tuple(dict.fromkeys(SUFFIXES.values()))
_STREAMED = ("wav", "raw")
"""Kinds that are written from beginning to end."""
_SUBTYPES = {Encoding.S16: "PCM_16", Encoding.S24: "PCM_24"}
_LOSSY = {"ogg": ("OGG", "VORBIS"), "opus": ("OGG", "OPUS"), "mp3": ("MP3", "MPEG_LAYER_III")}
"""Format and subtype of libsndfile."""
_RATES = {
    "opus": (8000, 12000, 16000, 24000, 48000),
    "mp3": (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000),
}
"""The rates that a kind can have, where it cannot have every one."""
# libvorbis has no mode above it, and libsndfile 1.2.2 then crashes.
_MAX_VORBIS_RATE = 200_000
# libsndfile 1.2.2 crashes on one Vorbis write of many samples (seen with 20 million).
_MAX_VORBIS_BLOCK = 1 << 14
_TRIED_BYTES = 1 << 20
"""More than a library may have kept back when the disk was full."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class AudioForm:
    """What an output holds: `kind` is one of KINDS; `frames` is its length."""

    kind: str
    encoding: Encoding
    rate: int
    channels: int
    frames: int
    tags: tuple[tuple[str, str], ...] = ()


class AudioSink(Protocol):
    """Takes samples (channels, n); complete after `finish`. `close` may be called at any time.

    Both raise OSError or CliError if the file cannot be written.
    """

    def write(self, samples: Samples) -> None:
        """Append samples."""

    def finish(self) -> None:
        """Complete the file and make sure that it is."""

    def close(self) -> None:
        """Let go of the file."""


def open_sink(path: Path | None, form: AudioForm) -> AudioSink:
    """A sink into a new file, or to standard output (None) for what can be written as a stream.

    Opus and MP3 know few rates: others are resampled to the next higher one that there is.

    Raises:
        OSError, CliError: it cannot be opened, or the format cannot hold this audio.
    """
    if is_streamed(form.kind):
        return _PcmSink(path, form)
    if path is None:
        raise ValueError(f"{form.kind} needs a file")
    rate = _rate_for(form)
    return _SoundfileSink(path, form) if rate == form.rate else _ResamplingSink(path, form, rate)


def is_streamed(kind: str) -> bool:
    """Whether a kind of file can be written to a pipe as it is made."""
    return kind in _STREAMED


def _rate_for(form: AudioForm) -> int:
    rates = _RATES.get(form.kind, (form.rate,))
    return min((rate for rate in rates if rate >= form.rate), default=rates[-1])


class _PcmSink:
    def __init__(self, path: Path | None, form: AudioForm) -> None:
        self._form, self._path = form, path
        self._file: BinaryIO = standard_output() if path is None else path.open("wb")
        self._wav: WavWriter | None = None
        if form.kind == "wav":
            self._wav = WavWriter(
                self._file,
                WavFormat(
                    rate=form.rate,
                    channels=form.channels,
                    encoding=form.encoding,
                    frames=form.frames,
                    tags=form.tags,
                ),
            )

    def write(self, samples: Samples) -> None:
        if self._wav is not None:
            self._wav.write(samples)
        else:
            self._file.write(encode(samples, self._form.encoding))
        if self._path is None:
            self._file.flush()

    def finish(self) -> None:
        if self._wav is not None:
            self._wav.finish()
        self._file.flush()
        self.close()

    def close(self) -> None:
        if self._path is not None:
            self._file.close()


class _SoundfileSink:
    def __init__(self, path: Path, form: AudioForm) -> None:
        self._path, self._form = path, form
        kind, subtype = _LOSSY.get(form.kind, ("FLAC", _SUBTYPES.get(form.encoding)))
        if form.kind == "ogg" and form.rate > _MAX_VORBIS_RATE:
            raise _cannot_hold(form)
        if form.kind != "ogg" and not form.frames:  # what is written then cannot be read
            raise CliError(f"{form.kind} cannot hold a recording without samples; use --format wav")
        try:
            self._file = soundfile.SoundFile(
                os.fsencode(path),
                "w",
                form.rate,
                form.channels,
                subtype=subtype,
                format=kind,
            )
        except soundfile.LibsndfileError as error:
            path.unlink(missing_ok=True)
            raise _cannot_hold(form) from error
        for name, text in form.tags:
            if hasattr(self._file, name):
                setattr(self._file, name, text)

    def write(self, samples: Samples) -> None:
        table: npt.NDArray[Any] = np.ascontiguousarray(samples.T)
        if self._form.kind == "flac":
            table = self._quantized(table)
        with self._telling():
            for start in range(0, len(table), _MAX_VORBIS_BLOCK):
                self._file.write(table[start : start + _MAX_VORBIS_BLOCK])

    def finish(self) -> None:
        # libsndfile does not report everything that goes wrong on closing.
        with self._telling():
            self._file.close()
            # libmpg123 has remarks on MP3 that is read from the middle on.
            with silent_decoders(), soundfile.SoundFile(os.fsencode(self._path)) as written:
                complete = written.frames == self._form.frames
                if complete and written.frames:
                    written.seek(max(0, written.frames - _MAX_VORBIS_BLOCK))
                    complete = len(written.read()) == min(written.frames, _MAX_VORBIS_BLOCK)
            assert complete, "what was written does not read back in full"

    @contextlib.contextmanager
    def _telling(self) -> Iterator[None]:
        """Faults of libsndfile as errors of the system: it says what it is where it is one."""
        try:
            yield
        except (soundfile.LibsndfileError, AssertionError) as error:
            with self._path.open("ab") as file:  # it is going to be removed
                file.write(bytes(_TRIED_BYTES))
            raise OSError(f"cannot be written: {error}") from error

    def close(self) -> None:
        self._file.close()

    def _quantized(self, table: Samples) -> npt.NDArray[np.int32]:
        """Scaled as in WAV: libsndfile would scale by one step less."""
        bits = 8 * self._form.encoding.size
        top = 1 << (bits - 1)
        integers = np.clip(np.rint(table.astype(np.float64) * top), -top, top - 1)
        return integers.astype(np.int32) << (32 - bits)


class _ResamplingSink:
    """Writes at another rate than what it takes."""

    def __init__(self, path: Path, form: AudioForm, rate: int) -> None:
        self._resampler = Resampler(Grid(form.rate, rate))
        frames = -(-form.frames * rate // form.rate)
        self._sink = _SoundfileSink(path, dataclasses.replace(form, rate=rate, frames=frames))

    def write(self, samples: Samples) -> None:
        for piece in self._resampler.push(samples):
            self._sink.write(piece)

    def finish(self) -> None:
        for piece in self._resampler.finish():
            self._sink.write(piece)
        self._sink.finish()

    def close(self) -> None:
        self._sink.close()


def _cannot_hold(form: AudioForm) -> CliError:
    return CliError(
        f"{form.kind} cannot hold {form.channels} channels at {form.rate} Hz; use --format wav"
    )


def copy_to_stdout(path: Path) -> None:
    """Copy a finished file to standard output.

    Raises:
        OSError: it cannot be written to.
    """
    with path.open("rb") as file:
        shutil.copyfileobj(file, standard_output())
    standard_output().flush()
