"""Audio files that libsndfile reads, to their very end: chains and files of unknown length too.

libsndfile gives what it finds and calls that all: the first link of a chain, what is left of a file
that was cut short. So the bytes are examined beside it, and `AudioFile.fault` says what is missing.
"""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
import soundfile

from bigcodec_models.audio.chunked import examine_chunked
from bigcodec_models.audio.content import Content
from bigcodec_models.audio.flac import examine_flac
from bigcodec_models.audio.layout import Layout, Part, whole
from bigcodec_models.audio.mpeg import examine_mpeg
from bigcodec_models.audio.ogg import examine_ogg
from bigcodec_models.audio.sequential import SequentialFile
from bigcodec_models.audio.tags import ID3V1_BYTES
from bigcodec_models.audio.voc import examine_voc

Samples = npt.NDArray[np.float32]
_EXAMINERS: dict[str, Callable[[Content], Layout | None]] = {
    **dict.fromkeys(("WAV", "WAVEX", "RF64", "W64", "AIFF", "CAF", "AU", "NIST"), examine_chunked),
    "OGG": examine_ogg,
    "MP3": examine_mpeg,
    "FLAC": examine_flac,
    "VOC": examine_voc,
}
_BLOCK_FRAMES = {"FLAC": 1 << 12}
"""Frames that are read at a time: what a broken frame of FLAC takes with it is lost."""
_MOST_FRAMES = 1 << 16
_DOUBT = "is of a format whose end cannot be checked"
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
UNKNOWN_FRAMES = 1 << 48
"""What libsndfile gives for the length of a stream that does not declare it is above this."""


class AudioFile:
    """An open audio file that libsndfile reads; see `AudioSource`.

    Raises:
        OSError, soundfile.LibsndfileError: it cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self._stack = contextlib.ExitStack()
        with contextlib.ExitStack() as opening:
            opening.callback(self._stack.close)
            file = self._stack.enter_context(path.open("rb"))  # says why, where it cannot be opened
            first = self._stack.enter_context(SequentialFile(path))
            self.rate, self.channels, self._format = first.samplerate, first.channels, first.format
            self._content = Content(file, os.fstat(file.fileno()).st_size)
            layout = _examine(self._content, self._format)
            self.doubt = None if layout is not None else _DOUBT
            self._layout = layout or whole(self._content)
            self._first = first
            self.frames = _known_frames(first, self._layout)
            self.seconds = None if self.frames is None else self.frames / self.rate
            tags = ((name, str(getattr(first, name))) for name in TAG_NAMES)
            self.tags = tuple((name, text) for name, text in tags if text)
            opening.pop_all()
        self.remark: str | None = None
        self._fault: str | None = None
        self._lack: str | None = None

    @property
    def fault(self) -> str | None:
        """Why not all of the audio was read; to be asked when `blocks` has ended."""
        return self._fault or self._layout.fault or self._lack

    def blocks(self) -> Iterator[Samples]:
        """The samples (n, channels), full scale 1.0, in pieces; once."""
        for part, file in self._parts():
            yield from self._read(part, file)
            if self._fault is not None:
                return

    def close(self) -> None:
        """Let go of the file."""
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _parts(self) -> Iterator[tuple[Part, soundfile.SoundFile]]:
        layout = self._layout
        is_all = layout.is_simple and layout.parts[0].stop == len(self._content)
        if is_all and self._format != "FLAC":
            yield layout.parts[0], self._first
            return
        for part in layout.parts:
            source = _Slice(self._content, part, layout.correction)
            try:
                file = SequentialFile(source)
            except (soundfile.LibsndfileError, OSError) as error:
                self._fault = f"cannot be read from byte {part.start} on: {reason_of(error)}"
                return
            with file:
                if (file.samplerate, file.channels) != (self.rate, self.channels):
                    self._fault = f"changes its rate or channels at byte {part.start}"
                    return
                yield part, file
            if self._format == "FLAC" and source.left:  # the decoder ends where it is told to
                self._lack = self._lack or "has bytes after its audio that are not read"

    def _read(self, part: Part, file: soundfile.SoundFile) -> Iterator[Samples]:
        size, count = _BLOCK_FRAMES.get(self._format, _MOST_FRAMES), 0
        known = file.frames if file.frames < UNKNOWN_FRAMES else None
        while known is None or count < known:  # beyond them a tag would be taken for audio
            size = size if known is None else min(size, known - count)
            try:
                block: Samples = file.read(size, dtype="float32", always_2d=True)
            except (soundfile.LibsndfileError, OSError) as error:
                self._fault = f"cannot be read after {count / self.rate:.2f} s: {reason_of(error)}"
                return
            if not len(block):
                break
            count += len(block)
            yield block
        declared = max(part.least, 0 if known is None or self._format == "MP3" else known)
        if count < declared:
            self._lack = f"was cut short: {count} of {declared} samples are there"


class _Slice(io.RawIOBase):
    """A part of a file, corrected and after its prefix, as a file."""

    def __init__(self, content: Content, part: Part, correction: tuple[int, bytes] | None) -> None:
        self._content, self._prefix = content, part.prefix
        self._start, self._stop = part.start - len(part.prefix), part.stop
        self._claim = part.stop + part.claim
        self._at = self._start  # as if the prefix were in the file, just before the part
        self._correction = correction or (0, b"")
        self.error: OSError | None = None

    @property
    def left(self) -> int:
        """Bytes that were not read."""
        return max(self._stop - self._at, 0)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        try:
            return self._read_into(buffer)
        except OSError as error:
            self.error = error
            return 0

    def _read_into(self, buffer: bytearray | memoryview) -> int:
        if self._at >= self._stop:
            return self._read_claimed(buffer)
        stop = min(self._at + len(buffer), self._stop)
        place = self._start + len(self._prefix)
        data = bytearray(self._prefix[self._at - self._start : stop - self._start])
        if stop > place:
            data += self._content.part(max(self._at, place), stop - max(self._at, place))
        place, correct = self._correction
        for index, byte in enumerate(correct, place - self._at):
            if 0 <= index < len(data):
                data[index] = byte
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)

    def _read_claimed(self, buffer: bytearray | memoryview) -> int:
        """Nothing, but for the end, where the decoder looks for a tag before all else: zeros."""
        if self._at < self._claim - ID3V1_BYTES:
            return 0
        count = min(len(buffer), self._claim - self._at)
        buffer[:count] = bytes(count)
        self._at += count
        return count

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        origin = {io.SEEK_SET: self._start, io.SEEK_CUR: self._at, io.SEEK_END: self._claim}
        self._at = min(max(origin[whence] + offset, self._start), self._claim)
        return self.tell()

    def tell(self) -> int:
        return self._at - self._start


def reason_of(error: Exception) -> str:
    """What libsndfile or the system says of a failure."""
    text = getattr(error, "error_string", None) or getattr(error, "strerror", None) or str(error)
    return str(text).strip().rstrip(".").removeprefix("Error : ")


def _examine(content: Content, kind: str) -> Layout | None:
    examine = _EXAMINERS.get(kind)
    return examine(content) if examine is not None else None


def _known_frames(first: soundfile.SoundFile, layout: Layout) -> int | None:
    if not layout.is_simple or first.frames >= UNKNOWN_FRAMES:
        return None
    return int(first.frames)
