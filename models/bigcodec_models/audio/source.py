"""Any audio file that can be read, whoever decodes it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol, Self

import numpy as np
import numpy.typing as npt

from bigcodec_models.audio.audio_file import AudioFile
from bigcodec_models.audio.content import Content
from bigcodec_models.audio.ffmpeg import FfmpegFile
from bigcodec_models.audio.media import demuxer_of, media_fault

EMPTY = "the file is empty"
"""What to say of a file without bytes, of which decoders say that its format is unknown."""


class AudioSource(Protocol):
    """An open audio file.

    `rate` is in samples a second. `frames` is the length of a channel, None where it is not known
    before all is read; `seconds` is what the file declares, None if it does not, and a little more
    or less may come. `tags` are pairs of a name of TAG_NAMES and its text. `doubt` says why nobody
    can tell that all of the file was read, None if `fault` can be relied on; `remark` what is not
    read though it is there, None if it is all.
    """

    rate: int
    channels: int
    frames: int | None
    seconds: float | None
    tags: tuple[tuple[str, str], ...]
    doubt: str | None
    remark: str | None

    @property
    def fault(self) -> str | None:
        """Why not all of the audio was read; to be asked when `blocks` has ended."""

    def blocks(self) -> Iterator[npt.NDArray[np.float32]]:
        """The samples (n, channels), full scale 1.0, in pieces; once."""

    def close(self) -> None:
        """Let go of the file."""

    def __enter__(self) -> Self:
        """Itself, closed at the end."""

    def __exit__(self, *_: object) -> None:
        """Close."""


def demuxer_for(path: Path) -> str | None:
    """ffmpeg's name for the format of a file that is read through it; None for the others.

    Raises:
        OSError: the file cannot be opened.
    """
    with path.open("rb") as file:
        return demuxer_of(Content(file, path.stat().st_size))


def open_source(path: Path) -> AudioSource:
    """Open an audio file.

    Raises:
        OSError, soundfile.LibsndfileError: it cannot be read.
    """
    with path.open("rb") as file:
        size = path.stat().st_size
        if path.is_file() and not size and not file.read(1):  # files of the kernel have no size
            raise OSError(EMPTY)
        content = Content(file, size)
        demuxer = demuxer_of(content)
        if demuxer is not None:
            return FfmpegFile(path, demuxer, media_fault(content, demuxer))
    return AudioFile(path)
