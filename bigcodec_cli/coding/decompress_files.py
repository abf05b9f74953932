"""How any container becomes another file: audio for `decompress` and `eval`, tokens for
`tokens extract`. Loads no torch."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from bigcodec_cli.coding.finish_queue import Finishable, FinishQueue, Step
from bigcodec_cli.coding.scheduler import Scheduler, Stream, Task, open_each
from bigcodec_cli.files.batch import OutputOptions
from bigcodec_cli.files.inputs import Job
from bigcodec_cli.files.reporting import Reporter


class RestoreTask(Task, Finishable, Protocol):
    """A container that becomes another file."""

    def finish(self) -> None:
        """Complete the file, and give it its name."""


class Decoder(Protocol):
    """What makes one kind of file of containers: `AudioDecoder`, `TokenExtractor`."""

    @property
    def stream(self) -> Stream:
        """What runs tokens through the model."""

    @property
    def width(self) -> int:
        """How many channels go through it side by side."""

    def open_job(self, job: Job, outputs: OutputOptions, reporter: Reporter) -> RestoreTask:
        """A task for one container."""


def decompress_files(
    jobs: Iterable[Job], decoder: Decoder, outputs: OutputOptions, reporter: Reporter
) -> None:
    """Decompress files, several at once; the reporter learns how each went."""
    tasks = open_each(jobs, lambda job: decoder.open_job(job, outputs, reporter), reporter)
    queue = FinishQueue[RestoreTask]([Step(lambda task: task.finish())], reporter.failed)
    Scheduler(decoder.stream, queue, reporter, decoder.width).run(tasks)
