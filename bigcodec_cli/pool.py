"""Coding many recordings at once: their channels share the model, step by step."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol

import bcdc
from bigcodec_cli.inputs import Job
from bigcodec_cli.output import CliError

FAULTS = (CliError, OSError, MemoryError, RuntimeError, ValueError, bcdc.BcdcError)
"""What can go wrong with one file. RuntimeError: torch's way to run out of memory."""


class Task(Protocol):
    """One recording being coded."""

    @property
    def job(self) -> Job:
        """Its input and output."""

    @property
    def sources(self) -> Sequence[Iterable[Any]]:
        """What goes into the model, an iterator a channel."""

    @property
    def codec(self) -> Any:
        """The model that it needs."""

    @property
    def alone(self) -> bool:
        """Whether its channels must keep pace with one another, or memory would grow."""

    def take(self, channel: int, data: Any) -> None:
        """What came out of the model for a channel."""

    def finish(self) -> None:
        """Every channel is complete: give the output its name."""

    def discard(self) -> None:
        """Close and remove everything unfinished. May be called at any time, also twice."""


Stream = Callable[[Any, Iterable[Iterable[Any]], int], Iterator[Any]]
"""`Codec.encode_streams` or `decode_streams`, taking the codec."""


class Pool:
    """Runs tasks through a model, `width` channels at a time."""

    def __init__(
        self, stream: Stream, width: int, failed: Callable[[Job, BaseException], None]
    ) -> None:
        self._stream, self._width, self._failed = stream, width, failed
        self._open: dict[int, tuple[Task, int]] = {}  # of each source index: task and channel
        self._left: dict[int, int] = {}  # of each live task, by id: channels not yet complete

    def run(self, tasks: Iterator[Task]) -> None:
        """Run tasks, drawn when there is room. A fault ends its task; the others go on."""
        held: list[Task] = []
        try:
            while True:
                first = held.pop() if held else next(tasks, None)
                if first is None:
                    return
                width = max(self._width, len(first.sources))
                self._run(first.codec, self._group(first, tasks, held), width)
        finally:
            for task in [*held, *(task for task, _ in self._open.values())]:
                task.discard()

    def _group(self, first: Task, tasks: Iterator[Task], held: list[Task]) -> Iterator[Task]:
        """`first` and what can go with it; the one that cannot is put into `held`."""
        yield first
        if first.alone:
            return
        for task in tasks:
            if task.alone or task.codec is not first.codec:
                held.append(task)
                return
            yield task

    def _run(self, codec: Any, tasks: Iterator[Task], width: int) -> None:
        self._open.clear()
        for piece in self._stream(codec, self._sources(tasks), width):
            task, channel = self._open[piece.index]
            if piece.last:
                del self._open[piece.index]
            if id(task) not in self._left:
                continue
            try:
                if piece.error is not None:
                    raise piece.error
                task.take(channel, piece.data)
                if piece.last:
                    self._complete(task)
            except BrokenPipeError:
                raise
            except FAULTS as error:
                self._drop(task, error)

    def _complete(self, task: Task) -> None:
        self._left[id(task)] -= 1
        if not self._left[id(task)]:
            task.finish()
            del self._left[id(task)]

    def _drop(self, task: Task, error: BaseException) -> None:
        self._left.pop(id(task), None)
        task.discard()
        self._failed(task.job, error)

    def _sources(self, tasks: Iterator[Task]) -> Iterator[Iterable[Any]]:
        index = 0
        for task in tasks:
            self._left[id(task)] = len(task.sources)
            for channel, source in enumerate(task.sources):
                self._open[index] = (task, channel)
                index += 1
                yield self._while_live(task, source)

    def _while_live(self, task: Task, source: Iterable[Any]) -> Iterator[Any]:
        for item in source:
            if id(task) not in self._left:
                return
            yield item
