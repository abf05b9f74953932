"""Coding many files at once: their channels go through the model side by side."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Generic, Protocol, TypeVar

import bcdc
from bigcodec_cli.console.messages import CliError
from bigcodec_cli.files.inputs import Job
from bigcodec_cli.files.reporting import Reporter
from bigcodec_models.errors import ModelsError

FAULTS = (CliError, ModelsError, OSError, MemoryError, RuntimeError, ValueError, bcdc.BcdcError)
"""What can go wrong with one file. RuntimeError: torch's way to run out of memory."""
_FEW_CHANNELS = 8
"""Channels of a recording that go through the model together, unless all must: each takes 20 MB."""
_SPARE_DESCRIPTORS = 12


class Task(Protocol):
    """One file being coded."""

    @property
    def job(self) -> Job:
        """Its input and output."""

    @property
    def sources(self) -> Sequence[Iterable[Any]]:
        """What goes into the model, an iterator for each channel. Without any, the task needs no
        model and can be finished at once."""

    @property
    def codec(self) -> Any:
        """The model that it needs."""

    @property
    def lockstep(self) -> bool:
        """Whether its channels must keep pace with one another, or memory would grow."""

    @property
    def short(self) -> bool:
        """Whether it belongs to the files of which `short_width` channels go side by side."""

    def take(self, channel: int, data: Any) -> None:
        """What came out of the model for a channel."""

    def discard(self) -> None:
        """Close and remove everything unfinished. May be called at any time, also twice."""


AnyTask = TypeVar("AnyTask", bound=Task)
ContravariantTask = TypeVar("ContravariantTask", bound=Task, contravariant=True)


class Finisher(Protocol[ContravariantTask]):
    """Where a task goes when every channel has come out of the model; see `FinishQueue`."""

    def add(self, task: ContravariantTask) -> None:
        """Finish a task, now or with others."""

    def flush(self) -> None:
        """Finish every task that was added."""

    def discard(self) -> None:
        """Discard every task that was added and is not finished."""


Stream = Callable[[Any, Iterable[Iterable[Any]], int], Iterator[Any]]
"""`Codec.encode_streams` or `Codec.decode_streams`, taking the codec."""


def without_model(_codec: None, sources: Iterable[Iterable[Any]], _width: int) -> Iterator[Any]:
    """The stream of tasks that have no sources."""
    for _ in sources:
        raise ValueError("a task has sources, and there is no model for them")
    yield from ()


class Scheduler(Generic[AnyTask]):
    """Runs tasks through a model, `width` channels at a time or, of short ones, `short_width`."""

    def __init__(
        self,
        stream: Stream,
        finisher: Finisher[AnyTask],
        reporter: Reporter,
        width: int = 1,
        short_width: int | None = None,
    ) -> None:
        self._stream, self._finisher, self._reporter = stream, finisher, reporter
        self._widths = {False: width, True: short_width or width}
        self._open: dict[int, tuple[AnyTask, int]] = {}  # task and channel, by index of the source
        self._incomplete: dict[int, int] = {}  # channels that are not done, by id of a live task

    def run(self, tasks: Iterator[AnyTask | None]) -> None:
        """Run tasks, drawn when there is room. A fault ends its task; the others go on.

        None stands for a point that all tasks before it are to reach before the next is drawn.
        """
        held: list[AnyTask] = []
        try:
            while True:
                first = held.pop() if held else next((task for task in tasks if task), None)
                if first is None:
                    return
                channels = len(first.sources)
                together = channels if first.lockstep else min(channels, _FEW_CHANNELS)
                width = max(self._widths[first.short], together)
                self._run(first.codec, self._group(first, tasks, held), width)
        finally:
            for task in [*held, *(task for task, _ in self._open.values())]:
                task.discard()
            self._finisher.discard()

    def _group(
        self, first: AnyTask, tasks: Iterator[AnyTask | None], held: list[AnyTask]
    ) -> Iterator[AnyTask]:
        """`first` and what can go with it; the one that cannot is put into `held`."""
        yield first
        if first.lockstep:
            return
        for task in tasks:
            if task is None:
                return
            if task.lockstep or task.codec is not first.codec or task.short != first.short:
                held.append(task)
                return
            if not task.short:
                held.append(task)  # so that it is discarded, should the next line fail
                self._finisher.flush()  # those before it are not to wait for a long one
                held.pop()
            yield task

    def _run(self, codec: Any, tasks: Iterator[AnyTask], width: int) -> None:
        self._open.clear()
        for piece in self._stream(codec, self._sources(tasks), width):
            task, channel = self._open[piece.index]
            if piece.last:
                del self._open[piece.index]
            if id(task) not in self._incomplete:
                continue
            try:
                if piece.error is not None:
                    raise piece.error
                task.take(channel, piece.data)
            except BrokenPipeError:
                raise
            except FAULTS as error:
                self._fail(task, error)
                continue
            if piece.last:
                self._complete_channel(task)
        self._finisher.flush()

    def _complete_channel(self, task: AnyTask) -> None:
        self._incomplete[id(task)] -= 1
        if not self._incomplete[id(task)]:
            del self._incomplete[id(task)]
            self._finisher.add(task)

    def _fail(self, task: AnyTask, error: BaseException) -> None:
        self._incomplete.pop(id(task), None)
        task.discard()
        self._reporter.failed(task.job, error)

    def _sources(self, tasks: Iterator[AnyTask]) -> Iterator[Iterable[Any]]:
        index = 0
        for task in tasks:
            sources = task.sources
            if not sources:
                self._finisher.add(task)
                continue
            self._incomplete[id(task)] = len(sources)
            for channel, source in enumerate(sources):
                self._open[index] = (task, channel)
                index += 1
                yield self._while_live(task, source)

    def _while_live(self, task: AnyTask, source: Iterable[Any]) -> Iterator[Any]:
        for item in source:
            if id(task) not in self._incomplete:
                return
            yield item


def open_each(
    jobs: Iterable[Job], open_task: Callable[[Job], AnyTask], reporter: Reporter
) -> Iterator[AnyTask | None]:
    """A task for each job that can be opened; the others are reported as failed.

    None comes before what may block, such as a pipe, for the others are not to wait with it; and
    where the process has hardly any more files to open, until those that are open are done.
    """
    for job in jobs:
        path = job.source
        may_block = path is not None and os.path.exists(path) and not os.path.isfile(path)
        if may_block or not _can_open_files():
            yield None
        try:
            yield open_task(job)
        except BrokenPipeError:
            raise
        except FAULTS as error:
            reporter.failed(job, error)


def _can_open_files() -> bool:
    """Whether there are descriptors for one more task, and for what libraries open meanwhile."""
    with contextlib.ExitStack() as stack:
        try:
            for _ in range(_SPARE_DESCRIPTORS):
                stack.callback(os.close, os.open(os.devnull, os.O_RDONLY))
        except OSError:
            return False
    return True
