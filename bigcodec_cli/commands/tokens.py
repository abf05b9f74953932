"""bigcodec tokens"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

import bcdc
from bigcodec_cli.coding.config import CompressConfig
from bigcodec_cli.commands.options import (
    allow_long_option,
    batch_options,
    batch_size_option,
    device_option,
    f0_option,
    input_options,
)
from bigcodec_cli.console.messages import CliError, note
from bigcodec_cli.files.batch import Batch, BatchOptions, check_stdout
from bigcodec_cli.files.inputs import InputOptions, Job, plan
from bigcodec_models.audio.suffixes import AUDIO_SUFFIXES
from bigcodec_models.config import SAMPLE_RATE

if TYPE_CHECKING:
    from bigcodec_cli.coding.audio_encoder import AudioEncoder

_KINDS = ("npy", "jsonl", "npz")


@click.group()
def command() -> None:
    """Take tokens out of .bcdc files and audio, or put them in: for those who train on tokens."""


@command.command()
@input_options
@click.option(
    "--format",
    "kind",
    type=click.Choice(_KINDS),
    help="Default: what the suffix of -o says, else npy.",
)
@click.option("--model", metavar="NAME|PATH", help="Model for audio. Default: see 'models list'.")
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
    chosen = kind or _kind_of(where.output)
    if how.outputs.remove and chosen == "npy":
        raise click.UsageError("an array alone does not give the file back; leave --rm out")
    from bigcodec_cli.coding.token_extraction import is_audio, without_doubles

    accepted = AUDIO_SUFFIXES | {".bcdc"}
    jobs = without_doubles(plan(where, f".{chosen}", accepted, shared=True))
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
        _extract_together(jobs, how, chosen, allow_long, config)
    else:
        _extract_each(jobs, how, chosen, allow_long, config)


def _kind_of(output: str | None) -> str:
    suffix = Path(output or "").suffix.removeprefix(".")
    if suffix and suffix not in _KINDS:
        known = ", ".join(f".{kind}" for kind in _KINDS)
        raise click.UsageError(f"{output}: tokens go into {known}; or name a --format")
    return suffix or "npy"


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
) -> None:
    """A file for each input."""
    from bigcodec_cli.coding.decompress_files import decompress_files
    from bigcodec_cli.coding.token_extraction import TokenExtractor

    batch = Batch(jobs, how, "tokens")
    check_stdout(batch)
    encoder = None if config is None else _load_encoder(config, how)
    extractor = TokenExtractor(kind=kind, allow_long=allow_long, encoder=encoder)
    batch.run(lambda pending: decompress_files(pending, extractor, how.outputs, batch))


def _extract_together(
    jobs: Sequence[Job],
    how: BatchOptions,
    kind: str,
    allow_long: bool,
    config: CompressConfig | None,
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
    batch = Batch(shard_jobs(jobs), how, "tokens", shared=target)
    if target is None:
        check_stdout(batch)
    opened = Shard(kind, target, jobs, how.outputs.force)
    with contextlib.closing(opened) as shard:
        encoder = None if config is None else _load_encoder(config, how)
        extractor = TokenExtractor(kind=kind, allow_long=allow_long, encoder=encoder, shard=shard)
        reporter = ShardReporter(batch, shard)

        def work(todo: Iterator[Job]) -> None:
            try:
                decompress_files(todo, extractor, how.outputs, reporter)
                shard.finish()
            except ShardWriteError as error:
                raise CliError(str(error)) from error

        batch.run(work)


def _load_encoder(config: CompressConfig, how: BatchOptions) -> AudioEncoder:
    from bigcodec_cli.coding.audio_encoder import AudioEncoder

    encoder = AudioEncoder.load(config)
    if not how.quiet:
        note(encoder.description)
    return encoder


@command.command()
@input_options
@click.option("--model", metavar="NAME|PATH", help="The model that made the tokens; for arrays.")
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
    from bigcodec_cli.coding.compress_files import compress_files
    from bigcodec_cli.coding.token_jobs import TokenPacker, pack_jobs

    planned = plan(where, ".bcdc", frozenset([".npy", ".jsonl", ".npz"]))
    jobs = list(pack_jobs(planned))
    if where.output is not None and len(jobs) > 1:
        raise click.UsageError(
            f"{planned[0].name} holds {len(jobs)} recordings; use --output-dir DIR"
        )
    if how.outputs.remove and len(jobs) > len(planned):
        raise click.UsageError("--rm removes inputs of one recording; leave it out")
    batch = Batch(jobs, how, "tokens")
    check_stdout(batch)
    packer = TokenPacker(headers=_headers(model), rate=rate, samples=samples)
    batch.run(lambda todo: compress_files(todo, packer, how.outputs, batch))


def _headers(model: str | None) -> dict[int, bcdc.Header]:
    if model is None:
        return {}
    from bigcodec_cli.model_store.headers import headers_of_model

    return headers_of_model(model)
