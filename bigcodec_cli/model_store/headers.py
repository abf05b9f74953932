"""The headers of a model's containers, and the geometry of its tokens."""

from __future__ import annotations

import bcdc
from bigcodec_cli.model_store.store import read_facts
from bigcodec_models.codec import Codec
from bigcodec_models.config import ModelConfig


def geometry_of(codec: Codec) -> bcdc.Geometry:
    """The geometry of the tokens that a codec encodes to."""
    return _geometry_with(codec.config, codec.f0)


def geometries_of(config: ModelConfig) -> tuple[bcdc.Geometry, ...]:
    """The geometries of tokens that a model decodes: one for each F0 mode, the default first."""
    return tuple(_geometry_with(config, f0) for f0 in config.f0_modes or (None,))


def _geometry_with(config: ModelConfig, f0: str | None) -> bcdc.Geometry:
    sizes = config.token_sizes_with(f0)
    return bcdc.Geometry(hop=config.hop, codebook_sizes=sizes, f0=f0 == "coded")


def headers_of_model(name_or_path: str) -> dict[int, bcdc.Header]:
    """Headers with a model's fingerprint, for one channel at 16 kHz; one for each geometry of its
    tokens, by the number of tokens per frame.

    Raises:
        CliError: there is no such model.
        ModelFileError: it cannot be used.
    """
    model = read_facts(name_or_path)
    return {
        geometry.codebooks: bcdc.Header(
            fingerprint=model.fingerprint[:6], sample_rate=bcdc.MODEL_RATE, geometry=geometry
        )
        for geometry in geometries_of(model.config)
    }
