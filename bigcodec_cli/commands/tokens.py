"""bigcodec tokens"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import click

import bcdc
from bigcodec_cli.coding.config import CompressConfig
from bigcodec_cli.commands.completing import complete_models
from bigcodec_cli.commands.options import (
    allow_long_option,
    batch_options,
    batch_size_option,
    check_container_name,
    device_option,
    f0_option,
    input_options,
    kind_of_output,
)
from bigcodec_cli.console.messages import CliError, note
from bigcodec_cli.files.batch import Batch, BatchOptions, check_stdout
from bigcodec_cli.files.inputs import InputOptions, Job, plan
from bigcodec_models.audio.suffixes import AUDIO_SUFFIXES
from bigcodec_models.config import SAMPLE_RATE

if TYPE_CHECKING:
    from bigcodec_cli.coding.audio_encoder import AudioEncoder

_SUFFIXES = {".npy": "npy", ".jsonl": "jsonl", ".npz": "npz"}


@click.group()
def command() -> None:
    """Take tokens out of .bcdc files and audio, or put them in: for those who train on tokens."""


@command.command()
@input_options
@click.option(
    "--format",
    "kind",
    type=click.Choice(list(_SUFFIXES.values())),
    help="Default: what the suffix of -o says, else npy.",
)
@click.option(
    "--model",
    metavar="NAME|PATH",
    help="Model for audio. Default: see 'models list'.",
    shell_complete=complete_models,
)
@f0_option
@device_option
@batch_size_option
@allow_long_option
@batch_options
def extract(
    where: InputOptions,
    how: BatchOptions,
    kind: str | None,
    model: str | None,
    f0: str | None,
    device: str,
    batch_size: int,
    allow_long: bool,
) -> None:
    """Write the tokens of .bcdc files, or straight those of audio files.

    npy: an int32 array (channels, frames, codebooks). jsonl: one line of JSON with the array as
    lists, an id, the frame rate, the sizes of the codebooks and all else that 'tokens pack' needs
    to restore the very file. npz: arrays by id, and the same facts as JSON in '_records'.

    With -o FILE.jsonl or -o FILE.npz all inputs go into one file, in their order. Ids are paths
    without suffix, of what is found by -r from the folder that is walked. -r takes .bcdc files and
    audio, but not audio that has a .bcdc beside it.
    """
    chosen = kind_of_output(where.output, kind, _SUFFIXES, "npy")
    if how.outputs.remove and chosen == "npy":
        raise click.UsageError("an array alone does not give the file back; leave --rm out")
    from bigcodec_cli.coding.token_extraction import is_audio, without_doubles

    accepted = AUDIO_SUFFIXES | {".bcdc"}
    planned = plan(where, f".{chosen}", accepted, shared=True)
    jobs, left_out = without_doubles(planned.jobs), planned.left_out_line()
    if chosen == "npy" and where.output is not None and len(jobs) > 1:
        raise click.UsageError(
            "-o names one file; for several inputs use --output-dir DIR, or -o "
            "FILE.jsonl or FILE.npz for all"
        )
    audio = any(is_audio(job.source) for job in jobs)
    if how.outputs.remove and audio:
        raise click.UsageError("tokens do not give audio back as it was; leave --rm out")
    config = _audio_config(model, f0, device, batch_size) if audio else None
    if where.output is not None and len(jobs) > 1:
        _extract_together(jobs, how, chosen, allow_long, config, left_out)
    else:
        _extract_each(jobs, how, chosen, allow_long, config, left_out)


def _audio_config(
    model: str | None, f0: str | None, device: str, batch_size: int
) -> CompressConfig:
    from bigcodec_cli.model_store.store import default_model

    return CompressConfig(
        model=model or default_model(), f0=f0, device=device, batch_size=batch_size
    )


def _extract_each(
    jobs: Sequence[Job],
    how: BatchOptions,
    kind: str,
    allow_long: bool,
    config: CompressConfig | None,
    left_out: str | None,
) -> None:
    """A file for each input."""
    from bigcodec_cli.coding.decompress_files import decompress_files
    from bigcodec_cli.coding.token_extraction import TokenExtractor

    batch = Batch(jobs, how, "tokens", left_out=left_out)
    check_stdout(batch)

    def work(todo: Iterator[Job]) -> None:
        encoder = None if config is None else _load_encoder(config)
        extractor = TokenExtractor(kind=kind, allow_long=allow_long, encoder=encoder)
        decompress_files(todo, extractor, how.outputs, batch)

    batch.run(work)


def _extract_together(
    jobs: Sequence[Job],
    how: BatchOptions,
    kind: str,
    allow_long: bool,
    config: CompressConfig | None,
    left_out: str | None,
) -> None:
    """One file for all inputs; it gets its name also if some of them fail."""
    from bigcodec_cli.coding.decompress_files import decompress_files
    from bigcodec_cli.coding.token_extraction import (
        Shard,
        ShardReporter,
        ShardWriteError,
        TokenExtractor,
        shard_jobs,
    )

    target = jobs[0].target
    if how.outputs.remove:
        raise click.UsageError("--rm removes inputs whose output is theirs alone; leave it out")
    if how.skip_existing and target is not None and target.exists():
        note(f"{target} exists; nothing was done")
        return
    batch = Batch(shard_jobs(jobs), how, "tokens", shared=target, left_out=left_out)
    if target is None:
        check_stdout(batch)
    opened = Shard(kind, target, jobs, how.outputs.force)
    with contextlib.closing(opened) as shard:
        reporter = ShardReporter(batch, shard)

        def work(todo: Iterator[Job]) -> None:
            encoder = None if config is None else _load_encoder(config)
            extractor = TokenExtractor(
                kind=kind, allow_long=allow_long, encoder=encoder, shard=shard
            )
            try:
                decompress_files(todo, extractor, how.outputs, reporter)
                shard.finish()
            except ShardWriteError as error:
                raise CliError(str(error)) from error

        batch.run(work)


def _load_encoder(config: CompressConfig) -> AudioEncoder:
    from bigcodec_cli.coding.audio_encoder import AudioEncoder

    return AudioEncoder.load(config)


@command.command()
@input_options
@click.option(
    "--model",
    metavar="NAME|PATH",
    help="The model that made the tokens; for arrays.",
    shell_complete=complete_models,
)
@click.option("--rate", default=SAMPLE_RATE, show_default=True, help="Sample rate, for arrays.")
@click.option(
    "--samples", type=int, help="Length to restore. Default: as the tokens give; for arrays."
)
@batch_options
def pack(
    where: InputOptions, how: BatchOptions, model: str | None, rate: int, samples: int | None
) -> None:
    """Make .bcdc files of .npy arrays, and of .jsonl and .npz files of any number of recordings.

    The recordings of one file become files by their ids, in its folder or below --output-dir. An
    array has one of the shapes (frames,), (frames, codebooks) and (channels, frames, codebooks),
    as Python's Codec.encode gives them. One with a token a frame more than the model has codebooks
    is one with coded F0.
    """
    check_container_name(where.output)
    from bigcodec_cli.coding.compress_files import compress_files
    from bigcodec_cli.coding.token_jobs import TokenPacker, pack_jobs

    planned = plan(where, ".bcdc", frozenset([".npy", ".jsonl", ".npz"]))
    jobs = list(pack_jobs(planned.jobs))
    if where.output is not None and len(jobs) > 1:
        raise click.UsageError(
            f"{planned.jobs[0].name} holds {len(jobs)} recordings; use --output-dir DIR"
        )
    if how.outputs.remove and len(jobs) > len(planned.jobs):
        raise click.UsageError("--rm removes inputs of one recording; leave it out")
    batch = Batch(jobs, how, "tokens", left_out=planned.left_out_line())
    check_stdout(batch)

    def work(todo: Iterator[Job]) -> None:
        packer = TokenPacker(headers=_headers(model), rate=rate, samples=samples)
        compress_files(todo, packer, how.outputs, batch)

    batch.run(work)


def _headers(model: str | None) -> dict[int, bcdc.Header]:
    if model is None:
        return {}
    from bigcodec_cli.model_store.headers import headers_of_model

    return headers_of_model(model)
