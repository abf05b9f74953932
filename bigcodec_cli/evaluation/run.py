"""Running every codec over every file, in one process or in several."""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import datetime
import multiprocessing
import os
import platform
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import torch

import bcdc
from bigcodec_cli import __version__
from bigcodec_cli.console.messages import CliError
from bigcodec_cli.console.progress import files_bar
from bigcodec_cli.evaluation.codecs.base import CodecInfo, CodecUnderTest, Coded, CodingError
from bigcodec_cli.evaluation.codecs.baselines import load_baseline
from bigcodec_cli.evaluation.codecs.bigcodec import Model
from bigcodec_cli.evaluation.config import BaselineError, EvalConfig
from bigcodec_cli.evaluation.media import loudest_magnitude, make_sound
from bigcodec_cli.evaluation.metrics.compute import QualityMetrics
from bigcodec_cli.evaluation.metrics.waveform import RATE, Wave, load_wave
from bigcodec_cli.evaluation.packages import MissingError
from bigcodec_cli.evaluation.results import (
    CODING,
    ORIGINAL,
    Evaluation,
    Result,
    Setting,
    token_values,
)
from bigcodec_cli.model_store.loading import choose_device
from bigcodec_models.errors import ModelsError

_FAULTS = (CodingError, CliError, bcdc.BcdcError, OSError, ValueError, MemoryError, RuntimeError)
"""What may go wrong with one codec on one file. RuntimeError: torch's way to run out of memory."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvalClip:
    """A file to code: its name in tables, its group, and whether the page gets its sound."""

    path: Path
    name: str
    group: str
    heard: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Unread:
    """A file that could not be read, and why."""

    file: str
    reason: str


Outcome = list[Result] | Unread


class Worker:
    """The loaded codecs and metrics of a configuration. Missing baselines are left out.

    Raises:
        CliError: a model cannot be used.
        BaselineError: a baseline has no such rate.
    """

    def __init__(self, config: EvalConfig) -> None:
        self.missing: dict[str, str] = {}
        self._systems: list[CodecUnderTest] = [
            Model(name, config.device, config.f0) for name in config.models
        ]
        for name in config.baselines:
            try:
                self._systems.append(load_baseline(name))
            except MissingError as error:
                self.missing[str(name)] = str(error)
        self._metrics = QualityMetrics(config.metrics)
        self.missing |= self._metrics.missing

    @property
    def systems(self) -> list[CodecInfo]:
        """What the codecs are."""
        return [system.info for system in self._systems]

    def __call__(self, clip: EvalClip) -> Outcome:
        """The results of every codec on a file, those of the original first."""
        try:
            wave = load_wave(clip.path)
        except CliError as error:
            return Unread(file=clip.name, reason=str(error).removeprefix(f"{clip.path}: "))
        if not len(wave):
            return Unread(file=clip.name, reason="holds no samples")
        return [self._original(clip, wave), *(self._one(s, clip, wave) for s in self._systems)]

    def _original(self, clip: EvalClip, wave: Wave) -> Result:
        values, failed = self._metrics.measure_alone(wave)
        return _result(clip, ORIGINAL, wave, wave, values, failed)

    def _one(self, system: CodecUnderTest, clip: EvalClip, wave: Wave) -> Result:
        name = system.info.name
        try:
            with tempfile.TemporaryDirectory() as folder:
                coded = system.code(wave, Path(folder))
        except _FAULTS as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            return _result(clip, name, wave, None, {}, {CODING: reason})
        values, failed = self._metrics.measure(wave, coded.restored)
        values |= _cost(coded, len(wave) / RATE, system.info.token_rate)
        found = _result(clip, name, wave, coded.restored, values, failed)
        return dataclasses.replace(found, tokens=coded.tokens, delay=coded.delay)


def evaluate(
    folder: Path,
    clips: Sequence[EvalClip],
    unread: Sequence[Unread],
    config: EvalConfig,
    note: Callable[[str], None],
) -> Evaluation:
    """Measure every codec on every clip of a folder. `note` is called with what will be missing.

    Raises:
        CliError: a model cannot be used, or a process came to an untimely end.
        BaselineError: a baseline has no such rate.
    """
    started = datetime.datetime.now(datetime.UTC)
    start = time.perf_counter()
    with _worker_pool(config) as pool:
        systems, missing = pool.describe()
        for name, reason in missing.items():
            note(f"{name} is missing: {reason}")
        outcomes: list[Outcome] = [*unread]
        with files_bar(len(clips), "eval") as done:
            for outcome in pool.run(clips):
                outcomes.append(outcome)
                done(1)
    setting = Setting(
        folder=str(folder),
        version=__version__,
        started=started.isoformat(timespec="seconds"),
        elapsed=time.perf_counter() - start,
        machine=f"{platform.machine()}, {os.cpu_count()} cores",
        device=choose_device(config.device),
        jobs=config.jobs,
    )
    return Evaluation(
        setting=setting,
        systems=systems,
        results=[r for outcome in outcomes if isinstance(outcome, list) for r in outcome],
        missing=missing,
        unread={o.file: o.reason for o in outcomes if isinstance(o, Unread)},
    )


_Description = tuple[list[CodecInfo], dict[str, str]]


@dataclasses.dataclass(frozen=True)
class _WorkerPool:
    """The processes that do the work: `describe` returns the codecs and what is missing, `run` the
    outcome of each file, in order."""

    describe: Callable[[], _Description]
    run: Callable[[Sequence[EvalClip]], Iterator[Outcome]]


@contextlib.contextmanager
def _worker_pool(config: EvalConfig) -> Iterator[_WorkerPool]:
    """This process for one job, others for more."""
    if config.jobs == 1:
        worker = Worker(config)
        yield _WorkerPool(
            lambda: (worker.systems, worker.missing), lambda clips: map(worker, clips)
        )
        return
    # spawn: forked children of a process that has run torch may hang
    context = multiprocessing.get_context("spawn")
    threads = max(1, (os.cpu_count() or 1) // config.jobs)
    executor = concurrent.futures.ProcessPoolExecutor(
        config.jobs, context, initializer=_start_worker, initargs=(config, threads)
    )

    def run(clips: Sequence[EvalClip]) -> Iterator[Outcome]:
        with _uninterrupted():
            return executor.map(_work, clips)

    try:
        with _uninterrupted():  # processes are started as work is handed over
            description = executor.submit(_describe)
        yield _WorkerPool(description.result, run)
    except BrokenProcessPool as error:
        raise CliError(
            "a process of the evaluation was killed, perhaps for memory; use fewer --jobs"
        ) from error
    finally:
        executor.shutdown(cancel_futures=True)


@contextlib.contextmanager
def _uninterrupted() -> Iterator[None]:
    """Processes that are started here ignore Ctrl-C, which a terminal sends to all of a command:
    it is for this one to end them."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


