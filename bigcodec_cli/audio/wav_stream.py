"""WAV as a stream, for pipes: read without seeking, and written with sizes known beforehand.

soundfile reads and writes every other file. It cannot serve here: a read that blocks inside
libsndfile cannot be interrupted, and a write that fails inside it may go unnoticed.
Layout: Microsoft/IBM "Multimedia Programming Interface and Data Specifications 1.0" (1991);
RF64 for what exceeds 4 GiB: EBU Tech 3306.
"""

from __future__ import annotations

import dataclasses
import io
import struct
from collections.abc import Iterator, Mapping
from typing import BinaryIO, cast

from bigcodec_cli.audio.channels import Samples
from bigcodec_cli.audio.pcm import Encoding, decode, encode
from bigcodec_models.audio.chunked import UNKNOWN_SIZES, are_riff_chunks

_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
_GUID_TAIL = bytes.fromhex("000000001000800000aa00389b71")
_MAX_SIZE = 0xFFFFFFFF
_MAX_HEADER = 1 << 20
_INFO_TAGS = {
    "title": b"INAM",
    "artist": b"IART",
    "album": b"IPRD",
    "date": b"ICRD",
    "tracknumber": b"ITRK",
    "genre": b"IGNR",
    "comment": b"ICMT",
    "copyright": b"ICOP",
}
_READ_BYTES = 1 << 16


@dataclasses.dataclass(frozen=True, kw_only=True)
class WavFormat:
    """What stands before the samples. `frames` is None where the header does not say; with
    `size_is_zero` it says that there are none, though a recorder that was killed says so too.
    `data_bytes` is the declared size of the samples.
    """

    rate: int
    channels: int
    encoding: Encoding
    frames: int | None
    size_is_zero: bool = False
    data_bytes: int = 0
    tags: tuple[tuple[str, str], ...] = ()

    @property
    def frame_bytes(self) -> int:
        """Bytes of one sample of every channel."""
        return self.channels * self.encoding.size


class NotStreamableError(Exception):
    """The data are not WAV, or WAV that cannot be read as it comes."""


