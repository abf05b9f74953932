"""Files of tokens made of containers, or straight of audio: one for each input, or one of all.
Loads no torch."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import functools
import operator
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

import bcdc
from bcdc.header import MAGIC
from bigcodec_cli.coding.file_job import FileJob
from bigcodec_cli.coding.pace import Pace
from bigcodec_cli.coding.recording import Recording
from bigcodec_cli.coding.scheduler import Stream, without_model
from bigcodec_cli.console.messages import CliError
from bigcodec_cli.console.streams import standard_output
from bigcodec_cli.files.atomic import AtomicOutput, SourceFile
from bigcodec_cli.files.batch import OutputOptions, make_folder
from bigcodec_cli.files.containers import open_container, too_many_tokens
from bigcodec_cli.files.inputs import Job
from bigcodec_cli.files.reporting import Facts, Reporter
from bigcodec_cli.files.token_files import TokenRecord, id_of, record_of_line
from bigcodec_cli.files.token_shards import ShardWriter, shard_writer
from bigcodec_cli.model_store.priors import prior_of_container

if TYPE_CHECKING:
    from bigcodec_cli.coding.audio_encoder import AudioEncoder


@dataclasses.dataclass(frozen=True)
class ShardJob(Job):
    """One input of several that share an output, which is not the job's own: `target` is None."""

    id: str = ""
    number: int = 0
    output: str = ""

    @property
    def target_name(self) -> str:
        """The output as the user knows it."""
        return self.output


def is_audio(path: Path | None) -> bool:
    """Whether an input is to be read as audio: whatever is no container, by its name or its start.
    What standard input holds is a container."""
    if path is None or path.suffix.lower() == ".bcdc" or not path.exists():
        return False
    if not path.is_file():
        return not path.is_dir()
    with contextlib.suppress(OSError), path.open("rb") as file:
        return file.read(len(MAGIC)) != MAGIC
    return True


def without_doubles(jobs: Sequence[Job]) -> list[Job]:
    """Jobs of a walk without audio files beside which there is a container of the same name."""
    sources = {job.source for job in jobs}
    return [
        job
        for job in jobs
        if job.source is None
        or job.place is None
        or job.source.suffix == ".bcdc"
        or job.source.with_suffix(".bcdc") not in sources
    ]


def shard_jobs(jobs: Sequence[Job]) -> list[ShardJob]:
    """The jobs that share an output, with their ids: those that two would have keep the suffix.

    Raises:
        CliError: an input is named twice.
    """
    paths = [job.place or job.source for job in jobs]
    counts = collections.Counter(map(id_of, paths))
    ids = [id_of(path, with_suffix=counts[id_of(path)] > 1) for path in paths]
    for id, count in collections.Counter(ids).items():
        if count > 1:
            raise CliError(f"{id}: two inputs would have this id; give their folder with -r")
    return [
        ShardJob(job.source, None, job.place, id=id, number=number, output=job.target_name)
        for number, (job, id) in enumerate(zip(jobs, ids, strict=True))
    ]


class ShardWriteError(Exception):
    """A file of many recordings cannot be written, which no other recording would change."""


