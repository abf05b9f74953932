"""What a batch did, all in all."""

from __future__ import annotations

import stat
import time
from pathlib import Path
from typing import Any

from bigcodec_cli.files.inputs import Job


class Totals:
    """Sums over the files of a batch: `seconds` of audio, bytes read and written. `shared` is the
    one output of all, if they share one."""

    def __init__(self, shared: Path | None = None) -> None:
        self._start = time.monotonic()
        self.files = self.bytes_in = self._bytes_out = 0
        self.seconds, self._shared = 0.0, shared
        self._models: set[str] = set()
        self._sizes: dict[int, int] = {}

    def begin(self, job: Job) -> None:
        """A job is about to be done; its source may be gone after that."""
        if job.source is not None:
            self._sizes[id(job)] = size_of(job.source)

    def add(self, job: Job, seconds: float, model: str | None = None) -> None:
        """A job is done, by a model if it took one."""
        self._models.add(model or "")
        self.files += 1
        self.seconds += seconds
        self.bytes_in += self._sizes.get(id(job), 0)
        if job.target is not None:
            self._bytes_out += size_of(job.target)

    @property
    def bytes_out(self) -> int:
        """The size of the outputs."""
        return self._bytes_out if self._shared is None else size_of(self._shared)

    def facts(self) -> dict[str, Any]:
        """The sums for a program; times in seconds."""
        return {
            "files": self.files,
            "elapsed": round(time.monotonic() - self._start, 3),
            "seconds": round(self.seconds, 3),
            "bytes_in": self.bytes_in,
            "bytes_out": self.bytes_out,
        }

    def line(self, to_container: bool) -> str:
        """The sums for a reader, such as "40 files, 3:15 of audio to 25.1 kB, 1.03 kbit/s, 9.3x
        real time"; with the size and the rate of the containers, and the name of their model if
        it was the same for all."""
        files = f"{self.files} file{'s' * (self.files != 1)}"
        size = self.bytes_out if to_container else self.bytes_in
        if not self.seconds:
            return f"{files}, {size_text(self.bytes_in)} to {size_text(self.bytes_out)}"
        (model,) = self._models if len(self._models) == 1 else ("",)
        elapsed = max(time.monotonic() - self._start, 1e-3)
        parts = [
            files,
            f"{duration_text(self.seconds)} of audio {'to' if to_container else 'from'} "
            f"{size_text(size)}{f' by {model}' if model else ''}",
            f"{size * 8 / self.seconds / 1000:.2f} kbit/s",
            f"{self.seconds / elapsed:.1f}x real time",
        ]
        return ", ".join(parts)


def size_of(path: Path) -> int:
    """The size of a regular file; 0 where there is none, or none any more."""
    try:
        status = path.stat()
    except OSError:
        return 0
    return status.st_size if stat.S_ISREG(status.st_mode) else 0


def size_text(count: int) -> str:
    """Bytes with three digits and a unit: 999 bytes, 25.1 kB, 1.50 MB."""
    if count < 1000:
        return f"{count} bytes"
    value, units = count / 1000, ["kB", "MB", "GB", "TB"]
    while value >= 999.5 and len(units) > 1:
        value, units = value / 1000, units[1:]
    digits = 2 if value < 9.995 else 1 if value < 99.95 else 0
    return f"{value:.{digits}f} {units[0]}"


def duration_text(seconds: float) -> str:
    """Seconds as 9.25 s, 3:15 or 1:02:03."""
    if seconds < 59.995:
        return f"{seconds:.2f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
