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
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import bcdc
from bigcodec_cli import __version__
from bigcodec_cli.console.messages import CliError
from bigcodec_cli.console.progress import files_bar
from bigcodec_cli.evaluation.codecs.base import CodecInfo, CodecUnderTest, Coded, CodingError
from bigcodec_cli.evaluation.codecs.baselines import load_baseline
from bigcodec_cli.evaluation.codecs.bigcodec import Model
from bigcodec_cli.evaluation.config import BaselineError, EvalConfig
from bigcodec_cli.evaluation.metrics.compute import QualityMetrics
from bigcodec_cli.evaluation.metrics.waveform import load_wave
from bigcodec_cli.evaluation.packages import Missing, MissingError, by_cause
from bigcodec_cli.evaluation.results import (
    CODING,
    ORIGINAL,
    Evaluation,
    Result,
    Setting,
    token_values,
)
from bigcodec_cli.model_store.loading import choose_device
from bigcodec_cli.pages.media import loudest_magnitude, make_sound
from bigcodec_models.arrays import Wave
from bigcodec_models.config import SAMPLE_RATE
from bigcodec_models.errors import ModelsError

_FAULTS = (CodingError, CliError, bcdc.BcdcError, OSError, ValueError, MemoryError, RuntimeError)
"""What may go wrong with one codec on one file. RuntimeError: torch's way to run out of memory."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvalClip:
    """A file to code: its name in tables, its group, and whether the page has a player for it."""

    path: Path
    name: str
    group: str
    has_player: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Unread:
    """A file that could not be read, or not to its end, and why."""

    file: str
    reason: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outcome:
    """What running the codecs on a file gave; `unread` says why not all of it was read, None if it
    was."""

    results: Sequence[Result] = ()
    unread: Unread | None = None


class Worker:
    """The loaded codecs and metrics of a configuration. Baselines that are missing are left out.

    Raises:
        CliError: a model cannot be used.
        BaselineError: a baseline has no such rate.
    """

    def __init__(self, config: EvalConfig) -> None:
        self.missing: dict[str, Missing] = {}
        self._codecs: list[CodecUnderTest] = [
            Model(name, config.device, f0, config.engine, names_f0=len(config.f0) > 1)
            for name in config.models
            for f0 in config.f0 or (None,)
        ]
        for name in config.baselines:
            try:
                self._codecs.append(load_baseline(name))
            except MissingError as error:
                self.missing[str(name)] = Missing.of(error)
        self._metrics = QualityMetrics(config.metrics, config.recognizer)
        self.missing |= self._metrics.missing

    @property
    def codecs(self) -> list[CodecInfo]:
        """Descriptions of the codecs."""
        return [codec.info for codec in self._codecs]

    def __call__(self, clip: EvalClip) -> Outcome:
        """The results of every codec on a file, those of the original first."""
        try:
            loaded = load_wave(clip.path)
        except CliError as error:
            reason = str(error).removeprefix(f"{clip.path}: ")
            return Outcome(unread=Unread(file=clip.name, reason=reason))
        wave, fault = loaded.wave, loaded.fault
        if not len(wave):
            return Outcome(unread=Unread(file=clip.name, reason=fault or "holds no samples"))
        unread = Unread(file=clip.name, reason=fault) if fault is not None else None
        original = dataclasses.replace(self._original(clip, wave), tags=loaded.tags)
        results = [original, *(self._coded(codec, clip, wave) for codec in self._codecs)]
        return Outcome(results=results, unread=unread)

    def _original(self, clip: EvalClip, wave: Wave) -> Result:
        values, failed = self._metrics.compute_without_original(wave)
        return _result(clip, ORIGINAL, wave, wave, values, failed)

    def _coded(self, codec: CodecUnderTest, clip: EvalClip, wave: Wave) -> Result:
        name = codec.info.name
        try:
            with tempfile.TemporaryDirectory() as folder:
                coded = codec.code(wave, Path(folder))
        except _FAULTS as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            return _result(clip, name, wave, None, {}, {CODING: reason})
        values, failed = self._metrics.compute(wave, coded.restored)
        values |= _cost(coded, len(wave) / SAMPLE_RATE, codec.info.token_rate)
        result = _result(clip, name, wave, coded.restored, values, failed)
        return dataclasses.replace(result, tokens=coded.tokens, delay=coded.delay)


def evaluate(
    folder: Path,
    clips: Sequence[EvalClip],
    unread: Sequence[Unread],
    config: EvalConfig,
    note: Callable[[str], None],
) -> Evaluation:
    """Run every codec on every clip of a folder. `note` is called with what will be missing.

    Raises:
        CliError: a model cannot be used, or a process was killed.
        BaselineError: a baseline has no such rate.
    """
    started = datetime.datetime.now(datetime.UTC)
    with _worker_pool(config) as pool:
        codecs, missing = pool.describe()
        for names, reason in by_cause(missing):
            note(f"left out: {names}: {reason}")
        outcomes = [Outcome(unread=each) for each in unread]
        with files_bar(len(clips), "eval") as done:
            for outcome in pool.run(clips):
                outcomes.append(outcome)
                done(1)
    return Evaluation(
        setting=_setting(folder, config, started),
        codecs=codecs,
        results=[result for outcome in outcomes for result in outcome.results],
        missing=missing,
        unread={o.unread.file: o.unread.reason for o in outcomes if o.unread is not None},
    )


def _setting(folder: Path, config: EvalConfig, started: datetime.datetime) -> Setting:
    return Setting(
        folder=str(folder),
        version=__version__,
        started=started.isoformat(timespec="seconds"),
        elapsed=(datetime.datetime.now(datetime.UTC) - started).total_seconds(),
        machine=f"{platform.machine()}, {os.cpu_count()} cores",
        device=choose_device(config.device, config.engine),
        jobs=config.jobs,
    )


_Description = tuple[list[CodecInfo], dict[str, Missing]]


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
        yield _WorkerPool(lambda: (worker.codecs, worker.missing), lambda clips: map(worker, clips))
        return
    # spawn: forked children of a process that has run torch may hang, and have loaded it already
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
    """Processes that are started here ignore Ctrl-C, which a terminal sends to all processes of a
    command: this process ends them."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


_worker: Worker | Exception = RuntimeError("no worker was started")


def _start_worker(config: EvalConfig, threads: int) -> None:
    """Load the codecs in a new process; an error is kept until work is asked for."""
    global _worker
    os.environ["OMP_NUM_THREADS"] = str(threads)  # torch and ONNX Runtime, not loaded yet, obey
    try:
        _worker = Worker(config)
    except (CliError, ModelsError, BaselineError) as error:
        _worker = error


def _started() -> Worker:
    if isinstance(_worker, Exception):
        raise _worker
    return _worker


def _describe() -> _Description:
    return _started().codecs, _started().missing


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
    codec: str,
    original: Wave,
    restored: Wave | None,
    values: dict[str, float],
    failed: dict[str, str],
) -> Result:
    sound = None
    if clip.has_player and restored is not None:
        sound = make_sound(restored, loudest_magnitude(original))
    return Result(
        file=clip.name,
        group=clip.group,
        codec=codec,
        seconds=len(original) / SAMPLE_RATE,
        values=values,
        failed=failed,
        sound=sound,
    )
