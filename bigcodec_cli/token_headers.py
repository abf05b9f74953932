"""The headers that containers of a model have, from the model's file alone."""

from __future__ import annotations

import bcdc
from bigcodec_cli.output import CliError
from bigcodec_cli.pipeline import geometries_of
from bigcodec_cli.store import model_path
from bigcodec_models.codec import read_model
from bigcodec_models.fingerprint import fingerprint
from bigcodec_models.model_file import ModelFileError


def headers_of_model(name_or_path: str) -> dict[int, bcdc.Header]:
    """Headers with a model's fingerprint, 16 kHz, one channel; one for each geometry of its tokens,
    by the number of tokens a frame.

    Raises:
        CliError: no such model, or it cannot be used.
    """
    try:
        model = read_model(model_path(name_or_path))
    except ModelFileError as error:
        raise CliError(str(error)) from error
    name = fingerprint(model.tensors)[:6]
    return {
        geometry.codebooks: bcdc.Header(
            fingerprint=name, sample_rate=bcdc.MODEL_RATE, geometry=geometry
        )
        for geometry in geometries_of(model.config)
    }
