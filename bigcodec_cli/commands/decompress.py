"""bigcodec decompress"""

from __future__ import annotations

from collections.abc import Iterator

import click

from bigcodec_cli.audio.pcm import PCM_NAMES
from bigcodec_cli.audio.writer import KINDS, SUFFIXES
from bigcodec_cli.coding.config import DecompressConfig
from bigcodec_cli.commands.completing import complete_models
from bigcodec_cli.commands.options import (
    SECONDS,
    allow_long_option,
    batch_options,
    batch_size_option,
    device_option,
    engine_option,
    input_options,
    kind_of_output,
)
from bigcodec_cli.files.batch import Batch, BatchOptions, check_stdout, make_folder
from bigcodec_cli.files.inputs import InputOptions, Job, plan

_PRECISIONS = ("float32", "bfloat16")


@click.command()
@input_options
@click.option(
    "--model",
    metavar="NAME|PATH",
    help="Where the model is, if it is not among 'models list'.",
    shell_complete=complete_models,
)
@device_option
@engine_option
@batch_size_option
@click.option(
    "--precision",
    type=click.Choice(_PRECISIONS),
    default="float32",
    show_default=True,
    help="bfloat16 decodes faster where the processor or GPU multiplies it faster, almost alike.",
)
@click.option("--start", metavar="S", type=SECONDS, default=0.0, help="Begin at this second.")
@click.option("--duration", metavar="D", type=SECONDS, help="Stop after this many seconds.")
@click.option(
    "--format",
    "kind",
    type=click.Choice(KINDS),
    help="Format of the output. Default: what its suffix says, else wav.",
)
@click.option("--raw", is_flag=True, help="PCM without a header: short for --format raw.")
@click.option(
    "--pcm",
    type=click.Choice(list(PCM_NAMES)),
    default="16",
    show_default=True,
    help="Bits of a sample, or 32-bit floating point, which is never clipped.",
)
@click.option(
    "--recover",
    is_flag=True,
    help="Restore what is whole in damaged files, silence for the rest; exits 1 if they are.",
)
@allow_long_option
@batch_options
def command(
    where: InputOptions,
    how: BatchOptions,
    model: str | None,
    device: str,
    engine: str,
    batch_size: int,
    precision: str,
    start: float,
    duration: float | None,
    kind: str | None,
    raw: bool,
    pcm: str,
    recover: bool,
    allow_long: bool,
) -> None:
    """Restore audio from .bcdc files, with its original rate, channels and length.

    Without -o or --output-dir, speech.bcdc becomes speech.wav beside it. '-' as the input is
    stdin; its output is stdout, if -o does not say otherwise.

    The suffix of -o says what is written: .wav, .flac, .ogg (Vorbis), .opus, .mp3 or .raw. Opus and
    MP3 know few sample rates; others are resampled to the next one.

    With --start and --duration (seconds, or [hours:]minutes:seconds) only that part is decoded,
    sample by sample as the whole file has it.

    A small file that would become hours of audio is done only with --allow-long, or if a terminal
    says yes.
    """
    form = kind_of_output(where.output, "raw" if raw else kind, SUFFIXES, "wav")
    _check_pcm(form, pcm)
    if recover and how.outputs.remove:
        raise click.UsageError("--recover leaves the damaged file where it is; leave --rm out")
    if how.outputs.remove and (start or duration is not None):
        raise click.UsageError("--rm removes what is restored in full; leave --start or --rm out")
    config = DecompressConfig(
        model=model,
        device=device,
        engine=engine,
        batch_size=batch_size,
        precision=precision,
        kind=form,
        encoding=PCM_NAMES[pcm],
        start=start,
        duration=duration,
        recover=recover,
        allow_long=allow_long,
    )
    _decompress(config, where, how)


def _decompress(config: DecompressConfig, where: InputOptions, how: BatchOptions) -> None:
    planned = plan(where, f".{config.kind}", frozenset([".bcdc"]))
    batch = Batch(planned.jobs, how, "decompress", left_out=planned.left_out_line())
    check_stdout(batch)
    if where.output_dir is not None:
        make_folder(where.output_dir)

    def work(jobs: Iterator[Job]) -> None:
        from bigcodec_cli.coding.audio_decoder import AudioDecoder
        from bigcodec_cli.coding.decompress_files import decompress_files

        decoder = AudioDecoder.load(config)
        decompress_files(jobs, decoder, batch.options.outputs, batch)

    batch.run(work)


def _check_pcm(form: str, pcm: str) -> None:
    if form == "flac" and pcm == "float":
        raise click.UsageError("FLAC holds integers only; use --pcm 16 or 24, or --format wav")
