"""Coding many recordings at once: their channels share the model, step by step."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol

import bcdc
from bigcodec_cli.console.messages import CliError
from bigcodec_cli.files.inputs import Job
from bigcodec_models.errors import ModelsError

FAULTS = (CliError, ModelsError, OSError, MemoryError, RuntimeError, ValueError, bcdc.BcdcError)
"""What can go wrong with one file. RuntimeError: torch's way to run out of memory."""
SHORT_AT_ONCE = 16
"""A CPU then reads the model's weights once for all, and is faster by a sixth. Not on other
devices, where the results would depend on it in near-ties."""


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

    @property
    def short(self) -> bool:
        """Whether it may go through the model beside others without being asked for."""

    @property
    def share(self) -> float:
        """What part it is of a lot of tasks that are finished together; 1 is a whole lot."""

    def take(self, channel: int, data: Any) -> None:
        """What came out of the model for a channel."""

    def finish(self) -> None:
        """Every channel is complete, and every step before this done: give the output its name."""

    def discard(self) -> None:
        """Close and remove everything unfinished. May be called at any time, also twice."""


Stream = Callable[[Any, Iterable[Iterable[Any]], int], Iterator[Any]]
"""`Codec.encode_streams` or `decode_streams`, taking the codec."""


@dataclasses.dataclass(frozen=True)
class Step:
    """Part of finishing a lot of tasks: `together` for all at once, to make `each` cheaper.

    What `together` fails at is left to `each`, where it fails for the task that it is about.
    """

    together: Callable[[list[Any]], None]
    each: Callable[[Any], None]


_FINISH = Step(lambda tasks: None, lambda task: task.finish())


class Pool:
    """Runs tasks through a model, `width` channels at a time or, of short ones, `short_width`; and
    finishes them in lots."""

    def __init__(
        self,
        stream: Stream,
        width: int,
        failed: Callable[[Job, BaseException], None],
        steps: Sequence[Step] = (_FINISH,),
        short_width: int | None = None,
    ) -> None:
        self._stream, self._failed, self._steps = stream, failed, steps
        self._widths = {False: width, True: short_width or width}
        self._complete: list[Task] = []  # every channel is; to be finished with the next lot
        self._open: dict[int, tuple[Task, int]] = {}  # of each source index: task and channel
        self._left: dict[int, int] = {}  # of each live task, by id: channels not yet complete

    def run(self, tasks: Iterator[Task | None]) -> None:
        """Run tasks, drawn when there is room. A fault ends its task; the others go on.

        None stands for a point that all tasks before it are to reach before the next is drawn.
        """
        held: list[Task] = []
        try:
            while True:
                first = held.pop() if held else next((task for task in tasks if task), None)
                if first is None:
                    return
                width = max(self._widths[first.short], len(first.sources))
                self._run(first.codec, self._group(first, tasks, held), width)
        finally:
            unfinished = [*held, *self._complete, *(task for task, _ in self._open.values())]
            for task in unfinished:
                task.discard()

    def _settle(self) -> None:
        """Finish the tasks that are complete."""
        tasks, self._complete = self._complete, []
        try:
            for step in self._steps:
                if len(tasks) > 1:
                    with contextlib.suppress(*FAULTS):
                        step.together(tasks)
                tasks = [task for task in tasks if self._done(step, task)]
        except BaseException:
            for task in tasks:
                task.discard()
            raise

    def _done(self, step: Step, task: Task) -> bool:
        """Whether a step went well for a task; else it is at its end."""
        try:
            step.each(task)
        except BrokenPipeError:
            raise
        except FAULTS as error:
            self._drop(task, error)
            return False
        return True

    def _group(self, first: Task, tasks: Iterator[Task | None], held: list[Task]) -> Iterator[Task]:
        """`first` and what can go with it; the one that cannot is put into `held`."""
        yield first
        if first.alone:
            return
        width = self._widths[first.short]
        for task in tasks:
            if task is None:
                return
            if task.alone or task.codec is not first.codec or self._widths[task.short] != width:
                held.append(task)
                return
            if task.share >= 1:
                held.append(task)
                self._settle()  # those that are complete need not wait for one that may take long
                held.pop()
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
            except BrokenPipeError:
                raise
            except FAULTS as error:
                self._drop(task, error)
                continue
            if piece.last:
                self._ended(task)
        self._settle()

    def _ended(self, task: Task) -> None:
        """One more channel of a task is complete."""
        self._left[id(task)] -= 1
        if not self._left[id(task)]:
            del self._left[id(task)]
            self._complete.append(task)
            if sum(each.share for each in self._complete) >= 1:
                self._settle()

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
