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
    """The coder for --coder auto: its blocks are short, unless there is time for long ones and for
    all the lookahead that the model has."""
    unit = geometry_of(codec).block_frames
    long = unit * bcdc.Coder.PRIOR.block_units + codec.lookahead(unit)[1]
    return "auto" if _frames(seconds, codec) >= long else "raw"


def grid_within(seconds: float, codec: Codec, coder: str) -> FineGrid:
    """The grid on which every block is there at most `seconds` after its first sample.

    Raises:
        CliError: the blocks of the coder are longer, or the model looks ahead further.
    """
    unit = geometry_of(codec).block_frames
    units = 1 if coder == "raw" else bcdc.Coder.PRIOR.block_units
    block, (least, _) = unit * units, codec.lookahead(unit)
    left = _frames(seconds, codec) - block
    if left < least:
        lowest = math.ceil((block + least) * codec.hop / bcdc.MODEL_RATE * 10) / 10
        raise CliError(f"--latency {seconds:g}: with --coder {coder} at least {lowest:g} s")
    return codec.fine_grid(unit, left)


def _frames(seconds: float, codec: Codec) -> int:
    return int(seconds * bcdc.MODEL_RATE / codec.hop)
