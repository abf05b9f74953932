"""Finishing coded files in batches, where that is cheaper than one by one."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Sequence
from typing import Generic, Protocol, TypeVar

from bigcodec_cli.coding.scheduler import FAULTS
from bigcodec_cli.files.inputs import Job


class Finishable(Protocol):
    """A coded file that has steps of finishing before it."""

    @property
    def job(self) -> Job:
        """Its input and output."""

    @property
    def batch_fraction(self) -> float:
        """What part of a batch it is; 1 is a whole one."""

    def discard(self) -> None:
        """Close and remove everything unfinished. May be called at any time, also twice."""


Task = TypeVar("Task", bound=Finishable)


@dataclasses.dataclass(frozen=True)
class Step(Generic[Task]):
    """Part of finishing: `each` for every file; before it, if there are several, `together`.

    `together` makes `each` cheaper and no more: where it fails, `each` fails for the file at fault.
    """

    each: Callable[[Task], None]
    together: Callable[[list[Task]], None] = lambda tasks: None


class FinishQueue(Generic[Task]):
    """Takes coded files, and finishes them by `steps` once they make up a batch."""

    def __init__(
        self, steps: Sequence[Step[Task]], failed: Callable[[Job, BaseException], None]
    ) -> None:
        self._steps, self._failed = steps, failed
        self._tasks: list[Task] = []

    def add(self, task: Task) -> None:
        """Finish a file, now or with others."""
        self._tasks.append(task)
        if sum(each.batch_fraction for each in self._tasks) >= 1:
            self.flush()

    def flush(self) -> None:
        """Finish what is waiting."""
        tasks, self._tasks = self._tasks, []
        try:
            for step in self._steps:
                if len(tasks) > 1:
                    with contextlib.suppress(*FAULTS):
                        step.together(tasks)
                tasks = [task for task in tasks if self._succeeds(step, task)]
        except BaseException:
            for task in tasks:
                task.discard()
            raise

    def discard(self) -> None:
        """Discard what is waiting."""
        for task in self._tasks:
            task.discard()

    def _succeeds(self, step: Step[Task], task: Task) -> bool:
        try:
            step.each(task)
        except BrokenPipeError:
            raise
        except FAULTS as error:
            task.discard()
            self._failed(task.job, error)
            return False
        return True
