"""Containers made of files of tokens. Loads no torch."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping, Sequence

import bcdc
from bigcodec_cli.coding.compress_job import CompressJob
from bigcodec_cli.coding.recording import Recording, recording_of_tokens
from bigcodec_cli.coding.scheduler import without_model
from bigcodec_cli.console.messages import CliError
from bigcodec_cli.console.streams import standard_input
from bigcodec_cli.files.batch import OutputOptions
from bigcodec_cli.files.inputs import Job
from bigcodec_cli.files.reporting import Reporter
from bigcodec_cli.files.token_files import (
    Array,
    TokenRecord,
    is_inside,
    read_array,
    record_of_line,
)
from bigcodec_cli.files.token_shards import TokenShard, open_shard
from bigcodec_cli.model_store.priors import prior_for_model

SHARD_SUFFIXES = (".jsonl", ".npz")


@dataclasses.dataclass(frozen=True)
class PackJob(Job):
    """One recording of a file of many. `error` says why the file cannot be read."""

    shard: TokenShard | None = None
    index: int = 0
    id: str = ""
    error: CliError | None = None

    @property
    def name(self) -> str:
        """The file and, of several recordings, the id."""
        return f"{self.source}: {self.id}" if self.id else super().name

    @property
    def short_name(self) -> str:
        """The same without the folder."""
        return f"{super().short_name}: {self.id}" if self.id else super().short_name


def pack_jobs(jobs: Sequence[Job]) -> Iterator[Job]:
    """Jobs with one for each recording of their inputs: files of one recording keep their output,
    those of many are named after ids, in its folder."""
    for job in jobs:
        if job.source is None or job.source.suffix not in SHARD_SUFFIXES:
            yield job
        else:
            yield from _jobs_of_shard(job)


def _jobs_of_shard(job: Job) -> Iterator[Job]:
    assert job.source is not None
    try:
        shard = open_shard(job.source)
    except CliError as fault:
        yield PackJob(job.source, job.target, error=fault)
        return
    if not shard.ids:
        yield PackJob(job.source, job.target, error=CliError(f"{job.name}: holds no recordings"))
        return
    if len(shard.ids) == 1 or job.target is None:
        yield PackJob(job.source, job.target, shard=shard)
        return
    for index, id in enumerate(shard.ids):
        error = None if is_inside(id) else CliError("its id cannot be the name of a file")
        target = job.target.parent / (f"{id}.bcdc" if error is None else f"{index + 1}.bcdc")
        yield PackJob(job.source, target, shard=shard, index=index, id=id, error=error)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TokenPacker:
    """Makes containers of arrays and of records.

    For arrays, which do not say what they are: `headers` of their model, by the number of tokens a
    frame, the sample `rate` to restore, and the length in `samples`, None for all that they give.
    """

    headers: Mapping[int, bcdc.Header]
    rate: int
    samples: int | None

    stream = staticmethod(without_model)
    width = short_width = 1

    def open_job(self, job: Job, outputs: OutputOptions, reporter: Reporter) -> CompressJob:
        """A task for one file; see `CompressJob`."""
        return CompressJob(
            job,
            outputs,
            reporter,
            self._open,
            find_prior=lambda header: prior_for_model(header.fingerprint, header.geometry),
        )

    def _open(self, job: Job, _stack: contextlib.ExitStack, _reporter: Reporter) -> Recording:
        content = _read(job)
        if isinstance(content, TokenRecord):
            header, samples, tokens = content.header, content.samples, content.tokens
        else:
            tokens, header = content, self._header(job, content)
            length = tokens.shape[1] * header.geometry.hop * self.rate // bcdc.MODEL_RATE
            samples = length if self.samples is None else self.samples
        try:
            return recording_of_tokens(header, tokens, samples)
        except (TypeError, ValueError) as error:
            raise CliError(f"{job.name}: {error}") from error

    def _header(self, job: Job, tokens: Array) -> bcdc.Header:
        """The header of tokens (channels, frames, codebooks)."""
        if not self.headers:
            raise CliError(f"{job.name}: an array does not name its model; give it with --model")
        channels, _, codebooks = tokens.shape
        if codebooks not in self.headers:
            counts = " or ".join(map(str, sorted(self.headers)))
            raise CliError(f"{job.name}: has {codebooks} tokens a frame; the model takes {counts}")
        return dataclasses.replace(
            self.headers[codebooks], sample_rate=self.rate, channels=channels
        )


def _read(job: Job) -> TokenRecord | Array:
    """The record or array of a job.

    Raises:
        CliError: there is none.
    """
    if isinstance(job, PackJob):
        if job.error is not None:
            raise job.error
        assert job.shard is not None
        count = len(job.shard.ids)
        if not job.id and count != 1:  # for several, `pack_jobs` had no names of files
            raise CliError(f"holds {count} recordings, of which each needs a file of its own")
        return job.shard.read(job.index)
    if job.source is not None:
        return read_array(job.source)
    lines = [line for line in standard_input() if line.strip()]
    if len(lines) != 1:
        raise CliError(f"has {len(lines)} lines; for several recordings give a file")
    return record_of_line(lines[0])
