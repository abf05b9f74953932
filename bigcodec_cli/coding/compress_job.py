"""One file being compressed: opened, coded, verified, and given its name."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import bcdc
from bigcodec_cli.audio.channels import Samples
from bigcodec_cli.audio.pcm import RawFormat
from bigcodec_cli.audio.reader import AudioInput, open_audio
from bigcodec_cli.coding.compressor import CompressOptions, Compressor
from bigcodec_cli.coding.scheduler import FAULTS, Step
from bigcodec_cli.coding.verification import read_back, verify_container
from bigcodec_cli.console.messages import CliError
from bigcodec_cli.console.progress import seconds_bar
from bigcodec_cli.files.atomic import AtomicOutput
from bigcodec_cli.files.batch import Batch, make_folder
from bigcodec_cli.files.inputs import Job
from bigcodec_models.codec import Codec

_SHORT_SECONDS = 60
_LOT_FILES = 32
_LOT_SECONDS = 120
"""Recordings that are finished together, and how long they may be with all their channels: some
60 blocks of the prior coder side by side. More is hardly faster, and a stop would lose more."""
_MAX_TAG_BYTES = 1 << 15


@dataclasses.dataclass(frozen=True, kw_only=True)
class CompressSettings:
    """What holds for all files of a `compress`."""

    codec: Codec
    options: CompressOptions
    raw: RawFormat | None = None
    verify: bool = True


class CompressTask:
    """A task for the pool; see `scheduler.Task`.

    Raises:
        CliError: the input cannot be read, or the output not be made.
    """

    def __init__(self, job: Job, settings: CompressSettings, batch: Batch) -> None:
        self.job, self._settings, self._batch = job, settings, batch
        self._output: AtomicOutput | None = None
        with contextlib.ExitStack() as stack, _naming(job):
            source = stack.enter_context(open_audio(job.source, settings.raw))
            out = self._open_output(stack)
            alone = len(batch.jobs) == 1 and batch.options.progress and not batch.options.quiet
            progress = stack.enter_context(seconds_bar(source.seconds or 0, source.name, alone))
            source = dataclasses.replace(source, tags=_bounded(source, batch))
            self._coder = Compressor(source, settings.codec, settings.options, out, progress)
            self._out, self._seconds = out, source.seconds
            self._written: bcdc.Container | None = None
            self._stack = stack.pop_all()

    @property
    def sources(self) -> list[Iterator[Samples]]:
        """Waves at the model's rate, a channel each."""
        return self._coder.sources

    @property
    def codec(self) -> Codec:
        """The model."""
        return self._settings.codec

    @property
    def alone(self) -> bool:
        """Whether the channels must keep pace: what one has taken is held for the others."""
        return self._coder.channels > 1 and not self.short

    @property
    def short(self) -> bool:
        """Whether it is known to be."""
        return self._seconds is not None and self._seconds <= _SHORT_SECONDS

    @functools.cached_property
    def share(self) -> float:
        """What part of a lot it is: only the prior coder is faster with others beside it."""
        by_network = self._coder.header.coder is bcdc.Coder.PRIOR
        if self._output is None or self._seconds is None or not by_network:
            return 1
        return max(1 / _LOT_FILES, self._seconds * self._coder.channels / _LOT_SECONDS)

    def take(self, channel: int, data: Any) -> None:
        """Write a channel's next tokens."""
        with _naming(self.job):
            self._coder.take(channel, data)
            if self._output is None:
                self._out.flush()

    def write(self) -> None:
        """Complete the container, and read it back if it is to be verified."""
        with _naming(self.job):
            self._coder.finish()
            self._out.flush()
            if self._output is not None:
                self._out.close()
                if self._settings.verify:
                    self._written = read_back(self._output.temporary)

    def finish(self) -> None:
        """Verify what was written, and give it its name."""
        with _naming(self.job):
            size = self._commit()
            self._stack.close()
        seconds = self._coder.seconds
        kbps = size * 8 / seconds / 1000 if size and seconds else None
        self._batch.succeeded(
            self.job,
            _words(self.job, seconds, size, kbps),
            seconds=seconds,
            bytes=size,
            kbps_on_disk=kbps,
        )

    def discard(self) -> None:
        """Close and remove everything unfinished."""
        self._stack.close()

    def _open_output(self, stack: contextlib.ExitStack) -> BinaryIO:
        job = self.job
        if job.target is None:
            return sys.stdout.buffer
        make_folder(job.target.parent)
        options = self._batch.options
        self._output = AtomicOutput(job.target, overwrite=options.force, mark=options.mark)
        stack.callback(self._output.discard)
        return stack.enter_context(self._output.temporary.open("xb"))

    def _commit(self) -> int | None:
        """The container's size, once it has its name."""
        output, source = self._output, self.job.source
        if output is None:
            return None
        if self._written is not None:
            prior = self._settings.options.prior
            verify_container(self._written, self._coder.digest, self._coder.samples, prior)
            self._written = None
        size = output.temporary.stat().st_size
        like = source.stat() if source is not None and source.is_file() else None
        remove = self._batch.options.remove and source is not None
        output.commit(like=like, durable=remove)
        if remove and source is not None:
            source.unlink()
        return size

    @staticmethod
    def code_ahead(tasks: Sequence[CompressTask]) -> None:
        """Make `write` of several tasks cheaper."""
        bcdc.code_ahead([task._coder.writer for task in tasks])

    @staticmethod
    def decode_ahead(tasks: Sequence[CompressTask]) -> None:
        """Make `finish` of several tasks cheaper."""
        written = [task._written for task in tasks if task._written is not None]
        prior = tasks[0]._settings.options.prior
        if prior is not None:
            bcdc.decode_ahead(written, prior)


STEPS = (
    Step(CompressTask.code_ahead, CompressTask.write),
    Step(CompressTask.decode_ahead, CompressTask.finish),
)
"""How the pool finishes tasks."""


def open_tasks(
    jobs: Iterator[Job], settings: CompressSettings, batch: Batch
) -> Iterator[CompressTask | None]:
    """A task for each job that can be opened; the others are told to the batch as failed.

    None comes before what may be waited for, such as a pipe: the others are not to wait with it.
    """
    for job in jobs:
        if job.source is not None and _may_wait(job.source):
            yield None
        try:
            yield CompressTask(job, settings, batch)
        except FAULTS as error:
            batch.failed(job, error)


def _may_wait(path: Path) -> bool:
    return os.path.exists(path) and not os.path.isfile(path)


@contextlib.contextmanager
def _naming(job: Job) -> Iterator[None]:
    """Failures to write, told with the names of both files."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        reason = error.strerror or error
        raise CliError(f"{job.name}: cannot write {job.target_name}: {reason}") from error
    except ValueError as error:
        raise CliError(f"{job.name}: cannot become a container: {error}") from error


def _bounded(source: AudioInput, batch: Batch) -> tuple[tuple[str, str], ...]:
    """The tags that a container has room for."""
    kept = tuple((n, t) for n, t in source.tags if len(os.fsencode(t)) <= _MAX_TAG_BYTES // 9)
    if len(kept) < len(source.tags):
        batch.remark(f"{source.name}: a tag is too long for a container and left out")
    return kept


def _words(job: Job, seconds: float, size: int | None, kbps: float | None) -> str:
    name = "stdin" if job.source is None else job.source.name
    if size is None:
        return f"{name}: {seconds:.2f} s to {job.target_name}"
    rate = f", {kbps:.2f} kbit/s" if kbps is not None else ""
    return f"{name}: {seconds:.2f} s to {size} bytes{rate}"