class Shard:
    """A file of many recordings, of kind jsonl or npz, being written in the order of the jobs,
    whichever ends first. `target` None is standard output. Group and others may do no more with it
    than with every source.

    Raises:
        CliError: there cannot be such a file.
    """

    def __init__(
        self, kind: str, target: Path | None, jobs: Sequence[Job], overwrite: bool
    ) -> None:
        self._stack = contextlib.ExitStack()
        self._output: AtomicOutput | None = None
        if target is None:
            self._out = standard_output()
        else:
            make_folder(target.parent)
            self._output = output = AtomicOutput(target, overwrite=overwrite)
            self._stack.callback(output.discard)
            sources = [SourceFile(job.source) for job in jobs if job.source is not None]
            mode = functools.reduce(operator.and_, (source.mode for source in sources), ~0)
            output.temporary.chmod(output.temporary.stat().st_mode & (mode | 0o600))
            self._out = self._stack.enter_context(output.temporary.open("wb"))
        self._writer: ShardWriter = shard_writer(kind, self._out)
        self._stack.callback(self._writer.close)
        self._waiting: dict[int, TokenRecord | None] = {}
        self._next, self._is_used = 0, False

    def put(self, number: int, record: TokenRecord | None) -> None:
        """Take what a job made, None if nothing; a second time does nothing.

        Raises:
            ShardWriteError: the file cannot be written.
        """
        if number >= self._next:
            self._waiting.setdefault(number, record)
        while self._next in self._waiting:
            waiting = self._waiting.pop(self._next)
            self._next += 1
            if waiting is not None:
                with self._writing():
                    self._writer.add(waiting)
                self._is_used = True

    def finish(self) -> None:
        """Complete the file, and give it its name, unless nothing is in it.

        Raises:
            ShardWriteError: it cannot be written.
        """
        with self._writing():
            self._writer.finish()
            if self._output is not None and self._is_used:
                self._out.close()
                self._output.commit()

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except BrokenPipeError:
            raise
        except OSError as error:
            name = "stdout" if self._output is None else self._output.path
            raise ShardWriteError(
                f"{name}: cannot be written: {error.strerror or error}"
            ) from error

    def close(self) -> None:
        """Remove what was not finished."""
        with contextlib.suppress(
            OSError, ValueError
        ):  # closing tries again to write, on a disk that is full
            self._stack.close()


class ShardReporter:
    """A reporter that also tells a shard of jobs that gave it nothing."""

    def __init__(self, reporter: Reporter, shard: Shard) -> None:
        self._reporter, self._shard = reporter, shard

    def succeeded(self, job: Job, summary: str, **facts: Any) -> None:
        """See `Reporter`."""
        self._reporter.succeeded(job, summary, **facts)

    def failed(self, job: Job, error: BaseException, facts: Facts | None = None) -> None:
        """See `Reporter`."""
        assert isinstance(job, ShardJob)
        self._shard.put(job.number, None)
        self._reporter.failed(job, error, facts)

    def remark(self, text: str) -> None:
        """See `Reporter`."""
        self._reporter.remark(text)

    def seconds_bar(self, job: Job, seconds: float) -> contextlib.AbstractContextManager[Any]:
        """See `Reporter`."""
        return self._reporter.seconds_bar(job, seconds)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TokenExtractor:
    """Makes files of tokens, of kind npy, jsonl or npz; `encoder` is for audio. With a `shard` all
    go into it."""

    kind: str
    allow_long: bool = False
    encoder: AudioEncoder | None = None
    shard: Shard | None = None

    @property
    def stream(self) -> Stream:
        """What runs audio through the model."""
        return without_model if self.encoder is None else self.encoder.stream

    @property
    def width(self) -> int:
        """How many channels go through it side by side."""
        return 1 if self.encoder is None else self.encoder.width

    def open_job(self, job: Job, outputs: OutputOptions, reporter: Reporter) -> ReadJob | EncodeJob:
        """A task for one input."""
        if self.encoder is not None and is_audio(job.source):
            return EncodeJob(job, self, self.encoder, outputs, reporter)
        return ReadJob(job, self, outputs, reporter)


class _ExtractJob(FileJob):
    """A task of the scheduler that ends as tokens in a file; see `scheduler.Task`.

    Raises:
        CliError: the input is no good container, or cannot be read as audio.
    """

    short = False
    batch_fraction = 1.0

    def __init__(
        self, job: Job, extractor: TokenExtractor, outputs: OutputOptions, reporter: Reporter
    ) -> None:
        super().__init__(job, outputs, reporter)
        self._extractor = extractor

    @property
    def _id(self) -> str:
        job = self.job
        return job.id if isinstance(job, ShardJob) else id_of(job.place or job.source)

    def _write(self, record: TokenRecord) -> None:
        if isinstance(self.job, ShardJob):
            assert self._extractor.shard is not None
            self._extractor.shard.put(self.job.number, record)
            self.stack.close()
            return
        out = self.create_binary()
        if self._extractor.kind == "npy":
            np.save(out, record.tokens)
        else:
            writer = shard_writer(self._extractor.kind, out)
            writer.add(record)
            writer.finish()
        out.flush()
        self.commit()

    def _report(self, record: TokenRecord, fault: str | None) -> None:
        job, seconds = self.job, record.samples / record.header.sample_rate
        channels, frames = record.tokens.shape[:2]
        facts = {"id": record.id, "frames": frames, "channels": channels, "seconds": seconds}
        if fault is None:
            summary = f"{job.name}: {seconds:.2f} s, {frames} frames"
            self.reporter.succeeded(job, summary, **facts)
            return
        message = f"{job.name}: {fault}; {seconds:.2f} s are in {job.target_name}"
        self.reporter.failed(job, CliError(message), facts)


