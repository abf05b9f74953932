"""bigcodec tokens"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any, BinaryIO

import click

import bcdc
from bigcodec_cli.coding.scheduler import FAULTS
from bigcodec_cli.commands.options import batch_options, input_options
from bigcodec_cli.console.messages import CliError
from bigcodec_cli.files.atomic import AtomicOutput
from bigcodec_cli.files.batch import Batch, BatchOptions, check_stdout, make_folder
from bigcodec_cli.files.containers import open_container
from bigcodec_cli.files.inputs import InputOptions, Job, plan
from bigcodec_models.config import SAMPLE_RATE


@click.group()
def command() -> None:
    """Take tokens out of .bcdc files, or put them in: for those who train on tokens."""


@command.command()
@input_options
@click.option(
    "--format",
    "kind",
    type=click.Choice(["npy", "jsonl"]),
    help="Default: what the suffix of -o says, else npy.",
)
@batch_options
def extract(where: InputOptions, how: BatchOptions, kind: str | None) -> None:
    """Write the tokens of each .bcdc file: an int32 array (channels, frames, codebooks).

    npy: the array. jsonl: one line of JSON with the array as lists and with the model's
    fingerprint, sample rate and length, so that 'tokens pack' restores the very file.
    """
    chosen = kind or ("jsonl" if (where.output or "").endswith(".jsonl") else "npy")
    batch = Batch(plan(where, f".{chosen}", frozenset([".bcdc"])), how, "tokens")
    check_stdout(batch)

    def work(job: Job) -> dict[str, Any]:
        return _extract(job, chosen, how)

    _run(batch, work)


@command.command()
@input_options
@click.option("--model", metavar="NAME|PATH", help="That made the tokens; .npy needs it.")
@click.option(
    "--rate", default=SAMPLE_RATE, show_default=True, help="Sample rate to restore; .npy."
)
@click.option("--samples", type=int, help="Length to restore. Default: as the tokens give; .npy.")
@batch_options
def pack(
    where: InputOptions, how: BatchOptions, model: str | None, rate: int, samples: int | None
) -> None:
    """Make .bcdc files of .npy arrays, or of .jsonl files of one line each.

    An array with one token a frame more than the model has codebooks is one with coded F0.
    """
    batch = Batch(plan(where, ".bcdc", frozenset([".npy", ".jsonl"])), how, "tokens")
    check_stdout(batch)
    from bigcodec_cli.model_store.headers import headers_of_model

    known = headers_of_model(model) if model is not None else {}

    def work(job: Job) -> dict[str, Any]:
        return _pack(job, how, known, rate, samples)

    _run(batch, work)


def _run(batch: Batch, work: Callable[[Job], dict[str, Any]]) -> None:
    def every(jobs: Iterator[Job]) -> None:
        for job in jobs:
            try:
                facts = work(job)
            except BrokenPipeError:
                raise
            except FAULTS as error:
                batch.failed(job, error)
            else:
                batch.succeeded(job, f"{job.name}: {facts['frames']} frames", **facts)

    batch.run(every)


def _extract(job: Job, kind: str, how: BatchOptions) -> dict[str, Any]:
    import numpy as np

    from bigcodec_cli.files.token_files import as_record
    from bigcodec_cli.model_store.priors import prior_of_container

    container = open_container(job.source)
    tokens = container.tokens(prior=prior_of_container(container))

    def write(file: BinaryIO) -> None:
        if kind == "npy":
            np.save(file, tokens)
        else:
            file.write(json.dumps(as_record(job.name, container, tokens)).encode() + b"\n")

    _write(job, how, write)
    return {"frames": container.frames, "channels": container.header.channels}


def _pack(
    job: Job, how: BatchOptions, known: Mapping[int, bcdc.Header], rate: int, samples: int | None
) -> dict[str, Any]:
    import dataclasses

    from bigcodec_cli.files.token_files import from_record, lines_of, read_array, write_container
    from bigcodec_cli.model_store.priors import prior_for_model

    if job.source is None or job.source.suffix == ".jsonl":
        lines = list(sys.stdin.buffer if job.source is None else lines_of(job.source))
        if len(lines) != 1:
            raise CliError(f"{job.name}: has {len(lines)} lines; give each a file of its own")
        _, header, count, tokens = from_record(lines[0])
    else:
        if not known:
            raise CliError(f"{job.name}: an array does not name its model; give it with --model")
        tokens = read_array(job.source)
        base = _base(job, known, tokens.shape[2])
        header = dataclasses.replace(base, sample_rate=rate, channels=len(tokens))
        count = tokens.shape[1] * header.geometry.hop * rate // bcdc.MODEL_RATE
        count = count if samples is None else samples
    prior = prior_for_model(header.fingerprint, header.geometry)
    _write(job, how, lambda file: write_container(file, header, tokens, count, prior))
    return {"frames": int(tokens.shape[1]), "channels": len(tokens)}


def _base(job: Job, known: Mapping[int, bcdc.Header], width: int) -> bcdc.Header:
    """The header of tokens with `width` a frame."""
    if width not in known:
        counts = " or ".join(map(str, sorted(known)))
        raise CliError(f"{job.name}: has {width} tokens a frame; the model takes {counts}")
    return known[width]


def _write(job: Job, how: BatchOptions, write: Callable[[BinaryIO], None]) -> None:
    if job.target is None:
        write(sys.stdout.buffer)
        sys.stdout.buffer.flush()
        return
    make_folder(job.target.parent)
    output = AtomicOutput(job.target, overwrite=how.force)
    try:
        with output.temporary.open("xb") as file:
            write(file)
        source = job.source
        like = source.stat() if source is not None and source.is_file() else None
        output.commit(like=like, durable=how.remove)
        if how.remove and source is not None:
            source.unlink()
    finally:
        output.discard()
