"""One `compress`, as its command line asks for it: the same in this process as in a worker's."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import bcdc
from bigcodec_cli.audio.pcm import RawFormat
from bigcodec_cli.coding.compress_job import STEPS, CompressSettings, open_tasks
from bigcodec_cli.coding.compressor import CompressOptions
from bigcodec_cli.coding.scheduler import SHORT_AT_ONCE, Pool
from bigcodec_cli.console.messages import CliError
from bigcodec_cli.files.batch import Batch
from bigcodec_cli.files.inputs import Job
from bigcodec_cli.model_store.headers import geometry_of
from bigcodec_cli.model_store.loading import load_codec
from bigcodec_cli.model_store.priors import prior_for_model
from bigcodec_models.codec import Codec


@dataclasses.dataclass(frozen=True, kw_only=True)
class CompressRequest:
    """What the command line says of the coding."""

    model: str
    coder: str
    f0: str | None
    device: str
    batch_size: int | None
    downmix: bool
    raw: RawFormat | None
    verify: bool


def load_settings(request: CompressRequest) -> tuple[CompressSettings, str]:
    """Model and prior loaded, and a line that says what the model is.

    Raises:
        CliError: one of them is not at hand, or cannot be used.
    """
    codec, description = load_codec(request.model, request.device, f0=request.f0)
    prior = prior_for_model(codec.fingerprint, geometry_of(codec))
    options = CompressOptions(
        coder=_chosen(request.coder, prior, codec), downmix=request.downmix, prior=prior
    )
    settings = CompressSettings(
        codec=codec, options=options, raw=request.raw, verify=request.verify
    )
    return settings, description


def compress_jobs(
    jobs: Iterator[Job], settings: CompressSettings, batch: Batch, batch_size: int | None
) -> None:
    """Compress files, and tell the batch how each went."""
    short = SHORT_AT_ONCE if settings.codec.device.type == "cpu" else 1
    pool = Pool(Codec.encode_streams, batch_size or 1, batch.failed, STEPS, batch_size or short)
    pool.run(open_tasks(jobs, settings, batch))


def _chosen(coder: str, prior: bcdc.Prior | None, codec: Codec) -> bcdc.Coder | None:
    """The coder of --coder, or None for auto.

    Raises:
        CliError: it needs a prior.
    """
    if coder == "auto":
        return None
    chosen = bcdc.Coder[coder.upper()]
    if chosen not in bcdc.usable_coders(prior):
        mode = f" with --f0 {codec.f0}" if len(codec.config.f0_modes) > 1 else ""
        raise CliError(
            f"--coder {coder}: there is no prior for this model{mode}; "
            "'bigcodec train-prior' makes one, --coder adaptive needs none"
        )
    return chosen
