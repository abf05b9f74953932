"""bigcodec tokens"""

from __future__ import annotations

from collections.abc import Iterator

import click

import bcdc
from bigcodec_cli.commands.completing import complete_models
from bigcodec_cli.commands.options import (
    allow_long_option,
    batch_options,
    check_container_name,
    input_options,
    kind_of_output,
)
from bigcodec_cli.files.batch import Batch, BatchOptions, check_stdout
from bigcodec_cli.files.inputs import InputOptions, Job, plan
from bigcodec_models.config import SAMPLE_RATE

_SUFFIXES = {".npy": "npy", ".jsonl": "jsonl"}


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
@allow_long_option
@batch_options
def extract(where: InputOptions, how: BatchOptions, kind: str | None, allow_long: bool) -> None:
    """Write the tokens of each .bcdc file: an int32 array (channels, frames, codebooks).

    npy: the array. jsonl: one line of JSON with the array as lists and with the model's
    fingerprint, sample rate and length, so that 'tokens pack' restores the very file.
    """
    chosen = kind_of_output(where.output, kind, _SUFFIXES, "npy")
    if how.outputs.remove and chosen == "npy":
        raise click.UsageError("an array alone does not give the file back; leave --rm out")
    batch = Batch(plan(where, f".{chosen}", frozenset([".bcdc"])), how, "tokens")
    check_stdout(batch)
    from bigcodec_cli.coding.decompress_files import decompress_files
    from bigcodec_cli.coding.token_jobs import TokenExtractor

    extractor = TokenExtractor(kind=chosen, allow_long=allow_long)
    batch.run(lambda jobs: decompress_files(jobs, extractor, how.outputs, batch))


@command.command()
@input_options
@click.option(
    "--model",
    metavar="NAME|PATH",
    help="The model that made the tokens; for .npy.",
    shell_complete=complete_models,
)
@click.option("--rate", default=SAMPLE_RATE, show_default=True, help="Sample rate, for .npy.")
@click.option(
    "--samples", type=int, help="Length to restore. Default: as the tokens give; for .npy."
)
@batch_options
def pack(
    where: InputOptions, how: BatchOptions, model: str | None, rate: int, samples: int | None
) -> None:
    """Make .bcdc files of .npy arrays, or of .jsonl files of one line each.

    An array with one token a frame more than the model has codebooks is one with coded F0.
    """
    check_container_name(where.output)
    batch = Batch(plan(where, ".bcdc", frozenset([".npy", ".jsonl"])), how, "tokens")
    check_stdout(batch)
    from bigcodec_cli.coding.compress_files import compress_files
    from bigcodec_cli.coding.token_jobs import TokenPacker

    def work(jobs: Iterator[Job]) -> None:
        packer = TokenPacker(headers=_headers(model), rate=rate, samples=samples)
        compress_files(jobs, packer, how.outputs, batch)

    batch.run(work)


def _headers(model: str | None) -> dict[int, bcdc.Header]:
    if model is None:
        return {}
    from bigcodec_cli.model_store.headers import headers_of_model

    return headers_of_model(model)