class _Recorder:
    """Reads from a file and remembers what it read, up to a limit."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self.taken = file, bytearray()

    def take(self, size: int) -> bytes:
        if len(self.taken) + size > _MAX_HEADER:
            raise NotStreamableError("the header is too long")
        data = self._file.read(size)
        self.taken += data
        if len(data) < size:
            raise NotStreamableError("the data end inside the header")
        return data


def read_header(file: BinaryIO) -> tuple[WavFormat | None, bytes]:
    """The format of a WAV stream, its first sample to be read next; and the bytes read.

    The format is None where the stream is something else, or WAV of a rarer kind.
    """
    recorder = _Recorder(file)
    try:
        return _parse(recorder), bytes(recorder.taken)
    except (NotStreamableError, struct.error):
        return None, bytes(recorder.taken)


def _parse(recorder: _Recorder) -> WavFormat:
    riff, _, wave = struct.unpack("<4sI4s", recorder.take(12))
    if riff not in (b"RIFF", b"RF64") or wave != b"WAVE":
        raise NotStreamableError("not a WAV stream")
    chunks: dict[bytes, bytes] = {}
    while True:
        name, size = struct.unpack("<4sI", recorder.take(8))
        if name == b"data":
            break
        content = recorder.take(size + size % 2)[:size]
        if name != b"LIST" or content[:4] == b"INFO":
            chunks[name] = content
    rate, channels, encoding = _parse_format(chunks.get(b"fmt ", b""))
    if riff == b"RF64" and size == _MAX_SIZE and b"ds64" in chunks:
        size = struct.unpack_from("<Q", chunks[b"ds64"], 8)[0]
    unknown = size == 0 or (size in UNKNOWN_SIZES and b"ds64" not in chunks)
    return WavFormat(
        rate=rate,
        channels=channels,
        encoding=encoding,
        frames=None if unknown else size // (channels * encoding.size),
        size_is_zero=size == 0,
        data_bytes=size,
        tags=_parse_tags(chunks.get(b"LIST", b"")[4:]),
    )


def _parse_format(content: bytes) -> tuple[int, int, Encoding]:
    kind, channels, rate, _, align, bits = struct.unpack_from("<HHIIHH", content)
    if kind == _EXTENSIBLE:
        kind = struct.unpack_from("<H", content, 24)[0]
    if kind in (_PCM, _FLOAT) and channels and rate and bits % 8 == 0:
        for encoding in Encoding:
            if encoding.value == (bits // 8, kind == _FLOAT) and align == channels * bits // 8:
                return rate, channels, encoding
    raise NotStreamableError("an encoding for soundfile")


def _parse_tags(content: bytes) -> tuple[tuple[str, str], ...]:
    names = {code: name for name, code in _INFO_TAGS.items()}
    tags, at = [], 0
    while at + 8 <= len(content):
        code, size = struct.unpack_from("<4sI", content, at)
        text = content[at + 8 : at + 8 + size].rstrip(b"\0").decode("utf-8", "replace")
        if code in names and text:
            tags.append((names[code], text))
        at += 8 + size + size % 2
    return tuple(tags)


class WavSamples:
    """The samples (channels, n) of a WAV stream, to be taken once; then `fault` says why they are
    not all that it should hold, None if they are.
    """

    def __init__(self, file: BinaryIO, form: WavFormat) -> None:
        self._file, self._form = file, form
        self.fault: str | None = None

    def __iter__(self) -> Iterator[Samples]:
        form, file, count = self._form, cast("io.RawIOBase", self._file), 0
        if form.size_is_zero:
            start = self._file.read(_MAX_HEADER)
            if are_riff_chunks(start):
                return
            file = _Rejoined(start, self._file)
        for block in FrameReader(file, form.encoding, form.channels, form.frames):
            count += block.shape[1]
            yield block
        if form.frames is not None:
            self.fault = self._examine_end(count, form.frames)

    def _examine_end(self, count: int, frames: int) -> str | None:
        if count < frames:
            return f"was cut short: {count} of its {frames} samples are there"
        size = self._form.data_bytes
        self._file.read(size - frames * self._form.frame_bytes + size % 2)
        rest = self._file.read(_MAX_HEADER)
        if are_riff_chunks(rest) and len(rest) < _MAX_HEADER:
            return None
        length = len(rest)
        while data := self._file.read(_READ_BYTES):
            length += len(data)
        return f"has {length} bytes after its audio that are not read"


class _Rejoined(io.RawIOBase):
    """Bytes that were read already, and the stream that they come from, as one."""

    def __init__(self, start: bytes, file: BinaryIO) -> None:
        self._start, self._file = start, file

    def read(self, size: int = -1) -> bytes:
        if not self._start:
            return self._file.read(size)
        data, self._start = self._start[:size], self._start[size:]
        return data


class FrameReader:
    """Samples (channels, n) of PCM as they arrive: `frames` of them, or all to the end of the file.

    When they have ended, `fault` says that the file does within a frame, None if it does not.
    """

    def __init__(
        self,
        file: BinaryIO | io.RawIOBase,
        encoding: Encoding,
        channels: int,
        frames: int | None = None,
    ) -> None:
        self._file, self._encoding, self._channels, self._frames = file, encoding, channels, frames
        self.fault: str | None = None

    def __iter__(self) -> Iterator[Samples]:
        frame_bytes = self._channels * self._encoding.size
        left = None if self._frames is None else self._frames * frame_bytes
        rest = b""
        # What is there, rather than waiting for more.
        read = getattr(self._file, "read1", self._file.read)
        while left is None or left > 0:
            data = read(_READ_BYTES if left is None else min(_READ_BYTES, left))
            if not data:
                break
            left = None if left is None else left - len(data)
            data = rest + data
            complete = len(data) // frame_bytes * frame_bytes
            rest = data[complete:]
            if complete:
                yield decode(data[:complete], self._encoding, self._channels)
        if rest:
            self.fault = f"ends within a sample: {len(rest)} bytes are left"


class WavWriter:
    """Writes a WAV whose length is known to a file that need not be seekable."""

    def __init__(self, file: BinaryIO, form: WavFormat) -> None:
        if form.frames is None:
            raise ValueError("the number of frames must be known")
        self._file, self._form = file, form
        self._data_bytes = form.frames * form.frame_bytes
        file.write(_header(form, self._data_bytes))

    def write(self, samples: Samples) -> None:
        """Append samples (channels, n).

        Raises:
            OSError: the file cannot be written.
        """
        self._file.write(encode(samples, self._form.encoding))

    def finish(self) -> None:
        """Complete the file, all its samples written."""
        self._file.write(b"\0" * (self._data_bytes % 2))


def _header(form: WavFormat, data_bytes: int) -> bytes:
    chunks = _chunk(b"fmt ", _format_content(form))
    if form.encoding.is_float:
        chunks += _chunk(b"fact", struct.pack("<I", min(form.frames or 0, _MAX_SIZE)))
    if form.tags:
        chunks += _tags_chunk(dict(form.tags))
    total = 4 + len(chunks) + 8 + data_bytes + data_bytes % 2
    if total <= _MAX_SIZE:
        riff = struct.pack("<4sI4s", b"RIFF", total, b"WAVE")
        return riff + chunks + struct.pack("<4sI", b"data", data_bytes)
    total += 8 + 28
    sizes = _chunk(b"ds64", struct.pack("<QQQI", total, data_bytes, form.frames or 0, 0))
    riff = struct.pack("<4sI4s", b"RF64", _MAX_SIZE, b"WAVE")
    return riff + sizes + chunks + struct.pack("<4sI", b"data", _MAX_SIZE)


def _format_content(form: WavFormat) -> bytes:
    size = form.encoding.size
    kind = _FLOAT if form.encoding.is_float else _PCM
    extensible = form.channels > 2 or (kind == _PCM and size > 2)
    content = struct.pack(
        "<HHIIHH",
        _EXTENSIBLE if extensible else kind,
        form.channels,
        form.rate,
        min(form.rate * form.frame_bytes, _MAX_SIZE),
        form.frame_bytes,
        8 * size,
    )
    if extensible:
        content += struct.pack("<HHIH", 22, 8 * size, 0, kind) + _GUID_TAIL
    return content


def _tags_chunk(tags: Mapping[str, str]) -> bytes:
    entries = b"".join(
        _chunk(_INFO_TAGS[name], text.encode() + b"\0")
        for name, text in tags.items()
        if name in _INFO_TAGS
    )
    return _chunk(b"LIST", b"INFO" + entries) if entries else b""


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack("<4sI", name, len(content)) + content + b"\0" * (len(content) % 2)
