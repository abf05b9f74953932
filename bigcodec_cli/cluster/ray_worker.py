"""What runs in a Ray cluster: workers, each with a model of its own, and who gives them files.

Files go out as rows of JSON, and so does what became of them: such text carries names that are no
UTF-8 as well. Nothing here prints.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import os
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from bigcodec_cli import __version__
from bigcodec_cli.console.messages import CliError
from bigcodec_cli.files.batch import Batch, BatchOptions, explain
from bigcodec_cli.files.inputs import Job

_LOT_FILES = 32
_LOTS_A_WORKER = 4
"""So that workers end at about the same time, if there are files enough."""
Row = dict[str, Any]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Order:
    """What a worker needs to know besides its files; it goes through pickle."""

    request: Any  # CompressRequest, whose module would load torch here
    options: BatchOptions
    folder: str
    """Where relative paths begin."""
    home: str
    """BIGCODEC_HOME, on a file system of all machines."""
    same: tuple[str, bytes, bytes | None]
    """Version, and fingerprints of model and prior: with others the bytes would differ."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Crew:
    """How many workers there are, and what each takes of its machine."""

    size: int
    gpus: int
    memory: int

    def lot_files(self, files: int) -> int:
        """How many of `files` a worker gets at a time."""
        return max(1, min(_LOT_FILES, files // (self.size * _LOTS_A_WORKER)))


class Dispatcher:
    """An actor that runs Ray Data over the files: in the cluster, since a Ray client cannot."""

    def __init__(self, jobs: Sequence[str], order: Order, crew: Crew) -> None:
        data: Any = importlib.import_module("ray.data")
        context = data.DataContext.get_current()
        context.enable_progress_bars = False
        context.max_errored_blocks = -1  # files that a dead worker had are found missing
        lots = -(-len(jobs) // crew.lot_files(len(jobs)))
        rows = data.from_items([{"job": job} for job in jobs], override_num_blocks=lots)
        coded = rows.map_batches(
            Worker,
            fn_constructor_args=(order,),
            batch_size=None,
            compute=data.ActorPoolStrategy(size=crew.size, max_tasks_in_flight_per_actor=1),
            num_cpus=1,
            num_gpus=crew.gpus,
            memory=crew.memory,
            max_restarts=-1,
            max_task_retries=0,  # a second try would find the files of the first in its way
        )
        self._batches = iter(coded.iter_batches(batch_size=None))

    def next(self) -> list[str]:
        """What became of some more files, as soon as it is known; nothing at the end."""
        batch = next(self._batches, None)
        return [] if batch is None else [str(row) for row in batch["report"]]


class Worker:
    """Codes files with a model that it loads once."""

    def __init__(self, order: Order) -> None:
        self._order, self._fault = order, ""
        try:
            self._start()
        except Exception as error:  # told with the first files: Ray would make pages of it
            self._fault = f"worker on {socket.gethostname()}: {explain(error)}"

    def __call__(self, rows: Row) -> Row:
        """A lot of files."""
        reports = [{"fault": self._fault}] if self._fault else self._code(rows["job"])
        return {"report": [json.dumps(report) for report in reports]}

    def _start(self) -> None:
        order = self._order
        os.environ["BIGCODEC_HOME"] = order.home
        try:
            os.chdir(order.folder)
        except OSError as error:
            raise CliError(f"{order.folder}: not on this machine: {error.strerror}") from error
        import torch

        from bigcodec_cli.coding.compress_files import load_settings

        if order.request.device == "cpu":
            torch.set_num_threads(1)  # its share: there is a worker a CPU
        self._settings, _ = load_settings(order.request)
        prior = self._settings.options.prior
        here = (__version__, self._settings.codec.fingerprint, prior.name if prior else None)
        for mine, wanted, what in zip(here, order.same, ("version", "model", "prior"), strict=True):
            if mine != wanted:
                raise CliError(f"it has another {what} than the machine of this command")

    def _code(self, texts: Sequence[str]) -> list[Row]:
        from bigcodec_cli.coding.compress_files import compress_jobs

        numbers, jobs = zip(*map(_read, texts), strict=True)
        batch = _Reports(jobs, self._order.options, numbers)
        try:
            compress_jobs(iter(jobs), self._settings, batch, self._order.request.batch_size)
        except Exception as error:  # a bug of ours: all is to stop, as it does without Ray
            batch.rows.append({"fault": f"{type(error).__name__}: {explain(error)}"})
        return batch.rows


class _Reports(Batch):
    """Keeps what a batch would print."""

    def __init__(self, jobs: Sequence[Job], options: BatchOptions, numbers: Sequence[int]) -> None:
        super().__init__(jobs, options, "")
        self._number_of = {id(job): number for job, number in zip(jobs, numbers, strict=True)}
        self.rows: list[Row] = []

    def succeeded(self, job: Job, words: str, **facts: Any) -> None:
        self.rows.append({"number": self._number_of[id(job)], "words": words, "facts": facts})

    def failed(self, job: Job, error: BaseException, facts: Any = None) -> None:
        self.rows.append({"number": self._number_of[id(job)], "error": explain(error)})

    def remark(self, words: str) -> None:
        self.rows.append({"remark": words})


def write_jobs(jobs: Sequence[Job]) -> Iterator[str]:
    """A row for each job, numbered from 0."""
    for number, job in enumerate(jobs):
        yield json.dumps([number, str(job.source), str(job.target)])


def _read(text: str) -> tuple[int, Job]:
    number, source, target = json.loads(text)
    return number, Job(Path(source), Path(target))
