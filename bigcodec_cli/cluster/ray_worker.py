"""What runs in a Ray cluster: workers, each with a model of its own, and the dispatcher of files.

Files go out as rows of JSON, and reports come back as such: JSON also carries names that are not
UTF-8. Nothing here prints.
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
from bigcodec_cli.coding.config import CompressConfig
from bigcodec_cli.console.messages import CliError
from bigcodec_cli.files.batch import OutputOptions
from bigcodec_cli.files.inputs import Job
from bigcodec_cli.files.reporting import Outcome, Outcomes, explain

_BATCH_FILES = 32
_BATCHES_PER_WORKER = 4
"""So that workers end at about the same time, if there are files enough."""
Row = dict[str, Any]


@dataclasses.dataclass(frozen=True, kw_only=True)
class JobSpec:
    """What a worker needs to know besides its files; it goes through pickle.

    Relative paths begin at `folder`. `home` is BIGCODEC_HOME, on a file system that all machines
    share. `versions` are those of the program, and the fingerprints of model and prior: a worker
    with others would write other bytes.
    """

    config: CompressConfig
    outputs: OutputOptions
    folder: str
    home: str
    versions: tuple[str, bytes, bytes | None]


@dataclasses.dataclass(frozen=True, kw_only=True)
class WorkerPool:
    """How many workers there are, and what each takes of its machine (`memory` in bytes)."""

    size: int
    gpus: int
    memory: int

    def batch_files(self, files: int) -> int:
        """How many of `files` a worker gets at a time."""
        return max(1, min(_BATCH_FILES, files // (self.size * _BATCHES_PER_WORKER)))


class Dispatcher:
    """An actor that runs Ray Data over the files: in the cluster, since a Ray client cannot."""

    def __init__(self, jobs: Sequence[str], spec: JobSpec, pool: WorkerPool) -> None:
        data: Any = importlib.import_module("ray.data")
        context = data.DataContext.get_current()
        context.enable_progress_bars = False
        context.max_errored_blocks = -1  # the driver notices which files a dead worker had
        batches = -(-len(jobs) // pool.batch_files(len(jobs)))
        rows = data.from_items([{"job": job} for job in jobs], override_num_blocks=batches)
        coded = rows.map_batches(
            Worker,
            fn_constructor_args=(spec,),
            batch_size=None,
            compute=data.ActorPoolStrategy(size=pool.size, max_tasks_in_flight_per_actor=1),
            num_cpus=1,
            num_gpus=pool.gpus,
            memory=pool.memory,
            max_restarts=-1,
            max_task_retries=0,  # a second try would find the files of the first in its way
        )
        self._batches = iter(coded.iter_batches(batch_size=None))

    def next(self) -> list[str]:
        """The reports on some more files, as soon as there are any; nothing at the end."""
        batch = next(self._batches, None)
        return [] if batch is None else [str(row) for row in batch["report"]]


class Worker:
    """Codes files with a model that it loads once."""

    def __init__(self, spec: JobSpec) -> None:
        self._spec, self._fault = spec, ""
        try:
            self._start()
        except Exception as error:  # reported with the first files: Ray would print pages about it
            self._fault = f"worker on {socket.gethostname()}: {explain(error)}"

    def __call__(self, rows: Row) -> Row:
        """Code a batch of files."""
        reports = [{"fault": self._fault}] if self._fault else self._code(rows["job"])
        return {"report": [json.dumps(report) for report in reports]}

    def _start(self) -> None:
        spec = self._spec
        os.environ["BIGCODEC_HOME"] = spec.home
        try:
            os.chdir(spec.folder)
        except OSError as error:
            raise CliError(f"{spec.folder}: not on this machine: {error.strerror}") from error
        if spec.config.device == "cpu":
            os.environ["OMP_NUM_THREADS"] = "1"  # there is a worker for every CPU
        from bigcodec_cli.coding.audio_encoder import AudioEncoder

        self._encoder = AudioEncoder.load(spec.config)
        if spec.config.device == "cpu" and self._encoder.codec.engine == "torch":
            import torch

            torch.set_num_threads(1)
        prior = self._encoder.prior
        versions = (__version__, self._encoder.codec.fingerprint, prior.name if prior else None)
        names = ("version", "model", "prior")
        for here, there, name in zip(versions, spec.versions, names, strict=True):
            if here != there:
                raise CliError(f"it has another {name} than the machine of this command")

    def _code(self, texts: Sequence[str]) -> list[Row]:
        from bigcodec_cli.coding.compress_files import compress_files

        numbers, jobs = zip(*map(_read, texts), strict=True)
        number_of = {id(job): number for job, number in zip(jobs, numbers, strict=True)}
        rows: list[Row] = []
        reporter = Outcomes(
            lambda outcome: rows.append(_row(outcome, number_of[id(outcome.job)])),
            lambda text: rows.append({"remark": text}),
        )
        try:
            compress_files(jobs, self._encoder, self._spec.outputs, reporter)
        except Exception as error:  # a bug of ours ends the command, as it does without Ray
            rows.append({"fault": f"{type(error).__name__}: {explain(error)}"})
        return rows


def _row(outcome: Outcome, number: int) -> Row:
    row: Row = {"number": number, "facts": dict(outcome.facts)}
    if outcome.error is not None:
        return row | {"error": outcome.error}
    return row | {"summary": outcome.summary}


def write_jobs(jobs: Sequence[Job]) -> Iterator[str]:
    """A row for each job, numbered from 0."""
    for number, job in enumerate(jobs):
        yield json.dumps([number, str(job.source), str(job.target)])


def _read(text: str) -> tuple[int, Job]:
    number, source, target = json.loads(text)
    return number, Job(Path(source), Path(target))
