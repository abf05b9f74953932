"""What `compress --latency` means: which coder, and which grid of the encoder."""

from __future__ import annotations

import math

import bcdc
from bigcodec_cli.console.messages import CliError
from bigcodec_cli.model_store.headers import geometry_of
from bigcodec_models.codec import Codec
from bigcodec_models.inference.chunking import FineGrid

RESAMPLING_SECONDS = 1
"""Seconds that are resampled at once, with one more on either side."""


def coder_within(seconds: float, codec: Codec) -> str:
    """The coder for --coder auto: the usual one if there is time for its long blocks."""
    return "auto" if _left(seconds, codec, "auto") >= 0 else "raw"


def grid_within(seconds: float, codec: Codec, coder: str) -> FineGrid:
    """The grid on which every block is there at most `seconds` after its first sample.

    Raises:
        CliError: the blocks of the coder are longer, or the model looks ahead further.
    """
    left = _left(seconds, codec, coder)
    if left < 0:
        lowest = math.ceil((seconds - left * codec.hop / bcdc.MODEL_RATE) * 10) / 10
        raise CliError(f"--latency {seconds:g}: with --coder {coder} at least {lowest:g} s")
    unit = geometry_of(codec).block_frames
    return codec.fine_grid(unit, left + codec.least_lookahead(unit))


def _left(seconds: float, codec: Codec, coder: str) -> int:
    """How many frames of `seconds` a block and the least lookahead leave."""
    unit = geometry_of(codec).block_frames
    block = unit * (1 if coder == "raw" else bcdc.Coder.PRIOR.block_units)
    return int(seconds * bcdc.MODEL_RATE / codec.hop) - block - codec.least_lookahead(unit)
