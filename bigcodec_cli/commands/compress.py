"""bigcodec compress"""

from __future__ import annotations

from collections.abc import Iterator

import click

import bcdc
from bigcodec_cli.audio.pcm import RawFormat
from bigcodec_cli.cluster.ray_driver import check_request, compress_on_ray
from bigcodec_cli.coding.config import SHORT_AT_ONCE, CompressConfig
from bigcodec_cli.commands.completing import complete_models
from bigcodec_cli.commands.options import (
    SECONDS,
    batch_options,
    check_container_name,
    device_option,
    engine_option,
    f0_option,
    input_options,
    raw_options,
)
from bigcodec_cli.files.batch import Batch, BatchOptions, check_stdout, make_folder
from bigcodec_cli.files.inputs import InputOptions, Job, plan
from bigcodec_cli.model_store.store import check_restorable, default_model, introduce_model
from bigcodec_models.audio.suffixes import AUDIO_SUFFIXES

_CODERS = [coder.name.lower() for coder in bcdc.Coder]


@click.command()
@input_options
@click.option(
    "--model",
    metavar="NAME|PATH",
    help="Codec model. Default: see 'models list'.",
    shell_complete=complete_models,
)
@click.option(
    "--coder",
    type=click.Choice(["auto", *_CODERS]),
    default="auto",
    show_default=True,
    help="How tokens become bytes; auto is prior if the model has one, else adaptive.",
)
@f0_option
@device_option
@engine_option
@click.option(
    "--batch-size",
    metavar="N",
    type=click.IntRange(1, 1024),
    help="How many recordings go through the model side by side. Results are the same. "
    f"Default: 1; but {SHORT_AT_ONCE} of up to a minute, on a CPU.",
)
@click.option(
    "--latency",
    metavar="SECONDS",
    type=SECONDS,
    help="For live input: write every sound at most so long after it came; lite-5: from 2.3 on.",
)
@click.option("--downmix", is_flag=True, help="Mix all channels to one; else each is coded.")
@raw_options
@click.option(
    "--ray",
    "ray_address",
    metavar="ADDRESS",
    help="Let a Ray cluster do it: local, auto, HOST:PORT or ray://HOST:PORT.",
)
@click.option("--no-verify", is_flag=True, help="Do not read the output back before naming it.")
@batch_options
def command(
    where: InputOptions,
    how: BatchOptions,
    model: str | None,
    coder: str,
    f0: str | None,
    device: str,
    engine: str,
    batch_size: int | None,
    latency: float | None,
    downmix: bool,
    raw: RawFormat | None,
    ray_address: str | None,
    no_verify: bool,
) -> None:
    """Compress audio files to .bcdc.

    Reads what soundfile reads (WAV, FLAC, Ogg, Opus, MP3, ...) at any rate and channel count, and
    what phones record (M4A, AAC, AMR, 3GP, WebM, WMA; MP4, MOV, MKV) where ffmpeg is on PATH.
    Without -o or --output-dir, speech.wav becomes speech.bcdc beside it. '-' as the input is
    stdin, coded as it comes if it is WAV or --raw; its output is stdout, but for -o. --rm needs a
    model of 'models list', so that decompress finds it; it leaves videos, and files of which nobody
    can tell whether they are whole. Many short files take hardly longer than a long one: they are
    coded, verified and named in batches of up to 32, or two minutes.

    With --latency, blocks of two seconds (coder raw), from 8.3 on of eight, are written as soon as
    what the model must hear after them has come; at rates other than 16 kHz up to two seconds
    later. Without it 32 s pass before the first bytes of lite-5 (docs/performance.md).

    With --ray, a Ray cluster codes the files, to the bytes of a plain run: a worker for every
    GPU, or, without any, for every CPU with memory for it. Each machine needs bigcodec-cli[ray],
    and the same paths to inputs, outputs and BIGCODEC_HOME. 'local' is a cluster of this machine
    alone, 'auto' the one that it belongs to. If a cluster asks for a token, set
    RAY_AUTH_MODE=token. Files of a lost worker count as failed; --skip-existing does the rest.
    """
    _check(where, how, no_verify)
    config = CompressConfig(
        model=model or default_model(),
        coder=coder,
        f0=f0,
        device=device,
        engine=engine,
        batch_size=batch_size,
        downmix=downmix,
        raw=raw,
        verify=not no_verify,
        latency=latency,
    )
    _carry_out(config, where, how, ray_address, introduce=model is None)


def _check(where: InputOptions, how: BatchOptions, no_verify: bool) -> None:
    if how.outputs.remove and no_verify:
        raise click.UsageError("--rm removes what is verified; leave --no-verify out")
    check_container_name(where.output)


def _carry_out(
    config: CompressConfig,
    where: InputOptions,
    how: BatchOptions,
    ray_address: str | None,
    introduce: bool,
) -> None:
    planned = plan(where, ".bcdc", AUDIO_SUFFIXES)
    batch = Batch(planned.jobs, how, "compress", left_out=planned.left_out_line())
    check_stdout(batch)
    if ray_address is not None:
        check_request(ray_address, batch, where, config)
    if where.output_dir is not None:
        make_folder(where.output_dir)
    introduce = introduce and not (how.quiet or batch.writes_stdout)
    if ray_address is not None:
        if how.outputs.remove:
            check_restorable(config.model)
        compress_on_ray(ray_address, config, batch, introduce)
    else:
        _compress(config, batch, introduce)


def _compress(config: CompressConfig, batch: Batch, introduce: bool) -> None:
    def work(jobs: Iterator[Job]) -> None:
        from bigcodec_cli.coding.audio_encoder import AudioEncoder
        from bigcodec_cli.coding.compress_files import compress_files

        if batch.options.outputs.remove:
            check_restorable(config.model)
        encoder = AudioEncoder.load(config)
        if introduce:
            introduce_model(encoder.name, encoder.description, batch.options.verbose)
        compress_files(jobs, encoder, batch.options.outputs, batch)

    batch.run(work)
