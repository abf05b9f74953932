"""Containers made of token files, and token files of containers. Loads no torch."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

import bcdc
from bigcodec_cli.coding.compress_job import CompressJob
from bigcodec_cli.coding.file_job import FileJob
from bigcodec_cli.coding.recording import Recording, recording_of_tokens
from bigcodec_cli.coding.scheduler import without_model
from bigcodec_cli.console.messages import CliError
from bigcodec_cli.console.streams import standard_input
from bigcodec_cli.files.batch import OutputOptions
from bigcodec_cli.files.containers import open_container, too_many_tokens
from bigcodec_cli.files.inputs import Job
from bigcodec_cli.files.reporting import Reporter
from bigcodec_cli.files.token_files import Array, as_record, from_record, lines_of, read_array
from bigcodec_cli.model_store.priors import prior_for_model, prior_of_container


@dataclasses.dataclass(frozen=True, kw_only=True)
class TokenPacker:
    """Makes containers of .npy arrays and .jsonl records.

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
        if job.source is None or job.source.suffix == ".jsonl":
            header, samples, tokens = _read_record(job)
        else:
            tokens = read_array(job.source)
            header = self._header(job, tokens)
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


@dataclasses.dataclass(frozen=True, kw_only=True)
class TokenExtractor:
    """Makes token files of containers; `kind` is npy or jsonl."""

    kind: str
    allow_long: bool = False

    stream = staticmethod(without_model)
    width = 1

    def open_job(self, job: Job, outputs: OutputOptions, reporter: Reporter) -> ExtractJob:
        """A task for one container; see `ExtractJob`."""
        return ExtractJob(job, self, outputs, reporter)


class ExtractJob(FileJob):
    """A task of the scheduler that ends as a file of tokens; see `scheduler.Task`.

    Raises:
        CliError: the input is no good container, or its prior is not at hand.
    """

    codec = None
    sources: Sequence[Iterator[bcdc.Tokens]] = ()
    lockstep = short = False
    batch_fraction = 1.0

    def __init__(
        self, job: Job, extractor: TokenExtractor, outputs: OutputOptions, reporter: Reporter
    ) -> None:
        super().__init__(job, outputs, reporter)
        self._kind, container = extractor.kind, open_container(job.source)
        reason = too_many_tokens(container.header, container.frames, container.size)
        if reason is not None and not extractor.allow_long:
            raise CliError(f"{job.name}: {reason}; if that is right, use --allow-long")
        self._container = container
        self._prior = prior_of_container(self._container)

    def take(self, channel: int, data: Any) -> None:
        """Nothing comes from a model."""

    def finish(self) -> None:
        """Write the tokens, and give the file its name."""
        container = self._container
        with self.naming():
            tokens = container.tokens(prior=self._prior)
            out = self.create_binary()
            if self._kind == "npy":
                np.save(out, tokens)
            else:
                line = json.dumps(as_record(self.job.name, container, tokens)).encode()
                self._check(line, tokens)
                out.write(line + b"\n")
            out.flush()
            self.commit()
        facts = {"frames": container.frames, "channels": len(tokens)}
        self.reporter.succeeded(self.job, f"{self.job.name}: {container.frames} frames", **facts)

    def _check(self, line: bytes, tokens: bcdc.Tokens) -> None:
        """That `pack` gives the container back, whose file may be removed."""
        _, header, samples, packed = from_record(line)
        container = self._container
        names = ("fingerprint", "sample_rate", "channels", "copies", "geometry", "tags")
        same = all(getattr(header, n) == getattr(container.header, n) for n in names)
        if not (same and samples == container.num_samples and np.array_equal(packed, tokens)):
            raise CliError(f"{self.job.name}: cannot be written as a line that gives it back")


def _read_record(job: Job) -> tuple[bcdc.Header, int, Array]:
    """Header, samples and tokens of a .jsonl file of one line."""
    lines = list(standard_input() if job.source is None else lines_of(job.source))
    if len(lines) != 1:
        raise CliError(f"{job.name}: has {len(lines)} lines; give each a file of its own")
    _, header, samples, tokens = from_record(lines[0])
    return header, samples, tokens
