"""Audio that libsndfile does not know, through the program ffmpeg: read as it decodes it.

Only the demuxer for the format that the bytes show is allowed, and only files: a playlist could
name others.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import struct
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Self

import numpy as np
import numpy.typing as npt

from bigcodec_models.errors import FfmpegError, FfmpegMissingError

Samples = npt.NDArray[np.float32]
_BLOCK_BYTES = 1 << 18
_MOST_ERRORS = 1 << 14
"""Bytes of what ffmpeg prints that are kept."""
_SLACK_SECONDS = 0.25
"""How much less than a file declares may come out: encoders count padding in."""
_DECLARING = ("mov", "matroska")
"""Formats whose end can be checked: their parts have sizes, and they declare a duration."""
_TAGS = {
    "title": "title",
    "artist": "artist",
    "album": "album",
    "date": "date",
    "track": "tracknumber",
    "genre": "genre",
    "comment": "comment",
    "copyright": "copyright",
}
_SPEAKER = re.compile(r"^\[[^]]* @ 0x[0-9a-f]+\] ")
# A signal from the terminal is for this process, which ends ffmpeg when it has done what it must.
_OWN_GROUP: dict[str, Any] = {} if os.name == "nt" else {"process_group": 0}


MISSING = (
    "needs ffmpeg, which is not on PATH; install it "
    "(apt install ffmpeg, brew install ffmpeg, winget install ffmpeg)"
)


class FfmpegFile:
    """The first audio track of a file, decoded by ffmpeg; see `AudioSource`.

    `demuxer` is ffmpeg's name of the format; `fault` is what is already known to be missing.

    Raises:
        FfmpegMissingError: there is no ffmpeg.
        FfmpegError: it cannot read the file, or there is no audio in it.
    """

    def __init__(self, path: Path, demuxer: str, fault: str | None = None) -> None:
        self._fault, self._error, self._lack = fault, "", ""
        self._process = _start("ffmpeg", path, demuxer, *_OUTPUT)
        self._errors = _Errors(self._process.stderr)
        try:
            facts = _Facts(path, demuxer)
            self.rate, self.channels = self._read_header()
        except BaseException:
            self.close()
            raise
        self.frames: int | None = None
        self.seconds, self.tags = facts.seconds, facts.tags
        self.doubt, self.remark = facts.doubt, facts.remark

    @property
    def fault(self) -> str | None:
        """Why not all of the audio was read; to be asked when `blocks` has ended."""
        return self._fault or self._error or self._lack or None

    def blocks(self) -> Iterator[Samples]:
        """The samples (n, channels), full scale 1.0, in pieces; once."""
        frame_bytes, count = 4 * self.channels, 0
        size = max(1, _BLOCK_BYTES // frame_bytes) * frame_bytes
        while data := self._output.read(size):
            whole = len(data) // frame_bytes * frame_bytes
            count += whole // frame_bytes
            flat = np.frombuffer(data[:whole], ">f4").astype(np.float32)
            yield flat.reshape(-1, self.channels)
        self._end(count / self.rate)

    def close(self) -> None:
        """End ffmpeg, if it has not ended."""
        self._process.kill()
        self._process.wait()
        self._output.close()
        self._errors.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def _output(self) -> IO[bytes]:
        assert self._process.stdout is not None
        return self._process.stdout

    def _read_header(self) -> tuple[int, int]:
        """The rate and the channels of what ffmpeg writes: AU, whose header is 24 bytes and a
        comment."""
        header = self._output.read(24)
        if len(header) < 24:
            self._process.wait()
            raise FfmpegError(self._errors.line() or "ffmpeg: gives no audio of it")
        _, start, _, _, rate, channels = struct.unpack(">4s5I", header)
        self._output.read(start - 24)
        return rate, channels

    def _end(self, seconds: float) -> None:
        code = self._process.wait()
        line = self._errors.line()
        if code or line:
            self._error = f"cannot be read in full: {line or f'ffmpeg ended with {code}'}"
        declared = self.seconds
        if declared is not None and seconds < declared - _SLACK_SECONDS:
            self._lack = f"was cut short: {seconds:.2f} of {declared:.2f} s are there"


_OUTPUT = ("-map", "0:a:0", "-map_metadata", "-1", "-f", "au", "-c:a", "pcm_f32be", "pipe:1")
_ENTRIES = (
    "format=duration:format_tags:stream=codec_type,duration:stream_tags"
    ":stream_disposition=attached_pic"
)


class _Facts:
    """What ffprobe says of a file, where it is on PATH: `seconds` that are declared, None if they
    are not; tags; `doubt` and `remark` as `AudioSource` has them."""

    def __init__(self, path: Path, demuxer: str) -> None:
        self.seconds: float | None = None
        self.tags: tuple[tuple[str, str], ...] = ()
        self.doubt: str | None = "cannot be checked for its end without ffprobe"
        self.remark: str | None = None
        if shutil.which("ffprobe") is None:
            return
        with _start("ffprobe", path, demuxer, "-of", "json", "-show_entries", _ENTRIES) as process:
            text, _ = process.communicate()
        if process.returncode == 0:
            self._take(json.loads(text), demuxer)

    def _take(self, facts: dict[str, Any], demuxer: str) -> None:
        streams = facts.get("streams", [])
        audio = [each for each in streams if each.get("codec_type") == "audio"]
        if not audio:
            raise FfmpegError("holds no audio")
        pictures = [each for each in streams if each.get("codec_type") == "video"]
        has_video = not all(each.get("disposition", {}).get("attached_pic") for each in pictures)
        self.tags = _tags({**audio[0].get("tags", {}), **facts.get("format", {}).get("tags", {})})
        if demuxer in _DECLARING:
            whole = facts.get("format", {}).get("duration") if len(streams) == 1 else None
            self.seconds = _seconds(audio[0].get("duration") or whole)
        self.doubt = None
        if has_video:
            self.doubt = "holds video, which is not kept"
        elif len(audio) > 1:
            self.doubt = f"holds {len(audio)} audio tracks, of which the first is kept"
        elif self.seconds is None:
            self.doubt = "is of a format whose end cannot be checked"
        if len(audio) > 1:
            self.remark = f"holds {len(audio)} audio tracks; the first is read"


class _Errors:
    """What a program prints on stderr, read on a thread so that it never waits for us."""

    def __init__(self, stream: IO[bytes] | None) -> None:
        assert stream is not None
        self._stream, self._text = stream, b""
        self._thread = threading.Thread(target=self._read, name="ffmpeg's errors", daemon=True)
        self._thread.start()

    def line(self) -> str:
        """The first line, when the program has ended; without the address of who says it."""
        self._thread.join()
        for line in self._text.decode("utf-8", "replace").splitlines():
            if text := _SPEAKER.sub("", line).strip():
                return f"ffmpeg: {text}"
        return ""

    def close(self) -> None:
        """Let go, the program having ended."""
        self._thread.join()
        self._stream.close()

    def _read(self) -> None:
        while data := self._stream.read1(1 << 12):  # type: ignore[attr-defined]
            if len(self._text) < _MOST_ERRORS:
                self._text += data


def _start(program: str, path: Path, demuxer: str, *rest: str) -> subprocess.Popen[bytes]:
    command = shutil.which(program)
    if command is None:
        raise FfmpegMissingError(MISSING)
    options = ["-hide_banner", "-v", "error", "-protocol_whitelist", "file", "-f", demuxer]
    options += ["-nostdin"] * (program == "ffmpeg")
    name = b"file:" + os.fsencode(path)
    return subprocess.Popen(
        [command, *options, "-i", name, *rest],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        **_OWN_GROUP,
    )


def _tags(texts: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    lower = {name.lower(): str(text) for name, text in texts.items()}
    return tuple((tag, lower[name]) for name, tag in _TAGS.items() if lower.get(name))


def _seconds(text: Any) -> float | None:
    try:
        return float(text)
    except (TypeError, ValueError):
        return None
