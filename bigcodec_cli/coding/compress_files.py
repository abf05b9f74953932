"""How any file becomes a container: audio for `compress`, its cluster workers, `eval` and
`train-prior`, tokens for `tokens pack`. Loads no torch."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from bigcodec_cli.coding.compress_job import STEPS, CompressJob
from bigcodec_cli.coding.finish_queue import FinishQueue
from bigcodec_cli.coding.scheduler import Scheduler, Stream, open_each
from bigcodec_cli.files.batch import OutputOptions
from bigcodec_cli.files.inputs import Job
from bigcodec_cli.files.reporting import Reporter


class Encoder(Protocol):
    """What makes containers of one kind of input: `AudioEncoder`, `TokenPacker`."""

    @property
    def stream(self) -> Stream:
        """What runs recordings through the model."""

    @property
    def width(self) -> int:
        """How many channels go through it side by side."""

    @property
    def short_width(self) -> int:
        """The same for short recordings."""

    def open_job(self, job: Job, outputs: OutputOptions, reporter: Reporter) -> CompressJob:
        """A task for one file; see `CompressJob`."""


def compress_files(
    jobs: Iterable[Job], encoder: Encoder, outputs: OutputOptions, reporter: Reporter
) -> None:
    """Compress files, several at once; the reporter learns how each went."""
    tasks = open_each(jobs, lambda job: encoder.open_job(job, outputs, reporter), reporter)
    queue = FinishQueue(STEPS, reporter.failed)
    widths = (encoder.width, encoder.short_width)
    Scheduler(encoder.stream, queue, reporter, *widths).run(tasks)
