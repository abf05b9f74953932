"""bigcodec compress"""

from __future__ import annotations

import click

import bcdc
from bigcodec_cli.batch import Batch, BatchOptions, check_stdout, make_folder
from bigcodec_cli.inputs import AUDIO_SUFFIXES, InputOptions, plan
from bigcodec_cli.options import (
    batch_options,
    device_option,
    input_options,
    raw_options,
)
from bigcodec_cli.output import CliError, note
from bigcodec_cli.pcm import RawFormat
from bigcodec_cli.store import default_model

_SHORT_AT_ONCE = 16
"""A CPU then reads the model's weights once for all, and is faster by a sixth. Not on other
devices, where the results would depend on it in near-ties."""
_CODERS = [coder.name.lower() for coder in bcdc.Coder]


@click.command()
@input_options
@click.option("--model", metavar="NAME|PATH", help="Codec model. Default: see 'models list'.")
@click.option(
    "--coder",
    type=click.Choice(["auto", *_CODERS]),
    default="auto",
    show_default=True,
    help="How tokens become bytes; auto takes the smallest.",
)
@device_option
@click.option(
    "--batch-size",
    metavar="N",
    type=click.IntRange(1, 1024),
    help="How many recordings go through the model side by side. Results are the same. "
    f"Default: 1; but {_SHORT_AT_ONCE} of up to a minute, on a CPU.",
)
@click.option("--downmix", is_flag=True, help="Mix all channels to one; else each is coded.")
@raw_options
@click.option("--no-verify", is_flag=True, help="Do not read the output back before naming it.")
@batch_options
def command(
    where: InputOptions,
    how: BatchOptions,
    model: str | None,
    coder: str,
    device: str,
    batch_size: int | None,
    downmix: bool,
    raw: RawFormat | None,
    no_verify: bool,
) -> None:
    """Compress audio files to .bcdc.

    Reads what soundfile reads (WAV, FLAC, Ogg, Opus, MP3, ...) at any rate and channel count.
    Without -o or --output-dir, speech.wav becomes speech.bcdc beside it. '-' as the input is
    stdin, coded as it comes if it is WAV or --raw; its output is stdout, if -o does not say
    otherwise.

    Many short files take hardly longer than a long one: whatever the --batch-size, they are
    packed, verified and named in lots of up to 32, or two minutes.
    """
    if how.remove and no_verify:
        raise click.UsageError("--rm removes what is verified; leave --no-verify out")
    batch = Batch(plan(where, ".bcdc", AUDIO_SUFFIXES), how, "compress")
    check_stdout(batch)
    if where.output_dir is not None:
        make_folder(where.output_dir)
    from bigcodec_cli.compress_task import STEPS, CompressSettings, open_tasks
    from bigcodec_cli.loading import load_codec
    from bigcodec_cli.pipeline import CompressOptions
    from bigcodec_cli.pool import Pool
    from bigcodec_cli.priors import prior_for_model
    from bigcodec_models.codec import Codec

    codec, description = load_codec(model or default_model(), device)
    if not how.quiet:
        note(description)
    prior = prior_for_model(codec.fingerprint)
    settings = CompressSettings(
        codec=codec,
        options=CompressOptions(coder=_chosen(coder, prior), downmix=downmix, prior=prior),
        raw=raw,
        verify=not no_verify,
    )
    short = _SHORT_AT_ONCE if codec.device.type == "cpu" else 1
    pool = Pool(Codec.encode_streams, batch_size or 1, batch.failed, STEPS, batch_size or short)
    batch.run(lambda jobs: pool.run(open_tasks(jobs, settings, batch)))


def _chosen(coder: str, prior: bcdc.Prior | None) -> bcdc.Coder | None:
    """The coder of --coder, or None for the smallest.

    Raises:
        CliError: it needs a prior.
    """
    if coder == "auto":
        return None
    chosen = bcdc.Coder[coder.upper()]
    if chosen not in bcdc.usable_coders(prior):
        raise CliError(
            f"--coder {coder}: there is no prior for this model; "
            "'bigcodec train-prior' makes one, --coder adaptive needs none"
        )
    return chosen
