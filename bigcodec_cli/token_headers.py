"""The header that containers of a model have, from the model's file alone."""

from __future__ import annotations

import bcdc
from bigcodec_cli.output import CliError
from bigcodec_cli.store import model_path
from bigcodec_models.codec import read_model
from bigcodec_models.fingerprint import fingerprint
from bigcodec_models.model_file import ModelFileError


def header_of_model(name_or_path: str) -> bcdc.Header:
    """A header with a model's fingerprint and geometry, 16 kHz, one channel.

    Raises:
        CliError: no such model, or it cannot be used.
    """
    try:
        model = read_model(model_path(name_or_path))
    except ModelFileError as error:
        raise CliError(str(error)) from error
    sizes = model.config.token_sizes
    return bcdc.Header(
        fingerprint=fingerprint(model.tensors)[:6],
        sample_rate=bcdc.MODEL_RATE,
        geometry=bcdc.Geometry(hop=model.config.hop, codebook_sizes=sizes),
    )
