"""How the work on a file went, for whoever asked for it: a batch, a cluster, an evaluation."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from bigcodec_cli.console.messages import CliError, note
from bigcodec_cli.files.inputs import Job
from bigcodec_models.audio.ffmpeg import MISSING
from bigcodec_models.errors import ModelsError

Facts = Mapping[str, Any]


class Reporter(Protocol):
    """Learns how each job ends."""

    def succeeded(self, job: Job, summary: str, **facts: Any) -> None:
        """A job is done: a line for a reader, facts for a program."""

    def failed(self, job: Job, error: BaseException, facts: Facts | None = None) -> None:
        """A job failed; the others go on."""

    def remark(self, text: str) -> None:
        """A line on a job that has not ended yet."""

    def seconds_bar(self, job: Job, seconds: float) -> contextlib.AbstractContextManager[Any]:
        """Gives a function to call with the seconds of a job's audio that were done."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outcome:
    """The end of a job: `error` is a line that says why it failed, None if it did not."""

    job: Job
    summary: str = ""
    error: str | None = None
    facts: Facts = dataclasses.field(default_factory=dict)


class Outcomes:
    """A reporter that passes on how each job ended, and prints nothing."""

    def __init__(
        self,
        ended: Callable[[Outcome], None],
        remarked: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._ended, self._remarked = ended, remarked

    def succeeded(self, job: Job, summary: str, **facts: Any) -> None:
        """See `Reporter`."""
        self._ended(Outcome(job=job, summary=summary, facts=facts))

    def failed(self, job: Job, error: BaseException, facts: Facts | None = None) -> None:
        """See `Reporter`."""
        self._ended(Outcome(job=job, error=explain_failure(job, error), facts=facts or {}))

    def remark(self, text: str) -> None:
        """See `Reporter`."""
        self._remarked(text)

    @contextlib.contextmanager
    def seconds_bar(self, job: Job, seconds: float) -> Iterator[Callable[[float], None]]:
        """See `Reporter`."""
        yield lambda _: None


def note_unread(path: Path, reason: str) -> None:
    """A line on a file of a folder that was walked; one for each suffix, where a program is missing
    that all such files need."""
    if MISSING in reason:
        _note_once(f"files that end in {path.suffix}: {reason}")
    else:
        note(f"{path}: {reason}")


@functools.cache
def _note_once(text: str) -> None:
    note(text)


def explain_failure(job: Job, error: BaseException) -> str:
    """One line on why a job failed, which begins with its input's name."""
    message = explain(error)
    return message if message.startswith(job.name) else f"{job.name}: {message}"


def explain(error: BaseException) -> str:
    """One line on an error that a file can cause."""
    if isinstance(error, OSError):
        where = f"{os.fsdecode(error.filename)}: " if error.filename else ""
        return f"{where}{error.strerror or error}"
    if isinstance(error, MemoryError):
        return "does not fit into memory"
    if isinstance(error, CliError | ModelsError):
        return str(error)  # one line, but for names with line breaks, which are made visible later
    return str(error).partition("\n")[0] or type(error).__name__
