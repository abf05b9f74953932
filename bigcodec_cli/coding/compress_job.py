"""One container being made: of an opened recording, verified, and given its name."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import bcdc
from bigcodec_cli.coding.compressor import Compressor
from bigcodec_cli.coding.file_job import FileJob
from bigcodec_cli.coding.finish_queue import Step
from bigcodec_cli.coding.pace import Pace
from bigcodec_cli.coding.recording import Recording
from bigcodec_cli.coding.verification import read_back, verify_container
from bigcodec_cli.console.messages import CliError
from bigcodec_cli.files.batch import OutputOptions
from bigcodec_cli.files.inputs import Job
from bigcodec_cli.files.reporting import Facts, Reporter

_SHORT_SECONDS = 60
_BATCH_FILES = 32
_BATCH_SECONDS = 120
"""Recordings that are finished together, and how long they may be with all their channels: some
60 blocks of the prior coder side by side. More is hardly faster, and a stop would lose more."""

OpenRecording = Callable[[Job, contextlib.ExitStack, Reporter], Recording]
"""Opens a job's input; what it has to close goes into the stack. Raises CliError, ValueError."""


class CompressJob(FileJob):
    """A task of the scheduler that ends as a container; see `scheduler.Task`.

    `codec`, and its name `model`, are None where tokens come from a file.

    Raises:
        CliError: the input cannot be read, or the output not be made.
    """

    def __init__(
        self,
        job: Job,
        outputs: OutputOptions,
        reporter: Reporter,
        open_recording: OpenRecording,
        *,
        codec: Any = None,
        model: str | None = None,
        coder: bcdc.Coder | None = None,
        find_prior: Callable[[bcdc.Header], bcdc.Prior | None],
        verify: bool = True,
    ) -> None:
        super().__init__(job, outputs, reporter)
        self.codec, self._model, self._verify = codec, model, verify
        self._written: bcdc.Container | None = None
        with self.opening(), self._naming_value():
            recording = open_recording(job, self.stack, reporter)
            self.sources, self._seconds = recording.sources, recording.seconds
            self._fault, self._doubt = recording.fault, recording.doubt
            self.lockstep = recording.pace is Pace.LOCKSTEP
            self._prior = find_prior(recording.header)
            self._out = self.create_binary()
            bar = reporter.seconds_bar(job, recording.seconds or 0)
            progress = self.stack.enter_context(bar)
            self._compressor = Compressor(recording, self._out, coder, self._prior, progress)
            for channel, tokens in enumerate([] if recording.tokens is None else recording.tokens):
                self._compressor.take(channel, tokens)

    @property
    def short(self) -> bool:
        """Whether it is known to be."""
        return self._seconds is not None and self._seconds <= _SHORT_SECONDS

    @functools.cached_property
    def batch_fraction(self) -> float:
        """What part of a batch it is: only the prior coder is faster with others beside it."""
        header = self._compressor.header
        by_network = header.coder is bcdc.Coder.PRIOR
        if self.temporary is None or self._seconds is None or not by_network:
            return 1
        return max(1 / _BATCH_FILES, self._seconds * header.channels / _BATCH_SECONDS)

    def take(self, channel: int, data: Any) -> None:
        """Write a channel's next tokens."""
        with self.naming(), self._naming_value():
            self._compressor.take(channel, data)
            if self.temporary is None:
                self._out.flush()

    def write(self) -> None:
        """Complete the container, and read it back if it is to be verified."""
        with self.naming(), self._naming_value():
            if self._fault() is not None and not self._compressor.samples:
                raise CliError(f"{self.job.name}: {self._fault()}")
            self._compressor.finish()
            self._out.flush()
            if self.temporary is not None:
                self._out.close()
                if self._verify:
                    self._written = read_back(self.temporary)

    def finish(self) -> None:
        """Verify what was written, and give it its name."""
        compressor = self._compressor
        with self.naming():
            if self._written is not None:
                digest, samples = compressor.digest, compressor.samples
                verify_container(self._written, digest, samples, self._prior)
                self._written = None
            fault = self._fault()
            doubt = self._doubt
            size = self.commit(keep_source=fault is not None or doubt is not None)
            if self.outputs.remove and doubt is not None:
                self.reporter.remark(f"{self.job.name}: {doubt}, and was not removed")
        self._report(size, fault)

    def _report(self, size: int | None, fault: str | None) -> None:
        job, seconds = self.job, self._compressor.seconds
        kbps = size * 8 / seconds / 1000 if size and seconds else None
        facts: dict[str, Any] = {"seconds": seconds, "bytes": size, "kbps_on_disk": kbps}
        if self._model is not None:
            facts["model"] = self._model
        if fault is None:
            self.reporter.succeeded(job, _summary(job, facts), **facts)
            return
        message = f"{job.name}: {fault}; {seconds:.2f} s are in {job.target_name}"
        self.reporter.failed(job, CliError(message), facts)

    @staticmethod
    def code_ahead(jobs: Sequence[CompressJob]) -> None:
        """Make `write` of several jobs cheaper."""
        bcdc.code_ahead([job._compressor.writer for job in jobs])

    @staticmethod
    def decode_ahead(jobs: Sequence[CompressJob]) -> None:
        """Make `finish` of several jobs cheaper."""
        written = [job._written for job in jobs if job._written is not None]
        prior = jobs[0]._prior
        if prior is not None:
            bcdc.decode_ahead(written, prior)

    @contextlib.contextmanager
    def _naming_value(self) -> Iterator[None]:
        """What a container cannot hold, with the input's name."""
        try:
            yield
        except ValueError as error:
            message = f"{self.job.name}: cannot become a container: {error}"
            raise CliError(message) from error


STEPS = (
    Step(CompressJob.write, together=CompressJob.code_ahead),
    Step(CompressJob.finish, together=CompressJob.decode_ahead),
)
"""How compressed files are finished."""


def _summary(job: Job, facts: Facts) -> str:
    model = f" by {facts['model']}" if "model" in facts else ""
    size, kbps = facts["bytes"], facts["kbps_on_disk"]
    target = job.target_name if size is None else f"{size} bytes"
    rate = f", {kbps:.2f} kbit/s" if kbps is not None else ""
    return f"{job.short_name}: {facts['seconds']:.2f} s to {target}{model}{rate}"