_worker: Worker | Exception = RuntimeError("no worker was started")


def _start_worker(config: EvalConfig, threads: int) -> None:
    """Load the codecs in a new process; a failure is kept, for whoever asks for work."""
    global _worker
    torch.set_num_threads(threads)
    try:
        _worker = Worker(config)
    except (CliError, ModelsError, BaselineError) as error:
        _worker = error


def _started() -> Worker:
    if isinstance(_worker, Exception):
        raise _worker
    return _worker


def _describe() -> _Description:
    return _started().systems, _started().missing


def _work(clip: EvalClip) -> Outcome:
    return _started()(clip)


def _cost(coded: Coded, seconds: float, token_rate: float) -> dict[str, float]:
    tokens = [] if coded.tokens is None else [coded.tokens]
    return {
        "kbps_on_disk": coded.size * 8 / seconds / 1000,
        "encode_x_realtime": seconds / coded.encode_seconds,
        "decode_x_realtime": seconds / coded.decode_seconds,
        **token_values(tokens, token_rate),
    }


def _result(
    clip: EvalClip,
    system: str,
    original: Wave,
    restored: Wave | None,
    values: dict[str, float],
    failed: dict[str, str],
) -> Result:
    sound = None
    if clip.heard and restored is not None:
        sound = make_sound(restored, loudest_magnitude(original))
    return Result(
        file=clip.name,
        group=clip.group,
        system=system,
        seconds=len(original) / RATE,
        values=values,
        failed=failed,
        sound=sound,
    )