class ReadJob(_ExtractJob):
    """The tokens of a container."""

    sources: Sequence[Iterator[bcdc.Tokens]] = ()
    lockstep = False

    def __init__(
        self, job: Job, extractor: TokenExtractor, outputs: OutputOptions, reporter: Reporter
    ) -> None:
        super().__init__(job, extractor, outputs, reporter)
        # Not needed, but tasks of one codec go side by side, those of audio among them.
        self.codec = None if extractor.encoder is None else extractor.encoder.codec
        self._container = container = open_container(job.source)
        reason = too_many_tokens(container.header, container.frames, container.size)
        if reason is not None and not extractor.allow_long:
            raise CliError(f"{job.name}: {reason}; if that is right, use --allow-long")
        self._prior = prior_of_container(container)

    def take(self, channel: int, data: Any) -> None:
        """Nothing comes from a model."""

    def finish(self) -> None:
        """Write the tokens, and give the file its name."""
        container = self._container
        with self.naming():
            tokens = container.tokens(prior=self._prior)
            record = record_of_container(self._id, self.job.name, container, tokens)
            if self.outputs.remove:
                self._check(record)
            self._write(record)
        self._report(record, None)

    def _check(self, record: TokenRecord) -> None:
        """That `pack` gives the container back, whose file is to be removed."""
        again = record_of_line(record.line())
        names = ("fingerprint", "sample_rate", "channels", "copies", "geometry", "tags")
        same = all(getattr(again.header, n) == getattr(record.header, n) for n in names)
        equal = np.array_equal(again.tokens, record.tokens)
        if not (same and equal and again.samples == record.samples):
            raise CliError(f"{self.job.name}: cannot be written as a line that gives it back")


class EncodeJob(_ExtractJob):
    """The tokens of audio."""

    def __init__(
        self,
        job: Job,
        extractor: TokenExtractor,
        encoder: AudioEncoder,
        outputs: OutputOptions,
        reporter: Reporter,
    ) -> None:
        super().__init__(job, extractor, outputs, reporter)
        self.codec = encoder.codec
        with self.opening():
            recording = encoder.open_recording(job, self.stack, reporter)
            self._recording: Recording = recording
            self.sources = recording.sources
            self.lockstep = recording.pace is Pace.LOCKSTEP
            bar = reporter.seconds_bar(job, recording.seconds or 0)
            self._progress = self.stack.enter_context(bar)
        self._tokens: list[list[npt.NDArray[Any]]] = [[] for _ in recording.sources]

    def take(self, channel: int, data: Any) -> None:
        """Take a channel's next tokens."""
        geometry = self._recording.header.geometry
        self._tokens[channel].append(np.asarray(data, np.int32).reshape(-1, geometry.codebooks))
        if channel == 0:
            self._progress(len(data) * geometry.hop / bcdc.MODEL_RATE)

    def finish(self) -> None:
        """Write the tokens, and give the file its name."""
        job, recording = self.job, self._recording
        samples, fault = recording.samples(), recording.fault()
        if fault is not None and not samples:
            raise CliError(f"{job.name}: {fault}")
        with self.naming():
            none = np.zeros((0, recording.header.geometry.codebooks), np.int32)
            tokens = np.stack([np.concatenate([none, *parts]) for parts in self._tokens])
            record = TokenRecord(
                id=self._id,
                file=job.name,
                header=recording.header,
                samples=samples,
                tokens=tokens,
            )
            self._write(record)
        self._report(record, fault)


def record_of_container(
    id: str, file: str, container: bcdc.Container, tokens: bcdc.Tokens
) -> TokenRecord:
    """The record of a container and of all its tokens."""
    return TokenRecord(
        id=id,
        file=file,
        header=container.header,
        samples=container.num_samples,
        tokens=tokens,
    )
